//! Rulesets from nfnetlink (`linux/netfilter/nf_tables.h`, `nf_tables_compat.h`).

use std::collections::BTreeMap;

use super::xt;
use super::{
    Base, Chain, Element, Engine, Field, Loaded, Part, Place, Polarity, Relation, Rule, Ruleset,
    Table, TableName, Test, Verdict,
};
use crate::observe::comment;
use crate::table::{Policy, TableFamily};
use crate::wire::{Head, NLM_F_DUMP, attributes_of, find, message, number, text};

const GETTABLE: u16 = 1;
const GETCHAIN: u16 = 4;
const GETRULE: u16 = 7;
const GETSETELEM: u16 = 13;
/// `struct nfgenmsg` before the attributes.
const NFGENMSG: usize = 4;
/// `NFPROTO_UNSPEC`: all families.
const EVERY: u8 = 0;

/// Asks for every table: a dump.
#[must_use]
pub fn tables_request(seq: u32) -> Vec<u8> {
    dump(GETTABLE, seq)
}

/// Asks for every chain: a dump.
#[must_use]
pub fn chains_request(seq: u32) -> Vec<u8> {
    dump(GETCHAIN, seq)
}

/// Asks for every rule: a dump.
#[must_use]
pub fn rules_request(seq: u32) -> Vec<u8> {
    dump(GETRULE, seq)
}

/// Asks for the elements of one set, as [`Ruleset::sets_wanted`] names it: a dump.
#[must_use]
pub fn elements_request(table: &TableName, set: &str, seq: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let head = Head::nft(GETSETELEM, NLM_F_DUMP, seq, table.family.number());
    message(&mut out, head, |body| {
        body.string(1, &table.name);
        body.string(2, set);
    });
    out
}

fn dump(kind: u16, seq: u32) -> Vec<u8> {
    let mut out = Vec::new();
    message(&mut out, Head::nft(kind, NLM_F_DUMP, seq, EVERY), |_| {});
    out
}

/// The payloads of the answers to [`tables_request`], [`chains_request`] and [`rules_request`].
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Tables.
    pub tables: Vec<Vec<u8>>,
    /// Chains.
    pub chains: Vec<Vec<u8>>,
    /// Rules, in the order in which the kernel lists them.
    pub rules: Vec<Vec<u8>>,
}

impl Answers {
    /// What they say. What is malformed, or of a table or chain that is not among them, is passed over.
    #[must_use]
    pub fn ruleset(&self) -> Ruleset {
        let mut ruleset = Ruleset::default();
        for payload in &self.tables {
            if let Some((table, _)) = owner(payload) {
                ruleset.tables.insert(table, Table::default());
            }
        }
        for payload in &self.chains {
            let Some((name, attributes)) = owner(payload) else {
                continue;
            };
            let chain = find(attributes, 3).map(text);
            if let (Some(table), Some(chain)) = (ruleset.tables.get_mut(&name), chain) {
                let base = find(attributes, 4).and_then(|hook| base(attributes, hook));
                let rules = Vec::new();
                table.chains.insert(chain, Chain { base, rules });
            }
        }
        for payload in &self.rules {
            let Some((name, attributes)) = owner(payload) else {
                continue;
            };
            let table = ruleset.tables.get_mut(&name);
            let chain = find(attributes, 2).map(text);
            let chain = table.and_then(|table| table.chains.get_mut(&chain?));
            if let Some(chain) = chain {
                chain.rules.push(rule(attributes));
            }
        }
        ruleset
    }
}

impl Ruleset {
    /// Takes in the payloads of the answer to an [`elements_request`] about `set`.
    pub fn add_elements<'a>(
        &mut self,
        table: &TableName,
        set: &str,
        payloads: impl IntoIterator<Item = &'a [u8]>,
    ) {
        let Some(table) = self.tables.get_mut(table) else {
            return;
        };
        let elements = table.sets.entry(set.to_owned()).or_default();
        for payload in payloads {
            let list = payload.get(NFGENMSG..).and_then(|body| find(body, 3));
            let of_set = list.into_iter().flat_map(attributes_of);
            elements.extend(of_set.map(|(_, attributes)| element(attributes)));
        }
    }
}

