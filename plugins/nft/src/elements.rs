//! Sets and their elements as attributes.

use std::net::IpAddr;
use std::time::Duration;

use bulkhead_model::{IfName, Prefix};

use crate::datum::{Datum, Key, KeyType};
use crate::encode::user_data;
use crate::example;
use crate::expression::encode_data;
use crate::meter::{Carried, Exceeds, Rate};
use crate::prefixes::{after, following};
use crate::set::{Data, DataType, Elements, Entry, METER_SIZE};
use crate::wire::{Attributes, attributes};

const NFTA_LIST_ELEM: u16 = 1;
/// `enum nft_set_flags` (`linux/netfilter/nf_tables.h`).
pub(crate) const NFT_SET_INTERVAL: u32 = 0x4;
pub(crate) const NFT_SET_MAP: u32 = 0x8;
const NFT_SET_TIMEOUT: u32 = 0x10;
const NFT_SET_EVAL: u32 = 0x20;
pub(crate) const NFT_DATA_VERDICT: u32 = 0xffff_ff00;
/// nft's number for `iface_index` (`TYPE_IFINDEX`, nftables `include/datatype.h`).
pub(crate) const IFACE_INDEX: u32 = 20;

/// What a set is apart from its name.
pub(crate) struct SetShape<'a> {
    pub(crate) key: &'a [KeyType],
    pub(crate) data: Option<&'a DataType>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) elements: &'a Elements,
}

impl SetShape<'_> {
    /// The attributes of a new set of this kind that has those flags as well.
    pub(crate) fn encode(&self, body: &mut Attributes<'_>, flags: u32) {
        body.u32(3, flags | self.flags());
        body.u32(4, key_number(self.key));
        body.u32(5, key_len(self.key));
        match self.data {
            Some(DataType::Verdict) => {
                body.u32(6, NFT_DATA_VERDICT);
                body.u32(7, 16);
            }
            Some(DataType::Value(kinds)) => {
                body.u32(6, key_number(kinds));
                body.u32(7, key_len(kinds));
            }
            Some(DataType::Device) => {
                body.u32(6, IFACE_INDEX);
                body.u32(7, 4);
            }
            None => {}
        }
        if let Some(timeout) = self.timeout {
            body.nest(9, |size| size.u32(1, METER_SIZE));
            let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            body.bytes(11, &millis.to_be_bytes());
        }
        body.bytes(13, &user_data_of(self.key, self.data));
    }

    fn flags(&self) -> u32 {
        let either = |yes, flag| if yes { flag } else { 0 };
        either(
            matches!(self.elements, Elements::Prefixes(_) | Elements::Ranges(_)),
            NFT_SET_INTERVAL,
        ) | either(self.data.is_some(), NFT_SET_MAP)
            | either(self.timeout.is_some(), NFT_SET_TIMEOUT | NFT_SET_EVAL)
    }
}

/// A device's index, as the kernel keeps devices; 0 for one that is gone.
pub(crate) type IndexOf<'a> = &'a dyn Fn(IfName) -> u32;

/// The attributes of each element, an interval as its start and what follows its end.
pub(crate) fn encode_elements(elements: &Elements, index_of: IndexOf<'_>) -> Vec<Vec<u8>> {
    match elements {
        Elements::Keys(keys) => keys.iter().map(|key| element(&key.bytes())).collect(),
        Elements::Map(map) => map
            .iter()
            .map(|(key, entry)| mapped(&key.bytes(), entry, index_of))
            .collect(),
        Elements::Limits(limits) => limits
            .iter()
            .map(|(key, rate)| limited(&key.bytes(), *rate))
            .collect(),
        Elements::Prefixes(prefixes) => prefixes.iter().flat_map(interval).collect(),
        Elements::Ranges(ranges) => ranges
            .iter()
            .flat_map(|(first, (last, data))| range(*first, *last, data, index_of))
            .collect(),
    }
}

fn element(key: &[u8]) -> Vec<u8> {
    attributes(|one| one.nest(1, |value| value.bytes(1, key)))
}

