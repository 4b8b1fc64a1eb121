//! IPv4: from an address of the port, to one that somebody can hold, in a protocol that hosts speak.

use bulkhead_nft::{Datum, Field, Name, Op, Rule, Statement, Verdict};

use super::{
    Share, beyond, drop_if, goto, is, is_group_frame, network, not_in, not_of, of_port, of_sender,
};
use super::{one_of, otherwise, pass, pass_if, port_is, port_is_not, transport, verdict_drop};
use super::{verdict_pass, vmap};
use crate::guard::reason::Reason;
use crate::guard::sets;

pub(super) const POD4: Name = Name::literal("pod4");
const OWN: Name = Name::literal("ip4-own");
const OPTIONS: Name = Name::literal("ip4-options");
const GROUPS: Name = Name::literal("ip4-groups");
const BROADCAST: Name = Name::literal("ip4-broadcast");
const PROTOCOLS: Name = Name::literal("ip4-protocols");
const FRAGMENTS: Name = Name::literal("ip4-fragments");
const UDP: Name = Name::literal("ip4-udp");
const QUESTIONS: Name = Name::literal("ip4-dhcp-questions");
const TUNNELS: Name = Name::literal("ip4-tunnels");
const ICMP: Name = Name::literal("ip4-icmp");
const ERRORS: Name = Name::literal("ip4-errors");

const TCP: u8 = 6;
const UDP_NUMBER: u8 = 17;
const ICMP_NUMBER: u8 = 1;
/// Protocols that say nothing about the first hop: TCP, ESP, SCTP.
pub(super) const PLAIN: [u8; 3] = [TCP, 50, 132];
/// UDP ports of VXLAN (RFC 7348), its Linux port, Geneve (RFC 8926) and VXLAN-GPE.
pub(super) const TUNNEL_PORTS: [u16; 4] = [4789, 8472, 6081, 4790];

pub(super) fn chains() -> Vec<(Name, Vec<Rule>)> {
    vec![
        (POD4, source()),
        (OWN, destination()),
        (OPTIONS, options()),
        (GROUPS, groups()),
        (BROADCAST, broadcast()),
        (PROTOCOLS, protocols()),
        (FRAGMENTS, fragments()),
        (UDP, udp()),
        (QUESTIONS, questions()),
        (TUNNELS, tunnels()),
        (ICMP, icmp()),
        (ERRORS, errors()),
    ]
}

fn source() -> Vec<Rule> {
    let unspecified = Statement::is(Field::Ip4Saddr, Datum::Ipv4Addr([0, 0, 0, 0].into()));
    let mut rules = vec![
        Rule::new([of_sender([Field::Ip4Saddr], sets::ID4), goto(OWN)]),
        drop_if([port_is_not(sets::LOOSE)], Reason::Source4),
        // Before it has an address: DHCP alone (RFC 2131 section 4.1).
        Rule::new([
            unspecified.clone(),
            port_is(sets::DHCP_CLIENTS),
            of_sender([], sets::ID2),
            goto(BROADCAST),
        ]),
        Rule::new([
            Statement::is_not(Field::Ip4Saddr, Datum::Ipv4Addr([0, 0, 0, 0].into())),
            port_is(sets::ANY),
            of_sender([], sets::ID2),
            goto(OWN),
        ]),
    ];
    rules.extend(not_of(Reason::Source4));
    rules
}

/// By the first byte of the destination; then an address that is somebody's.
fn destination() -> Vec<Rule> {
    let first = network(16, 1);
    let mut kinds = vec![
        (vec![0], verdict_drop(Reason::Source4)),
        (vec![127], verdict_drop(Reason::Source4)),
        (vec![255], Verdict::Goto(BROADCAST)),
    ];
    kinds.extend((224..=239).map(|group| (vec![group], Verdict::Goto(GROUPS))));
    kinds.extend((240..=254).map(|reserved| (vec![reserved], verdict_drop(Reason::Source4))));
    vec![
        Rule::new([
            Statement::is_not(network(0, 1), Datum::Integer(vec![0x45])),
            goto(OPTIONS),
        ]),
        Rule::new([vmap(first, kinds)]),
        drop_if([is_group_frame()], Reason::Multicast),
        drop_if(
            [
                Statement::in_set([Field::Ip4Daddr], sets::BLOCKS4),
                not_in([Field::Ip4Daddr], sets::LIVE4),
            ],
            Reason::Dead,
        ),
        Rule::new([goto(PROTOCOLS)]),
    ]
}

