//! E. DHCP, ICMP errors, names.

use std::net::{Ipv4Addr, Ipv6Addr};

use netns_fixtures::packet::{
    BROADCAST, Frame, Icmp, Icmpv6, Ipv4, Ipv6, Payload, Udp, multicast_mac,
};

use super::craft::{FAR4, FAR6, Q, filler, framed, icmp6, in_pieces, one, tag, udp};
use crate::attack::Attack;
use crate::scene::{ALL_NODES, Scene};
use crate::shot::Shot;

const DHCP6: &str = "E, RFC 8415 §7, RFC 7610";
const DHCP4: &str = "E, RFC 2131 §4.1";
const ICMP6: &str = "E, RFC 4890";
const NAMES: &str = "E, RFC 6762, RFC 4795";

pub(super) fn attacks() -> Vec<Attack> {
    let mut all = servers();
    all.extend(errors());
    all.extend(types());
    all.extend(names());
    all
}

/// ADVERTISE with a resolver (RFC 8415 §8, RFC 3646 §3), in the data of a datagram.
fn advertise(src_port: u16) -> Payload {
    let mut data = vec![2, 0xba, 0xd0, 0x01, 0, 2, 0, 10, 0, 3, 0, 1];
    data.extend([2, 0xba, 0xd0, 0xba, 0xd0, 1, 0, 23, 0, 16]);
    data.extend(Ipv6Addr::new(0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, 53).octets());
    Payload::Udp(Udp {
        src_port,
        dst_port: 546,
        data,
    })
}

fn dhcp6(s: &Scene, src_port: u16) -> Ipv6 {
    Ipv6::new(s.me.lla, s.v1().lla, advertise(src_port))
}

/// OFFER with the attacker as router and server (RFC 2131 §2, RFC 2132).
fn offer(s: &Scene) -> Ipv4 {
    let mut data = vec![
        2, 1, 6, 0, 0xba, 0xd0, 0xba, 0xd0, 0, 0, 0x80, 0, 0, 0, 0, 0,
    ];
    data.extend(s.v1().v4.octets());
    data.extend(s.me.v4.octets());
    data.extend([0; 4]);
    data.extend(s.v1().mac);
    data.resize(236, 0);
    data.extend([99, 130, 83, 99, 53, 1, 2, 54, 4]);
    data.extend(s.me.v4.octets());
    data.extend([3, 4]);
    data.extend(s.me.v4.octets());
    data.push(255);
    let datagram = Udp {
        src_port: 67,
        dst_port: 68,
        data,
    };
    Ipv4::new(s.me.v4, Ipv4Addr::BROADCAST, datagram)
}

fn servers() -> Vec<Attack> {
    vec![
        Attack::new("dhcp6-server", DHCP6, |s| one(framed(s, dhcp6(s, 547)))),
        Attack::new("dhcp6-server-oddsport", DHCP6, |s| {
            one(framed(s, dhcp6(s, 40_000)))
        }),
        Attack::new("dhcp6-server-dst", "E, RFC 7610, RFC 7112", |s| {
            one(framed(s, dhcp6(s, 547).extended(filler(60, 1))))
        }),
        Attack::new("dhcp6-server-frag", "E, RFC 7610 §5", |s| {
            in_pieces(s, &dhcp6(s, 547), 0, &[32], &[0, 1])
        }),
        Attack::new("dhcp6-server-frag8", "E, RFC 7610 §5", |s| {
            in_pieces(
                s,
                &dhcp6(s, 547),
                0,
                &[8, 16, 24, 32, 40],
                &[0, 1, 2, 3, 4, 5],
            )
        }),
        Attack::new("dhcp6-server-frag-gua", "E, RFC 7610 §5", |s| {
            let packet = Ipv6::new(s.me.v6, s.v1().v6, advertise(547));
            in_pieces(s, &packet, 0, &[8], &[1, 0])
        }),
        Attack::new("dhcp6-server-gua", DHCP6, |s| {
            one(framed(s, Ipv6::new(s.me.v6, s.v1().v6, advertise(547))))
        }),
        Attack::new("dhcp6-server-vlan0", "E, CVE-2021-27853", |s| {
            one(framed(s, dhcp6(s, 547)).tagged(tag(Q, 0)))
        }),
        Attack::new("dhcp4-server", DHCP4, |s| {
            one(Frame::new(s.me.mac, BROADCAST, offer(s)))
        }),
        Attack::new("dhcp4-server-unicast", DHCP4, |s| {
            let packet = Ipv4 {
                dst: s.v1().v4,
                ..offer(s)
            };
            one(Frame::new(s.me.mac, s.towards(0), packet))
        }),
        Attack::new("dhcp4-server-frag", DHCP4, |s| {
            let pieces = offer(s).split(0xbad, &[16]).into_iter();
            vec![Shot::pieces(
                pieces.map(|piece| Frame::new(s.me.mac, BROADCAST, piece)),
            )]
        }),
        Attack::new("dhcp4-server-frag8", DHCP4, |s| {
            let packet = Ipv4 {
                dst: s.v1().v4,
                ..offer(s)
            };
            let pieces = packet.split(0xbae, &[8]).into_iter();
            vec![Shot::pieces(
                pieces.map(|piece| Frame::new(s.me.mac, s.towards(0), piece)),
            )]
        }),
    ]
}

