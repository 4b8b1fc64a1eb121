//! Making two halves one block again. A block that was split for somebody else becomes whole once the
//! other half is this node's too, or nobody's: fewer rows, and one route instead of many.

use super::Ledger;
use super::claim::Chosen;
use super::lane::{Answer, Call, Fault, Flow};
use super::link::Need;
use super::own::OwnBlock;
use super::recast::FoundBlock;
use crate::boot::Now;
use crate::cluster::geometry::Block;
use crate::cluster::kv::{Compare, KeyRange, Listing, Revision, Txn, Write};
use crate::cluster::name::{Attempt, PoolName};
use crate::cluster::schema::{BlockRow, Happened, Place, encode};

/// Two halves are being made one.
#[derive(Clone, Debug)]
pub(super) struct Grow {
    pool: PoolName,
    half: Block,
    parent: Block,
    step: Step,
}

#[derive(Clone, Debug)]
enum Step {
    Look,
    Save { plan: Plan },
    Commit { plan: Plan },
}

/// What is compared and written.
#[derive(Clone, Debug)]
struct Plan {
    chosen: Chosen,
    /// The last change of the other half's row, if it is this node's.
    other: Option<Revision>,
}

impl Ledger {
    pub(super) fn start_grow(&mut self, now: Now) -> Flow {
        if now.since_boot_ms < self.tidy_at_ms {
            return Flow::End;
        }
        let Some((pool, half, parent)) = self.partial() else {
            self.tidy_at_ms = now.since_boot_ms + self.tuning.tidy_ms;
            return Flow::End;
        };
        let ranges = vec![
            KeyRange::one(&self.schema.key(&Place::Pool(pool.clone()))),
            self.schema.within("blocks", &pool, parent),
        ];
        self.passed.insert((pool.clone(), half.first()));
        let step = Step::Look;
        let grow = Grow {
            pool,
            half,
            parent,
            step,
        };
        Flow::then(grow, Call::Read(ranges))
    }

    /// A block that is smaller than those that are claimed, and was not looked at in this round.
    fn partial(&mut self) -> Option<(PoolName, Block, Block)> {
        let partial = self.own.all().find_map(|(pool, own)| {
            let side = &self.pools[pool];
            let small = own.block.bits() < side.row.geometry.block_bits();
            let passed = self.passed.contains(&(pool.clone(), own.block.first()));
            let parent = own.block.parent()?;
            let fits = small && !passed && self.may_grow(own) && side.is_open(&self.about.labels);
            fits.then(|| (pool.clone(), own.block, parent))
        });
        if partial.is_none() {
            self.passed.clear();
        }
        partial
    }

    fn may_grow(&self, own: &OwnBlock) -> bool {
        own.leaving.is_none() && own.row != Revision(0) && own.epoch == self.link.epoch
    }
}

impl Grow {
    pub(super) fn answered(self, ledger: &mut Ledger, answer: Answer, now: Now) -> Flow {
        match self.step {
            Step::Look => self.looked(ledger, &answer.rows(), now),
            Step::Save { ref plan } => {
                let call = Call::Commit(self.txn(ledger, plan, now));
                let step = Step::Commit { plan: plan.clone() };
                Flow::then(Self { step, ..self }, call)
            }
            Step::Commit { ref plan } => {
                let committed = answer.committed();
                ledger.forget_claiming(&plan.chosen);
                if committed.held {
                    self.merge(ledger, &plan.chosen.attempt, committed.revision, now);
                } else {
                    ledger.link.need(Need::Look);
                }
                Flow::End
            }
        }
    }

    pub(super) fn interrupted(self, ledger: &mut Ledger, fault: Fault, _: Now) {
        if let (Step::Save { plan } | Step::Commit { plan }, Fault::Undone) = (self.step, fault) {
            ledger.forget_claiming(&plan.chosen);
        }
    }

