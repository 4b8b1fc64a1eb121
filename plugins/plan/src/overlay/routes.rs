//! The routes to peers' prefixes, in the main table: over the device, by way of the peer's link-local
//! address, of either family (RFC 8950 is the same in BGP); or plainly by way of the peer where it is on
//! a link of ours and may be sent to so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bulkhead_model::{Family, IfName, Mac, Mtu, Prefix};

use super::{Near, Overlay, OverlayGone, Peer};
use crate::{MAIN_TABLE, Ns, Op, Reach, Route, Space, Stranger, World, link};

/// Routes of others that packets to a peer's prefix take instead of ours, or in whose place ours should be,
/// by the prefix. They are left: whoever made them may know why, and the other peers do not wait for it.
#[must_use]
pub fn obstacles<'w>(world: &'w World, want: &Overlay) -> BTreeMap<Prefix, &'w Stranger> {
    let host = world.space(&Ns::Host);
    let wanted = super::destinations(want).collect::<BTreeSet<_>>();
    let stand: BTreeSet<_> = main(host).map(key).collect();
    let is_before_ours = |it: &&Stranger| {
        let ours = priority(it.destination);
        it.priority < ours || it.priority == ours && !stand.contains(&(it.destination, Some(ours)))
    };
    let strangers = host.strangers.iter();
    let strangers = strangers.filter(|it| wanted.contains(&it.destination));
    strangers
        .filter(is_before_ours)
        .map(|it| (it.destination, it))
        .collect()
}

/// Links on which peers are sent to as they are, the MACs of those peers and what is behind each. A link is left out on which one
/// does not tell its MAC: it could not be told from a stranger.
#[must_use]
pub fn near(world: &World, want: &Overlay) -> Near {
    let host = world.space(&Ns::Host);
    let mut links: BTreeMap<IfName, Option<BTreeMap<Mac, BTreeSet<Prefix>>>> = BTreeMap::new();
    for peer in &want.peers {
        let reach = host.reach.get(&peer.underlay);
        let Some(reach) = reach.filter(|it| is_near(peer, it, want.vtep.device)) else {
            continue;
        };
        let known = links
            .entry(reach.link)
            .or_insert_with(|| Some(BTreeMap::new()));
        match (known.as_mut(), peer.link_mac) {
            (Some(known), Some(mac)) => {
                let behind = known.entry(mac).or_default();
                behind.extend(&peer.prefixes);
            }
            (_, None) => *known = None,
            (None, _) => {}
        }
    }
    let told = links.into_iter();
    told.flat_map(|(link, known)| {
        let known = known.into_iter().flatten();
        known.map(move |(mac, behind)| ((link, mac), behind))
    })
    .collect()
}

/// Appends what is missing, then what leads elsewhere in one step each, so that no packet is without a
/// route in between; what is wanted no longer goes last.
pub(super) fn ensure(host: &Space, want: &Overlay, ops: &mut Vec<Op>) {
    let wanted = wanted(host, want);
    let device = want.vtep.device;
    let found: BTreeMap<_, _> = main(host).map(|route| (key(route), route)).collect();
    let strangers = host.strangers.iter();
    let taken: BTreeSet<_> = strangers
        .map(|it| (it.destination, Some(it.priority)))
        .collect();
    for route in wanted.values() {
        match found.get(&key(route)) {
            // See `obstacles`.
            None if taken.contains(&key(route)) => {}
            None => ops.push(Op::AddRoute {
                ns: Ns::Host,
                route: route.clone(),
            }),
            Some(found) if link::satisfies(found, route) && found.mtu == route.mtu => {}
            // An attachment's own: the address is here as long as that stands.
            Some(found) if !is_of_overlay(found, device, &want.pools) => {}
            Some(_) => ops.push(Op::ReplaceRoute {
                ns: Ns::Host,
                route: route.clone(),
            }),
        }
    }
    let wanted: BTreeSet<_> = wanted.values().map(key).collect();
    for route in main(host).filter(|route| !wanted.contains(&key(route))) {
        if is_of_overlay(route, device, &want.pools) {
            ops.push(del(route));
        }
    }
}