/// Options hide nothing here and lead packets astray (RFC 7126): only IGMP's router alert (RFC 2113).
fn options() -> Vec<Rule> {
    let reports = [0x12, 0x16, 0x17, 0x22].map(|report| Datum::Integer(vec![report]));
    let joins = |set| {
        pass_if([
            is(network(0, 1), &[0x46]),
            is(network(9, 1), &[2]),
            is(network(20, 4), &[0x94, 0x04, 0, 0]),
            Statement::masked(
                network(16, 1),
                Datum::Integer(vec![0xf0]),
                Op::Eq,
                Datum::Integer(vec![0xe0]),
            ),
            one_of(network(24, 1), reports.clone()),
            port_is(set),
        ])
    };
    let mut rules = beyond(Share::All, &[is_group_frame()]).to_vec();
    rules.extend([
        joins(sets::LINK_LOCAL_GROUPS),
        joins(sets::ALL_GROUPS),
        otherwise(Reason::Protocol),
    ]);
    rules
}

fn groups() -> Vec<Rule> {
    let vrrp = Datum::Ipv4Addr([224, 0, 0, 18].into());
    let local = is(network(16, 3), &[224, 0, 0]);
    vec![
        // VRRP (RFC 9568 section 5.1.1).
        pass_if([
            Statement::is(Field::Ip4Daddr, vrrp),
            is(network(8, 2), &[255, 112]),
            port_is(sets::VRRP),
        ]),
        Rule::new([
            is(network(9, 1), &[UDP_NUMBER]),
            local,
            port_is(sets::LINK_LOCAL_GROUPS),
            goto(PROTOCOLS),
        ]),
        Rule::new([
            is(network(9, 1), &[UDP_NUMBER]),
            port_is(sets::ALL_GROUPS),
            goto(PROTOCOLS),
        ]),
        otherwise(Reason::Multicast),
    ]
}

/// To everybody: a DHCP client's questions, and a DHCP server's answers.
fn broadcast() -> Vec<Rule> {
    let everybody = Statement::is(Field::Ip4Daddr, Datum::Ipv4Addr([255; 4].into()));
    let whole = || is_piece(Op::Eq);
    let udp = is(network(9, 1), &[UDP_NUMBER]);
    let plain = is(network(0, 1), &[0x45]);
    let mut rules = beyond(Share::All, &[]).to_vec();
    rules.extend([
        pass_if([
            plain.clone(),
            udp.clone(),
            whole(),
            everybody.clone(),
            is(transport(0, 4), &[0, 68, 0, 67]),
            port_is(sets::DHCP_CLIENTS),
        ]),
        pass_if([
            plain,
            udp,
            whole(),
            everybody,
            is(transport(0, 4), &[0, 67, 0, 68]),
            port_is(sets::DHCP_SERVERS),
        ]),
        otherwise(Reason::Multicast),
    ]);
    rules
}

fn protocols() -> Vec<Rule> {
    let mut known: Vec<_> = PLAIN.map(|plain| (vec![plain], verdict_pass())).into();
    known.push((vec![UDP_NUMBER], Verdict::Goto(UDP)));
    known.push((vec![ICMP_NUMBER], Verdict::Goto(ICMP)));
    vec![
        Rule::new([is_piece(Op::Ne), goto(FRAGMENTS)]),
        Rule::new([vmap(network(9, 1), known)]),
        otherwise(Reason::Protocol),
    ]
}

