//! How much of a pool a node has, and what of it is used.

use std::fmt;

use super::Ledger;
use crate::cluster::name::PoolName;

/// A node's share of a pool, in ordinals.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PoolUsage {
    /// The pool's prefixes.
    pub prefixes: String,
    /// That the whole pool can give out.
    pub size: u64,
    /// This node's blocks.
    pub blocks: u64,
    /// In this node's blocks: used, cooling, reserved and free ones together.
    pub owned: u64,
    /// Held by attachments.
    pub used: u64,
    /// That could be given out at once.
    pub free: u64,
    /// Freed, and not yet to be given out again.
    pub cooling: u64,
    /// Never given out to anybody who does not ask for them: reserved, kept, gateways.
    pub reserved: u64,
    /// In blocks that another node ceded.
    pub borrowed: u64,
    /// Held by attachments that are probably dead, as the collector says.
    pub leaked: u64,
}

impl fmt::Display for PoolUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "of {} addresses in {} it has {}, {} used, {} reserved, {} cooling, {} borrowed, {} leaked",
            self.size,
            self.prefixes,
            self.owned,
            self.used,
            self.reserved,
            self.cooling,
            self.borrowed,
            self.leaked
        )
    }
}

impl Ledger {
    /// This node's share of a pool.
    #[must_use]
    pub fn usage(&self, pool: &PoolName) -> PoolUsage {
        let Some(side) = self.pools.get(pool) else {
            return PoolUsage::default();
        };
        let geometry = &side.row.geometry;
        let mut usage = PoolUsage {
            prefixes: geometry.to_string(),
            size: geometry.usable(geometry.whole()),
            leaked: self.leaked.get(pool).copied().unwrap_or_default(),
            ..PoolUsage::default()
        };
        for own in self.own.of(pool) {
            usage.blocks += 1;
            usage.owned += own.block.size();
            usage.used += own.held();
            usage.free += own.free();
            usage.cooling += own.cooling();
            if own.lender.is_some() {
                usage.borrowed += own.block.size();
            }
        }
        usage.reserved = usage.owned - usage.used - usage.free - usage.cooling;
        usage
    }
}
