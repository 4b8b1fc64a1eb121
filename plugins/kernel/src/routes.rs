//! Addresses, routes and neighbours as rtnetlink shows them (`linux/if_addr.h`,
//! `linux/rtnetlink.h`, `linux/neighbour.h`).

use std::net::IpAddr;

use bulkhead_model::{Family, InterfaceAddress, Prefix, ROUTE_PROTOCOL};
use bulkhead_plan::{
    AddressState, BLACKHOLE_PRIORITY, MAIN_TABLE, NeighbourState, OnLink, Stranger,
};

use crate::attributes::{address, attribute, attributes, find, mac, number};

/// One address and how it stands.
pub(crate) fn decode_address(body: &[u8]) -> Option<(InterfaceAddress, Address)> {
    const IFADDRMSG: usize = 8;
    const IFA_ADDRESS: u16 = 1;
    const IFA_LOCAL: u16 = 2;
    const IFA_FLAGS: u16 = 8;
    const IFA_F_DADFAILED: u32 = 0x08;
    const IFA_F_TENTATIVE: u32 = 0x40;
    const IFA_F_NOPREFIXROUTE: u32 = 0x200;
    let rest = body.get(IFADDRMSG..)?;
    // With a peer, IFA_ADDRESS is the peer's and IFA_LOCAL ours.
    let own = find(rest, IFA_LOCAL).or_else(|| find(rest, IFA_ADDRESS))?;
    let flags = find(rest, IFA_FLAGS)
        .and_then(number)
        .unwrap_or_else(|| u32::from(body[2]));
    let state = Address {
        tentative: flags & IFA_F_TENTATIVE != 0,
        duplicate: flags & IFA_F_DADFAILED != 0,
        alone: flags & IFA_F_NOPREFIXROUTE != 0,
    };
    Some((InterfaceAddress::new(address(own)?, body[1])?, state))
}

/// What duplicate address detection says of an address, and whether it came without its prefix.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Address {
    pub(crate) tentative: bool,
    pub(crate) duplicate: bool,
    pub(crate) alone: bool,
}

impl From<Address> for AddressState {
    fn from(address: Address) -> Self {
        Self {
            tentative: address.tentative || address.duplicate,
            unrouted: false,
            on_link: if address.alone {
                OnLink::Nothing
            } else {
                OnLink::Prefix
            },
        }
    }
}

/// A unicast route over one link, the link still by index.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RawRoute {
    pub(crate) destination: Prefix,
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) link: u32,
    pub(crate) priority: u32,
    pub(crate) table: u32,
    pub(crate) scope: u8,
    pub(crate) protocol: u8,
    pub(crate) mtu: Option<u32>,
    pub(crate) advmss: Option<u32>,
}

/// Length of `struct rtmsg`.
const RTMSG: usize = 12;
const RTA_DST: u16 = 1;
const RTA_PRIORITY: u16 = 6;
const RTA_TABLE: u16 = 15;
/// `rtm_type` of a route that drops without a word.
pub(crate) const RTN_BLACKHOLE: u8 = 6;

/// `RTPROT_KERNEL`: the kernel's own, such as an address' prefix.
pub(crate) const PROTOCOL_KERNEL: u8 = 2;
/// `RTPROT_RA`: learnt from a router advertisement.
pub(crate) const PROTOCOL_RA: u8 = 9;

