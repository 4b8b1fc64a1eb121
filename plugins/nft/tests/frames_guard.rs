//! The interpreter and the kernel judge alike by masks, raw bytes in typed sets, meters and tallies.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bulkhead_model::Family;
use bulkhead_nft::observe::{decode_keys, decode_tallies, elements_request};
use bulkhead_nft::{
    Command, Datum, Devices, Elements, Exceeds, Field, Hook, Key, KeyType, Match, Name, Op,
    Operand, Packet, PayloadBase, Policy, PrefixSet, Rate, Rule, Set, Statement, Table, Undefined,
    Verdict, evaluate, evaluate_over,
};
use common::bench::{Bench, LIMIT, chain, sentinel};
use common::frame::{BOUND, OTHER, ethernet, frames, ip4, ip6, transport};
use common::{BULKHEAD, Nfnl, bound, device, ingress, listing};
use netns_fixtures::wait_for;

const ACCEPT: Statement = Statement::accept();
const DROP: Statement = Statement::drop();
const DROPS: Name = Name::literal("drops");
const KINDS: Name = Name::literal("kinds");
const BUDGETS: Name = Name::literal("budgets");
const LIMITS: Name = Name::literal("limits");
const HOUR: Duration = Duration::from_hours(1);

const fn ll(offset: u16, len: u8) -> Field {
    raw(PayloadBase::Link, offset, len)
}

const fn nh(offset: u16, len: u8) -> Field {
    raw(PayloadBase::Network, offset, len)
}

const fn th(offset: u16, len: u8) -> Field {
    raw(PayloadBase::Transport, offset, len)
}

const fn raw(base: PayloadBase, offset: u16, len: u8) -> Field {
    Field::Raw { base, offset, len }
}

fn goto(chain: &'static str) -> Statement {
    Statement::goto(Name::literal(chain))
}

fn in_set(fields: impl IntoIterator<Item = Field>, set: &'static str) -> Statement {
    Statement::in_set(fields, Name::literal(set))
}

fn tally(fields: impl IntoIterator<Item = Field>, set: Name) -> Statement {
    Statement::Tally {
        fields: fields.into_iter().collect(),
        set,
    }
}

fn meter(set: Name, per_second: u32, burst: u32, when: Exceeds) -> Statement {
    Statement::Meter {
        fields: vec![Field::Iifname],
        set,
        rate: Rate { per_second, burst },
        when,
    }
}

fn sets() -> Vec<Set> {
    use KeyType::{EtherAddr, IfName, InetProto, Integer, Ipv4Addr, Ipv6Addr};
    let key = |address| {
        let mac = Datum::EtherAddr(BOUND);
        Key::new([device("bhpa").into(), mac, address])
    };
    let own = Datum::Ipv6Addr("fd00::1".parse().unwrap());
    let elements = [
        ("id2", vec![IfName, EtherAddr], bound("bhpa", 1)),
        ("id6", vec![IfName, EtherAddr, Ipv6Addr], key(own)),
        (
            "id64",
            vec![IfName, EtherAddr, Integer(8)],
            key([0xfd, 0, 0, 0, 0, 0, 0, 0].into()),
        ),
    ];
    let mut sets = Vec::from(elements.map(|(name, types, key)| Set {
        elements: Elements::keys([key]),
        ..Set::live(Name::literal(name), types)
    }));
    let pools = ["10.1.0.0/16", "192.0.2.0/26"].map(|prefix| prefix.parse().unwrap());
    sets.push(Set {
        elements: Elements::Prefixes(PrefixSet::new(Family::V4, pools)),
        ..Set::live_prefixes(Name::literal("pools"), Ipv4Addr)
    });
    sets.push(Set::meter(DROPS, [IfName], HOUR));
    sets.push(Set::meter(KINDS, [IfName, InetProto], HOUR));
    sets.push(Set::meter(LIMITS, [IfName], HOUR));
    sets.push(Set::meter(BUDGETS, [IfName], HOUR));
    sets
}

