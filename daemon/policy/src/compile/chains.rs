//! The chains that are always there, and those that are made of rulings.

use std::collections::BTreeMap;

use bulkhead_model::Protocol;
use bulkhead_nft as nft;
use nft::{Datum, Field, Key, Name, Rule, Statement, Verdict};

use super::digest::{ALLOWED, Digest};
use super::ruling::Word;
use super::spans::{Line, Lines, Run};
use super::{Cause, Said, Told};
use crate::{Decision, Direction};

/// The `nfnetlink_log` group that is told what was decided.
pub const LOG_GROUP: u16 = 1791;
/// Bytes of a packet in an entry: both headers.
const SNAPLEN: u32 = 128;
/// Entries of one verdict a second, and at once.
const LOGGED: nft::Rate = nft::Rate {
    per_second: 100,
    burst: 200,
};
/// Before the filters of others (`NF_IP_PRI_FILTER` is 0) and behind the translation of destinations (-100).
const PRIORITY: i32 = -10;

/// What the node itself sends to its endpoints: probes, mostly.
pub const OWN_NODE: Name = Name::literal("own-node");
/// What is dropped because nobody known has that address on that device.
pub const STRANGER: Name = Name::literal("stranger");

pub(super) const POLICED: Name = Name::literal("policed");
pub(super) const FROM4: Name = Name::literal("from4");
pub(super) const FROM6: Name = Name::literal("from6");
pub(super) const TO4: Name = Name::literal("to4");
pub(super) const TO6: Name = Name::literal("to6");
/// The classes of those who send, and of those who receive.
pub(super) const SENDERS: Name = Name::literal("senders");
pub(super) const RECEIVERS: Name = Name::literal("receivers");
pub(super) const PEERS4: Name = Name::literal("peers4");
pub(super) const PEERS6: Name = Name::literal("peers6");
/// Ranges in prefixes that are an endpoint's as a whole.
pub(super) const DELEGATED6: Name = Name::literal("delegated6");
/// Such prefixes of the node's own endpoints, and their classes by prefix and device.
pub(super) const PREFIXES6: Name = Name::literal("prefixes6");
pub(super) const FROM_PREFIX: Name = Name::literal("from-prefix");
pub(super) const TO_PREFIX: Name = Name::literal("to-prefix");
pub(super) const AROUND4: Name = Name::literal("around4");
pub(super) const AROUND6: Name = Name::literal("around6");
const LEAVING: Name = Name::literal("leaving");
const ARRIVING: Name = Name::literal("arriving");
const TO_NODE: Name = Name::literal("to-node");
/// What comes to the same chains as a forwarded packet, by the longest way.
const FURTHEST: Name = Name::literal("furthest");
/// Leave the identity of the other end in the priority.
pub(super) const WHO_RECEIVES: Name = Name::literal("who-receives");
pub(super) const WHO_SENDS: Name = Name::literal("who-sends");

/// What the names of the chains of outcomes begin with.
pub(super) const VERDICT: &str = "verdict-";

/// What goes on whatever anybody says: multicast listener and neighbour discovery (RFC 2710, RFC 3810,
/// RFC 4861), without redirects.
const DISCOVERY: [(u8, u8); 2] = [(130, 136), (143, 143)];

/// Reserved (IANA, Assigned Internet Protocol Numbers): no connection is of it, so nothing is related to one.
const NO_PROTOCOL: u8 = 255;

/// Whether endpoints have prefixes as a whole: without any, nothing looks for them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Prefixes {
    /// Of the node's own.
    pub(super) own: bool,
    /// Of all that are known.
    pub(super) any: bool,
}

/// One end of a packet: its device, and the maps that know its classes.
struct End {
    device: Field,
    v4: (Field, Name),
    v6: (Field, Name),
    prefix: Name,
    classes: Name,
}

const SENDER: End = End {
    device: Field::Iifname,
    v4: (Field::Ip4Saddr, FROM4),
    v6: (Field::Ip6Saddr, FROM6),
    prefix: FROM_PREFIX,
    classes: SENDERS,
};
const RECEIVER: End = End {
    device: Field::Oifname,
    v4: (Field::Ip4Daddr, TO4),
    v6: (Field::Ip6Daddr, TO6),
    prefix: TO_PREFIX,
    classes: RECEIVERS,
};

