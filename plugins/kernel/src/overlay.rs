//! What overlays hang on: the entries of VXLAN devices, the ways to their peers, and the links of the
//! underlay.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bulkhead_model::{IfName, Mac, Mtu};
use bulkhead_plan::{FdbEntry, NeighbourState, Reach, Space, SpaceScope};

use crate::attributes::{address, find, number};
use crate::error::{NetlinkError, ObserveError};
use crate::place::{Kernel, Place, PlaceError};
use crate::request::{get_addresses, get_fdb, get_neighbours, get_route, get_station};
use crate::routes::{decode_address, decode_neighbour};

/// Length of `struct ndmsg` (`linux/neighbour.h`).
const NDMSG: usize = 12;

/// Reads what the scope asks for of these.
pub(crate) fn observe(
    place: &mut Place,
    wanted: &SpaceScope,
    space: &mut Space,
) -> Result<(), PlaceError> {
    for link in &wanted.fdb_of {
        for message in listed(place, *link, get_fdb)? {
            show_fdb(*link, &message, space);
        }
    }
    for link in &wanted.neighbours_of {
        for message in listed(place, *link, get_neighbours)? {
            if let Some((neighbour, state)) = entry(&message) {
                space.neighbours.insert((*link, neighbour), state);
            }
        }
    }
    for (port, mac) in &wanted.stations {
        if is_station(place, *port, *mac)? {
            space.stations.insert((*port, *mac));
        }
    }
    observe_reach(place, &wanted.reach, space)
}

/// Whether a bridge was told that a MAC is behind its port.
fn is_station(place: &mut Place, port: IfName, mac: Mac) -> Result<bool, PlaceError> {
    const NUD_NOARP: u16 = 0x40;
    let Some(index) = place.indexes.get(&port).copied() else {
        return Ok(false);
    };
    match place.route()?.get(get_station(index, mac)) {
        // Unknown, or the port is on no bridge.
        Err(NetlinkError::Refused(_)) => Ok(false),
        answer => Ok(answer?.is_some_and(|found| {
            let same = found.body.get(4..).and_then(number) == Some(index);
            same && state(&found.body) & NUD_NOARP != 0
        })),
    }
}

/// The answers to a question about a link; none if there is no such link.
fn listed(
    place: &mut Place,
    link: IfName,
    question: fn(u32) -> Vec<u8>,
) -> Result<Vec<Vec<u8>>, PlaceError> {
    let index = match place.indexes.get(&link) {
        Some(index) => *index,
        None => match place.link(link)? {
            Some(found) => found.index,
            None => return Ok(Vec::new()),
        },
    };
    match place.route()?.list(&question(index)) {
        // Gone since it was asked for: its entries went with it.
        Err(NetlinkError::Refused(refusal)) if refusal.is_stale() => Ok(Vec::new()),
        answer => Ok(answer?.into_iter().map(|message| message.body).collect()),
    }
}

/// One remote of one MAC.
fn show_fdb(link: IfName, body: &[u8], space: &mut Space) {
    const NDA_DST: u16 = 1;
    const NDA_LLADDR: u16 = 2;
    const NDA_PORT: u16 = 6;
    const NDA_VNI: u16 = 7;
    const NDA_IFINDEX: u16 = 8;
    const NDA_NH_ID: u16 = 13;
    const NDA_MASTER: u16 = 9;
    let rest = body.get(NDMSG..).unwrap_or_default();
    // What the bridge knows that the device is a port of is not the device's.
    if find(rest, NDA_MASTER).is_some() {
        return;
    }
    let Some(mac) = find(rest, NDA_LLADDR).and_then(|mac| mac.try_into().ok()) else {
        return;
    };
    let others = [NDA_PORT, NDA_VNI, NDA_IFINDEX, NDA_NH_ID];
    let plain = is_permanent(body) && others.iter().all(|kind| find(rest, *kind).is_none());
    let entry = space.fdb.entry((link, mac)).or_insert_with(|| FdbEntry {
        remotes: BTreeSet::new(),
        plain,
    });
    entry.plain &= plain;
    entry.remotes.extend(find(rest, NDA_DST).and_then(address));
}

