//! The rules of the guard, one chain for each kind of packet. Every frame a port may send is reached by
//! exact offsets: the Ethernet type is read where it is in an untagged frame, the upper layer is the
//! next header of the fixed header, and a neighbour discovery message has one of two lengths. Whatever
//! is not of that shape is dropped, so that nothing can hide from one parser what another one finds
//! (RFC 7113, RFC 6980, RFC 7112).

mod arp;
mod discovery;
mod ipv4;
mod ipv6;

use std::collections::BTreeMap;

use bulkhead_nft as nft;
use nft::{Datum, Exceeds, Field, Key, Log, Match, Name, Op, Operand, PayloadBase, Rate, Rule};
use nft::{Statement, Verdict};

use super::reason::Reason;
use super::sets;

/// The chain with the first rules: a base chain, or the one every port's base chain jumps to.
pub(crate) const POD: Name = Name::literal("pod");
/// The chain of what may pass.
pub(crate) const BOUND: Name = Name::literal("bound");

/// The `nfnetlink_log` group that gets samples of what is dropped.
pub const LOG_GROUP: u16 = 1790;
/// Bytes of a frame in a sample.
const SNAPLEN: u32 = 256;
/// Samples of a port.
const SAMPLED: Rate = Rate {
    per_second: 5,
    burst: 10,
};
/// Neighbour discovery and ARP from a port to the node.
pub const TO_NODE: Rate = Rate {
    per_second: 20,
    burst: 50,
};
/// Broadcasts and discovery to groups from a port.
pub const TO_ALL: Rate = Rate {
    per_second: 50,
    burst: 100,
};

/// Every chain but the base chains, and but `bound`, whose rules are the filter's.
pub(super) fn chains() -> Vec<(Name, Vec<Rule>)> {
    let mut chains = vec![(POD, first())];
    chains.extend(arp::chains());
    chains.extend(ipv4::chains());
    chains.extend(ipv6::chains());
    chains.extend(discovery::chains());
    chains.extend(Reason::ALL.map(|reason| (reason.chain(), dropping(reason))));
    chains
}

/// By Ethernet type, as it is in an untagged frame: where a tag stands, that is the type. Each compared:
/// of so few, a map is found in later.
pub(crate) fn first() -> Vec<Rule> {
    let known = [
        ([0x08, 0x00], ipv4::POD4),
        ([0x86, 0xdd], ipv6::POD6),
        ([0x08, 0x06], arp::POD_ARP),
    ];
    let known = known.into_iter();
    let known = known.map(|(kind, chain)| {
        let ethertype = raw(PayloadBase::Link, 12, 2);
        Rule::new([is(ethertype, &kind), goto(chain)])
    });
    known.chain(not_of(Reason::EtherType)).collect()
}

/// What passes whatever it is: what no identity was found for may be of such a port.
fn unjudged() -> [Rule; 2] {
    [
        Rule::new([Statement::in_set([Field::Iifname], sets::OPEN), pass()]),
        Rule::new([
            Statement::in_set([Field::Iifname, Field::EtherSaddr], sets::MACS),
            pass(),
        ]),
    ]
}

/// The end of a chain that found no identity.
fn not_of(reason: Reason) -> Vec<Rule> {
    let mut rules = unjudged().to_vec();
    rules.push(otherwise(reason));
    rules
}

/// Counts, tells, drops.
fn dropping(reason: Reason) -> Vec<Rule> {
    let tally = Statement::Tally {
        fields: vec![Field::Iifname],
        set: reason.tally(),
    };
    vec![
        Rule::new([tally]),
        sampled(reason.word(), sets::SAMPLES),
        Rule::new([Statement::Counter, Statement::drop()]),
    ]
}

/// Logs under `word` a few frames a second of each link that they come in by, counted in `set`.
pub(crate) fn sampled(word: &str, set: Name) -> Rule {
    let prefix = nft::Label::new(&format!("bulkhead {word} ")).expect("letters and blanks");
    let sampled = Statement::Meter {
        fields: vec![Field::Iifname],
        set,
        rate: SAMPLED,
        when: Exceeds::Within,
    };
    let log = Statement::Log(Log {
        prefix: Some(prefix),
        group: Some(LOG_GROUP),
        snaplen: Some(SNAPLEN),
    });
    Rule::new([sampled, log])
}