/// An echo request of victim 1 to a host beyond, as an error message quotes it.
fn quoted6(s: &Scene) -> Vec<u8> {
    let echo = Icmpv6::EchoRequest {
        id: 7,
        seq: 7,
        data: vec![0; 64],
    };
    Ipv6::new(s.v1().v6, s.upstream.1, echo).to_bytes()
}

/// An echo reply: an error about one needs no socket that waits (`icmp_err` in net/ipv4/icmp.c).
fn quoted4(s: &Scene) -> Vec<u8> {
    let echo = Icmp::EchoReply {
        id: 7,
        seq: 7,
        data: vec![0; 64],
    };
    Ipv4::new(s.v1().v4, s.upstream.0, echo).to_bytes()
}

fn error6(s: &Scene, src: Ipv6Addr, kind: u8, code: u8, value: u32) -> Frame {
    let bytes = [value.to_be_bytes().as_slice(), &quoted6(s)].concat();
    framed(s, Ipv6::new(src, s.v1().v6, icmp6(kind, code, &bytes)))
}

fn error4(s: &Scene, src: Ipv4Addr, kind: u8, code: u8, head: [u8; 4]) -> Frame {
    let bytes = [head.as_slice(), &quoted4(s)].concat();
    let message = Icmp::Other { kind, code, bytes };
    Frame::new(s.me.mac, s.towards(0), Ipv4::new(src, s.v1().v4, message))
}

fn errors() -> Vec<Attack> {
    vec![
        Attack::new("icmp6-ptb", "E, RFC 8201 §3, RFC 4890 §4.3.1", |s| {
            one(error6(s, s.me.v6, 2, 0, 1280))
        }),
        Attack::new("icmp6-ptb-spoof", "E, RFC 8201 §3", |s| {
            one(error6(s, FAR6, 2, 0, 1280))
        }),
        Attack::new("icmp6-ptb-frag", "E, RFC 8201 §3", |s| {
            let bytes = [1280_u32.to_be_bytes().as_slice(), &quoted6(s)].concat();
            let packet = Ipv6::new(s.me.v6, s.v1().v6, icmp6(2, 0, &bytes));
            in_pieces(s, &packet, 0, &[64], &[0, 1])
        }),
        Attack::new("icmp6-unreach-foreign", "E, RFC 4443 §3.1", |s| {
            one(error6(s, s.me.v6, 1, 4, 0))
        }),
        Attack::new("icmp6-time-foreign", "E, RFC 4443 §3.3", |s| {
            one(error6(s, s.me.v6, 3, 0, 0))
        }),
        Attack::new("icmp6-param-foreign", "E, RFC 4443 §3.4", |s| {
            one(error6(s, s.me.v6, 4, 1, 6))
        }),
        Attack::new("icmp4-fragneeded", "E, RFC 1191, RFC 5927", |s| {
            let [high, low] = 576_u16.to_be_bytes();
            one(error4(s, s.me.v4, 3, 4, [0, 0, high, low]))
        }),
        Attack::new("icmp4-fragneeded-spoof", "E, RFC 5927", |s| {
            let [high, low] = 576_u16.to_be_bytes();
            one(error4(s, FAR4, 3, 4, [0, 0, high, low]))
        }),
        Attack::new("icmp4-unreach-foreign", "E, RFC 5927", |s| {
            one(error4(s, s.me.v4, 3, 3, [0; 4]))
        }),
        Attack::new("icmp4-time-foreign", "E, RFC 5927", |s| {
            one(error4(s, s.me.v4, 11, 0, [0; 4]))
        }),
        Attack::new(
            "icmp4-redirect-gw",
            "E, RFC 6633, RFC 1122 §3.2.2.2",
            |s| one(error4(s, s.gateway.v4, 5, 1, s.me.v4.octets())),
        ),
        Attack::new("icmp4-redirect-own", "E, RFC 1122 §3.2.2.2", |s| {
            one(error4(s, s.me.v4, 5, 1, s.me.v4.octets()))
        }),
        Attack::new("icmp4-router-advert", "E, RFC 1256", |s| {
            let [a, b, c, d] = s.me.v4.octets();
            let bytes = vec![1, 2, 7, 8, a, b, c, d, 0, 0, 0, 0];
            let message = Icmp::Other {
                kind: 9,
                code: 0,
                bytes,
            };
            let all = Ipv4Addr::new(224, 0, 0, 1);
            let packet = Ipv4::new(s.me.v4, all, message);
            one(Frame::new(s.me.mac, multicast_mac(all.into()), packet))
        }),
        Attack::new("icmp4-source-quench", "E, RFC 6633", |s| {
            one(error4(s, s.me.v4, 4, 0, [0; 4]))
        }),
        Attack::new("icmp4-timestamp", "E, RFC 6918", |s| {
            one(error4(s, s.me.v4, 13, 0, [0; 4]))
        }),
        Attack::new("icmp4-mask", "E, RFC 6918", |s| {
            one(error4(s, s.me.v4, 18, 0, [0; 4]))
        }),
    ]
}

