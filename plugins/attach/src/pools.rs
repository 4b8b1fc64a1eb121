//! Addresses of the cluster's pools: what a call asks of whoever keeps the node's share of them.

use std::net::IpAddr;

use bulkhead_cni::CniError;
use bulkhead_ipam::{AttachmentRecord, Labels, LeasedAddress, PodRef, Pool, PoolChoice, PoolLease};
use bulkhead_model::{AttachmentKey, Prefix};

/// The node's share of the cluster's pools.
///
/// An address is picked, then recorded in the network's journal like any other, then settled: what
/// was picked and neither settled nor abandoned is nobody else's meanwhile. Its release is told after
/// it is durable.
pub trait PoolLeases: Send + Sync {
    /// Picks an address, of each of the pool's families one. It may wait for the cluster's store.
    ///
    /// # Errors
    /// Code 7 if no such pool is for this node and pod, 11 if the same call later may succeed, 100 if
    /// the pool is exhausted, 101 if what is asked for is taken.
    fn acquire(&self, ask: &PoolAsk) -> Result<PoolGrant, CniError>;

    /// What was picked for the attachment is recorded, durably; or what it has is recorded anew, under
    /// another sequence.
    fn settle(&self, record: &AttachmentRecord);

    /// What was picked for the attachment is not recorded and will not be.
    fn abandon(&self, key: &AttachmentKey);

    /// The lease of `record` has ended, durably; `reason` is for the audit.
    fn released(&self, record: &AttachmentRecord, reason: &str);

    /// Whether an address could be picked now.
    ///
    /// # Errors
    /// As [`PoolLeases::acquire`], for a pod that nothing is known of.
    fn serves(&self, pools: &PoolChoice) -> Result<(), CniError>;
}

/// What is asked for an attachment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PoolAsk {
    /// The attachment.
    pub key: AttachmentKey,
    /// Of which pools.
    pub pools: PoolChoice,
    /// The pod, if the runtime tells.
    pub pod: Option<PodRef>,
    /// The pod's labels, as far as the runtime tells them.
    pub labels: Labels,
    /// Addresses that the runtime asks for.
    pub requested: Vec<IpAddr>,
    /// Whether the pod keeps its address for life, on whichever node it runs.
    pub sticky: bool,
    /// Whether it is on a segment that its network has for itself, so that others may have the same
    /// addresses.
    pub segment: bool,
}

/// What was picked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PoolGrant {
    /// The place in the pool.
    pub lease: PoolLease,
    /// The addresses, one of each family, IPv4 first, with the pool's prefix length and gateway.
    pub addresses: Vec<LeasedAddress>,
    /// The prefixes of this node's block that they are in; empty if they are in none of its own.
    pub block: Vec<Prefix>,
    /// The pool as the network's store records it: of each family one set of one range, which is the
    /// pool's whole prefix.
    pub description: Pool,
}
