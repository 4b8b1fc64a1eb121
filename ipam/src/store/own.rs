//! The store of a call that is a process of its own: it locks the network's files, reads what it needs of
//! them, appends once and is done.

use super::checkpoint::Checkpoint;
use super::compact::compacted;
use super::dir::FileLock;
use super::network::NetworkStore;
use super::snapshot::Snapshot;
use crate::error::{FileError, StoreError};
use crate::journal::{Journal, Piece};

/// One network's files, locked and open.
#[derive(Debug)]
pub(super) struct Own {
    /// With what is staged.
    pub(super) snapshot: Snapshot,
    /// Without.
    durable: Snapshot,
    staged: Vec<Piece>,
    pub(super) journal: Journal,
    _lock: FileLock,
}

impl Own {
    pub(super) fn new(snapshot: Snapshot, journal: Journal, lock: FileLock) -> Self {
        Self {
            durable: snapshot.clone(),
            snapshot,
            staged: Vec::new(),
            journal,
            _lock: lock,
        }
    }

    /// Adds records that were made from the snapshot.
    pub(super) fn stage(&mut self, records: Vec<Piece>) {
        self.snapshot.follow(&records);
        self.staged.extend(records);
    }

    /// Makes durable what is staged. After an error nothing of it is there.
    pub(super) fn settle(&mut self, store: &NetworkStore) -> Result<(), FileError> {
        let staged = std::mem::take(&mut self.staged);
        if staged.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.journal.append(&staged) {
            self.snapshot = self.durable.clone();
            return Err(error);
        }
        self.durable = self.snapshot.clone();
        if self.snapshot.overlay.records >= store.limits.tail_records {
            // What was to be recorded is durable: a checkpoint that cannot be made now (a full disk)
            // is made by a later call, and must not turn this one into a failure.
            let _ = self.checkpoint(store);
        }
        Ok(())
    }

    /// Makes a checkpoint, and begins a new journal if this one is long. Nothing may be staged.
    pub(super) fn checkpoint(&mut self, store: &NetworkStore) -> Result<(), StoreError> {
        let place = (self.journal.generation(), self.journal.end());
        let bytes = compacted(&self.snapshot, place, store.limits.freed)?;
        store.put_checkpoint(&bytes)?;
        let base = Checkpoint::open(&store.dir.join("checkpoint"))?;
        self.snapshot = Snapshot::empty(&store.dir, &store.boot, base);
        self.durable = self.snapshot.clone();
        if self.journal.end() > store.limits.journal_bytes {
            store.next_journal(&mut self.journal, &[])?;
        }
        Ok(())
    }
}