    fn looked(self, ledger: &mut Ledger, rows: &[Listing], now: Now) -> Flow {
        let read = |row| FoundBlock::read(&ledger.schema, row);
        let found: Result<Vec<FoundBlock>, _> = rows[1].rows.iter().map(read).collect();
        let (Some(pool), Ok(found)) = (rows[0].rows.first(), found) else {
            return Flow::End;
        };
        let buddy = self.parent.halves().expect("a parent has halves");
        let buddy = if buddy[0] == self.half {
            buddy[1]
        } else {
            buddy[0]
        };
        let there: Vec<&FoundBlock> = found
            .iter()
            .filter(|one| one.block.overlaps(buddy))
            .collect();
        let own = ledger.own.at(&self.pool, buddy.first());
        let mine = own.filter(|own| own.block == buddy && ledger.may_grow(own));
        let other = match (&there[..], mine) {
            ([], None) => None,
            ([one], Some(own)) if one.block == buddy && one.modified == own.row => Some(own.row),
            _ => return Flow::End,
        };
        let modified = pool.modified;
        ledger.set_pool(&self.pool, Some(pool), now);
        let plan = Plan {
            chosen: Chosen {
                pool: self.pool.clone(),
                row: modified,
                blocks: vec![self.parent],
                seen: found.iter().map(|one| (one.block, one.modified)).collect(),
                attempt: ledger.attempt(),
            },
            other,
        };
        ledger.note_claiming(&plan.chosen);
        let step = Step::Save { plan };
        Flow::then(Self { step, ..self }, ledger.save())
    }

    fn txn(&self, ledger: &Ledger, plan: &Plan, now: Now) -> Txn {
        let own = ledger.own.at(&self.pool, self.half.first());
        let own = own.expect("nothing takes a block away while it grows");
        let halves = self.parent.halves().expect("a parent has halves");
        let key = |block: Block| {
            ledger.schema.key(&Place::Block {
                pool: self.pool.clone(),
                first: block.first(),
            })
        };
        let buddy = if halves[0] == self.half {
            halves[1]
        } else {
            halves[0]
        };
        let pool = ledger.schema.key(&Place::Pool(self.pool.clone()));
        let mut txn = ledger.guarded();
        txn.when.push(Compare::Modified(pool, plan.chosen.row));
        txn.when.push(Compare::Modified(key(self.half), own.row));
        match plan.other {
            Some(row) => txn.when.push(Compare::Modified(key(buddy), row)),
            // This node's own half, which is compared, keeps every larger block away.
            None => txn.when.push(Compare::NoneIn(
                ledger.schema.within("blocks", &self.pool, buddy),
            )),
        }
        let attempt: &Attempt = &plan.chosen.attempt;
        let row = BlockRow {
            claimed_at_unix_ms: own.claimed_at_unix_ms,
            lender: own.lender.clone(),
            ..ledger.block_row(&self.pool, self.parent, attempt, now)
        };
        txn.writes.push(Write::Put(key(self.parent), encode(&row)));
        txn.writes.push(Write::Delete(key(halves[1])));
        if plan.other.is_none() {
            let what = Happened::Claimed;
            let audit = ledger.block_audit(&self.pool, buddy, what, "the other half", now);
            txn.writes.push(audit);
        }
        txn
    }

    fn merge(&self, ledger: &mut Ledger, attempt: &Attempt, revision: Revision, now: Now) {
        let side = &ledger.pools[&self.pool];
        let mut whole = OwnBlock::new(self.parent, |at| side.allows(at));
        for half in self.parent.halves().into_iter().flatten() {
            if let Some(own) = ledger.own.remove(&self.pool, half.first()) {
                whole.inherit(&own);
                whole.claimed_at_unix_ms = own.claimed_at_unix_ms;
                whole.lender = own.lender;
            }
        }
        whole.row = revision;
        whole.epoch = ledger.link.epoch;
        whole.attempt = attempt.clone();
        ledger.own.insert(&self.pool, whole);
        ledger.counters.merged += 1;
        ledger.passed.clear();
        // What was published there by whoever had the other half is looked at.
        ledger.link.need(Need::Compare);
        ledger.unsaved_since(now);
    }
}
