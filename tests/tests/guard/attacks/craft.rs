//! Messages that several attacks are made of.

use std::net::Ipv6Addr;

use netns_fixtures::packet::{
    Advertised, Extension, Frame, Icmpv6, Ipv6, MacOctets, NdOption, Payload, RouterAdvertisement,
    Udp, Vlan, multicast_mac,
};

use crate::scene::{ALL_NODES, Scene};
use crate::shot::Shot;

/// An option of 14 bytes of a type that receivers skip (RFC 8200 §4.2, RFC 4727 §3).
const FILLER: [u8; 14] = [0x1e, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// VLAN tags: 802.1Q and 802.1ad.
pub(crate) const Q: u16 = 0x8100;
pub(crate) const AD: u16 = 0x88a8;

/// An advertisement that would make the sender everybody's router, resolver and prefix.
pub(crate) fn advertisement(mac: MacOctets) -> RouterAdvertisement {
    RouterAdvertisement {
        hop_limit: 64,
        flags: 0,
        lifetime_secs: 1800,
        reachable_ms: 0,
        retrans_ms: 0,
        options: vec![
            NdOption::SourceMac(mac),
            NdOption::Prefix {
                prefix: Ipv6Addr::new(0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, 0),
                len: 64,
                flags: 0xc0,
                valid_secs: 7200,
                preferred_secs: 3600,
            },
            NdOption::Rdnss {
                lifetime_secs: 600,
                servers: vec![Ipv6Addr::new(0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, 53)],
            },
        ],
    }
}

/// The attacker's own advertisement to all nodes, as a packet.
pub(crate) fn ra(s: &Scene) -> Ipv6 {
    let message = Icmpv6::RouterAdvertisement(advertisement(s.me.mac));
    Ipv6::new(s.me.lla, ALL_NODES, message)
}

/// A packet in a frame from the attacker's MAC: to the group's, or to victim 1.
pub(crate) fn framed(s: &Scene, packet: Ipv6) -> Frame {
    let mac = if packet.dst.is_multicast() {
        multicast_mac(packet.dst.into())
    } else {
        s.towards(0)
    };
    Frame::new(s.me.mac, mac, packet)
}

/// One message in one frame.
pub(crate) fn one(frame: Frame) -> Vec<Shot> {
    vec![frame.into()]
}

/// The pieces of a packet, in the order of these indices.
pub(crate) fn in_pieces(
    s: &Scene,
    packet: &Ipv6,
    before: usize,
    cuts: &[usize],
    order: &[usize],
) -> Vec<Shot> {
    let pieces = packet.split(0x0bad_0bad, before, cuts);
    let frames = order.iter().map(|nth| framed(s, pieces[*nth].clone()));
    vec![Shot::pieces(frames)]
}

/// An extension header of this number with `units` fillers, each two thirds of 24 bytes.
pub(crate) fn filler(protocol: u8, units: usize) -> Extension {
    let mut bytes = FILLER.repeat(units);
    // Fill to a multiple of 8 less 2 with Pad1 and PadN of at most 5 bytes (RFC 8200 §4.2).
    match (bytes.len() + 2) % 8 {
        0 => {}
        7 => bytes.push(0),
        part => {
            let missing = 8 - part;
            bytes.push(1);
            bytes.push(u8::try_from(missing - 2).expect("up to six"));
            bytes.resize(bytes.len() + missing - 2, 0);
        }
    }
    Extension::Options { protocol, bytes }
}

/// One filler of 1 KiB.
pub(crate) fn big_filler(protocol: u8) -> Extension {
    let mut bytes = Vec::new();
    for _ in 0..4 {
        bytes.extend([0x1e, 253]);
        bytes.resize(bytes.len() + 253, 0);
    }
    bytes.resize(bytes.len() + 2, 0);
    Extension::Options { protocol, bytes }
}

pub(crate) fn tag(protocol: u16, tci: u16) -> Vlan {
    Vlan { protocol, tci }
}

pub(crate) const OVERRIDE: Advertised = Advertised::OVERRIDE;

pub(crate) fn na(target: Ipv6Addr, flags: Advertised, options: Vec<NdOption>) -> Icmpv6 {
    Icmpv6::NeighborAdvertisement {
        target,
        flags,
        options,
    }
}

pub(crate) fn ns(target: Ipv6Addr, options: Vec<NdOption>) -> Icmpv6 {
    Icmpv6::NeighborSolicitation { target, options }
}

/// Any other message.
pub(crate) fn icmp6(kind: u8, code: u8, bytes: &[u8]) -> Icmpv6 {
    Icmpv6::Other {
        kind,
        code,
        bytes: bytes.to_vec(),
    }
}

/// A datagram that is known by its attack's name.
pub(crate) fn udp(name: &str, src_port: u16, dst_port: u16) -> Payload {
    Payload::Udp(Udp {
        src_port,
        dst_port,
        data: format!("attack {name}").into_bytes(),
    })
}

/// A host beyond the upstream that attacks pretend to be or lead to.
pub(crate) const FAR6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xfa, 0, 0, 0, 0, 1);
pub(crate) const FAR4: std::net::Ipv4Addr = std::net::Ipv4Addr::new(203, 0, 113, 77);
