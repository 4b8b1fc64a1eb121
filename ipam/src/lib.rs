//! Pools, blocks, leases and their allocation; the journal and the embedded store.

pub mod allocate;
mod boot;
pub mod config;
mod error;
mod host;
mod journal;
mod pool;
mod record;
mod span;
mod store;
#[cfg(test)]
mod testing;

pub use allocate::Refusal;
pub use boot::{Boot, Now};
pub use config::{ConfigError, PoolConfig};
pub use error::{AcquireError, FileError, OpenError, StoreError};
pub use host::{HostChange, HostStore};
pub use pool::{Pool, Range, RangeSet};
pub use record::{AttachmentRecord, BootId, Draft, Ipam, LeasedAddress, Names, Netns};
pub use span::{NotASpan, Span};
pub use store::{
    Access, Acquired, Change, Event, FileLock, LockMode, LockedStore, NetworkStore, ReadCost,
    Released, SetUsage, Snapshot, Stale, StaleReason, StateDir, Valid,
};
