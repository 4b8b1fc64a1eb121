//! Many nodes, one set of pools: what they agree on in a store that all of them reach, and what each
//! may do alone while it cannot.
//!
//! [`schema`] is what stands in the store, [`geometry`] how a pool's addresses are counted, [`ledger`] what
//! a node knows and does, [`operations`] what operators do,
//! and [`check`] whether all of them agree.

pub mod check;
mod embedded;
pub mod geometry;
mod history;
mod kv;
pub mod ledger;
mod memory;
mod mvcc;
mod name;
pub mod operations;
mod overlays_file;
pub mod schema;
mod unowned;
mod watched;

pub use embedded::{EmbeddedError, EmbeddedStore};
pub use kv::{
    ClusterStore, Committed, Compare, Event, Key, KeyRange, KvError, Listing, Revision, Row, Txn,
    Watch, Write,
};
pub use memory::MemoryStore;
pub use name::{
    Attempt, MemberId, NameError, NodeId, ObjectId, ObjectPart, OverlayName, PoolName,
    ReservationName, StickyId, StickyPart,
};
pub use overlays_file::{KnownBlock, OverlaysFile, OverlaysFileError};
