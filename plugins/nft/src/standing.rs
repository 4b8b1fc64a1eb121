//! A whole table as it stands in the kernel, and whether it is the one that should be there. Both are read by
//! the same eyes: what the kernel answers, and what would be sent to it.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_model::IfName;

use crate::observe::{NFGENMSG, comment};
use crate::table::{Table, TableFamily, TableId};
use crate::transaction::{Command, Transaction};
use crate::wire::{
    Head, NFNL_SUBSYS_NFTABLES, NLM_F_DUMP, attributes_of, find, message, number, received, text,
};

const GETSET: u16 = 10;
/// `NFT_MSG_*` (`linux/netfilter/nf_tables.h`) of what is made, and of what is listed.
const NEWTABLE: u16 = 0;
const NEWCHAIN: u16 = 3;
const NEWRULE: u16 = 6;
const NEWSET: u16 = 9;
const NEWSETELEM: u16 = 12;
/// `NFT_REG32_00`, which the kernel answers as register 1 of four times the size.
const REG32_00: u32 = 8;
const NFT_SET_ANONYMOUS: u32 = 0x1;

/// A table, with all that decides what becomes of a packet. What it has counted is no part of it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Standing {
    comment: Option<String>,
    chains: BTreeMap<String, Chain>,
    sets: BTreeMap<String, Set>,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Chain {
    /// Hook, priority, policy and type.
    base: Option<[Vec<u8>; 4]>,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Rule {
    expressions: Vec<Expression>,
    comment: Option<String>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Expression {
    name: String,
    parts: BTreeMap<u16, Vec<u8>>,
    /// What a set that is written in the rule has in it.
    within: Option<Set>,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Set {
    /// Flags, types and lengths.
    kind: [u32; 5],
    elements: BTreeSet<Element>,
}

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Element {
    key: Vec<u8>,
    ends: bool,
    data: Vec<u8>,
    comment: Option<String>,
}

/// The payloads of the answers about a table.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// To [`table_request`](crate::observe::table_request).
    pub table: Vec<u8>,
    /// To [`chains_request`](crate::observe::chains_request).
    pub chains: Vec<Vec<u8>>,
    /// To [`sets_request`].
    pub sets: Vec<Vec<u8>>,
    /// To [`named_elements_request`] about each of [`set_names`].
    pub elements: Vec<Vec<u8>>,
    /// To [`rules_request`](crate::observe::rules_request).
    pub rules: Vec<Vec<u8>>,
}

/// Asks for all sets of a table, those in rules too: a dump.
#[must_use]
pub fn sets_request(table: &TableId, seq: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let head = Head::nft(GETSET, NLM_F_DUMP, seq, table.family.number());
    message(&mut out, head, |body| body.string(1, table.name.as_str()));
    out
}

/// Asks for the elements of a set, whatever it is called: a dump.
#[must_use]
pub fn named_elements_request(table: &TableId, set: &str, seq: u32) -> Vec<u8> {
    const GETSETELEM: u16 = 13;
    let mut out = Vec::new();
    let head = Head::nft(GETSETELEM, NLM_F_DUMP, seq, table.family.number());
    message(&mut out, head, |body| {
        body.string(1, table.name.as_str());
        body.string(2, set);
    });
    out
}

/// The sets of the table in the answer to [`sets_request`].
#[must_use]
pub fn set_names(table: &TableId, sets: &[Vec<u8>]) -> Vec<String> {
    let named = sets.iter().filter_map(|payload| {
        let attributes = owned(table, payload)?;
        find(attributes, 2).map(text)
    });
    named.collect()
}

impl Standing {
    /// The table as the kernel has it.
    #[must_use]
    pub fn listed(table: &TableId, listed: &Listed) -> Self {
        let mut reading = Reading::new(table);
        reading.take(NEWTABLE, &listed.table);
        let lists = [
            (NEWSET, &listed.sets),
            (NEWSETELEM, &listed.elements),
            (NEWCHAIN, &listed.chains),
            (NEWRULE, &listed.rules),
        ];
        for (kind, payloads) in lists {
            for payload in payloads {
                reading.take(kind, payload);
            }
        }
        reading.standing
    }

    /// The table as it should be. `index_of` tells the index of a device.
    #[must_use]
    pub fn of(table: &Table, index_of: &dyn Fn(IfName) -> u32) -> Self {
        let transaction = Transaction(vec![Command::AddTable(table.clone())]);
        let mut reading = Reading::new(&table.id);
        if let Some(batch) = transaction.encode(1, None, index_of) {
            for message in received(&batch.bytes) {
                if message.kind >> 8 == NFNL_SUBSYS_NFTABLES {
                    reading.take(message.kind & 0xff, message.payload);
                }
            }
        }
        reading.standing
    }

    /// What is other than it should be, a line each; none if nothing is.
    #[must_use]
    pub fn differences(&self, should: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.comment != should.comment {
            lines.push(format!(
                "table: its comment is {:?}, not {:?}",
                self.comment, should.comment
            ));
        }
        differing(
            &mut lines,
            "chain",
            &self.chains,
            &should.chains,
            |is, should| {
                if is.base != should.base {
                    return "hangs elsewhere".to_owned();
                }
                let mut pairs = is.rules.iter().zip(&should.rules);
                match pairs.position(|(is, should)| is != should) {
                    Some(nth) => format!("rule {nth} is another one"),
                    None => format!("has {} rules, not {}", is.rules.len(), should.rules.len()),
                }
            },
        );
        differing(&mut lines, "set", &self.sets, &should.sets, |is, should| {
            if is.kind != should.kind {
                return "is of another kind".to_owned();
            }
            let more = is.elements.difference(&should.elements).count();
            let fewer = should.elements.difference(&is.elements).count();
            format!("{more} elements should not be there, {fewer} are missing")
        });
        lines
    }
}

fn differing<T: PartialEq>(
    lines: &mut Vec<String>,
    what: &str,
    is: &BTreeMap<String, T>,
    should: &BTreeMap<String, T>,
    how: impl Fn(&T, &T) -> String,
) {
    let names: BTreeSet<&String> = is.keys().chain(should.keys()).collect();
    for name in names {
        match (is.get(name), should.get(name)) {
            (Some(is), Some(should)) if is != should => {
                lines.push(format!("{what} {name}: {}", how(is, should)));
            }
            (Some(_), None) => lines.push(format!("{what} {name}: should not be there")),
            (None, Some(_)) => lines.push(format!("{what} {name}: is missing")),
            _ => {}
        }
    }
}

/// The attributes, if they belong to the table.
fn owned<'a>(table: &TableId, payload: &'a [u8]) -> Option<&'a [u8]> {
    let attributes = payload.get(NFGENMSG..)?;
    let family = TableFamily::from_number(payload[0])?;
    let is_it = family == table.family && text(find(attributes, 1)?) == table.name.as_str();
    is_it.then_some(attributes)
}

