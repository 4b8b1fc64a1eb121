//! What a guard's rules are made of lists like its text.

mod common;

use std::time::Duration;

use bulkhead_model::Family;
use bulkhead_nft::{
    Datum, Elements, Exceeds, Field, Key, KeyType, Name, Op, PayloadBase, PrefixSet, Rate, Rule,
    Set, Statement, TableFamily, Verdict,
};
use common::golden;
use common::listing::{agree, table};

fn raw(base: PayloadBase, bit: u16, bits: u8) -> Field {
    Field::Raw {
        base,
        offset: bit / 8,
        len: bits / 8,
    }
}

#[test]
fn raw_bytes_under_a_mask_list_like_their_text() {
    let (link, network) = (PayloadBase::Link, PayloadBase::Network);
    let offset = raw(network, 48, 16);
    let kinds = [
        ([0x86, 0xdd], Verdict::Goto(Name::literal("second"))),
        ([8, 0], Verdict::Drop),
    ];
    let kinds = kinds.map(|(kind, to)| (Key::from(kind), to));
    let rules = [
        Rule::new([
            Statement::masked(offset, [0x1f, 0xff], Op::Ne, [0, 0]),
            Statement::Counter,
        ]),
        Rule::new([Statement::masked(offset, [0x20, 0], Op::Eq, [0x20, 0])]),
        Rule::new([Statement::masked(raw(network, 0, 8), [0x0f], Op::Ne, [5])]),
        Rule::new([Statement::masked(
            Field::Ip4Daddr,
            Datum::Ipv4Addr([0, 0, 255, 0].into()),
            Op::Eq,
            Datum::Ipv4Addr([0, 0, 7, 0].into()),
        )]),
        Rule::new([Statement::Vmap {
            fields: vec![raw(link, 96, 16)],
            entries: kinds.into(),
        }]),
    ];
    let all = table(TableFamily::Netdev, rules);
    golden("guard-masks.nft", &all.to_string());
    agree(&all);
}

#[test]
fn meters_and_tallies_list_like_their_text() {
    let (limits, counts, pairs) = (
        Name::literal("limits"),
        Name::literal("counts"),
        Name::literal("pairs"),
    );
    let meter = |when, per_second, burst| Statement::Meter {
        fields: vec![Field::Iifname],
        set: limits.clone(),
        rate: Rate { per_second, burst },
        when,
    };
    let tally = |fields: &[Field], set: &Name| Statement::Tally {
        fields: fields.to_vec(),
        set: set.clone(),
    };
    let mut all = table(
        TableFamily::Netdev,
        [
            Rule::new([meter(Exceeds::Over, 20, 50), Statement::drop()]),
            Rule::new([meter(Exceeds::Within, 5, 10), Statement::accept()]),
            Rule::new([tally(&[Field::Iifname], &counts), Statement::drop()]),
            Rule::new([tally(&[Field::Iifname, Field::EtherSaddr], &pairs)]),
        ],
    );
    let hour = Duration::from_hours(1);
    let pair = [KeyType::IfName, KeyType::EtherAddr];
    all.sets = vec![
        Set::meter(limits, [KeyType::IfName], Duration::from_millis(90_500)),
        Set::meter(counts, [KeyType::IfName], hour),
        Set::meter(pairs, pair, hour),
    ];
    golden("guard-meters.nft", &all.to_string());
    agree(&all);
}

#[test]
fn live_prefixes_list_like_their_text() {
    let mut all = table(TableFamily::Netdev, []);
    all.sets = vec![
        Set::live_prefixes(Name::literal("four"), KeyType::Ipv4Addr),
        Set::live_prefixes(Name::literal("six"), KeyType::Ipv6Addr),
        Set::live_prefixes(Name::literal("empty"), KeyType::Ipv6Addr),
    ];
    let filled = [
        (Family::V4, ["10.0.0.0/25", "10.0.0.128/25"]),
        (Family::V6, ["fd00:1::/64", "fd00:1:0:2::/64"]),
    ];
    for (set, (family, prefixes)) in all.sets.iter_mut().zip(filled) {
        let prefixes = prefixes.map(|prefix| prefix.parse().unwrap());
        set.elements = Elements::Prefixes(PrefixSet::new(family, prefixes));
    }
    golden("guard-prefixes.nft", &all.to_string());
    agree(&all);
}

#[test]
fn sets_with_integers_list_like_their_text() {
    use KeyType::{EtherAddr, IfName, Integer, Ipv4Addr, Ipv6Addr};
    let port = || Datum::from(common::device("bhpa"));
    let mac = Datum::EtherAddr([2, 0, 0, 0, 0, 1]);
    let four = Datum::Ipv4Addr([192, 0, 2, 1].into());
    let six = Datum::Ipv6Addr("fd00::1".parse().unwrap());
    let net = Datum::from([0xfd, 0, 0, 0, 0, 0, 0, 7]);
    let keys: [(&[KeyType], Key); 5] = [
        (
            &[IfName, EtherAddr, Integer(8)],
            Key::new([port(), mac, net.clone()]),
        ),
        (&[Integer(8)], net.into()),
        (&[Integer(1), IfName], Key::new([[7].into(), port()])),
        (&[Ipv4Addr, Integer(2)], Key::new([four, [1, 2].into()])),
        (
            &[Integer(4), Ipv6Addr],
            Key::new([[1, 2, 3, 4].into(), six]),
        ),
    ];
    let (network, transport) = (PayloadBase::Network, PayloadBase::Transport);
    let names = ["a", "b", "c", "d", "e"].map(Name::literal);
    let mut all = table(
        TableFamily::Netdev,
        [
            Rule::new([Statement::in_set(
                [Field::Iifname, Field::EtherSaddr, raw(network, 64, 64)],
                names[0].clone(),
            )]),
            Rule::new([Statement::in_set(
                [raw(transport, 64, 64)],
                names[1].clone(),
            )]),
            Rule::new([Statement::Tally {
                fields: vec![Field::Iifname, raw(network, 0, 8)],
                set: Name::literal("m"),
            }]),
        ],
    );
    let sets = names.into_iter().zip(keys).map(|(name, (types, key))| Set {
        elements: Elements::keys([key]),
        ..Set::live(name, types.iter().copied())
    });
    all.sets = sets.collect();
    let minute = Duration::from_mins(1);
    all.sets
        .push(Set::meter(Name::literal("m"), [IfName, Integer(1)], minute));
    golden("guard-integers.nft", &all.to_string());
    agree(&all);
}
