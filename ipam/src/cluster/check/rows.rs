//! The store's rows, read.

use std::collections::{BTreeMap, BTreeSet};

use super::say::store;
use super::{Facts, Rule, Violation};
use crate::cluster::geometry::Block;
use crate::cluster::kv::{Key, Row};
use crate::cluster::name::{NodeId, PoolName, ReservationName, StickyId};
use crate::cluster::schema::{
    AppliedRow, AskRow, AuditRow, BlockRow, ChangeRow, EndpointRow, FenceRow, JanitorRow, KeptRow,
    KeysRow, LeaseRow, LiveRow, MemberRow, MetaRow, NodeRow, ObjectRow, OverlayRow, Place, PoolRow,
    ReservationRow, RevisionRow, RowError, Schema, StickyRow, Value, VtepRow,
};

/// What the store says, as far as it is understood.
#[derive(Default)]
pub(super) struct World<'a> {
    pub(super) pools: BTreeMap<PoolName, (&'a Key, PoolRow)>,
    pub(super) fences: BTreeMap<NodeId, (&'a Key, FenceRow)>,
    /// By pool and first ordinal.
    pub(super) blocks: Vec<Owned<'a>>,
    /// By pool and ordinal.
    pub(super) leases: BTreeMap<(PoolName, u64), Leased<'a>>,
    pub(super) kept: BTreeMap<(PoolName, u64), (&'a Key, StickyId)>,
    pub(super) sticky: Vec<(&'a Key, StickyId, StickyRow)>,
    pub(super) reservations: Vec<(&'a Key, ReservationName, ReservationRow)>,
    /// The logarithm of the largest block's size.
    largest_bits: u8,
    /// Places of which their node says that the store has still to hear, by node.
    queued: BTreeMap<&'a NodeId, &'a BTreeSet<(PoolName, u64)>>,
}

/// A block's row.
pub(super) struct Owned<'a> {
    pub(super) key: &'a Key,
    pub(super) pool: PoolName,
    pub(super) block: Block,
    pub(super) row: BlockRow,
}

/// A lease's row.
pub(super) struct Leased<'a> {
    pub(super) key: &'a Key,
    pub(super) row: LeaseRow,
}

impl<'a> World<'a> {
    /// Reads every row; what is not understood is a violation.
    pub(super) fn read(facts: &Facts<'a>, found: &mut Vec<Violation>) -> Self {
        let journals = facts.journals.iter();
        let mut world = World {
            queued: journals
                .map(|journal| (&journal.node, &journal.queued))
                .collect(),
            ..World::default()
        };
        for row in facts.rows {
            if let Err(error) = world.take(facts.schema, row, found) {
                found.push(unreadable(row, &error));
            }
        }
        let bits = world.blocks.iter().map(|owned| owned.block.bits());
        world.largest_bits = bits.max().unwrap_or_default();
        world
            .blocks
            .sort_by(|a, b| (&a.pool, a.block).cmp(&(&b.pool, b.block)));
        world
    }

    fn take(
        &mut self,
        schema: &Schema,
        row: &'a Row,
        found: &mut Vec<Violation>,
    ) -> Result<(), RowError> {
        let key = &row.key;
        match schema.place(key) {
            Some(Place::Pool(pool)) => {
                self.pools.insert(pool, (key, value(schema, row)?));
            }
            Some(Place::Fence(node)) => {
                self.fences.insert(node, (key, value(schema, row)?));
            }
            Some(Place::Block { pool, first }) => {
                let value: BlockRow = value(schema, row)?;
                match value.block(first) {
                    Some(block) => self.blocks.push(Owned {
                        key,
                        pool,
                        block,
                        row: value,
                    }),
                    None => found.push(misaligned(row, pool, first, &value)),
                }
            }
            Some(Place::Lease { pool, ordinal }) => {
                let row = value(schema, row)?;
                self.leases.insert((pool, ordinal), Leased { key, row });
            }
            Some(Place::Kept { pool, ordinal }) => {
                let value: KeptRow = value(schema, row)?;
                self.kept.insert((pool, ordinal), (key, value.sticky));
            }
            Some(Place::Sticky(id)) => self.sticky.push((key, id, value(schema, row)?)),
            Some(Place::Reservation(name)) => {
                self.reservations.push((key, name, value(schema, row)?));
            }
            other => understood(schema, row, other.as_ref())?,
        }
        Ok(())
    }

    /// Whether the node of a lease's row says that the store has still to hear of it.
    pub(super) fn is_queued(&self, node: &NodeId, place: &(PoolName, u64)) -> bool {
        self.queued
            .get(node)
            .is_some_and(|queued| queued.contains(place))
    }

    /// Whether the node's journals are known.
    pub(super) fn has_journal(&self, node: &NodeId) -> bool {
        self.queued.contains_key(node)
    }

    /// The block of a node that an ordinal lies in.
    pub(super) fn block_of(
        &self,
        node: &NodeId,
        pool: &PoolName,
        ordinal: u64,
    ) -> Option<&Owned<'a>> {
        self.blocks_around(pool, ordinal)
            .find(|owned| owned.row.node == *node)
    }

    /// The blocks that an ordinal lies in: one, unless blocks overlap.
    pub(super) fn blocks_around(
        &self,
        pool: &PoolName,
        ordinal: u64,
    ) -> impl Iterator<Item = &Owned<'a>> {
        // No block that begins before this one's first ordinal reaches the ordinal.
        let first = Block::around(ordinal, self.largest_bits).map_or(0, Block::first);
        let from = self
            .blocks
            .partition_point(|owned| (&owned.pool, owned.block.first()) < (pool, first));
        let to = self
            .blocks
            .partition_point(|owned| (&owned.pool, owned.block.first()) <= (pool, ordinal));
        let near = self.blocks[from..to].iter().rev();
        near.filter(move |owned| owned.block.contains(ordinal))
    }

    /// The blocks that have ordinals in common with one.
    pub(super) fn overlapping(
        &self,
        pool: &PoolName,
        block: Block,
    ) -> impl Iterator<Item = &Owned<'a>> {
        let of_pool = self.blocks.iter().filter(move |owned| owned.pool == *pool);
        of_pool.filter(move |owned| owned.block.overlaps(block))
    }

    /// What a node is called, with its id.
    pub(super) fn name(&self, node: &NodeId) -> String {
        match self.fences.get(node) {
            Some((_, fence)) if !fence.name.is_empty() => format!("{} ({node})", fence.name),
            _ => node.to_string(),
        }
    }
}

