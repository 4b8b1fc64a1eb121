//! Virtual time: everything that happens is an event at a moment, in an order that the seed decides.

use std::collections::{BTreeMap, HashMap};

use bulkhead_ipam::cluster::geometry::{Geometry, Layout, Subnet};
use bulkhead_ipam::cluster::ledger::{Call, Ledger, Outcome};
use bulkhead_ipam::cluster::operations::{Operations, Operator};
use bulkhead_ipam::cluster::schema::{PoolRow, Schema};
use bulkhead_ipam::cluster::{Attempt, NodeId};
use bulkhead_ipam::cluster::{ClusterStore, KeyRange, MemoryStore, Revision};
use bulkhead_model::AttachmentKey;

use crate::load::Load;
use crate::network::Recorder;
use crate::node::{Fortune, Node};
use crate::random::Random;
use crate::verdict::Books;

pub(crate) const POOL: &str = "p";

/// How much goes wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Faults {
    /// Nothing.
    None,
    /// What goes wrong in a large cluster all the time.
    Some,
    /// As much as the protocol can be bothered with.
    Many,
}

/// Something that happens.
#[derive(Debug)]
pub(crate) enum Event {
    /// A process looks whether there is something to do.
    Look {
        node: usize,
        life: u64,
    },
    /// A request reaches the store; the answer is on its way back, unless nobody waits.
    Reach {
        node: usize,
        life: u64,
        call: Call,
        waits: bool,
    },
    Answer {
        node: usize,
        life: u64,
        outcome: Outcome,
    },
    Saved {
        node: usize,
        life: u64,
    },
    /// A watch brings news.
    News {
        node: usize,
        life: u64,
    },
    /// A pod comes.
    Add {
        node: usize,
    },
    /// The record of a pod is durable.
    Recorded {
        node: usize,
        life: u64,
        key: AttachmentKey,
    },
    /// A pod's container is taken down.
    Delete {
        node: usize,
        key: AttachmentKey,
    },
    /// The end of a pod's record is durable.
    Ended {
        node: usize,
        life: u64,
        key: AttachmentKey,
    },
    /// The daemon looks after its addresses.
    Upkeep {
        node: usize,
        life: u64,
    },
    Die {
        node: usize,
        reboots: bool,
    },
    Start {
        node: usize,
    },
    CutOff {
        node: usize,
        for_ms: u64,
    },
    Reconnect {
        node: usize,
    },
    Outage {
        for_ms: u64,
    },
    OutageOver,
    Compact,
    Jump {
        node: usize,
    },
    /// An operator says, or says again, that a node is lost.
    Lost {
        node: usize,
    },
    /// Something goes wrong, and the next thing will.
    Fault,
    /// Churn goes on.
    Churn {
        node: usize,
    },
}

pub(crate) struct World {
    pub(crate) now_ms: u64,
    pub(crate) random: Random,
    pub(crate) store: MemoryStore,
    pub(crate) schema: Schema,
    pub(crate) nodes: Vec<Node>,
    pub(crate) books: Books,
    pub(crate) outage: bool,
    pub(crate) index: HashMap<String, usize>,
    events: BTreeMap<(u64, u64), Event>,
    numbered: u64,
    pub(crate) faults: Faults,
    pub(crate) load: Load,
    /// No new pods and no new faults.
    pub(crate) ending: bool,
}

impl World {
    pub(crate) fn new(seed: u64, nodes: u64, prefix: &str, faults: Faults) -> Self {
        let store = MemoryStore::new(50_000);
        let schema = Schema::default();
        let mut world = Self {
            now_ms: 0,
            random: Random::new(seed),
            store,
            schema,
            nodes: Vec::new(),
            books: Books::default(),
            outage: false,
            index: HashMap::new(),
            events: BTreeMap::new(),
            numbered: 0,
            faults,
            load: Load::Burst { pods: 0 },
            ending: false,
        };
        let subnet = Subnet::of(prefix.parse().expect("a prefix"));
        let geometry = Geometry::new(Layout {
            v4: Some(subnet),
            v6: Some(Subnet::of("fd00:4::/64".parse().expect("a prefix"))),
            block_bits: if nodes < 100 { 4 } else { 6 },
            reserved: Vec::new(),
            node_addresses: false,
        });
        let row = PoolRow::new(geometry.expect("a pool"));
        let pool = POOL.parse().expect("a name");
        world
            .operate(u64::MAX, |operations, by| {
                operations.pool_add(by, &pool, &row)
            })
            .expect("the store is there");
        for nth in 0..usize::try_from(nodes).expect("it is small") {
            let id = format!("n{nth}");
            world.index.insert(id.clone(), nth);
            world.nodes.push(Node::new(id.parse().expect("an id")));
            let at = world.random.between(0, 1_000);
            world.at(at, Event::Start { node: nth });
        }
        world
    }

