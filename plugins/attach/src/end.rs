//! A network's end on this node, as far as an attachment's record says what it should be: the VXLAN device and
//! where that is plugged. Who is behind it the cluster's store says, and the node daemon.

use bulkhead_ipam::{AttachmentRecord, StateDir};
use bulkhead_kernel::Kernel;
use bulkhead_plan::{Plan, Plugged, Switch, Vtep, Want, World, plan, scope};

use crate::converge::{Before, ConvergeError, converge};
use crate::failure::Failure;
use crate::overlays::OverlayEnd;

/// What should be; `None` for an attachment of another network.
fn want(state: &StateDir, record: &AttachmentRecord) -> Result<Option<Want>, Failure> {
    let Some(end) = OverlayEnd::of_names(&record.names) else {
        return Ok(None);
    };
    let network = &record.key.network;
    let vtep = Vtep {
        device: network.vxlan_device(),
        mac: network.vtep_mac(&state.node_id()?),
        vni: end.vni,
        port: end.port,
        local: end.local,
        mtu: end.mtu,
        addresses: Vec::new(),
        tx_checksum: Switch::from(!end.tuning.own_checksums),
    };
    Ok(Some(match &end.segment {
        None => Want::Vtep(Box::new(vtep)),
        Some(segment) => Want::Plugged(Box::new(Plugged {
            ns: segment.ns(),
            vtep,
            bridge: network.segment_bridge(),
        })),
    }))
}

/// What is of the end, and what would mend it; nothing for an attachment that has none.
pub(crate) fn compare(
    kernel: &mut Kernel,
    state: &StateDir,
    record: &AttachmentRecord,
) -> Result<Option<Compared>, Failure> {
    let Some(want) = want(state, record)? else {
        return Ok(None);
    };
    let world = kernel.observe(&scope(&want))?;
    let drift = plan(&world, &want).map_err(ConvergeError::from)?;
    Ok(Some(Compared { want, world, drift }))
}

/// What came of it.
pub(crate) struct Compared {
    want: Want,
    world: World,
    /// What would mend it.
    pub(crate) drift: Plan,
}

impl Compared {
    /// What is left to mend in the world that `after` makes of the one that was seen.
    pub(crate) fn rest(&self, after: impl Fn(&World) -> World) -> Result<Plan, Failure> {
        Ok(plan(&after(&self.world), &self.want).map_err(ConvergeError::from)?)
    }
}

/// Has the end stand; what was done is appended. Whom it leads to the node daemon tells it.
pub(crate) fn stand(
    kernel: &mut Kernel,
    state: &StateDir,
    record: &AttachmentRecord,
    done: &mut Vec<bulkhead_plan::Op>,
) -> Result<(), Failure> {
    let Some(mut want) = want(state, record)? else {
        return Ok(());
    };
    converge(kernel, &mut want, |_, plan, _| {
        done.extend_from_slice(plan.ops());
        Ok(Before::Apply)
    })?;
    Ok(())
}
