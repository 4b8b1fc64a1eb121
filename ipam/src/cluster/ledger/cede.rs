//! Ceding a part of a block to a node that asks for it: any part, because the pool is exhausted, or one
//! ordinal, because a pod wants that address.
//!
//! The part is written into the file as leaving first, so that nothing of it is given out whatever
//! becomes of the transaction, which splits the row, gives the part its new owner and answers, at once.

use super::Ledger;
use super::lane::{Answer, Call, Fault, Flow};
use super::link::Need;
use super::own::Slot;
use crate::boot::Now;
use crate::cluster::geometry::Block;
use crate::cluster::kv::{Compare, KeyRange, Listing, Revision, Txn, Write};
use crate::cluster::name::PoolName;
use crate::cluster::schema::{
    self, AskPlace, AskRow, BlockRow, FenceRow, FenceState, Happened, Place, PoolState, Wanted,
    decode, encode,
};

/// An ask that this node has to answer.
#[derive(Clone, Debug)]
pub(super) struct OpenAsk {
    pub(super) row: AskRow,
    pub(super) modified: Revision,
    /// Not before, on the boot's clock.
    pub(super) again_ms: u64,
}

/// An ask is being answered.
#[derive(Clone, Debug)]
pub(super) struct Cede {
    place: AskPlace,
    ask: OpenAsk,
    step: Step,
}

#[derive(Clone, Debug)]
enum Step {
    /// The asker's fence is read.
    Look,
    Save {
        gift: Gift,
    },
    Commit {
        gift: Gift,
    },
    /// The ask is answered with a refusal, or removed.
    Refuse,
}

/// What is given.
#[derive(Clone, Copy, Debug)]
struct Gift {
    from: Block,
    part: Block,
    /// The last change of the asker's fence.
    fence: Revision,
}

/// What is to be answered.
enum Decision {
    Cede { from: Block, part: Block },
    Refuse(String),
    Later,
}

impl Ledger {
    pub(super) fn start_cede(&mut self, now: Now) -> Flow {
        let due = |ask: &OpenAsk| ask.row.answer.is_none() && now.since_boot_ms >= ask.again_ms;
        let mut open = self.asks.iter().filter(|(_, ask)| due(ask));
        let Some((place, ask)) = open.next().map(|(place, ask)| (place.clone(), ask.clone()))
        else {
            return Flow::End;
        };
        let fence = self.schema.key(&Place::Fence(place.asker.clone()));
        let cede = Cede {
            place,
            ask,
            step: Step::Look,
        };
        Flow::then(cede, Call::Read(vec![KeyRange::one(&fence)]))
    }

    fn decide(&self, place: &AskPlace, ask: &AskRow) -> Decision {
        let Some(side) = self.pools.get(&place.pool) else {
            return Decision::Refuse("it has no block of the pool".to_owned());
        };
        if side.row.strict {
            return Decision::Refuse("the pool is strict".to_owned());
        }
        match place.wanted {
            Wanted::Any if side.row.state != PoolState::Enabled => {
                Decision::Refuse("the pool is not enabled".to_owned())
            }
            Wanted::Any => self.decide_any(&place.pool, ask),
            Wanted::Ordinal(ordinal) => self.decide_one(&place.pool, ordinal, ask),
        }
    }

    fn decide_any(&self, pool: &PoolName, ask: &AskRow) -> Decision {
        let (free, keep) = (self.own.free(pool), self.tuning.keep_free);
        if free <= keep {
            return Decision::Refuse(format!(
                "{free} addresses are free there, and {keep} are kept"
            ));
        }
        let rooted = self.own.of(pool).filter(|own| {
            own.leaving.is_none() && own.row != Revision(0) && own.epoch == self.link.epoch
        });
        let part = rooted
            .filter_map(|own| Some((own.block, own.idle_part(ask.bits, free - keep)?)))
            .max_by_key(|(_, part)| part.bits());
        match part {
            Some((_, part)) if self.queue.touches(pool, part.ordinals()) => Decision::Later,
            Some((from, part)) => Decision::Cede { from, part },
            None => Decision::Refuse("no part of its blocks is free as a whole".to_owned()),
        }
    }

