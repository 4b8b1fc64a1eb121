//! What sets hold that packets or prefixes are in, and what has been counted.

mod common;

use std::time::Duration;

use bulkhead_model::{Family, Prefix};
use bulkhead_nft::{
    Base, Chain, ChainKind, Command, Count, Devices, Elements, Exceeds, Field, Hook, Key, KeyType,
    Label, Name, Part, Policy, PrefixSet, Rate, Rule, Set, Statement, Table, TableFamily, TableId,
    Transaction, difference_of_prefixes,
};
use bulkhead_plan::{LinkSetting, Ns, Op, Plan, Scope, Space, TableScope, TableState, World};
use common::*;
use netns_fixtures::{PacketSocket, wait_for};

const DROPS: Name = Name::literal("drops");
const SOURCES: Name = Name::literal("sources");
const BUDGET: Name = Name::literal("budget");
const INGRESS: Name = Name::literal("ingress");
const FOUR: Name = Name::literal("four");
const SIX: Name = Name::literal("six");
const NONE: Name = Name::literal("none");
const LIMIT: Duration = Duration::from_secs(40);
/// IEEE 802 local experimental `EtherType`.
const EXPERIMENTAL: [u8; 2] = [0x88, 0xb5];

fn id() -> TableId {
    TableId {
        family: TableFamily::Netdev,
        name: Name::literal("bulkhead"),
    }
}

fn marked() -> Table {
    let mut table = Table::new(id());
    table.comment = Some(Label::new("bulkhead 1 abc").unwrap());
    table
}

/// Counts the experimental frames that arrive on a port by port, and by port and source.
fn counting(port: &str) -> Table {
    let kind = Field::Raw {
        base: bulkhead_nft::PayloadBase::Link,
        offset: 12,
        len: 2,
    };
    let source = Field::Raw {
        base: bulkhead_nft::PayloadBase::Link,
        offset: 6,
        len: 6,
    };
    let mut table = marked();
    let hour = Duration::from_hours(1);
    table.sets = vec![
        Set::meter(DROPS, [KeyType::IfName], hour),
        Set::meter(SOURCES, [KeyType::IfName, KeyType::Integer(8)], hour),
        Set::meter(BUDGET, [KeyType::IfName], hour),
    ];
    let tally = |fields: &[Field], set| Statement::Tally {
        fields: fields.to_vec(),
        set,
    };
    table.chains = vec![Chain {
        name: INGRESS,
        base: Some(Base {
            kind: ChainKind::Filter,
            hook: Hook::Ingress,
            devices: Devices::Names(vec![name(port)]),
            priority: -300,
            policy: Policy::Accept,
        }),
        part: Part::Fixed,
        rules: vec![
            Rule::new([Statement::is_not(kind, EXPERIMENTAL), Statement::accept()]),
            Rule::new([
                tally(&[Field::Iifname, source], SOURCES),
                tally(&[Field::Iifname], DROPS),
            ]),
            Rule::new([
                Statement::Meter {
                    fields: vec![Field::Iifname],
                    set: BUDGET,
                    rate: Rate {
                        per_second: 1,
                        burst: 5,
                    },
                    when: Exceeds::Within,
                },
                Statement::Counter,
            ]),
            Rule::new([Statement::Counter, Statement::drop()]),
        ],
    }];
    table
}

fn frame(source: u8) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, source]);
    frame.extend(EXPERIMENTAL);
    frame.resize(60, 0);
    frame
}

#[test]
fn what_packets_were_counted_in_is_told_by_port_by_source_and_by_rule() {
    let bed = Bed::new();
    let inside = bed.inside();
    bed.apply(vec![
        add_veth("bhpa", None, &inside, "eth0"),
        set(&Ns::Host, "bhpa", LinkSetting::Up),
        set(&inside, "eth0", LinkSetting::Up),
    ]);
    bed.apply(vec![commit(Command::ReplaceTable(counting("bhpa")))]);
    let tallies = |set: &Name| bed.run(|kernel| kernel.tallies(&Ns::Host, &id(), set).unwrap());
    assert_eq!(tallies(&DROPS), []);

    let socket = PacketSocket::open(&bed.container, "eth0").unwrap();
    for source in [1, 1, 2] {
        socket.send_bytes(&frame(source)).unwrap();
    }
    let count = |packets| Count {
        packets,
        // What follows the Ethernet header.
        bytes: packets * 46,
    };
    let port = Key::from(name("bhpa"));
    wait_for("three frames", LIMIT, || {
        (tallies(&DROPS) == [(port.clone(), count(3))]).then_some(())
    });
    let of = |source| Key::new([name("bhpa").into(), [2, 0, 0, 0, 0, source, 0, 0].into()]);
    let mut sources = tallies(&SOURCES);
    sources.sort_by_key(|(key, _)| key.clone());
    assert_eq!(sources, [(of(1), count(2)), (of(2), count(1))]);
    assert_eq!(tallies(&BUDGET), [], "a meter counts nothing");
    assert_eq!(tallies(&NONE), []);

    let rules =
        |chain: &Name| bed.run(|kernel| kernel.rule_counts(&Ns::Host, &id(), chain).unwrap());
    let (spent, all) = (Some(count(3)), Some(count(3)));
    assert_eq!(rules(&INGRESS), [None, None, spent, all]);
    assert_eq!(rules(&NONE), []);
}