/// Appends what takes away the routes that do not go with the device.
pub(super) fn end(host: &Space, want: &OverlayGone, ops: &mut Vec<Op>) {
    for route in main(host) {
        if route.link != want.device && is_direct(route, &want.pools) {
            ops.push(del(route));
        }
    }
}

fn del(route: &Route) -> Op {
    Op::DelRoute {
        ns: Ns::Host,
        route: route.clone(),
    }
}

fn main(host: &Space) -> impl Iterator<Item = &Route> {
    let routes = host.own_routes.iter();
    routes.filter(|route| route.table == MAIN_TABLE)
}

/// What there is one route of.
fn key(route: &Route) -> (Prefix, Option<u32>) {
    (route.destination, route.priority)
}

fn wanted(host: &Space, want: &Overlay) -> BTreeMap<Prefix, Route> {
    let device = want.vtep.device;
    let mut routes = BTreeMap::new();
    for peer in &want.peers {
        let reach = host.reach.get(&peer.underlay);
        let near = reach.filter(|reach| is_near(peer, reach, device));
        for prefix in &peer.prefixes {
            let route = Route {
                mtu: narrower(want.vtep.mtu, peer.mtu, *prefix),
                ..route(device, peer, *prefix, near)
            };
            routes.insert(*prefix, route);
        }
    }
    routes
}

/// Whether a peer may be sent to as it is.
fn is_near(peer: &Peer, reach: &Reach, device: IfName) -> bool {
    peer.direct && reach.gateway.is_none() && reach.link != device
}

fn route(device: IfName, peer: &Peer, destination: Prefix, near: Option<&Reach>) -> Route {
    let is_v6 = destination.address().is_ipv6();
    // IPv6 has no IPv4 next hop.
    let near = near.filter(|_| peer.underlay.is_ipv6() || !is_v6);
    let (link, gateway) = match near {
        Some(reach) => (reach.link, peer.underlay),
        None => (device, peer.mac.link_local().into()),
    };
    Route {
        destination,
        gateway: Some(gateway),
        link,
        priority: Some(priority(destination)),
        table: MAIN_TABLE,
        scope: None,
        mtu: None,
        advmss: None,
    }
}

/// What a route says that it carries: nothing where the peer carries what this node does, whose MTU every link here has.
/// Without it what is longer would be sent and lost behind the underlay, where nobody tells its sender. IPv6 has no
/// less than 1280 (RFC 8200 section 5). It is no lock: a path that turns out to carry less is believed.
fn narrower(own: Mtu, peer: Mtu, destination: Prefix) -> Option<u32> {
    let least = Mtu::minimum(Family::of(destination.address()));
    let carried = peer.max(least);
    (carried < own).then(|| carried.bytes())
}

/// The metric of ours. `IP6_RT_PRIO_USER` (`linux/ipv6_route.h`) is what the kernel makes of 0 for IPv6.
fn priority(destination: Prefix) -> u32 {
    if destination.address().is_ipv6() {
        1024
    } else {
        0
    }
}

fn is_of_overlay(route: &Route, device: IfName, pools: &BTreeSet<Prefix>) -> bool {
    route.link == device || is_direct(route, pools)
}

/// Whether a route of ours is one to a peer that is sent to as it is. A container's are on its port: to
/// the link itself, or by way of its link-local address.
fn is_direct(route: &Route, pools: &BTreeSet<Prefix>) -> bool {
    let is_link_local =
        |address: IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let inside = |pool: &Prefix| {
        pool.contains(route.destination.address()) && pool.len() <= route.destination.len()
    };
    route.gateway.is_some_and(|gateway| !is_link_local(gateway)) && pools.iter().any(inside)
}
