//! What the device is told of each station of other nodes: which underlay address has its MAC, and which MAC
//! its addresses. All of it is permanent, and nothing else is on the device.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Segment;
use crate::{FdbEntry, Neighbour, Op, Space};

/// Where goes what has no entry.
const ELSE: [u8; 6] = [0; 6];

/// Appends what is missing, or leads elsewhere.
pub(super) fn learn(space: &Space, want: &Segment, ops: &mut Vec<Op>) {
    let (ns, link) = (&want.ns, want.vtep.device);
    for station in &want.stations {
        let found = space.fdb.get(&(link, station.mac.octets()));
        if found.is_some_and(|found| leads(found, station.underlay)) {
            continue;
        }
        // A replacement changes the remote, and nothing of an entry of another kind.
        if found.is_some_and(|found| !found.plain || found.remotes.len() > 1) {
            ops.push(del(want, station.mac.octets()));
        }
        ops.push(Op::SetFdb {
            ns: ns.clone(),
            link,
            mac: station.mac,
            remote: station.underlay,
        });
    }
    replicate(space, want, ops);
    let neighbours: Vec<Neighbour> = neighbours(want)
        .into_iter()
        .map(|(address, mac)| Neighbour { address, mac })
        .collect();
    crate::link::permanent(space, ns, link, &neighbours, ops);
}

/// Appends what takes away everything else: somebody put it there, or a station is another node's.
pub(super) fn forget(space: &Space, want: &Segment, ops: &mut Vec<Op>) {
    let link = want.vtep.device;
    let lowest = (link, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let highest = (link, IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)));
    let kept = neighbours(want);
    for ((_, address), _) in space.neighbours.range(lowest..=highest) {
        if !kept.contains_key(address) {
            ops.push(Op::DelNeighbour {
                ns: want.ns.clone(),
                link,
                address: *address,
            });
        }
    }
    let kept: BTreeSet<_> = want.stations.iter().map(|it| it.mac.octets()).collect();
    for ((_, mac), _) in space.fdb.range((link, ELSE)..=(link, [0xff; 6])) {
        let is_wanted = *mac == ELSE && !want.replicas.is_empty();
        if !is_wanted && !kept.contains(mac) {
            ops.push(del(want, *mac));
        }
    }
}

/// Appends what has the other nodes get what has no entry, each a copy from this node (head-end
/// replication, RFC 8365 section 9).
fn replicate(space: &Space, want: &Segment, ops: &mut Vec<Op>) {
    let link = want.vtep.device;
    let none = BTreeSet::new();
    let found = space.fdb.get(&(link, ELSE));
    let mut there = found.map_or(&none, |found| &found.remotes);
    let surplus = found.is_some_and(|found| !found.plain) || !there.is_subset(&want.replicas);
    if surplus && !want.replicas.is_empty() {
        ops.push(del(want, ELSE));
        there = &none;
    }
    let missing = want.replicas.difference(there);
    ops.extend(missing.map(|remote| Op::AddFlood {
        ns: want.ns.clone(),
        link,
        remote: *remote,
    }));
}

/// Of one address the last station: there is one.
fn neighbours(want: &Segment) -> BTreeMap<IpAddr, bulkhead_model::Mac> {
    let of = |station: &super::Station| {
        let mac = station.mac;
        let addresses = station.addresses.clone().into_iter();
        addresses.map(move |address| (address, mac))
    };
    want.stations.iter().flat_map(of).collect()
}

fn leads(found: &FdbEntry, remote: IpAddr) -> bool {
    found.plain && found.remotes.len() == 1 && found.remotes.contains(&remote)
}

fn del(want: &Segment, mac: [u8; 6]) -> Op {
    Op::DelFdb {
        ns: want.ns.clone(),
        link: want.vtep.device,
        mac,
    }
}
