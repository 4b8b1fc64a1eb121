//! How much of a pool the cluster uses.

use std::collections::BTreeSet;

use super::{PoolListed, Survey, count};
use crate::cluster::geometry::Block;
use crate::cluster::name::PoolName;
use crate::cluster::schema::PoolRow;

/// What is used of a pool, in ordinals. Each of `claimed` is one of held, cooling, reserved and free.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ClusterUsage {
    /// That can be given out at all.
    pub size: u64,
    /// In blocks.
    pub claimed: u64,
    /// Leased, as it is published.
    pub held: u64,
    /// Freed and resting, as nodes last said.
    pub cooling: u64,
    /// In blocks, and never given out to anybody who does not ask for them: ends, gateways, reserved
    /// ones, and those that are kept for a name that has none of them at the moment.
    pub reserved: u64,
    /// In blocks, and free.
    pub free: u64,
    /// In blocks that another node ceded.
    pub borrowed: u64,
    /// Blocks of any size.
    pub blocks: u64,
}

impl Survey {
    pub(super) fn pool(&self, pool: &PoolName, row: &PoolRow) -> PoolListed {
        let blocks = || self.blocks.iter().filter(|owned| owned.pool == *pool);
        let owners: BTreeSet<_> = blocks().map(|owned| &owned.row.node).collect();
        let claimed = blocks().map(|owned| owned.block.size()).sum();
        let lent = blocks().filter(|owned| owned.row.lender.is_some());
        let held = count(self.leased.get(pool).into_iter().flatten());
        let said = self.live.values().filter_map(|live| live.pools.get(pool));
        let reserved: u64 = blocks()
            .map(|owned| self.withheld(pool, row, owned.block))
            .sum();
        // Signs of life and leases are of several moments: never more than there is.
        let cooling: u64 = said.map(|share| share.cooling).sum();
        let rest = u64::saturating_sub(claimed, held + reserved);
        let cooling = cooling.min(rest);
        PoolListed {
            pool: pool.clone(),
            row: row.clone(),
            usage: ClusterUsage {
                size: row.geometry.usable(row.geometry.whole()),
                claimed,
                held,
                cooling,
                reserved,
                free: rest - cooling,
                borrowed: lent.map(|owned| owned.block.size()).sum(),
                blocks: count(blocks()),
            },
            nodes: count(owners.into_iter()),
        }
    }

    /// Ordinals of a block that are not leased, and given to nobody who does not ask for them.
    pub(super) fn withheld(&self, pool: &PoolName, row: &PoolRow, block: Block) -> u64 {
        let inside = |ordinal: u64| row.geometry.is_usable(ordinal) && block.contains(ordinal);
        let reserved = self.reserved.get(pool).into_iter().flatten();
        let reserved =
            reserved.flat_map(|span| span.start.max(block.first())..span.end.min(block.end()));
        let kept = self.kept.get(pool).into_iter();
        let kept = kept.flat_map(|kept| kept.range(block.ordinals()).copied());
        let withheld: BTreeSet<u64> = reserved.chain(kept).filter(|at| inside(*at)).collect();
        let waiting = withheld.into_iter().filter(|at| !self.is_leased(pool, *at));
        let unusable = block.size() - row.geometry.usable(block);
        count(waiting) + unusable
    }
}