/// The table that an object belongs to, and the object's attributes.
fn owner(payload: &[u8]) -> Option<(TableName, &[u8])> {
    let attributes = payload.get(NFGENMSG..)?;
    let table = TableName {
        engine: Engine::Nftables,
        family: TableFamily::from_number(payload[0])?,
        name: text(find(attributes, 1)?),
    };
    Some((table, attributes))
}

fn base(attributes: &[u8], hook: &[u8]) -> Option<Base> {
    Some(Base {
        kind: text(find(attributes, 7)?),
        hook: number(find(hook, 1)?)?,
        priority: i32::from_be_bytes(find(hook, 2)?.try_into().ok()?),
        policy: match find(attributes, 5).and_then(number) {
            Some(0) => Policy::Drop,
            _ => Policy::Accept,
        },
    })
}

fn rule(attributes: &[u8]) -> Rule {
    let mut reading = Reading::default();
    for (_, expression) in attributes_of(find(attributes, 4).unwrap_or_default()) {
        let name = find(expression, 1).map(text).unwrap_or_default();
        reading.expression(&name, find(expression, 2).unwrap_or_default());
    }
    let own = find(attributes, 7).and_then(comment);
    Rule {
        comment: own.or(reading.comment),
        parts: reading.parts,
    }
}

/// A rule's expressions, one after the other.
#[derive(Default)]
struct Reading {
    parts: Vec<Part>,
    comment: Option<String>,
    /// What the 32-bit registers hold from there on.
    registers: BTreeMap<u32, Loaded>,
}

impl Reading {
    fn expression(&mut self, name: &str, attributes: &[u8]) {
        let word = |kind| find(attributes, kind).and_then(number);
        match name {
            // With a source register in place of a target these set something.
            "meta" => self.load(word(1), word(2).map_or(Field::Unknown, meta)),
            "ct" => self.load(word(1), word(2).map_or(Field::Unknown, ct)),
            "payload" => self.load(word(1), payload(word(2), word(3))),
            "fib" | "rt" | "osf" | "xfrm" | "exthdr" | "numgen" => {
                self.load(word(1), Field::Unknown);
            }
            "socket" | "tunnel" | "hash" | "byteorder" => self.load(word(2), Field::Unknown),
            "bitwise" => self.mask(attributes),
            "cmp" => self.compare(attributes),
            "range" | "limit" | "quota" | "connlimit" => self.test(Test::Unknown),
            "lookup" => self.look_up(attributes),
            "immediate" => self.immediate(attributes),
            "reject" => self.parts.push(Part::Verdict(Verdict::Drop)),
            "queue" => self.unknown_accept(),
            "match" => self.xt_match(attributes),
            "target" => self.xt_target(attributes),
            // Counters, logs and what changes a packet decide nothing here.
            _ => {}
        }
    }

    fn test(&mut self, test: Test) {
        self.parts.push(Part::Test(test));
    }

    /// Somebody else decides: he may let it pass.
    fn unknown_accept(&mut self) {
        self.test(Test::Unknown);
        self.parts.push(Part::Verdict(Verdict::Accept));
    }

    fn load(&mut self, register: Option<u32>, field: Field) {
        if let Some(register) = register.and_then(word_of) {
            self.put(register, Loaded { field, mask: None });
        }
    }

    /// A value of up to 16 bytes may reach into the three registers behind.
    fn put(&mut self, register: u32, loaded: Loaded) {
        self.registers.retain(|at, _| *at != register);
        self.registers.insert(register, loaded);
    }

    fn loaded(&self, register: Option<&[u8]>) -> Loaded {
        let register = register.and_then(number).and_then(word_of);
        let known = register.and_then(|register| self.registers.get(&register));
        known.cloned().unwrap_or(Loaded {
            field: Field::Unknown,
            mask: None,
        })
    }

