//! What the store says, and whether it contradicts itself.

use std::collections::BTreeMap;

use super::{Evidence, Rule, Violation, Witness};
use crate::cluster::geometry::Block;
use crate::cluster::kv::Row;
use crate::cluster::name::{NodeId, PoolName, StickyId};
use crate::cluster::schema::{
    BlockRow, FenceRow, FenceState, KeptRow, LeaseRow, Place, PoolRow, RowError, Schema, StickyRow,
    decode,
};

/// The rows, understood.
pub(super) struct Read<'a> {
    pub(super) schema: &'a Schema,
    pub(super) pools: BTreeMap<PoolName, PoolRow>,
    pub(super) blocks: BTreeMap<(PoolName, u64), (Block, BlockRow)>,
    pub(super) leases: BTreeMap<(PoolName, u64), LeaseRow>,
    pub(super) fences: BTreeMap<NodeId, FenceRow>,
    sticky: BTreeMap<StickyId, StickyRow>,
    kept: BTreeMap<(PoolName, u64), StickyId>,
}

impl<'a> Read<'a> {
    pub(super) fn of(schema: &'a Schema, rows: &[Row], found: &mut Vec<Violation>) -> Self {
        let mut read = Self {
            schema,
            pools: BTreeMap::new(),
            blocks: BTreeMap::new(),
            leases: BTreeMap::new(),
            fences: BTreeMap::new(),
            sticky: BTreeMap::new(),
            kept: BTreeMap::new(),
        };
        for row in rows {
            if let Err(error) = read.take_in(row) {
                found.push(Violation {
                    rule: Rule::Row,
                    subject: row.key.to_string(),
                    text: error.to_string(),
                    evidence: vec![Evidence {
                        witness: Witness::Store,
                        place: row.key.to_string(),
                        says: String::from_utf8_lossy(&row.value).into_owned(),
                    }],
                });
            }
        }
        read
    }