fn table() -> Table {
    let kinds = [([0x86, 0xdd], "six"), ([0x08, 0x00], "four")];
    let kinds = kinds.map(|(kind, to)| (Key::from(kind), Verdict::Goto(Name::literal(to))));
    let first = vec![
        Rule::new([Statement::Vmap {
            fields: vec![ll(12, 2)],
            entries: kinds.into(),
        }]),
        Rule::new([tally([Field::Iifname], DROPS), DROP]),
    ];
    let mut table = Table::new(BULKHEAD);
    table.sets = sets();
    table.chains = vec![
        bulkhead_nft::Chain {
            base: Some(ingress(Devices::Names(vec![device("bhpa")]))),
            ..chain("first", first)
        },
        chain("four", four()),
        chain("later", later()),
        chain("six", six()),
        chain("nd", nd()),
        chain("rest", rest()),
    ];
    table
}

fn four() -> Vec<Rule> {
    let octets = |octets: [u8; 4]| Datum::Ipv4Addr(octets.into());
    vec![
        Rule::new([
            Statement::masked(nh(0, 1), [0x0f], Op::Ne, [5]),
            goto("rest"),
        ]),
        Rule::new([
            Statement::masked(nh(6, 2), [0x1f, 0xff], Op::Ne, [0, 0]),
            goto("later"),
        ]),
        Rule::new([
            Statement::masked(nh(6, 2), [0x20, 0], Op::Eq, [0x20, 0]),
            Statement::is(Field::Ip4Protocol, Datum::InetProto(6)),
            DROP,
        ]),
        Rule::new([
            in_set([Field::Ip4Daddr], "pools"),
            Statement::is(th(2, 2), [0, 80]),
            ACCEPT,
        ]),
        Rule::new([
            Statement::masked(
                Field::Ip4Daddr,
                octets([255, 0, 255, 0]),
                Op::Eq,
                octets([203, 0, 113, 0]),
            ),
            ACCEPT,
        ]),
        Rule::new([goto("rest")]),
    ]
}

fn later() -> Vec<Rule> {
    vec![
        Rule::new([Statement::is(Field::L4Proto, Datum::InetProto(17)), ACCEPT]),
        Rule::new([goto("rest")]),
    ]
}

fn six() -> Vec<Rule> {
    let of_net = || in_set([Field::Iifname, Field::EtherSaddr, nh(8, 8)], "id64");
    let next = |protocol| Statement::is(Field::Ip6NextHeader, Datum::InetProto(protocol));
    vec![
        Rule::new([of_net(), next(58), goto("nd")]),
        Rule::new([
            next(44),
            Statement::masked(nh(42, 2), [0xff, 0xf8], Op::Eq, [0, 0]),
            ACCEPT,
        ]),
        Rule::new([goto("rest")]),
    ]
}

/// The target is the sender's; so is the address in the option, if there is one.
fn nd() -> Vec<Rule> {
    let targets_own = || in_set([Field::Iifname, Field::EtherSaddr, th(8, 16)], "id6");
    let length = |len| Statement::is(Field::Ip6Length, [0, len]);
    vec![
        Rule::new([Statement::is_not(th(0, 1), [136]), goto("rest")]),
        Rule::new([targets_own(), length(24), ACCEPT]),
        Rule::new([
            targets_own(),
            length(32),
            Statement::is(th(24, 2), [2, 1]),
            in_set([Field::Iifname, th(26, 6)], "id2"),
            ACCEPT,
        ]),
        Rule::new([goto("rest")]),
    ]
}

/// A later fragment has no three bytes of a transport header in any kernel.
fn rest() -> Vec<Rule> {
    vec![
        Rule::new([meter(LIMITS, 1_000_000, 1000, Exceeds::Over), ACCEPT]),
        Rule::new([
            Statement::is_not(th(0, 3), [9, 9, 9]),
            tally([Field::Iifname, Field::L4Proto], KINDS),
            meter(BUDGETS, 1_000_000, 1000, Exceeds::Within),
            ACCEPT,
        ]),
        Rule::new([tally([Field::Iifname], DROPS), DROP]),
    ]
}

