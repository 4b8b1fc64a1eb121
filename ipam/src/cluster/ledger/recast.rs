//! Whose is what, from the rows: what is this node's stays or becomes so, with all that memory knows of
//! its ordinals; what is not is let go.

use std::collections::BTreeSet;

use super::Ledger;
use super::acquire::joined;
use super::holdings::Holdings;
use super::lease::{Evicted, LeaseState, Ousted};
use super::own::{OwnBlock, Slot};
use crate::boot::Now;
use crate::cluster::geometry::Block;
use crate::cluster::kv::{Listing, Revision, Row};
use crate::cluster::name::PoolName;
use crate::cluster::schema::{BlockRow, KeptRow, Place, RowError, Schema, encode};

/// What it means that the row of a block of this node is not there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    /// Nobody but this node may have removed it, so the store has lost it: it is written again.
    Intact,
    /// The node was declared lost: the block is no longer its own.
    Fenced,
}

/// A block's row as it was found.
#[derive(Clone, Debug)]
pub(super) struct FoundBlock {
    pub(super) pool: PoolName,
    pub(super) block: Block,
    pub(super) row: BlockRow,
    pub(super) modified: Revision,
}

impl FoundBlock {
    pub(super) fn read(schema: &Schema, row: &Row) -> Result<Self, RowError> {
        let (pool, block, value) = schema.read_block(row)?;
        Ok(Self {
            pool,
            block,
            row: value,
            modified: row.modified,
        })
    }
}

impl Ledger {
    /// Makes the blocks what the rows say that they are.
    pub(super) fn recast(&mut self, found: &[FoundBlock]) {
        let before = std::mem::take(&mut self.own);
        let (mine, others): (Vec<&FoundBlock>, Vec<&FoundBlock>) =
            found.iter().partition(|found| found.row.node == self.node);
        for found in mine
            .iter()
            .filter(|found| self.pools.contains_key(&found.pool))
        {
            let mut own = self.own_block(found, &before);
            // A part that was to be ceded is still here, and nothing is on its way any more.
            own.leaving = own.leaving.filter(|part| *part == own.block);
            let known = before.of(&found.pool).filter(|own| !own.fresh);
            let known: u64 = known
                .filter(|own| found.block.overlaps(own.block))
                .map(|own| own.block.size().min(found.block.size()))
                .sum();
            own.fresh = known < found.block.size();
            let side = &self.pools[&found.pool];
            own.sort_out(|at| side.allows(at));
            self.own.insert(&found.pool, own);
        }
        for (pool, own) in before.all() {
            let of_pool = mine.iter().filter(|found| found.pool == *pool);
            let rest = of_pool.fold(vec![own.block], |rest, found| {
                let rest = rest.into_iter();
                rest.flat_map(|part| part.without(found.block)).collect()
            });
            for part in rest {
                let taken = others
                    .iter()
                    .any(|other| other.pool == *pool && other.block.overlaps(part));
                let left = own.leaving.is_some_and(|leaving| leaving.covers(part));
                if self.link.fate == Fate::Intact && !taken && !left {
                    let mut piece = own.part(part);
                    piece.row = Revision(0);
                    self.own.insert(pool, piece);
                }
            }
        }
        self.evict_homeless();
        self.place_strays();
        self.forget_elsewhere();
    }

    /// The block of a row, with what memory knows of its ordinals.
    pub(super) fn own_block(&self, found: &FoundBlock, before: &Holdings) -> OwnBlock {
        let side = &self.pools[&found.pool];
        let mut own = OwnBlock::new(found.block, |at| side.allows(at));
        let known = before.of(&found.pool);
        for other in known.filter(|other| other.block.overlaps(found.block)) {
            own.inherit(other);
        }
        own.row = found.modified;
        own.epoch = found.row.epoch;
        own.claimed_at_unix_ms = found.row.claimed_at_unix_ms;
        own.attempt = found.row.attempt.clone();
        own.lender.clone_from(&found.row.lender);
        let ousted = self.evicted.values().filter(|one| one.pool == found.pool);
        for one in ousted {
            let is_held = matches!(own.slot(one.ordinal), Slot::Held(_));
            if found.block.contains(one.ordinal) && !is_held {
                own.hold_recorded(one.ordinal, one.told.key.id());
            }
        }
        own
    }

