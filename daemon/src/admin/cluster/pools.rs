//! The pools: listed, added, changed, removed.

use bulkhead_ipam::cluster::PoolName;
use bulkhead_ipam::cluster::operations::{Filter as Meant, PoolChange, PoolListed};
use bulkhead_ipam::cluster::schema::PoolState as Kept;
use bulkhead_ipam::wire::admin::{
    self, Filter, ListedPool, PoolSpec, PoolState, PoolUsage, Reason, Reply, RequestError,
};

use super::page::paged;
use super::refusal::{because, no_name, refused, unanswered};
use super::spec;
use crate::admin::{Admin, Replies};

impl Admin {
    pub(super) fn pools(&self, filter: &Filter, replies: &Replies) -> Result<Reply, RequestError> {
        let listed = self.operations().pools(&self.filter(filter)?);
        let listed = listed.map_err(unanswered)?;
        self.left_out(&listed.unread);
        let rows = listed.rows.iter().map(|pool| self.pool(pool));
        Ok(paged(rows, replies, |rows| Reply::Pools { rows }))
    }

    pub(super) fn pool_add(&self, pool: &PoolSpec) -> Result<Reply, RequestError> {
        let name: PoolName = pool.name.parse().map_err(no_name)?;
        let row = spec::row(pool)?;
        let added = self.operations().pool_add(&self.somebody(), &name, &row);
        added.map_err(|error| refused(error.reason(), &error))?;
        let known = self.operations().nodes(&Meant::default());
        let known = known.map_err(unanswered)?.rows;
        let mut notes = Vec::new();
        if !known.iter().any(|node| row.is_for_node(&node.labels)) {
            notes.push(format!(
                "no node has the labels {}, so that none claims blocks of it yet",
                row.nodes
            ));
        }
        Ok(Reply::Done { notes })
    }

    pub(super) fn pool_set(
        &self,
        pool: &str,
        change: &admin::PoolChange,
    ) -> Result<Reply, RequestError> {
        self.change_pool(pool, &spec::change(change)?)
    }

    pub(super) fn pool_state(&self, pool: &str, state: PoolState) -> Result<Reply, RequestError> {
        let state = match state {
            PoolState::Enabled => Kept::Enabled,
            PoolState::Draining => Kept::Draining,
            PoolState::Disabled => Kept::Disabled,
            PoolState::Other => {
                let text = format!(
                    "pool {pool} can be enabled, draining or disabled, and nothing else; use the daemon's release of bulkhead"
                );
                return Err(because(Reason::Invalid, text));
            }
        };
        self.change_pool(pool, &PoolChange::to(state))
    }

    pub(super) fn pool_remove(&self, pool: &str) -> Result<Reply, RequestError> {
        let name = pool.parse().map_err(no_name)?;
        let removed = self.operations().pool_remove(&self.somebody(), &name);
        removed.map_err(|error| refused(error.reason(), &error))?;
        Ok(Reply::Done { notes: Vec::new() })
    }

    fn change_pool(&self, pool: &str, change: &PoolChange) -> Result<Reply, RequestError> {
        let name = pool.parse().map_err(no_name)?;
        let notes = self.operations().pool_set(&self.somebody(), &name, change);
        let notes = notes.map_err(|error| refused(error.reason(), &error))?;
        Ok(Reply::Done { notes })
    }

    fn pool(&self, listed: &PoolListed) -> ListedPool {
        let usage = &listed.usage;
        let own = self.node.cluster.look(|ledger| ledger.usage(&listed.pool));
        ListedPool {
            spec: spec::of(&listed.pool, &listed.row),
            state: match listed.row.state {
                Kept::Enabled => PoolState::Enabled,
                Kept::Draining => PoolState::Draining,
                Kept::Disabled => PoolState::Disabled,
            },
            usage: PoolUsage {
                pool: listed.pool.to_string(),
                size: usage.size,
                claimed: usage.claimed,
                held: usage.held,
                cooling: usage.cooling,
                reserved: usage.reserved,
                free: usage.free,
                borrowed: usage.borrowed,
                leaked: own.leaked,
                blocks: usage.blocks,
            },
            nodes: listed.nodes,
        }
    }
}
