//! Removing what is too old to be asked about.

use super::{OperationError, Operator, Plan};
use crate::cluster::kv::{Compare, Key, Revision, Txn, Write};
use crate::cluster::name::NodeId;
use crate::cluster::schema::{JanitorRow, Place, encode};

/// How long closed chapters are kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Retention {
    /// So long, in milliseconds.
    pub keep_ms: u64,
    /// They are looked through once in so long, by one of the nodes, in milliseconds.
    pub every_ms: u64,
}

/// A part of the chapters was looked through.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Pruned {
    /// Chapters removed.
    pub removed: u64,
    /// Where it goes on; `None` at the end.
    pub next: Option<Key>,
}

impl Operator<'_> {
    /// Rows that are read at a time.
    const PAGE: usize = 2_000;

    /// Whether it is this node's turn to look through the chapters, which it takes then. Two nodes that
    /// both think so do the same twice, and nothing else.
    ///
    /// # Errors
    /// Those of the store.
    pub fn take_turn(&self, node: &NodeId, retention: Retention) -> Result<bool, OperationError> {
        self.settle("the audit's upkeep", || {
            let before = self.one::<JanitorRow>(&Place::Janitor)?;
            let last = before.as_ref().map_or(0, |(_, row)| row.at_unix_ms);
            // A time that is yet to come is that of a wrong clock.
            if last <= self.now_unix_ms && self.now_unix_ms - last < retention.every_ms {
                return Ok(Plan::Done(false));
            }
            let key = self.key(&Place::Janitor);
            let row = JanitorRow {
                node: Some(node.clone()),
                at_unix_ms: self.now_unix_ms,
            };
            let mut txn = self.guarded()?;
            let revision = before.map_or(Revision(0), |(revision, _)| revision);
            txn.when.push(Compare::Modified(key.clone(), revision));
            txn.writes.push(Write::Put(key, encode(&row)));
            Ok(Plan::Commit(txn, true))
        })
    }

    /// Removes the chapters of a page that are older than is kept.
    ///
    /// # Errors
    /// Those of the store; what was removed until then is.
    pub fn prune(
        &self,
        retention: Retention,
        after: Option<&Key>,
    ) -> Result<Pruned, OperationError> {
        let all = self.schema.kind("audit");
        let range = after.map_or_else(|| all.clone(), |key| all.after(key));
        let page = self.store.range(&range, Self::PAGE)?;
        let cutoff = self.now_unix_ms.saturating_sub(retention.keep_ms);
        let is_old = |key: &Key| match self.schema.place(key) {
            Some(Place::Audit(place)) => place.at_unix_ms < cutoff,
            _ => false,
        };
        let old: Vec<Key> = page
            .rows
            .iter()
            .map(|row| row.key.clone())
            .filter(is_old)
            .collect();
        for part in old.chunks(Txn::MOST_WRITES) {
            let mut txn = self.guarded()?;
            txn.writes = part.iter().cloned().map(Write::Delete).collect();
            self.store.commit(&txn)?;
        }
        let last = page.rows.last().map(|row| row.key.clone());
        Ok(Pruned {
            removed: old.len() as u64,
            next: last.filter(|_| page.more),
        })
    }
}
