mod backup;
mod cluster;
mod endpoints;
mod janitor;
mod listing;
mod lost;
mod migrate;
mod overlays;
mod policies;
mod pools;
mod reservations;
mod restore;
mod stores;

pub(in crate::cluster) use cluster::{
    Cluster, NOW, lease, lease_at, node, operator, pool, pool_row,
};
pub(in crate::cluster) use stores::{Fate, Fated};

use super::*;
use crate::cluster::MemoryStore;
use crate::cluster::kv::{Compare, KeyRange, Txn, Write};

/// The operations on a store, under the default prefix.
fn on<'a>(store: &'a dyn ClusterStore, schema: &'a Schema) -> Operations<'a> {
    Operations::new(store, schema)
}
