//! A forbidden message, and what hides it.

use std::net::{Ipv4Addr, Ipv6Addr};

use netns_fixtures::packet::{
    Advertised, Arp, ArpOp, BROADCAST, Body, Extension, Fragment, Frame, Icmpv6, Ipv4, Ipv6,
    MacOctets, NdOption, RouterAdvertisement, Udp, Vlan, multicast_mac,
};

use super::dice::Dice;
use crate::scene::{ALL_NODES, EVIL, Scene};
use crate::shot::Shot;

/// What no host may send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Forbidden {
    /// Type 134.
    RouterAdvertisement,
    /// Type 136 of an address that is another's.
    OthersAdvertisement,
    /// Type 135 that tells another's MAC.
    OthersSolicitation,
    /// Type 137.
    Redirect,
    /// Type 2.
    PacketTooBig,
    /// Port 546.
    Dhcp6Reply,
    /// Port 68.
    Dhcp4Reply,
    /// From another's IPv6 address.
    Source6,
    /// From another's IPv4 address.
    Source4,
    /// ARP that claims another's address.
    OthersArp,
}

impl Forbidden {
    pub(super) const ALL: [Self; 10] = [
        Self::RouterAdvertisement,
        Self::OthersAdvertisement,
        Self::OthersSolicitation,
        Self::Redirect,
        Self::PacketTooBig,
        Self::Dhcp6Reply,
        Self::Dhcp4Reply,
        Self::Source6,
        Self::Source4,
        Self::OthersArp,
    ];

    /// Whether some of what is generated changes tables where nothing stops it.
    pub(super) fn takes_effect(self) -> bool {
        !matches!(
            self,
            Self::Dhcp6Reply | Self::Dhcp4Reply | Self::Source6 | Self::Source4
        )
    }
}

/// One forbidden message, hidden. Each differs from every other in what it carries, so that it is
/// known when it arrives.
pub(super) fn hide(s: &Scene, dice: &mut Dice) -> (Forbidden, Shot) {
    let message = dice.pick(&Forbidden::ALL);
    let mark = dice.next().to_be_bytes();
    let shot = match message {
        Forbidden::OthersArp => {
            let frame = arp(s, dice.octet());
            Shot::from(dressed(dice, frame))
        }
        Forbidden::Dhcp4Reply | Forbidden::Source4 => four(s, dice, message, mark),
        _ => six(s, dice, message, mark),
    };
    (message, shot)
}

/// In tags of no VLAN, or in LLC and SNAP.
fn dressed(dice: &mut Dice, mut frame: Frame) -> Frame {
    if dice.one_in(12) {
        frame = frame.in_snap();
    }
    let tags = if dice.one_in(3) { 1 + dice.below(3) } else { 0 };
    for _ in 0..tags {
        let protocol = dice.pick(&[0x8100, 0x8100, 0x88a8]);
        // Only the priority: another VLAN is nobody's here.
        let tci = u16::from(dice.octet() & 0xe0) << 8;
        frame.vlans.push(Vlan { protocol, tci });
    }
    frame
}

fn arp(s: &Scene, last: u8) -> Frame {
    let mac = [EVIL[0], EVIL[1], EVIL[2], EVIL[3], 0xa0, last];
    let told = Arp {
        op: ArpOp::Reply,
        sender_mac: mac,
        sender_ip: s.gateway.v4,
        target_mac: s.v1().mac,
        target_ip: s.v1().v4,
    };
    Frame::new(s.me.mac, s.towards(0), told)
}

fn datagram(mark: [u8; 8], dice: &mut Dice, dst_port: u16) -> Udp {
    let mut data = b"evasion ".to_vec();
    data.extend(mark);
    data.resize(16 + dice.below(80), 0xee);
    Udp {
        src_port: dice.pick(&[547, 67, 53, 40_000]),
        dst_port,
        data,
    }
}

fn four(s: &Scene, dice: &mut Dice, message: Forbidden, mark: [u8; 8]) -> Shot {
    let src = dice.pick(&[s.v2().v4, s.gateway.v4, Ipv4Addr::new(203, 0, 113, 9)]);
    let packet = match message {
        Forbidden::Dhcp4Reply => {
            let to = dice.pick(&[Ipv4Addr::BROADCAST, s.v1().v4]);
            Ipv4::new(s.me.v4, to, datagram(mark, dice, 68))
        }
        _ => Ipv4::new(src, s.v1().v4, datagram(mark, dice, 9)),
    };
    let mac = if packet.dst.is_broadcast() {
        BROADCAST
    } else {
        s.towards(0)
    };
    let length = packet.to_bytes().len() - 20;
    let pieces = match cuts(dice, length, 2) {
        None => vec![packet],
        Some(cuts) => packet.split(u16::from_be_bytes([mark[0], mark[1]]), &cuts),
    };
    send(s, dice, mac, pieces.into_iter().map(Body::Ipv4).collect())
}