    fn mask(&mut self, attributes: &[u8]) {
        let data = |kind| find(attributes, kind).and_then(|data| find(data, 1));
        let from = self.loaded(find(attributes, 1));
        let to = find(attributes, 2).and_then(number).and_then(word_of);
        let Some(to) = to else { return };
        let masked = match (data(4), data(5), &from.mask) {
            (Some(mask), Some(xor), None) => Loaded {
                field: from.field,
                mask: Some((mask.to_vec(), xor.to_vec())),
            },
            // A shift, or a mask on a mask.
            _ => Loaded {
                field: Field::Unknown,
                mask: None,
            },
        };
        self.put(to, masked);
    }

    fn compare(&mut self, attributes: &[u8]) {
        let relation = match find(attributes, 2).and_then(number) {
            Some(0) => Relation::Equal,
            Some(1) => Relation::NotEqual,
            Some(2) => Relation::Less,
            Some(3) => Relation::AtMost,
            Some(4) => Relation::Greater,
            Some(5) => Relation::AtLeast,
            _ => return self.test(Test::Unknown),
        };
        let value = find(attributes, 3).and_then(|data| find(data, 1));
        self.test(Test::Compare {
            what: self.loaded(find(attributes, 1)),
            relation,
            value: value.unwrap_or_default().to_vec(),
        });
    }

    fn look_up(&mut self, attributes: &[u8]) {
        const NFT_LOOKUP_F_INV: u32 = 1;
        const NFT_REG_VERDICT: u32 = 0;
        let set = find(attributes, 1).map(text).unwrap_or_default();
        let what = self.loaded(find(attributes, 2));
        match find(attributes, 3).and_then(number) {
            Some(NFT_REG_VERDICT) => self.parts.push(Part::Map { what, set }),
            Some(register) => {
                self.load(Some(register), Field::Unknown);
                let polarity = Polarity::Is;
                self.test(Test::Member {
                    what,
                    set,
                    polarity,
                });
            }
            None => {
                let flags = find(attributes, 5).and_then(number).unwrap_or_default();
                let polarity = match flags & NFT_LOOKUP_F_INV {
                    0 => Polarity::Is,
                    _ => Polarity::IsNot,
                };
                self.test(Test::Member {
                    what,
                    set,
                    polarity,
                });
            }
        }
    }

    fn immediate(&mut self, attributes: &[u8]) {
        let data = find(attributes, 2).unwrap_or_default();
        match find(data, 2) {
            Some(data) => self.parts.extend(verdict(data).map(Part::Verdict)),
            None => self.load(find(attributes, 1).and_then(number), Field::Unknown),
        }
    }

    /// An iptables match (`NFTA_MATCH_*`).
    fn xt_match(&mut self, attributes: &[u8]) {
        let name = find(attributes, 1).map(text).unwrap_or_default();
        let info = find(attributes, 3).unwrap_or_default();
        match name.as_str() {
            "comment" => self.comment = Some(text(info)),
            "conntrack" => self.test(xt::conntrack(info)),
            "state" => self.test(xt::state(info)),
            "mark" => self.test(xt::mark(info)),
            _ => self.test(Test::Unknown),
        }
    }

    /// An iptables target (`NFTA_TARGET_*`).
    fn xt_target(&mut self, attributes: &[u8]) {
        match find(attributes, 1).map(text).as_deref() {
            Some("REJECT") => self.parts.push(Part::Verdict(Verdict::Drop)),
            Some("NFQUEUE") => self.unknown_accept(),
            _ => {}
        }
    }
}

/// The first of the 16 32-bit registers: `NFT_REG_1` to `_4` have four of them each, `NFT_REG32_00` to
/// `_15` are they.
const fn word_of(register: u32) -> Option<u32> {
    match register {
        1..=4 => Some((register - 1) * 4),
        8..=23 => Some(register - 8),
        _ => None,
    }
}