    fn decide_one(&self, pool: &PoolName, ordinal: u64, ask: &AskRow) -> Decision {
        let Some(own) = self.own.around(pool, ordinal) else {
            return Decision::Refuse("it is not in a block of that node any more".to_owned());
        };
        let part = Block::one(ordinal).expect("it is an ordinal of a block");
        let kept = self.pools[pool].kept.get(&ordinal);
        if let Some(kept) = kept.filter(|kept| ask.sticky.as_ref() != Some(*kept)) {
            return Decision::Refuse(format!("it is kept for {kept}"));
        }
        let unsettled = own.leaving.is_some()
            || own.row == Revision(0)
            || own.epoch != self.link.epoch
            || self.queue.touches(pool, part.ordinals());
        match own.slot(ordinal) {
            Slot::Held(_) => {
                let holder = self.holder(pool, ordinal);
                let holder = holder.map(ToString::to_string).unwrap_or_default();
                Decision::Refuse(format!("attachment {holder} holds it"))
            }
            // Only the one who had it may have it before it is cool.
            Slot::Cooling if kept.is_none() => Decision::Later,
            _ if unsettled => Decision::Later,
            _ => Decision::Cede {
                from: own.block,
                part,
            },
        }
    }
}

impl Cede {
    pub(super) fn answered(self, ledger: &mut Ledger, answer: Answer, now: Now) -> Flow {
        match self.step {
            Step::Look => self.looked(ledger, &answer.rows(), now),
            Step::Save { gift } => {
                let call = Call::Commit(self.txn(ledger, gift, now));
                let step = Step::Commit { gift };
                Flow::then(Self { step, ..self }, call)
            }
            Step::Commit { gift } => {
                let committed = answer.committed();
                if committed.held {
                    self.ceded(ledger, gift, committed.revision, now);
                } else {
                    ledger.keep_part(&self.place.pool, gift.from, now);
                    ledger.link.need(Need::Look);
                    ledger.put_off(&self.place, now);
                }
                Flow::End
            }
            Step::Refuse => {
                if answer.committed().held {
                    ledger.asks.remove(&self.place);
                } else {
                    ledger.link.need(Need::Look);
                    ledger.put_off(&self.place, now);
                }
                Flow::End
            }
        }
    }

    pub(super) fn interrupted(self, ledger: &mut Ledger, fault: Fault, now: Now) {
        if let (Step::Save { gift } | Step::Commit { gift }, Fault::Undone) = (&self.step, fault) {
            ledger.keep_part(&self.place.pool, gift.from, now);
        }
    }

    fn looked(self, ledger: &mut Ledger, rows: &[Listing], now: Now) -> Flow {
        let row = rows[0].rows.first();
        let fence = row.and_then(|row| {
            let fence: FenceRow = decode(&row.key, &row.value).ok()?;
            let asks = fence.state == FenceState::Active && fence.epoch == self.ask.row.epoch;
            asks.then_some(row.modified)
        });
        let Some(fence) = fence else {
            // Who asked is no more: nobody waits for an answer.
            return self.answer(ledger, None);
        };
        match ledger.decide(&self.place, &self.ask.row) {
            Decision::Later => {
                ledger.put_off(&self.place, now);
                Flow::End
            }
            Decision::Refuse(reason) => {
                let answer = schema::Answer::Refused { reason };
                self.answer(ledger, Some(answer))
            }
            Decision::Cede { from, part } => {
                let own = ledger.own.at_mut(&self.place.pool, from.first());
                let own = own.expect("it was just decided about");
                let side = &ledger.pools[&self.place.pool];
                own.leaving = Some(part);
                own.sort_out(|at| side.allows(at));
                let step = Step::Save {
                    gift: Gift { from, part, fence },
                };
                Flow::then(Self { step, ..self }, ledger.save())
            }
        }
    }

