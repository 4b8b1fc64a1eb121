//! Tables as values: what should be in the kernel, whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use bulkhead_model::{Family, IfName};
use sha2::{Digest, Sha256};

use crate::datum::{Key, KeyType};
use crate::name::{Label, Name};
use crate::prefixes::PrefixSet;
use crate::rule::{Rule, Verdict};

/// A table's family: which packets its chains can see.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum TableFamily {
    /// IPv4 and IPv6.
    Inet,
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// ARP.
    Arp,
    /// Bridged frames.
    Bridge,
    /// Frames of named devices.
    Netdev,
}

impl TableFamily {
    const ALL: [Self; 6] = [
        Self::Inet,
        Self::Ip,
        Self::Ip6,
        Self::Arp,
        Self::Bridge,
        Self::Netdev,
    ];

    /// `NFPROTO_*` (`linux/netfilter.h`).
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Ip => 2,
            Self::Ip6 => 10,
            Self::Arp => 3,
            Self::Bridge => 7,
            Self::Netdev => 5,
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|family| family.number() == number)
    }
}

impl fmt::Display for TableFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inet => "inet",
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Arp => "arp",
            Self::Bridge => "bridge",
            Self::Netdev => "netdev",
        })
    }
}

/// A table's name in its namespace. Displays as `netdev bulkhead`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TableId {
    /// The family.
    pub family: TableFamily,
    /// The name.
    pub name: Name,
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.family, self.name)
    }
}

/// A whole table. Displays as the block nft loads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Table {
    /// Where it is.
    pub id: TableId,
    /// What a listing shows in its head; ours holds the fingerprint.
    pub comment: Option<Label>,
    /// Named sets and maps.
    pub sets: Vec<Set>,
    /// Chains; rules may name chains that come later.
    pub chains: Vec<Chain>,
}

impl Table {
    /// A table with nothing in it.
    #[must_use]
    pub const fn new(id: TableId) -> Self {
        Self {
            id,
            comment: None,
            sets: Vec::new(),
            chains: Vec::new(),
        }
    }

    /// The set of that name.
    #[must_use]
    pub fn set(&self, name: &Name) -> Option<&Set> {
        self.sets.iter().find(|set| set.name == *name)
    }

    /// The chain of that name.
    #[must_use]
    pub fn chain(&self, name: &Name) -> Option<&Chain> {
        self.chains.iter().find(|chain| chain.name == *name)
    }

    /// 16 hexadecimal digits that change with the definition: the text without the comment, without
    /// live chains and without the elements of live sets. Equal for equal definitions across releases
    /// that emit the same text.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut fixed = self.clone();
        fixed.comment = None;
        fixed.chains.retain(|chain| chain.part == Part::Fixed);
        for set in fixed.sets.iter_mut().filter(|set| set.part == Part::Live) {
            set.elements.clear();
        }
        let digest = Sha256::digest(fixed.to_string());
        let head = digest[..8]
            .iter()
            .fold(0, |n, byte| n << 8 | u64::from(*byte));
        format!("{head:016x}")
    }
}

/// Whether a part of a table is its definition or the state of the attachments.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// Changes only by replacing the table; in the fingerprint.
    Fixed,
    /// Comes and goes with attachments; not in the fingerprint.
    Live,
}

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
    /// those that meet none for as long as `timeout` go. Commands can delete them all the same.
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
    /// Prefixes: `flags interval`.
    Prefixes(PrefixSet),
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
            Self::Prefixes(prefixes) => prefixes.iter().count(),
        }
    }

    /// The devices that keys map to.
    pub fn devices(&self) -> impl Iterator<Item = IfName> {
        let entries = match self {
            Self::Map(map) => Some(map.values()),
            Self::Keys(_) | Self::Prefixes(_) => None,
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
            bare => bare.clone(),
        }
    }

    fn clear(&mut self) {
        *self = match self {
            Self::Keys(_) => Self::Keys(BTreeSet::new()),
            Self::Map(_) => Self::Map(BTreeMap::new()),
            Self::Prefixes(prefixes) => Self::Prefixes(PrefixSet::new(prefixes.family(), [])),
        };
    }
}

/// A chain: a base chain if it hangs on a hook, else one to jump to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Chain {
    /// Unique in its table.
    pub name: Name,
    /// Where packets enter it; `None` for a regular chain.
    pub base: Option<Base>,
    /// Whether it belongs to the definition.
    pub part: Part,
    /// In order.
    pub rules: Vec<Rule>,
}

/// A base chain's place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Base {
    /// What the chain may do.
    pub kind: ChainKind,
    /// Where in the packet's way.
    pub hook: Hook,
    /// For ingress: on which devices.
    pub devices: Devices,
    /// Lower runs first.
    pub priority: i32,
    /// What happens at the chain's end.
    pub policy: Policy,
}

/// `type` of a base chain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChainKind {
    /// Judges.
    Filter,
    /// Sees the first packet of a connection and may translate it.
    Nat,
    /// Reroutes after a change.
    Route,
}

impl ChainKind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
            Self::Route => "route",
        }
    }
}

/// A hook (`linux/netfilter.h`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hook {
    /// Frames of a device before the bridge and the IP stack.
    Ingress,
    /// Before routing.
    Prerouting,
    /// To this host.
    Input,
    /// Through this host.
    Forward,
    /// From this host.
    Output,
    /// After routing.
    Postrouting,
}

impl Hook {
    const ALL: [Self; 6] = [
        Self::Ingress,
        Self::Prerouting,
        Self::Input,
        Self::Forward,
        Self::Output,
        Self::Postrouting,
    ];

    /// `NF_INET_*`, `NF_BR_*` or `NF_NETDEV_*`: ingress is 0 in netdev and 5 in inet.
    pub(crate) const fn number(self, family: TableFamily) -> u32 {
        match (self, family) {
            (Self::Ingress, TableFamily::Inet) => 5,
            // NF_ARP_IN and NF_ARP_OUT are 0 and 1.
            (Self::Ingress | Self::Prerouting, _) | (Self::Input, TableFamily::Arp) => 0,
            (Self::Output, TableFamily::Arp) | (Self::Input, _) => 1,
            (Self::Forward, _) => 2,
            (Self::Output, _) => 3,
            (Self::Postrouting, _) => 4,
        }
    }

    pub(crate) fn from_number(number: u32, family: TableFamily) -> Option<Self> {
        let in_family = |hook: &Self| match family {
            TableFamily::Netdev => *hook == Self::Ingress,
            TableFamily::Inet => true,
            TableFamily::Arp => matches!(hook, Self::Input | Self::Output),
            _ => *hook != Self::Ingress,
        };
        Self::ALL
            .into_iter()
            .filter(in_family)
            .find(|hook| hook.number(family) == number)
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
        })
    }
}

/// The devices of an ingress chain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Devices {
    /// Not an ingress chain.
    None,
    /// Those, present or not; a name binds again when it comes back.
    Names(Vec<IfName>),
    /// All whose name begins so, present and future. Kernel 6.17 and later
    /// (`NFTA_DEVICE_PREFIX`). The text is `"bhp*"`, which nft before 1.1.6 takes for a literal
    /// name: such text must not be loaded with it, and its listings leave the chain out.
    Prefix(IfName),
}

/// The verdict at the end of a base chain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Policy {
    /// Passes.
    Accept,
    /// Gone.
    Drop,
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accept => "accept",
            Self::Drop => "drop",
        })
    }
}
