//! The way to the store, and back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use bulkhead_ipam::cluster::ledger::{Call, Outcome};
use bulkhead_ipam::cluster::{
    ClusterStore, Committed, KeyRange, KvError, Listing, MemoryStore, Revision, Txn, Watch,
};

use crate::random::Random;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fate {
    /// It is run and answered.
    Answered,
    /// It does not reach the store, and that is known.
    Unreachable,
    /// It is run, and the answer is lost.
    AnswerLost,
    /// It is lost, and that is not known.
    RequestLost,
    /// It is run after nobody waits for it any more.
    Late,
}

/// How long until something gives up waiting, in milliseconds.
pub(crate) const PATIENCE_MS: u64 = 400;

impl Fate {
    pub(crate) fn of(random: &mut Random, faults_per_mille: u64) -> Self {
        if !random.per_mille(faults_per_mille) {
            return Self::Answered;
        }
        match random.between(0, 4) {
            0 => Self::Unreachable,
            1 => Self::AnswerLost,
            2 => Self::RequestLost,
            _ => Self::Late,
        }
    }

    /// What is known of it when the answer does not come.
    pub(crate) fn failure(self, call: &Call) -> Outcome {
        match call {
            Call::Commit(_) if self != Self::Unreachable => Outcome::Committed(Err(ambiguous())),
            Call::Commit(_) => Outcome::Committed(Err(unavailable())),
            _ => Outcome::Read(Err(unavailable())),
        }
    }
}

/// Runs a request.
pub(crate) fn run(store: &MemoryStore, call: &Call) -> Outcome {
    match call {
        Call::Read(ranges) => {
            Outcome::Read(ranges.iter().map(|range| store.range(range, 0)).collect())
        }
        Call::Commit(txn) => Outcome::Committed(store.commit(txn)),
        Call::Save(_) => unreachable!("a file is not the store's"),
    }
}

pub(crate) fn writes(call: &Call) -> Option<&Txn> {
    match call {
        Call::Commit(txn) => Some(txn),
        _ => None,
    }
}

pub(crate) fn unavailable() -> KvError {
    KvError::Unavailable {
        store: "memory store".to_owned(),
        why: "the network is cut".to_owned(),
    }
}

fn ambiguous() -> KvError {
    KvError::Ambiguous {
        store: "memory store".to_owned(),
        why: "the connection was lost".to_owned(),
    }
}

/// A store that remembers what is written through it, and goes away after so many transactions.
pub(crate) struct Recorder<'a> {
    store: &'a MemoryStore,
    left: AtomicU64,
    written: Mutex<Vec<Txn>>,
}

impl<'a> Recorder<'a> {
    pub(crate) const fn new(store: &'a MemoryStore, transactions: u64) -> Self {
        Self {
            store,
            left: AtomicU64::new(transactions),
            written: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn written(self) -> Vec<Txn> {
        let written = self.written.into_inner();
        written.unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClusterStore for Recorder<'_> {
    fn range(&self, range: &KeyRange, limit: usize) -> Result<Listing, KvError> {
        self.store.range(range, limit)
    }

    fn commit(&self, txn: &Txn) -> Result<Committed, KvError> {
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.saturating_sub(1), Ordering::Relaxed);
        if left == 0 {
            return Err(unavailable());
        }
        let committed = self.store.commit(txn)?;
        if committed.held {
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            written.push(txn.clone());
        }
        Ok(committed)
    }

    fn watch(&self, range: &KeyRange, after: Revision) -> Result<Box<dyn Watch>, KvError> {
        self.store.watch(range, after)
    }

    fn describe(&self) -> String {
        self.store.describe()
    }
}
