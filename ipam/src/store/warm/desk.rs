//! One network in memory, and its group commit.
//!
//! Whoever changes the store has the memory for that long, takes the next record number, and hands in
//! what is to be written. Then it waits, and others have the memory. The first who waits while nobody
//! writes takes all that was handed in, writes it as one batch and syncs once; meanwhile the next batch
//! gathers. So the order of the journal is the order of the changes, a batch is begun only after the one
//! before is on the disk, and nobody is told anything before what it rests on is durable.

use std::cell::OnceCell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};

use super::super::dir::FileLock;
use super::super::network::NetworkStore;
use super::super::snapshot::Snapshot;
use super::checkpoint::Kept;
use super::locked;
use crate::error::FileError;
use crate::journal::{Journal, Piece};

/// One network.
#[derive(Debug)]
pub(in super::super) struct Network {
    pub(super) store: NetworkStore,
    pub(super) desk: Mutex<Desk>,
    /// The memory is back.
    free: Condvar,
    /// A batch has its outcome, or the journal is back.
    pub(super) settled: Condvar,
    _locks: [Arc<FileLock>; 2],
}

/// What the threads share.
#[derive(Debug)]
pub(super) struct Desk {
    /// `None` while somebody has it.
    memory: Option<Memory>,
    /// What of the memory is on the disk.
    pub(super) durable: Snapshot,
    /// `None` while somebody writes.
    pub(super) journal: Option<Journal>,
    /// What is to be written next.
    batch: Batch,
    /// The outcome of what is being written.
    writing: Option<Arc<Outcome>>,
    /// Failures so far: memory that is older than one is void.
    failures: u64,
    /// The last one.
    failed: Option<FileError>,
    pub(super) kept: Kept,
}

/// Everything, with what is not on the disk yet.
#[derive(Debug)]
struct Memory {
    snapshot: Snapshot,
    failures: u64,
}

#[derive(Debug, Default)]
struct Batch {
    records: Vec<Piece>,
    /// The memory with them.
    after: Option<Snapshot>,
    outcome: Arc<Outcome>,
}

/// Set once a batch is on the disk, or will never be.
type Outcome = OnceLock<Result<(), FileError>>;

impl Network {
    pub(in super::super) fn new(
        store: NetworkStore,
        snapshot: Snapshot,
        journal: Journal,
        locks: [Arc<FileLock>; 2],
    ) -> Self {
        let desk = Desk {
            memory: Some(Memory {
                snapshot: snapshot.clone(),
                failures: 0,
            }),
            kept: Kept::at_open(&snapshot),
            durable: snapshot,
            journal: Some(journal),
            batch: Batch::default(),
            writing: None,
            failures: 0,
            failed: None,
        };
        Self {
            store,
            desk: Mutex::new(desk),
            free: Condvar::new(),
            settled: Condvar::new(),
            _locks: locks,
        }
    }

    /// From here on the journal asks this disk.
    #[cfg(test)]
    pub(in super::super) fn set_disk(&self, disk: crate::journal::Disk) {
        let mut shared = locked(&self.desk);
        let journal = shared.journal.as_mut();
        journal.expect("nobody writes now").disk = disk;
    }

    /// How many records wait to be written.
    #[cfg(test)]
    pub(in super::super) fn waiting(&self) -> usize {
        locked(&self.desk).batch.records.len()
    }

    /// What is durable.
    pub(in super::super) fn read(&self) -> Snapshot {
        locked(&self.desk).durable.clone()
    }

    fn take_memory(&self) -> Memory {
        let mut desk = locked(&self.desk);
        loop {
            match desk.memory.take() {
                Some(memory) => return memory,
                None => desk = waited(&self.free, desk),
            }
        }
    }

    /// Gives the memory back with the records that are new in it, and returns what everything seen in
    /// it rests on.
    fn hand_in(
        &self,
        memory: Memory,
        records: Vec<Piece>,
    ) -> Result<Option<Arc<Outcome>>, FileError> {
        let mut desk = locked(&self.desk);
        let rests_on = if memory.failures == desk.failures {
            if !records.is_empty() {
                desk.batch.records.extend(records);
                desk.batch.after = Some(memory.snapshot.clone());
            }
            desk.memory = Some(memory);
            Ok(desk.rests_on())
        } else {
            desk.forget();
            let failed = desk.failed.as_ref();
            Err(failed
                .expect("a failure is counted when it is kept")
                .again())
        };
        self.free.notify_one();
        rests_on
    }

