//! Membership in multicast groups: MLD (RFC 2710, RFC 3810) and IGMP (RFC 2236, RFC 3376).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::bytes::checksum;
use super::{Extension, Frame, Icmpv6, Ipv4, Ipv6, MacOctets, Payload, multicast_mac};

/// All multicast routers that speak `MLDv2` (RFC 3810 §5.2.14).
const MLD2_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
/// All nodes on the link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// All multicast routers that speak `IGMPv3` (RFC 3376 §4.2.14).
const IGMP3_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 22);
/// All systems on the subnet.
const ALL_SYSTEMS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
/// `CHANGE_TO_EXCLUDE_MODE` with no sources: joins the group (RFC 3810 §5.2.12, RFC 3376 §4.2.12).
const JOIN: u8 = 4;
/// The router alert option of IPv4 (RFC 2113 §2.1).
const ROUTER_ALERT: [u8; 4] = [0x94, 4, 0, 0];

/// An `MLDv2` report (143) that joins `groups`.
#[must_use]
pub fn mld2_report(mac: MacOctets, src: Ipv6Addr, groups: &[Ipv6Addr]) -> Frame {
    let mut bytes = vec![0, 0];
    bytes.extend(count(groups.len()));
    for group in groups {
        bytes.extend([JOIN, 0, 0, 0]);
        bytes.extend(group.octets());
    }
    mld(mac, src, MLD2_ROUTERS, 143, bytes)
}

/// An `MLDv1` report (131) for `group`, sent to it.
#[must_use]
pub fn mld1_report(mac: MacOctets, src: Ipv6Addr, group: Ipv6Addr) -> Frame {
    let bytes = [[0; 4].as_slice(), &group.octets()].concat();
    mld(mac, src, group, 131, bytes)
}

/// A general `MLDv2` query (130) to all nodes: who sends it claims to be the querier.
#[must_use]
pub fn mld_query(mac: MacOctets, src: Ipv6Addr) -> Frame {
    let mut bytes = vec![0x27, 0x10, 0, 0];
    bytes.extend([0; 16]);
    bytes.extend([2, 125, 0, 0]);
    mld(mac, src, ALL_NODES, 130, bytes)
}

fn mld(mac: MacOctets, src: Ipv6Addr, group: Ipv6Addr, kind: u8, bytes: Vec<u8>) -> Frame {
    let message = Icmpv6::Other {
        kind,
        code: 0,
        bytes,
    };
    let mut packet = Ipv6::new(src, group, message).extended(Extension::router_alert());
    packet.hop_limit = 1;
    Frame::new(mac, multicast_mac(group.into()), packet)
}

/// An `IGMPv3` report (0x22) that joins `groups`.
#[must_use]
pub fn igmp3_report(mac: MacOctets, src: Ipv4Addr, groups: &[Ipv4Addr]) -> Frame {
    let mut bytes = vec![0x22, 0, 0, 0, 0, 0];
    bytes.extend(count(groups.len()));
    for group in groups {
        bytes.extend([JOIN, 0, 0, 0]);
        bytes.extend(group.octets());
    }
    igmp(mac, src, IGMP3_ROUTERS, bytes)
}

/// A general `IGMPv2` query (0x11) to all systems.
#[must_use]
pub fn igmp_query(mac: MacOctets, src: Ipv4Addr) -> Frame {
    igmp(mac, src, ALL_SYSTEMS, vec![0x11, 100, 0, 0, 0, 0, 0, 0])
}

fn igmp(mac: MacOctets, src: Ipv4Addr, group: Ipv4Addr, mut bytes: Vec<u8>) -> Frame {
    let sum = checksum(&[&bytes]).to_be_bytes();
    bytes[2..4].copy_from_slice(&sum);
    let mut packet = Ipv4::new(src, group, Payload::other(2, &bytes));
    packet.ttl = 1;
    packet.options = ROUTER_ALERT.to_vec();
    Frame::new(mac, multicast_mac(group.into()), packet)
}

fn count(groups: usize) -> [u8; 2] {
    u16::try_from(groups)
        .expect("a packet holds fewer than 64 Ki groups")
        .to_be_bytes()
}
