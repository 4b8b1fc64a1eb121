//! IPv6: from an address of the port, to one that somebody can hold, in a protocol that hosts speak. The
//! next header of the fixed header is what is carried; another extension header than these is nobody's
//! (RFC 8504 section 5.3: a router may drop them).

use bulkhead_nft::{Datum, Field, Name, Op, Rule, Statement, Verdict};

use super::discovery::UNSPECIFIED;
use super::ipv4::{PLAIN, TUNNEL_PORTS, port};
use super::{
    Share, beyond, drop_if, goto, is, is_group_frame, network, not_in, not_of, of_port, of_sender,
};
use super::{discovery, vmap};
use super::{
    one_of, otherwise, pass, pass_if, port_is, port_is_not, transport, verdict_drop, verdict_pass,
};
use crate::guard::reason::Reason;
use crate::guard::sets;

pub(super) const POD6: Name = Name::literal("pod6");
const OWN: Name = Name::literal("ip6-own");
const LOW: Name = Name::literal("ip6-low");
const OF_LINK: Name = Name::literal("ip6-of-link");
const UNICAST: Name = Name::literal("ip6-unicast");
const GROUPS: Name = Name::literal("ip6-groups");
const GROUP_ICMP: Name = Name::literal("ip6-group-icmp");
const GROUP_UDP: Name = Name::literal("ip6-group-udp");
pub(super) const REPORTS: Name = Name::literal("ip6-reports");
const FRAGMENTS: Name = Name::literal("ip6-fragments");
const FRAGMENT_UDP: Name = Name::literal("ip6-fragment-udp");
const UDP: Name = Name::literal("ip6-udp");
const TUNNELS: Name = Name::literal("ip6-tunnels");
const ICMP: Name = Name::literal("ip6-icmp");
const ERRORS: Name = Name::literal("ip6-errors");

const HOP_BY_HOP: u8 = 0;
const TCP: u8 = 6;
const UDP_NUMBER: u8 = 17;
const FRAGMENT: u8 = 44;
pub(super) const ICMPV6: u8 = 58;
const VRRP: u8 = 112;
/// The message of `DHCPv6` that asks for no address (RFC 8415 section 7.3).
const INFORMATION_REQUEST: u8 = 11;

pub(super) fn chains() -> Vec<(Name, Vec<Rule>)> {
    vec![
        (POD6, source()),
        (OWN, destination()),
        (LOW, low()),
        (OF_LINK, of_link()),
        (UNICAST, unicast()),
        (GROUPS, groups()),
        (GROUP_ICMP, group_icmp()),
        (GROUP_UDP, group_udp()),
        (REPORTS, reports()),
        (FRAGMENTS, fragments()),
        (FRAGMENT_UDP, fragment_udp()),
        (UDP, udp()),
        (TUNNELS, tunnels()),
        (ICMP, icmp()),
        (ERRORS, errors()),
    ]
}

fn source() -> Vec<Rule> {
    let unspecified = Statement::is(Field::Ip6Saddr, Datum::Ipv6Addr([0; 16].into()));
    let mut rules = vec![
        Rule::new([of_sender([Field::Ip6Saddr], sets::ID6), goto(OWN)]),
        Rule::new([unspecified, goto(UNSPECIFIED)]),
        drop_if([port_is_not(sets::LOOSE)], Reason::Source6),
        Rule::new([of_sender([network(8, 8)], sets::ID64), goto(OWN)]),
        Rule::new([port_is(sets::ANY), of_sender([], sets::ID2), goto(OWN)]),
    ];
    rules.extend(not_of(Reason::Source6));
    rules
}

/// By the first byte of the destination.
fn destination() -> Vec<Rule> {
    let kinds = [
        (vec![0xff], Verdict::Goto(GROUPS)),
        (vec![0x00], Verdict::Goto(LOW)),
        (vec![0xfe], Verdict::Goto(OF_LINK)),
    ];
    vec![
        Rule::new([vmap(network(24, 1), kinds)]),
        Rule::new([goto(UNICAST)]),
    ]
}

/// In `::/8` only translated IPv4 (`64:ff9b::/96`, `64:ff9b:1::/48`; RFC 6052, RFC 8215) is
/// anybody's.
fn low() -> Vec<Rule> {
    vec![
        Rule::new([is(network(24, 4), &[0x00, 0x64, 0xff, 0x9b]), goto(UNICAST)]),
        otherwise(Reason::Source6),
    ]
}

