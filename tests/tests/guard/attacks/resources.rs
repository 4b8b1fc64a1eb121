//! C. Tables of the node and of the kernel.

use std::net::{Ipv4Addr, Ipv6Addr};

use netns_fixtures::packet::{
    Arp, BROADCAST, Body, Extension, Frame, Icmpv6, Ipv4, Ipv6, MacOctets, Payload, igmp_query,
    igmp3_report, mld_query, mld2_report, multicast_mac,
};

use super::craft::{framed, icmp6, one, udp};
use crate::attack::{Attack, Harm, Sender};
use crate::scene::{Scene, nobody4, nobody6};
use crate::shot::Shot;

const EXHAUST: &str = "C, RFC 6583";
const MACS: &str = "C, IEEE 802.1D §7.8";
const UNLEARNT: &str = "our bridges learn nothing from frames to link-local groups";
const CONTROL: &str = "C, IEEE 802.1Q §8.6.3";
/// How many groups one port may join by default.
pub(crate) const GROUPS: usize = 32;
/// What is left of a flood of a thousand: 50 a second after a burst of 100, for the seconds that a busy
/// machine may take.
const BURST: usize = 300;
/// LLDP, PAUSE and STP (IEEE 802.1Q table 8-1).
const LLDP: MacOctets = [0x01, 0x80, 0xc2, 0, 0, 0x0e];
const PAUSE: MacOctets = [0x01, 0x80, 0xc2, 0, 0, 0x03];
const STP: MacOctets = [0x01, 0x80, 0xc2, 0, 0, 0x00];

pub(super) fn attacks() -> Vec<Attack> {
    let mut all = neighbours();
    all.extend(on_the_link());
    all.extend(macs());
    all.extend(groups());
    all.extend(floods());
    all
}

/// What has the node look on the attacker's link for those that its prefix there leads to.
fn on_the_link() -> Vec<Attack> {
    vec![
        Attack::new("nd-exhaust-link-local", EXHAUST, |s| {
            to_nobody_on_the_link(s, s.me.v6, s.gateway.mac, "nd-exhaust-link-local")
        }),
        // A packet that goes out where it came in is forwarded from a link-local source too.
        Attack::new("nd-exhaust-link-local-own", EXHAUST, |s| {
            to_nobody_on_the_link(s, s.me.lla, s.gateway.mac, "nd-exhaust-link-local-own")
        }),
        // A bridge takes in what is for the MAC of the port it comes by.
        Attack::new("nd-exhaust-link-local-port", EXHAUST, |s| {
            to_nobody_on_the_link(s, s.me.v6, s.port_mac, "nd-exhaust-link-local-port")
        }),
    ]
}

fn to_nobody_on_the_link(s: &Scene, from: Ipv6Addr, by: MacOctets, id: &'static str) -> Vec<Shot> {
    let nobody = |nth| Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xdead, nth);
    let packet = |nth| Ipv6::new(from, nobody(nth), udp(id, 9, 9));
    (0..100)
        .map(|nth| Frame::new(s.me.mac, by, packet(nth)).into())
        .collect()
}

fn neighbours() -> Vec<Attack> {
    vec![
        Attack::new("nd-exhaust-node", EXHAUST, |s| {
            let packet = |nth| Ipv6::new(s.me.v6, nobody6(nth), udp("nd-exhaust-node", 9, 9));
            (0..300)
                .map(|nth| Frame::new(s.me.mac, s.gateway.mac, packet(nth)).into())
                .collect()
        }),
        Attack::new("nd-exhaust-remote", EXHAUST, |s| {
            let packet =
                |nth| Ipv6::new(s.upstream.1, nobody6(nth), udp("nd-exhaust-remote", 9, 9));
            (0..300)
                .map(|nth| Frame::new(s.upstream_mac, s.uplink_mac, packet(nth)).into())
                .collect()
        })
        .from(Sender::Upstream)
        .harms(Harm::Effect),
        Attack::new("arp-exhaust-node", EXHAUST, |s| {
            let packet = |nth| Ipv4::new(s.me.v4, nobody4(nth), udp("arp-exhaust-node", 9, 9));
            (0..150)
                .map(|nth| Frame::new(s.me.mac, s.gateway.mac, packet(nth)).into())
                .collect()
        }),
        Attack::new("arp-exhaust-remote", EXHAUST, |s| {
            let packet =
                |nth| Ipv4::new(s.upstream.0, nobody4(nth), udp("arp-exhaust-remote", 9, 9));
            (0..150)
                .map(|nth| Frame::new(s.upstream_mac, s.uplink_mac, packet(nth)).into())
                .collect()
        })
        .from(Sender::Upstream)
        .harms(Harm::Effect),
    ]
}

