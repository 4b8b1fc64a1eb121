//! Addresses, routes and neighbours as rtnetlink shows them (`linux/if_addr.h`,
//! `linux/rtnetlink.h`, `linux/neighbour.h`).

use std::net::IpAddr;

use bulkhead_model::{Family, InterfaceAddress, Mac, Prefix};
use bulkhead_plan::AddressState;

use crate::attributes::{address, attributes, find, mac, number};

/// One address and how it stands.
pub(crate) fn decode_address(body: &[u8]) -> Option<(InterfaceAddress, Address)> {
    const IFADDRMSG: usize = 8;
    const IFA_ADDRESS: u16 = 1;
    const IFA_LOCAL: u16 = 2;
    const IFA_FLAGS: u16 = 8;
    const IFA_F_DADFAILED: u32 = 0x08;
    const IFA_F_TENTATIVE: u32 = 0x40;
    let rest = body.get(IFADDRMSG..)?;
    // With a peer, IFA_ADDRESS is the peer's and IFA_LOCAL ours.
    let own = find(rest, IFA_LOCAL).or_else(|| find(rest, IFA_ADDRESS))?;
    let flags = find(rest, IFA_FLAGS)
        .and_then(number)
        .unwrap_or_else(|| u32::from(body[2]));
    let state = Address {
        tentative: flags & IFA_F_TENTATIVE != 0,
        duplicate: flags & IFA_F_DADFAILED != 0,
    };
    Some((InterfaceAddress::new(address(own)?, body[1])?, state))
}

/// What duplicate address detection says of an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Address {
    pub(crate) tentative: bool,
    pub(crate) duplicate: bool,
}

impl From<Address> for AddressState {
    fn from(address: Address) -> Self {
        Self {
            tentative: address.tentative || address.duplicate,
            unrouted: false,
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

/// `RTPROT_KERNEL`: the kernel's own, such as an address' prefix.
pub(crate) const PROTOCOL_KERNEL: u8 = 2;
/// `RTPROT_RA`: learnt from a router advertisement.
pub(crate) const PROTOCOL_RA: u8 = 9;

impl RawRoute {
    /// `None` if it is cached, not unicast, or goes over several links.
    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        const RTMSG: usize = 12;
        const RTA_DST: u16 = 1;
        const RTA_OIF: u16 = 4;
        const RTA_GATEWAY: u16 = 5;
        const RTA_PRIORITY: u16 = 6;
        const RTA_METRICS: u16 = 8;
        const RTA_TABLE: u16 = 15;
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

/// The MAC of a neighbour entry; `None` while it is not resolved.
pub(crate) fn decode_neighbour(body: &[u8]) -> Option<Mac> {
    const NDMSG: usize = 12;
    const NDA_LLADDR: u16 = 2;
    mac(find(body.get(NDMSG..)?, NDA_LLADDR)?)
}

/// Both families, for questions that are asked once for each.
pub(crate) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
