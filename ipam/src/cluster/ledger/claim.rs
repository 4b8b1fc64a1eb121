//! Claiming blocks that are nobody's.
//!
//! A claim reads a window of the pool, chooses, writes its choice into the file, and commits. The
//! transaction alone decides: it compares that no block begins inside the chosen one, that the few rows
//! under which a larger one could cover it are as they were read, and that pool, fence and store are.

use super::Ledger;
use super::adopt::Adopt;
use super::candidates::{Windows, unowned};
use super::file::{Claiming, SavedSpan};
use super::lane::{Answer, Call, Fault, Flow};
use super::link::Need;
use super::recast::FoundBlock;
use crate::boot::Now;
use crate::cluster::geometry::Block;
use crate::cluster::kv::{Compare, KeyRange, Listing, Revision, Txn, Write};
use crate::cluster::name::{Attempt, PoolName};
use crate::cluster::schema::{AuditPlace, AuditRow, BlockRow, Happened, Place, encode};
use crate::cluster::unowned::nobodys;

/// Blocks are being claimed.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pool: PoolName,
    goal: Goal,
    window: Block,
    step: Step,
}

/// What is to be claimed.
#[derive(Clone, Copy, Debug)]
enum Goal {
    /// So many blocks, anywhere.
    Some(u64),
    /// The largest block that is nobody's around this ordinal.
    Around(u64),
}

#[derive(Clone, Debug)]
enum Step {
    Look,
    Save { chosen: Chosen },
    Commit { chosen: Chosen },
}

/// What a transaction claims, and what it compares.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    pub(super) pool: PoolName,
    /// The last change of the pool's row.
    pub(super) row: Revision,
    pub(super) blocks: Vec<Block>,
    /// The blocks that were read: where a larger one could cover those chosen.
    pub(super) seen: Vec<(Block, Revision)>,
    pub(super) attempt: Attempt,
}

impl Ledger {
    /// Most blocks that one transaction claims.
    const MOST_AT_ONCE: u64 = 4;

    pub(super) fn start_claim_for_waiters(&mut self, now: Now) -> Flow {
        let waits = |ledger: &Self, pool: &PoolName| {
            !ledger.pools[pool].waiters.is_empty() && ledger.own.free(pool) == 0
        };
        self.start_claim_if(now, waits)
    }

    pub(super) fn start_claim_ahead(&mut self, now: Now) -> Flow {
        self.start_claim_if(now, |ledger, pool| ledger.is_low(pool, now))
    }

    fn start_claim_if(&mut self, now: Now, needs: impl Fn(&Self, &PoolName) -> bool) -> Flow {
        let mut pools = self.pools.iter().filter(|(_, side)| {
            side.is_open(&self.about.labels)
                && !side.search.is_over()
                && !side.is_dry(now.since_boot_ms)
        });
        let pool = pools.find(|(pool, _)| needs(self, pool));
        let Some(pool) = pool.map(|(pool, _)| pool.clone()) else {
            return Flow::End;
        };
        let wanted = Goal::Some(self.blocks_wanted(&pool, now));
        self.claim(pool, wanted)
    }

    /// Whether a pool that is used has few free ordinals, and it is time to look for more.
    fn is_low(&self, pool: &PoolName, now: Now) -> bool {
        let side = &self.pools[pool];
        let rests = side.is_resting(now.since_boot_ms);
        side.used && !rests && self.own.free(pool) < side.low_water()
    }

    /// When the next claim may begin that rests now, on the boot's clock.
    pub(super) fn claim_due_ms(&self, now: Now) -> Option<u64> {
        let rests = self.pools.iter().filter_map(|(pool, side)| {
            let until = side.dry.as_ref()?.rests_until_ms;
            let low = side.used && self.own.free(pool) < side.low_water();
            (low && side.is_open(&self.about.labels) && until > now.since_boot_ms).then_some(until)
        });
        rests.min()
    }

    fn blocks_wanted(&self, pool: &PoolName, now: Now) -> u64 {
        let side = &self.pools[pool];
        let missing = side.demand(now.since_boot_ms);
        let missing = missing.saturating_sub(self.own.free(pool));
        let block = 1 << side.row.geometry.block_bits();
        missing.div_ceil(block).clamp(1, Self::MOST_AT_ONCE)
    }

    /// Claims the block around an ordinal that is nobody's.
    pub(super) fn claim_around(&mut self, pool: PoolName, ordinal: u64) -> Flow {
        self.claim(pool, Goal::Around(ordinal))
    }

