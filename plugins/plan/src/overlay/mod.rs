//! A network's overlay on this node: one VXLAN device (RFC 7348) that learns nothing and floods
//! nothing, and what it is told of each remote VTEP: one permanent neighbour, one permanent
//! forwarding entry, and a route to each of the blocks behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bulkhead_model::{IfName, InterfaceAddress, Mac, Mtu, Prefix, Vni};

use crate::{Conflict, Ns, Op, Scope, SpaceScope, Switch, World};

mod device;
mod peers;
mod routes;
mod tunnels;

pub(crate) use device::attributes;
pub use routes::{near, obstacles};
pub use tunnels::{TunnelDrop, table_id};
pub(crate) use tunnels::{ensure as tunnels, scope as tunnels_scope};

/// A network's overlay that stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Overlay {
    /// The node's own end.
    pub vtep: Vtep,
    /// The others.
    pub peers: Vec<Peer>,
    /// The prefixes of the network's pools: a route of ours inside one of them is the overlay's.
    pub pools: BTreeSet<Prefix>,
}

/// The VXLAN device, in the host's namespace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Vtep {
    /// Its name.
    pub device: IfName,
    /// Its MAC, derived from network and node.
    pub mac: Mac,
    /// The network's identifier.
    pub vni: Vni,
    /// The UDP port.
    pub port: u16,
    /// The node's own address in the underlay, from which it sends.
    pub local: IpAddr,
    /// Its MTU.
    pub mtu: Mtu,
    /// What the node itself sends from into the overlay; each alone, not probed.
    pub addresses: Vec<InterfaceAddress>,
    /// Whether the device leaves checksums to what it sends by, as it does by itself.
    pub tx_checksum: Switch,
}

/// A remote VTEP, and what is behind it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Peer {
    /// The MAC of its device. Its link-local address is the next hop of every route to it.
    pub mac: Mac,
    /// Its address in the underlay.
    pub underlay: IpAddr,
    /// Its blocks, and single addresses that moved to it.
    pub prefixes: BTreeSet<Prefix>,
    /// Whether it is sent to as it is, without encapsulation, as long as it is on a link of ours.
    pub direct: bool,
    /// The MAC of its link, which it sends from where it sends as it is.
    pub link_mac: Option<Mac>,
    /// What it carries, which its containers have for their MTU.
    pub mtu: Mtu,
}

/// A network's overlay that is gone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OverlayGone {
    /// The device; deleted only if it is ours.
    pub device: IfName,
    /// As in [`Overlay`]: routes to peers that were sent to directly are in no device's care.
    pub pools: BTreeSet<Prefix>,
}

/// What of the underlay may reach the VXLAN ports, and where packets from the overlays' pools may come
/// from, of every overlay on the node.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tunnels {
    /// UDP port, network and remote VTEP of each packet that is let in.
    pub known: BTreeSet<(u16, Vni, IpAddr)>,
    /// UDP ports that are judged.
    pub ports: BTreeSet<u16>,
    /// Pools whose addresses are routed back to where a packet from them came in, or it is dropped.
    pub pools: BTreeSet<Prefix>,
    /// Links on which peers are sent to as they are, with the MAC of each and what is behind it: a packet from
    /// there is let in by such a link from that one alone.
    pub near: Near,
    /// UDP ports that nothing comes to, and nothing leaves for, but by `IPsec`.
    pub sealed: BTreeSet<u16>,
    /// VXLAN devices by which no TCP connection announces more than its way carries.
    pub clamped: BTreeSet<IfName>,
}

/// The prefixes behind peers that are sent to as they are, by link and MAC.
pub type Near = BTreeMap<(IfName, Mac), BTreeSet<Prefix>>;

/// Appends what makes the overlay stand: what a packet needs on its way before the route that sends it
/// there, and what is wanted no longer once everything else stands.
pub(crate) fn ensure(world: &World, want: &Overlay, ops: &mut Vec<Op>) -> Result<(), Conflict> {
    device::refuse(world.space(&Ns::Host), &want.vtep)?;
    let without;
    let mut host = world.space(&Ns::Host);
    if let Some(delete) = device::outdated(host, &want.vtep) {
        let mut rest = world.clone();
        rest.run(&delete).expect("it was observed");
        without = rest;
        host = without.space(&Ns::Host);
        ops.push(delete);
    }
    device::prepare(host, &want.vtep, ops);
    peers::learn(host, want, ops);
    device::raise(host, &want.vtep, ops);
    routes::ensure(host, want, ops);
    peers::forget(host, want, ops);
    device::strip(host, &want.vtep, ops);
    Ok(())
}

/// Appends what makes the device alone stand, whoever it leads to.
pub(crate) fn stand(world: &World, want: &Vtep, ops: &mut Vec<Op>) -> Result<(), Conflict> {
    device::refuse(world.space(&Ns::Host), want)?;
    let without;
    let mut host = world.space(&Ns::Host);
    if let Some(delete) = device::outdated(host, want) {
        let mut rest = world.clone();
        rest.run(&delete).expect("it was observed");
        without = rest;
        host = without.space(&Ns::Host);
        ops.push(delete);
    }
    device::prepare(host, want, ops);
    device::raise(host, want, ops);
    Ok(())
}

/// Appends what leaves nothing of the overlay.
pub(crate) fn end(world: &World, want: &OverlayGone, ops: &mut Vec<Op>) {
    let host = world.space(&Ns::Host);
    routes::end(host, want, ops);
    device::end(host, want.device, ops);
}

pub(crate) fn scope(want: &Overlay) -> Scope {
    let mut scope = Scope::default();
    let device = want.vtep.device;
    let direct = want.peers.iter().filter(|peer| peer.direct);
    *scope.space(&Ns::Host) = SpaceScope {
        links: [device].into(),
        vxlans: true,
        own_routes: true,
        strangers: destinations(want).collect(),
        neighbours_of: [device].into(),
        fdb_of: [device].into(),
        tx_checksum_of: [device].into(),
        reach: direct.map(|peer| peer.underlay).collect(),
        sysctls: device::sysctls(device)
            .into_iter()
            .map(|(sysctl, _)| sysctl)
            .collect(),
        ..SpaceScope::default()
    };
    scope
}

pub(crate) fn stand_scope(want: &Vtep) -> Scope {
    let mut scope = Scope::default();
    let sysctls = device::sysctls(want.device).into_iter();
    *scope.space(&Ns::Host) = SpaceScope {
        links: [want.device].into(),
        tx_checksum_of: [want.device].into(),
        sysctls: sysctls.map(|(sysctl, _)| sysctl).collect(),
        ..SpaceScope::default()
    };
    scope
}

fn destinations(want: &Overlay) -> impl Iterator<Item = Prefix> {
    want.peers.iter().flat_map(|peer| &peer.prefixes).copied()
}

pub(crate) fn end_scope(want: &OverlayGone) -> Scope {
    let mut scope = Scope::default();
    *scope.space(&Ns::Host) = SpaceScope {
        links: [want.device].into(),
        own_routes: true,
        ..SpaceScope::default()
    };
    scope
}
