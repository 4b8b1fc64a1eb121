//! Pods that come and go, and the daemon's upkeep of their addresses.

use bulkhead_ipam::cluster::ledger::{Acquire, Ended, EndedLease, LeaseFact};
use bulkhead_model::AttachmentKey;

use crate::load::{Load, ask, special};
use crate::node::Waiting;
use crate::world::{Event, Faults, World};

impl World {
    pub(crate) fn churn(&mut self, node: usize) {
        if self.ending {
            return;
        }
        let Load::Churn { pods } = self.load else {
            return;
        };
        self.soon(200, 3_000, Event::Churn { node });
        if self.nodes[node].ledger.is_none() {
            return;
        }
        let held = self.nodes[node].containers.len() as u64;
        let comes = self.random.between(0, 2 * pods) >= held;
        let some = self.random.between(1, 8);
        for _ in 0..some {
            if comes {
                self.soon(0, 30, Event::Add { node });
            } else if let Some(key) = self.some_container(node) {
                self.soon(0, 30, Event::Delete { node, key });
            }
        }
    }

    pub(crate) fn some_container(&mut self, node: usize) -> Option<AttachmentKey> {
        let containers = &self.nodes[node].containers;
        let count = containers.len();
        if count == 0 {
            return None;
        }
        let nth = self.random.index(count);
        self.nodes[node].containers.iter().nth(nth).cloned()
    }

    pub(crate) fn add(&mut self, node: usize) {
        if self.nodes[node].ledger.is_none() {
            return;
        }
        let one = &mut self.nodes[node];
        one.pods += 1;
        let mut ask = ask(node, one.pods);
        if let Load::Churn { .. } = self.load {
            let sets = self.nodes.len() as u64;
            ask = special(ask, &mut self.random, sets);
        }
        let until_ms = self.now_ms + 15_000;
        let waiting = Waiting { ask, until_ms };
        self.nodes[node]
            .waiting
            .insert(waiting.ask.key.clone(), waiting);
        self.proceed(node);
        self.wake(node, until_ms);
    }

    /// Asks for everybody who waits.
    pub(crate) fn serve(&mut self, node: usize) {
        let waiting: Vec<Waiting> = self.nodes[node].waiting.values().cloned().collect();
        for one in waiting {
            self.serve_one(node, &one);
        }
    }

    pub(crate) fn serve_one(&mut self, node: usize, waiting: &Waiting) {
        let key = waiting.ask.key.clone();
        let now_ms = self.now_ms;
        let this = &mut self.nodes[node];
        let (now, life) = (this.now(now_ms), this.life);
        let Some(ledger) = this.ledger.as_mut() else {
            return;
        };
        match ledger.acquire(&waiting.ask, now) {
            Acquire::Granted(grant) => {
                this.waiting.remove(&key);
                self.books.granted(&grant, node, &waiting.ask, now_ms);
                if self.faults != Faults::None && self.random.per_mille(20) {
                    self.books.never_used(grant.ordinal, node);
                    let ledger = self.nodes[node].ledger.as_mut().expect("it lives");
                    ledger.abandon(&key, now);
                    return;
                }
                self.nodes[node].granted.insert(key.clone(), *grant);
                self.soon(2, 5, Event::Recorded { node, life, key });
            }
            Acquire::Refused(refusal) => {
                this.waiting.remove(&key);
                self.books.refuse(&refusal);
            }
            Acquire::Wait(_) if now_ms >= waiting.until_ms => {
                ledger.abandon(&key, now);
                this.waiting.remove(&key);
                self.books.waited_in_vain += 1;
            }
            Acquire::Wait(_) => {}
        }
    }

    pub(crate) fn recorded(&mut self, node: usize, life: u64, key: &AttachmentKey) {
        if !self.lives(node, life) {
            return;
        }
        let now = self.nodes[node].now(self.now_ms);
        let this = &mut self.nodes[node];
        let Some(grant) = this.granted.remove(key) else {
            return;
        };
        let sequence = this.disk.next_sequence();
        let fact = LeaseFact {
            key: key.clone(),
            sequence,
            pool: grant.pool.clone(),
            ordinal: grant.ordinal,
            addresses: grant
                .addresses
                .iter()
                .map(|a| a.address.address())
                .collect(),
            since_unix_ms: now.unix_ms,
            pod: self.books.pod_of(key),
            labels: std::collections::BTreeMap::new(),
        };
        this.disk.records.insert(key.clone(), fact);
        this.containers.insert(key.clone());
        let ledger = this.ledger.as_mut().expect("it lives");
        if ledger.settle(key, sequence, now) {
            self.books.acknowledged(key, grant.ordinal, self.now_ms);
        } else {
            // What was picked was no longer this node's: the ADD fails, and its record is ended.
            this.disk.records.remove(key);
            this.containers.remove(key);
            self.books.never_used(grant.ordinal, node);
        }
        self.wake(node, self.now_ms);
    }

    pub(crate) fn delete(&mut self, node: usize, key: AttachmentKey) {
        let this = &mut self.nodes[node];
        this.containers.remove(&key);
        if this.ledger.is_some() && this.disk.records.contains_key(&key) {
            let life = this.life;
            self.soon(1, 4, Event::Ended { node, life, key });
        }
    }

    pub(crate) fn ended(&mut self, node: usize, life: u64, key: &AttachmentKey) {
        if !self.lives(node, life) {
            return;
        }
        let now_ms = self.now_ms;
        let this = &mut self.nodes[node];
        let now = this.now(now_ms);
        let Some(fact) = this.disk.records.get(key).cloned() else {
            return;
        };
        let lease = EndedLease {
            key: key.clone(),
            sequence: fact.sequence,
            since_unix_ms: fact.since_unix_ms,
            at_unix_ms: now.unix_ms,
            ended: Ended::Released,
            reason: "del".to_owned(),
            pod: fact.pod.clone(),
        };
        let boot = this.boot;
        this.disk.free(&fact, now_ms, boot, lease);
        let ledger = this.ledger.as_mut().expect("it lives");
        ledger.released(key, fact.sequence, Ended::Released, "del", now);
        self.books.freed(&fact, node, now_ms);
        self.wake(node, now_ms);
    }

    /// Confirms what has cooled, and detaches what is no longer the node's.
    pub(crate) fn upkeep(&mut self, node: usize, life: u64) {
        if !self.lives(node, life) {
            return;
        }
        self.soon(3_000, 8_000, Event::Upkeep { node, life });
        let this = &mut self.nodes[node];
        let ledger = this.ledger.as_mut().expect("it lives");
        for (pool, ordinal, _) in ledger.unconfirmed() {
            if self.random.per_mille(950) {
                ledger.confirm_cooled(&pool, ordinal);
            }
        }
        let evicted: Vec<AttachmentKey> = ledger.evicted().map(|one| one.key.clone()).collect();
        for key in evicted {
            self.nodes[node].containers.remove(&key);
            self.ended(node, life, &key);
        }
        self.wake(node, self.now_ms);
    }
}