    fn claim(&mut self, pool: PoolName, goal: Goal) -> Flow {
        let side = &self.pools[&pool];
        let windows = Windows::of(&side.row.geometry, side.row.largest_bits);
        let window = match goal {
            Goal::Around(ordinal) => {
                windows.around(Block::one(ordinal).expect("it is an ordinal of the pool"))
            }
            Goal::Some(_) => match side.search.hole() {
                Some(hole) => windows.around(hole),
                None => {
                    windows.nth(self.mix(pool.as_str(), 0) % windows.count() + side.search.passed)
                }
            },
        };
        let ranges = vec![
            KeyRange::one(&self.schema.key(&Place::Pool(pool.clone()))),
            self.schema.within("blocks", &pool, window),
        ];
        let step = Step::Look;
        let claim = Claim {
            pool,
            goal,
            window,
            step,
        };
        Flow::then(claim, Call::Read(ranges))
    }
}

impl Claim {
    pub(super) fn answered(self, ledger: &mut Ledger, answer: Answer, now: Now) -> Flow {
        match self.step {
            Step::Look => self.looked(ledger, &answer.rows(), now),
            Step::Save { ref chosen } => {
                let call = Call::Commit(ledger.claim_txn(chosen, now));
                let step = Step::Commit {
                    chosen: chosen.clone(),
                };
                Flow::then(Self { step, ..self }, call)
            }
            Step::Commit { chosen } => {
                let committed = answer.committed();
                if committed.held {
                    return ledger.claimed(&chosen, committed.revision, now);
                }
                ledger.forget_claiming(&chosen);
                ledger.counters.conflicts += 1;
                ledger.link.need(Need::Look);
                if let Some(side) = ledger.pools.get_mut(&self.pool) {
                    side.search.salt += 1;
                }
                Flow::End
            }
        }
    }

    pub(super) fn interrupted(self, ledger: &mut Ledger, fault: Fault, _: Now) {
        if let (Step::Save { chosen } | Step::Commit { chosen }, Fault::Undone) = (self.step, fault)
        {
            ledger.forget_claiming(&chosen);
        }
    }

    fn looked(self, ledger: &mut Ledger, rows: &[Listing], now: Now) -> Flow {
        ledger.set_pool(&self.pool, rows[0].rows.first(), now);
        let open = |side: &super::side::PoolSide| side.is_open(&ledger.about.labels);
        let Some(row) = rows[0].rows.first().map(|row| row.modified) else {
            return Flow::End;
        };
        if !ledger.pools.get(&self.pool).is_some_and(open) {
            return Flow::End;
        }
        let read = |row| FoundBlock::read(&ledger.schema, row);
        let found: Result<Vec<FoundBlock>, _> = rows[1].rows.iter().map(read).collect();
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                ledger.set_dry(&self.pool, error.to_string(), now);
                return Flow::End;
            }
        };
        if ledger.has_forgotten(&found) {
            ledger.link.need(Need::Adopt);
            return Flow::End;
        }
        let seen: Vec<_> = found.iter().map(|one| (one.block, one.modified)).collect();
        let taken: Vec<Block> = seen.iter().map(|(block, _)| *block).collect();
        let blocks = self.choose(ledger, &taken);
        if blocks.is_empty() {
            return Flow::End;
        }
        let chosen = Chosen {
            pool: self.pool.clone(),
            row,
            blocks,
            seen,
            attempt: ledger.attempt(),
        };
        ledger.note_claiming(&chosen);
        let step = Step::Save { chosen };
        Flow::then(Self { step, ..self }, ledger.save())
    }

    /// The blocks to claim in this window; none if another one is to be looked at, or nothing at all.
    fn choose(&self, ledger: &mut Ledger, taken: &[Block]) -> Vec<Block> {
        let salt = ledger.pools[&self.pool].search.salt;
        let place = |block: &Block| ledger.mix(self.pool.as_str(), block.first() ^ salt << 41);
        let side = &ledger.pools[&self.pool];
        let bits = side.row.geometry.block_bits();
        let gives = |block: &Block| block.ordinals().any(|ordinal| side.allows(ordinal));
        let free = unowned(self.window, taken, bits).into_iter();
        let n = match self.goal {
            Goal::Around(ordinal) => {
                return free.filter(|block| block.contains(ordinal)).collect();
            }
            Goal::Some(n) => usize::try_from(n).unwrap_or(1),
        };
        let looked_for = side.search.hole();
        let (mut whole, holes): (Vec<Block>, Vec<Block>) =
            free.filter(gives).partition(|block| block.bits() == bits);
        if !whole.is_empty() {
            whole.sort_by_key(place);
            whole.truncate(n);
            return whole;
        }
        let windows = Windows::of(&side.row.geometry, side.row.largest_bits);
        let side = ledger.pools.get_mut(&self.pool).expect("it is claimed of");
        let Some(hole) = looked_for else {
            side.search.pass(holes, windows.count());
            return Vec::new();
        };
        side.search.drop_hole();
        holes.into_iter().filter(|free| free.covers(hole)).collect()
    }
}