/// What a port leaves in a set must go with the port, and at once.
#[test]
fn an_element_that_packets_made_can_be_taken_out_whether_it_is_there_or_not() {
    let bed = Bed::new();
    let inside = bed.inside();
    bed.apply(vec![
        add_veth("bhpa", None, &inside, "eth0"),
        set(&Ns::Host, "bhpa", LinkSetting::Up),
        set(&inside, "eth0", LinkSetting::Up),
        commit(Command::ReplaceTable(counting("bhpa"))),
    ]);
    let socket = PacketSocket::open(&bed.container, "eth0").unwrap();
    let tallies = || bed.run(|kernel| kernel.tallies(&Ns::Host, &id(), &DROPS).unwrap());
    let elements = || Elements::keys([name("bhpa").into()]);
    for _ in 0..2 {
        socket.send_bytes(&frame(1)).unwrap();
        wait_for("the frame", LIMIT, || (!tallies().is_empty()).then_some(()));
        assert_eq!(tallies()[0].1.packets, 1, "counted from the start");
        // Once for what is there, once for what is not.
        for _ in 0..2 {
            let (table, set) = (id(), DROPS);
            let add = Command::AddElements {
                table: table.clone(),
                set: set.clone(),
                elements: elements(),
            };
            let delete = Command::DeleteElements {
                table,
                set,
                elements: elements(),
            };
            bed.apply(vec![Op::Nft {
                ns: Ns::Host,
                transaction: Transaction(vec![add, delete]),
                generation: None,
            }]);
            assert_eq!(tallies(), []);
        }
    }
    let whole = TableScope {
        whole_sets: [DROPS].into(),
        ..TableScope::default()
    };
    assert_eq!(observe(&bed, whole).elements[&DROPS], [].into());
}

fn commit(command: Command) -> Op {
    Op::Nft {
        ns: Ns::Host,
        transaction: Transaction(vec![command]),
        generation: None,
    }
}

fn observe(bed: &Bed, wanted: TableScope) -> TableState {
    let mut scope = Scope::default();
    scope.space(&Ns::Host).tables = [(id(), wanted)].into();
    let world = bed.run(|kernel| kernel.observe(&scope).unwrap());
    world.space(&Ns::Host).tables[&id()].clone()
}

fn prefixes(all: &[&str]) -> Vec<Prefix> {
    all.iter().map(|text| text.parse().unwrap()).collect()
}

fn change(all: &[&str], set: Name, add: bool) -> Op {
    let family = if set == SIX { Family::V6 } else { Family::V4 };
    let elements = Elements::Prefixes(PrefixSet::new(family, prefixes(all)));
    let table = id();
    commit(if add {
        Command::AddElements {
            table,
            set,
            elements,
        }
    } else {
        Command::DeleteElements {
            table,
            set,
            elements,
        }
    })
}