/// Neighbour advertisements as they are and are not to be, and what else `frames` lacks.
fn more_frames() -> Vec<Vec<u8>> {
    let advertisement = |target: u8, option: Option<[u8; 6]>| {
        let mut na = vec![136, 0, 0, 0, 0x20, 0, 0, 0, 0xfd];
        na.resize(23, 0);
        na.push(target);
        if let Some(mac) = option {
            na.extend([2, 1]);
            na.extend(mac);
        }
        na
    };
    let advertisements = [
        (1, None),
        (2, None),
        (1, Some(BOUND)),
        (1, Some(OTHER)),
        (2, Some(BOUND)),
    ];
    let mut packets: Vec<Vec<u8>> = advertisements
        .map(|(target, option)| ip6(58, 1, &advertisement(target, option)))
        .into();
    let mut foreign = packets[0].clone();
    foreign[8 + 7] = 9;
    packets.push(foreign);
    // A later fragment whose data look like an advertisement.
    let mut later = vec![58, 0, 0, 8, 0, 0, 0, 9];
    later.extend(advertisement(1, None));
    packets.push(ip6(44, 1, &later));
    let mut frames = Vec::new();
    for packet in packets {
        frames.push(ethernet(BOUND, 0x86dd, &packet));
        frames.push(ethernet(OTHER, 0x86dd, &packet));
    }
    let mut optioned = ip4(17, [10, 1, 2, 3], 0, &transport(1, 80));
    optioned[0] = 0x46;
    let target = [10, 1, 2, 3];
    for packet in [
        optioned,
        ip4(6, target, 0x2000, &transport(1, 80)),
        ip4(17, target, 0x2000, &transport(1, 80)),
        ip4(17, target, 0x2001, &transport(1, 80)),
        ip4(6, target, 0x0007, &transport(1, 80)),
    ] {
        frames.push(ethernet(BOUND, 0x0800, &packet));
    }
    frames
}

/// How often a packet met each element of a set, by what the interpreter says.
type Met = BTreeMap<(Name, Key), u64>;

fn tallies(socket: &Nfnl) -> Met {
    let kinds = [
        (DROPS, vec![KeyType::IfName]),
        (KINDS, vec![KeyType::IfName, KeyType::InetProto]),
    ];
    let mut met = Met::new();
    for (set, kinds) in kinds {
        for message in socket.ask(&elements_request(&BULKHEAD, &set, 3)).unwrap() {
            for (key, count) in decode_tallies(&message, &kinds).unwrap() {
                met.insert((set.clone(), key), count.packets);
            }
        }
    }
    met
}

#[test]
fn the_kernel_and_the_model_agree_on_every_frame_and_every_count() {
    let bench = Bench::new(&["bhpa"]);
    let table = table();
    bench.load(&table);
    let mut ran = BTreeSet::new();
    let mut met = Met::new();
    let mut judged = |frame: &[u8]| {
        let packet = Packet::frame(frame, device("bhpa")).unwrap();
        let model = evaluate(&table, Hook::Ingress, &packet).unwrap();
        for element in model.metered {
            *met.entry(element).or_default() += 1;
        }
        ran.extend(
            model
                .trail
                .iter()
                .map(|step| (step.chain.clone(), step.rule)),
        );
        (model.verdict, model.trail)
    };
    for frame in frames().into_iter().chain(more_frames()) {
        let (verdict, trail) = judged(&frame);
        let kernel = bench.judge("bhpa", &frame);
        assert_eq!(kernel, verdict, "{frame:02x?}\n{trail:?}");
        judged(&sentinel());
    }
    for chain in &table.chains {
        for (nth, rule) in chain.rules.iter().enumerate() {
            let runs = ran.contains(&(chain.name.clone(), nth));
            // No frame is beyond a million a second.
            let is_over = rule.to_string().contains("over");
            assert_ne!(runs, is_over, "{rule}");
        }
    }
    met.retain(|(set, _), _| [DROPS, KINDS].contains(set));
    wait_for("the last sentinel's count", LIMIT, || {
        (tallies(&bench.socket) == met).then_some(())
    });
    // nft lists a table whose sets packets have filled.
    let text = listing(&bench.near);
    assert!(text.contains("limit rate over 1000000/second"), "{text}");
}