/// The chains that are the same for everybody.
pub(super) fn fixed(told: Told, prefixes: Prefixes) -> Vec<nft::Chain> {
    use nft::Hook::{Forward, Input, Output};
    let base = |name, hook, furthest: Option<Name>, rules: Vec<Rule>| nft::Chain {
        base: Some(nft::Base {
            kind: nft::ChainKind::Filter,
            hook,
            devices: nft::Devices::None,
            priority: PRIORITY,
            policy: nft::Policy::Accept,
        }),
        ..chain(name, going_on(furthest).into_iter().chain(rules).collect())
    };
    // Each chain is gone to from as few places as can be: the kernel follows every way at every change.
    let to_own_node = Rule::new([
        Statement::in_set([Field::Oifname], POLICED),
        Statement::goto(OWN_NODE),
    ]);
    vec![
        base(
            Name::literal("forward"),
            Forward,
            Some(FURTHEST),
            [SENDER.judged(&LEAVING), RECEIVER.judged(&ARRIVING)].concat(),
        ),
        base(
            Name::literal("input"),
            Input,
            Some(TO_NODE),
            SENDER.judged(&TO_NODE),
        ),
        base(Name::literal("output"), Output, None, vec![to_own_node]),
        chain(FURTHEST, vec![jump(LEAVING), jump(ARRIVING)]),
        chain(TO_NODE, vec![asks_for_configuration(), jump(LEAVING)]),
        chain(LEAVING, SENDER.not_yet(prefixes)),
        chain(ARRIVING, RECEIVER.not_yet(prefixes)),
        chain(OWN_NODE, own_node(told)),
        chain(
            WHO_RECEIVES,
            who(Field::Ip4Daddr, Field::Ip6Daddr, prefixes),
        ),
        chain(WHO_SENDS, who(Field::Ip4Saddr, Field::Ip6Saddr, prefixes)),
        chain(
            STRANGER,
            vec![
                logged("bulkhead policy stranger"),
                Rule::new([Statement::Counter, Statement::drop()]),
            ],
        ),
    ]
}

impl End {
    /// What the end says, and nothing goes on from a closed device without a word of it. Most packets are of IPv4, and
    /// are judged without another chain; what nothing was said about goes to `rest`. The priority is 0 before: a
    /// link between namespaces sets it (`____dev_forward_skb`), so that nobody brings a word of his own.
    fn judged(&self, rest: &Name) -> Vec<Rule> {
        vec![
            self.class(&self.v4),
            Rule::new([
                Statement::is_not(Field::Priority, Datum::ClassId(ALLOWED)),
                Statement::in_set([self.device], POLICED),
                Statement::jump(rest.clone()),
            ]),
            Rule::new([
                Statement::is(Field::Priority, Datum::ClassId(ALLOWED)),
                Statement::SetPriority(0),
            ]),
        ]
    }

    /// Packets of a closed device that nothing was said about yet: of IPv6, of strangers, and what is under way while a
    /// transaction is committed. That passes the rules of before and looks into the maps of after (`nft_do_chain`,
    /// `nft_lookup_eval`): then it comes to chains that have no rules yet, and out of them again.
    /// Only who has no known address is looked for among prefixes.
    fn not_yet(&self, prefixes: Prefixes) -> Vec<Rule> {
        let is_known = |look_up: Vec<Statement>| {
            let ends = [Statement::Counter, Statement::drop()];
            Rule::new(look_up.into_iter().chain(ends))
        };
        let is_allowed = || {
            Rule::new([
                Statement::is(Field::Priority, Datum::ClassId(ALLOWED)),
                Statement::Verdict(Verdict::Return),
            ])
        };
        let mut rules: Vec<Rule> = DISCOVERY.map(discovery).to_vec();
        rules.extend([self.class(&self.v6), is_allowed()]);
        if prefixes.own {
            rules.extend([self.says(self.by_prefix()), is_allowed()]);
        }
        rules.extend([
            is_known(self.by_address(&self.v4)),
            is_known(self.by_address(&self.v6)),
        ]);
        rules.extend(prefixes.own.then(|| is_known(self.by_prefix())));
        rules.push(Rule::new([Statement::goto(STRANGER)]));
        rules
    }