/// A set in a rule: by its number where it is sent, by its name where it stands.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Handle {
    Number(u32),
    Name(String),
}

struct Reading<'t> {
    table: &'t TableId,
    within: BTreeMap<Handle, Set>,
    standing: Standing,
}

impl<'t> Reading<'t> {
    fn new(table: &'t TableId) -> Self {
        Self {
            table,
            within: BTreeMap::new(),
            standing: Standing::default(),
        }
    }

    /// What is of no use is passed over: then the table is not the one it should be.
    fn take(&mut self, kind: u16, payload: &[u8]) {
        let Some(attributes) = owned(self.table, payload) else {
            return;
        };
        let _ = match kind {
            NEWTABLE => {
                self.standing.comment = find(attributes, 6).and_then(comment);
                Some(())
            }
            NEWCHAIN => self.chain(attributes),
            NEWRULE => self.rule(attributes),
            NEWSET => self.set(attributes),
            NEWSETELEM => self.elements(attributes),
            _ => None,
        };
    }

    fn chain(&mut self, attributes: &[u8]) -> Option<()> {
        let name = text(find(attributes, 3)?);
        let base = find(attributes, 4).map(|hook| {
            let bytes = |found: Option<&[u8]>| found.map(<[u8]>::to_vec).unwrap_or_default();
            let kind = find(attributes, 7).map(|kind| text(kind).into_bytes());
            [
                bytes(find(hook, 1)),
                bytes(find(hook, 2)),
                bytes(find(attributes, 5)),
                kind.unwrap_or_default(),
            ]
        });
        let rules = Vec::new();
        self.standing.chains.insert(name, Chain { base, rules });
        Some(())
    }

    fn rule(&mut self, attributes: &[u8]) -> Option<()> {
        let expressions = attributes_of(find(attributes, 4)?);
        let expressions: Option<Vec<_>> =
            expressions.map(|(_, one)| self.expression(one)).collect();
        let rule = Rule {
            expressions: expressions?,
            comment: find(attributes, 7).and_then(comment),
        };
        let chain = self.standing.chains.get_mut(&text(find(attributes, 2)?))?;
        chain.rules.push(rule);
        Some(())
    }