fn value<T: Value>(schema: &Schema, row: &Row) -> Result<T, RowError> {
    schema.read(row).map(|(_, value)| value)
}

/// Rows that nothing is checked of but that they are understood.
fn understood(schema: &Schema, row: &Row, place: Option<&Place>) -> Result<(), RowError> {
    match place {
        Some(Place::Meta) => value::<MetaRow>(schema, row).map(drop),
        Some(Place::Janitor) => value::<JanitorRow>(schema, row).map(drop),
        Some(Place::Change) => value::<ChangeRow>(schema, row).map(drop),
        Some(Place::Node(_)) => value::<NodeRow>(schema, row).map(drop),
        Some(Place::Live(_)) => value::<LiveRow>(schema, row).map(drop),
        Some(Place::Ask(_)) => value::<AskRow>(schema, row).map(drop),
        Some(Place::Overlay(_)) => value::<OverlayRow>(schema, row).map(drop),
        Some(Place::Vtep { .. }) => value::<VtepRow>(schema, row).map(drop),
        Some(Place::Endpoint { .. }) => value::<EndpointRow>(schema, row).map(drop),
        Some(Place::Applied(_)) => value::<AppliedRow>(schema, row).map(drop),
        Some(Place::PolicyRevision) => value::<RevisionRow>(schema, row).map(drop),
        Some(Place::Object(_)) => value::<ObjectRow>(schema, row).map(drop),
        Some(Place::Member(_)) => value::<MemberRow>(schema, row).map(drop),
        Some(Place::Keys(_)) => value::<KeysRow>(schema, row).map(drop),
        _ => value::<AuditRow>(schema, row).map(drop),
    }
}

fn unreadable(row: &Row, error: &RowError) -> Violation {
    // A row with secrets is secret, also one that is damaged.
    let evidence = if row.key.as_str().contains("/keys/") {
        "withheld".to_owned()
    } else {
        shown(&row.value)
    };
    Violation {
        rule: Rule::UnreadableRow,
        subject: row.key.to_string(),
        text: error.to_string(),
        evidence: vec![store(&row.key, evidence)],
        pool: None,
        nodes: Vec::new(),
    }
}

/// The beginning of a value, for people.
fn shown(value: &[u8]) -> String {
    const MOST: usize = 200;
    let text = String::from_utf8_lossy(value);
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into_owned(),
    }
}

fn misaligned(row: &Row, pool: PoolName, first: u64, value: &BlockRow) -> Violation {
    Violation {
        rule: Rule::BlockMisaligned,
        subject: format!("block at ordinal {first} of pool {pool}"),
        text: format!(
            "2^{} ordinals cannot begin at ordinal {first}; put back the row that a backup has",
            value.bits
        ),
        evidence: vec![store(&row.key, format!("bits {}", value.bits))],
        pool: Some(pool),
        nodes: vec![value.node.clone()],
    }
}
