//! Pools: made, changed, drained, removed.

use std::collections::BTreeSet;

use super::{OperationError, Operator, Plan};
use crate::cluster::geometry::{Block, Geometry, Layout, Subnet};
use crate::cluster::kv::{Compare, Revision, Txn, Write};
use crate::cluster::name::{NodeId, PoolName};
use crate::cluster::schema::{
    BlockRow, KeptRow, LabelSelector, NamePattern, Place, PoolRow, PoolState, PoolsRow, encode,
};
use crate::cluster::unowned::nobodys;
use crate::span::Span;

/// What becomes different about a pool; what is `None` stays.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PoolChange {
    /// Other prefixes, with the same first addresses.
    pub prefixes: Prefixes,
    /// Size of the blocks that are claimed from now on, as a logarithm.
    pub block_bits: Option<u8>,
    /// Never given out from now on; what is leased there stays.
    pub reserve: Vec<Span>,
    /// Given out again; spans as they were reserved.
    pub unreserve: Vec<Span>,
    /// The nodes that claim blocks.
    pub nodes: Option<LabelSelector>,
    /// The namespaces that get addresses.
    pub namespaces: Option<Vec<NamePattern>>,
    /// The priority.
    pub priority: Option<i32>,
    /// The least cool-down, in seconds.
    pub cooldown_secs: Option<u64>,
    /// The longest cool-down, in seconds.
    pub cooldown_max_secs: Option<u64>,
    /// Whether nodes ask each other for parts of blocks.
    pub strict: Option<bool>,
}

/// Other prefixes of a pool, of the families that are to change.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Prefixes {
    /// Of IPv4.
    pub v4: Option<Subnet>,
    /// Of IPv6.
    pub v6: Option<Subnet>,
}