    /// The class of device and address, which says what it has to.
    fn class(&self, known: &(Field, Name)) -> Rule {
        self.says(self.by_address(known))
    }

    fn says(&self, look_up: Vec<Statement>) -> Rule {
        let says = Statement::VerdictMap {
            fields: vec![Field::Priority],
            map: self.classes.clone(),
        };
        Rule::new(look_up.into_iter().chain([says]))
    }

    /// Leaves the class of device and address in the priority.
    fn by_address(&self, (address, map): &(Field, Name)) -> Vec<Statement> {
        vec![Statement::priority_of([self.device, *address], map.clone())]
    }

    /// The same of device and the prefix that an address is in.
    fn by_prefix(&self) -> Vec<Statement> {
        let (address, _) = self.v6;
        vec![
            Statement::priority_of([address], PREFIXES6),
            Statement::priority_of([Field::Priority, self.device], self.prefix.clone()),
        ]
    }
}

fn own_node(told: Told) -> Vec<Rule> {
    let log = (told == Told::Everything).then(|| logged("bulkhead policy allow own-node"));
    let pass = Rule::new([Statement::Counter, Statement::accept()]);
    log.into_iter().chain([pass]).collect()
}

fn discovery((first, last): (u8, u8)) -> Rule {
    let kind = if first == last {
        Statement::is(Field::Icmp6Type, Datum::Icmpv6Type(first))
    } else {
        Statement::within(
            Field::Icmp6Type,
            Datum::Icmpv6Type(first),
            Datum::Icmpv6Type(last),
        )
    };
    Rule::new([kind, Statement::accept()])
}

/// An address by itself, or else what it lies in.
fn who(v4: Field, v6: Field, prefixes: Prefixes) -> Vec<Rule> {
    let known = |field, map| {
        Rule::new([
            Statement::priority_of([field], map),
            Statement::Verdict(Verdict::Return),
        ])
    };
    let mut rules = vec![known(v4, PEERS4), known(v6, PEERS6)];
    rules.extend(prefixes.any.then(|| known(v6, DELEGATED6)));
    rules.extend([known(v4, AROUND4), known(v6, AROUND6)]);
    rules
}

/// Connections that were judged, and ICMP errors about them.
///
/// `furthest` is no way of any packet. At every change the kernel follows all ways from the hooks, and one that comes
/// to a chain deeper than those before has all behind it looked at again (`nft_chain_vstate_valid`): what
/// classes say is come to with one jump by most packets and with two by others. So the deepest comes first.
fn going_on(furthest: Option<Name>) -> Vec<Rule> {
    let of = |protocol| Key::from(Datum::InetProto(protocol));
    let icmp = [1, 58].map(|protocol| (of(protocol), Verdict::Accept));
    let furthest = furthest.map(|chain| (of(NO_PROTOCOL), Verdict::Jump(chain)));
    vec![
        Rule::new([
            Statement::has_any(Field::CtState, Datum::ESTABLISHED),
            Statement::accept(),
        ]),
        Rule::new([
            Statement::has_any(Field::CtState, Datum::RELATED),
            Statement::Vmap {
                fields: vec![Field::L4Proto],
                entries: icmp.into_iter().chain(furthest).collect(),
            },
        ]),
    ]
}

/// Stateless `DHCPv6` is asked from an address of the link alone (RFC 8415 section 18.2.6), which belongs to the
/// endpoint as its link does.
fn asks_for_configuration() -> Rule {
    let of_link = "fe80::/10".parse().expect("a prefix");
    Rule::new([
        Statement::in_prefix(Field::Ip6Saddr, of_link),
        Statement::is(Field::UdpDport, Datum::InetService(547)),
        Statement::accept(),
    ])
}

fn jump(to: Name) -> Rule {
    Rule::new([Statement::jump(to)])
}

pub(super) fn chain(name: Name, rules: Vec<Rule>) -> nft::Chain {
    nft::Chain {
        name,
        base: None,
        part: nft::Part::Live,
        rules,
    }
}

/// A chain's name.
pub(super) fn named(what: &str, digest: Digest) -> Name {
    let text = format!("{what}-{}", digest.hex());
    Name::new(&text).expect("letters, digits and a dash")
}