fn six(s: &Scene, dice: &mut Dice, message: Forbidden, mark: [u8; 8]) -> Shot {
    let mut packet = bare(s, dice, message, mark);
    let mac = receiver(s, dice, packet.dst);
    let before = if dice.one_in(4) {
        packet.extensions.push(options(s, dice, 0));
        1
    } else {
        0
    };
    // Most stacks are short; receivers take long ones too.
    let count = if dice.one_in(2) { dice.below(5) } else { 0 };
    for _ in 0..count {
        let extension = inner(s, dice);
        packet.extensions.push(extension);
    }
    let length = packet.to_bytes().len()
        - 40
        - if before == 1 {
            first_length(&packet)
        } else {
            0
        };
    let pieces = match cuts(dice, length, 3) {
        None => vec![packet],
        Some(cuts) => {
            let id = u32::from_be_bytes([mark[0], mark[1], mark[2], mark[3]]);
            packet.split(id, before, &cuts)
        }
    };
    send(s, dice, mac, pieces.into_iter().map(Body::Ipv6).collect())
}

/// How long the first extension header is.
fn first_length(packet: &Ipv6) -> usize {
    let mut alone = packet.clone();
    alone.extensions.truncate(1);
    let mut none = packet.clone();
    none.extensions.clear();
    alone.to_bytes().len() - none.to_bytes().len()
}

/// Where to cut `length` bytes, for one message in `n`; nowhere makes an atomic fragment.
fn cuts(dice: &mut Dice, length: usize, n: usize) -> Option<Vec<usize>> {
    if !dice.one_in(n) {
        return None;
    }
    let places = (length - 1) / 8;
    let count = if places > 0 { dice.below(5) } else { 0 };
    let mut cuts: Vec<usize> = (0..count).map(|_| 8 * (1 + dice.below(places))).collect();
    cuts.sort_unstable();
    cuts.dedup();
    Some(cuts)
}

/// Every piece in the same dress, in any order, some twice.
fn send(s: &Scene, dice: &mut Dice, mac: MacOctets, bodies: Vec<Body>) -> Shot {
    let plain = Frame::new(
        s.me.mac,
        mac,
        Body::Other {
            ethertype: 0,
            bytes: Vec::new(),
        },
    );
    let dress = dressed(dice, plain);
    let snap = matches!(&dress.body, Body::Other { bytes, .. } if !bytes.is_empty());
    let mut frames: Vec<Frame> = bodies
        .into_iter()
        .map(|body| {
            let frame = Frame::new(s.me.mac, mac, body);
            let mut frame = if snap { frame.in_snap() } else { frame };
            frame.vlans.clone_from(&dress.vlans);
            frame
        })
        .collect();
    if frames.len() > 1 {
        dice.shuffle(&mut frames);
        if dice.one_in(8) {
            let again = frames[dice.below(frames.len())].clone();
            frames.push(again);
        }
    }
    Shot::pieces(frames)
}

/// The MAC of a packet's receiver; a group's packet may go to one station or to all (RFC 6085).
fn receiver(s: &Scene, dice: &mut Dice, to: Ipv6Addr) -> MacOctets {
    if !to.is_multicast() {
        return s.towards(0);
    }
    let group = multicast_mac(to.into());
    dice.pick(&[group, group, s.towards(0), BROADCAST])
}

