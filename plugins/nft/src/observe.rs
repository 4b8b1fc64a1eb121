//! Questions about what is in the kernel, and how to read the answers.
//!
//! Each request asks for an acknowledgement or is a dump, so its answer ends with
//! [`Reply::Done`](crate::Reply::Done) or [`Reply::Refused`](crate::Reply::Refused). Dumps can be
//! disturbed by a commit ([`Received::is_interrupted`](crate::Received::is_interrupted)) and are then
//! asked for again. Decoders take the payload of [`Reply::Object`](crate::Reply::Object) and answer
//! `None` for what is malformed or of no use to us.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bulkhead_model::{Family, IfName, Prefix};

use crate::datum::{Key, KeyType};
use crate::elements::{IFACE_INDEX, NFT_DATA_VERDICT, NFT_SET_INTERVAL, NFT_SET_MAP, key_types};
use crate::name::Name;
use crate::prefixes::{address, after};
use crate::table::{
    Base, ChainKind, Data, DataType, Devices, Hook, Policy, Table, TableFamily, TableId,
};
use crate::wire::{Head, NLM_F_ACK, NLM_F_DUMP, attributes_of, find, message, number, text};

const GETTABLE: u16 = 1;
const GETCHAIN: u16 = 4;
const GETRULE: u16 = 7;
const GETSET: u16 = 10;
const GETSETELEM: u16 = 13;
const GETGEN: u16 = 16;
const NFT_SET_ELEM_INTERVAL_END: u32 = 1;
/// `struct nfgenmsg` before the attributes.
const NFGENMSG: usize = 4;

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

/// Asks whether the set has the key: one object with it, or `ENOENT` (also if there is no such set).
#[must_use]
pub fn element_request(table: &TableId, set: &Name, key: &Key, seq: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let head = Head::nft(GETSETELEM, NLM_F_ACK, seq, table.family.number());
    message(&mut out, head, |body| {
        body.string(1, table.name.as_str());
        body.string(2, set.as_str());
        body.nest(3, |list| key.encode_request(list));
    });
    out
}

/// Asks for all elements of a set: a dump.
#[must_use]
pub fn elements_request(table: &TableId, set: &Name, seq: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let head = Head::nft(GETSETELEM, NLM_F_DUMP, seq, table.family.number());
    message(&mut out, head, |body| {
        body.string(1, table.name.as_str());
        body.string(2, set.as_str());
    });
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

/// Asks for the definition of one set: an answer for [`SetKind::decode`], or `ENOENT`.
#[must_use]
pub fn set_request(table: &TableId, set: &Name, seq: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let head = Head::nft(GETSET, NLM_F_ACK, seq, table.family.number());
    message(&mut out, head, |body| {
        body.string(1, table.name.as_str());
        body.string(2, set.as_str());
    });
    out
}

/// What a set in the kernel is, as far as we make any.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SetKind {
    /// The types of the key's parts; an integer among them fills its registers.
    pub key: Vec<KeyType>,
    /// What a key maps to; `None` for a plain set.
    pub data: Option<DataType>,
    /// Whether its elements are the bounds of intervals.
    pub is_interval: bool,
}

impl SetKind {
    /// Reads an answer to [`set_request`]; `None` if a type is none of ours.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let attributes = payload.get(NFGENMSG..)?;
        let field = |kind| find(attributes, kind).and_then(number);
        let types = |number, len| key_types(number, usize::try_from(len).ok()?);
        let flags = field(3).unwrap_or(0);
        let data = match field(6).filter(|_| flags & NFT_SET_MAP != 0) {
            None => None,
            Some(NFT_DATA_VERDICT) => Some(DataType::Verdict),
            Some(IFACE_INDEX) => Some(DataType::Device),
            Some(number) => Some(DataType::Value(types(number, field(7)?)?)),
        };
        Some(Self {
            key: types(field(4)?, field(5)?)?,
            data,
            is_interval: flags & NFT_SET_INTERVAL != 0,
        })
    }
}

/// Reads one message of an answer to [`element_request`] or [`elements_request`] about a set or map
/// with exact keys of those types; `None` if a key is of other types.
#[must_use]
pub fn decode_keys(payload: &[u8], kinds: &[KeyType]) -> Option<BTreeSet<Key>> {
    let Some(list) = find(payload.get(NFGENMSG..)?, 3) else {
        return Some(BTreeSet::new());
    };
    attributes_of(list)
        .map(|(_, element)| {
            let value = find(find(element, 1)?, 1)?;
            Key::decode(kinds, value)
        })
        .collect()
}