    fn take_in(&mut self, row: &Row) -> Result<(), RowError> {
        let place = self.schema.place(&row.key);
        match place {
            None => {
                return Err(RowError::Unknown {
                    key: row.key.to_string(),
                });
            }
            Some(Place::Pool(pool)) => drop(self.pools.insert(pool, value(row)?)),
            Some(Place::Fence(node)) => drop(self.fences.insert(node, value(row)?)),
            Some(Place::Sticky(id)) => drop(self.sticky.insert(id, value(row)?)),
            Some(Place::Lease { pool, ordinal }) => {
                self.leases.insert((pool, ordinal), value(row)?);
            }
            Some(Place::Kept { pool, ordinal }) => {
                let kept: KeptRow = value(row)?;
                self.kept.insert((pool, ordinal), kept.sticky);
            }
            Some(Place::Block { .. }) => {
                let (pool, block, value) = self.schema.read_block(row)?;
                self.blocks.insert((pool, block.first()), (block, value));
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// The block that an ordinal lies in, by its row.
    pub(super) fn around(&self, pool: &PoolName, ordinal: u64) -> Option<&(Block, BlockRow)> {
        let before = self.blocks.range(..=(pool.clone(), ordinal)).next_back();
        let before = before
            .filter(|((of, _), _)| of == pool)
            .map(|(_, found)| found);
        if let Some(found) = before.filter(|(block, _)| block.contains(ordinal)) {
            return Some(found);
        }
        // Where blocks overlap, it may be one that begins further ahead.
        let sizes = 0..=Block::MOST_BITS;
        let firsts = sizes.filter_map(|bits| Some(Block::around(ordinal, bits)?.first()));
        firsts
            .filter_map(|first| self.blocks.get(&(pool.clone(), first)))
            .find(|(block, _)| block.contains(ordinal))
    }

    pub(super) fn evidence(&self, place: &Place, says: String) -> Evidence {
        Evidence {
            witness: Witness::Store,
            place: self.schema.key(place).to_string(),
            says,
        }
    }

    pub(super) fn block_evidence(&self, pool: &PoolName, block: Block, row: &BlockRow) -> Evidence {
        let place = Place::Block {
            pool: pool.clone(),
            first: block.first(),
        };
        let says = format!(
            "ordinals {block} are node {}'s, epoch {}",
            row.node, row.epoch
        );
        self.evidence(&place, says)
    }

    pub(super) fn subject(&self, pool: &PoolName, block: Block) -> String {
        let prefixes = self
            .pools
            .get(pool)
            .map(|row| row.geometry.prefixes_of(block));
        let texts: Vec<String> = prefixes
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect();
        format!("block {block} of pool {pool} ({})", texts.join(", "))
    }

    pub(super) fn check_blocks(&self, found: &mut Vec<Violation>) {
        let mut last: Option<(&PoolName, &(Block, BlockRow))> = None;
        for ((pool, _), this) in &self.blocks {
            let (block, row) = this;
            let inside = self
                .pools
                .get(pool)
                .is_some_and(|row| row.geometry.whole().covers(*block));
            if !inside {
                found.push(Violation {
                    rule: Rule::BlockOutsidePool,
                    subject: self.subject(pool, *block),
                    text: format!("the pool does not have these ordinals; enlarge pool {pool} again, or put it back from a backup"),
                    evidence: vec![self.block_evidence(pool, *block, row)],
                });
            }
            if let Some((_, (other, other_row))) =
                last.filter(|(of, (other, _))| *of == pool && other.overlaps(*block))
            {
                found.push(Violation {
                    rule: Rule::BlocksOverlap,
                    subject: self.subject(pool, *block),
                    text: format!("it overlaps block {other}; stop the daemons of both nodes, and remove the row of the one that has no leases there"),
                    evidence: vec![
                        self.block_evidence(pool, *other, other_row),
                        self.block_evidence(pool, *block, row),
                    ],
                });
            }
            if last.is_none_or(|(of, (other, _))| of != pool || other.end() <= block.end()) {
                last = Some((pool, this));
            }
        }
    }

    pub(super) fn check_fences(&self, found: &mut Vec<Violation>) {
        let blocks = self.blocks.iter().map(|((pool, first), (block, row))| {
            let place = Place::Block {
                pool: pool.clone(),
                first: *first,
            };
            (place, self.subject(pool, *block), &row.node, row.epoch)
        });
        let leases = self.leases.iter().map(|((pool, ordinal), row)| {
            let place = Place::Lease {
                pool: pool.clone(),
                ordinal: *ordinal,
            };
            let subject = format!("lease of attachment {}", row.attachment);
            (place, subject, &row.node, row.epoch)
        });
        for (place, subject, node, epoch) in blocks.chain(leases) {
            let fence = self.fences.get(node);
            let says = match fence {
                Some(fence) if fence.state == FenceState::Active && fence.epoch == epoch => {
                    continue;
                }
                Some(fence) => format!("node {node} is {:?}, epoch {}", fence.state, fence.epoch),
                None => format!("there is no node {node}"),
            };
            let own = self.evidence(&place, format!("it is node {node}'s, epoch {epoch}"));
            let fence = self.evidence(&Place::Fence(node.clone()), says);
            found.push(Violation {
                rule: Rule::StaleFence,
                subject,
                text: format!("it is of a life of node {node} that has ended; run `bulkhead node lost {node}` again if the node is gone, or look why its daemon does not run"),
                evidence: vec![own, fence],
            });
        }
    }

    pub(super) fn check_sticky(&self, found: &mut Vec<Violation>) {
        for (id, row) in &self.sticky {
            let place = (row.pool.clone(), row.ordinal);
            if self.kept.get(&place) != Some(id) {
                found.push(self.odd(id, &row.pool, row.ordinal, "is not kept for it"));
            }
        }
        for ((pool, ordinal), id) in &self.kept {
            let row = self.sticky.get(id);
            if row.is_none_or(|row| (&row.pool, row.ordinal) != (pool, *ordinal)) {
                found.push(self.odd(
                    id,
                    pool,
                    *ordinal,
                    "is kept for it, and it keeps another, or none",
                ));
            }
        }
    }

    fn odd(&self, id: &StickyId, pool: &PoolName, ordinal: u64, what: &str) -> Violation {
        let kept = Place::Kept {
            pool: pool.clone(),
            ordinal,
        };
        let says = |known: bool| {
            if known {
                "it is there"
            } else {
                "it is not there"
            }
            .to_owned()
        };
        Violation {
            rule: Rule::Sticky,
            subject: format!("address of {id}"),
            text: format!(
                "ordinal {ordinal} of pool {pool} {what}; release it with `bulkhead ipam release`"
            ),
            evidence: vec![
                self.evidence(
                    &Place::Sticky(id.clone()),
                    says(self.sticky.contains_key(id)),
                ),
                self.evidence(
                    &kept,
                    says(self.kept.contains_key(&(pool.clone(), ordinal))),
                ),
            ],
        }
    }
}

fn value<T: crate::cluster::schema::Value>(row: &Row) -> Result<T, RowError> {
    decode(&row.key, &row.value)
}
