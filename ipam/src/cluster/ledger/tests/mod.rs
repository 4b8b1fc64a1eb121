//! Rules of the ledger, each against a store in memory. A node is driven call by call, so that a test
//! can stand between any two of them.

mod block;
mod borrow;
mod claim;
mod doubt;
mod fence;
mod pools;
mod publish;
mod release;
mod restart;
mod sticky;

use bulkhead_model::AttachmentKey;

use super::*;
use crate::cluster::geometry::{Geometry, Layout, Subnet};
use crate::cluster::kv::{
    ClusterStore, Committed, Event, Key, KeyRange, KvError, Listing, Revision, Txn, Write,
};
use crate::cluster::memory::MemoryStore;
use crate::cluster::schema::{
    BlockRow, FenceRow, FenceState, Labels, LeaseRow, Place, PoolRow, PoolState, Value, encode,
};
use crate::record::PodRef;

/// What becomes of the next transactions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    /// They are run and answered.
    Fine,
    /// Nothing is answered and nothing done.
    Away,
    /// They are run, and the answer is lost.
    Lost,
    /// They are not run, and that is not known.
    Swallowed,
}

/// A node: its ledger, its disk, and the way to the store.
struct Node {
    id: NodeId,
    ledger: Ledger,
    file: Option<LedgerFile>,
    store: MemoryStore,
    now: Now,
    starts: u32,
    fate: Fate,
    seen: Revision,
    generation: u64,
    /// Transactions that reached the store.
    transactions: usize,
    sequence: u64,
    /// What the journals have.
    recorded: Vec<LeaseFact>,
    freed: Vec<FreedFact>,
}

fn store() -> MemoryStore {
    MemoryStore::new(100_000)
}

fn pool_name(name: &str) -> PoolName {
    name.parse().unwrap()
}

fn dual(v4: &str, bits: u8) -> PoolRow {
    PoolRow::new(
        Geometry::new(Layout {
            v4: Some(Subnet::of(v4.parse().unwrap())),
            v6: Some(Subnet::of("fd00:4::/64".parse().unwrap())),
            block_bits: bits,
            reserved: Vec::new(),
            node_addresses: false,
        })
        .unwrap(),
    )
}

fn put<T: Value>(store: &MemoryStore, place: &Place, value: &T) -> Revision {
    let key = Schema::default().key(place);
    let txn = Txn {
        when: vec![],
        writes: vec![Write::Put(key, encode(value))],
    };
    store.commit(&txn).unwrap().revision
}

fn add_pool(store: &MemoryStore, name: &str, row: &PoolRow) {
    put(store, &Place::Pool(pool_name(name)), row);
}

fn rows<T: Value>(store: &MemoryStore, kind: &str) -> Vec<(Place, T)> {
    let schema = Schema::default();
    let listing = store.range(&schema.kind(kind), 0).unwrap();
    let rows = listing.rows.iter();
    rows.map(|row| schema.read(row).unwrap()).collect()
}

fn blocks(store: &MemoryStore) -> Vec<(Block, String)> {
    let schema = Schema::default();
    let listing = store.range(&schema.kind("blocks"), 0).unwrap();
    let rows = listing.rows.iter();
    rows.map(|row| {
        let (_, block, value) = schema.read_block(row).unwrap();
        (block, value.node.to_string())
    })
    .collect()
}

fn leases(store: &MemoryStore) -> Vec<(u64, String, u64)> {
    let all: Vec<(Place, LeaseRow)> = rows(store, "leases");
    let lease = |(place, row): (Place, LeaseRow)| match place {
        Place::Lease { ordinal, .. } => {
            (ordinal, row.attachment.container.to_string(), row.sequence)
        }
        other => panic!("{other:?} is no lease"),
    };
    all.into_iter().map(lease).collect()
}

fn key(container: &str) -> AttachmentKey {
    AttachmentKey {
        network: "blue".parse().unwrap(),
        container: container.parse().unwrap(),
        interface: "eth0".parse().unwrap(),
    }
}

fn ask(container: &str) -> PoolAsk {
    PoolAsk {
        key: key(container),
        pools: PoolChoice::Named(vec![pool_name("p")]),
        pod: None,
        labels: Labels::new(),
        requested: Vec::new(),
        sticky: false,
        segment: false,
    }
}

fn pod(name: &str) -> PodRef {
    PodRef {
        namespace: "team-a".to_owned(),
        name: name.to_owned(),
        uid: None,
    }
}

