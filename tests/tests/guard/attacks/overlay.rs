//! F. Tunnels: frames for networks that the attacker is no part of.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netns_fixtures::packet::{Frame, Icmpv6, Ipv4, Ipv6, MacOctets, Payload, Udp, vxlan};

use super::craft::{FAR4, one, udp};
use crate::attack::{Attack, Harm};
use crate::lab::VNI;
use crate::scene::{EVIL, Scene};
use crate::shot::Shot;

const VXLAN: &str = "F, RFC 7348 §7";
const TUNNEL: &str = "F, RFC 6169 §2.1";

pub(super) fn attacks() -> Vec<Attack> {
    let mut all = injections();
    all.extend(others());
    let passing = |attack: Attack| attack.harms(Harm::Passage);
    all.into_iter().map(passing).collect()
}

/// What somebody of the overlay is to receive: a datagram known by the attack's name.
fn inner(name: &str) -> Frame {
    let src = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 1);
    let dst = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 2);
    Frame::new(EVIL, [0xff; 6], Ipv6::new(src, dst, udp(name, 9, 9)))
}

/// A datagram from `src` to a VTEP, by way of the gateway.
fn to_vtep(s: &Scene, src: Ipv4Addr, vtep: Ipv4Addr, datagram: Udp) -> Frame {
    Frame::new(s.me.mac, s.gateway.mac, Ipv4::new(src, vtep, datagram))
}

fn injected(s: &Scene, name: &str, src: Ipv4Addr, vtep: Ipv4Addr) -> Vec<Shot> {
    let inner = inner(name);
    let frame = to_vtep(s, src, vtep, vxlan(VNI, 40_000, &inner));
    vec![Shot::from(frame).known_by(&inner)]
}

/// In pieces that are cut where no rule sees the port, known by what is inside.
fn injected_in_pieces(s: &Scene, name: &str, cuts: &[usize], vtep: Ipv4Addr) -> Vec<Shot> {
    let inner = inner(name);
    let packet = Ipv4::new(s.me.v4, vtep, vxlan(VNI, 40_000, &inner));
    let pieces = packet.split(0xbad, cuts).into_iter();
    let frames = pieces.map(|piece| Frame::new(s.me.mac, s.gateway.mac, piece));
    vec![Shot::pieces(frames).known_by(&inner)]
}

fn injections() -> Vec<Attack> {
    vec![
        Attack::new("vxlan-inject-own", VXLAN, |s| {
            injected(s, "vxlan-inject-own", s.me.v4, s.remote.0)
        }),
        Attack::new("vxlan-inject-own-local", VXLAN, |s| {
            injected(s, "vxlan-inject-own-local", s.me.v4, s.node.0)
        }),
        Attack::new("vxlan-inject-spoof", VXLAN, |s| {
            injected(s, "vxlan-inject-spoof", FAR4, s.remote.0)
        }),
        Attack::new("vxlan-inject-spoof-local", VXLAN, |s| {
            injected(s, "vxlan-inject-spoof-local", s.remote.0, s.node.0)
        }),
        Attack::new("vxlan-inject-frag", VXLAN, |s| {
            injected_in_pieces(s, "vxlan-inject-frag", &[16], s.remote.0)
        }),
        Attack::new("vxlan-inject-frag8", VXLAN, |s| {
            injected_in_pieces(s, "vxlan-inject-frag8", &[8], s.remote.0)
        }),
        Attack::new("vxlan-inject-frag-local", VXLAN, |s| {
            injected_in_pieces(s, "vxlan-inject-frag-local", &[8, 24], s.node.0)
        }),
        Attack::new("vxlan-inject-lower-port", VXLAN, |s| {
            // The source port is the attacker's to choose (RFC 7348 §5).
            let inner = inner("vxlan-inject-lower-port");
            let frame = to_vtep(s, s.me.v4, s.remote.0, vxlan(VNI, 53, &inner));
            vec![Shot::from(frame).known_by(&inner)]
        }),
        Attack::new("vxlan-inject-na", VXLAN, |s| {
            let inner = Icmpv6::unsolicited(EVIL, Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 1));
            let frame = to_vtep(s, s.me.v4, s.remote.0, vxlan(VNI, 40_000, &inner));
            vec![Shot::from(frame).known_by(&inner)]
        }),
        Attack::new("vxlan6-inject", VXLAN, |s| {
            let inner = inner("vxlan6-inject");
            let packet = Ipv6::new(s.me.v6, s.remote.1, vxlan(VNI, 40_000, &inner));
            vec![Shot::from(Frame::new(s.me.mac, s.gateway.mac, packet)).known_by(&inner)]
        }),
    ]
}