/// A message of this type from the attacker's own address to victim 1.
macro_rules! of_type {
    ($($kind:literal),+) => {
        vec![$(Attack::new(concat!("icmp6-type", $kind), ICMP6, |s| {
            let bytes = [[0; 4].as_slice(), &s.me.v6.octets(), b"attack"].concat();
            one(framed(s, Ipv6::new(s.me.v6, s.v1().v6, icmp6($kind, 0, &bytes))))
        })),+]
    };
}

fn types() -> Vec<Attack> {
    let mut all = of_type!(
        5, 100, 127, 130, 138, 139, 140, 141, 142, 144, 145, 146, 147, 148, 149, 150, 151, 152,
        153, 154, 155, 157, 158, 160, 200, 255
    );
    all.push(Attack::new(
        "icmp6-mobile-prefix",
        "E, RFC 6275 §6.8",
        |s| {
            one(framed(
                s,
                Ipv6::new(
                    s.me.v6,
                    ALL_NODES,
                    icmp6(147, 0, b"attack of mobile prefix"),
                ),
            ))
        },
    ));
    all
}

fn names() -> Vec<Attack> {
    vec![
        Attack::new("mdns6", NAMES, |s| {
            to_group6(s, 0xfb, udp("mdns6", 5353, 5353))
        }),
        Attack::new("llmnr6", NAMES, |s| {
            let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 3);
            one(framed(
                s,
                Ipv6::new(s.me.lla, group, udp("llmnr6", 5355, 5355)),
            ))
        }),
        Attack::new("ssdp6", "E, UPnP 2.0 §1.1", |s| {
            to_group6(s, 0xc, udp("ssdp6", 1900, 1900))
        }),
        Attack::new("mdns4", NAMES, |s| {
            to_group4(s, Ipv4Addr::new(224, 0, 0, 251), 5353)
        }),
        Attack::new("llmnr4", NAMES, |s| {
            to_group4(s, Ipv4Addr::new(224, 0, 0, 252), 5355)
        }),
        Attack::new("ssdp4", "E, UPnP 2.0 §1.1", |s| {
            to_group4(s, Ipv4Addr::new(239, 255, 255, 250), 1900)
        }),
        Attack::new("netbios", "E, RFC 1002", |s| {
            let packet = Ipv4::new(
                s.me.v4,
                Ipv4Addr::new(10, 66, 0, 255),
                udp("netbios", 137, 137),
            );
            one(Frame::new(s.me.mac, BROADCAST, packet))
        }),
    ]
}

fn to_group6(s: &Scene, group: u16, payload: Payload) -> Vec<Shot> {
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, group);
    one(framed(s, Ipv6::new(s.me.lla, group, payload)))
}

fn to_group4(s: &Scene, group: Ipv4Addr, port: u16) -> Vec<Shot> {
    let packet = Ipv4::new(s.me.v4, group, udp(&format!("names {port}"), port, port));
    one(Frame::new(s.me.mac, multicast_mac(group.into()), packet))
}
