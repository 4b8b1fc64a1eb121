//! A network's segment on this node: a namespace of the network's own with a bridge, the ports of the
//! node's containers in it, and a VXLAN device (RFC 7348) whose socket is in the host's namespace. Nothing is
//! learned and nothing is flooded: who is where is told to bridge and device, each station of other nodes
//! before it lives, and who has an address is answered by the device itself.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bulkhead_model::{Family, IfName, InterfaceAddress, Mac};

use crate::{
    Bridge, Conflict, Dad, Ns, OnLink, Op, Plan, Scope, SpaceScope, Switch, Sysctl, Vtep, World,
    bridge, link,
};

mod device;
mod stations;

/// A network's segment that stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Segment {
    /// The namespace.
    pub ns: Ns,
    /// The bridge in it, with the segment's gateway; attachments want the same.
    pub bridge: Bridge,
    /// The VXLAN device in it. It has no addresses: the link-local one of its MAC is on the bridge, and is
    /// the node's on the segment.
    pub vtep: Vtep,
    /// Who may be behind other nodes.
    pub stations: Vec<Station>,
    /// Nodes that get what is for everybody, for a group, or for a MAC that nobody has; none if such frames
    /// stay on the node.
    pub replicas: BTreeSet<IpAddr>,
    /// The families that leave the segment by its gateway.
    pub forwards: BTreeSet<Family>,
}

/// The VXLAN device of a network's segment on this node, whoever it leads to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Plugged {
    /// The namespace.
    pub ns: Ns,
    /// The device.
    pub vtep: Vtep,
    /// The bridge that it is a port of.
    pub bridge: IfName,
}

impl Segment {
    fn plugged(&self) -> Plugged {
        Plugged {
            ns: self.ns.clone(),
            vtep: self.vtep.clone(),
            bridge: self.bridge.name,
        }
    }
}

/// Who may be on the segment, behind another node.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Station {
    /// The MAC.
    pub mac: Mac,
    /// The node's address in the underlay.
    pub underlay: IpAddr,
    /// What it is asked for by.
    pub addresses: Vec<IpAddr>,
}

/// A network's segment that is gone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SegmentGone {
    /// The namespace.
    pub ns: Ns,
    /// The links in it that are not gone at once with it: the VXLAN device has a place in the host's.
    pub links: BTreeSet<IfName>,
}

/// Appends what makes the segment stand: the namespace before what is in it, what a frame needs on its way
/// before the device is up, and what is wanted no longer once everything else stands.
pub(crate) fn ensure(world: &World, want: &Segment, ops: &mut Vec<Op>) -> Result<(), Conflict> {
    let ns = &want.ns;
    let plugged = want.plugged();
    device::refuse(world, &plugged)?;
    let mut world = world.clone();
    let mut go = |world: &mut World, op: Op| {
        world.run(&op).expect("it was observed");
        ops.push(op);
    };
    if !world.named.contains(ns) {
        go(&mut world, Op::AddNetns { ns: ns.clone() });
    }
    if let Some(delete) = device::outdated(world.space(ns), &plugged) {
        go(&mut world, delete);
    }
    let space = world.space(ns);
    link::loopback(space, ns, Switch::On, ops);
    // Forwarding before any gateway address: see `planner::attached`.
    for sysctl in switches(want) {
        if space.sysctls.get(&sysctl).is_none_or(|now| now != "1") {
            ops.push(Op::SetSysctl {
                ns: ns.clone(),
                sysctl,
                value: "1".to_owned(),
            });
        }
    }
    let mut of_bridge = Vec::new();
    bridge::ensure(space, &want.bridge, &mut of_bridge)?;
    ops.extend_from_slice(Plan::new(of_bridge).within(ns).ops());
    let (link, address) = (want.bridge.name, own(&want.vtep));
    let keeps = space.links.contains_key(&link);
    if !keeps || !space.addresses.contains_key(&(link, address)) {
        ops.push(Op::AddAddress {
            ns: ns.clone(),
            link,
            address,
            dad: Dad::Skip,
            on_link: OnLink::Prefix,
        });
    }
    device::prepare(space, &plugged, ops);
    stations::learn(space, want, ops);
    device::raise(space, &plugged, ops);
    stations::forget(space, want, ops);
    Ok(())
}

/// Appends what makes the device alone stand, in a namespace that is there.
pub(crate) fn plug(world: &World, want: &Plugged, ops: &mut Vec<Op>) -> Result<(), Conflict> {
    device::refuse(world, want)?;
    let without;
    let mut space = world.space(&want.ns);
    if let Some(delete) = device::outdated(space, want) {
        let mut rest = world.clone();
        rest.run(&delete).expect("it was observed");
        without = rest;
        space = without.space(&want.ns);
        ops.push(delete);
    }
    device::prepare(space, want, ops);
    device::raise(space, want, ops);
    Ok(())
}

/// Appends what leaves nothing of the segment.
pub(crate) fn end(world: &World, want: &SegmentGone, ops: &mut Vec<Op>) {
    let ns = &want.ns;
    let Some(space) = world.spaces.get(ns) else {
        return;
    };
    let ours = |name| space.links.get(name).is_some_and(crate::Link::is_ours);
    let links = want.links.iter().filter(|name| ours(name));
    ops.extend(links.map(|name| Op::DelLink {
        ns: ns.clone(),
        name: *name,
    }));
    ops.push(Op::DelNetns { ns: ns.clone() });
}

/// What a plan needs to see.
pub(crate) fn scope(want: &Segment) -> Scope {
    let mut scope = Scope::default();
    scope.space(&Ns::Host).vxlans = true;
    let device = want.vtep.device;
    let mut space = SpaceScope {
        links: [device, want.bridge.name, link::lo()].into(),
        neighbours_of: [device].into(),
        fdb_of: [device].into(),
        sysctls: switches(want).collect(),
        ..SpaceScope::default()
    };
    bridge::see(&mut space, &want.bridge);
    *scope.space(&want.ns) = space;
    scope
}

/// What a plan needs to see.
pub(crate) fn plug_scope(want: &Plugged) -> Scope {
    let mut scope = Scope::default();
    scope.space(&want.ns).links = [want.vtep.device, want.bridge].into();
    scope
}

/// What a plan needs to see.
pub(crate) fn end_scope(want: &SegmentGone) -> Scope {
    let mut scope = Scope::default();
    scope.space(&want.ns).links.clone_from(&want.links);
    scope
}

/// The node's address on the segment, by which other nodes ask whether it is reached.
fn own(vtep: &Vtep) -> InterfaceAddress {
    InterfaceAddress::new(vtep.mac.link_local().into(), 64).expect("64 is within 128")
}

fn switches(want: &Segment) -> impl Iterator<Item = Sysctl> {
    want.forwards.iter().map(|family| match family {
        Family::V4 => Sysctl::ipv4_forwarding(),
        Family::V6 => Sysctl::ipv6_forwarding(),
    })
}