    /// Returns once there is an outcome; writes what was handed in if nobody else does.
    fn wait_for(self: &Arc<Self>, outcome: &Outcome) -> Result<(), FileError> {
        let mut desk = locked(&self.desk);
        loop {
            if let Some(outcome) = outcome.get() {
                return outcome.as_ref().copied().map_err(FileError::again);
            }
            desk = match desk.next_batch() {
                Some((batch, journal)) => {
                    drop(desk);
                    self.write(batch, journal)
                }
                None => waited(&self.settled, desk),
            };
        }
    }

    fn write(self: &Arc<Self>, batch: Batch, mut journal: Journal) -> MutexGuard<'_, Desk> {
        let written = journal.append(&batch.records);
        let mut desk = locked(&self.desk);
        desk.writing = None;
        match &written {
            Ok(()) => {
                desk.durable = batch.after.expect("a batch has records");
                if let Some(job) = desk.due(&self.store.limits, &journal) {
                    self.begin_checkpoint(&mut desk, job);
                }
            }
            Err(error) => desk.fail(error),
        }
        desk.journal = Some(journal);
        let set = batch.outcome.set(written);
        set.expect("a batch is written by the one who took it");
        self.settled.notify_all();
        desk
    }
}

impl Desk {
    /// What the memory rests on; `None` if all of it is durable.
    fn rests_on(&self) -> Option<Arc<Outcome>> {
        if self.batch.records.is_empty() {
            self.writing.clone()
        } else {
            Some(Arc::clone(&self.batch.outcome))
        }
    }

    /// What is to be written, if there is something and nobody writes.
    fn next_batch(&mut self) -> Option<(Batch, Journal)> {
        if self.batch.records.is_empty() {
            return None;
        }
        let journal = self.journal.take()?;
        let batch = std::mem::take(&mut self.batch);
        self.writing = Some(Arc::clone(&batch.outcome));
        Some((batch, journal))
    }

    /// A batch was refused: what was built on it will never be written.
    fn fail(&mut self, error: &FileError) {
        let batch = std::mem::take(&mut self.batch);
        if !batch.records.is_empty() {
            let set = batch.outcome.set(Err(error.again()));
            set.expect("what is not written yet has no outcome");
        }
        self.failures += 1;
        self.failed = Some(error.again());
        if self.memory.is_some() {
            self.forget();
        }
    }

    /// Goes back to what is durable.
    fn forget(&mut self) {
        self.memory = Some(Memory {
            snapshot: self.durable.clone(),
            failures: self.failures,
        });
    }
}

/// Somebody's turn at a network: the memory, from the first look at it until it is settled.
#[derive(Debug)]
pub(in super::super) struct Turn {
    network: Arc<Network>,
    memory: OnceCell<Box<Memory>>,
    staged: Vec<Piece>,
}

impl Turn {
    /// Waits for the memory.
    pub(in super::super) fn new(network: Arc<Network>) -> Self {
        let turn = Self {
            network,
            memory: OnceCell::new(),
            staged: Vec::new(),
        };
        turn.snapshot();
        turn
    }

    /// The memory. After [`Turn::settle`] it may be others' turn, and this waits for the next one.
    pub(in super::super) fn snapshot(&self) -> &Snapshot {
        let memory = self
            .memory
            .get_or_init(|| Box::new(self.network.take_memory()));
        &memory.snapshot
    }

    /// Adds records that were made from the memory.
    pub(in super::super) fn stage(&mut self, records: Vec<Piece>) {
        self.snapshot();
        let memory = self.memory.get_mut().expect("it was just looked at");
        let limits = &self.network.store.limits;
        memory.snapshot.follow(&records);
        memory.snapshot.forget(limits.freed);
        self.staged.extend(records);
    }

    /// Ends the turn, and returns once all that was seen and staged in it is durable. After an error
    /// nothing that was staged is there, and what was seen may not be.
    pub(in super::super) fn settle(&mut self) -> Result<(), FileError> {
        let Some(memory) = self.memory.take() else {
            return Ok(());
        };
        let staged = std::mem::take(&mut self.staged);
        match self.network.hand_in(*memory, staged)? {
            Some(outcome) => self.network.wait_for(&outcome),
            None => Ok(()),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            // Records are left here only by a panic between staging and settling. They are in the
            // memory, so they are written with the next batch.
            let _ = self
                .network
                .hand_in(*memory, std::mem::take(&mut self.staged));
        }
    }
}

pub(super) fn waited<'a, T>(signal: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    signal
        .wait(guard)
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
