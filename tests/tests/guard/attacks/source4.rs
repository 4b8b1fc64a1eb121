//! D. Identity: IPv4 sources and ARP.

use std::net::Ipv4Addr;

use netns_fixtures::packet::{
    Arp, ArpOp, BROADCAST, Frame, Icmp, Ipv4, MacOctets, Tcp, multicast_mac,
};

use super::craft::{FAR4, Q, one, tag, udp};
use crate::attack::Attack;
use crate::scene::{EVIL, Scene, nobody4};
use crate::shot::Shot;

const SOURCE: &str = "D, RFC 2827";
const ARP: &str = "D, RFC 826, RFC 5227";
const LINK_LOCAL: Ipv4Addr = Ipv4Addr::new(169, 254, 66, 66);

pub(super) fn attacks() -> Vec<Attack> {
    let mut all = sources();
    all.extend(packets());
    all.extend(resolution());
    all
}

fn to_victim(s: &Scene, packet: Ipv4) -> Frame {
    Frame::new(s.me.mac, s.towards(0), packet)
}

fn spoofed(s: &Scene, name: &str, src: Ipv4Addr) -> Vec<Shot> {
    one(to_victim(s, Ipv4::new(src, s.v1().v4, udp(name, 9, 9))))
}

fn upwards(s: &Scene, name: &str, src: Ipv4Addr) -> Vec<Shot> {
    let packet = Ipv4::new(src, s.upstream.0, udp(name, 9, 9));
    one(Frame::new(s.me.mac, s.gateway.mac, packet))
}

fn sources() -> Vec<Attack> {
    vec![
        Attack::new("src4-peer", SOURCE, |s| spoofed(s, "src4-peer", s.v2().v4)),
        Attack::new("src4-gw", SOURCE, |s| spoofed(s, "src4-gw", s.gateway.v4)),
        Attack::new("src4-samepfx", SOURCE, |s| {
            spoofed(s, "src4-samepfx", nobody4(7))
        }),
        Attack::new("src4-external", SOURCE, |s| {
            spoofed(s, "src4-external", FAR4)
        }),
        Attack::new("src4-loopback", SOURCE, |s| {
            spoofed(s, "src4-loopback", Ipv4Addr::LOCALHOST)
        }),
        Attack::new("src4-zero", SOURCE, |s| {
            spoofed(s, "src4-zero", Ipv4Addr::UNSPECIFIED)
        }),
        Attack::new("src4-mcast", SOURCE, |s| {
            spoofed(s, "src4-mcast", Ipv4Addr::new(224, 0, 0, 1))
        }),
        Attack::new("src4-bcast", SOURCE, |s| {
            spoofed(s, "src4-bcast", Ipv4Addr::BROADCAST)
        }),
        Attack::new("src4-linklocal", SOURCE, |s| {
            spoofed(s, "src4-linklocal", LINK_LOCAL)
        }),
        Attack::new("src4-frag", SOURCE, |s| {
            let packet = Ipv4::new(s.v2().v4, s.v1().v4, udp("src4-frag, in two pieces", 9, 9));
            let pieces = packet.split(0xbad, &[16]).into_iter();
            vec![Shot::pieces(pieces.map(|piece| to_victim(s, piece)))]
        }),
        Attack::new("src4-frag-reverse", SOURCE, |s| {
            let packet = Ipv4::new(
                s.v2().v4,
                s.v1().v4,
                udp("src4-frag-reverse, two pieces", 9, 9),
            );
            let pieces = packet.split(0xbae, &[16]).into_iter().rev();
            vec![Shot::pieces(pieces.map(|piece| to_victim(s, piece)))]
        }),
        Attack::new("src4-mac", SOURCE, |s| {
            let packet = Ipv4::new(s.v2().v4, s.v1().v4, udp("src4-mac", 9, 9));
            one(Frame::new(s.v2().mac, s.towards(0), packet))
        }),
        Attack::new("src4-own-mac-spoof", SOURCE, |s| {
            let packet = Ipv4::new(s.me.v4, s.v1().v4, udp("src4-own-mac-spoof", 9, 9));
            one(Frame::new(EVIL, s.towards(0), packet))
        }),
        Attack::new("src4-vlan0", SOURCE, |s| {
            let packet = Ipv4::new(s.v2().v4, s.v1().v4, udp("src4-vlan0", 9, 9));
            one(to_victim(s, packet).tagged(tag(Q, 0)))
        }),
        Attack::new("src4-up", SOURCE, |s| upwards(s, "src4-up", FAR4)),
        Attack::new("src4-up-peer", SOURCE, |s| {
            upwards(s, "src4-up-peer", s.v2().v4)
        }),
        Attack::new("src4-to-node", SOURCE, |s| {
            let packet = Ipv4::new(s.v1().v4, s.gateway.v4, udp("src4-to-node", 9, 9));
            one(Frame::new(s.me.mac, s.gateway.mac, packet))
        }),
    ]
}

