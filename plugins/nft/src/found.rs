//! Questions about sets in the kernel and what counters have seen, part of [`crate::observe`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bulkhead_model::{Family, IfName, Prefix};

use crate::datum::{Key, KeyType};
use crate::elements::{IFACE_INDEX, NFT_DATA_VERDICT, NFT_SET_INTERVAL, NFT_SET_MAP, key_types};
use crate::name::Name;
use crate::observe::{NFGENMSG, comment};
use crate::prefixes::{address, after, last_of, preceding};
use crate::set::{Data, DataType};
use crate::table::TableId;
use crate::wire::{Head, NLM_F_ACK, NLM_F_DUMP, attributes_of, find, message, number, text};

const GETSET: u16 = 10;
const GETSETELEM: u16 = 13;
const NFT_SET_ELEM_INTERVAL_END: u32 = 1;

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
    let intervals = intervals(payloads, family, |_| None)?.into_iter();
    let prefixes = intervals.filter_map(|(first, end, _)| between(first, end));
    Some(prefixes.collect())
}

/// The first address of an interval, the one after its last if the family has any, and what was read of the
/// element.
type Interval = (IpAddr, Option<IpAddr>, Option<Key>);

/// The intervals of a set or map, with what `data` reads of each.
fn intervals<'a>(
    payloads: impl IntoIterator<Item = &'a [u8]>,
    family: Family,
    data: impl Fn(&[u8]) -> Option<Key>,
) -> Option<Vec<Interval>> {
    // Where intervals end and begin; what follows the last address of one may begin another.
    let mut bounds = BTreeMap::new();
    for payload in payloads {
        let list = find(payload.get(NFGENMSG..)?, 3).unwrap_or_default();
        for (_, element) in attributes_of(list) {
            let bytes = find(find(element, 1)?, 1)?;
            let address = address(bytes).filter(|address| Family::of(*address) == family)?;
            let flags = find(element, 3).and_then(number).unwrap_or(0);
            let begins = flags & NFT_SET_ELEM_INTERVAL_END == 0;
            bounds.insert((address, begins), data(element));
        }
    }
    let ends = bounds.keys().skip(1).map(|(address, _)| Some(*address));
    let ends: Vec<_> = ends.chain([None]).collect();
    let found = bounds.into_iter().zip(ends);
    let starts = found.filter(|(((_, begins), _), _)| *begins);
    Some(
        starts
            .map(|(((first, _), data), end)| (first, end, data))
            .collect(),
    )
}

/// Ranges of addresses by their first, with the last and what it maps to.
pub type FoundRanges = BTreeMap<IpAddr, (IpAddr, Data)>;

/// As [`decode_prefixes`] about a map whose keys are ranges and whose values are of those types. A range
/// whose value is of others is passed over.
#[must_use]
pub fn decode_ranges<'a>(
    payloads: impl IntoIterator<Item = &'a [u8]>,
    family: Family,
    kinds: &[KeyType],
) -> Option<FoundRanges> {
    let value = |element: &[u8]| {
        let bytes = find(element, 2).and_then(|data| find(data, 1))?;
        Key::decode(kinds, bytes)
    };
    let intervals = intervals(payloads, family, value)?.into_iter();
    let ranges = intervals.filter_map(|(first, end, value)| {
        let last = end.map_or_else(|| Some(last_of(family)), preceding)?;
        Some((first, (last, Data::Value(value?))))
    });
    Some(ranges.collect())
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

/// Reads one message of an answer to [`chain_rules_request`](crate::observe::chain_rules_request),
/// which is one rule: what its first counter has seen, if it has one.
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
