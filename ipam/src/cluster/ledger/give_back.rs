//! Giving idle blocks back, so that other nodes can claim them.
//!
//! A block that was seen idle twice, a while apart, is written into the file as leaving; from then on
//! nothing of it is given out, whatever becomes of the transaction.

use super::Ledger;
use super::lane::{Answer, Call, Fault, Flow};
use super::link::Need;
use crate::boot::Now;
use crate::cluster::geometry::Block;
use crate::cluster::kv::{Compare, Revision, Write};
use crate::cluster::name::PoolName;
use crate::cluster::schema::{Happened, Place, PoolState};

/// A block is being given back.
#[derive(Clone, Debug)]
pub(super) struct GiveBack {
    pool: PoolName,
    block: Block,
    row: Revision,
    step: Step,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Save,
    Commit,
}

impl Ledger {
    pub(super) fn start_give_back(&mut self, now: Now) -> Flow {
        let Some((pool, block)) = self.surplus(now) else {
            return Flow::End;
        };
        let own = self.own.at_mut(&pool, block.first());
        let own = own.expect("a surplus block is one of this node's");
        own.leaving = Some(block);
        own.sort_out(|_| false);
        let job = GiveBack {
            row: own.row,
            pool,
            block,
            step: Step::Save,
        };
        Flow::then(job, self.save())
    }

    /// A block that is idle and not needed, or that was leaving before.
    fn surplus(&self, now: Now) -> Option<(PoolName, Block)> {
        let mut all = self.own.all();
        let found = all.find(|(pool, own)| {
            let leaves = own.leaving == Some(own.block);
            let rested = own
                .idle_since_ms
                .is_some_and(|since| now.since_boot_ms >= since + self.rest_ms(pool));
            let quiet = own.is_idle() && !self.queue.touches(pool, own.block.ordinals());
            quiet
                && own.row != Revision(0)
                && (leaves || rested && self.can_spare(pool, own.free()))
        })?;
        Some((found.0.clone(), found.1.block))
    }

    /// How long a block lies idle before it is given back: nothing comes out of a pool that is drained.
    pub(super) fn rest_ms(&self, pool: &PoolName) -> u64 {
        let state = self.pools.get(pool).map(|side| side.row.state);
        match state {
            Some(PoolState::Draining) => 0,
            Some(PoolState::Enabled | PoolState::Disabled) | None => self.tuning.idle_ms,
        }
    }

    /// Whether a pool's other blocks suffice without one that has `free` ordinals.
    pub(super) fn can_spare(&self, pool: &PoolName, free: u64) -> bool {
        let side = &self.pools[pool];
        match side.row.state {
            PoolState::Draining => true,
            PoolState::Disabled => false,
            PoolState::Enabled if !side.row.is_for_node(&self.about.labels) => true,
            PoolState::Enabled => {
                side.waiters.is_empty() && self.own.free(pool) - free >= side.low_water()
            }
        }
    }

    /// Observes which blocks are idle.
    pub(super) fn observe_idle(&mut self, now: Now) {
        for (_, own) in self.own.all_mut() {
            if own.is_idle() {
                own.idle_since_ms.get_or_insert(now.since_boot_ms);
            } else {
                own.idle_since_ms = None;
            }
        }
    }
}

impl GiveBack {
    pub(super) fn answered(self, ledger: &mut Ledger, answer: Answer, now: Now) -> Flow {
        match self.step {
            Step::Save => {
                let key = ledger.schema.key(&Place::Block {
                    pool: self.pool.clone(),
                    first: self.block.first(),
                });
                ledger.attempts += 1;
                let what = Happened::Returned;
                let audit = ledger.block_audit(&self.pool, self.block, what, "idle", now);
                let mut txn = ledger.guarded();
                txn.when.push(Compare::Modified(key.clone(), self.row));
                txn.writes.extend([Write::Delete(key), audit]);
                let step = Step::Commit;
                Flow::then(Self { step, ..self }, Call::Commit(txn))
            }
            Step::Commit if answer.committed().held => {
                ledger.own.remove(&self.pool, self.block.first());
                ledger.forget_elsewhere();
                ledger.counters.returned += 1;
                ledger.unsaved_since(now);
                Flow::End
            }
            Step::Commit => {
                ledger.link.need(Need::Compare);
                Flow::End
            }
        }
    }

    /// It goes on leaving: the file may say so.
    #[allow(clippy::unused_self)] // as every job
    pub(super) fn interrupted(self, _: &mut Ledger, _: Fault, _: Now) {}
}