impl RawRoute {
    /// `None` if it is cached, not unicast, or goes over several links.
    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        const RTA_OIF: u16 = 4;
        const RTA_GATEWAY: u16 = 5;
        const RTA_METRICS: u16 = 8;
        const RTA_VIA: u16 = 18;
        const RTAX_MTU: u16 = 2;
        const RTAX_ADVMSS: u16 = 8;
        const RTN_UNICAST: u8 = 1;
        const RTM_F_CLONED: u32 = 0x200;
        let [family, len, _, _, table, protocol, scope, kind, ..] = *body else {
            return None;
        };
        if kind != RTN_UNICAST || number(body.get(8..)?)? & RTM_F_CLONED != 0 {
            return None;
        }
        let rest = body.get(RTMSG..)?;
        let destination = find(rest, RTA_DST).map_or_else(|| any(family), address)?;
        let mut route = Self {
            destination: Prefix::new(destination, len)?,
            gateway: None,
            link: number(find(rest, RTA_OIF)?)?,
            priority: 0,
            table: u32::from(table),
            scope,
            protocol,
            mtu: None,
            advmss: None,
        };
        for (kind, value) in attributes(rest) {
            match kind {
                RTA_GATEWAY => route.gateway = address(value),
                // `struct rtvia`: a gateway of the other family.
                RTA_VIA => route.gateway = value.get(2..).and_then(address),
                RTA_PRIORITY => route.priority = number(value)?,
                RTA_TABLE => route.table = number(value)?,
                RTA_METRICS => {
                    route.mtu = find(value, RTAX_MTU).and_then(number);
                    route.advmss = find(value, RTAX_ADVMSS).and_then(number);
                }
                _ => {}
            }
        }
        Some(route)
    }

    /// The same; one that goes over several links is shown without a next hop, over the first of them.
    pub(crate) fn decode_any(body: &[u8]) -> Option<Self> {
        const RTA_MULTIPATH: u16 = 9;
        const RTA_OIF: u16 = 4;
        let Some(hops) = find(body.get(RTMSG..)?, RTA_MULTIPATH) else {
            return Self::decode(body);
        };
        // `struct rtnexthop` ends with the index of its link.
        let first = hops.get(4..8)?;
        let single = [body, &attribute(RTA_OIF, first)].concat();
        Self::decode(&single)
    }
}

/// A route of the main table that is not ours, of whatever kind, its link still by index; `None` of any
/// other.
pub(crate) fn decode_stranger(body: &[u8]) -> Option<(Stranger, Option<u32>)> {
    const RTA_OIF: u16 = 4;
    const RTA_GATEWAY: u16 = 5;
    const RTA_VIA: u16 = 18;
    const RTM_F_CLONED: u32 = 0x200;
    let [family, len, _, _, table, protocol, _, kind, ..] = *body else {
        return None;
    };
    let rest = body.get(RTMSG..)?;
    let word = |kind| find(rest, kind).and_then(number);
    let table = word(RTA_TABLE).unwrap_or_else(|| u32::from(table));
    let cloned = number(body.get(8..)?)? & RTM_F_CLONED != 0;
    if table != MAIN_TABLE || protocol == ROUTE_PROTOCOL || cloned {
        return None;
    }
    let destination = find(rest, RTA_DST).map_or_else(|| any(family), address)?;
    let via = || find(rest, RTA_VIA).and_then(|via| via.get(2..));
    let stranger = Stranger {
        destination: Prefix::new(destination, len)?,
        priority: word(RTA_PRIORITY).unwrap_or_default(),
        kind,
        protocol,
        gateway: find(rest, RTA_GATEWAY).or_else(via).and_then(address),
        link: None,
    };
    Some((stranger, word(RTA_OIF)))
}

fn any(family: u8) -> Option<IpAddr> {
    const AF_INET: u8 = 2;
    const AF_INET6: u8 = 10;
    match family {
        AF_INET => Some([0; 4].into()),
        AF_INET6 => Some([0; 16].into()),
        _ => None,
    }
}

/// The destination of a blackhole route of ours; `None` of any other route.
pub(crate) fn decode_blackhole(body: &[u8]) -> Option<Prefix> {
    let [family, len, _, _, table, protocol, _, RTN_BLACKHOLE, ..] = *body else {
        return None;
    };
    let rest = body.get(RTMSG..)?;
    let word = |kind| find(rest, kind).and_then(number);
    let table = word(RTA_TABLE).unwrap_or_else(|| u32::from(table));
    let ours = protocol == ROUTE_PROTOCOL
        && table == MAIN_TABLE
        && word(RTA_PRIORITY) == Some(BLACKHOLE_PRIORITY);
    let destination = find(rest, RTA_DST).map_or_else(|| any(family), address)?;
    Prefix::new(destination, len).filter(|_| ours)
}

/// A neighbour entry; `None` while it is not resolved.
pub(crate) fn decode_neighbour(body: &[u8]) -> Option<NeighbourState> {
    const NDMSG: usize = 12;
    /// Where `ndm_state` is.
    const STATE: usize = 8;
    const NDA_LLADDR: u16 = 2;
    const NUD_PERMANENT: u16 = 0x80;
    let mac = mac(find(body.get(NDMSG..)?, NDA_LLADDR)?)?;
    let state = u16::from_ne_bytes(body.get(STATE..STATE + 2)?.try_into().ok()?);
    Some(NeighbourState {
        mac,
        permanent: state & NUD_PERMANENT != 0,
    })
}

/// Both families, for questions that are asked once for each.
pub(crate) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
