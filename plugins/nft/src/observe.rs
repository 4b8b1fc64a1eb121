//! Questions about what is in the kernel, and how to read the answers.
//!
//! Each request asks for an acknowledgement or is a dump, so its answer ends with
//! [`Reply::Done`](crate::Reply::Done) or [`Reply::Refused`](crate::Reply::Refused). Dumps can be
//! disturbed by a commit ([`Received::is_interrupted`](crate::Received::is_interrupted)) and are then
//! asked for again. Decoders take the payload of [`Reply::Object`](crate::Reply::Object) and answer
//! `None` for what is malformed or of no use to us.

use std::collections::BTreeMap;

use bulkhead_model::IfName;

pub use crate::found::{
    Count, FoundEntry, FoundRanges, SetKind, decode_count, decode_entries, decode_keys,
    decode_prefixes, decode_ranges, decode_tallies, element_request, elements_request, set_request,
};
use crate::name::Name;
use crate::table::{Base, ChainKind, Devices, Hook, Policy, Table, TableFamily, TableId};
use crate::wire::{Head, NLM_F_ACK, NLM_F_DUMP, attributes_of, find, message, number, text};

const GETTABLE: u16 = 1;
const GETCHAIN: u16 = 4;
const GETRULE: u16 = 7;
const GETGEN: u16 = 16;
/// `struct nfgenmsg` before the attributes.
pub(crate) const NFGENMSG: usize = 4;

/// Asks for one table: one object, or `ENOENT`.
#[must_use]
pub fn table_request(id: &TableId, seq: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let head = Head::nft(GETTABLE, NLM_F_ACK, seq, id.family.number());
    message(&mut out, head, |body| body.string(1, id.name.as_str()));
    out
}

/// Asks for the generation: one object.
#[must_use]
pub fn generation_request(seq: u32) -> Vec<u8> {
    let mut out = Vec::new();
    message(&mut out, Head::nft(GETGEN, NLM_F_ACK, seq, 0), |_| {});
    out
}

/// Asks for the chains of the table's family: a dump. The kernel does not filter by table.
#[must_use]
pub fn chains_request(table: &TableId, seq: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let head = Head::nft(GETCHAIN, NLM_F_DUMP, seq, table.family.number());
    message(&mut out, head, |_| {});
    out
}

/// Asks for one chain: an answer for [`Shape::decode`], or `ENOENT`.
#[must_use]
pub fn chain_request(table: &TableId, chain: &Name, seq: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let head = Head::nft(GETCHAIN, NLM_F_ACK, seq, table.family.number());
    message(&mut out, head, |body| {
        body.string(1, table.name.as_str());
        body.string(3, chain.as_str());
    });
    out
}

/// Asks for the rules of one chain: a dump, which the kernel finds by name.
#[must_use]
pub fn chain_rules_request(table: &TableId, chain: &Name, seq: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let head = Head::nft(GETRULE, NLM_F_DUMP, seq, table.family.number());
    message(&mut out, head, |body| {
        body.string(1, table.name.as_str());
        body.string(2, chain.as_str());
    });
    out
}

/// Asks for the rules of a table: a dump.
#[must_use]
pub fn rules_request(table: &TableId, seq: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let head = Head::nft(GETRULE, NLM_F_DUMP, seq, table.family.number());
    message(&mut out, head, |body| body.string(1, table.name.as_str()));
    out
}

/// A table that is there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ObservedTable {
    /// Which.
    pub id: TableId,
    /// Its comment, as anyone may have written it.
    pub comment: Option<String>,
}

/// Reads an answer to [`table_request`].
#[must_use]
pub fn decode_table(payload: &[u8]) -> Option<ObservedTable> {
    let attributes = payload.get(NFGENMSG..)?;
    Some(ObservedTable {
        id: TableId {
            family: TableFamily::from_number(payload[0])?,
            name: name(attributes, 1)?,
        },
        comment: find(attributes, 6).and_then(comment),
    })
}

