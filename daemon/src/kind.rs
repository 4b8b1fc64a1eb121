//! The plugin that made an attachment says what it should be: here is the one table of those there are.

use bulkhead_attach::{Extent, Inspection, OverlayEnd, Successors};
use bulkhead_bridge as bridge;
use bulkhead_cni::{Call, CniError, Code, Environment, Verb};
use bulkhead_ipam::{AttachmentRecord, StateDir};
use bulkhead_ipv6 as ipv6;
use bulkhead_plan::{Attached, Plan};
use bulkhead_vxlan as vxlan;

use crate::host::Here;
use bulkhead_cni::exec::Children;

/// The kind of an attachment that has addresses alone: another main plugin made the rest.
const ADDRESSES_ONLY: &str = "ipam";

/// Runs a generic function of `bulkhead-attach` for the plugin that made the attachment.
macro_rules! for_kind {
    ($record:expr, $function:ident($($argument:expr),*)) => {
        match $record.kind.as_str() {
            "bridge" => bulkhead_attach::$function::<bridge::Config>($($argument),*),
            "ipv6" => bulkhead_attach::$function::<ipv6::Config>($($argument),*),
            "vxlan" => bulkhead_attach::$function::<vxlan::Config>($($argument),*),
            _ => Err(unknown($record)),
        }
    };
}

/// Whether the kernel has objects of it that are ours.
pub(crate) fn has_objects(record: &AttachmentRecord) -> bool {
    record.kind != ADDRESSES_ONLY
}

/// Whether an attachment is as it should be. Plugins chained later may have changed its MAC and MTU. The node's
/// ends of networks are kept by the passes over them.
pub(crate) fn is_sound(
    call: &Call,
    state: &StateDir,
    record: &AttachmentRecord,
) -> Result<bool, CniError> {
    let (others, extent) = (Successors::Some, Extent::Attachment);
    for_kind!(record, is_sound(call, state, record, others, extent))
}

/// What should be of it.
pub(crate) fn wanted(
    call: &Call,
    state: &StateDir,
    record: &AttachmentRecord,
) -> Result<Attached, CniError> {
    let inspected: Result<Inspection, CniError> =
        for_kind!(record, inspect(call, state, record, Successors::Some, &[]));
    inspected.map(|inspection| inspection.want)
}

/// Mends it; what was done. Nobody may call ADD or DEL meanwhile.
pub(crate) fn repair(
    call: &Call,
    state: &StateDir,
    record: &AttachmentRecord,
) -> Result<Plan, CniError> {
    let (others, extent) = (Successors::Some, Extent::Attachment);
    for_kind!(record, repair(call, state, record, others, extent))
}

/// Has an attachment follow its network's end on the node; what was done, and the record that says so. Nobody
/// may call ADD or DEL meanwhile.
pub(crate) fn catch_up(
    call: &Call,
    state: &StateDir,
    record: &AttachmentRecord,
    end: &OverlayEnd,
) -> Result<Option<(Plan, AttachmentRecord)>, CniError> {
    bulkhead_attach::catch_up::<vxlan::Config>(call, state, record, end)
}

/// Takes a dead attachment down, kernel objects and leases.
pub(crate) fn collect(
    host: &mut Here<'_, Children>,
    call: &Call,
    record: &AttachmentRecord,
    reason: &str,
) -> Result<(), CniError> {
    let state = &*host.node.state.clone();
    if !has_objects(record) {
        return bulkhead_attach::release(host, state, record, reason);
    }
    for_kind!(record, collect(host, call, state, record, reason))
}

/// The least that DEL needs of an attachment whose call is not known.
pub(crate) fn bare_call(record: &AttachmentRecord) -> Result<Call, CniError> {
    let key = &record.key;
    let netns = record.netns.as_ref().map(|netns| netns.path.clone());
    let environment = Environment::new([
        ("CNI_CONTAINERID", key.container.as_str()),
        ("CNI_IFNAME", key.interface.as_str()),
    ])
    .with("CNI_NETNS", netns.unwrap_or_default());
    let config = serde_json::json!({
        "cniVersion": "1.0.0",
        "name": key.network.as_str(),
        "type": format!("bulkhead-{}", record.kind),
    });
    Call::read(Verb::Del, environment, config.to_string().into_bytes())
}

fn unknown(record: &AttachmentRecord) -> CniError {
    let (key, kind) = (&record.key, &record.kind);
    let text = format!(
        "attachment {key} was made by a plugin of kind {kind}, which this release does not have"
    );
    CniError::new(Code::INVALID_CONFIG, text)
}
