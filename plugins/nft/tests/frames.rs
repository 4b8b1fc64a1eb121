//! The interpreter and the kernel judge the same frames alike.

mod common;

use std::collections::BTreeSet;

use bulkhead_nft::{
    Chain, Command, Datum, Devices, Elements, Field, Hook, Key, KeyType, Match, Name, Op, Operand,
    Packet, PayloadBase, Policy, PrefixSet, Rule, Set, Statement, Table, Verdict, evaluate,
};
use common::bench::{Bench, chain, model};
use common::frame::{BOUND, OTHER, arp, ethernet, frames, ip4};
use common::{
    BULKHEAD, MACS, Nfnl, PORTS, bound, device, ingress, port_chain, port_guard, prefix_guard,
};
use netns_fixtures::{Feature, Sandbox, skip_without};

fn comparing(field: Field, op: Op, values: impl IntoIterator<Item = Datum>) -> Statement {
    let keys = values.into_iter().map(Key::from).collect();
    Statement::Match(Match::new([field], op, Operand::Keys(keys)))
}

fn goto(chain: &'static str) -> Verdict {
    Verdict::Goto(Name::literal(chain))
}

const ACCEPT: Statement = Statement::accept();
const DROP: Statement = Statement::drop();

/// A table with everything a rule can do to a frame.
fn everything() -> Table {
    let ethertype = Field::Raw {
        base: PayloadBase::Link,
        offset: 12,
        len: 2,
    };
    let kinds = [
        ([0x86, 0xdd], goto("six")),
        ([0x08, 0x00], goto("four")),
        ([0x08, 0x06], Verdict::Return),
    ];
    let kinds = kinds.map(|(kind, to)| (Key::from(Datum::Integer(kind.to_vec())), to));
    let first = vec![
        Rule::new([
            Statement::in_set([Field::Iifname, Field::EtherSaddr], MACS),
            Statement::jump(Name::literal("typed")),
        ]),
        Rule::new([
            Statement::is(Field::ArpOperation, Datum::ArpOp(1)),
            Statement::is(Field::ArpSaddrIp, Datum::Ipv4Addr([10, 0, 0, 1].into())),
            ACCEPT,
        ]),
        Rule::new([
            Statement::in_prefix(Field::Ip4Saddr, "192.0.2.0/25".parse().unwrap()),
            Statement::SetMark(0x1017),
            Statement::ClearMarkBits(0x1010),
            Statement::SetMarkBits(0x0002),
        ]),
        Rule::new([
            Statement::is(Field::Mark, Datum::Mark(7)),
            Statement::has_any(Field::Mark, Datum::Mark(6)),
            Statement::is_not(Field::Ip4Protocol, Datum::InetProto(6)),
            ACCEPT,
        ]),
    ];
    let typed = vec![
        Rule::new([Statement::Vmap {
            fields: vec![ethertype],
            entries: kinds.into(),
        }]),
        Rule::new([DROP]),
    ];
    let mut table = Table::new(BULKHEAD);
    table.sets = vec![Set::live(MACS, [KeyType::IfName, KeyType::EtherAddr])];
    table.sets[0].elements = Elements::keys([bound("bhpa", 1)]);
    table.chains = vec![
        Chain {
            base: Some(ingress(Devices::Names(vec![device("bhpa")]))),
            ..chain("first", first)
        },
        chain("typed", typed),
        chain("six", six()),
        chain("four", four()),
        chain("udp6", udp6()),
    ];
    table
}

fn six() -> Vec<Rule> {
    let sources = ["fd00::1", "fd00::2"].map(|a| Datum::Ipv6Addr(a.parse().unwrap()));
    let next = [
        (Key::from(Datum::InetProto(58)), Verdict::Accept),
        (
            Key::from(Datum::InetProto(17)),
            Verdict::Jump(Name::literal("udp6")),
        ),
    ];
    let fragment_offset = Field::Raw {
        base: PayloadBase::Network,
        offset: 42,
        len: 2,
    };
    vec![
        Rule::new([comparing(Field::Ip6Saddr, Op::Ne, sources), DROP]),
        Rule::new([
            Statement::is(Field::Ip6NextHeader, Datum::InetProto(44)),
            Statement::masked(fragment_offset, [0xff, 0xf8], Op::Ne, [0, 0]),
            DROP,
        ]),
        Rule::new([
            Statement::is(Field::Icmp6Type, Datum::Icmpv6Type(134)),
            DROP,
        ]),
        Rule::new([Statement::Vmap {
            fields: vec![Field::Ip6NextHeader],
            entries: next.into(),
        }]),
        Rule::new([
            Statement::is(Field::Ip6HopLimit, Datum::Integer(vec![255])),
            Statement::is(Field::UdpDport, Datum::InetService(53)),
            ACCEPT,
        ]),
        Rule::new([
            Statement::is_not(Field::L4Proto, Datum::InetProto(47)),
            ACCEPT,
        ]),
    ]
}

fn udp6() -> Vec<Rule> {
    vec![
        Rule::new([
            Statement::is_not(Field::UdpDport, Datum::InetService(53)),
            Statement::Verdict(Verdict::Return),
        ]),
        Rule::new([
            Statement::is(Field::UdpSport, Datum::InetService(546)),
            DROP,
        ]),
    ]
}