impl Operator<'_> {
    /// Makes a pool.
    ///
    /// # Errors
    /// `PoolExists`, `Overlap`, and those of the store. The same pool a second time is no error.
    pub fn pool_add(&self, pool: &PoolName, row: &PoolRow) -> Result<(), OperationError> {
        self.settle(&format!("pool {pool}"), || {
            let others = self.pools()?;
            if let Some((_, there, _)) = others.iter().find(|(name, ..)| name == pool) {
                let same = there == row;
                let exists = || OperationError::PoolExists { pool: pool.clone() };
                return same.then_some(Plan::Done(())).ok_or_else(exists);
            }
            check_overlap(pool, &row.geometry, &others)?;
            let mut txn = self.changing_addresses()?;
            let key = self.key(&Place::Pool(pool.clone()));
            txn.when.push(Compare::Absent(key.clone()));
            txn.writes.push(Write::Put(key, encode(row)));
            Ok(Plan::Commit(txn, ()))
        })
    }

    /// Changes a pool. Blocks and leases stay as they are.
    ///
    /// # Errors
    /// `UnknownPool`, `Geometry`, `Overlap`, `Rebased`, `Shrunk`, `GatewayInBlock`, `NotReserved`, and
    /// those of the store.
    pub fn pool_set(
        &self,
        pool: &PoolName,
        change: &PoolChange,
    ) -> Result<PoolRow, OperationError> {
        self.settle(&format!("pool {pool}"), || {
            let others = self.pools()?;
            let (revision, before) = find(pool, &others)?;
            let after = changed(pool, &before, change)?;
            if after == before {
                return Ok(Plan::Done(after));
            }
            let (old, new) = (before.geometry.layout(), after.geometry.layout());
            let readdressed = old.v4 != new.v4 || old.v6 != new.v6;
            let mut txn = if readdressed {
                check_overlap(pool, &after.geometry, &others)?;
                let mut txn = self.changing_addresses()?;
                txn.when.extend(self.unharmed(pool, &before, &after)?);
                txn
            } else {
                self.guarded()?
            };
            let key = self.key(&Place::Pool(pool.clone()));
            txn.when.push(Compare::Modified(key.clone(), revision));
            txn.writes.push(Write::Put(key, encode(&after)));
            Ok(Plan::Commit(txn, after))
        })
    }

    /// Enables, drains or disables a pool.
    ///
    /// # Errors
    /// `UnknownPool`, and those of the store.
    pub fn pool_state(&self, pool: &PoolName, state: PoolState) -> Result<(), OperationError> {
        self.settle(&format!("pool {pool}"), || {
            let (revision, before) = find(pool, &self.pools()?)?;
            if before.state == state {
                return Ok(Plan::Done(()));
            }
            let mut txn = self.guarded()?;
            let key = self.key(&Place::Pool(pool.clone()));
            txn.when.push(Compare::Modified(key.clone(), revision));
            txn.writes
                .push(Write::Put(key, encode(&PoolRow { state, ..before })));
            Ok(Plan::Commit(txn, ()))
        })
    }

    /// Removes a pool of which nothing is used.
    ///
    /// # Errors
    /// `UnknownPool`, `PoolInUse`, `PoolKept`, and those of the store.
    pub fn pool_remove(&self, pool: &PoolName) -> Result<(), OperationError> {
        self.settle(&format!("pool {pool}"), || {
            let (revision, _) = find(pool, &self.pools()?)?;
            let blocks = self.all::<BlockRow>(&self.schema.of_pool("blocks", pool))?;
            if !blocks.is_empty() {
                return Err(OperationError::PoolInUse {
                    pool: pool.clone(),
                    blocks: blocks.len(),
                    nodes: owners(blocks.iter().map(|(_, row, _)| &row.node)),
                });
            }
            let kept = self.all::<KeptRow>(&self.schema.of_pool("kept", pool))?;
            if let Some((_, row, _)) = kept.first() {
                return Err(OperationError::PoolKept {
                    pool: pool.clone(),
                    sticky: row.sticky.clone(),
                    more: kept.len() - 1,
                });
            }
            let mut txn = self.changing_addresses()?;
            let key = self.key(&Place::Pool(pool.clone()));
            txn.when.push(Compare::Modified(key.clone(), revision));
            for kind in ["blocks", "kept"] {
                txn.when
                    .push(Compare::NoneIn(self.schema.of_pool(kind, pool)));
            }
            txn.writes.push(Write::Delete(key));
            Ok(Plan::Commit(txn, ()))
        })
    }

    /// Every pool, with its last change.
    pub(super) fn pools(&self) -> Result<Vec<(PoolName, PoolRow, Revision)>, OperationError> {
        let all = self.all::<PoolRow>(&self.schema.kind("pools"))?.into_iter();
        let named = all.filter_map(|(place, row, raw)| match place {
            Place::Pool(pool) => Some((pool, row, raw.modified)),
            _ => None,
        });
        Ok(named.collect())
    }

    /// A transaction that changes which addresses pools have: two of them at a time do not both hold.
    fn changing_addresses(&self) -> Result<Txn, OperationError> {
        let mut txn = self.guarded()?;
        let key = self.key(&Place::Pools);
        let before = self.one::<PoolsRow>(&Place::Pools)?;
        let revision = before.map_or(Revision(0), |(revision, _)| revision);
        txn.when.push(Compare::Modified(key.clone(), revision));
        let row = PoolsRow {
            by: self.by.to_owned(),
            at_unix_ms: self.now_unix_ms,
        };
        txn.writes.push(Write::Put(key, encode(&row)));
        Ok(txn)
    }

    /// What must hold so that no block of the pool is harmed by other prefixes.
    pub(super) fn unharmed(
        &self,
        pool: &PoolName,
        before: &PoolRow,
        after: &PoolRow,
    ) -> Result<Vec<Compare>, OperationError> {
        let rows = self.range(&self.schema.of_pool("blocks", pool))?.rows;
        let blocks: Result<Vec<_>, _> =
            rows.iter().map(|row| self.schema.read_block(row)).collect();
        let blocks = blocks?;
        if !before.geometry.is_based_as(&after.geometry) {
            if blocks.is_empty() {
                return Ok(vec![Compare::NoneIn(self.schema.of_pool("blocks", pool))]);
            }
            return Err(OperationError::Rebased {
                pool: pool.clone(),
                before: before.geometry.to_string(),
                after: after.geometry.to_string(),
                blocks: blocks.len(),
            });
        }
        let size = after.geometry.size();
        let outside = blocks.iter().filter(|(_, block, _)| block.end() > size);
        let outside: Vec<_> = outside.collect();
        if !outside.is_empty() {
            let beyond = self
                .schema
                .between("leases", pool, size, before.geometry.size());
            return Err(OperationError::Shrunk {
                pool: pool.clone(),
                after: after.geometry.to_string(),
                blocks: outside.len(),
                leases: self.range(&beyond)?.rows.len(),
                nodes: owners(outside.iter().map(|(_, _, row)| &row.node)),
            });
        }
        let mut when = Vec::new();
        if size < before.geometry.size() {
            // A block that begins inside and ends outside begins at 0, since both sizes are powers of 2.
            let beyond = self
                .schema
                .between("blocks", pool, size, before.geometry.size());
            when.push(Compare::NoneIn(beyond));
            let pool = pool.clone();
            let first = self.key(&Place::Block { pool, first: 0 });
            let row = rows.iter().find(|row| row.key == first);
            let revision = row.map_or(Revision(0), |row| row.modified);
            when.push(Compare::Modified(first, revision));
        }
        let seen = blocks.iter().zip(&rows);
        let seen: Vec<_> = seen
            .map(|((_, block, _), row)| (*block, row.modified))
            .collect();
        when.extend(self.gateways_free(pool, before, after, &blocks, &seen)?);
        Ok(when)
    }

    /// That nobody may have been given what becomes a gateway.
    fn gateways_free(
        &self,
        pool: &PoolName,
        before: &PoolRow,
        after: &PoolRow,
        blocks: &[(PoolName, Block, BlockRow)],
        seen: &[(Block, Revision)],
    ) -> Result<Vec<Compare>, OperationError> {
        let layout = after.geometry.layout();
        let gateways = layout.v4.into_iter().chain(layout.v6);
        let mut when = Vec::new();
        for gateway in gateways.filter_map(|subnet| subnet.gateway) {
            let Some(ordinal) = after.geometry.ordinal(gateway) else {
                continue;
            };
            if !before.geometry.is_usable(ordinal) && before.geometry.whole().contains(ordinal) {
                continue;
            }
            let block = blocks.iter().find(|(_, block, _)| block.contains(ordinal));
            if let Some((_, _, row)) = block {
                return Err(OperationError::GatewayInBlock {
                    gateway,
                    pool: pool.clone(),
                    node: row.node.clone(),
                });
            }
            let one = Block::one(ordinal).expect("it is an ordinal of the pool");
            when.extend(nobodys(self.schema, pool, one, after.largest_bits, seen));
        }
        Ok(when)
    }
}