fn state(body: &[u8]) -> u16 {
    let bytes = body.get(8..10).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u16::from_ne_bytes)
}

fn is_permanent(body: &[u8]) -> bool {
    const NUD_PERMANENT: u16 = 0x80;
    state(body) & NUD_PERMANENT != 0
}

/// A neighbour entry that is resolved; groups, which need no resolving, are no neighbours.
fn entry(body: &[u8]) -> Option<(IpAddr, NeighbourState)> {
    const NDA_DST: u16 = 1;
    const NUD_NOARP: u16 = 0x40;
    if state(body) & NUD_NOARP != 0 {
        return None;
    }
    let neighbour = find(body.get(NDMSG..)?, NDA_DST).and_then(address)?;
    Some((neighbour, decode_neighbour(body)?))
}

/// How packets to each address leave: asked in one piece, for there may be thousands.
fn observe_reach(
    place: &mut Place,
    wanted: &BTreeSet<IpAddr>,
    space: &mut Space,
) -> Result<(), PlaceError> {
    let requests: Vec<_> = wanted.iter().map(|to| get_route(*to)).collect();
    let answers = place.route()?.get_all(requests)?;
    let mut names = BTreeMap::new();
    for (to, answer) in wanted.iter().zip(answers) {
        // A refusal is an answer too: no way leads there.
        let found = answer.ok().flatten();
        let Some((index, gateway)) = found.and_then(|message| way(&message.body)) else {
            continue;
        };
        let link = match names.entry(index) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => *new.insert(place.name_of(index)?),
        };
        if let Some(link) = link {
            space.reach.insert(*to, Reach { link, gateway });
        }
    }
    Ok(())
}

/// The link and the next hop of an answer (`struct rtmsg`); `None` if the packet does not leave.
pub(crate) fn way(body: &[u8]) -> Option<(u32, Option<IpAddr>)> {
    const RTMSG: usize = 12;
    const TYPE: usize = 7;
    const RTN_UNICAST: u8 = 1;
    const RTA_OIF: u16 = 4;
    const RTA_GATEWAY: u16 = 5;
    const RTA_VIA: u16 = 18;
    if body.get(TYPE) != Some(&RTN_UNICAST) {
        return None;
    }
    let rest = body.get(RTMSG..)?;
    let via = || find(rest, RTA_VIA).and_then(|via| via.get(2..));
    let gateway = find(rest, RTA_GATEWAY).or_else(via).and_then(address);
    Some((find(rest, RTA_OIF).and_then(number)?, gateway))
}

/// A link of the underlay: the one with the address that an overlay sends from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Underlay {
    /// Its name.
    pub link: IfName,
    /// Its index.
    pub index: u32,
    /// Its MAC; none if it has none.
    pub mac: Option<Mac>,
    /// Its MTU.
    pub mtu: Mtu,
    /// `IFLA_INFO_KIND`: `vlan`, `wireguard`, `sit`, `ppp` and so on; empty for a physical device.
    pub kind: String,
    /// `IFF_UP`.
    pub up: bool,
}

impl Kernel {
    /// The link of the host that has this address; `None` if none has.
    ///
    /// # Errors
    /// As [`Kernel::observe`].
    pub fn underlay(&mut self, address: IpAddr) -> Result<Option<Underlay>, ObserveError> {
        self.surveyed("addresses", |place| {
            let Some(index) = holder(place, address)? else {
                return Ok(None);
            };
            let link = place.link_of(index)?;
            Ok(link.map(|link| Underlay {
                link: link.name,
                index,
                mac: link.mac,
                mtu: link.mtu,
                kind: link.kind,
                up: link.up,
            }))
        })
    }
}

fn holder(place: &mut Place, wanted: IpAddr) -> Result<Option<u32>, PlaceError> {
    let messages = place.route()?.list(&get_addresses(0))?;
    let holds = |body: &[u8]| {
        let found = decode_address(body);
        found.is_some_and(|(found, _)| found.address() == wanted)
    };
    let mut found = messages.iter().filter(|message| holds(&message.body));
    // `ifa_index` of `struct ifaddrmsg` (`linux/if_addr.h`).
    Ok(found.find_map(|message| message.body.get(4..).and_then(number)))
}