fn mapped(key: &[u8], entry: &Entry, index_of: IndexOf<'_>) -> Vec<u8> {
    attributes(|one| {
        one.nest(1, |value| value.bytes(1, key));
        one.nest(2, |value| encode_data(value, &entry.data, index_of));
        if let Some(comment) = &entry.comment {
            one.bytes(6, &user_data(0, comment));
        }
    })
}

fn limited(key: &[u8], rate: Rate) -> Vec<u8> {
    attributes(|one| {
        one.nest(1, |value| value.bytes(1, key));
        one.nest(7, |carried| {
            Carried::Limit(rate, Exceeds::Over).encode_expression(carried);
        });
    })
}

fn interval(prefix: Prefix) -> Vec<Vec<u8>> {
    let start = element(&Datum::from(prefix.address()).bytes());
    [start].into_iter().chain(end(after(prefix))).collect()
}

fn range(first: IpAddr, last: IpAddr, data: &Data, index_of: IndexOf<'_>) -> Vec<Vec<u8>> {
    let start = attributes(|one| {
        one.nest(1, |value| value.bytes(1, &Datum::from(first).bytes()));
        one.nest(2, |value| encode_data(value, data, index_of));
    });
    [start].into_iter().chain(end(following(last))).collect()
}

/// What ends an interval; nothing follows the last address of all, and the kernel takes an interval
/// without an end to be open.
fn end(following: Option<IpAddr>) -> Option<Vec<u8>> {
    let following = following?;
    Some(attributes(|one| {
        one.u32(3, 1);
        one.nest(1, |value| value.bytes(1, &Datum::from(following).bytes()));
    }))
}

impl Key {
    /// The key as the nested attribute of a request for one element.
    pub(crate) fn encode_request(&self, list: &mut Attributes<'_>) {
        list.nest(NFTA_LIST_ELEM, |one| {
            one.splice(&element(&self.bytes()));
        });
    }
}

/// nft's number of a concatenation: 6 bits per field (`TYPE_BITS`, nftables `datatype.h`).
fn key_number(key: &[KeyType]) -> u32 {
    key.iter()
        .fold(0, |number, kind| number << 6 | kind.number())
}

/// The types of a concatenation that has that number and, in a set's definition, that many bytes. The
/// number does not say how long an integer is: the one there may be is as long as the bytes allow.
/// `None` for a type that is none of ours.
#[must_use]
pub(crate) fn key_types(mut number: u32, len: usize) -> Option<Vec<KeyType>> {
    let mut types = Vec::new();
    while number != 0 {
        let of = |kind: &KeyType| kind.number() == number & 0x3f;
        types.insert(0, KeyType::ALL.into_iter().find(of)?);
        number >>= 6;
    }
    let known: usize = types.iter().map(|kind| kind.padded_len()).sum();
    let integer = KeyType::Integer(u8::try_from(len.saturating_sub(known)).ok()?);
    let unknown = types
        .iter_mut()
        .filter(|kind| **kind == KeyType::Integer(0));
    unknown.for_each(|kind| *kind = integer);
    (key_len(&types) as usize == len).then_some(types)
}

fn key_len(key: &[KeyType]) -> u32 {
    let len: usize = match key {
        [only] => only.len(),
        parts => parts.iter().map(|kind| kind.padded_len()).sum(),
    };
    u32::try_from(len).expect("a key is a few dozen bytes")
}

/// `NFTNL_UDATA_SET_KEYBYTEORDER` and, for maps, `..._DATABYTEORDER`, so that nft prints values right.
fn user_data_of(key: &[KeyType], data: Option<&DataType>) -> Vec<u8> {
    let order = |kind: KeyType| if kind.is_host_order() { 1 } else { 2 };
    let of_key = match key {
        [only] => order(*only),
        _ => 0,
    };
    let mut out = vec![0, 4];
    out.extend(u32::to_ne_bytes(of_key));
    if let Some(data) = data {
        let of_data = match data {
            DataType::Value(kinds) => match kinds.as_slice() {
                [only] => order(*only),
                _ => 0,
            },
            DataType::Device => 1,
            DataType::Verdict => 0,
        };
        out.extend([1, 4]);
        out.extend(u32::to_ne_bytes(of_data));
    } else if let Some(example) = example::user_data(key) {
        out.extend(example);
    }
    out
}
