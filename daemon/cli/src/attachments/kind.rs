//! The plugin that made an attachment does the looking: here is the one table of those there are.

use bulkhead_attach::{Explanation, Extent, InProcess, Inspection};
use bulkhead_bridge as bridge;
use bulkhead_ipam::StateDir;
use bulkhead_ipv6 as ipv6;
use bulkhead_plan::{Op, Plan};
use bulkhead_vxlan as vxlan;

use super::{Asked, Found};
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
            "ipv6" => bulkhead_attach::$function::<ipv6::Config>($($argument),*)
                .map_err(|source| Failure::attachment($found.key(), source)),
            "vxlan" => bulkhead_attach::$function::<vxlan::Config>($($argument),*)
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

/// Whether an attachment is as it should be.
pub(crate) fn is_sound(found: &Found, asked: &Asked, state: &StateDir) -> Result<bool, Failure> {
    for_kind!(
        found,
        is_sound(
            &asked.call,
            state,
            &found.record,
            asked.successors(),
            Extent::WithEnd
        )
    )
}

/// Compares an attachment with what it should be, once `done` is done.
pub(crate) fn inspect(
    found: &Found,
    asked: &Asked,
    state: &StateDir,
    done: &[Op],
) -> Result<Inspection, Failure> {
    for_kind!(
        found,
        inspect(&asked.call, state, &found.record, asked.successors(), done)
    )
}

/// Mends it; what was done. `state` is held alone.
pub(crate) fn repair(found: &Found, asked: &Asked, state: &StateDir) -> Result<Plan, Failure> {
    for_kind!(
        found,
        repair(
            &asked.call,
            state,
            &found.record,
            asked.successors(),
            Extent::WithEnd
        )
    )
}

/// Everything that can be said of it.
pub(crate) fn explain(
    found: &Found,
    asked: &Asked,
    state: &StateDir,
) -> Result<Explanation, Failure> {
    for_kind!(
        found,
        explain(&asked.call, state, &found.record, asked.successors())
    )
}

/// Takes down a dead attachment, kernel objects and leases.
pub(crate) fn collect(
    found: &Found,
    asked: &Asked,
    state: &StateDir,
    reason: &str,
) -> Result<(), Failure> {
    if has_addresses_only(found) {
        let released =
            bulkhead_attach::release(&InProcess::command(), state, &found.record, reason);
        return released.map_err(|source| Failure::attachment(found.key(), source));
    }
    let host = &mut InProcess::command();
    for_kind!(
        found,
        collect(host, &asked.call, state, &found.record, reason)
    )
}