/// The kernel keeps a limit in the element, by the rule that made it, so that another rule would find
/// its own sense turned round.
#[test]
fn a_set_with_two_meters_has_no_verdict() {
    let frame = ethernet(BOUND, 0x0800, &ip4(17, [10, 1, 2, 3], 0, &transport(1, 80)));
    let packet = Packet::frame(&frame, device("bhpa")).unwrap();
    let verdict = |rules: [Statement; 2]| {
        let mut table = table();
        table.chains.truncate(1);
        table.chains[0].rules = rules.map(|one| Rule::new([one])).into();
        evaluate(&table, Hook::Ingress, &packet).map(|found| found.verdict)
    };
    let within = || meter(LIMITS, 1, 5, Exceeds::Within);
    for other in [
        meter(LIMITS, 1, 5, Exceeds::Over),
        meter(LIMITS, 2, 5, Exceeds::Within),
        tally([Field::Iifname], LIMITS),
    ] {
        let undefined = Err(Undefined::Meters(LIMITS));
        assert_eq!(verdict([within(), other]), undefined);
    }
    assert_eq!(verdict([within(), within()]), Ok(Policy::Drop));
}

/// A comparison of the field with what it is not.
fn reading(field: Field) -> Statement {
    let nothing = vec![0xff; field.kind().len()];
    Statement::is_not(field, field.kind().decode(&nothing).unwrap())
}

#[test]
fn what_kernels_do_not_agree_on_is_undefined() {
    let mut table = table();
    let later = ethernet(BOUND, 0x0800, &ip4(17, [10, 1, 2, 3], 7, &transport(1, 80)));
    let packet = Packet::frame(&later, device("bhpa")).unwrap();
    for (field, is_disputed) in [
        (th(0, 1), true),
        (th(2, 2), true),
        (th(4, 4), true),
        (Field::UdpDport, true),
        (Field::TcpDport, false),
        (th(1, 2), false),
        (th(0, 3), false),
        (th(8, 16), false),
        (nh(0, 2), false),
    ] {
        table.chains[0].rules = vec![Rule::new([reading(field), ACCEPT]), Rule::new([DROP])];
        let found = evaluate(&table, Hook::Ingress, &packet);
        let expected = is_disputed.then_some(Undefined::Fragment(field));
        assert_eq!(found.err(), expected, "{field}");
    }
}

/// A port that has spent its burst gets no more than the rate, and another has its own.
#[test]
fn a_meter_is_by_key_and_tells_over_from_within() {
    const BURST: usize = 5;
    const SENT: usize = 60;
    let bench = Bench::new(&["bhpa", "bhpb"]);
    let mut table = Table::new(BULKHEAD);
    table.sets = sets();
    let rules = vec![
        Rule::new([Statement::is_not(ll(12, 2), [0x08, 0x00]), DROP]),
        Rule::new([meter(LIMITS, 1, 5, Exceeds::Over), DROP]),
        Rule::new([ACCEPT]),
    ];
    let within = [
        rules[0].clone(),
        Rule::new([meter(LIMITS, 1, 5, Exceeds::Within), ACCEPT]),
        Rule::new([DROP]),
    ];
    let ports = Devices::Names(vec![device("bhpa"), device("bhpb")]);
    let frame = ethernet(BOUND, 0x0800, &ip4(17, [10, 1, 2, 3], 0, &transport(1, 80)));
    for rules in [rules, within.into()] {
        table.chains = vec![bulkhead_nft::Chain {
            base: Some(ingress(ports.clone())),
            ..chain("first", rules)
        }];
        bench.load(&table);
        for (port, sent) in [("bhpa", SENT), ("bhpb", BURST)] {
            let passed = bench.passed_of(port, &frame, sent);
            // At least the burst, and less than all unless a second passes for each frame.
            assert!(
                passed >= BURST && (passed < sent || sent == BURST),
                "{passed}"
            );
        }
        let packet = Packet::frame(&frame, device("bhpa")).unwrap();
        for (exceeded, verdict) in [([].into(), Policy::Accept), ([LIMITS].into(), Policy::Drop)] {
            let model = evaluate_over(&table, Hook::Ingress, &packet, &exceeded).unwrap();
            assert_eq!(model.verdict, verdict);
            assert_eq!(model.metered, [(LIMITS, device("bhpa").into())]);
        }
        let elements = bench.socket.ask(&elements_request(&BULKHEAD, &LIMITS, 3));
        let keys = elements.unwrap();
        let keys = keys
            .iter()
            .flat_map(|message| decode_keys(message, &[KeyType::IfName]).unwrap());
        let expected = ["bhpa", "bhpb"].map(|port| Key::from(device(port)));
        assert_eq!(keys.collect::<BTreeSet<_>>(), expected.into());
    }
    let elements = || Elements::keys([device("bhpa").into()]);
    let delete = Command::DeleteElements {
        table: BULKHEAD,
        set: LIMITS,
        elements: elements(),
    };
    bench.socket.commit(&[delete]).unwrap();
    assert_eq!(bench.passed_of("bhpa", &frame, BURST), BURST, "as new");
    bench.load(&table);
    // Who adds one by hand adds no limit to be within or beyond.
    let add = Command::AddElements {
        table: BULKHEAD,
        set: LIMITS,
        elements: elements(),
    };
    bench.socket.commit(&[add]).unwrap();
    assert_eq!(bench.passed_of("bhpa", &frame, SENT), SENT);
}