#[test]
fn prefixes_come_and_go_and_are_seen_by_whoever_names_their_set() {
    let bed = Bed::new();
    let mut table = marked();
    table.sets = vec![
        Set::live_prefixes(FOUR, KeyType::Ipv4Addr),
        Set::live_prefixes(SIX, KeyType::Ipv6Addr),
    ];
    bed.apply(vec![commit(Command::ReplaceTable(table))]);
    let seen = || {
        let wanted = TableScope {
            whole_sets: [FOUR, SIX, NONE].into(),
            ..TableScope::default()
        };
        let state = observe(&bed, wanted);
        assert_eq!(state.elements, [].into());
        assert!(!state.prefixes.contains_key(&NONE));
        [FOUR, SIX].map(|set| state.prefixes[&set].iter().copied().collect::<Vec<_>>())
    };
    assert_eq!(seen(), [vec![], vec![]]);

    let four = [
        "0.0.0.0/8",
        "10.0.0.0/25",
        "10.0.0.128/25",
        "10.0.2.7/32",
        "255.0.0.0/8",
    ];
    let six = ["::/16", "fd00:1::/64", "fd00:1:0:1::/64", "ff00::/8"];
    bed.apply(vec![change(&four, FOUR, true), change(&six, SIX, true)]);
    assert_eq!(seen(), [prefixes(&four), prefixes(&six)]);
    // What is there may be added again.
    bed.apply(vec![change(&four[1..2], FOUR, true)]);
    for (inside, set) in [
        ("10.0.0.0/26", FOUR),
        ("10.0.0.0/24", FOUR),
        ("fd00:1::/65", SIX),
    ] {
        let plan = Plan::new(vec![change(&[inside], set, true)]);
        let refused = bed.run(|kernel| kernel.apply(&plan)).unwrap_err();
        let refused = format!("{refused:?}");
        assert!(
            refused.contains("exists"),
            "{inside} overlaps what is there: {refused}"
        );
    }
    bed.apply(vec![
        change(&four[1..3], FOUR, false),
        change(&six[3..], SIX, false),
    ]);
    let left = [&four[..1], &four[3..]].concat();
    assert_eq!(seen(), [prefixes(&left), prefixes(&six[..3])]);
    let plan = Plan::new(vec![change(&four[1..2], FOUR, false)]);
    let error = bed.run(|kernel| kernel.apply(&plan)).unwrap_err();
    assert!(error.is_stale(), "{error:?}");

    // One may grow in one transaction.
    let grown = PrefixSet::new(Family::V4, prefixes(&["0.0.0.0/7", "10.0.2.7/32"]));
    let held = prefixes(&left).into_iter().collect();
    let commands = difference_of_prefixes(&id(), &FOUR, &held, &grown);
    bed.apply(vec![Op::Nft {
        ns: Ns::Host,
        transaction: Transaction(commands),
        generation: None,
    }]);
    let left = ["0.0.0.0/7", "10.0.2.7/32"];
    assert_eq!(seen(), [prefixes(&left), prefixes(&six[..3])]);

    // A range that is no prefix is nobody's of ours.
    bed.host
        .nft("add element netdev bulkhead four { 192.0.2.3-192.0.2.9 }")
        .unwrap();
    assert_eq!(seen(), [prefixes(&left), prefixes(&six[..3])]);
}

#[test]
fn the_model_keeps_prefixes_as_the_kernel_does() {
    let bed = Bed::new();
    let mut table = marked();
    table.sets = vec![Set::live_prefixes(FOUR, KeyType::Ipv4Addr)];
    let mut model = World::default();
    model.spaces.insert(Ns::Host, Space::default());
    let ops = [
        commit(Command::ReplaceTable(table)),
        change(&["10.0.0.0/25", "10.1.0.0/24"], FOUR, true),
        change(&["10.0.0.0/25"], FOUR, true),
        change(&["10.2.0.0/24", "10.0.0.0/24"], FOUR, true),
        change(&["10.0.0.0/26"], FOUR, false),
        change(&["10.0.0.0/25"], FOUR, false),
        change(&["10.0.0.0/25"], FOUR, false),
        change(&["10.0.0.0/24"], FOUR, true),
    ];
    let mut refused = 0;
    for op in ops {
        let plan = Plan::new(vec![op]);
        let modelled = model.apply(&plan);
        let done = bed.run(|kernel| kernel.apply(&plan));
        assert_eq!(modelled.is_ok(), done.is_ok(), "{modelled:?} {done:?}");
        refused += usize::from(done.is_err());
        let wanted = TableScope {
            whole_sets: [FOUR].into(),
            ..TableScope::default()
        };
        let seen = observe(&bed, wanted).prefixes;
        assert_eq!(seen, model.space(&Ns::Host).tables[&id()].prefixes);
    }
    assert_eq!(refused, 3);
}

/// Nearly as many as one node can have blocks; they take more than one message.
#[test]
fn prefixes_in_several_messages_are_put_together() {
    let bed = Bed::new();
    let mut table = marked();
    table.sets = vec![Set::live_prefixes(FOUR, KeyType::Ipv4Addr)];
    let all = (0..2000_u32).map(|n| {
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 | n << 8);
        Prefix::new(address.into(), 24).unwrap()
    });
    let all: Vec<Prefix> = all.collect();
    let set = PrefixSet::new(Family::V4, all.iter().copied());
    table.sets[0].elements = Elements::Prefixes(set);
    bed.apply(vec![commit(Command::ReplaceTable(table))]);
    let wanted = TableScope {
        whole_sets: [FOUR].into(),
        ..TableScope::default()
    };
    let found = observe(&bed, wanted).prefixes.remove(&FOUR).unwrap();
    assert_eq!(Vec::from_iter(found), all);
}
