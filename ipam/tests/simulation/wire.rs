//! Between processes and the store.

use bulkhead_ipam::cluster::ledger::{Call, Next, Outcome};
use bulkhead_ipam::cluster::schema::Place;
use bulkhead_ipam::cluster::{ClusterStore, Event as Change, Txn, Write};

use crate::network::{self, Fate, PATIENCE_MS};
use crate::node::Fortune;
use crate::world::{Event, Faults, World};

impl World {
    pub(crate) fn look(&mut self, node: usize, life: u64) {
        if !self.lives(node, life) {
            return;
        }
        let one = &mut self.nodes[node];
        let now = one.now(self.now_ms);
        one.wakes_at_ms = None;
        let ledger = one.ledger.as_mut().expect("it lives");
        match ledger.next(now) {
            Next::Call(call) => self.send(node, call),
            Next::Idle { until_ms } => {
                if let Some(until) = until_ms {
                    let wait = until.saturating_sub(now.since_boot_ms).max(1);
                    self.wake(node, self.now_ms + wait);
                }
            }
        }
    }

    pub(crate) fn send(&mut self, node: usize, call: Call) {
        let life = self.nodes[node].life;
        if let Call::Save(file) = call {
            self.nodes[node].disk.replacing = Some(file.encode());
            self.soon(1, 5, Event::Saved { node, life });
            return;
        }
        let quiet = self.ending || self.nodes[node].fortune == Fortune::Returning;
        let often = match self.faults {
            Faults::None => 0,
            Faults::Some => 3,
            Faults::Many => 30,
        };
        let mut fate = Fate::of(&mut self.random, if quiet { 0 } else { often });
        if (self.outage || self.nodes[node].cut_off) && !quiet {
            fate = Fate::Unreachable;
        }
        if fate != Fate::Answered {
            let outcome = fate.failure(&call);
            self.soon(
                50,
                PATIENCE_MS,
                Event::Answer {
                    node,
                    life,
                    outcome,
                },
            );
        }
        match fate {
            Fate::Answered => self.soon(
                1,
                12,
                Event::Reach {
                    node,
                    life,
                    call,
                    waits: true,
                },
            ),
            Fate::AnswerLost => self.soon(
                1,
                12,
                Event::Reach {
                    node,
                    life,
                    call,
                    waits: false,
                },
            ),
            Fate::Late => {
                let late = Event::Reach {
                    node,
                    life,
                    call,
                    waits: false,
                };
                self.soon(PATIENCE_MS, 5_000, late);
            }
            Fate::Unreachable | Fate::RequestLost => {}
        }
    }

    pub(crate) fn reach(&mut self, node: usize, life: u64, call: &Call, waits: bool) {
        let outcome = network::run(&self.store, call);
        if let (Some(txn), Outcome::Committed(Ok(committed))) = (network::writes(call), &outcome) {
            let (txn, held) = (txn.clone(), committed.held);
            self.books
                .transaction(held, self.now_ms, &self.schema, &txn);
            if held {
                self.spread(&txn);
            }
        }
        if waits {
            self.soon(
                1,
                12,
                Event::Answer {
                    node,
                    life,
                    outcome,
                },
            );
        }
    }

    /// Whoever watches what was written hears of it, sooner or later.
    pub(crate) fn spread(&mut self, txn: &Txn) {
        for write in &txn.writes {
            let key = match write {
                Write::Put(key, _) | Write::Delete(key) => key,
            };
            let one = match self.schema.place(key) {
                Some(Place::Ask(ask)) => Some(ask.owner),
                Some(Place::Fence(node)) => Some(node),
                Some(Place::Pool(_) | Place::Reservation(_) | Place::Meta) => None,
                _ => continue,
            };
            let all = 0..self.nodes.len();
            let hear: Vec<usize> = match one {
                Some(node) => self.index.get(node.as_str()).copied().into_iter().collect(),
                None => all.collect(),
            };
            for node in hear {
                let life = self.nodes[node].life;
                let lags = self.faults != Faults::None && self.random.per_mille(30);
                let longest = if lags { 4_000 } else { 40 };
                self.soon(1, longest, Event::News { node, life });
            }
        }
    }

    pub(crate) fn news(&mut self, node: usize, life: u64) {
        if !self.lives(node, life) {
            return;
        }
        let revision = self.revision();
        let one = &mut self.nodes[node];
        if one.cut_off {
            one.missed_news = true;
            return;
        }
        let now = one.now(self.now_ms);
        let ledger = one.ledger.as_mut().expect("it lives");
        let Some(watching) = ledger.watching() else {
            return;
        };
        if watching.generation != one.generation {
            one.generation = watching.generation;
            one.seen = watching.after;
        }
        let mut changes: Vec<Change> = Vec::new();
        for range in &watching.ranges {
            let watch = self.store.watch(range, one.seen);
            let heard = watch.and_then(|mut watch| watch.next(std::time::Duration::ZERO));
            let Ok(heard) = heard else {
                ledger.watch_lost();
                self.wake(node, self.now_ms);
                return;
            };
            changes.extend(heard);
        }
        one.seen = revision;
        ledger.observe(&changes, now);
        self.proceed(node);
    }

    pub(crate) fn answer(&mut self, node: usize, life: u64, outcome: Outcome) {
        if !self.lives(node, life) {
            return;
        }
        let one = &mut self.nodes[node];
        let now = one.now(self.now_ms);
        let ledger = one.ledger.as_mut().expect("it lives");
        let call = ledger.done(outcome, now);
        if ledger.is_synced() && one.fortune == Fortune::Returning {
            one.fortune = Fortune::Good;
        }
        if let Some(call) = call {
            self.send(node, call);
        }
        self.proceed(node);
    }

    pub(crate) fn saved(&mut self, node: usize, life: u64) {
        if !self.lives(node, life) {
            return;
        }
        let disk = &mut self.nodes[node].disk;
        disk.file = disk.replacing.take();
        self.answer(node, life, Outcome::Saved(Ok(())));
    }

    /// Whether the node's process is the one that is meant.
    pub(crate) fn lives(&self, node: usize, life: u64) -> bool {
        self.nodes[node].life == life && self.nodes[node].ledger.is_some()
    }

    /// The process looks what there is to do, not later than then.
    pub(crate) fn wake(&mut self, node: usize, at_ms: u64) {
        let at_ms = at_ms.max(self.now_ms);
        let one = &mut self.nodes[node];
        if one.wakes_at_ms.is_none_or(|wakes| at_ms < wakes) {
            one.wakes_at_ms = Some(at_ms);
            let life = one.life;
            self.at(at_ms, Event::Look { node, life });
        }
    }

    /// Something has changed for a process.
    pub(crate) fn proceed(&mut self, node: usize) {
        self.serve(node);
        self.wake(node, self.now_ms);
    }
}
