//! Neighbour and router discovery (RFC 4861, RFC 4862, RFC 7527): about the port's own addresses alone,
//! in the lengths that hosts send: without an option, or with the one that belongs there. What has a
//! second option, or one in front, is nobody's.

use bulkhead_nft::{Datum, Field, Name, Op, Rule, Statement, Verdict};

use super::ipv6::{ICMPV6, REPORTS};
use super::{
    Share, beyond, drop_if, goto, is, network, of_port, of_sender, otherwise, pass_if, port_is,
};
use super::{port_is_not, transport, unjudged};
use crate::guard::reason::Reason;
use crate::guard::sets;

pub(super) const UNSPECIFIED: Name = Name::literal("nd-unspecified");
pub(super) const SOLICITATION: Name = Name::literal("nd-solicitation");
const DETECTION: Name = Name::literal("nd-detection");
pub(super) const ADVERTISEMENT: Name = Name::literal("nd-advertisement");
const ADVERTISED: Name = Name::literal("nd-advertised");
const ROUTER_SOLICITATION: Name = Name::literal("nd-router-solicitation");
const ROUTER_ADVERTISEMENT: Name = Name::literal("nd-router-advertisement");

/// Where the options of a router advertisement begin, in bytes of the message.
const RA_OPTIONS: u16 = 16;
/// How many eights of bytes of options are looked through; a longer advertisement is dropped.
const RA_EIGHTS: u16 = 20;

pub(super) fn chains() -> Vec<(Name, Vec<Rule>)> {
    vec![
        (UNSPECIFIED, unspecified()),
        (DETECTION, detection()),
        (SOLICITATION, solicitation()),
        (ADVERTISEMENT, advertisement()),
        (ADVERTISED, advertised()),
        (ROUTER_SOLICITATION, router_solicitation()),
        (ROUTER_ADVERTISEMENT, router_advertisement()),
    ]
}

/// The messages and their chains, by type.
pub(super) fn by_type() -> [(Vec<u8>, Verdict); 4] {
    [
        (vec![133], Verdict::Goto(ROUTER_SOLICITATION)),
        (vec![134], Verdict::Goto(ROUTER_ADVERTISEMENT)),
        (vec![135], Verdict::Goto(SOLICITATION)),
        (vec![136], Verdict::Goto(ADVERTISEMENT)),
    ]
}

/// One hop away (RFC 4861 section 6.1, 7.1).
fn one_hop() -> Statement {
    Statement::is(Field::Ip6HopLimit, Datum::Integer(vec![255]))
}

fn length(bytes: u16) -> Statement {
    Statement::is(
        Field::Ip6Length,
        Datum::Integer(bytes.to_be_bytes().to_vec()),
    )
}

/// An option of that kind with a MAC of the port, at that place.
fn own_mac_at(kind: u8, offset: u16) -> [Statement; 2] {
    [
        is(transport(offset, 1), &[kind]),
        of_port([transport(offset, 8)], sets::LLA),
    ]
}

/// From ::, before an address is the port's for sure.
fn unspecified() -> Vec<Rule> {
    let mut rules = unjudged().to_vec();
    let own = || of_sender([], sets::ID2);
    let message = |kind| {
        [
            own(),
            is(network(6, 2), &[ICMPV6, 255]),
            is(transport(0, 1), &[kind]),
        ]
    };
    let all_routers = Datum::Ipv6Addr([0xff02, 0, 0, 0, 0, 0, 0, 2].into());
    let solicited = is(
        network(24, 13),
        &[0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff],
    );
    let report = is(network(48, 1), &[143]);
    let to_routers = || {
        let all = Statement::is(Field::Ip6Daddr, all_routers.clone());
        let [own, header, kind] = message(133);
        [own, header, kind, all, length(8)]
    };
    rules.push(Rule::new(
        message(135).into_iter().chain([solicited, goto(DETECTION)]),
    ));
    rules.extend(beyond(Share::All, &to_routers()));
    rules.extend([
        Rule::new(to_routers().into_iter().chain([goto(ROUTER_SOLICITATION)])),
        Rule::new([own(), is(network(6, 1), &[0]), report, goto(REPORTS)]),
        otherwise(Reason::Source6),
    ]);
    rules
}