fn find(
    pool: &PoolName,
    all: &[(PoolName, PoolRow, Revision)],
) -> Result<(Revision, PoolRow), OperationError> {
    let found = all.iter().find(|(name, ..)| name == pool);
    let unknown = || OperationError::UnknownPool { pool: pool.clone() };
    let (_, row, revision) = found.ok_or_else(unknown)?;
    Ok((*revision, row.clone()))
}

fn check_overlap(
    pool: &PoolName,
    geometry: &Geometry,
    others: &[(PoolName, PoolRow, Revision)],
) -> Result<(), OperationError> {
    for (other, row, _) in others.iter().filter(|(name, ..)| name != pool) {
        if let Some((prefix, other_prefix)) = geometry.overlap(&row.geometry) {
            return Err(OperationError::Overlap {
                pool: pool.clone(),
                prefix,
                other: other.clone(),
                other_prefix,
            });
        }
    }
    Ok(())
}

/// The pool as it is to be.
fn changed(
    pool: &PoolName,
    before: &PoolRow,
    change: &PoolChange,
) -> Result<PoolRow, OperationError> {
    let layout = before.geometry.layout();
    let mut reserved = layout.reserved.clone();
    for span in &change.unreserve {
        let count = reserved.len();
        reserved.retain(|kept| kept != span);
        if reserved.len() == count {
            return Err(OperationError::NotReserved {
                pool: pool.clone(),
                span: *span,
                reserved: listed(&layout.reserved),
            });
        }
    }
    for span in &change.reserve {
        if !reserved.contains(span) {
            reserved.push(*span);
        }
    }
    let geometry = Geometry::new(Layout {
        v4: change.prefixes.v4.or(layout.v4),
        v6: change.prefixes.v6.or(layout.v6),
        block_bits: change.block_bits.unwrap_or(layout.block_bits),
        reserved,
    });
    let geometry = geometry.map_err(|source| OperationError::Geometry {
        pool: pool.clone(),
        source,
    })?;
    let mut after = before.clone();
    after.largest_bits = before.largest_bits.max(geometry.block_bits());
    after.geometry = geometry;
    after.nodes = change.nodes.clone().unwrap_or(after.nodes);
    after.namespaces = change.namespaces.clone().unwrap_or(after.namespaces);
    after.priority = change.priority.unwrap_or(after.priority);
    after.cooldown_secs = change.cooldown_secs.unwrap_or(after.cooldown_secs);
    after.cooldown_max_secs = change.cooldown_max_secs.unwrap_or(after.cooldown_max_secs);
    after.strict = change.strict.unwrap_or(after.strict);
    Ok(after)
}

fn listed(spans: &[Span]) -> String {
    if spans.is_empty() {
        return "nothing".to_owned();
    }
    let texts: Vec<String> = spans.iter().map(Span::to_string).collect();
    texts.join(", ")
}

/// The nodes, each once, for people.
pub(super) fn owners<'a>(nodes: impl Iterator<Item = &'a NodeId>) -> String {
    let all: BTreeSet<&str> = nodes.map(NodeId::as_str).collect();
    let shown: Vec<&str> = all.iter().take(5).copied().collect();
    let more = all.len() - shown.len();
    let more = if more == 0 {
        String::new()
    } else {
        format!(" and {more} more")
    };
    format!("{}{more}", shown.join(", "))
}
