//! Tables as values: what should be in the kernel, whole.

use std::fmt;

use bulkhead_model::IfName;
use sha2::{Digest, Sha256};

use crate::name::{Label, Name};
use crate::rule::Rule;
use crate::set::Set;

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
