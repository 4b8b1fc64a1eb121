//! Pools, blocks, leases and their allocation; the journal and the embedded store.
//!
//! A [`PoolConfig`] is parsed from a network configuration. A [`StateDir`] holds a
//! [`NetworkStore`] for each network, which is locked for one call: [`LockedStore::acquire`] gives
//! an attachment one address of every range set and records it with every name that will be used
//! for it, in one append and one `fdatasync`; [`LockedStore::release`] ends that lease.
//! [`allocate`] decides, and is pure. The embedded store is one node that owns one block for each
//! range: the whole of it.
//!
//! Nothing here knows CNI's types, netlink or a cluster. Everything blocks.

pub mod allocate;
mod boot;
pub mod cluster;
pub mod config;
mod error;
mod guards;
mod host;
mod host_ports;
mod journal;
mod managed;
mod pool;
mod record;
mod span;
mod spool;
mod store;
#[cfg(test)]
mod testing;
pub mod wire;

pub use allocate::Refusal;
pub use boot::{Boot, Now};
pub use config::{ClusterConfig, ConfigError, PoolChoice, PoolConfig};
pub use error::{AcquireError, FileError, OpenError, StoreError};
pub use guards::{Guards, LockedGuards};
pub use host::{HostChange, HostChanges, HostStore};
pub use host_ports::{HostPortIndex, PortClaim};
pub use managed::Managed;
pub use pool::{Pool, Range, RangeSet};
pub use record::{
    AttachmentRecord, BootId, Draft, Ipam, Labels, LeasedAddress, Names, Netns, PodRef, PoolLease,
};
pub use span::{NotASpan, Span};
pub use spool::{Spool, Tombstone};
pub use store::{
    Access, Acquired, AuditBounds, BridgeLock, Change, Ended, Event, FileLock, FreedAddress,
    HostHold, LockMode, LockedStore, NetworkStore, ReadCost, Recorded, Released, SetUsage,
    Snapshot, Stale, StaleReason, StateDir, Valid,
};
