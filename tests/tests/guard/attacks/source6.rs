//! D. Identity: IPv6 sources and destinations, and headers on data.

use std::net::Ipv6Addr;

use netns_fixtures::packet::{Extension, Frame, Icmpv6, Ipv6, Payload, Tcp, TcpFlags};

use super::craft::{FAR6, Q, filler, framed, in_pieces, one, tag, udp};
use crate::attack::Attack;
use crate::scene::{ALL_NODES, EVIL, Scene, nobody6};
use crate::shot::Shot;

const SOURCE: &str = "D, RFC 2827, RFC 7039";
const CHAIN: &str = "D, RFC 7045, RFC 9098";
const MULTICAST: &str = "D, RFC 4291 §2.7";

pub(super) fn attacks() -> Vec<Attack> {
    let mut all = sources();
    all.extend(headers());
    all.extend(destinations());
    all
}

/// A datagram to victim 1 that says to be from `src`.
fn spoofed(s: &Scene, name: &str, src: Ipv6Addr) -> Vec<Shot> {
    let packet = Ipv6::new(src, s.v1().v6, udp(name, 9, 9));
    one(framed(s, packet))
}

/// The same to the upstream, through the gateway.
fn upwards(s: &Scene, name: &str, src: Ipv6Addr) -> Vec<Shot> {
    let packet = Ipv6::new(src, s.upstream.1, udp(name, 9, 9));
    one(Frame::new(s.me.mac, s.gateway.mac, packet))
}

fn sources() -> Vec<Attack> {
    vec![
        Attack::new("src6-peer", SOURCE, |s| spoofed(s, "src6-peer", s.v2().v6)),
        Attack::new("src6-gw", SOURCE, |s| spoofed(s, "src6-gw", s.gateway.v6)),
        Attack::new("src6-gwlla", SOURCE, |s| {
            spoofed(s, "src6-gwlla", s.gateway.lla)
        }),
        Attack::new("src6-peerlla", SOURCE, |s| {
            spoofed(s, "src6-peerlla", s.v2().lla)
        }),
        Attack::new("src6-samepfx", SOURCE, |s| {
            spoofed(s, "src6-samepfx", nobody6(7))
        }),
        Attack::new("src6-external", SOURCE, |s| {
            spoofed(s, "src6-external", FAR6)
        }),
        Attack::new("src6-loopback", SOURCE, |s| {
            spoofed(s, "src6-loopback", Ipv6Addr::LOCALHOST)
        }),
        Attack::new("src6-mcast", SOURCE, |s| {
            spoofed(s, "src6-mcast", ALL_NODES)
        }),
        Attack::new("src6-v4mapped", SOURCE, |s| {
            spoofed(s, "src6-v4mapped", s.v2().v4.to_ipv6_mapped())
        }),
        Attack::new("src6-unspec", SOURCE, |s| {
            spoofed(s, "src6-unspec", Ipv6Addr::UNSPECIFIED)
        }),
        Attack::new("src6-other-lla", SOURCE, |s| {
            spoofed(
                s,
                "src6-other-lla",
                Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xbad),
            )
        }),
        Attack::new("src6-frag", SOURCE, |s| {
            let packet = Ipv6::new(s.v2().v6, s.v1().v6, udp("src6-frag, in two pieces", 9, 9));
            in_pieces(s, &packet, 0, &[16], &[0, 1])
        }),
        Attack::new("src6-mac", SOURCE, |s| {
            let packet = Ipv6::new(s.v2().v6, s.v1().v6, udp("src6-mac", 9, 9));
            one(Frame::new(s.v2().mac, s.towards(0), packet))
        }),
        Attack::new("src6-own-mac-spoof", SOURCE, |s| {
            let packet = Ipv6::new(s.me.v6, s.v1().v6, udp("src6-own-mac-spoof", 9, 9));
            one(Frame::new(EVIL, s.towards(0), packet))
        }),
        Attack::new("src6-vlan0", SOURCE, |s| {
            let packet = Ipv6::new(s.v2().v6, s.v1().v6, udp("src6-vlan0", 9, 9));
            one(framed(s, packet).tagged(tag(Q, 0)))
        }),
        Attack::new("src6-dst", SOURCE, |s| {
            let packet = Ipv6::new(s.v2().v6, s.v1().v6, udp("src6-dst", 9, 9));
            one(framed(s, packet.extended(filler(60, 1))))
        }),
        Attack::new("src6-tcp-rst", "D, RFC 5961", |s| {
            let segment = Tcp {
                flags: TcpFlags::RST,
                data: b"attack src6-tcp-rst".to_vec(),
                ..Tcp::syn(80, 40_000)
            };
            one(framed(s, Ipv6::new(s.v2().v6, s.v1().v6, segment)))
        }),
        Attack::new("src6-up", SOURCE, |s| upwards(s, "src6-up", FAR6)),
        Attack::new("src6-up-peer", SOURCE, |s| {
            upwards(s, "src6-up-peer", s.v2().v6)
        }),
        Attack::new("src6-up-node", SOURCE, |s| {
            upwards(s, "src6-up-node", s.node.1)
        }),
        Attack::new("src6-to-node", SOURCE, |s| {
            let packet = Ipv6::new(s.v1().v6, s.gateway.v6, udp("src6-to-node", 9, 9));
            one(Frame::new(s.me.mac, s.gateway.mac, packet))
        }),
    ]
}

