//! What the kernel makes of our bytes: the same as of our text loaded by nft.

mod common;

use std::net::IpAddr;

use bulkhead_nft::{
    Data, DataType, Datum, Elements, Entry, Field, Key, KeyType, Label, Log, Match, Name, Op,
    Operand, Part, PayloadBase, PrefixSet, Rate, Rule, Set, SourcePorts, Statement, TableFamily,
    Verdict,
};
use common::listing::{agree, table};
use common::routed::host_ports;
use common::{bound, device, masquerade, port_chain, port_guard, shaped, shaped_guard};

#[test]
fn the_guard_by_port_lists_like_its_text() {
    let mut table = port_guard();
    table.sets[0].elements = Elements::keys([bound("bhpa", 1), bound("bhpb", 2)]);
    table.sets[1].elements = Elements::keys([Key::from(device("bhpc"))]);
    table.chains.push(port_chain("bhpa"));
    table.chains.push(port_chain("bhpb"));
    agree(&table);
}

#[test]
fn masquerade_lists_like_its_text() {
    let networks = ["10.0.0.0/24", "10.64.0.0/13", "fd00:1::/64", "fd00:20::/27"];
    let exclude = [
        "10.9.0.0/16",
        "10.9.1.0/24",
        "255.0.0.0/8",
        "0.0.0.0/8",
        "fd00:8::/29",
    ];
    agree(&masquerade("br0", &networks, &exclude));
}

#[test]
fn host_ports_list_like_their_text() {
    agree(&host_ports());
    for (family, kept) in [(TableFamily::Ip, 0..2), (TableFamily::Ip6, 2..4)] {
        let mut one = host_ports();
        one.id.family = family;
        one.sets = one.sets[kept.clone()].to_vec();
        // The first rule of all is about ::1.
        one.chains[0].rules = one.chains[0].rules[1..][kept].to_vec();
        agree(&one);
    }
}

#[test]
fn forwarding_to_a_device_lists_like_its_text() {
    let mut table = shaped_guard();
    table.sets[2].elements = shaped("bhpa", "lo");
    table.chains.push(port_chain("bhpa"));
    agree(&table);
}

fn keys(values: impl IntoIterator<Item = Datum>) -> Operand {
    Operand::Keys(values.into_iter().map(Key::from).collect())
}

#[test]
fn every_statement_lists_like_its_text() {
    let second = Name::literal("second");
    let verdicts = [
        (Key::from(Datum::InetProto(6)), Verdict::Accept),
        (
            Key::from(Datum::InetProto(17)),
            Verdict::Goto(second.clone()),
        ),
        (Key::from(Datum::InetProto(1)), Verdict::Drop),
    ];
    let log = |prefix: Option<&str>, group, snaplen| {
        let prefix = prefix.map(|text| Label::new(text).unwrap());
        Statement::Log(Log {
            prefix,
            group,
            snaplen,
        })
    };
    let matching = |field, op, with| Statement::Match(Match::new([field], op, with));
    let mut all = table(
        TableFamily::Inet,
        [
            Rule::new([log(Some("odd: "), None, None), Statement::Counter]),
            Rule::new([
                log(None, Some(5), Some(256)),
                Statement::jump(second.clone()),
            ]),
            Rule::new([
                Statement::SetMark(0x10),
                Statement::Verdict(Verdict::Return),
            ]),
            Rule::new([Statement::SetMarkBits(0x1000)]),
            Rule::new([
                Statement::has_any(Field::Mark, Datum::Mark(0x1000)),
                Statement::ClearMarkBits(0x1000),
            ]),
            Rule::new([
                Statement::Vmap {
                    fields: vec![Field::L4Proto],
                    entries: verdicts.into_iter().collect(),
                },
                Statement::drop(),
            ])
            .commented(Label::new("what is known").unwrap()),
            Rule::new([Statement::VerdictMap {
                fields: vec![Field::Iifname],
                map: Name::literal("byname"),
            }]),
            Rule::new([matching(
                Field::TcpDport,
                Op::Ne,
                keys([Datum::InetService(80), Datum::InetService(443)]),
            )]),
            Rule::new([matching(
                Field::Iifname,
                Op::Eq,
                Operand::NamePrefix(device("bhp")),
            )]),
            Rule::new([
                matching(Field::Ip4Saddr, Op::Ne, Operand::Set(Name::literal("nets"))),
                matching(
                    Field::Ip4Daddr,
                    Op::Eq,
                    Operand::Prefix("10.0.0.0/9".parse().unwrap()),
                ),
                matching(
                    Field::Ip4Daddr,
                    Op::Ne,
                    Operand::Prefix("10.1.2.3/32".parse().unwrap()),
                ),
            ]),
            Rule::new([Statement::outside(
                Field::Ip6Daddr,
                PrefixSet::new(bulkhead_model::Family::V6, []),
            )]),
            Rule::new([
                Statement::has_any(Field::CtStatus, Datum::CtStatus(0x30)),
                matching(Field::CtStatus, Op::Ne, Operand::AnyBit(Datum::DST_NAT)),
                matching(
                    Field::CtStatus,
                    Op::Eq,
                    keys([Datum::DST_NAT, Datum::CtStatus(0x10)]),
                ),
                Statement::is(Field::CtStatus, Datum::DST_NAT),
                Statement::is_not(Field::CtStatus, Datum::CtStatus(0x30)),
                Statement::is_not(Field::FibDaddrType, Datum::LOCAL),
                Statement::in_set([Field::FibDaddrType], Name::literal("kinds")),
            ]),
            Rule::new([Statement::in_set(
                [Field::Ip4Saddr, Field::L4Proto],
                Name::literal("marks"),
            )]),
        ],
    );
    all.sets = sets(&second);
    agree(&all);
}

