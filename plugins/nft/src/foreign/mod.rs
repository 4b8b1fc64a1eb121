//! Rulesets of others, as far as they tell what becomes of a forwarded packet: for a diagnosis, which
//! decides nothing about our own tables. Read from the kernel's answers ([`Answers`]) or, of the tables
//! that nfnetlink does not show, from `iptables-legacy-save` ([`Ruleset::add_legacy`]).
//!
//! What is not understood is never guessed: a condition without meaning here is neither true nor
//! false, and [`Ruleset::drops`] says how many rules might have accepted the packet all the same.

mod decode;
mod judge;
mod legacy;
mod xt;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use decode::{Answers, chains_request, elements_request, rules_request, tables_request};
pub use judge::{Connection, Dropped, Packet};

use crate::table::{Policy, TableFamily};

/// Every table that was read.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ruleset {
    /// By name.
    pub tables: BTreeMap<TableName, Table>,
}

/// Who runs a table's rules.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Engine {
    /// `nf_tables`; `iptables-nft` writes here too.
    Nftables,
    /// `ip_tables` and `ip6_tables`, which nft cannot see.
    Legacy,
}

/// A table's name in its namespace. Displays as `table ip filter`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TableName {
    /// Who runs it.
    pub engine: Engine,
    /// Its family.
    pub family: TableFamily,
    /// Its name, as anyone may have chosen it.
    pub name: String,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (family, name) = (self.family, &self.name);
        match self.engine {
            Engine::Nftables => write!(f, "table {family} {name}"),
            Engine::Legacy => write!(f, "iptables-legacy table {family} {name}"),
        }
    }
}

/// One table.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Table {
    /// Its chains by name.
    pub chains: BTreeMap<String, Chain>,
    pub(crate) sets: BTreeMap<String, Vec<Element>>,
}

/// One chain.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Chain {
    /// Where packets enter it; `None` for a regular chain.
    pub base: Option<Base>,
    /// Its rules in order.
    pub rules: Vec<Rule>,
}

/// Where packets enter a chain, and what becomes of those that reach its end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Base {
    /// `filter`, `nat` or `route`.
    pub kind: String,
    /// `NF_INET_*` (`linux/netfilter.h`) for the families ip, ip6 and inet.
    pub hook: u32,
    /// Lower ones come first.
    pub priority: i32,
    /// The end's verdict.
    pub policy: Policy,
}

/// One rule.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rule {
    /// Its comment, nft's or that of the `comment` match.
    pub comment: Option<String>,
    pub(crate) parts: Vec<Part>,
}

impl Rule {
    /// The chains it may lead to by name, those of verdict maps aside.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Verdict(Verdict::Jump(chain) | Verdict::Goto(chain)) => Some(chain.as_str()),
            _ => None,
        })
    }

    /// Whether it returns to the calling chain, whatever the packet.
    #[must_use]
    pub fn returns_always(&self) -> bool {
        self.parts == [Part::Verdict(Verdict::Return)]
    }
}

impl Ruleset {
    /// The sets that rules of tables with a chain at the forward hook look into.
    #[must_use]
    pub fn sets_wanted(&self) -> BTreeSet<(TableName, String)> {
        let forwards = |table: &&Table| {
            let mut bases = table
                .chains
                .values()
                .filter_map(|chain| chain.base.as_ref());
            bases.any(Base::forwards)
        };
        let mut wanted = BTreeSet::new();
        for (name, table) in self.tables.iter().filter(|(_, table)| forwards(table)) {
            let rules = table.chains.values().flat_map(|chain| &chain.rules);
            for part in rules.flat_map(|rule| &rule.parts) {
                if let Part::Test(Test::Member { set, .. }) | Part::Map { set, .. } = part {
                    wanted.insert((name.clone(), set.clone()));
                }
            }
        }
        wanted
    }

    /// The table, if it is there.
    #[must_use]
    pub fn table(&self, engine: Engine, family: TableFamily, name: &str) -> Option<&Table> {
        let name = name.to_owned();
        self.tables.get(&TableName {
            engine,
            family,
            name,
        })
    }
}

impl Base {
    /// Whether forwarded packets enter here and can be dropped.
    pub(crate) fn forwards(&self) -> bool {
        /// `NF_INET_FORWARD`.
        const FORWARD: u32 = 2;
        self.kind == "filter" && self.hook == FORWARD
    }
}

/// A rule runs from its first part on, until one does not hold or decides.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    Test(Test),
    Verdict(Verdict),
    /// A verdict by what a packet has.
    Map {
        what: Loaded,
        set: String,
    },
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Test {
    /// Of the first bytes, as many as the value has.
    Compare {
        what: Loaded,
        relation: Relation,
        value: Vec<u8>,
    },
    Member {
        what: Loaded,
        set: String,
        polarity: Polarity,
    },
    /// `-m conntrack --ctstate`: any of these bits, which know translated connections too.
    States { bits: u32, polarity: Polarity },
    /// Something that is not understood here.
    Unknown,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Polarity {
    Is,
    IsNot,
}

/// `enum nft_cmp_ops` (`linux/netfilter/nf_tables.h`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Relation {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

/// A field, and what was done to its bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Loaded {
    pub(crate) field: Field,
    /// `NFTA_BITWISE_MASK` and `NFTA_BITWISE_XOR`.
    pub(crate) mask: Option<(Vec<u8>, Vec<u8>)>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Field {
    Input,
    Output,
    InputIndex,
    OutputIndex,
    Mark,
    /// `NFPROTO_*`.
    Family,
    Protocol,
    Source,
    Destination,
    State,
    Status,
    Direction,
    Unknown,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    Accept,
    Drop,
    Return,
    Jump(String),
    Goto(String),
}

/// A set's element. In a set of intervals an element is the begin of one, or its end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Element {
    /// `None` for the element that stands for all others.
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) place: Place,
    pub(crate) verdict: Option<Verdict>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// A single key, or the first of an interval.
    First,
    /// The first key after an interval.
    Behind,
    /// A range of concatenated keys, which is not understood here.
    Range,
}
