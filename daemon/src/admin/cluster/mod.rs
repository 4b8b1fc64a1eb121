//! What operators ask about the cluster: one file for each noun. Each answer is one operation of
//! `bulkhead_ipam::cluster`, put into the socket's words; what this node has, it says from memory.

mod blocks;
mod check;
mod journal;
mod kernel;
mod leases;
mod migrate;
mod nodes;
mod overlays;
mod page;
mod pools;
mod refusal;
mod release;
mod reservations;
mod spec;
mod store;
mod who;
mod words;

use bulkhead_ipam::cluster::operations::{Operations, Operator};
use bulkhead_ipam::wire::admin::{Reason, Reply, Request, RequestError};

use super::{Admin, Replies};

pub(super) use page::{Pages, paged};
pub(super) use refusal::{because, invalid, no_name, refused};
pub(super) use store::Restoring;
pub(crate) use words::{node_name, node_state};

impl Admin {
    /// The last reply to a request about the cluster; those before it are said.
    pub(super) fn about_cluster(
        &self,
        request: Request,
        replies: &Replies,
    ) -> Result<Reply, RequestError> {
        match request {
            Request::Nodes { filter } => self.nodes(&filter, replies),
            Request::NodeLost {
                node,
                by,
                statement,
            } => self.node_lost(&node, &by, &statement, replies),
            Request::Pools { filter } => self.pools(&filter, replies),
            Request::PoolAdd { pool } => self.pool_add(&pool),
            Request::PoolSet { pool, change } => self.pool_set(&pool, &change),
            Request::PoolState { pool, state } => self.pool_state(&pool, state),
            Request::PoolRemove { pool } => self.pool_remove(&pool),
            Request::Blocks { filter } => self.blocks(&filter, replies),
            Request::Leases { filter } => self.leases(&filter, replies),
            Request::Who { address } => self.who(address, replies),
            Request::Reservations { filter } => self.reservations(&filter, replies),
            Request::Reserve { reservation } => self.reserve(&reservation),
            Request::Unreserve { name } => self.unreserve(&name),
            Request::Release { target, by, reason } => self.release(&target, &by, &reason),
            Request::Check { filter } => self.check(&filter, replies),
            Request::Overlays { filter } => self.overlays(&filter, replies),
            Request::OverlayDiffers { network } => self.overlay_differs(&network),
            Request::OverlayRekey { network } => self.overlay_rekey(&network),
            Request::StoreExport => self.store_export(replies),
            Request::StoreRestore { rows, last } => self.store_restore(rows, last, replies),
            Request::StoreMigrate { to, dry_run } => self.store_migrate(&to, dry_run, replies),
            _ => Err(RequestError {
                code: Reason::Unsupported,
                text: "not served".to_owned(),
            }),
        }
    }

    pub(super) fn operations(&self) -> Operations<'_> {
        self.node.cluster.operations()
    }

    /// Whoever asks over the socket without saying who.
    pub(super) fn somebody(&self) -> Operator {
        let by = format!("an operator on {}", self.node.cluster.name);
        self.node.cluster.operator(&by)
    }
}
