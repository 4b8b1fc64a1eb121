//! The plugin that made an attachment does the looking: here is the one table of those there are.

use bulkhead_attach::{Inspection, Origin, Rehearsal};
use bulkhead_bridge as bridge;
use bulkhead_cni::Call;
use bulkhead_ipam::StateDir;
use bulkhead_plan::Plan;

use super::Found;
use crate::failure::Failure;

/// The plugin that makes attachments of a recorded kind.
pub(super) fn plugin(kind: &str) -> String {
    format!("bulkhead-{kind}")
}

/// Runs a generic function of `bulkhead-attach` for the plugin that made the attachment.
macro_rules! for_kind {
    ($found:expr, $function:ident($($argument:expr),*)) => {
        match $found.record.kind.as_str() {
            "bridge" => bulkhead_attach::$function::<bridge::Config>($($argument),*)
                .map_err(|source| Failure::attachment($found.key(), source)),
            _ => Err(Failure::Kind {
                name: $found.name(),
                kind: $found.record.kind.clone(),
            }),
        }
    };
}

/// Whether it is an attachment with addresses alone, which another main plugin made.
pub(super) fn has_addresses_only(found: &Found) -> bool {
    found.record.kind == "ipam"
}

/// Compares an attachment with what it should be.
pub(crate) fn inspect(found: &Found, call: &Call, state: &StateDir) -> Result<Inspection, Failure> {
    for_kind!(found, inspect(call, state, &found.record))
}

/// Mends it; what was done. `state` is held alone.
pub(crate) fn repair(found: &Found, call: &Call, state: &StateDir) -> Result<Plan, Failure> {
    for_kind!(found, repair(call, state, &found.record))
}

/// Everything that can be said of it.
pub(crate) fn explain(
    found: &Found,
    call: &Call,
    state: &StateDir,
) -> Result<(Inspection, Vec<Origin>, Rehearsal), Failure> {
    let inspection = inspect(found, call, state)?;
    let origins = for_kind!(found, origins(call, &inspection))?;
    let rehearsal = for_kind!(found, rehearse(call, state, &found.record))?;
    Ok((inspection, origins, rehearsal))
}

/// Takes down a dead attachment, kernel objects and leases.
pub(crate) fn collect(
    found: &Found,
    call: &Call,
    state: &StateDir,
    reason: &str,
) -> Result<(), Failure> {
    if has_addresses_only(found) {
        let released = bulkhead_attach::release(state, found.key(), reason);
        return released.map_err(|source| Failure::attachment(found.key(), source));
    }
    for_kind!(found, collect(call, state, &found.record, reason))
}