/// What is for the link is for the node only if the node has the address: the kernel forwards such a packet out
/// by the link it came in by (`ip6_forward`, `net/ipv6/ip6_output.c`), looks there for whoever has it, and has one
/// table of neighbours for all links and namespaces. What goes to another station of a segment is that one's.
fn of_link() -> Vec<Rule> {
    let is_of_link = |op| {
        let first = Datum::Integer(vec![0xfe, 0x80]);
        Statement::masked(network(24, 2), Datum::Integer(vec![0xff, 0xc0]), op, first)
    };
    vec![
        Rule::new([is_of_link(Op::Ne), goto(UNICAST)]),
        Rule::new([
            Statement::in_set([network(24, 16)], sets::GATES6),
            goto(UNICAST),
        ]),
        Rule::new([of_port([Field::Ip6Daddr], sets::NODE_LINKS), goto(UNICAST)]),
        drop_if(
            [of_port([Field::EtherDaddr], sets::NODE_MACS)],
            Reason::Dead,
        ),
        Rule::new([goto(UNICAST)]),
    ]
}

fn unicast() -> Vec<Rule> {
    let mut known: Vec<_> = PLAIN.map(|plain| (vec![plain], verdict_pass())).into();
    known.push((vec![UDP_NUMBER], Verdict::Goto(UDP)));
    known.push((vec![ICMPV6], Verdict::Goto(ICMP)));
    known.push((vec![FRAGMENT], Verdict::Goto(FRAGMENTS)));
    vec![
        drop_if([is_group_frame()], Reason::Multicast),
        drop_if(
            [
                Statement::in_set([Field::Ip6Daddr], sets::BLOCKS6),
                not_in([Field::Ip6Daddr], sets::LIVE6),
                not_in([network(24, 8)], sets::LIVE64),
            ],
            Reason::Dead,
        ),
        Rule::new([vmap(network(6, 1), known)]),
        otherwise(Reason::Protocol),
    ]
}

fn groups() -> Vec<Rule> {
    let kinds = [
        (vec![ICMPV6], Verdict::Goto(GROUP_ICMP)),
        (vec![HOP_BY_HOP], Verdict::Goto(REPORTS)),
        (vec![UDP_NUMBER], Verdict::Goto(GROUP_UDP)),
    ];
    let routers = Datum::Ipv6Addr([0xff02, 0, 0, 0, 0, 0, 0, 0x12].into());
    vec![
        Rule::new([vmap(network(6, 1), kinds)]),
        // VRRP (RFC 9568 section 5.1.2).
        pass_if([
            Statement::is(Field::Ip6Daddr, routers),
            is(network(6, 2), &[VRRP, 255]),
            port_is(sets::VRRP),
        ]),
        otherwise(Reason::Multicast),
    ]
}

fn group_icmp() -> Vec<Rule> {
    let mut rules = beyond(Share::All, &[]).to_vec();
    rules.extend([
        // Discovery is the link's (RFC 4861 section 4): its groups are ff02::/16.
        drop_if(
            [Statement::is_not(
                network(24, 2),
                Datum::Integer(vec![0xff, 0x02]),
            )],
            Reason::Multicast,
        ),
        Rule::new([vmap(transport(0, 1), discovery::by_type())]),
        otherwise(Reason::Multicast),
    ]);
    rules
}

fn group_udp() -> Vec<Rule> {
    let servers = Datum::Ipv6Addr([0xff02, 0, 0, 0, 0, 0, 1, 2].into());
    let link_local = is(network(24, 2), &[0xff, 0x02]);
    // DHCPv6 (RFC 9915 section 7.1, 7.2).
    let to_servers = || {
        [
            Statement::is(Field::Ip6Daddr, servers.clone()),
            is(transport(2, 2), &port(547)),
        ]
    };
    let asks = || {
        let asks = [
            is(transport(8, 1), &[INFORMATION_REQUEST]),
            port_is(sets::CONFIGURED),
        ];
        to_servers().into_iter().chain(asks)
    };
    let clients = to_servers()
        .into_iter()
        .chain([port_is(sets::DHCP_CLIENTS)]);
    let mut rules = vec![pass_if(clients)];
    rules.extend(beyond(Share::Node, &asks().collect::<Vec<_>>()));
    rules.extend([
        pass_if(asks()),
        Rule::new([link_local, port_is(sets::LINK_LOCAL_GROUPS), goto(UDP)]),
        Rule::new([port_is(sets::ALL_GROUPS), goto(UDP)]),
        otherwise(Reason::Multicast),
    ]);
    rules
}

/// Multicast listener reports (RFC 2710, RFC 9777): behind a hop-by-hop header with nothing but a router
/// alert and its padding, as every host sends them.
fn reports() -> Vec<Rule> {
    let report = |kind: u8| Datum::Integer(vec![kind]);
    // PadN or two of Pad1 (RFC 8200 section 4.2).
    let paddings = [[1, 0], [0, 0]].map(|padding| Datum::Integer(padding.to_vec()));
    let mut rules = beyond(Share::All, &[]).to_vec();
    rules.extend([
        pass_if([
            Statement::is(Field::Ip6HopLimit, Datum::Integer(vec![1])),
            is(network(40, 2), &[ICMPV6, 0]),
            is(network(42, 4), &[5, 2, 0, 0]),
            one_of(network(46, 2), paddings),
            is(network(24, 2), &[0xff, 0x02]),
            one_of(network(48, 1), [report(131), report(132), report(143)]),
        ]),
        otherwise(Reason::Multicast),
    ]);
    rules
}

