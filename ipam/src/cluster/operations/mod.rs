//! What operators do to a cluster, over its store: pools, reservations, a node's loss; lists, and who
//! had an address; the rows as a whole. The node daemon serves its admin requests with these.
//!
//! Every change reads, decides by a pure function, and writes in a transaction that compares whatever
//! the decision rests on; a lost race decides anew. No answer is assumed: after one that did not come
//! the rows are read back. What takes several transactions goes on where it was when it is done again.

mod backup;
mod commit;
mod endpoints;
mod error;
mod fill;
mod janitor;
mod keeping;
mod listing;
mod lost;
mod migrate;
mod names;
mod overlays;
mod policies;
mod pools;
mod reservations;
mod restore;
mod rows;
#[cfg(test)]
pub(super) mod tests;

pub use backup::{Backup, BackupError, BackupHead, StoredRow};
pub use endpoints::{
    AppliedListed, EndpointListed, EndpointWrite, MOST_ENDPOINTS, Published, Standing,
};
pub use error::{Reason, StoreTrouble};
pub use janitor::{Pruned, Retention};
pub use keeping::LetGoError;
pub use listing::{
    AddressHistory, BlockListed, Change, ChangeKind, ClusterUsage, Filter, LeaseListed, Listed,
    NodeError, NodeListed, NodeState, PoolListed, ReservationListed, Tenure, WhoError,
};
pub use lost::{LostError, LostReport, Progress, Watcher};
pub use migrate::{MigrateError, MigratePreview, MigrateReport, Migration};
pub use overlays::{End, OverlayAsk, OverlayError, REKEY_REST, REKEY_WAIT, RekeyError};
pub use policies::{
    LONGEST_DOCUMENT, MOST_TOGETHER, ObjectDraft, PolicyChangeError, PolicyRows, PolicyWrites,
    Tried,
};
pub use pools::{Overlap, PoolAddError, PoolChange, PoolRemoveError, PoolSetError};
pub use reservations::{ReservationDraft, ReserveError, UnreserveError};
pub use restore::{RestoreError, RestoreReport};

use super::kv::ClusterStore;
use super::name::{Attempt, NodeId};
use super::schema::Schema;

/// The operations on one cluster.
#[derive(Clone, Copy)]
pub struct Operations<'a> {
    store: &'a dyn ClusterStore,
    schema: &'a Schema,
}

impl<'a> Operations<'a> {
    /// Those on the rows that `schema` says in `store`.
    #[must_use]
    pub const fn new(store: &'a dyn ClusterStore, schema: &'a Schema) -> Self {
        Self { store, schema }
    }
}

/// Who does something, when, and where it is written from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Operator {
    /// Who says so, for people.
    pub by: String,
    /// The node whose daemon does it.
    pub writer: NodeId,
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// This operation's own; a second one needs another.
    pub attempt: Attempt,
}