impl Node {
    fn start(id: &str, store: &MemoryStore) -> Self {
        let now = Now {
            since_boot_ms: 1_000_000,
            unix_ms: 1_795_000_000_000,
        };
        let id: NodeId = id.parse().unwrap();
        Self {
            ledger: ledger(&id, 0, None, (&[], &[]), now),
            id,
            file: None,
            store: store.clone(),
            now,
            starts: 0,
            fate: Fate::Fine,
            seen: Revision(0),
            generation: 0,
            transactions: 0,
            sequence: 0,
            recorded: Vec::new(),
            freed: Vec::new(),
        }
    }

    /// A node that is in step with the store.
    fn up(id: &str, store: &MemoryStore) -> Self {
        let mut node = Self::start(id, store);
        node.pump();
        assert!(node.ledger.is_synced(), "{:?}", node.ledger.troubles());
        node
    }

    /// The process dies and begins anew, with what is on the disk.
    fn restart(&mut self) {
        self.starts += 1;
        let facts = (&self.recorded[..], &self.freed[..]);
        self.ledger = ledger(&self.id, self.starts, self.file.clone(), facts, self.now);
        self.generation = 0;
    }

    fn wait(&mut self, ms: u64) {
        self.now.since_boot_ms += ms;
        self.now.unix_ms += ms;
    }

    /// Everything that is to be done now, and what follows from it.
    fn pump(&mut self) {
        for _ in 0..10_000 {
            self.hear();
            match self.ledger.next(self.now) {
                Next::Call(call) => self.run(call),
                Next::Idle { .. } => return,
            }
        }
        panic!(
            "{} never comes to rest: {:?}",
            self.id,
            self.ledger.troubles()
        );
    }

    /// The same for so long.
    fn pump_for(&mut self, ms: u64) {
        let end = self.now.since_boot_ms + ms;
        loop {
            self.pump();
            let due = match self.ledger.next(self.now) {
                Next::Call(call) => {
                    self.run(call);
                    continue;
                }
                Next::Idle { until_ms } => until_ms.unwrap_or(end),
            };
            if self.now.since_boot_ms >= end {
                return;
            }
            let step = due.clamp(self.now.since_boot_ms + 1, end) - self.now.since_boot_ms;
            self.wait(step);
        }
    }

    /// Runs a job to its end.
    fn run(&mut self, call: Call) {
        let mut call = Some(call);
        while let Some(next) = call {
            let outcome = self.perform(next);
            call = self.ledger.done(outcome, self.now);
        }
    }

    fn perform(&mut self, call: Call) -> Outcome {
        match call {
            Call::Save(file) => {
                let bytes = file.encode();
                self.file = Some(LedgerFile::decode(&bytes, &self.id).unwrap());
                Outcome::Saved(Ok(()))
            }
            Call::Read(ranges) => Outcome::Read(self.read(&ranges)),
            Call::Commit(txn) => Outcome::Committed(self.commit(&txn)),
        }
    }

    fn read(&self, ranges: &[KeyRange]) -> Result<Vec<Listing>, KvError> {
        if self.fate == Fate::Away {
            return Err(away());
        }
        ranges
            .iter()
            .map(|range| self.store.range(range, 0))
            .collect()
    }

    fn commit(&mut self, txn: &Txn) -> Result<Committed, KvError> {
        match self.fate {
            Fate::Fine => {
                self.transactions += 1;
                self.store.commit(txn)
            }
            Fate::Away => Err(away()),
            Fate::Lost => {
                self.transactions += 1;
                self.store.commit(txn).unwrap();
                Err(ambiguous())
            }
            Fate::Swallowed => Err(ambiguous()),
        }
    }

    /// Hears of everything that changed.
    fn hear(&mut self) {
        if self.fate == Fate::Away {
            return;
        }
        let Some(watching) = self.ledger.watching() else {
            return;
        };
        if watching.generation != self.generation {
            self.generation = watching.generation;
            self.seen = watching.after;
        }
        let mut events: Vec<Event> = Vec::new();
        for range in &watching.ranges {
            let mut watch = self.store.watch(range, self.seen).unwrap();
            events.extend(watch.next(std::time::Duration::ZERO).unwrap());
        }
        if let Some(last) = events.iter().map(|event| event.revision).max() {
            self.seen = last;
        }
        self.ledger.observe(&events, self.now);
    }

