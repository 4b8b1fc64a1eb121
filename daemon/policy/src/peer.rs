//! Who is meant: by labels, by address, or by what it is.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use bulkhead_model::{NetworkName, Prefix};

use crate::{GroupName, Selector};

/// The other end of what a rule speaks of.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Peer {
    /// Every address there is.
    Any,
    /// Endpoints. Those on their node's own network are none of these: they have the node's addresses.
    Endpoints(EndpointSelector),
    /// Addresses. An address is an address: an endpoint's, a node's and the world's alike.
    Block(Block),
    /// By what it is.
    Entity(Entity),
    /// Addresses of nodes with such labels.
    Nodes(Selector),
}

/// Addresses of a prefix without some of it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Block {
    /// The whole.
    pub prefix: Prefix,
    /// What of it is not meant. It takes from this block only: another peer, or rule, may mean it.
    pub except: BTreeSet<Prefix>,
}

impl Block {
    /// A prefix without exceptions.
    #[must_use]
    pub const fn whole(prefix: Prefix) -> Self {
        Self {
            prefix,
            except: BTreeSet::new(),
        }
    }

    /// Whether `address` is meant.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let excepted = |prefix: &Prefix| prefix.contains(address);
        self.prefix.contains(address) && !self.except.iter().any(excepted)
    }

    /// Whether an address of `other` may be meant: not if one exception takes all of it.
    pub(crate) fn overlaps(&self, other: Prefix) -> bool {
        let takes_all =
            |prefix: &Prefix| prefix.len() <= other.len() && prefix.contains(other.address());
        self.prefix.overlaps(other) && !self.except.iter().any(takes_all)
    }
}

/// Addresses by what they are.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Entity {
    /// The node that the endpoint is on: its addresses, and the gateways of networks, which every node
    /// has for its own endpoints.
    OwnNode,
    /// Any node of the cluster, its own among them.
    AnyNode,
    /// What is none of ours: neither an endpoint's address, nor a node's, nor a gateway's, nor inside
    /// a network's pool.
    World,
    /// The gateways of the endpoint's own network.
    Gateway,
}

impl Entity {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::OwnNode, Self::AnyNode, Self::World, Self::Gateway];
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OwnNode => "own-node",
            Self::AnyNode => "any-node",
            Self::World => "world",
            Self::Gateway => "gateway",
        })
    }
}

/// Which endpoints are meant, as a peer or as a policy's subject. Never those on the node's network.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum EndpointSelector {
    /// By their namespace and their own labels, both.
    Labelled {
        /// The namespaces.
        namespaces: Namespaces,
        /// The endpoints' own labels.
        labels: Selector,
    },
    /// Members of a security group.
    Group(GroupName),
    /// Those attached to a network.
    Network(NetworkName),
}

/// Which namespaces are meant.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Namespaces {
    /// The one of that name: a `podSelector` alone means the policy's own.
    Named(String),
    /// By their labels. Every namespace has `kubernetes.io/metadata.name`.
    Selected(Selector),
}

impl Namespaces {
    /// Whatever namespace.
    #[must_use]
    pub fn all() -> Self {
        Self::Selected(Selector::everything())
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.prefix)?;
        for (nth, prefix) in self.except.iter().enumerate() {
            write!(f, "{}{prefix}", if nth == 0 { " except " } else { ", " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => write!(f, "namespace {name}"),
            Self::Selected(selector) if selector.is_everything() => f.write_str("all namespaces"),
            Self::Selected(selector) => write!(f, "namespaces {selector}"),
        }
    }
}

impl fmt::Display for EndpointSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Labelled { namespaces, labels } if labels.is_everything() => {
                write!(f, "all endpoints of {namespaces}")
            }
            Self::Labelled { namespaces, labels } => {
                write!(f, "endpoints {labels} of {namespaces}")
            }
            Self::Group(group) => write!(f, "group {group}"),
            Self::Network(network) => write!(f, "network {network}"),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("anyone"),
            Self::Endpoints(endpoints) => endpoints.fmt(f),
            Self::Block(block) => block.fmt(f),
            Self::Entity(entity) => entity.fmt(f),
            Self::Nodes(labels) => write!(f, "nodes {labels}"),
        }
    }
}
