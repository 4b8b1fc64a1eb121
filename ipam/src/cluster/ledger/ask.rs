//! What is asked for an attachment, and what it gets.

use std::fmt;
use std::net::IpAddr;

use bulkhead_model::{AttachmentKey, Prefix};

use super::refusal::PoolRefusal;
use crate::cluster::name::PoolName;
use crate::cluster::schema::Labels;
use crate::pool::Pool;
use crate::record::{LeasedAddress, PodRef};

/// An attachment that needs an ordinal of a pool.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PoolAsk {
    /// The attachment. Asking again for it is the same ask.
    pub key: AttachmentKey,
    /// Of which pools.
    pub pools: PoolChoice,
    /// Its pod, if the runtime says so.
    pub pod: Option<PodRef>,
    /// The pod's labels, as far as they are known.
    pub labels: Labels,
    /// Addresses that it must get: those of one ordinal.
    pub requested: Vec<IpAddr>,
    /// Whether the pod keeps its ordinal, on whichever node it runs.
    pub sticky: bool,
    /// Whether it is on a segment that its network has for itself, so that others may have the same
    /// addresses.
    pub segment: bool,
}

/// Which pools an ordinal may come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PoolChoice {
    /// The first of these that has one.
    Named(Vec<PoolName>),
    /// Every enabled one that is for the node and the pod, by priority.
    Any,
}

/// An ordinal that was picked. Nobody else gets it, until it is abandoned or released.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PoolGrant {
    /// The pool.
    pub pool: PoolName,
    /// The ordinal.
    pub ordinal: u64,
    /// Its addresses, IPv4 first.
    pub addresses: Vec<LeasedAddress>,
    /// The prefixes of this node's block that it is in; empty if that is another node's.
    pub block: Vec<Prefix>,
    /// The pool as the network's store records it.
    pub description: Pool,
}

/// What became of an ask.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Acquire {
    /// The ordinal; it is to be settled once its record is durable, or abandoned.
    Granted(Box<PoolGrant>),
    /// Ask again when the ledger has changed. Whoever does not, abandons the ask.
    Wait(Waiting),
    /// No.
    Refused(PoolRefusal),
}

/// What an ask waits for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Waiting {
    /// The first answer of the store since the daemon started.
    Store,
    /// A block of the pool: claimed, or borrowed from another node.
    Block(PoolName),
    /// One address that is not in this node's blocks, or a pod's own one.
    Address(String),
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store => f.write_str("the cluster's store has not answered since the start"),
            Self::Block(pool) => write!(f, "a block of pool {pool} is being claimed"),
            Self::Address(what) => write!(f, "{what} is being fetched from the cluster"),
        }
    }
}