fn sets(second: &Name) -> Vec<Set> {
    let fixed = |name, key: &[KeyType], data, elements| Set {
        name: Name::literal(name),
        key: key.to_vec(),
        data,
        timeout: None,
        part: Part::Fixed,
        elements,
    };
    let nets = ["10.0.0.0/8", "11.0.0.0/8", "255.0.0.0/8", "192.0.2.7/32"];
    let nets = nets.map(|net| net.parse().unwrap());
    let marked = Key::new([Datum::Ipv4Addr([10, 0, 0, 1].into()), Datum::InetProto(6)]);
    vec![
        fixed(
            "nets",
            &[KeyType::Ipv4Addr],
            None,
            Elements::Prefixes(PrefixSet::new(bulkhead_model::Family::V4, nets)),
        ),
        fixed(
            "marks",
            &[KeyType::Ipv4Addr, KeyType::InetProto],
            Some(DataType::Value(vec![KeyType::Mark])),
            Elements::Map([(marked, Data::Value(Datum::Mark(7).into()).into())].into()),
        ),
        fixed(
            "byname",
            &[KeyType::IfName],
            Some(DataType::Verdict),
            Elements::Map(
                [(
                    Key::from(device("a")),
                    Entry {
                        data: Data::Verdict(Verdict::Jump(second.clone())),
                        comment: Some(Label::new("a's").unwrap()),
                    },
                )]
                .into(),
            ),
        ),
        fixed(
            "services",
            &[KeyType::InetService],
            None,
            Elements::keys([
                Datum::InetService(53).into(),
                Datum::InetService(443).into(),
            ]),
        ),
        fixed(
            "kinds",
            &[KeyType::FibAddrType],
            None,
            Elements::keys([Datum::LOCAL.into(), Datum::FibAddrType(3).into()]),
        ),
        fixed(
            "status",
            &[KeyType::CtStatus],
            None,
            Elements::keys([Datum::DST_NAT.into()]),
        ),
        fixed(
            "m",
            &[KeyType::Mark],
            None,
            Elements::keys([Datum::Mark(0xff).into()]),
        ),
        fixed(
            "e",
            &[KeyType::EtherAddr],
            None,
            Elements::keys([Datum::EtherAddr([1; 6]).into()]),
        ),
    ]
}

