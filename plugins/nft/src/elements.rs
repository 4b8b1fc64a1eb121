//! Set elements as attributes.

use bulkhead_model::{Family, IfName, Prefix};

use crate::datum::{Datum, Key};
use crate::encode::user_data;
use crate::expression::encode_data;
use crate::table::{Elements, Entry};
use crate::wire::{Attributes, attributes};

const NFTA_LIST_ELEM: u16 = 1;

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
        Elements::Prefixes(prefixes) => prefixes.iter().flat_map(interval).collect(),
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

fn interval(prefix: Prefix) -> Vec<Vec<u8>> {
    let start = element(&Datum::from(prefix.address()).bytes());
    let Some(after) = after(prefix) else {
        // Nothing follows the last address: the kernel takes an interval without an end to be open.
        return vec![start];
    };
    let end = attributes(|one| {
        one.u32(3, 1);
        one.nest(1, |value| value.bytes(1, &after));
    });
    vec![start, end]
}

/// The address after the prefix's last, if there is one.
fn after(prefix: Prefix) -> Option<Vec<u8>> {
    let last = Datum::from(prefix.last()).bytes();
    match prefix.family() {
        Family::V4 => {
            let last = u32::from_be_bytes(last.try_into().ok()?);
            Some(last.checked_add(1)?.to_be_bytes().to_vec())
        }
        Family::V6 => {
            let last = u128::from_be_bytes(last.try_into().ok()?);
            Some(last.checked_add(1)?.to_be_bytes().to_vec())
        }
    }
}

impl Key {
    /// The key as the nested attribute of a request for one element.
    pub(crate) fn encode_request(&self, list: &mut Attributes<'_>) {
        list.nest(NFTA_LIST_ELEM, |one| {
            one.splice(&element(&self.bytes()));
        });
    }
}