/// Data of the attacker's own to victim 1, with these options.
fn with_options(s: &Scene, name: &str, options: &[u8]) -> Vec<Shot> {
    let mut packet = Ipv4::new(s.me.v4, s.v1().v4, udp(name, 9, 9));
    packet.options = options.to_vec();
    one(to_victim(s, packet))
}

fn packets() -> Vec<Attack> {
    vec![
        Attack::new("ip4-lsrr", "D, RFC 7126 §4.3", |s| {
            let [a, b, c, d] = s.v2().v4.octets();
            with_options(s, "ip4-lsrr", &[131, 7, 4, a, b, c, d, 0])
        }),
        Attack::new("ip4-ssrr", "D, RFC 7126 §4.4", |s| {
            let [a, b, c, d] = s.v2().v4.octets();
            with_options(s, "ip4-ssrr", &[137, 7, 4, a, b, c, d, 0])
        }),
        Attack::new("ip4-record-route", "D, RFC 7126 §4.5", |s| {
            with_options(s, "ip4-record-route", &[7, 7, 4, 0, 0, 0, 0, 0])
        }),
        Attack::new("ip4-alert", "D, RFC 6398", |s| {
            with_options(s, "ip4-alert", &[0x94, 4, 0, 0])
        }),
        Attack::new("ip4-martian-lo", "D, CVE-2020-8558", |s| {
            let packet = Ipv4::new(s.me.v4, Ipv4Addr::LOCALHOST, udp("ip4-martian-lo", 9, 9));
            one(Frame::new(s.me.mac, s.gateway.mac, packet))
        }),
        Attack::new("ip4-zero-dst", "D, RFC 1122 §3.2.1.3", |s| {
            let packet = Ipv4::new(s.me.v4, Ipv4Addr::UNSPECIFIED, udp("ip4-zero-dst", 9, 9));
            one(Frame::new(s.me.mac, s.gateway.mac, packet))
        }),
        Attack::new("ip4-global-group", "D, RFC 1112", |s| {
            let to = Ipv4Addr::new(239, 0xba, 0xd, 1);
            let packet = Ipv4::new(s.me.v4, to, udp("ip4-global-group", 9, 9));
            one(Frame::new(s.me.mac, multicast_mac(to.into()), packet))
        }),
        Attack::new("ip4-subnet-bcast", "D, RFC 2644", |s| {
            let to = Ipv4Addr::new(10, 66, 0, 255);
            let packet = Ipv4::new(s.me.v4, to, udp("ip4-subnet-bcast", 9, 9));
            one(Frame::new(s.me.mac, BROADCAST, packet))
        }),
        Attack::new("smurf4", "D, RFC 2644", |s| {
            let echo = Icmp::EchoRequest {
                id: 0xbad,
                seq: 1,
                data: b"attack smurf4".to_vec(),
            };
            let packet = Ipv4::new(s.v1().v4, Ipv4Addr::new(10, 66, 0, 255), echo);
            one(Frame::new(s.me.mac, BROADCAST, packet))
        }),
        Attack::new("ip4-tinyfrag", "D, RFC 1858", |s| {
            let segment = Tcp {
                data: b"attack ip4-tinyfrag".to_vec(),
                ..Tcp::syn(9, 9)
            };
            let packet = Ipv4::new(s.me.v4, s.v1().v4, segment);
            let pieces = packet.split(0xbaf, &[8]).into_iter();
            vec![Shot::pieces(pieces.map(|piece| to_victim(s, piece)))]
        }),
    ]
}