impl Ledger {
    /// Whether a row is this node's and memory does not know the block: the file is older than it.
    fn has_forgotten(&self, found: &[FoundBlock]) -> bool {
        let unknown = |found: &FoundBlock| {
            found.row.node == self.node && !self.own.overlaps(&found.pool, found.block)
        };
        found.iter().any(unknown)
    }

    pub(super) fn note_claiming(&mut self, chosen: &Chosen) {
        let blocks = chosen.blocks.iter();
        self.claiming.extend(blocks.map(|block| Claiming {
            pool: chosen.pool.clone(),
            block: SavedSpan(*block),
            attempt: chosen.attempt.clone(),
        }));
    }

    pub(super) fn forget_claiming(&mut self, chosen: &Chosen) {
        self.claiming.retain(|one| one.attempt != chosen.attempt);
    }

    pub(super) fn claim_txn(&self, chosen: &Chosen, now: Now) -> Txn {
        let mut txn = self.guarded();
        let pool = self.schema.key(&Place::Pool(chosen.pool.clone()));
        txn.when.push(Compare::Modified(pool, chosen.row));
        let largest = self.pools[&chosen.pool].row.largest_bits;
        for block in &chosen.blocks {
            txn.when.extend(nobodys(
                &self.schema,
                &chosen.pool,
                *block,
                largest,
                &chosen.seen,
            ));
            txn.writes.extend(self.block_writes(chosen, *block, now));
        }
        // Two blocks may have a common ancestor.
        let mut unique = Vec::with_capacity(txn.when.len());
        for compare in txn.when {
            if !unique.contains(&compare) {
                unique.push(compare);
            }
        }
        txn.when = unique;
        txn
    }

    fn block_writes(&self, chosen: &Chosen, block: Block, now: Now) -> [Write; 2] {
        let key = self.schema.key(&Place::Block {
            pool: chosen.pool.clone(),
            first: block.first(),
        });
        let row = self.block_row(&chosen.pool, block, &chosen.attempt, now);
        let audit = self.block_audit(&chosen.pool, block, Happened::Claimed, "", now);
        [Write::Put(key, encode(&row)), audit]
    }

    /// The row of a block that this node takes now.
    pub(super) fn block_row(
        &self,
        pool: &PoolName,
        block: Block,
        attempt: &Attempt,
        now: Now,
    ) -> BlockRow {
        let prefixes = self.pools[pool].row.geometry.prefixes_of(block);
        BlockRow {
            bits: block.bits(),
            node: self.node.clone(),
            epoch: self.link.epoch,
            claimed_at_unix_ms: now.unix_ms,
            attempt: attempt.clone(),
            lender: None,
            addresses: prefixes.iter().map(ToString::to_string).collect(),
        }
    }

    /// The audit row of something that happened to a block of this node.
    pub(super) fn block_audit(
        &self,
        pool: &PoolName,
        block: Block,
        what: Happened,
        reason: &str,
        now: Now,
    ) -> Write {
        let place = AuditPlace {
            pool: pool.clone(),
            ordinal: block.first(),
            at_unix_ms: now.unix_ms,
            writer: self.node.short().to_owned(),
            nth: self.attempts,
        };
        let row = AuditRow {
            at_unix_ms: now.unix_ms,
            what,
            node: self.node.clone(),
            reason: reason.to_owned(),
            bits: Some(block.bits()),
            attachment: None,
            sequence: None,
            pod: None,
            since_unix_ms: None,
        };
        Write::Put(self.schema.key(&Place::Audit(place)), encode(&row))
    }

    fn claimed(&mut self, chosen: &Chosen, revision: Revision, now: Now) -> Flow {
        self.counters.claims += u64::try_from(chosen.blocks.len()).unwrap_or_default();
        let found = chosen.blocks.iter().map(|block| FoundBlock {
            pool: chosen.pool.clone(),
            block: *block,
            row: self.block_row(&chosen.pool, *block, &chosen.attempt, now),
            modified: revision,
        });
        Adopt::begin(self, found.collect())
    }
}
