//! Asking another node for a part of its blocks, and waiting for its answer. Whoever does not answer
//! lends nothing.

use serde::{Deserialize, Serialize};

use super::Ledger;
use super::adopt::Adopt;
use super::lane::{Answer, Call, Fault, Flow};
use super::link::Need;
use super::recast::FoundBlock;
use super::refusal::PoolRefusal;
use crate::boot::Now;
use crate::cluster::geometry::Block;
use crate::cluster::kv::{Compare, KeyRange, Listing, Revision, Write};
use crate::cluster::name::{Attempt, NodeId, PoolName, StickyId};
use crate::cluster::schema::{self, AskPlace, AskRow, LiveRow, Place, Wanted, decode, encode};

/// An ask of this node that has no answer yet, or whose answer is not taken in yet.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Asking {
    pub(super) owner: NodeId,
    pub(super) pool: PoolName,
    /// The ordinal that is asked for; any part if it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ordinal: Option<u64>,
    pub(super) attempt: Attempt,
    /// Since when, on the boot's clock of this process.
    #[serde(skip)]
    pub(super) since_ms: u64,
    #[serde(skip)]
    pub(super) again_ms: u64,
}

/// Somebody is being asked.
#[derive(Clone, Debug)]
pub(super) struct Borrow(Step);

#[derive(Clone, Debug)]
enum Step {
    /// Who has free addresses is being read.
    Lenders {
        pool: PoolName,
    },
    Save {
        asking: Asking,
        row: AskRow,
    },
    Commit {
        asking: Asking,
    },
}

impl Ledger {
    /// Most nodes that are asked for a part before it is given up for a while.
    const MOST_LENDERS: usize = 5;

    pub(super) fn start_borrow(&mut self, now: Now) -> Flow {
        let Some(pool) = self.borrows(now) else {
            return Flow::End;
        };
        if self.own.free(&pool) > 0 {
            // Only a reserve was looked for: nobody is asked for that.
            self.set_rest(&pool, now);
            return Flow::End;
        }
        let side = &self.pools[&pool];
        let why = if side.row.strict {
            Some("every block of it is another node's, and the pool is strict".to_owned())
        } else if side.search.asked.len() >= Self::MOST_LENDERS {
            Some(format!(
                "every block of it is another node's, and none lends: {}",
                side.search.said.join(", ")
            ))
        } else {
            None
        };
        if let Some(why) = why {
            self.set_dry(&pool, why, now);
            return Flow::End;
        }
        let call = Call::Read(vec![self.schema.kind("live")]);
        Flow::then(Borrow(Step::Lenders { pool }), call)
    }

    /// A pool in which nothing can be claimed, and nobody is being asked.
    fn borrows(&self, now: Now) -> Option<PoolName> {
        let asks = |pool: &PoolName| {
            let mut asking = self.asking.iter();
            asking.any(|one| one.pool == *pool && one.ordinal.is_none())
        };
        let mut pools = self.pools.iter();
        pools
            .find(|(pool, side)| {
                side.search.is_over() && !side.is_dry(now.since_boot_ms) && !asks(pool)
            })
            .map(|(pool, _)| pool.clone())
    }

    /// Asks a block's owner for one ordinal.
    pub(super) fn ask_for(
        &mut self,
        owner: NodeId,
        pool: PoolName,
        ordinal: u64,
        sticky: Option<StickyId>,
        now: Now,
    ) -> Flow {
        self.ask(owner, pool, Wanted::Ordinal(ordinal), sticky, now)
    }

    fn ask(
        &mut self,
        owner: NodeId,
        pool: PoolName,
        wanted: Wanted,
        sticky: Option<StickyId>,
        now: Now,
    ) -> Flow {
        let bits = match wanted {
            Wanted::Any => self.pools[&pool].row.geometry.block_bits(),
            Wanted::Ordinal(_) => 0,
        };
        let attempt = self.attempt();
        let row = AskRow {
            epoch: self.link.epoch,
            attempt: attempt.clone(),
            at_unix_ms: now.unix_ms,
            bits,
            sticky,
            answer: None,
        };
        let asking = Asking {
            owner,
            pool,
            ordinal: match wanted {
                Wanted::Any => None,
                Wanted::Ordinal(ordinal) => Some(ordinal),
            },
            attempt,
            since_ms: now.since_boot_ms,
            again_ms: now.since_boot_ms + self.tuning.poll_ms,
        };
        self.asking.push(asking.clone());
        Flow::then(Borrow(Step::Save { asking, row }), self.save())
    }

