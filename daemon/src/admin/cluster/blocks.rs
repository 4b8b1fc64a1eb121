//! Who owns which block. Of its own blocks the node says what the store does not have.

use std::collections::HashMap;

use bulkhead_ipam::cluster::PoolName;
use bulkhead_ipam::cluster::ledger::{Ledger, OwnedBlock};
use bulkhead_ipam::cluster::operations::{BlockListed, NodeState};
use bulkhead_ipam::wire::admin::{BlockState, Filter, ListedBlock, Reply, RequestError};

use super::page::paged;
use super::refusal::unanswered;
use super::words::node_name;
use crate::admin::{Admin, Replies};

/// The blocks of this node, by pool and first ordinal.
pub(super) struct Own(HashMap<(PoolName, u64), OwnedBlock>);

impl Own {
    /// As they are in memory.
    pub(super) fn of(admin: &Admin) -> Self {
        let cluster = &admin.node.cluster;
        let blocks = cluster.look(Ledger::owned_blocks);
        let by_place = blocks
            .into_iter()
            .map(|own| ((own.pool.clone(), own.block.first()), own));
        Self(by_place.collect())
    }

    fn get(&self, listed: &BlockListed) -> Option<&OwnedBlock> {
        let own = self.0.get(&(listed.pool.clone(), listed.block.first()));
        own.filter(|own| own.block == listed.block)
    }
}

impl Admin {
    pub(super) fn blocks(&self, filter: &Filter, replies: &Replies) -> Result<Reply, RequestError> {
        let listed = self.operations().blocks(&self.filter(filter)?);
        let listed = listed.map_err(unanswered)?;
        self.left_out(&listed.unread);
        let own = Own::of(self);
        let rows = listed.rows.iter().map(|block| self.block(block, &own));
        Ok(paged(rows, replies, |rows| Reply::Blocks { rows }))
    }

    pub(super) fn block(&self, listed: &BlockListed, own: &Own) -> ListedBlock {
        let is_own = listed.row.node == self.node.cluster.node;
        let own = own.get(listed).filter(|_| is_own);
        let lender = listed.row.lender.as_ref();
        ListedBlock {
            pool: listed.pool.to_string(),
            first: listed.block.first(),
            bits: listed.block.bits(),
            prefixes: listed.prefixes.clone(),
            node: node_name(&listed.row.node, &listed.name),
            epoch: listed.row.epoch,
            claimed_at_unix_ms: listed.row.claimed_at_unix_ms,
            state: match (listed.owner, own) {
                (NodeState::Lost, _) => BlockState::Lost,
                (_, Some(own)) if own.is_leaving => BlockState::Returning,
                _ => BlockState::Active,
            },
            note: lender.map_or_else(String::new, |lender| format!("ceded by {lender}")),
            held: own.map_or(listed.held, |own| own.held),
            cooling: own.map(|own| own.cooling),
            reserved: listed.reserved,
        }
    }
}