/// A value each field can be compared with.
fn samples() -> Vec<(Field, Datum)> {
    let address = Datum::Ipv4Addr([192, 0, 2, 1].into());
    let address6 = Datum::Ipv6Addr("2001:db8::1".parse().unwrap());
    let mac = Datum::EtherAddr([2, 0, 0, 0, 0, 1]);
    vec![
        (Field::Iifname, device("a*").into()),
        (Field::Mark, Datum::Mark(0x0102_0304)),
        (Field::MetaProtocol, Datum::EtherType(0x86dd)),
        (Field::L4Proto, Datum::InetProto(58)),
        (Field::EtherDaddr, mac.clone()),
        (Field::EtherSaddr, mac.clone()),
        (Field::EtherType, Datum::EtherType(0x88cc)),
        (Field::ArpHtype, Datum::Integer(vec![0, 1])),
        (Field::ArpPtype, Datum::EtherType(0x0800)),
        (Field::ArpHlen, Datum::Integer(vec![6])),
        (Field::ArpPlen, Datum::Integer(vec![4])),
        (Field::ArpOperation, Datum::ArpOp(1)),
        (Field::ArpSaddrEther, mac.clone()),
        (Field::ArpSaddrIp, address.clone()),
        (Field::ArpDaddrEther, mac),
        (Field::ArpDaddrIp, address.clone()),
        (Field::Ip4Protocol, Datum::InetProto(6)),
        (Field::Ip4Saddr, address.clone()),
        (Field::Ip4Daddr, address),
        (Field::Ip6Length, Datum::Integer(vec![0, 24])),
        (Field::Ip6NextHeader, Datum::InetProto(58)),
        (Field::Ip6HopLimit, Datum::Integer(vec![255])),
        (Field::Ip6Saddr, address6.clone()),
        (Field::Ip6Daddr, address6),
        (Field::TcpSport, Datum::InetService(1)),
        (Field::TcpDport, Datum::InetService(80)),
        (Field::UdpSport, Datum::InetService(546)),
        (Field::UdpDport, Datum::InetService(4789)),
        (Field::TransportDport, Datum::InetService(53)),
        (Field::Icmp4Type, Datum::IcmpType(8)),
        (Field::Icmp4Code, Datum::Integer(vec![1])),
        (Field::Icmp6Type, Datum::Icmpv6Type(134)),
        (Field::Icmp6Code, Datum::Integer(vec![1])),
        (Field::Priority, Datum::ClassId(0x1_0002)),
        (
            Field::Raw {
                base: PayloadBase::Network,
                offset: 40,
                len: 2,
            },
            Datum::Integer(vec![0x3a, 0]),
        ),
    ]
}

#[test]
fn every_field_lists_like_its_text_in_the_families_that_have_it() {
    let rule = |(field, value): (Field, Datum)| {
        Rule::new([Statement::is(field, value), Statement::Counter])
    };
    let local = [(Field::FibDaddrType, Datum::LOCAL)];
    let status = [
        (Field::CtStatus, Datum::DST_NAT),
        (Field::FibSaddrIif, Datum::Boolean(false)),
        (Field::FibSaddrIif, Datum::Boolean(true)),
        (Field::MetaIpsec, Datum::Boolean(false)),
        (Field::MetaIpsec, Datum::Boolean(true)),
        (Field::RtIpsec, Datum::Boolean(false)),
        (Field::RtIpsec, Datum::Boolean(true)),
    ];
    let in_netdev = samples().into_iter().chain(local.clone());
    agree(&table(TableFamily::Netdev, in_netdev.map(rule)));
    let in_inet = |(field, _): &(Field, Datum)| !format!("{field}").starts_with("arp ");
    agree(&table(
        TableFamily::Inet,
        samples()
            .into_iter()
            .filter(in_inet)
            .chain(local)
            .chain(status)
            .map(rule),
    ));
    let in_bridge = samples()
        .into_iter()
        .chain([(Field::Oifname, device("b").into())]);
    agree(&table(TableFamily::Bridge, in_bridge.map(rule)));
}