    fn acquire(&mut self, ask: &PoolAsk) -> Acquire {
        self.ledger.acquire(ask, self.now)
    }

    /// Acquires, waits for what there is to wait for, and settles. The ordinal.
    fn add(&mut self, ask: &PoolAsk) -> Result<u64, PoolRefusal> {
        for _ in 0..200 {
            match self.acquire(ask) {
                Acquire::Granted(grant) => {
                    self.settle(ask, &grant);
                    return Ok(grant.ordinal);
                }
                Acquire::Refused(refusal) => return Err(refusal),
                Acquire::Wait(_) => self.pump_for(100),
            }
        }
        panic!("{} waits for ever: {:?}", self.id, self.ledger.troubles());
    }

    fn settle(&mut self, ask: &PoolAsk, grant: &PoolGrant) {
        self.sequence += 1;
        self.recorded.push(LeaseFact {
            key: ask.key.clone(),
            sequence: self.sequence,
            pool: grant.pool.clone(),
            ordinal: grant.ordinal,
            addresses: grant
                .addresses
                .iter()
                .map(|a| a.address.address())
                .collect(),
            since_unix_ms: self.now.unix_ms,
            pod: ask.pod.clone(),
            labels: ask.labels.clone(),
        });
        assert!(self.ledger.settle(&ask.key, self.sequence, self.now));
    }

    fn add_plain(&mut self, container: &str) -> u64 {
        self.add(&ask(container)).unwrap()
    }

    /// Ends the lease of an attachment, as its last record has it.
    fn del(&mut self, container: &str) -> bool {
        let at = self
            .recorded
            .iter()
            .position(|fact| fact.key == key(container));
        let fact = self.recorded.remove(at.expect("it is recorded"));
        self.freed.push(FreedFact {
            pool: fact.pool.clone(),
            ordinal: fact.ordinal,
            ago_ms: Some(0),
            lease: None,
        });
        let ended = Ended::Released;
        let (key, sequence) = (fact.key, fact.sequence);
        self.ledger.released(&key, sequence, ended, "del", self.now)
    }

    fn refusal(&mut self, ask: &PoolAsk) -> String {
        self.add(ask).unwrap_err().to_string()
    }
}

fn ledger(
    id: &NodeId,
    starts: u32,
    file: Option<LedgerFile>,
    (recorded, freed): (&[LeaseFact], &[FreedFact]),
    now: Now,
) -> Ledger {
    let who = Identity {
        node: id.clone(),
        about: NodeRow {
            name: format!("name-of-{id}"),
            labels: [("zone".to_owned(), "a".to_owned())].into(),
            ..NodeRow::default()
        },
        session: format!("{id}-{starts}"),
    };
    Ledger::rebuild(
        who,
        Schema::default(),
        Tuning::default(),
        file,
        recorded.to_vec(),
        freed.to_vec(),
        now,
    )
}

fn away() -> KvError {
    KvError::Unavailable {
        store: "memory store".to_owned(),
        why: "it is switched off".to_owned(),
    }
}

fn ambiguous() -> KvError {
    KvError::Ambiguous {
        store: "memory store".to_owned(),
        why: "the connection was lost".to_owned(),
    }
}

/// An operator's statement that a node is lost, of which only the fence is written.
fn declare_lost(store: &MemoryStore, node: &str) {
    let place = Place::Fence(node.parse().unwrap());
    let all: Vec<(Place, FenceRow)> = rows(store, "fences");
    let (_, fence) = all.into_iter().find(|(at, _)| *at == place).unwrap();
    let lost = FenceRow {
        epoch: fence.epoch + 1,
        state: FenceState::Lost,
        by: "ops".to_owned(),
        statement: "it burnt".to_owned(),
        session: Attempt("operator-1".to_owned()),
        ..fence
    };
    put(store, &place, &lost);
}

/// Every row of the node's blocks goes.
fn clear_blocks(store: &MemoryStore, node: &str) {
    let schema = Schema::default();
    for (block, owner) in blocks(store) {
        if owner == node {
            let key = schema.key(&Place::Block {
                pool: pool_name("p"),
                first: block.first(),
            });
            remove(store, &key);
        }
    }
}

fn remove(store: &MemoryStore, key: &Key) {
    let txn = Txn {
        when: vec![],
        writes: vec![Write::Delete(key.clone())],
    };
    store.commit(&txn).unwrap();
}