    fn set(&mut self, attributes: &[u8]) -> Option<()> {
        let field = |kind| find(attributes, kind).and_then(number).unwrap_or(0);
        let set = Set {
            kind: [3, 4, 5, 6, 7].map(field),
            elements: BTreeSet::new(),
        };
        if set.kind[0] & NFT_SET_ANONYMOUS != 0 {
            self.within.insert(handle(attributes, 2, 10)?, set);
        } else {
            self.standing.sets.insert(text(find(attributes, 2)?), set);
        }
        Some(())
    }

    fn elements(&mut self, attributes: &[u8]) -> Option<()> {
        let name = text(find(attributes, 2)?);
        let within = handle(attributes, 2, 4)?;
        let set = match self.standing.sets.get_mut(&name) {
            Some(set) => set,
            None => self.within.get_mut(&within)?,
        };
        let list = find(attributes, 3).unwrap_or_default();
        let elements = attributes_of(list).filter_map(|(_, one)| {
            let key = find(find(one, 1)?, 1)?.to_vec();
            Some(Element {
                key,
                ends: find(one, 3).and_then(number).unwrap_or(0) & 1 != 0,
                data: find(one, 2).map(data).unwrap_or_default(),
                comment: find(one, 6).and_then(comment),
            })
        });
        set.elements.extend(elements);
        Some(())
    }

    fn expression(&self, attributes: &[u8]) -> Option<Expression> {
        let name = text(find(attributes, 1)?);
        let body = find(attributes, 2).unwrap_or_default();
        let shape = Shape::of(&name);
        let mut parts = BTreeMap::new();
        for (kind, value) in attributes_of(body) {
            let is_default = value.iter().all(|byte| *byte == 0);
            if shape.ignored.contains(&kind) || shape.defaults.contains(&kind) && is_default {
                continue;
            }
            let value = if shape.registers.contains(&kind) {
                register(number(value)?).to_be_bytes().to_vec()
            } else if shape.data.contains(&kind) {
                data(value)
            } else {
                value.to_vec()
            };
            parts.insert(kind, value);
        }
        let mut within = None;
        if name == "lookup" {
            // A name is told apart from a set in the rule by who knows it.
            if let Some(set) = self.within.get(&handle(body, 1, 4)?) {
                within = Some(set.clone());
                parts.remove(&1);
            }
        }
        Some(Expression {
            name,
            parts,
            within,
        })
    }
}

/// By number if there is one.
fn handle(attributes: &[u8], name: u16, id: u16) -> Option<Handle> {
    match find(attributes, id).and_then(number) {
        Some(number) => Some(Handle::Number(number)),
        None => Some(Handle::Name(text(find(attributes, name)?))),
    }
}

/// How an expression's attributes are read.
#[derive(Default)]
struct Shape {
    registers: &'static [u16],
    data: &'static [u16],
    /// What packets have made of it.
    ignored: &'static [u16],
    /// What the kernel answers without having been told.
    defaults: &'static [u16],
}

impl Shape {
    fn of(name: &str) -> Self {
        let none = Self::default();
        match name {
            "counter" => Self {
                ignored: &[1, 2, 3],
                ..none
            },
            "cmp" => Self {
                registers: &[1],
                data: &[3],
                ..none
            },
            "range" => Self {
                registers: &[1],
                data: &[3, 4],
                ..none
            },
            "immediate" => Self {
                registers: &[1],
                data: &[2],
                ..none
            },
            "lookup" => Self {
                registers: &[2, 3],
                ignored: &[4],
                defaults: &[5],
                ..none
            },
            "bitwise" => Self {
                registers: &[1, 2],
                data: &[4, 5],
                defaults: &[6],
                ..none
            },
            "meta" => Self {
                registers: &[1, 3],
                ..none
            },
            "ct" | "payload" | "fib" => Self {
                registers: &[1],
                ..none
            },
            "log" => Self {
                defaults: &[4],
                ..none
            },
            _ => none,
        }
    }
}

/// `nft_dump_register` (`net/netfilter/nf_tables_api.c`) turned round.
const fn register(number: u32) -> u32 {
    match number {
        1..=4 => REG32_00 + (number - 1) * 4,
        _ => number,
    }
}

/// `NFTA_DATA_VALUE`, or `NFTA_DATA_VERDICT` with code and chain.
fn data(nested: &[u8]) -> Vec<u8> {
    if let Some(value) = find(nested, 1) {
        return [&[1], value].concat();
    }
    let Some(verdict) = find(nested, 2) else {
        return Vec::new();
    };
    let code = find(verdict, 1).unwrap_or_default();
    let chain = find(verdict, 2).map(text).unwrap_or_default();
    [&[2], code, chain.as_bytes()].concat()
}