/// What is put together again cannot be neighbour discovery: its hop limit is not 255 (RFC 6980), and
/// nothing but these follows the fragment header. A later fragment is put together only with a first one,
/// which was judged.
fn fragments() -> Vec<Rule> {
    let byte = |value: u8| Datum::Integer(vec![value]);
    let length = |bytes: u16| Datum::Integer(bytes.to_be_bytes().to_vec());
    let next = network(40, 1);
    let offset = network(42, 2);
    let bits = Datum::Integer(vec![0xff, 0xf8]);
    let none = Datum::Integer(vec![0, 0]);
    let later = Statement::masked(offset, bits, Op::Ne, none);
    let common = PLAIN.into_iter().chain([UDP_NUMBER, ICMPV6]).map(byte);
    vec![
        drop_if(
            [Statement::is(Field::Ip6HopLimit, Datum::Integer(vec![255]))],
            Reason::Fragment,
        ),
        drop_if(
            [Statement::masked(
                network(24, 2),
                Datum::Integer(vec![0xff, 0xc0]),
                Op::Eq,
                Datum::Integer(vec![0xfe, 0x80]),
            )],
            Reason::Fragment,
        ),
        pass_if([later, one_of(next, common)]),
        // The first one has all headers, TCP's too (RFC 7112 section 5).
        drop_if(
            [
                is(next, &[TCP]),
                one_of(network(4, 2), (0..8 + 20).map(length)),
            ],
            Reason::Fragment,
        ),
        pass_if([one_of(next, PLAIN.map(byte))]),
        Rule::new([is(next, &[UDP_NUMBER]), goto(FRAGMENT_UDP)]),
        pass_if([
            is(next, &[ICMPV6]),
            one_of(network(48, 1), [byte(128), byte(129)]),
        ]),
        otherwise(Reason::Fragment),
    ]
}

fn ports(kinds: [(u16, Verdict); 2]) -> Vec<(Vec<u8>, Verdict)> {
    let kinds = kinds.map(|(number, verdict)| (port(number), verdict));
    let tunnels = TUNNEL_PORTS.map(|tunnel| (port(tunnel), Verdict::Goto(TUNNELS)));
    kinds.into_iter().chain(tunnels).collect()
}

fn fragment_udp() -> Vec<Rule> {
    let dhcp = [546, 547].map(|number| (number, verdict_drop(Reason::Dhcp)));
    vec![
        drop_if([is(network(48, 2), &port(547))], Reason::Dhcp),
        Rule::new([vmap(network(50, 2), ports(dhcp))]),
        Rule::new([pass()]),
    ]
}

fn udp() -> Vec<Rule> {
    let from_server = is(transport(0, 2), &port(547));
    let kinds = [546, 547].map(|number| (number, verdict_drop(Reason::Dhcp)));
    vec![
        pass_if([from_server.clone(), port_is(sets::DHCP_SERVERS)]),
        drop_if([from_server], Reason::Dhcp),
        pass_if([is(transport(2, 2), &port(547)), port_is(sets::DHCP_CLIENTS)]),
        Rule::new([vmap(transport(2, 2), ports(kinds))]),
        Rule::new([pass()]),
    ]
}

/// As of IPv4.
fn tunnels() -> Vec<Rule> {
    vec![
        drop_if(
            [Statement::is(Field::FibDaddrType, Datum::LOCAL)],
            Reason::Tunnel,
        ),
        drop_if(
            [Statement::in_set([Field::Ip6Daddr], sets::VTEPS6)],
            Reason::Tunnel,
        ),
        Rule::new([pass()]),
    ]
}

fn icmp() -> Vec<Rule> {
    let errors = [1, 2, 3, 4].map(|error| (vec![error], Verdict::Goto(ERRORS)));
    let echo = [128, 129].map(|echo| (vec![echo], verdict_pass()));
    let known = discovery::by_type().into_iter().chain(errors).chain(echo);
    vec![
        Rule::new([vmap(transport(0, 1), known)]),
        otherwise(Reason::Icmp),
    ]
}

/// An error is about a packet that this port got (RFC 4443 section 3): the quoted destination is one of
/// its addresses.
fn errors() -> Vec<Rule> {
    vec![
        pass_if([of_port([transport(32, 16)], sets::OWN6)]),
        pass_if([of_port([transport(32, 8)], sets::OWN64)]),
        pass_if([port_is(sets::ROUTERS)]),
        pass_if([port_is(sets::ANY)]),
        otherwise(Reason::Icmp),
    ]
}