/// A frame that says nothing but who sent it.
fn noise(src: MacOctets, dst: MacOctets) -> Shot {
    let body = Body::Other {
        ethertype: 0x88b5,
        bytes: [b"noise of ".as_slice(), &src, &dst, &[0; 40]].concat(),
    };
    Frame::new(src, dst, body).into()
}

fn random_mac(nth: u8) -> MacOctets {
    [0x02, 0xf1, 0x00, 0xd0, 0x00, nth]
}

fn macs() -> Vec<Attack> {
    vec![
        Attack::new("mac-flood", MACS, |s| {
            (0..=255)
                .map(|nth| noise(random_mac(nth), s.v1().mac))
                .collect()
        }),
        Attack::new("mac-flood-udp", MACS, |s| {
            let frame = |nth| {
                let packet = Ipv6::new(s.me.v6, s.v1().v6, udp("mac-flood-udp", 9, 9));
                Frame::new(random_mac(nth), s.towards(0), packet).into()
            };
            (0..=255).map(frame).collect()
        }),
        Attack::new("mac-steal", MACS, |s| vec![noise(s.v1().mac, BROADCAST)]),
        Attack::new("mac-steal-gw", MACS, |s| {
            vec![noise(s.gateway.mac, BROADCAST)]
        }),
        Attack::new("mac-steal-udp", MACS, |s| {
            let packet = Ipv6::new(s.me.v6, s.v2().v6, udp("mac-steal-udp", 9, 9));
            one(Frame::new(s.v1().mac, s.towards(1), packet))
        }),
        Attack::new("mac-steal-lldp", CONTROL, |s| vec![noise(s.v1().mac, LLDP)]).moot(UNLEARNT),
        Attack::new("mac-steal-pause", CONTROL, |s| {
            vec![noise(s.v1().mac, PAUSE)]
        })
        .moot(UNLEARNT),
        Attack::new("mac-flood-lldp", CONTROL, |_| {
            (0..=255).map(|nth| noise(random_mac(nth), LLDP)).collect()
        })
        .moot(UNLEARNT),
        Attack::new("mac-steal-stp", CONTROL, |s| vec![bpdu(s.v1().mac)]),
        Attack::new("stp-bpdu", CONTROL, |s| vec![bpdu(s.me.mac)]),
        Attack::new("ethertype-other", MACS, |s| {
            vec![noise(s.me.mac, s.v1().mac)]
        }),
        Attack::new("mac-group-source", MACS, |s| {
            let packet = Ipv6::new(s.me.v6, s.v1().v6, udp("mac-group-source", 9, 9));
            one(Frame::new([3, 0, 0, 0, 0, 1], s.towards(0), packet))
        })
        .unproven("a bridge drops frames from group addresses (br_handle_frame in br_input.c)"),
    ]
}

/// A configuration message that claims to be the root (IEEE 802.1D §9.3.1), with LLC 42-42-03.
fn bpdu(src: MacOctets) -> Shot {
    let mut bytes = vec![0x42, 0x42, 0x03, 0, 0, 0, 0, 0];
    bytes.extend([0, 0]);
    bytes.extend(src);
    bytes.extend([0; 4]);
    bytes.extend([0, 0]);
    bytes.extend(src);
    bytes.extend([0x80, 1, 0, 0, 20, 0, 2, 0, 15, 0]);
    let body = Body::Other {
        ethertype: u16::try_from(bytes.len()).expect("38 bytes"),
        bytes,
    };
    Frame::new(src, STP, body).into()
}

