//! The blocks of this node, by pool.

use std::collections::BTreeMap;

use bulkhead_model::AttachmentId;

use super::own::OwnBlock;
use crate::cluster::geometry::Block;
use crate::cluster::name::PoolName;

/// Blocks that do not overlap.
#[derive(Clone, Debug, Default)]
pub(super) struct Holdings(BTreeMap<PoolName, BTreeMap<u64, OwnBlock>>);

impl Holdings {
    pub(super) fn all(&self) -> impl Iterator<Item = (&PoolName, &OwnBlock)> {
        let pools = self.0.iter();
        pools.flat_map(|(pool, blocks)| blocks.values().map(move |own| (pool, own)))
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = (&PoolName, &mut OwnBlock)> {
        let pools = self.0.iter_mut();
        pools.flat_map(|(pool, blocks)| blocks.values_mut().map(move |own| (pool, own)))
    }

    /// Where each block is.
    pub(super) fn places(&self) -> Vec<(PoolName, Block)> {
        let all = self.all();
        all.map(|(pool, own)| (pool.clone(), own.block)).collect()
    }

    pub(super) fn of(&self, pool: &PoolName) -> impl Iterator<Item = &OwnBlock> {
        self.0.get(pool).into_iter().flat_map(BTreeMap::values)
    }

    pub(super) fn of_mut(&mut self, pool: &PoolName) -> impl Iterator<Item = &mut OwnBlock> {
        let blocks = self.0.get_mut(pool);
        blocks.into_iter().flat_map(BTreeMap::values_mut)
    }

    pub(super) fn has(&self, pool: &PoolName) -> bool {
        self.0.contains_key(pool)
    }

    /// The block that begins at `first`.
    pub(super) fn at(&self, pool: &PoolName, first: u64) -> Option<&OwnBlock> {
        self.0.get(pool)?.get(&first)
    }

    pub(super) fn at_mut(&mut self, pool: &PoolName, first: u64) -> Option<&mut OwnBlock> {
        self.0.get_mut(pool)?.get_mut(&first)
    }

    /// The block that `ordinal` lies in.
    pub(super) fn around(&self, pool: &PoolName, ordinal: u64) -> Option<&OwnBlock> {
        let (_, own) = self.0.get(pool)?.range(..=ordinal).next_back()?;
        own.block.contains(ordinal).then_some(own)
    }

    pub(super) fn around_mut(&mut self, pool: &PoolName, ordinal: u64) -> Option<&mut OwnBlock> {
        let (_, own) = self.0.get_mut(pool)?.range_mut(..=ordinal).next_back()?;
        own.block.contains(ordinal).then_some(own)
    }

    /// Whether any block overlaps this one.
    pub(super) fn overlaps(&self, pool: &PoolName, block: Block) -> bool {
        self.of(pool).any(|own| own.block.overlaps(block))
    }

    /// Adds a block that overlaps none.
    pub(super) fn insert(&mut self, pool: &PoolName, own: OwnBlock) {
        debug_assert!(
            !self.overlaps(pool, own.block),
            "two blocks of one node overlap"
        );
        let blocks = self.0.entry(pool.clone()).or_default();
        blocks.insert(own.block.first(), own);
    }

    pub(super) fn remove(&mut self, pool: &PoolName, first: u64) -> Option<OwnBlock> {
        let blocks = self.0.get_mut(pool)?;
        let own = blocks.remove(&first);
        if blocks.is_empty() {
            self.0.remove(pool);
        }
        own
    }

    /// Ordinals of the pool that could be given out at once.
    pub(super) fn free(&self, pool: &PoolName) -> u64 {
        self.of(pool).map(OwnBlock::free).sum()
    }

    /// Gives out an ordinal: the longest free one of all blocks, but for the emptiest block if the others
    /// have `spare` free ones without it, so that it becomes idle and can be given back.
    pub(super) fn take(&mut self, pool: &PoolName, id: AttachmentId, spare: u64) -> Option<u64> {
        let total = self.free(pool);
        let emptiest = self.of(pool).min_by_key(|own| (own.held(), own.free()));
        let passed = emptiest
            .filter(|own| total.saturating_sub(own.free()) >= spare.max(1))
            .map(|own| own.block.first());
        let candidates = self
            .of(pool)
            .filter(|own| Some(own.block.first()) != passed);
        let (_, first) = candidates
            .filter_map(|own| Some((own.next_freed_at_ms()?, own.block.first())))
            .min()?;
        self.at_mut(pool, first)?.take(id)
    }
}