/// More fragments follow, or came before: whatever may be fragmented on the way or not.
fn is_piece(op: Op) -> Statement {
    let bits = Datum::Integer(vec![0x3f, 0xff]);
    Statement::masked(network(6, 2), bits, op, Datum::Integer(vec![0, 0]))
}

/// A later fragment has no ports: the first one is judged for all. One that is never first is never
/// put together.
fn fragments() -> Vec<Rule> {
    let protocol = network(9, 1);
    let byte = |value: u8| Datum::Integer(vec![value]);
    let common = PLAIN.into_iter().chain([UDP_NUMBER, ICMP_NUMBER]).map(byte);
    let offset_bits = Datum::Integer(vec![0x1f, 0xff]);
    let none = Datum::Integer(vec![0, 0]);
    let echo = [byte(8), byte(0)];
    let length = |bytes: u16| Datum::Integer(bytes.to_be_bytes().to_vec());
    vec![
        pass_if([
            Statement::masked(network(6, 2), offset_bits, Op::Ne, none),
            one_of(protocol, common),
        ]),
        // One that is no whole TCP header hides flags from who looks at it (RFC 1858 section 3).
        drop_if(
            [
                is(protocol, &[TCP]),
                one_of(network(2, 2), (0..20 + 20).map(length)),
            ],
            Reason::Fragment,
        ),
        pass_if([one_of(protocol, PLAIN.map(byte))]),
        Rule::new([is(protocol, &[UDP_NUMBER]), goto(UDP)]),
        pass_if([is(protocol, &[ICMP_NUMBER]), one_of(transport(0, 1), echo)]),
        otherwise(Reason::Fragment),
    ]
}

/// Clients look at the port they are answered on alone, whatever it comes from.
fn udp() -> Vec<Rule> {
    let mut ports = vec![
        (port(68), verdict_drop(Reason::Dhcp)),
        (port(67), Verdict::Goto(QUESTIONS)),
    ];
    ports.extend(TUNNEL_PORTS.map(|tunnel| (port(tunnel), Verdict::Goto(TUNNELS))));
    let from_server = is(transport(0, 2), &[0, 67]);
    vec![
        pass_if([from_server.clone(), port_is(sets::DHCP_SERVERS)]),
        drop_if([from_server], Reason::Dhcp),
        Rule::new([vmap(transport(2, 2), ports)]),
        Rule::new([pass()]),
    ]
}

/// To a DHCP server that is known, as who prolongs a lease asks it (RFC 2131 section 4.4.5).
fn questions() -> Vec<Rule> {
    vec![
        pass_if([port_is(sets::DHCP_CLIENTS)]),
        otherwise(Reason::Dhcp),
    ]
}

pub(super) fn port(number: u16) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// Not into a tunnel of this node or of another one; between containers it is their own affair.
fn tunnels() -> Vec<Rule> {
    vec![
        drop_if(
            [Statement::is(Field::FibDaddrType, Datum::LOCAL)],
            Reason::Tunnel,
        ),
        drop_if(
            [Statement::in_set([Field::Ip4Daddr], sets::VTEPS4)],
            Reason::Tunnel,
        ),
        Rule::new([pass()]),
    ]
}

fn icmp() -> Vec<Rule> {
    let errors = [3, 11, 12].map(|error| (vec![error], Verdict::Goto(ERRORS)));
    let echo = [8, 0].map(|echo| (vec![echo], verdict_pass()));
    vec![
        Rule::new([vmap(transport(0, 1), errors.into_iter().chain(echo))]),
        otherwise(Reason::Icmp),
    ]
}

/// An error is about a packet that this port got: the quoted destination is one of its addresses.
fn errors() -> Vec<Rule> {
    let quoted = transport(24, 4);
    vec![
        pass_if([of_port([quoted], sets::OWN4)]),
        pass_if([port_is(sets::ROUTERS)]),
        pass_if([port_is(sets::ANY)]),
        otherwise(Reason::Icmp),
    ]
}