    /// Ends what is held outside this node's blocks: whoever has it must be detached.
    pub(super) fn evict_homeless(&mut self) {
        let own = &self.own;
        let homeless = |(pool, ordinal): (&PoolName, u64)| own.around(pool, ordinal).is_none();
        let leases = self.leases.iter();
        let gone: Vec<_> = leases
            .filter(|(_, lease)| homeless((&lease.pool, lease.ordinal)))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            let lease = self.leases.remove(&id).expect("it was just found");
            if let LeaseState::Settled { sequence, .. } = lease.state {
                let addresses = self.addresses(&lease.pool, lease.ordinal);
                let told = Evicted {
                    key: lease.key,
                    sequence,
                    reason: self.why_evicted(&lease.pool, &joined(&addresses)),
                    addresses,
                };
                self.evict(told, lease.pool, lease.ordinal);
            }
        }
    }

    pub(super) fn evict(&mut self, told: Evicted, pool: PoolName, ordinal: u64) {
        self.counters.evicted += 1;
        let key = told.key.clone();
        let ousted = Ousted {
            told,
            pool,
            ordinal,
        };
        self.evicted.insert(key, ousted);
    }

    fn why_evicted(&self, pool: &PoolName, addresses: &str) -> String {
        let why = match &self.link.standing {
            super::link::Standing::Fenced { by, statement } => {
                format!("this node was declared lost by {by} ({statement})")
            }
            _ => "the store has given its block to another node".to_owned(),
        };
        format!("{addresses} of pool {pool} is no longer this node's: {why}")
    }

    /// Leases of records that were in no block when the process started.
    fn place_strays(&mut self) {
        for stray in std::mem::take(&mut self.strays) {
            if let Some(stray) = self.place_fact(stray) {
                let reason = self.why_evicted(&stray.pool, &joined(&stray.addresses));
                let told = Evicted {
                    key: stray.key,
                    sequence: stray.sequence,
                    addresses: stray.addresses,
                    reason,
                };
                self.evict(told, stray.pool, stray.ordinal);
            }
        }
    }

    /// Forgets what is known of ordinals that are not in this node's blocks.
    pub(super) fn forget_elsewhere(&mut self) {
        for (pool, side) in &mut self.pools {
            side.kept
                .retain(|ordinal, _| self.own.around(pool, *ordinal).is_some());
        }
        let places: BTreeSet<(PoolName, u64)> = self.queue.places();
        for (pool, ordinal) in places {
            if self.own.around(&pool, ordinal).is_none() {
                self.queue.forget(&pool, &(ordinal..ordinal + 1));
            }
        }
    }

    /// Takes in what is kept and published in these blocks: two listings each, leases and kept ones.
    pub(super) fn compare_contents(
        &mut self,
        places: &[(PoolName, Block)],
        rows: &[Listing],
        now: Now,
    ) {
        for ((pool, block), rows) in places.iter().zip(rows.chunks(2)) {
            self.set_kept(pool, *block, &rows[1]);
            self.compare_leases(pool, *block, &rows[0], now);
        }
        self.let_go_of_unheld(now);
    }

    fn set_kept(&mut self, pool: &PoolName, block: Block, rows: &Listing) {
        let Some(side) = self.pools.get_mut(pool) else {
            return;
        };
        side.kept.retain(|ordinal, _| !block.contains(*ordinal));
        for row in &rows.rows {
            // A row that is not understood keeps nothing: it is told of by the check.
            if let Ok((Place::Kept { ordinal, .. }, kept)) = self.schema.read::<KeptRow>(row) {
                side.kept.insert(ordinal, kept.sticky);
            }
        }
        if let Some(own) = self.own.at_mut(pool, block.first()) {
            own.sort_out(|at| side.allows(at));
        }
    }

    /// Everything that is published and not held, held and not published, or published otherwise.
    fn compare_leases(&mut self, pool: &PoolName, block: Block, rows: &Listing, now: Now) {
        let mut published = BTreeSet::new();
        for row in &rows.rows {
            let Some(Place::Lease { ordinal, .. }) = self.schema.place(&row.key) else {
                continue;
            };
            published.insert(ordinal);
            let wanted = self.lease_row(pool, ordinal).map(|row| encode(&row));
            if wanted.as_ref() != Some(&row.value) {
                self.queue
                    .change((pool.clone(), ordinal), now.since_boot_ms);
            }
        }
        let Some(own) = self.own.at(pool, block.first()) else {
            return;
        };
        let held: Vec<u64> = own.holders().map(|(ordinal, _)| ordinal).collect();
        for ordinal in held {
            if !published.contains(&ordinal) {
                self.queue
                    .change((pool.clone(), ordinal), now.since_boot_ms);
            }
        }
    }
}