/// The chain of a class: who the other end is, if it asks, and what is said about it.
pub(super) fn of_class(
    class: Digest,
    direction: Direction,
    default: Digest,
    asks: bool,
) -> nft::Chain {
    let mut rules = Vec::new();
    if asks {
        rules.push(jump(match direction {
            Direction::Egress => WHO_RECEIVES,
            Direction::Ingress => WHO_SENDS,
        }));
        rules.push(Rule::new([
            Statement::priority_of([Field::Priority], named("rulings", class)),
            Statement::VerdictMap {
                fields: vec![Field::Priority],
                map: named("chains", class),
            },
        ]));
    }
    rules.push(Rule::new([Statement::goto(named("ruling", default))]));
    chain(named("class", class), rules)
}

/// The chain of a ruling: which kind of traffic it is, and what becomes of it.
pub(super) fn of_ruling(digest: Digest, ruling: &Lines<Word>) -> nft::Chain {
    let to = |word: Word| Verdict::Goto(named("verdict", word.outcome));
    let usual = Line::ALL.map(|line| usual(ruling.of(line)));
    let rest = usual[Line::Other as usize];
    let mut rules = Vec::new();
    let mut ports = BTreeMap::new();
    for protocol in Protocol::ALL {
        let line = Line::of(protocol);
        let number = Datum::InetProto(protocol.number());
        for (first, last, outcome) in unusual(ruling.of(line), usual[line as usize]) {
            if first == last {
                let key = Key::new([number.clone(), Datum::InetService(first)]);
                ports.insert(key, to(outcome));
            } else {
                rules.push(Rule::new([
                    Statement::is(Field::L4Proto, number.clone()),
                    Statement::within(
                        Field::TransportDport,
                        Datum::InetService(first),
                        Datum::InetService(last),
                    ),
                    Statement::Verdict(to(outcome)),
                ]));
            }
        }
    }
    if !ports.is_empty() {
        rules.insert(
            0,
            Rule::new([Statement::Vmap {
                fields: vec![Field::L4Proto, Field::TransportDport],
                entries: ports,
            }]),
        );
    }
    for line in [Line::Icmp4, Line::Icmp6] {
        for (first, last, outcome) in unusual(ruling.of(line), usual[line as usize]) {
            let verdict = to(outcome);
            rules.extend(types(line, first, last).map(|matches| {
                let verdict = Statement::Verdict(verdict.clone());
                Rule::new(matches.into_iter().chain([verdict]))
            }));
        }
        if usual[line as usize] != rest {
            rules.push(of_icmp(line, to(usual[line as usize])));
        }
    }
    let mut protocols = BTreeMap::new();
    for protocol in Protocol::ALL {
        let outcome = usual[Line::of(protocol) as usize];
        if outcome != rest {
            protocols.insert(Datum::InetProto(protocol.number()).into(), to(outcome));
        }
    }
    for (first, last, outcome) in unusual(ruling.of(Line::Other), rest) {
        let numbers = (first..=last).filter_map(|number| u8::try_from(number).ok());
        for number in numbers.filter(|number| ![6, 17, 132].contains(number)) {
            protocols.insert(Datum::InetProto(number).into(), to(outcome));
        }
    }
    if !protocols.is_empty() {
        rules.push(Rule::new([Statement::Vmap {
            fields: vec![Field::L4Proto],
            entries: protocols,
        }]));
    }
    rules.push(Rule::new([Statement::Verdict(to(rest))]));
    chain(named("ruling", digest), rules)
}

/// What is said about most places of a line, the first of those where two are equal.
fn usual(runs: &[Run<Word>]) -> Word {
    let mut widths: Vec<(u32, Word)> = Vec::new();
    let mut first = 0;
    for run in runs {
        let width = u32::from(run.last) + 1 - first;
        first = u32::from(run.last) + 1;
        match widths.iter_mut().find(|(_, outcome)| *outcome == run.said) {
            Some((known, _)) => *known += width,
            None => widths.push((width, run.said)),
        }
    }
    let most = widths.iter().map(|(width, _)| *width).max();
    let mut widest = widths.into_iter().filter(|(width, _)| Some(*width) == most);
    let (_, outcome) = widest.next().expect("a line has places");
    outcome
}