/// A port in a set of limits has what stands beside it there, whatever others have, and a look-up for
/// who is not in the set takes nothing of it.
#[test]
fn a_limit_of_an_element_is_its_own() {
    const OWN: Name = Name::literal("own");
    const SENT: usize = 60;
    let bench = Bench::new(&["bhpa", "bhpb", "bhpc"]);
    let limit = |burst| Rate {
        per_second: 1,
        burst,
    };
    let limits = |ports: &[(&str, u32)]| {
        let limits = ports
            .iter()
            .map(|(port, burst)| (device(port).into(), limit(*burst)));
        Elements::Limits(limits.collect())
    };
    let mut table = Table::new(BULKHEAD);
    table.sets = vec![Set {
        elements: limits(&[("bhpa", 5)]),
        ..Set::live(OWN, [KeyType::IfName])
    }];
    let not_in = Match::new([Field::Iifname], Op::Ne, Operand::Set(OWN));
    let rules = vec![
        Rule::new([Statement::is_not(ll(12, 2), [0x08, 0x00]), DROP]),
        Rule::new([Statement::Match(not_in), ACCEPT]),
        Rule::new([in_set([Field::Iifname], "own"), DROP]),
        Rule::new([ACCEPT]),
    ];
    let ports = ["bhpa", "bhpb", "bhpc"].map(device);
    table.chains = vec![bulkhead_nft::Chain {
        base: Some(ingress(Devices::Names(ports.to_vec()))),
        ..chain("first", rules)
    }];
    bench.load(&table);
    let add = Command::AddElements {
        table: BULKHEAD,
        set: OWN,
        elements: limits(&[("bhpb", 20)]),
    };
    bench.socket.commit(&[add]).unwrap();
    let frame = ethernet(BOUND, 0x0800, &ip4(17, [10, 1, 2, 3], 0, &transport(1, 80)));
    for (port, burst) in [("bhpa", 5), ("bhpb", 20)] {
        let passed = bench.passed_of(port, &frame, SENT);
        assert!((burst..SENT).contains(&passed), "{port}: {passed}");
    }
    assert_eq!(bench.passed_of("bhpc", &frame, SENT), SENT);
    for (port, exceeded, verdict) in [
        ("bhpa", [].into(), Policy::Accept),
        ("bhpa", [OWN].into(), Policy::Drop),
        ("bhpc", [OWN].into(), Policy::Accept),
    ] {
        let packet = Packet::frame(&frame, device(port)).unwrap();
        let model = evaluate_over(&table, Hook::Ingress, &packet, &exceeded).unwrap();
        assert_eq!(model.verdict, verdict, "{port}");
    }
    let text = listing(&bench.near);
    assert!(
        text.contains("\"bhpb\" limit rate over 1/second burst 20 packets"),
        "{text}"
    );
}
