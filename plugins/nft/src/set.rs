//! Named sets and maps, and what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use bulkhead_model::{Family, IfName};

use crate::datum::{Key, KeyType};
use crate::meter::Rate;
use crate::name::{Label, Name};
use crate::prefixes::PrefixSet;
use crate::rule::Verdict;
use crate::table::Part;

/// How many elements packets can make in a set.
pub(crate) const METER_SIZE: u32 = 65_535;

/// A named set, or a map if `data` says of what.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Set {
    /// Unique in its table.
    pub name: Name,
    /// The types of the key's parts.
    pub key: Vec<KeyType>,
    /// What a key maps to; `None` for a plain set.
    pub data: Option<DataType>,
    /// For a set whose elements packets make: how long one outlives its last packet, at least 1 ms.
    pub timeout: Option<Duration>,
    /// Whether the elements belong to the definition.
    pub part: Part,
    /// What is in it.
    pub elements: Elements,
}

impl Set {
    /// An empty hash set whose elements come and go.
    pub fn live(name: Name, key: impl IntoIterator<Item = KeyType>) -> Self {
        Self {
            name,
            key: key.into_iter().collect(),
            data: None,
            timeout: None,
            part: Part::Live,
            elements: Elements::default(),
        }
    }

    /// An empty set for [`Statement::Meter`](crate::Statement::Meter) and
    /// [`Statement::Tally`](crate::Statement::Tally): packets make its elements, at most 65 535, and
    /// those that meet none for as long as `timeout` go. Commands can delete them all the same; one that
    /// a command adds has neither limit nor counter, and lets every rule that meets it go on.
    pub fn meter(name: Name, key: impl IntoIterator<Item = KeyType>, timeout: Duration) -> Self {
        Self {
            timeout: Some(timeout),
            ..Self::live(name, key)
        }
    }

    /// An empty set of prefixes that come and go, of IPv6 addresses or else of IPv4 addresses.
    #[must_use]
    pub fn live_prefixes(name: Name, key: KeyType) -> Self {
        let family = match key {
            KeyType::Ipv6Addr => Family::V6,
            _ => Family::V4,
        };
        Self {
            elements: Elements::Prefixes(PrefixSet::new(family, [])),
            ..Self::live(name, [key])
        }
    }

    /// An empty map whose keys are ranges of addresses of that type, which come and go.
    #[must_use]
    pub fn live_ranges(name: Name, key: KeyType, data: DataType) -> Self {
        Self {
            data: Some(data),
            elements: Elements::Ranges(BTreeMap::new()),
            ..Self::live(name, [key])
        }
    }

    /// An empty map whose elements come and go.
    pub fn live_map(name: Name, key: impl IntoIterator<Item = KeyType>, data: DataType) -> Self {
        Self {
            data: Some(data),
            elements: Elements::Map(BTreeMap::new()),
            ..Self::live(name, key)
        }
    }
}

/// What a map's values are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DataType {
    /// A value of that type, or a concatenation.
    Value(Vec<KeyType>),
    /// A verdict.
    Verdict,
    /// A device: `iface_index`.
    Device,
}

/// What a key maps to.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Data {
    /// A value, or a concatenation.
    Value(Key),
    /// A verdict.
    Verdict(Verdict),
    /// A device, by the name it has when the transaction is encoded: the kernel keeps its index.
    Device(IfName),
}

/// What stands behind a key of a map.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Entry {
    /// What the key maps to.
    pub data: Data,
    /// What a listing shows behind the key.
    pub comment: Option<Label>,
}

impl From<Data> for Entry {
    fn from(data: Data) -> Self {
        Self {
            data,
            comment: None,
        }
    }
}

/// A set's elements; the variant is the set's kind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Elements {
    /// Exact keys: a hash set, the only kind to change often (deleting from a concatenated interval
    /// set costs milliseconds under the commit mutex).
    Keys(BTreeSet<Key>),
    /// Exact keys with data: a map.
    Map(BTreeMap<Key, Entry>),
    /// Exact keys with a limit each: a rule that looks one up goes on for what is beyond it, and for
    /// nothing else (`nft_set_elem_update_expr`, `include/net/netfilter/nf_tables.h`). A look-up that
    /// asks for what is not in the set leaves the limits alone.
    Limits(BTreeMap<Key, Rate>),
    /// Prefixes: `flags interval`.
    Prefixes(PrefixSet),
    /// Addresses from the key to the last, both included, with what they map to: a map with `flags
    /// interval`. All of one family, and none in two ranges.
    Ranges(BTreeMap<IpAddr, (IpAddr, Data)>),
}

impl Default for Elements {
    fn default() -> Self {
        Self::Keys(BTreeSet::new())
    }
}

impl Elements {
    /// The given keys.
    pub fn keys(keys: impl IntoIterator<Item = Key>) -> Self {
        Self::Keys(keys.into_iter().collect())
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Keys(keys) => keys.len(),
            Self::Map(map) => map.len(),
            Self::Limits(limits) => limits.len(),
            Self::Prefixes(prefixes) => prefixes.iter().count(),
            Self::Ranges(ranges) => ranges.len(),
        }
    }

    /// The devices that keys map to.
    pub fn devices(&self) -> impl Iterator<Item = IfName> {
        let entries = match self {
            Self::Map(map) => Some(map.values()),
            Self::Keys(_) | Self::Limits(_) | Self::Prefixes(_) | Self::Ranges(_) => None,
        };
        let device = |entry: &Entry| match entry.data {
            Data::Device(name) => Some(name),
            Data::Value(_) | Data::Verdict(_) => None,
        };
        entries.into_iter().flatten().filter_map(device)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same keys with nothing behind them.
    pub(crate) fn bare(&self) -> Self {
        match self {
            Self::Map(map) => Self::Keys(map.keys().cloned().collect()),
            Self::Limits(limits) => Self::Keys(limits.keys().cloned().collect()),
            bare => bare.clone(),
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = match self {
            Self::Keys(_) => Self::Keys(BTreeSet::new()),
            Self::Map(_) => Self::Map(BTreeMap::new()),
            Self::Limits(_) => Self::Limits(BTreeMap::new()),
            Self::Prefixes(prefixes) => Self::Prefixes(PrefixSet::new(prefixes.family(), [])),
            Self::Ranges(_) => Self::Ranges(BTreeMap::new()),
        };
    }
}