fn four() -> Vec<Rule> {
    let known = ["10.0.0.0/8", "192.0.2.1/32"].map(|p| p.parse().unwrap());
    let known = PrefixSet::new(bulkhead_model::Family::V4, known);
    let fragment = Field::Raw {
        base: PayloadBase::Network,
        offset: 6,
        len: 2,
    };
    vec![
        Rule::new([
            Statement::masked(fragment, [0x1f, 0xff], Op::Ne, [0, 0]),
            DROP,
        ]),
        Rule::new([Statement::outside(Field::Ip4Daddr, known), DROP]),
        Rule::new([
            comparing(
                Field::TcpDport,
                Op::Eq,
                [Datum::InetService(80), Datum::InetService(443)],
            ),
            ACCEPT,
        ]),
        Rule::new([Statement::is(Field::Icmp4Type, Datum::IcmpType(8)), ACCEPT]),
        Rule::new([
            Statement::is(Field::TransportDport, Datum::InetService(53)),
            ACCEPT,
        ]),
        Rule::new([Statement::is(Field::L4Proto, Datum::InetProto(17)), DROP]),
    ]
}

#[test]
fn the_kernel_and_the_model_agree_on_every_frame() {
    let bench = Bench::new(&["bhpa"]);
    let table = everything();
    bench.load(&table);
    let mut ran = BTreeSet::new();
    for frame in frames() {
        let packet = Packet::frame(&frame, device("bhpa")).unwrap();
        let model = evaluate(&table, Hook::Ingress, &packet).unwrap();
        let kernel = bench.judge("bhpa", &frame);
        assert_eq!(kernel, model.verdict, "{frame:02x?}\n{:?}", model.trail);
        ran.extend(model.trail.into_iter().map(|step| (step.chain, step.rule)));
    }
    for chain in &table.chains {
        for (nth, rule) in chain.rules.iter().enumerate() {
            assert!(
                ran.contains(&(chain.name.clone(), nth)),
                "no frame ran {rule}"
            );
        }
    }
}

/// A port is mute, then bound by address, then open, then mute again.
fn lives(bench: &Bench, mut table: Table, port: &str) {
    let own = ethernet(BOUND, 0x0800, &ip4(17, [10, 0, 0, 1], 0, &[0; 8]));
    let foreign = ethernet(OTHER, 0x0800, &ip4(17, [10, 0, 0, 1], 0, &[0; 8]));
    let macs = Elements::keys([bound(port, 1)]);
    let open = Elements::keys([device(port).into()]);
    let steps: [(Option<Command>, [Policy; 2]); 4] = [
        (None, [Policy::Drop; 2]),
        (
            Some(add(MACS, macs.clone())),
            [Policy::Accept, Policy::Drop],
        ),
        (Some(add(PORTS, open.clone())), [Policy::Accept; 2]),
        (
            Some(Command::ReplaceTable(table.clone())),
            [Policy::Drop; 2],
        ),
    ];
    for (nth, (command, expected)) in steps.into_iter().enumerate() {
        bench.socket.commit(&Vec::from_iter(command)).unwrap();
        table.sets[0].elements = if matches!(nth, 1 | 2) {
            macs.clone()
        } else {
            Elements::default()
        };
        table.sets[1].elements = if nth == 2 {
            open.clone()
        } else {
            Elements::default()
        };
        for (frame, expected) in [&own, &foreign].into_iter().zip(expected) {
            assert_eq!(bench.judge(port, frame), expected, "step {nth}");
            assert_eq!(model(&table, port, frame), expected, "step {nth}");
        }
    }
}

fn add(set: Name, elements: Elements) -> Command {
    Command::AddElements {
        table: BULKHEAD,
        set,
        elements,
    }
}

#[test]
fn a_port_with_its_own_chain_passes_what_is_bound() {
    let bench = Bench::new(&["bhpa", "other"]);
    let mut table = port_guard();
    table.chains.push(port_chain("bhpa"));
    bench.load(&table);
    lives(&bench, table.clone(), "bhpa");
    let frame = ethernet(OTHER, 0x0800, &ip4(17, [10, 0, 0, 1], 0, &[0; 8]));
    assert_eq!(bench.judge("other", &frame), Policy::Accept);
    assert_eq!(model(&table, "other", &frame), Policy::Accept);
}

#[test]
fn a_port_made_after_the_prefix_chain_is_mute_until_bound() {
    skip_without!(Feature::PrefixChains);
    // The witness binds by name before the port exists.
    let bench = Bench::new(&["bhpa", "other"]);
    bench.near.ip("link del bhpa").unwrap();
    bench.load(&prefix_guard());
    bench.plug("bhpa");
    lives(&bench, prefix_guard(), "bhpa");
    let frame = ethernet(OTHER, 0x0800, &ip4(17, [10, 0, 0, 1], 0, &[0; 8]));
    assert_eq!(bench.judge("other", &frame), Policy::Accept);
    assert_eq!(model(&prefix_guard(), "other", &frame), Policy::Accept);
}

#[test]
fn a_table_the_kernel_refuses_has_no_verdict() {
    let frame = ethernet(BOUND, 0x0806, &arp(1, [10, 0, 0, 1]));
    let packet = Packet::frame(&frame, device("bhpa")).unwrap();
    let mut lost = everything();
    lost.chains.truncate(1);
    let mut unset = everything();
    unset.sets.clear();
    let mut endless = everything();
    endless.chains[1].rules = vec![Rule::new([Statement::jump(Name::literal("typed"))])];
    let sandbox = Sandbox::new();
    let socket = Nfnl::open(&sandbox.ns("n").unwrap());
    for table in [lost, unset, endless] {
        assert!(evaluate(&table, Hook::Ingress, &packet).is_err(), "{table}");
        assert!(socket.commit(&[Command::ReplaceTable(table)]).is_err());
    }
}