fn group6(nth: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0xbad, nth)
}

fn groups() -> Vec<Attack> {
    vec![
        Attack::new("mld-flood", "C, RFC 3810 §10", |s| {
            let report = |nth: u16| {
                let groups: Vec<_> = (0..32).map(|group| group6(nth * 32 + group)).collect();
                mld2_report(s.me.mac, s.me.lla, &groups).into()
            };
            (0..16).map(report).collect()
        })
        .harms(Harm::Groups(GROUPS)),
        Attack::new("igmp-flood", "C, RFC 3376 §9", |s| {
            let report = |nth: u8| {
                let groups: Vec<_> = (0..32)
                    .map(|group| Ipv4Addr::new(239, 0xba, nth, group))
                    .collect();
                igmp3_report(s.me.mac, s.me.v4, &groups).into()
            };
            (0..16).map(report).collect()
        })
        .harms(Harm::Groups(GROUPS)),
        Attack::new("mld-query", "C, RFC 3810 §7.6.2", |s| {
            one(mld_query(s.me.mac, s.me.lla))
        }),
        Attack::new("mld-query-low", "C, RFC 3810 §7.6.2", |s| {
            one(mld_query(
                s.me.mac,
                Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0),
            ))
        }),
        Attack::new("igmp-query", "C, RFC 3376 §6.6.2", |s| {
            one(igmp_query(s.me.mac, s.me.v4))
        }),
        Attack::new("igmp-query-zero", "C, RFC 3376 §6.6.2", |s| {
            one(igmp_query(s.me.mac, Ipv4Addr::UNSPECIFIED))
        }),
        Attack::new("pim-hello", "C, RFC 7761 §4.9", |s| {
            let all = Ipv4Addr::new(224, 0, 0, 13);
            let hello = [0x20, 0, 0xdf, 0xff, 0, 1, 0, 2, 0, 105];
            let mut packet = Ipv4::new(s.me.v4, all, Payload::other(103, &hello));
            packet.ttl = 1;
            one(Frame::new(s.me.mac, multicast_mac(all.into()), packet))
        }),
        Attack::new("pim6-hello", "C, RFC 7761 §4.9", |s| {
            let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xd);
            let hello = [0x20, 0, 0, 0, 0, 1, 0, 2, 0, 105];
            let mut packet = Ipv6::new(s.me.lla, all, Payload::other(103, &hello));
            packet.hop_limit = 1;
            one(framed(s, packet))
        }),
        Attack::new("mrd-advert", "C, RFC 4286 §3.2", |s| {
            let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x6a);
            let mut packet = Ipv6::new(s.me.lla, all, icmp6(151, 20, &[0, 125, 0, 2]));
            packet.hop_limit = 1;
            one(framed(s, packet.extended(Extension::router_alert())))
        }),
    ]
}

fn floods() -> Vec<Attack> {
    vec![
        Attack::new("bum-flood", "C, first-hop C", |s| {
            let packet = Ipv4::new(s.me.v4, Ipv4Addr::BROADCAST, udp("bum-flood", 9, 9));
            vec![Frame::new(s.me.mac, BROADCAST, packet).into(); 1000]
        }),
        // Each frame of the others is right; a thousand are too many.
        Attack::new("arp-flood", "C, first-hop C", |s| {
            vec![Arp::request(s.me.mac, s.me.v4, s.gateway.v4).into(); 1000]
        })
        .harms(Harm::Above(BURST)),
        Attack::new("nd-flood", EXHAUST, |s| {
            vec![Icmpv6::solicitation(s.me.mac, s.me.v6, s.gateway.v6).into(); 1000]
        })
        .harms(Harm::Above(BURST)),
        Attack::new("na-flood", EXHAUST, |s| {
            vec![Icmpv6::unsolicited(s.me.mac, s.me.v6).into(); 1000]
        })
        .harms(Harm::Above(BURST)),
        Attack::new("rs-flood", EXHAUST, |s| {
            vec![Icmpv6::router_solicitation(s.me.mac, s.me.lla).into(); 1000]
        })
        .harms(Harm::Above(BURST)),
    ]
}