    fn ask_place(&self, asking: &Asking) -> AskPlace {
        AskPlace {
            owner: asking.owner.clone(),
            asker: self.node.clone(),
            pool: asking.pool.clone(),
            wanted: asking.ordinal.map_or(Wanted::Any, Wanted::Ordinal),
        }
    }

    fn drop_asking(&mut self, asking: &Asking) {
        self.asking.retain(|one| one.attempt != asking.attempt);
    }

    /// Who has the most free ordinals of a pool, as far as they say, and was not asked yet.
    fn lender(&self, pool: &PoolName, live: &Listing) -> Option<NodeId> {
        let asked = &self.pools[pool].search.asked;
        let lenders = live.rows.iter().filter_map(|row| {
            let Some(Place::Live(node)) = self.schema.place(&row.key) else {
                return None;
            };
            let said: LiveRow = decode(&row.key, &row.value).ok()?;
            let free = said.pools.get(pool)?.free;
            let lends = free > self.tuning.keep_free && node != self.node && !asked.contains(&node);
            lends.then(|| (free, self.mix(node.as_str(), self.attempts), node))
        });
        lenders.max().map(|(_, _, node)| node)
    }
}

impl Borrow {
    pub(super) fn answered(self, ledger: &mut Ledger, answer: Answer, now: Now) -> Flow {
        match self.0 {
            Step::Lenders { pool } => {
                let lender = ledger.lender(&pool, &answer.rows()[0]);
                let Some(owner) = lender else {
                    let said = &ledger.pools[&pool].search.said;
                    let none = if said.is_empty() {
                        "no node has any to lend".to_owned()
                    } else {
                        format!("none lends: {}", said.join(", "))
                    };
                    let why = format!("every block of it is another node's, and {none}");
                    ledger.set_dry(&pool, why, now);
                    return Flow::End;
                };
                if let Some(side) = ledger.pools.get_mut(&pool) {
                    side.search.asked.push(owner.clone());
                }
                ledger.ask(owner, pool, Wanted::Any, None, now)
            }
            Step::Save { asking, row } => {
                let key = ledger.schema.key(&Place::Ask(ledger.ask_place(&asking)));
                let mut txn = ledger.guarded();
                txn.writes.push(Write::Put(key, encode(&row)));
                Flow::then(Self(Step::Commit { asking }), Call::Commit(txn))
            }
            Step::Commit { asking } => {
                if !answer.committed().held {
                    ledger.drop_asking(&asking);
                    ledger.link.need(Need::Look);
                }
                Flow::End
            }
        }
    }

    /// An ask that may have been written is looked for.
    pub(super) fn interrupted(self, ledger: &mut Ledger, fault: Fault, _: Now) {
        if let (Step::Save { asking, .. } | Step::Commit { asking }, Fault::Undone) =
            (self.0, fault)
        {
            ledger.drop_asking(&asking);
        }
    }
}

/// An answer is being looked for and taken in.
#[derive(Clone, Debug)]
pub(super) struct Poll {
    asking: Asking,
    step: PollStep,
}

#[derive(Clone, Debug)]
enum PollStep {
    Look,
    /// The row of what was ceded is read.
    Fetch {
        ask: Revision,
        part: Block,
    },
    /// The ask is removed, which is the end of it.
    Remove {
        result: Result<(), String>,
    },
}

impl Ledger {
    pub(super) fn poll_due_ms(&self) -> Option<u64> {
        self.asking.iter().map(|asking| asking.again_ms).min()
    }

    pub(super) fn start_poll(&mut self, now: Now) -> Flow {
        let mut asking = self.asking.iter();
        let Some(asking) = asking
            .find(|one| now.since_boot_ms >= one.again_ms)
            .cloned()
        else {
            return Flow::End;
        };
        let key = self.schema.key(&Place::Ask(self.ask_place(&asking)));
        let step = PollStep::Look;
        Flow::then(Poll { asking, step }, Call::Read(vec![KeyRange::one(&key)]))
    }

    /// An ask came to its end.
    fn resolved(&mut self, asking: &Asking, result: Result<(), String>) {
        self.drop_asking(asking);
        if let Some(ordinal) = asking.ordinal {
            self.want_answered(asking, ordinal, result.err().as_deref());
            return;
        }
        let Some(side) = self.pools.get_mut(&asking.pool) else {
            return;
        };
        match result {
            Ok(()) => {
                self.counters.borrowed += 1;
                side.dry = None;
                side.search.restart();
            }
            Err(why) => side.search.said.push(format!("{}: {why}", asking.owner)),
        }
    }