/// Duplicate address detection for an address of the port, with a nonce (RFC 7527) or without.
fn detection() -> Vec<Rule> {
    let target = || transport(8, 16);
    let mut rules = beyond(Share::All, &[]).to_vec();
    for whose in [
        of_port([target()], sets::OWN6),
        of_port([transport(8, 8)], sets::OWN64),
        port_is(sets::ANY),
    ] {
        rules.push(pass_if([whose.clone(), length(24)]));
        rules.push(pass_if([whose, length(32), is(transport(24, 2), &[14, 1])]));
    }
    rules.push(otherwise(Reason::Discovery));
    rules
}

/// A question about anybody: what it says of the port is true.
fn solicitation() -> Vec<Rule> {
    let [kind, mac] = own_mac_at(1, 24);
    let about_node = Statement::in_set([transport(8, 16)], sets::GATES6);
    let mut rules = beyond(Share::Node, &[about_node]).to_vec();
    rules.extend([
        pass_if([one_hop(), length(24)]),
        pass_if([one_hop(), length(32), kind, mac]),
        otherwise(Reason::Discovery),
    ]);
    rules
}

/// An answer about an address of the port.
fn advertisement() -> Vec<Rule> {
    let to_node = Statement::in_set([network(24, 16)], sets::GATES6);
    let mut rules = beyond(Share::Node, &[to_node]).to_vec();
    rules.extend([
        Rule::new([of_port([transport(8, 16)], sets::OWN6), goto(ADVERTISED)]),
        Rule::new([of_port([transport(8, 8)], sets::OWN64), goto(ADVERTISED)]),
        Rule::new([port_is(sets::ANY), goto(ADVERTISED)]),
        otherwise(Reason::Discovery),
    ]);
    rules
}

fn advertised() -> Vec<Rule> {
    let [kind, mac] = own_mac_at(2, 24);
    vec![
        pass_if([one_hop(), length(24)]),
        pass_if([one_hop(), length(32), kind, mac]),
        otherwise(Reason::Discovery),
    ]
}

fn router_solicitation() -> Vec<Rule> {
    let [kind, mac] = own_mac_at(1, 8);
    let mut rules = beyond(Share::Node, &[]).to_vec();
    rules.extend([
        pass_if([one_hop(), length(8)]),
        pass_if([one_hop(), length(16), kind, mac]),
        otherwise(Reason::Discovery),
    ]);
    rules
}

/// Of routers alone, and about the prefixes they hold and their own MAC. Options begin at multiples of
/// eight bytes, so that wherever one can begin is looked at: a prefix (RFC 4861 section 4.6.2) is of 64
/// bits and the router's, a route (RFC 4191 section 2.3) is none. Of either it counts as one whatever
/// its length says that can be in so short a message: receivers take longer options than the RFCs have
/// (`addrconf_prefix_rcv`, `net/ipv6/addrconf.c`).
fn router_advertisement() -> Vec<Rule> {
    let mut rules = vec![
        drop_if([port_is_not(sets::ROUTERS)], Reason::Discovery),
        drop_if(
            [Statement::is_not(
                Field::Ip6HopLimit,
                Datum::Integer(vec![255]),
            )],
            Reason::Discovery,
        ),
    ];
    let beyond = transport(RA_OPTIONS + 8 * RA_EIGHTS, 1);
    rules.push(drop_if([is(beyond, &[0])], Reason::Discovery));
    rules.push(drop_if(
        [Statement::is_not(beyond, Datum::Integer(vec![0]))],
        Reason::Discovery,
    ));
    // Whose addresses are not judged announces what it likes.
    rules.push(pass_if([port_is(sets::ANY)]));
    for eighth in 0..RA_EIGHTS {
        let at = RA_OPTIONS + 8 * eighth;
        let option = |kind: u8| {
            let mask = Datum::Integer(vec![0xff, 0xe0]);
            Statement::masked(
                transport(at, 2),
                mask,
                Op::Eq,
                Datum::Integer(vec![kind, 0]),
            )
        };
        // A prefix takes four of them.
        if eighth + 4 <= RA_EIGHTS {
            let length = Statement::is_not(transport(at + 2, 1), Datum::Integer(vec![64]));
            rules.push(drop_if([option(3), length], Reason::Discovery));
            let foreign = super::not_in([Field::Iifname, transport(at + 16, 8)], sets::OWN64);
            rules.push(drop_if([option(3), foreign], Reason::Discovery));
        }
        rules.push(drop_if([option(24)], Reason::Discovery));
        let mac = is(transport(at, 2), &[1, 1]);
        let foreign = super::not_in([Field::Iifname, transport(at, 8)], sets::LLA);
        rules.push(drop_if([mac, foreign], Reason::Discovery));
    }
    rules.push(pass_if([]));
    rules
}