/// Reads the answer to [`elements_request`] about a set of prefixes of `family`, all its messages: an
/// interval may begin in one and end in another. Intervals that are no prefix are none of ours and are
/// passed over; `None` if an element is no address of the family.
#[must_use]
pub fn decode_prefixes<'a>(
    payloads: impl IntoIterator<Item = &'a [u8]>,
    family: Family,
) -> Option<BTreeSet<Prefix>> {
    // Where intervals end and begin; what follows the last address of one may begin another.
    let mut bounds = BTreeSet::new();
    for payload in payloads {
        let list = find(payload.get(NFGENMSG..)?, 3).unwrap_or_default();
        for (_, element) in attributes_of(list) {
            let bytes = find(find(element, 1)?, 1)?;
            let address = address(bytes).filter(|address| Family::of(*address) == family)?;
            let flags = find(element, 3).and_then(number).unwrap_or(0);
            bounds.insert((address, flags & NFT_SET_ELEM_INTERVAL_END == 0));
        }
    }
    let bounds: Vec<_> = bounds.into_iter().collect();
    let starts = bounds.iter().enumerate().filter(|(_, (_, begins))| *begins);
    let prefixes = starts.filter_map(|(nth, (first, _))| {
        let end = bounds[nth + 1..].iter().map(|(address, _)| *address).next();
        between(*first, end)
    });
    Some(prefixes.collect())
}

/// The prefix whose first address that is, and whose last comes before `end` or is the family's last.
fn between(first: IpAddr, end: Option<IpAddr>) -> Option<Prefix> {
    let lengths = 0..=Family::of(first).bits();
    let mut prefixes = lengths.filter_map(|len| Prefix::new(first, len));
    prefixes.find(|prefix| after(*prefix) == end)
}

/// What stands behind a key in the kernel, as far as it can be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FoundEntry {
    /// What the key maps to; `None` for what is not of the type asked for, or a device that is gone.
    pub data: Option<Data>,
    /// The element's comment, as anyone may have written it.
    pub comment: Option<String>,
}

/// Reads one message of an answer to [`element_request`] or [`elements_request`] about a map with
/// keys of those types; `None` if a key is of other types. `name_of` tells a device's name.
#[must_use]
pub fn decode_entries(
    payload: &[u8],
    keys: &[KeyType],
    data: &DataType,
    name_of: &dyn Fn(u32) -> Option<IfName>,
) -> Option<BTreeMap<Key, FoundEntry>> {
    let Some(list) = find(payload.get(NFGENMSG..)?, 3) else {
        return Some(BTreeMap::new());
    };
    attributes_of(list)
        .map(|(_, element)| {
            let key = Key::decode(keys, find(find(element, 1)?, 1)?)?;
            let bytes = find(element, 2).and_then(|data| find(data, 1));
            let data = bytes.and_then(|bytes| match data {
                DataType::Value(kinds) => Key::decode(kinds, bytes).map(Data::Value),
                DataType::Device => {
                    let index = u32::from_ne_bytes(bytes.try_into().ok()?);
                    name_of(index).map(Data::Device)
                }
                DataType::Verdict => None,
            });
            let comment = find(element, 6).and_then(comment);
            Some((key, FoundEntry { data, comment }))
        })
        .collect()
}

/// What a counter has seen.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Their bytes from the network header on, as the kernel counts (`nft_counter_do_eval`,
    /// `net/netfilter/nft_counter.c`); a GRO or GSO packet is one.
    pub bytes: u64,
}

/// Reads one message of an answer to [`element_request`] or [`elements_request`] about a set with keys
/// of those types: the elements that carry a counter, which those of a meter do not. `None` if a key is
/// of other types.
#[must_use]
pub fn decode_tallies(payload: &[u8], kinds: &[KeyType]) -> Option<Vec<(Key, Count)>> {
    let list = find(payload.get(NFGENMSG..)?, 3).unwrap_or_default();
    let mut tallies = Vec::new();
    for (_, element) in attributes_of(list) {
        let key = Key::decode(kinds, find(find(element, 1)?, 1)?)?;
        let count = find(element, 7).and_then(count);
        tallies.extend(count.map(|count| (key, count)));
    }
    Some(tallies)
}

/// Reads one message of an answer to [`chain_rules_request`], which is one rule: what its first counter
/// has seen, if it has one.
#[must_use]
pub fn decode_count(payload: &[u8]) -> Option<Count> {
    let expressions = find(payload.get(NFGENMSG..)?, 4)?;
    attributes_of(expressions).find_map(|(_, expression)| count(expression))
}

/// The expression, if it is a counter.
fn count(expression: &[u8]) -> Option<Count> {
    if text(find(expression, 1)?) != "counter" {
        return None;
    }
    let data = find(expression, 2)?;
    let number = |kind| Some(u64::from_be_bytes(find(data, kind)?.try_into().ok()?));
    Some(Count {
        bytes: number(1)?,
        packets: number(2)?,
    })
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