/// A message that claims `sender` is at `mac`.
fn arp(op: ArpOp, mac: MacOctets, sender: Ipv4Addr, target: Ipv4Addr, to: MacOctets) -> Arp {
    Arp {
        op,
        sender_mac: mac,
        sender_ip: sender,
        target_mac: to,
        target_ip: target,
    }
}

/// The gateway is at the attacker, told to victim 1.
fn claim(s: &Scene) -> Frame {
    let told = arp(ArpOp::Reply, s.me.mac, s.gateway.v4, s.v1().v4, s.v1().mac);
    Frame::new(s.me.mac, s.towards(0), told)
}

fn resolution() -> Vec<Attack> {
    vec![
        Attack::new("arp-reply", ARP, |s| one(claim(s))),
        Attack::new("arp-request", ARP, |s| {
            one(Arp::request(s.me.mac, s.gateway.v4, s.v1().v4))
        }),
        Attack::new("arp-gratuitous", ARP, |s| {
            one(Arp::announcement(s.me.mac, s.gateway.v4))
        }),
        Attack::new("arp-gratuitous-reply", ARP, |s| {
            let told = arp(
                ArpOp::Reply,
                s.me.mac,
                s.gateway.v4,
                s.gateway.v4,
                BROADCAST,
            );
            one(Frame::new(s.me.mac, BROADCAST, told))
        }),
        Attack::new("arp-peer", ARP, |s| {
            let told = arp(ArpOp::Reply, s.me.mac, s.v2().v4, s.v1().v4, s.v1().mac);
            one(Frame::new(s.me.mac, s.towards(0), told))
        }),
        Attack::new("arp-victim-at-node", ARP, |s| {
            let told = arp(
                ArpOp::Reply,
                s.me.mac,
                s.v1().v4,
                s.gateway.v4,
                s.gateway.mac,
            );
            one(Frame::new(s.me.mac, s.gateway.mac, told))
        }),
        Attack::new("arp-sha-mismatch", ARP, |s| {
            let told = arp(ArpOp::Reply, s.v2().mac, s.me.v4, s.v1().v4, s.v1().mac);
            one(Frame::new(s.me.mac, s.towards(0), told))
        }),
        Attack::new("arp-mac-spoof", ARP, |s| {
            let told = arp(ArpOp::Reply, EVIL, s.gateway.v4, s.v1().v4, s.v1().mac);
            one(Frame::new(EVIL, s.towards(0), told))
        }),
        Attack::new("arp-htype6", "D, RFC 1042", |s| {
            let mut bytes = claim(s).to_bytes();
            bytes[15] = 6;
            vec![Shot::raw(bytes)]
        }),
        Attack::new("arp-vlan0", "D, CVE-2021-27853", |s| {
            one(claim(s).tagged(tag(Q, 0)))
        }),
        Attack::new("arp-vlan0-x2", "D, CVE-2021-27853", |s| {
            one(claim(s).tagged(tag(Q, 0)).tagged(tag(Q, 0)))
        }),
        Attack::new("arp-snap", "D, CVE-2021-27854", |s| one(claim(s).in_snap())),
        Attack::new("arp-probe-conflict", "D, RFC 5227 §2.1.1", |s| {
            // An answer to a probe for an address that somebody is about to use.
            let told = arp(
                ArpOp::Reply,
                s.me.mac,
                nobody4(1),
                Ipv4Addr::UNSPECIFIED,
                s.v1().mac,
            );
            one(Frame::new(s.me.mac, s.towards(0), told))
        }),
        Attack::new("arp-probe-of-other", "D, RFC 5227 §2.1.1", |s| {
            one(Arp::request(s.me.mac, Ipv4Addr::UNSPECIFIED, s.v1().v4))
        }),
        Attack::new("arp-inverse", "D, RFC 2390", |s| {
            let told = arp(
                ArpOp::Other(8),
                s.me.mac,
                s.gateway.v4,
                s.v1().v4,
                s.v1().mac,
            );
            one(Frame::new(s.me.mac, s.towards(0), told))
        }),
        Attack::new("arp-l2-broadcast-reply", ARP, |s| {
            let told = arp(ArpOp::Reply, s.me.mac, s.v2().v4, s.v1().v4, s.v1().mac);
            one(Frame::new(s.me.mac, BROADCAST, told))
        }),
    ]
}
