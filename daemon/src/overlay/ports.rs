//! The ports of a network's containers. Of a segment somebody takes all of them out with the bridge, or one
//! alone: what the kernel tells of the segment's namespace has them looked at. And of every network they
//! follow the node's end, whose MTU may change. By a thread of their own: what is done to an attachment waits
//! for a moment without calls, and calls wait for passes.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use bulkhead_attach::{OverlayEnd, PoolLeases, SegmentEnd};
use bulkhead_cni::{CniError, Code, Verb};
use bulkhead_ipam::{AttachmentRecord, StoreError};
use bulkhead_kernel::{Deletion, Kernel};
use bulkhead_model::{AttachmentKey, NetworkName};
use bulkhead_plan::{Link, Scope, Space};

use super::{KIND, Overlays, spawn};
use crate::kind;
use crate::loops::{Verdict, mend};
use crate::node::Node;
use crate::told::failure;

/// How long a port has to be out of its place: one that a call is about to plug is not.
const SETTLED: Duration = Duration::from_millis(150);

pub(super) fn start(node: &Arc<Node>) -> std::io::Result<()> {
    let node = Arc::clone(node);
    spawn("overlay-ports", move || go_on(&node))
}

fn go_on(node: &Node) {
    let overlays = &node.overlays;
    while let Some(network) = overlays.next_ports() {
        if let Err(error) = look(node, &network) {
            let what = format!("ports of network {network} are not looked at");
            node.failed(&what, &error);
        }
        // Of many changes the last is looked at.
        thread::sleep(SETTLED);
    }
}

/// Has every attachment follow the end, and mends each whose port is out of its place, and stays so.
fn look(node: &Node, network: &NetworkName) -> Result<(), CniError> {
    catch_up_all(node, network)?;
    let misplaced = || {
        let Some(end) = node.overlays.segment_of(network) else {
            return Ok(BTreeSet::new());
        };
        misplaced(node, network, &end)
    };
    let found = misplaced()?;
    if found.is_empty() {
        return Ok(());
    }
    thread::sleep(SETTLED);
    let still = misplaced()?;
    for key in found.intersection(&still) {
        match mend(node, key) {
            Ok(Verdict::Mended(plan)) => {
                node.metrics.overlay_mended.inc();
                node.overlays.mended(network);
                tracing::warn!(
                    %network, container = %key.container, ifname = %key.interface,
                    plan = plan.join("; "),
                    "mended"
                );
            }
            Ok(Verdict::Busy) => node.overlays.look_at_ports(network),
            Ok(_) => {}
            Err(error) => node.failed(&format!("attachment {key} is not mended"), &error),
        }
    }
    Ok(())
}

/// How long to wait for a moment without calls before an attachment is left to the next look.
const PATIENCE: Duration = Duration::from_secs(2);

fn catch_up_all(node: &Node, network: &NetworkName) -> Result<(), CniError> {
    let granted = || node.overlays.granted_now(network);
    let Some(end) = granted() else {
        return Ok(());
    };
    let mut records = records(node, network).map_err(failure)?;
    records.retain(|record| is_behind(record, &end));
    for record in records {
        // It may change while many follow.
        let Some(end) = granted() else {
            return Ok(());
        };
        let key = &record.key;
        match catch_up(node, key, &end) {
            Ok(Caught::Up) => {}
            Ok(Caught::Busy) => node.overlays.look_at_ports(network),
            Err(error) => {
                let what = format!("attachment {key} does not follow the underlay");
                node.failed(&what, &error);
            }
        }
    }
    Ok(())
}

enum Caught {
    Up,
    Busy,
}

/// Whether an attachment is recorded with another address, MTU or treatment of checksums than its network's
/// end has.
fn is_behind(record: &AttachmentRecord, end: &OverlayEnd) -> bool {
    let of = |end: &OverlayEnd| (end.local, end.mtu, end.tuning);
    OverlayEnd::of_names(&record.names).is_some_and(|known| of(&known) != of(end))
}

