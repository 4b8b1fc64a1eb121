//! The embedded store: the state directory of one node. Each network has a directory of its own
//! with a lock, a journal and a checkpoint; a call locks it, reads in constant time, appends once
//! and is done.

mod audit;
mod automatic;
mod batch;
mod checkpoint;
mod compact;
mod dir;
mod entry;
mod everything;
mod freed;
mod head;
mod locked;
mod network;
mod overlay;
mod own;
mod snapshot;
mod stale;
#[cfg(test)]
mod tests;
mod trie;
mod view;
mod warm;
mod whole;

pub use audit::{AuditBounds, Change, Ended, Event};
pub(crate) use dir::make_dir;
pub use dir::{Access, FileLock, LockMode, StateDir};
pub use everything::{FreedAddress, Recorded};
pub use locked::{Acquired, LockedStore, Released};
pub use network::NetworkStore;
pub use snapshot::{ReadCost, SetUsage, Snapshot};
pub(crate) use stale::death;
pub use stale::{Stale, StaleReason, Valid};
pub use warm::{BridgeLock, HostHold};