    /// Does something as an operator, whose store goes away after so many transactions.
    pub(crate) fn operate<T>(
        &mut self,
        transactions: u64,
        operation: impl FnOnce(&Operations<'_>, &Operator) -> T,
    ) -> T {
        let recorder = Recorder::new(&self.store, transactions);
        let operator = Operator {
            by: "ops".to_owned(),
            writer: "0000000000000000".parse::<NodeId>().expect("digits"),
            at_unix_ms: 1_795_000_000_000 + self.now_ms,
            attempt: Attempt(format!("operator-{}-{}", self.now_ms, self.numbered)),
        };
        let result = operation(&Operations::new(&recorder, &self.schema), &operator);
        for txn in recorder.written() {
            self.spread(&txn);
        }
        result
    }

    pub(crate) fn at(&mut self, at_ms: u64, event: Event) {
        self.numbered += 1;
        self.events
            .insert((at_ms.max(self.now_ms), self.numbered), event);
    }

    pub(crate) fn soon(&mut self, from: u64, to: u64, event: Event) {
        let after = self.random.between(from, to);
        self.at(self.now_ms + after, event);
    }

    /// Lets a load go on for so long.
    pub(crate) fn run(&mut self, load: Load, for_ms: u64) {
        self.load = load;
        for node in 0..self.nodes.len() {
            match load {
                Load::Churn { .. } => self.soon(0, 20_000, Event::Churn { node }),
                Load::Burst { pods } => {
                    let begins = self.now_ms + self.random.between(0, 1_000);
                    for nth in 0..pods {
                        self.at(begins + nth * 2, Event::Add { node });
                    }
                }
                Load::Trickle { every_ms } => {
                    let begins = self.now_ms + self.random.between(0, every_ms);
                    for nth in 0..for_ms / every_ms {
                        self.at(begins + nth * every_ms, Event::Add { node });
                    }
                }
                Load::Rest => {}
            }
        }
        if self.faults != Faults::None {
            self.soon(0, 5_000, Event::Fault);
        }
        self.until(self.now_ms + for_ms);
    }

    /// Ends every fault and every coming and going, and lets everybody find out.
    pub(crate) fn come_to_rest(&mut self) {
        self.ending = true;
        self.outage = false;
        for node in 0..self.nodes.len() {
            self.reconnect(node);
            if self.nodes[node].ledger.is_none() && self.nodes[node].fortune != Fortune::Lost {
                self.at(self.now_ms, Event::Start { node });
            }
        }
        self.until(self.now_ms + 1_500_000);
    }

    pub(crate) fn until(&mut self, end_ms: u64) {
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > end_ms {
                break;
            }
            let ((at, _), event) = entry.remove_entry();
            self.now_ms = at;
            self.happen(event);
        }
        self.now_ms = end_ms;
    }

    pub(crate) fn happen_now(&mut self, event: Event) {
        self.happen(event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Look { node, life } => self.look(node, life),
            Event::Reach {
                node,
                life,
                call,
                waits,
            } => self.reach(node, life, &call, waits),
            Event::Answer {
                node,
                life,
                outcome,
            } => self.answer(node, life, outcome),
            Event::Saved { node, life } => self.saved(node, life),
            Event::News { node, life } => self.news(node, life),
            Event::Add { node } => self.add(node),
            Event::Recorded { node, life, key } => self.recorded(node, life, &key),
            Event::Delete { node, key } => self.delete(node, key),
            Event::Ended { node, life, key } => self.ended(node, life, &key),
            Event::Upkeep { node, life } => self.upkeep(node, life),
            Event::Die { node, reboots } => self.die(node, reboots),
            Event::Start { node } => self.start(node),
            Event::CutOff { node, for_ms } => {
                self.nodes[node].cut_off = true;
                self.at(self.now_ms + for_ms, Event::Reconnect { node });
            }
            Event::Reconnect { node } => self.reconnect(node),
            Event::Outage { for_ms } => {
                self.outage = true;
                self.at(self.now_ms + for_ms, Event::OutageOver);
            }
            Event::OutageOver => self.outage = false,
            Event::Compact => self.store.compact(self.revision()),
            Event::Jump { node } => {
                let by = i64::try_from(self.random.between(0, 7_200_000)).expect("it is small");
                self.nodes[node].clock_off_ms = by - 3_600_000;
            }
            Event::Lost { node } => self.declare(node),
            Event::Fault => self.fault(),
            Event::Churn { node } => self.churn(node),
        }
    }

    pub(crate) fn revision(&self) -> Revision {
        let none = KeyRange::prefix("none");
        self.store
            .range(&none, 1)
            .expect("a store in memory")
            .revision
    }

    /// What a measured load costs.
    pub(crate) fn measure(&mut self, load: Load, for_ms: u64) -> crate::load::Cost {
        self.until(self.now_ms + 10_000);
        let before = self.counters();
        self.books.begin_measuring();
        self.run(load, for_ms);
        let after = self.counters();
        let mut cost = self.books.cost();
        cost.claims = after.0 - before.0;
        cost.conflicts = after.1 - before.1;
        cost
    }

    fn counters(&self) -> (u64, u64) {
        let all = self.nodes.iter().filter_map(|node| node.ledger.as_ref());
        all.map(Ledger::counters).fold((0, 0), |sum, one| {
            (sum.0 + one.claims, sum.1 + one.conflicts)
        })
    }
}
