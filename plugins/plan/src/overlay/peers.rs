//! What the device is told of each peer: which underlay address has its MAC, and which MAC its link-local
//! address, the next hop of every route to it. All of it is permanent, and nothing else is on the device.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bulkhead_model::{IfName, Mac};

use super::{Overlay, Peer};
use crate::{FdbEntry, Neighbour, Ns, Op, Space};

/// Appends what is missing, or leads elsewhere.
pub(super) fn learn(host: &Space, want: &Overlay, ops: &mut Vec<Op>) {
    let device = want.vtep.device;
    for (mac, remote) in remotes(&want.peers) {
        let found = host.fdb.get(&(device, mac.octets()));
        if found.is_some_and(|found| leads(found, remote)) {
            continue;
        }
        // A replacement changes the remote, and nothing of an entry of another kind.
        if found.is_some_and(|found| !found.plain) {
            ops.push(del_fdb(device, mac.octets()));
        }
        ops.push(Op::SetFdb {
            ns: Ns::Host,
            link: device,
            mac,
            remote,
        });
    }
    let neighbours: Vec<_> = want.peers.iter().map(neighbour).collect();
    crate::link::permanent(host, &Ns::Host, device, &neighbours, ops);
}

/// Appends what takes away everything else: somebody put it there, or a peer is gone.
pub(super) fn forget(host: &Space, want: &Overlay, ops: &mut Vec<Op>) {
    let device = want.vtep.device;
    let lowest = (device, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let highest = (device, IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)));
    let kept = want.peers.iter().map(|peer| neighbour(peer).address);
    let kept: BTreeSet<_> = kept.collect();
    for ((link, address), _) in host.neighbours.range(lowest..=highest) {
        if !kept.contains(address) {
            ops.push(Op::DelNeighbour {
                ns: Ns::Host,
                link: *link,
                address: *address,
            });
        }
    }
    let remotes = remotes(&want.peers);
    for ((link, octets), _) in host.fdb.range((device, [0; 6])..=(device, [0xff; 6])) {
        let wanted = Mac::new(*octets).is_some_and(|mac| remotes.contains_key(&mac));
        if !wanted {
            ops.push(del_fdb(*link, *octets));
        }
    }
}

fn remotes(peers: &[Peer]) -> BTreeMap<Mac, IpAddr> {
    peers.iter().map(|peer| (peer.mac, peer.underlay)).collect()
}

fn neighbour(peer: &Peer) -> Neighbour {
    Neighbour {
        address: peer.mac.link_local().into(),
        mac: peer.mac,
    }
}

fn leads(found: &FdbEntry, remote: IpAddr) -> bool {
    found.plain && found.remotes.len() == 1 && found.remotes.contains(&remote)
}

fn del_fdb(link: IfName, mac: [u8; 6]) -> Op {
    Op::DelFdb {
        ns: Ns::Host,
        link,
        mac,
    }
}