/// What nobody can say the want of is left, and so is what is gone meanwhile.
fn catch_up(node: &Node, key: &AttachmentKey, end: &OverlayEnd) -> Result<Caught, CniError> {
    let Some(_alone) = node.gate.alone(PATIENCE) else {
        return Ok(Caught::Busy);
    };
    let known = node.state.network(&key.network).read().map_err(failure)?;
    let record = known
        .as_ref()
        .map(|known| known.find(&key.id()))
        .transpose()
        .map_err(failure)?
        .flatten();
    let (Some(known), Some(record)) = (known, record) else {
        return Ok(Caught::Up);
    };
    if known.death(&record).is_some() || !is_behind(&record, end) {
        return Ok(Caught::Up);
    }
    let Some(call) = node.remembered.call(key, Verb::Add)? else {
        return Ok(Caught::Up);
    };
    if let Some((plan, record)) = kind::catch_up(&call, &node.state, &record, end)? {
        node.pools.settle(&record);
        node.identities.changed(key);
        let plan = plan.ops().iter().map(ToString::to_string);
        tracing::info!(
            network = %key.network, container = %key.container, ifname = %key.interface,
            mtu = %end.mtu, plan = plan.collect::<Vec<_>>().join("; "),
            "the attachment has followed the underlay"
        );
    }
    Ok(Caught::Up)
}

/// Attachments whose port is not there, or not as a port of the segment's bridge.
fn misplaced(
    node: &Node,
    network: &NetworkName,
    end: &SegmentEnd,
) -> Result<BTreeSet<AttachmentKey>, CniError> {
    let ns = end.ns();
    let records = records(node, network).map_err(failure)?;
    let mut scope = Scope::default();
    let seen = scope.space(&ns);
    for record in &records {
        let names = &record.names;
        seen.links.extend(names.port);
        seen.stations.extend(names.port.zip(names.interface_mac));
    }
    // A namespace that was made anew is another one: nothing of it is kept open.
    let mut kernel = Kernel::new(Deletion::Blocking);
    let world = kernel.observe(&scope);
    let world = world.map_err(|error| CniError::from_chain(Code::TRY_AGAIN_LATER, &error))?;
    let space = world.space(&ns);
    let misplaced = records.iter().filter(|record| !is_in_place(space, record));
    Ok(misplaced.map(|record| record.key.clone()).collect())
}

fn is_in_place(space: &Space, record: &AttachmentRecord) -> bool {
    let names = &record.names;
    let Some(port) = names.port else {
        return true;
    };
    let is_plugged = |link: &Link| link.up && link.bridge == names.bridge;
    let station = names.interface_mac.map(|mac| (port, mac));
    let is_told = station.is_none_or(|station| space.stations.contains(&station));
    is_told && space.links.get(&port).is_some_and(is_plugged)
}

/// The attachments that the node has of a network.
fn records(node: &Node, network: &NetworkName) -> Result<Vec<AttachmentRecord>, StoreError> {
    let Some(known) = node.state.network(network).read()? else {
        return Ok(Vec::new());
    };
    let mut records = known.attachments()?;
    records.retain(|record| record.kind == KIND && known.is_of_this_boot(record));
    Ok(records)
}

impl Overlays {
    /// Has a network's ports looked at.
    pub(super) fn look_at_ports(&self, network: &NetworkName) {
        let is_new = self.state().ports.insert(network.clone());
        if is_new {
            self.ports.notify_all();
        }
    }

    /// The next network whose ports are to be looked at; `None` at the end.
    fn next_ports(&self) -> Option<NetworkName> {
        let mut state = self.state();
        loop {
            if self.ends() {
                return None;
            }
            if let Some(network) = state.ports.pop_first() {
                return Some(network);
            }
            let waited = self.ports.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// An attachment is recorded: the end may have changed since it was told.
    pub(super) fn caught_up(&self, record: &AttachmentRecord) {
        let network = &record.key.network;
        let end = self.granted_now(network);
        if end.is_some_and(|end| is_behind(record, &end)) {
            self.look_at_ports(network);
        }
    }

    /// The end that attachments of a network have, if it stands.
    fn granted_now(&self, network: &NetworkName) -> Option<OverlayEnd> {
        let state = self.state();
        state.members.get(network).filter(|it| it.stands)?;
        state.granted(network, &self.cluster.node)
    }

    /// The node's part of a segment that stands.
    fn segment_of(&self, network: &NetworkName) -> Option<SegmentEnd> {
        let state = self.state();
        let member = state.members.get(network).filter(|it| it.stands)?;
        let end: &OverlayEnd = &member.end;
        end.segment.clone()
    }
}