/// Data of the attacker's own, to victim 1, behind this header.
fn behind(s: &Scene, name: &str, header: Extension) -> Vec<Shot> {
    let packet = Ipv6::new(s.me.v6, s.v1().v6, udp(name, 9, 9));
    one(framed(s, packet.extended(header)))
}

fn segments(s: &Scene) -> Vec<u8> {
    [[0; 4].as_slice(), &s.v2().v6.octets()].concat()
}

fn headers() -> Vec<Attack> {
    vec![
        Attack::new("ext-rh0", "D, RFC 5095", |s| {
            behind(s, "ext-rh0", Extension::routing(0, 1, &segments(s)))
        }),
        Attack::new("ext-rh2", "D, RFC 6275 §6.4", |s| {
            behind(s, "ext-rh2", Extension::routing(2, 1, &segments(s)))
        }),
        Attack::new("ext-srh", "D, RFC 8754 §5.1", |s| {
            // Last entry 0, no flags, no tag, one segment.
            behind(s, "ext-srh", Extension::routing(4, 1, &segments(s)))
        }),
        Attack::new("ext-hbh", CHAIN, |s| behind(s, "ext-hbh", filler(0, 1))),
        Attack::new("ext-hbh-alert", "D, RFC 6398", |s| {
            behind(s, "ext-hbh-alert", Extension::router_alert())
        }),
        Attack::new("ext-dst", CHAIN, |s| behind(s, "ext-dst", filler(60, 1))),
        Attack::new("ext-mobility", "D, RFC 6275", |s| {
            behind(s, "ext-mobility", filler(135, 1))
        }),
        Attack::new("ext-hip", "D, RFC 7401", |s| {
            behind(s, "ext-hip", filler(139, 1))
        }),
        Attack::new("ext-shim6", "D, RFC 5533", |s| {
            behind(s, "ext-shim6", filler(140, 1))
        }),
        Attack::new("ext-none", "D, RFC 8200 §4.7", |s| {
            let payload = Payload::other(59, b"attack ext-none");
            one(framed(s, Ipv6::new(s.me.v6, s.v1().v6, payload)))
        }),
        Attack::new("tinyfrag", "D, RFC 1858, RFC 7112", |s| {
            // The ports are in the second piece.
            let segment = Tcp {
                data: b"attack tinyfrag".to_vec(),
                ..Tcp::syn(9, 9)
            };
            let packet = Ipv6::new(s.me.v6, s.v1().v6, segment).extended(filler(60, 1));
            in_pieces(s, &packet, 0, &[16], &[0, 1])
        }),
    ]
}

fn destinations() -> Vec<Attack> {
    vec![
        Attack::new(
            "ip6-martian-lo",
            "D, RFC 4291 §2.5.3, CVE-2020-8558",
            |s| {
                let packet = Ipv6::new(s.me.v6, Ipv6Addr::LOCALHOST, udp("ip6-martian-lo", 9, 9));
                one(Frame::new(s.me.mac, s.gateway.mac, packet))
            },
        ),
        Attack::new("dst6-v4mapped", "D, RFC 4291 §2.5.5.2", |s| {
            let to = s.v1().v4.to_ipv6_mapped();
            one(framed(
                s,
                Ipv6::new(s.me.v6, to, udp("dst6-v4mapped", 9, 9)),
            ))
        }),
        Attack::new("dst6-unspec", "D, RFC 4291 §2.5.2", |s| {
            let to = Ipv6Addr::UNSPECIFIED;
            one(framed(s, Ipv6::new(s.me.v6, to, udp("dst6-unspec", 9, 9))))
        }),
        Attack::new("dst6-all-nodes", MULTICAST, |s| {
            one(framed(
                s,
                Ipv6::new(s.me.v6, ALL_NODES, udp("dst6-all-nodes", 9, 9)),
            ))
        }),
        Attack::new("dst6-interface-group", MULTICAST, |s| {
            let to = Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0, 1);
            one(framed(
                s,
                Ipv6::new(s.me.v6, to, udp("dst6-interface-group", 9, 9)),
            ))
        }),
        Attack::new("dst6-global-group", MULTICAST, |s| {
            let to = Ipv6Addr::new(0xff0e, 0, 0, 0, 0, 0, 0xba, 0xd);
            one(framed(
                s,
                Ipv6::new(s.me.v6, to, udp("dst6-global-group", 9, 9)),
            ))
        }),
        Attack::new("smurf6", "E, RFC 4443 §4.2", |s| {
            let message = Icmpv6::EchoRequest {
                id: 0xbad,
                seq: 1,
                data: b"attack smurf6".to_vec(),
            };
            one(framed(s, Ipv6::new(s.v1().v6, ALL_NODES, message)))
        }),
        Attack::new("smurf6-own", "E, RFC 4443 §2.4", |s| {
            let message = Icmpv6::EchoRequest {
                id: 0xbad,
                seq: 2,
                data: b"attack smurf6-own".to_vec(),
            };
            one(framed(s, Ipv6::new(s.me.v6, ALL_NODES, message)))
        }),
    ]
}
