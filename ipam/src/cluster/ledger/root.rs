//! Rows of blocks that are this node's and are not as they should be: of an earlier epoch, or lost by
//! the store.

use super::Ledger;
use super::candidates::Windows;
use super::claim::Chosen;
use super::lane::{Answer, Call, Fault, Flow};
use super::link::Need;
use super::recast::FoundBlock;
use crate::boot::Now;
use crate::cluster::geometry::Block;
use crate::cluster::kv::{Compare, KeyRange, Revision, Txn, Write};
use crate::cluster::name::{Attempt, PoolName};
use crate::cluster::schema::{BlockRow, Happened, Place, encode};

/// Rows get this node's epoch.
#[derive(Clone, Debug)]
pub(super) struct Restamp(Vec<(PoolName, Block)>);

impl Ledger {
    pub(super) fn start_restamp(&mut self, now: Now) -> Flow {
        let old = self.own.all().filter(|(_, own)| {
            own.row != Revision(0) && own.epoch != self.link.epoch && own.leaving.is_none()
        });
        let old: Vec<_> = old
            .take(Txn::MOST_WRITES / 2)
            .map(|(pool, own)| (pool.clone(), own.block))
            .collect();
        if old.is_empty() {
            return Flow::End;
        }
        let mut txn = self.guarded();
        for (pool, block) in &old {
            let own = self.own.at(pool, block.first()).expect("it was just found");
            let key = self.schema.key(&Place::Block {
                pool: pool.clone(),
                first: block.first(),
            });
            let row = BlockRow {
                claimed_at_unix_ms: own.claimed_at_unix_ms,
                lender: own.lender.clone(),
                ..self.block_row(pool, *block, &own.attempt, now)
            };
            txn.when.push(Compare::Modified(key.clone(), own.row));
            txn.writes.push(Write::Put(key, encode(&row)));
        }
        Flow::then(Restamp(old), Call::Commit(txn))
    }
}

impl Restamp {
    pub(super) fn answered(self, ledger: &mut Ledger, answer: Answer, now: Now) -> Flow {
        let committed = answer.committed();
        if !committed.held {
            ledger.link.need(Need::Compare);
            return Flow::End;
        }
        let epoch = ledger.link.epoch;
        for (pool, block) in self.0 {
            if let Some(own) = ledger.own.at_mut(&pool, block.first()) {
                own.epoch = epoch;
                own.row = committed.revision;
                let held: Vec<u64> = own.holders().map(|(ordinal, _)| ordinal).collect();
                for ordinal in held {
                    ledger
                        .queue
                        .change((pool.clone(), ordinal), now.since_boot_ms);
                }
            }
        }
        ledger.unsaved_since(now);
        Flow::End
    }

    #[allow(clippy::unused_self)] // as every job
    pub(super) fn interrupted(self, _: &mut Ledger, _: Fault, _: Now) {}
}

/// A row that the store has lost is written again, unless somebody else has its place by now.
#[derive(Clone, Debug)]
pub(super) struct Root {
    pool: PoolName,
    block: Block,
    attempt: Attempt,
    step: Step,
}

#[derive(Clone, Debug)]
enum Step {
    Look,
    Commit,
}

impl Ledger {
    pub(super) fn start_root(&mut self, _: Now) -> Flow {
        let mut all = self.own.all();
        let rootless = all.find(|(_, own)| own.row == Revision(0));
        let Some((pool, block)) = rootless.map(|(pool, own)| (pool.clone(), own.block)) else {
            return Flow::End;
        };
        let row = &self.pools[&pool].row;
        let window = Windows::of(&row.geometry, row.largest_bits).around(block);
        let ranges = vec![
            KeyRange::one(&self.schema.key(&Place::Pool(pool.clone()))),
            self.schema.within("blocks", &pool, window),
        ];
        drop(all);
        let root = Root {
            pool,
            block,
            attempt: self.attempt(),
            step: Step::Look,
        };
        Flow::then(root, Call::Read(ranges))
    }
}

impl Root {
    pub(super) fn answered(self, ledger: &mut Ledger, answer: Answer, now: Now) -> Flow {
        match self.step {
            Step::Look => self.looked(ledger, answer, now),
            Step::Commit => {
                let committed = answer.committed();
                if !committed.held {
                    ledger.link.need(Need::Look);
                    return Flow::End;
                }
                let epoch = ledger.link.epoch;
                if let Some(own) = ledger.own.at_mut(&self.pool, self.block.first()) {
                    own.row = committed.revision;
                    own.epoch = epoch;
                    own.attempt = self.attempt;
                }
                ledger.counters.restored += 1;
                ledger.unsaved_since(now);
                Flow::End
            }
        }
    }

    fn looked(self, ledger: &mut Ledger, answer: Answer, now: Now) -> Flow {
        let rows = answer.rows();
        let read = |row| FoundBlock::read(&ledger.schema, row);
        let found: Result<Vec<FoundBlock>, _> = rows[1].rows.iter().map(read).collect();
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                ledger.fail(error.to_string(), now);
                return Flow::End;
            }
        };
        if found.iter().any(|one| one.block.overlaps(self.block)) {
            // Somebody has it: the comparison says who.
            ledger.link.need(Need::Compare);
            return Flow::End;
        }
        let pool = rows[0].rows.first();
        let chosen = Chosen {
            pool: self.pool.clone(),
            row: pool.map_or(Revision(0), |row| row.modified),
            blocks: vec![self.block],
            seen: found.iter().map(|one| (one.block, one.modified)).collect(),
            attempt: self.attempt.clone(),
        };
        let mut txn = ledger.claim_txn(&chosen, now);
        if pool.is_none() {
            // The pool's row is lost with it, and this node is not the one to say what it was.
            ledger.fail(
                format!("pool {} has blocks and is not in the store: restore a backup with `bulkhead store restore`", self.pool),
                now,
            );
            return Flow::End;
        }
        let reason = "its row was lost";
        let audit = ledger.block_audit(&self.pool, self.block, Happened::Claimed, reason, now);
        txn.writes.truncate(1);
        txn.writes.push(audit);
        let step = Step::Commit;
        Flow::then(Self { step, ..self }, Call::Commit(txn))
    }

    #[allow(clippy::unused_self)] // as every job
    pub(super) fn interrupted(self, _: &mut Ledger, _: Fault, _: Now) {}
}