    /// Writes the answer, or removes the ask.
    fn answer(self, ledger: &Ledger, answer: Option<schema::Answer>) -> Flow {
        let key = ledger.schema.key(&Place::Ask(self.place.clone()));
        let mut txn = ledger.guarded();
        txn.when
            .push(Compare::Modified(key.clone(), self.ask.modified));
        txn.writes.push(match answer {
            Some(answer) => {
                let row = AskRow {
                    answer: Some(answer),
                    ..self.ask.row.clone()
                };
                Write::Put(key, encode(&row))
            }
            None => Write::Delete(key),
        });
        let step = Step::Refuse;
        Flow::then(Self { step, ..self }, Call::Commit(txn))
    }

    fn txn(&self, ledger: &mut Ledger, gift: Gift, now: Now) -> Txn {
        ledger.attempts += 1;
        let pool = &self.place.pool;
        let block_key = |first| {
            let pool = pool.clone();
            ledger.schema.key(&Place::Block { pool, first })
        };
        let own = ledger.own.at(pool, gift.from.first());
        let own = own.expect("nothing takes a block away while a part of it leaves");
        let ask_key = ledger.schema.key(&Place::Ask(self.place.clone()));
        let mut txn = ledger.guarded();
        txn.when.extend([
            Compare::Modified(
                ledger.schema.key(&Place::Fence(self.place.asker.clone())),
                gift.fence,
            ),
            Compare::Modified(block_key(gift.from.first()), own.row),
            Compare::Modified(ask_key.clone(), self.ask.modified),
        ]);
        for rest in gift.from.without(gift.part) {
            let row = BlockRow {
                claimed_at_unix_ms: own.claimed_at_unix_ms,
                lender: own.lender.clone(),
                ..ledger.block_row(pool, rest, &own.attempt, now)
            };
            txn.writes
                .push(Write::Put(block_key(rest.first()), encode(&row)));
        }
        let given = BlockRow {
            node: self.place.asker.clone(),
            epoch: self.ask.row.epoch,
            lender: Some(ledger.node.clone()),
            ..ledger.block_row(pool, gift.part, &self.ask.row.attempt, now)
        };
        let answered = AskRow {
            answer: Some(schema::Answer::Ceded {
                first: gift.part.first(),
                bits: gift.part.bits(),
            }),
            ..self.ask.row.clone()
        };
        let reason = format!("asked for by node {}", self.place.asker);
        txn.writes.extend([
            Write::Put(block_key(gift.part.first()), encode(&given)),
            Write::Put(ask_key, encode(&answered)),
            ledger.block_audit(pool, gift.part, Happened::Ceded, &reason, now),
        ]);
        txn
    }

    fn ceded(self, ledger: &mut Ledger, gift: Gift, revision: Revision, now: Now) {
        let pool = &self.place.pool;
        let own = ledger.own.remove(pool, gift.from.first());
        let own = own.expect("nothing takes a block away while a part of it leaves");
        for rest in gift.from.without(gift.part) {
            let mut rest = own.part(rest);
            rest.row = revision;
            ledger.own.insert(pool, rest);
        }
        ledger.asks.remove(&self.place);
        ledger.forget_elsewhere();
        ledger.counters.ceded += 1;
        ledger.unsaved_since(now);
    }
}

impl Ledger {
    /// A part of the block does not leave after all.
    fn keep_part(&mut self, pool: &PoolName, from: Block, now: Now) {
        let side = &self.pools[pool];
        if let Some(own) = self.own.at_mut(pool, from.first()) {
            own.leaving = None;
            own.sort_out(|at| side.allows(at));
        }
        self.unsaved_since(now);
    }

    fn put_off(&mut self, place: &AskPlace, now: Now) {
        if let Some(ask) = self.asks.get_mut(place) {
            ask.again_ms = now.since_boot_ms + self.tuning.retry_ms;
        }
    }
}