/// Bytes at a place.
const fn raw(base: PayloadBase, offset: u16, len: u8) -> Field {
    Field::Raw { base, offset, len }
}

/// Bytes of the IP header.
const fn network(offset: u16, len: u8) -> Field {
    raw(PayloadBase::Network, offset, len)
}

/// Bytes of what the IP header carries directly.
const fn transport(offset: u16, len: u8) -> Field {
    raw(PayloadBase::Transport, offset, len)
}

/// `field value`, of raw bytes.
fn is(field: Field, value: &[u8]) -> Statement {
    Statement::is(field, Datum::Integer(value.to_vec()))
}

/// `field { values }`.
fn one_of(field: Field, values: impl IntoIterator<Item = Datum>) -> Statement {
    let keys = values.into_iter().map(Key::from).collect();
    Statement::Match(Match::new([field], Op::Eq, Operand::Keys(keys)))
}

/// A verdict for each value.
fn vmap(field: Field, entries: impl IntoIterator<Item = (Vec<u8>, Verdict)>) -> Statement {
    let entries = entries.into_iter();
    let entries = entries.map(|(value, verdict)| (Key::from(Datum::Integer(value)), verdict));
    Statement::Vmap {
        fields: vec![field],
        entries: entries.collect::<BTreeMap<_, _>>(),
    }
}

/// `port . fields @set`.
fn of_port(fields: impl IntoIterator<Item = Field>, set: Name) -> Statement {
    Statement::in_set(std::iter::once(Field::Iifname).chain(fields), set)
}

/// `port . source MAC . fields @set`.
fn of_sender(fields: impl IntoIterator<Item = Field>, set: Name) -> Statement {
    let sender = [Field::Iifname, Field::EtherSaddr];
    Statement::in_set(sender.into_iter().chain(fields), set)
}

/// `fields != @set`.
fn not_in(fields: impl IntoIterator<Item = Field>, set: Name) -> Statement {
    Statement::Match(Match::new(fields, Op::Ne, Operand::Set(set)))
}

/// The port has a role.
fn port_is(set: Name) -> Statement {
    Statement::in_set([Field::Iifname], set)
}

/// The port does not have it.
fn port_is_not(set: Name) -> Statement {
    not_in([Field::Iifname], set)
}

/// What a port has a share of.
#[derive(Clone, Copy)]
enum Share {
    /// The node's time.
    Node,
    /// Everybody's.
    All,
}

/// Drops what is beyond the port's share: by the limit of its own in the set of those who have one, or
/// by everybody's.
fn beyond(share: Share, what: &[Statement]) -> [Rule; 2] {
    let (own, shared, rate) = match share {
        Share::Node => (sets::OWN_TO_NODE, sets::TO_NODE, TO_NODE),
        Share::All => (sets::OWN_TO_ALL, sets::TO_ALL, TO_ALL),
    };
    let metered = Statement::Meter {
        fields: vec![Field::Iifname],
        set: shared,
        rate,
        when: Exceeds::Over,
    };
    let over_own = what.iter().cloned().chain([port_is(own.clone())]);
    let over = what.iter().cloned().chain([port_is_not(own), metered]);
    [
        drop_if(over_own, Reason::Budget),
        drop_if(over, Reason::Budget),
    ]
}

/// The frame is to a group.
fn is_group_frame() -> Statement {
    let first = raw(PayloadBase::Link, 0, 1);
    let bit = |bit: u8| Datum::Integer(vec![bit]);
    Statement::masked(first, bit(1), Op::Ne, bit(0))
}

const fn pass() -> Statement {
    Statement::goto(BOUND)
}

fn goto(chain: Name) -> Statement {
    Statement::goto(chain)
}

fn drop_for(reason: Reason) -> Statement {
    Statement::goto(reason.chain())
}

fn pass_if(statements: impl IntoIterator<Item = Statement>) -> Rule {
    Rule::new(statements.into_iter().chain([pass()]))
}

fn drop_if(statements: impl IntoIterator<Item = Statement>, reason: Reason) -> Rule {
    Rule::new(statements.into_iter().chain([drop_for(reason)]))
}

fn otherwise(reason: Reason) -> Rule {
    Rule::new([drop_for(reason)])
}

fn verdict_pass() -> Verdict {
    Verdict::Goto(BOUND)
}

fn verdict_drop(reason: Reason) -> Verdict {
    Verdict::Goto(reason.chain())
}