/// First and last place of everything that something else is said about.
fn unusual(runs: &[Run<Word>], usual: Word) -> impl Iterator<Item = (u16, u16, Word)> {
    let mut first = 0;
    let places = runs.iter().map(move |run| {
        let begin = first;
        first = run.last.wrapping_add(1);
        (begin, run.last, run.said)
    });
    places.filter(move |(_, _, outcome)| *outcome != usual)
}

/// Whole types, and parts of the types at both ends.
fn types(line: Line, first: u16, last: u16) -> impl Iterator<Item = Vec<Statement>> {
    let mut all = Vec::new();
    let mut at = u32::from(first);
    let last = u32::from(last);
    while at <= last {
        let (kind, code) = (at >> 8, at & 0xff);
        let end_of_type = at | 0xff;
        if code == 0 && end_of_type <= last {
            let mut end = end_of_type;
            while end + 0x100 <= last {
                end += 0x100;
            }
            all.push(vec![within_types(line, kind, end >> 8)]);
            at = end + 1;
        } else {
            let end = end_of_type.min(last);
            all.push(vec![
                within_types(line, kind, kind),
                within_codes(line, code, end & 0xff),
            ]);
            at = end + 1;
        }
    }
    all.into_iter()
}

fn within_types(line: Line, first: u32, last: u32) -> Statement {
    let datum = |kind| {
        let kind = u8::try_from(kind).expect("types are of 8 bits");
        match line {
            Line::Icmp6 => Datum::Icmpv6Type(kind),
            _ => Datum::IcmpType(kind),
        }
    };
    let field = match line {
        Line::Icmp6 => Field::Icmp6Type,
        _ => Field::Icmp4Type,
    };
    if first == last {
        Statement::is(field, datum(first))
    } else {
        Statement::within(field, datum(first), datum(last))
    }
}

fn within_codes(line: Line, first: u32, last: u32) -> Statement {
    let datum = |code| Datum::Integer(vec![u8::try_from(code).expect("codes are of 8 bits")]);
    let field = match line {
        Line::Icmp6 => Field::Icmp6Code,
        _ => Field::Icmp4Code,
    };
    if first == last {
        Statement::is(field, datum(first))
    } else {
        Statement::within(field, datum(first), datum(last))
    }
}

/// Only in its own family: in the other it is a protocol like any.
fn of_icmp(line: Line, verdict: Verdict) -> Rule {
    let family = if line == Line::Icmp6 { 10 } else { 2 };
    let number = line.protocol().expect("ICMP has a number");
    Rule::new([
        Statement::is(Field::NfProto, Datum::NfProto(family)),
        Statement::is(Field::L4Proto, Datum::InetProto(number)),
        Statement::Verdict(verdict),
    ])
}

/// The chain of an outcome: counted, told, and done.
pub(super) fn of_outcome(digest: Digest, said: &Said, told: Told) -> nft::Chain {
    let mut rules = Vec::new();
    if !said.outcome.would_deny.is_empty() {
        rules.push(logged(&format!("bulkhead policy audit {}", digest.hex())));
    }
    let (word, end) = match said.decision() {
        Decision::Allow => ("allow", Verdict::Return),
        Decision::Deny => ("deny", Verdict::Drop),
    };
    if said.decision() == Decision::Deny || told == Told::Everything {
        rules.push(logged(&format!("bulkhead policy {word} {}", digest.hex())));
    }
    let mut statements = vec![Statement::Counter];
    if said.decision() == Decision::Allow {
        statements.push(Statement::SetPriority(ALLOWED));
    }
    statements.push(Statement::Verdict(end));
    let why = label(&said.outcome.cause, said.direction);
    rules.push(Rule::new(statements).commented(why));
    chain(named("verdict", digest), rules)
}

fn logged(prefix: &str) -> Rule {
    Rule::new([
        Statement::Limit(LOGGED),
        Statement::Log(nft::Log {
            prefix: Some(nft::Label::new(prefix).expect("a short text")),
            group: Some(LOG_GROUP),
            snaplen: Some(SNAPLEN),
        }),
    ])
}

/// For a person who reads the table: as much as there is room for.
fn label(cause: &Cause, direction: Direction) -> nft::Label {
    let text = format!("{direction}: {cause}");
    let plain = text.chars().map(|c| match c {
        '"' => '\'',
        ' '..='~' => c,
        _ => '?',
    });
    let short: String = plain.take(120).collect();
    nft::Label::new(&short).expect("printable, and not empty")
}