/// The comment in libnftnl's user data, type 0 both for tables and rules.
pub(crate) fn comment(mut data: &[u8]) -> Option<String> {
    while let [kind, len, rest @ ..] = data {
        let value = rest.get(..usize::from(*len))?;
        if *kind == 0 {
            return Some(text(value));
        }
        data = &rest[usize::from(*len)..];
    }
    None
}

/// Reads an answer to [`generation_request`]: a number that every commit changes.
#[must_use]
pub fn decode_generation(payload: &[u8]) -> Option<u32> {
    number(find(payload.get(NFGENMSG..)?, 1)?)
}

/// What a table's chains are and how much is in them: enough to see that somebody flushed, removed or
/// rehung one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Shape(pub BTreeMap<Name, ChainShape>);

/// One chain's place and number of rules.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChainShape {
    /// Where packets enter it; `None` for a regular chain.
    pub base: Option<Base>,
    /// How many rules.
    pub rules: usize,
}

impl Table {
    /// The shape this table has when it stands.
    #[must_use]
    pub fn shape(&self) -> Shape {
        let shape = |chain: &crate::table::Chain| {
            let base = chain.base.clone();
            let rules = chain.rules.len();
            (chain.name.clone(), ChainShape { base, rules })
        };
        Shape(self.chains.iter().map(shape).collect())
    }
}

impl Shape {
    /// The shape of `table` from the payloads of the answers to [`chains_request`] and
    /// [`rules_request`]. Chains of other tables are passed over; a chain that nothing of ours could
    /// have made (a hook or a name we cannot write) is passed over too.
    pub fn decode<'a>(
        table: &TableId,
        chains: impl IntoIterator<Item = &'a [u8]>,
        rules: impl IntoIterator<Item = &'a [u8]>,
    ) -> Self {
        let mut shape: BTreeMap<Name, ChainShape> = chains
            .into_iter()
            .filter_map(|payload| chain(table, payload))
            .collect();
        for payload in rules {
            let counted = owned(table, payload)
                .and_then(|attributes| name(attributes, 2))
                .and_then(|chain| shape.get_mut(&chain));
            if let Some(chain) = counted {
                chain.rules += 1;
            }
        }
        Self(shape)
    }
}

/// The attributes, if they belong to the table.
fn owned<'a>(table: &TableId, payload: &'a [u8]) -> Option<&'a [u8]> {
    let attributes = payload.get(NFGENMSG..)?;
    let family = TableFamily::from_number(payload[0])?;
    (family == table.family && name(attributes, 1)? == table.name).then_some(attributes)
}

fn chain(table: &TableId, payload: &[u8]) -> Option<(Name, ChainShape)> {
    let attributes = owned(table, payload)?;
    let base = match find(attributes, 4) {
        Some(hook) => Some(base(table.family, attributes, hook)?),
        None => None,
    };
    Some((name(attributes, 3)?, ChainShape { base, rules: 0 }))
}

fn base(family: TableFamily, attributes: &[u8], hook: &[u8]) -> Option<Base> {
    let kind = match text(find(attributes, 7)?).as_str() {
        "filter" => ChainKind::Filter,
        "nat" => ChainKind::Nat,
        "route" => ChainKind::Route,
        _ => return None,
    };
    Some(Base {
        kind,
        hook: Hook::from_number(number(find(hook, 1)?)?, family)?,
        devices: devices(hook)?,
        priority: i32::from_be_bytes(find(hook, 2)?.try_into().ok()?),
        policy: match number(find(attributes, 5)?)? {
            0 => Policy::Drop,
            _ => Policy::Accept,
        },
    })
}

fn devices(hook: &[u8]) -> Option<Devices> {
    let Some(list) = find(hook, 4) else {
        return Some(Devices::None);
    };
    if let Some(prefix) = find(list, 2) {
        return Some(Devices::Prefix(text(prefix).parse().ok()?));
    }
    let names: Option<Vec<IfName>> = attributes_of(list)
        .map(|(_, device)| text(device).parse().ok())
        .collect();
    names.map(Devices::Names)
}

fn name(attributes: &[u8], kind: u16) -> Option<Name> {
    Name::new(&text(find(attributes, kind)?)).ok()
}