    fn want_answered(&mut self, asking: &Asking, ordinal: u64, refused: Option<&str>) {
        let address = self.address(&asking.pool, ordinal);
        for want in self.wants.values_mut() {
            if want.target.as_ref() != Some(&(asking.pool.clone(), ordinal)) {
                continue;
            }
            want.again_ms = 0;
            if let Some(why) = refused {
                want.refuse(PoolRefusal::NotCeded {
                    address,
                    owner: asking.owner.to_string(),
                    why: why.to_owned(),
                });
            }
        }
    }
}

impl Poll {
    pub(super) fn answered(self, ledger: &mut Ledger, answer: Answer, now: Now) -> Flow {
        match self.step {
            PollStep::Look => self.looked(ledger, &answer.rows()[0], now),
            PollStep::Fetch { ask, part } => {
                let read = |row| FoundBlock::read(&ledger.schema, row).ok();
                let found = answer.rows()[0].rows.first().and_then(read);
                match found {
                    Some(found) if found.row.node == ledger.node && found.block == part => {
                        Adopt::begin(ledger, vec![found])
                    }
                    _ => {
                        let gone = "what it ceded is no longer there".to_owned();
                        self.remove(ledger, ask, Err(gone))
                    }
                }
            }
            PollStep::Remove { result } => {
                if answer.committed().held {
                    ledger.resolved(&self.asking, result);
                    ledger.unsaved_since(now);
                } else {
                    ledger.link.need(Need::Look);
                }
                Flow::End
            }
        }
    }

    #[allow(clippy::unused_self)] // as every job
    pub(super) fn interrupted(self, _: &mut Ledger, _: Fault, _: Now) {}

    fn looked(self, ledger: &mut Ledger, rows: &Listing, now: Now) -> Flow {
        let row = rows.rows.first();
        let read = row.and_then(|row| {
            let ask: AskRow = decode(&row.key, &row.value).ok()?;
            Some((row.modified, ask))
        });
        let ours = read.filter(|(_, ask)| ask.attempt == self.asking.attempt);
        let Some((revision, ask)) = ours else {
            ledger.resolved(&self.asking, Err("the ask is gone".to_owned()));
            return Flow::End;
        };
        let waited = now.since_boot_ms.saturating_sub(self.asking.since_ms);
        match ask.answer {
            None if waited >= ledger.tuning.patience_ms => {
                let silent = "it does not answer".to_owned();
                self.remove(ledger, revision, Err(silent))
            }
            None => {
                // Often at first, then less.
                let next = now.since_boot_ms + ledger.tuning.poll_ms.max(waited / 2);
                let mut all = ledger.asking.iter_mut();
                if let Some(asking) = all.find(|one| one.attempt == self.asking.attempt) {
                    asking.again_ms = next;
                }
                Flow::End
            }
            Some(schema::Answer::Refused { reason }) => self.remove(ledger, revision, Err(reason)),
            Some(schema::Answer::Ceded { first, bits }) => {
                self.take(ledger, revision, Block::new(first, bits))
            }
        }
    }

    fn take(self, ledger: &mut Ledger, ask: Revision, part: Option<Block>) -> Flow {
        let Some(part) = part else {
            let wrong = "its answer names no block".to_owned();
            return self.remove(ledger, ask, Err(wrong));
        };
        if ledger.own.overlaps(&self.asking.pool, part) {
            return self.remove(ledger, ask, Ok(()));
        }
        let key = ledger.schema.key(&Place::Block {
            pool: self.asking.pool.clone(),
            first: part.first(),
        });
        let step = PollStep::Fetch { ask, part };
        Flow::then(Self { step, ..self }, Call::Read(vec![KeyRange::one(&key)]))
    }

    fn remove(self, ledger: &Ledger, ask: Revision, result: Result<(), String>) -> Flow {
        let key = ledger
            .schema
            .key(&Place::Ask(ledger.ask_place(&self.asking)));
        let mut txn = ledger.guarded();
        txn.when.push(Compare::Modified(key.clone(), ask));
        txn.writes.push(Write::Delete(key));
        let step = PollStep::Remove { result };
        Flow::then(Self { step, ..self }, Call::Commit(txn))
    }
}
