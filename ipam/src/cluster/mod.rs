//! Many nodes, one set of pools: what they agree on in a store that all of them reach, and what each
//! may do alone while it cannot.

mod embedded;
mod history;
mod kv;
mod memory;
mod mvcc;
mod watched;

pub use embedded::{EmbeddedError, EmbeddedStore};
pub use kv::{
    ClusterStore, Committed, Compare, Event, Key, KeyRange, KvError, Listing, Revision, Row, Txn,
    Watch, Write,
};
pub use memory::MemoryStore;