/// A datagram to another tunnel's port at a VTEP.
fn to_port(s: &Scene, name: &str, port: u16) -> Vec<Shot> {
    let packet = Ipv4::new(s.me.v4, s.remote.0, udp(name, 40_000, port));
    one(Frame::new(s.me.mac, s.gateway.mac, packet))
}

/// A packet of the attacker's, as another one carries it.
fn carried(s: &Scene, name: &str) -> Vec<u8> {
    Ipv6::new(s.v2().v6, s.v1().v6, udp(name, 9, 9)).to_bytes()
}

fn encapsulated(s: &Scene, protocol: u8, name: &str, to: IpAddr, mac: MacOctets) -> Vec<Shot> {
    // GRE has a header of its own: version 0, protocol IPv6 (RFC 2784 §2).
    let head: &[u8] = if protocol == 47 {
        &[0, 0, 0x86, 0xdd]
    } else {
        &[]
    };
    let payload = Payload::other(protocol, &[head, &carried(s, name)].concat());
    let frame = match to {
        IpAddr::V4(to) => Frame::new(s.me.mac, mac, Ipv4::new(s.me.v4, to, payload)),
        IpAddr::V6(to) => Frame::new(s.me.mac, mac, Ipv6::new(s.me.v6, to, payload)),
    };
    one(frame)
}

fn others() -> Vec<Attack> {
    vec![
        Attack::new("vxlan-legacy-port", "F, first-hop F", |s| {
            to_port(s, "vxlan-legacy-port", 8472)
        }),
        Attack::new("geneve-inject", "F, RFC 8926 §7", |s| {
            to_port(s, "geneve-inject", 6081)
        }),
        Attack::new("vxlan-gpe-inject", "F, first-hop F", |s| {
            to_port(s, "vxlan-gpe-inject", 4790)
        }),
        Attack::new("encap-6in4", TUNNEL, |s| {
            encapsulated(s, 41, "encap-6in4", s.remote.0.into(), s.gateway.mac)
        }),
        Attack::new("encap-gre", TUNNEL, |s| {
            encapsulated(s, 47, "encap-gre", s.remote.0.into(), s.gateway.mac)
        }),
        Attack::new("encap-4in6", TUNNEL, |s| {
            let packet = Ipv4::new(s.v2().v4, s.v1().v4, udp("encap-4in6", 9, 9)).to_bytes();
            let payload = Payload::other(4, &packet);
            one(Frame::new(
                s.me.mac,
                s.gateway.mac,
                Ipv6::new(s.me.v6, s.remote.1, payload),
            ))
        }),
        Attack::new("encap-4in4", TUNNEL, |s| {
            let packet = Ipv4::new(s.v2().v4, s.v1().v4, udp("encap-4in4", 9, 9)).to_bytes();
            let payload = Payload::other(4, &packet);
            one(Frame::new(
                s.me.mac,
                s.gateway.mac,
                Ipv4::new(s.me.v4, s.remote.0, payload),
            ))
        }),
        Attack::new("encap-6in6", TUNNEL, |s| {
            encapsulated(s, 41, "encap-6in6", s.remote.1.into(), s.gateway.mac)
        }),
        Attack::new("encap-6in6-victim", TUNNEL, |s| {
            encapsulated(s, 41, "encap-6in6-victim", s.v1().v6.into(), s.towards(0))
        }),
    ]
}