/// The message without anything around it.
fn bare(s: &Scene, dice: &mut Dice, message: Forbidden, mark: [u8; 8]) -> Ipv6 {
    let own = dice.pick(&[s.me.lla, s.me.lla, s.me.v6]);
    let mac = [EVIL[0], mark[0] | 1, mark[1], mark[2], mark[3], mark[4]];
    let to = dice.pick(&[ALL_NODES, s.v1().v6, s.v1().lla]);
    match message {
        Forbidden::RouterAdvertisement => {
            let src = dice.pick(&[s.me.lla, s.me.lla, s.gateway.lla]);
            Ipv6::new(src, to, Icmpv6::RouterAdvertisement(router(mark, s.me.mac)))
        }
        Forbidden::OthersAdvertisement => {
            let target = dice.pick(&[s.gateway.v6, s.gateway.lla, s.v2().v6]);
            let src = dice.pick(&[own, own, target]);
            let flags = Advertised::OVERRIDE;
            let options = vec![NdOption::TargetMac(mac)];
            Ipv6::new(
                src,
                to,
                Icmpv6::NeighborAdvertisement {
                    target,
                    flags,
                    options,
                },
            )
        }
        Forbidden::OthersSolicitation => {
            let target = s.v1().v6;
            let src = dice.pick(&[s.gateway.v6, s.v2().v6, own]);
            let options = vec![NdOption::SourceMac(mac)];
            Ipv6::new(
                src,
                target,
                Icmpv6::NeighborSolicitation { target, options },
            )
        }
        Forbidden::Redirect => {
            let src = dice.pick(&[s.gateway.lla, s.gateway.lla, s.me.lla]);
            let mut bytes = vec![0; 4];
            bytes.extend(s.me.lla.octets());
            bytes.extend(s.upstream.1.octets());
            bytes.extend([2, 1]);
            bytes.extend(mac);
            Ipv6::new(src, s.v1().v6, other(137, bytes))
        }
        Forbidden::PacketTooBig => {
            let mut bytes = vec![0, 0, 5, dice.octet()];
            let echo = Icmpv6::EchoRequest {
                id: 7,
                seq: 7,
                data: mark.to_vec(),
            };
            bytes.extend(Ipv6::new(s.v1().v6, s.upstream.1, echo).to_bytes());
            Ipv6::new(s.me.v6, s.v1().v6, other(2, bytes))
        }
        Forbidden::Dhcp6Reply => Ipv6::new(
            own,
            dice.pick(&[s.v1().v6, s.v1().lla]),
            datagram(mark, dice, 546),
        ),
        _ => {
            let src = dice.pick(&[
                s.v2().v6,
                s.gateway.v6,
                Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 9),
            ]);
            Ipv6::new(src, s.v1().v6, datagram(mark, dice, 9))
        }
    }
}

fn other(kind: u8, bytes: Vec<u8>) -> Icmpv6 {
    Icmpv6::Other {
        kind,
        code: 0,
        bytes,
    }
}

/// With a prefix of its own below the one that restoring removes.
fn router(mark: [u8; 8], mac: MacOctets) -> RouterAdvertisement {
    let subnet = u16::from_be_bytes([mark[0], mark[1]]);
    RouterAdvertisement {
        hop_limit: 64,
        flags: 0,
        lifetime_secs: 1800,
        reachable_ms: 0,
        retrans_ms: 0,
        options: vec![
            NdOption::SourceMac(mac),
            NdOption::Prefix {
                prefix: Ipv6Addr::new(0x2001, 0xdb8, 0xbad, subnet, 0, 0, 0, 0),
                len: 64,
                flags: 0xc0,
                valid_secs: 7200,
                preferred_secs: 3600,
            },
        ],
    }
}

/// Options of a type that receivers skip (the high bits of 0x1e are 0, RFC 8200 §4.2); sometimes with
/// what a rule at fixed offsets takes for the port's own target and MAC.
fn options(s: &Scene, dice: &mut Dice, protocol: u8) -> Extension {
    let bytes = if dice.one_in(3) {
        let mut bytes = vec![0x1e, 28, 0, 0, 0, 0];
        bytes.extend(s.me.v6.octets());
        bytes.extend([2, 1]);
        bytes.extend(s.me.mac);
        bytes
    } else {
        let length = dice.pick(&[6_u8, 14, 22, 62]);
        let mut bytes = vec![0x1e, length - 2];
        bytes.resize(length.into(), dice.octet());
        bytes
    };
    Extension::Options { protocol, bytes }
}

/// A header that may stand behind others.
fn inner(s: &Scene, dice: &mut Dice) -> Extension {
    match dice.below(10) {
        0 => Extension::Fragment(Fragment {
            id: 1,
            offset: 0,
            more: false,
        }),
        1 => Extension::routing(dice.pick(&[0, 2, 3, 4]), 0, &[0; 20]),
        2 if dice.one_in(2) => Extension::Authentication { bytes: vec![0; 22] },
        3 if dice.one_in(2) => options(s, dice, 135),
        _ => options(s, dice, 60),
    }
}
