//! Why an operation is not done. Nothing of it is written then, unless the text says how much.

use std::net::IpAddr;

use bulkhead_model::Prefix;

use crate::cluster::geometry::GeometryError;
use crate::cluster::kv::KvError;
use crate::cluster::name::{NodeId, PoolName, ReservationName, StickyId};
use crate::cluster::schema::RowError;
use crate::span::Span;

/// Why an operation is not done.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OperationError {
    /// The store.
    #[error(transparent)]
    Store(#[from] KvError),
    /// A row that is needed is not understood.
    #[error(transparent)]
    Row(#[from] RowError),
    /// Others were faster every time.
    #[error("{what} is being changed by somebody else all the time; try again")]
    Contended {
        /// What.
        what: String,
    },
    /// The store is not to be written to.
    #[error("{store} is {state}; wait until that is done, or name the store that is in use")]
    NotActive {
        /// The store.
        store: String,
        /// What it is.
        state: String,
    },
    /// There is no such pool.
    #[error("there is no pool {pool}; `bulkhead pool ls` lists those that there are")]
    UnknownPool {
        /// The name.
        pool: PoolName,
    },
    /// There is such a pool.
    #[error(
        "pool {pool} exists already, with other properties; change it with `bulkhead pool set`, or choose another name"
    )]
    PoolExists {
        /// The name.
        pool: PoolName,
    },
    /// The pool's addresses are no addresses of a pool.
    #[error("pool {pool}: its addresses cannot be so")]
    Geometry {
        /// The pool.
        pool: PoolName,
        /// Why.
        #[source]
        source: GeometryError,
    },
    /// Another pool has some of the addresses.
    #[error(
        "pool {pool}: {prefix} overlaps {other_prefix} of pool {other}; choose another prefix, or remove that pool first"
    )]
    Overlap {
        /// The pool.
        pool: PoolName,
        /// Its prefix.
        prefix: Prefix,
        /// The other pool.
        other: PoolName,
        /// The other's prefix.
        other_prefix: Prefix,
    },
    /// Blocks would be of other addresses than they were claimed for.
    #[error(
        "pool {pool} begins at {before} and has {blocks} blocks, so it cannot begin at {after}; keep its first address and families, or add a second pool and drain this one"
    )]
    Rebased {
        /// The pool.
        pool: PoolName,
        /// Its prefixes.
        before: String,
        /// What was to become of them.
        after: String,
        /// Blocks of it.
        blocks: usize,
    },
    /// Blocks would lie outside.
    #[error(
        "pool {pool} cannot shrink to {after}: {blocks} blocks of nodes {nodes} lie outside, with {leases} leases; drain the pool, or move what runs there first"
    )]
    Shrunk {
        /// The pool.
        pool: PoolName,
        /// The prefixes that it was to have.
        after: String,
        /// Blocks outside.
        blocks: usize,
        /// Published leases outside.
        leases: usize,
        /// Their owners.
        nodes: String,
    },
    /// The gateway may be somebody's.
    #[error(
        "gateway {gateway} of pool {pool} is in a block of node {node}, which may have given it out; name an address outside every block, or drain the pool first"
    )]
    GatewayInBlock {
        /// The gateway.
        gateway: IpAddr,
        /// The pool.
        pool: PoolName,
        /// Who has the block.
        node: NodeId,
    },
    /// The pool has no such reserved span.
    #[error("pool {pool} does not reserve {span}; it reserves {reserved}: name one of these")]
    NotReserved {
        /// The pool.
        pool: PoolName,
        /// The span.
        span: Span,
        /// What it reserves.
        reserved: String,
    },
    /// The pool is in use.
    #[error(
        "pool {pool} has {blocks} blocks of nodes {nodes}; drain it with `bulkhead pool drain`, wait until `bulkhead block ls` lists none, and try again"
    )]
    PoolInUse {
        /// The pool.
        pool: PoolName,
        /// Its blocks.
        blocks: usize,
        /// Their owners.
        nodes: String,
    },
    /// Pods keep addresses of the pool.
    #[error(
        "{sticky} keeps an address of pool {pool}, and {more} others do; release these with `bulkhead ipam release` and try again"
    )]
    PoolKept {
        /// The pool.
        pool: PoolName,
        /// One of them.
        sticky: StickyId,
        /// How many more.
        more: usize,
    },
    /// There is such a reservation.
    #[error(
        "reservation {name} exists already, and is another; remove it first, or choose another name"
    )]
    ReservationExists {
        /// The name.
        name: ReservationName,
    },
    /// There is no such reservation.
    #[error(
        "there is no reservation {name}; `bulkhead ipam reserve --list` lists those that there are"
    )]
    UnknownReservation {
        /// The name.
        name: ReservationName,
    },
    /// No pool has the addresses.
    #[error("{span} is in no pool; reserve addresses that a pool has")]
    InNoPool {
        /// The addresses.
        span: Span,
    },
    /// There is no such node.
    #[error("there is no node {node}; `bulkhead node ls` lists those that there are")]
    UnknownNode {
        /// The name or id.
        node: String,
    },
    /// Several nodes are meant.
    #[error("{node} may be any of the nodes {those}; name one by its id")]
    AmbiguousNode {
        /// The name or the beginning of an id.
        node: String,
        /// The ids.
        those: String,
    },
    /// The node that was declared lost has registered again.
    #[error(
        "node {node} has come back while its blocks were being cleared: it keeps the {left} that are left; if it is to go, declare it lost again"
    )]
    CameBack {
        /// The node.
        node: NodeId,
        /// Blocks that it keeps.
        left: usize,
    },
    /// The address is in no pool.
    #[error("address {address} is in no pool of the cluster; `bulkhead pool ls` lists them")]
    NoSuchAddress {
        /// The address.
        address: IpAddr,
    },
    /// Nobody keeps an address under this name.
    #[error("{sticky} keeps no address")]
    UnknownSticky {
        /// Whose.
        sticky: StickyId,
    },
    /// Somebody has the address now.
    #[error(
        "the address of {sticky} is held by attachment {holder} on node {node}; delete that one first"
    )]
    StickyHeld {
        /// Whose.
        sticky: StickyId,
        /// Who has it.
        holder: String,
        /// Where.
        node: NodeId,
    },
    /// A backup is no backup.
    #[error("line {line} of the backup: {what}; take another backup")]
    Backup {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// The rows are of another cluster.
    #[error(
        "the rows are of cluster {rows}, and {store} is of cluster {found}; name the right store, or an empty one"
    )]
    OtherCluster {
        /// The rows' cluster.
        rows: String,
        /// The store.
        store: String,
        /// The store's cluster.
        found: String,
    },
    /// The store to move to is a cluster's already.
    #[error("{store} is the store of cluster {cluster} already; name an empty one")]
    InUse {
        /// The store.
        store: String,
        /// Whose it is.
        cluster: String,
    },
    /// Rows are there with other values.
    #[error(
        "{store} has {count} rows with other values, {key} among them; empty it below {root}, or name another store"
    )]
    Differs {
        /// The store.
        store: String,
        /// How many.
        count: usize,
        /// One of them.
        key: String,
        /// What every key begins with.
        root: String,
    },
    /// Somebody owns addresses of a block that is to be put back.
    #[error(
        "block {key} of the backup overlaps a block that node {node} has now; leave it out, or declare that node lost first"
    )]
    BlockOverlap {
        /// The block's key.
        key: String,
        /// Who has its addresses.
        node: NodeId,
    },
    /// The store changed although nobody may write to it.
    #[error(
        "{store} changed while it was copied ({key}): somebody writes to it without comparing its state; stop that and run the migration again"
    )]
    Changed {
        /// The store.
        store: String,
        /// A row that changed.
        key: String,
    },
}

impl OperationError {
    /// Whether the same operation may succeed later with nothing else changed.
    #[must_use]
    pub const fn is_retriable(&self) -> bool {
        matches!(
            self,
            Self::Contended { .. }
                | Self::Store(KvError::Unavailable { .. } | KvError::Ambiguous { .. })
        )
    }
}
