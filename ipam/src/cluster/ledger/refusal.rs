//! Why an attachment gets no ordinal.

use std::net::IpAddr;

use bulkhead_model::AttachmentKey;

use super::usage::PoolUsage;
use crate::cluster::geometry::Unusable;
use crate::cluster::name::{NameError, PoolName, ReservationName, StickyId};

/// Why an ask is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PoolRefusal {
    /// There is no such pool.
    #[error(
        "there is no pool {pool}; the cluster has {known}: name one of them, or add it with `bulkhead pool add`"
    )]
    Unknown {
        /// The pool asked for.
        pool: PoolName,
        /// Those that there are.
        known: String,
    },
    /// Nothing that is named, or nothing at all, is for this node and this pod.
    #[error(
        "no pool is for this attachment: {why}; change the pools' selectors, or ask for another pool"
    )]
    NoneFor {
        /// Each pool, and why not.
        why: String,
    },
    /// Nothing is left. Retriable while something cools down or the store may help.
    #[error(
        "pool {pool} has no address left on this node: {usage}; {why}; release attachments, add a pool or enlarge this one"
    )]
    Exhausted {
        /// The pool.
        pool: PoolName,
        /// This node's share of it.
        usage: Box<PoolUsage>,
        /// Why there is no other block.
        why: String,
    },
    /// Somebody has the address.
    #[error(
        "address {address} is held by attachment {holder}{place}; release that one or ask for another"
    )]
    Taken {
        /// The address.
        address: IpAddr,
        /// Who has it.
        holder: AttachmentKey,
        /// Where, if it is elsewhere: ` on node n2`.
        place: String,
    },
    /// The address is in none of the pools.
    #[error("address {address} is in no pool that is asked for ({pools}); ask for one that is")]
    Outside {
        /// The address.
        address: IpAddr,
        /// The pools.
        pools: String,
    },
    /// The address is never given out.
    #[error("address {address} is never given out: {why}; ask for another")]
    Unusable {
        /// The address.
        address: IpAddr,
        /// Why.
        why: Unusable,
    },
    /// The address is reserved for somebody else, or for nobody.
    #[error(
        "address {address} is reserved by {reservation}, which is not for this attachment; ask for another, or change the reservation"
    )]
    Reserved {
        /// The address.
        address: IpAddr,
        /// The reservation.
        reservation: ReservationName,
    },
    /// A pod that is away keeps the address.
    #[error(
        "address {address} is kept for {sticky}; ask for another, or release it with `bulkhead ipam release`"
    )]
    Kept {
        /// The address.
        address: IpAddr,
        /// For whom.
        sticky: StickyId,
    },
    /// Every address of the reservation is somebody's.
    #[error(
        "reservation {reservation} has no address left; release one, or make it larger with `bulkhead ipam reserve`"
    )]
    ReservationFull {
        /// The reservation.
        reservation: ReservationName,
    },
    /// The addresses asked for are not of one ordinal.
    #[error(
        "addresses {first} and {second} do not belong together: {first} goes with {goes_with}; ask for these two, or for one of them"
    )]
    Mismatch {
        /// An address asked for.
        first: IpAddr,
        /// Another.
        second: IpAddr,
        /// What the first goes with.
        goes_with: String,
    },
    /// The attachment holds something else.
    #[error("attachment {key} already holds {held}, but {requested} is asked for; detach it first")]
    Contradicts {
        /// The attachment.
        key: AttachmentKey,
        /// What it holds.
        held: String,
        /// What is asked for.
        requested: IpAddr,
    },
    /// The address is in another node's block, and the pool lends nothing.
    #[error(
        "address {address} is in a block of node {owner}, and pool {pool} is strict; ask for another, or make the pool lend with `bulkhead pool set`"
    )]
    Strict {
        /// The address.
        address: IpAddr,
        /// The block's owner.
        owner: String,
        /// The pool.
        pool: PoolName,
    },
    /// The block's owner did not give the address away. Retriable.
    #[error(
        "address {address} is in a block of node {owner}, which does not give it: {why}; try again, or ask for another"
    )]
    NotCeded {
        /// The address.
        address: IpAddr,
        /// The block's owner.
        owner: String,
        /// What it said.
        why: String,
    },
    /// The pod's address is still somebody's. Retriable.
    #[error(
        "the address of {sticky} is still held by attachment {holder} on node {node}; it moves when that one is released, or its node is declared lost"
    )]
    StickyHeld {
        /// Whose.
        sticky: StickyId,
        /// Who has it.
        holder: Box<AttachmentKey>,
        /// Where.
        node: String,
    },
    /// The pod's address is in a pool that gives nothing to this attachment now.
    #[error(
        "the address of {sticky} is in pool {pool}, which is not among those that serve this attachment; ask for that pool, or release the address with `bulkhead ipam release`"
    )]
    StickyElsewhere {
        /// Whose.
        sticky: StickyId,
        /// The pool.
        pool: PoolName,
    },
    /// The pod keeps another address than the one asked for.
    #[error(
        "{sticky} keeps {kept}, but {requested} is asked for; ask for what it keeps, or release that with `bulkhead ipam release`"
    )]
    StickyOther {
        /// Whose.
        sticky: StickyId,
        /// What it keeps.
        kept: String,
        /// What is asked for.
        requested: IpAddr,
    },
    /// A sticky address needs to know whose.
    #[error(
        "a sticky address needs the pod's namespace and name, which the runtime does not give in CNI_ARGS; turn `sticky` off"
    )]
    NoPod,
    /// The pod's name cannot stand in a key.
    #[error("a sticky address needs a name that can be kept")]
    Name(#[from] NameError),
    /// Only the store knows, and it does not answer. Retriable.
    #[error("{what} needs the cluster's store, which does not serve: {why}; try again")]
    NeedsStore {
        /// What.
        what: String,
        /// Why the store does not serve.
        why: String,
    },
    /// The node may own nothing. Retriable.
    #[error(
        "this node was declared lost by {by} ({statement}): nothing is given out until it has registered anew; try again"
    )]
    Fenced {
        /// Who said so.
        by: String,
        /// What was said.
        statement: String,
    },
    /// Another process has this node's id.
    #[error(
        "another daemon writes as this node ({session}): the id in `node-id` is used twice; stop one of them and give it an id of its own"
    )]
    Twin {
        /// What it calls itself.
        session: String,
    },
    /// The attachment's old address is no longer this node's. Retriable.
    #[error(
        "attachment {key} still has {address}, which is no longer this node's; it is being detached, try again"
    )]
    Evicted {
        /// The attachment.
        key: AttachmentKey,
        /// Its old address.
        address: String,
    },
}

impl PoolRefusal {
    /// Whether the same ask may succeed shortly with nothing else changed.
    #[must_use]
    pub const fn is_retriable(&self) -> bool {
        match self {
            Self::Exhausted { usage, .. } => usage.cooling > 0,
            Self::NotCeded { .. }
            | Self::StickyHeld { .. }
            | Self::NeedsStore { .. }
            | Self::Fenced { .. }
            | Self::Evicted { .. } => true,
            _ => false,
        }
    }
}