#[test]
fn numbers_that_one_rule_leaves_to_the_next_list_like_their_text() {
    let second = Name::literal("second");
    let class = |number| Data::Value(Datum::ClassId(number).into());
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let mut all = table(
        TableFamily::Inet,
        [
            Rule::new([
                Statement::has_any(Field::CtState, Datum::ESTABLISHED),
                Statement::accept(),
            ]),
            Rule::new([
                Statement::has_any(Field::CtState, Datum::RELATED),
                Statement::accept(),
            ]),
            Rule::new([Statement::priority_of(
                [Field::Iifname, Field::Ip4Saddr],
                Name::literal("ends"),
            )]),
            Rule::new([
                Statement::priority_of([Field::Ip4Daddr], Name::literal("around")),
                Statement::Verdict(Verdict::Return),
            ]),
            Rule::new([
                Statement::priority_of([Field::Priority], Name::literal("numbers")),
                Statement::VerdictMap {
                    fields: vec![Field::Priority],
                    map: Name::literal("verdicts"),
                },
            ]),
            Rule::new([Statement::SetPriority(0)]),
            Rule::new([Statement::SetPriority(0x1_0002)]),
            Rule::new([
                Statement::is(Field::L4Proto, Datum::InetProto(6)),
                Statement::within(
                    Field::TransportDport,
                    Datum::InetService(1000),
                    Datum::InetService(2000),
                ),
                Statement::goto(second.clone()),
            ]),
            Rule::new([
                Statement::within(
                    Field::Icmp6Type,
                    Datum::Icmpv6Type(130),
                    Datum::Icmpv6Type(136),
                ),
                Statement::accept(),
            ]),
            Rule::new([
                Statement::Limit(Rate {
                    per_second: 50,
                    burst: 100,
                }),
                Statement::Log(Log {
                    prefix: Some(Label::new("said").unwrap()),
                    group: Some(7),
                    snaplen: Some(128),
                }),
            ]),
        ],
    );
    let value = DataType::Value(vec![KeyType::ClassId]);
    let mut ends = Set::live_map(
        Name::literal("ends"),
        [KeyType::IfName, KeyType::Ipv4Addr],
        value.clone(),
    );
    let end = Key::new([device("a").into(), address("10.0.0.1").into()]);
    ends.elements = Elements::Map([(end, class(0x8000_0023).into())].into());
    let mut around = Set::live_ranges(Name::literal("around"), KeyType::Ipv4Addr, value.clone());
    around.elements = Elements::Ranges(
        [
            ("0.0.0.0", "9.255.255.255", 2),
            ("10.0.0.0", "10.255.255.255", 3),
            ("11.0.0.0", "255.255.255.255", 4),
        ]
        .map(|(first, last, number)| (address(first), (address(last), class(number))))
        .into(),
    );
    let mut numbers = Set::live_map(Name::literal("numbers"), [KeyType::ClassId], value);
    numbers.elements = Elements::Map([(Datum::ClassId(3).into(), class(1).into())].into());
    let mut verdicts = Set::live_map(
        Name::literal("verdicts"),
        [KeyType::ClassId],
        DataType::Verdict,
    );
    let to = Data::Verdict(Verdict::Goto(second));
    verdicts.elements = Elements::Map([(Datum::ClassId(1).into(), to.into())].into());
    all.sets = vec![ends, around, numbers, verdicts];
    agree(&all);
}

#[test]
fn a_clamped_segment_size_lists_like_its_text() {
    let of_tcp = Statement::is(Field::L4Proto, Datum::InetProto(6));
    agree(&table(
        TableFamily::Inet,
        [Rule::new([of_tcp, Statement::ClampMss])],
    ));
}

#[test]
fn masquerade_lists_with_every_choice_of_ports() {
    let mut choices = masquerade("br0", &["10.0.0.0/24"], &[]);
    let ports = [
        SourcePorts::Keep,
        SourcePorts::Random,
        SourcePorts::FullyRandom,
    ];
    choices.chains[0].rules = ports
        .map(|ports| Rule::new([Statement::Masquerade(ports)]))
        .to_vec();
    agree(&choices);
}