/// `enum nft_meta_keys`.
const fn meta(key: u32) -> Field {
    match key {
        3 => Field::Mark,
        4 => Field::InputIndex,
        5 => Field::OutputIndex,
        6 => Field::Input,
        7 => Field::Output,
        15 => Field::Family,
        16 => Field::Protocol,
        _ => Field::Unknown,
    }
}

/// `enum nft_ct_keys`.
const fn ct(key: u32) -> Field {
    match key {
        0 => Field::State,
        1 => Field::Direction,
        2 => Field::Status,
        _ => Field::Unknown,
    }
}

/// By the place in the network header (RFC 791 §3.1, RFC 8200 §3). A rule of family inet asks for the
/// IP version first, so a place means one field.
const fn payload(base: Option<u32>, offset: Option<u32>) -> Field {
    const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;
    match (base, offset) {
        (Some(NFT_PAYLOAD_NETWORK_HEADER), Some(9)) => Field::Protocol,
        (Some(NFT_PAYLOAD_NETWORK_HEADER), Some(8 | 12)) => Field::Source,
        (Some(NFT_PAYLOAD_NETWORK_HEADER), Some(16 | 24)) => Field::Destination,
        _ => Field::Unknown,
    }
}

/// `NFTA_VERDICT_*`; `None` if the rule goes on.
fn verdict(attributes: &[u8]) -> Option<Verdict> {
    let chain = || find(attributes, 2).map(text);
    match find(attributes, 1).and_then(number)?.cast_signed() {
        0 => Some(Verdict::Drop),
        1 => Some(Verdict::Accept),
        -3 => chain().map(Verdict::Jump),
        -4 => chain().map(Verdict::Goto),
        -5 => Some(Verdict::Return),
        _ => None,
    }
}

fn element(attributes: &[u8]) -> Element {
    const NFT_SET_ELEM_INTERVAL_END: u32 = 1;
    const NFT_SET_ELEM_CATCHALL: u32 = 2;
    let value = |kind| find(attributes, kind).and_then(|data| find(data, 1));
    let flags = find(attributes, 3).and_then(number).unwrap_or_default();
    let key = value(1).filter(|_| flags & NFT_SET_ELEM_CATCHALL == 0);
    let verdict_data = find(attributes, 2).and_then(|data| find(data, 2));
    Element {
        key: key.map(<[u8]>::to_vec),
        place: match (value(10), flags & NFT_SET_ELEM_INTERVAL_END) {
            (Some(_), _) => Place::Range,
            (None, 0) => Place::First,
            (None, _) => Place::Behind,
        },
        verdict: verdict_data.and_then(verdict),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a later kernel, or memory gone bad, could answer.
    #[test]
    fn any_bytes_are_read_without_harm() {
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed.to_ne_bytes()
        };
        for _ in 0..2_000 {
            let len = usize::from(next()[0]);
            let mut bytes: Vec<u8> = (0..=len / 8).flat_map(|_| next()).collect();
            // Small lengths and types, so that some of it looks like attributes.
            for pair in bytes.chunks_mut(2) {
                pair[0] %= 24;
                pair[1] = 0;
            }
            bytes[0] = 2;
            let name = crate::wire::attributes(|body| {
                body.string(1, "t");
                body.string(2, "c");
                body.string(3, "c");
            });
            let named = [&bytes[..NFGENMSG], &name, &bytes[NFGENMSG..]].concat();
            let answers = Answers {
                tables: vec![named.clone(), bytes.clone()],
                chains: vec![named.clone(), bytes.clone()],
                rules: vec![named, bytes.clone()],
            };
            let mut ruleset = answers.ruleset();
            let tables: Vec<_> = ruleset.tables.keys().cloned().collect();
            assert!(!tables.is_empty());
            ruleset.add_elements(&tables[0], "s", [bytes.as_slice()]);
            for info in [xt::conntrack(&bytes), xt::state(&bytes), xt::mark(&bytes)] {
                drop(info);
            }
        }
    }
}
