//! Addresses of pools for attachments, and what their networks hear of it.

use std::sync::Arc;

use bulkhead_attach::{PoolAsk, PoolGrant, PoolLeases};
use bulkhead_cni::CniError;
use bulkhead_ipam::{AttachmentRecord, PoolChoice};
use bulkhead_model::AttachmentKey;

use super::Overlays;
use crate::cluster::Cluster;

/// The node's share of the pools, with the networks that nodes have together listening.
pub(crate) struct Leases {
    cluster: Arc<Cluster>,
    overlays: Arc<Overlays>,
}

impl Leases {
    pub(crate) const fn new(cluster: Arc<Cluster>, overlays: Arc<Overlays>) -> Self {
        Self { cluster, overlays }
    }
}

impl PoolLeases for Leases {
    fn acquire(&self, ask: &PoolAsk) -> Result<PoolGrant, CniError> {
        let acquired = self.cluster.acquire(ask);
        if acquired.is_err() {
            self.overlays.settled(&ask.key);
        }
        acquired
    }

    fn settle(&self, record: &AttachmentRecord) {
        self.cluster.settle(record);
        self.overlays.settled(&record.key);
        self.overlays.caught_up(record);
    }

    fn abandon(&self, key: &AttachmentKey) {
        self.cluster.abandon(key);
        self.overlays.settled(key);
    }

    fn released(&self, record: &AttachmentRecord, reason: &str) {
        self.cluster.released(record, reason);
        // A second ADD of what was recorded waited for nothing.
        self.overlays.settled(&record.key);
        self.overlays.released(&record.key.network);
    }

    fn serves(&self, pools: &PoolChoice) -> Result<(), CniError> {
        self.cluster.serves(pools)
    }
}
