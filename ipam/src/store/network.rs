//! One network's directory: how it is locked, opened and repaired after a crash.

use std::fs;
use std::path::{Path, PathBuf};

use bulkhead_model::NetworkName;

use super::checkpoint::Checkpoint;
use super::dir::{FileLock, LockMode, make_dir};
use super::locked::LockedStore;
use super::snapshot::{Snapshot, no_journal};
use crate::boot::Boot;
use crate::error::{FileError, StoreError};
use crate::journal::{Journal, replace_file, sync_parent};

/// Bounds of a store. The defaults are for use, others for tests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Records in a journal before a checkpoint is made: what an open replays at most.
    pub(crate) journal_records: usize,
    /// Freed addresses listed for a range.
    pub(crate) freed: usize,
    /// Bytes of old journals kept for the audit.
    pub(crate) audit_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            journal_records: 128,
            freed: 4096,
            audit_bytes: 8 << 20,
        }
    }
}

/// One network's store.
#[derive(Clone, Debug)]
pub struct NetworkStore {
    pub(super) state_dir: PathBuf,
    pub(super) name: NetworkName,
    pub(super) dir: PathBuf,
    pub(super) boot: Boot,
    pub(super) limits: Limits,
}

impl NetworkStore {
    pub(super) fn new(state_dir: &Path, name: &NetworkName, boot: &Boot) -> Self {
        Self {
            state_dir: state_dir.to_owned(),
            name: name.clone(),
            dir: state_dir.join("networks").join(name.as_str()),
            boot: boot.clone(),
            limits: Limits::default(),
        }
    }

    #[cfg(test)]
    pub(crate) fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Locks it against every other writer and opens it, made if missing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn lock(&self) -> Result<LockedStore, StoreError> {
        let path = self.dir.join("lock");
        let lock = match FileLock::take(&path, LockMode::Exclusive, true) {
            Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => {
                make_dir(&self.dir)?;
                FileLock::take(&path, LockMode::Exclusive, true)?
            }
            other => other?,
        };
        self.open(lock)
    }

    /// The same, `None` if the network has no record; creates nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn lock_existing(&self) -> Result<Option<LockedStore>, StoreError> {
        match FileLock::take(&self.dir.join("lock"), LockMode::Exclusive, false) {
            Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            lock => self.open(lock?).map(Some),
        }
    }

    /// What is recorded now, without any lock; `None` if nothing ever was.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn read(&self) -> Result<Option<Snapshot>, StoreError> {
        Snapshot::read(&self.dir, &self.boot)
    }

    fn open(&self, lock: FileLock) -> Result<LockedStore, StoreError> {
        let path = self.dir.join("journal");
        let base = Checkpoint::open(&self.dir.join("checkpoint"))?;
        let mut snapshot = Snapshot::empty(&self.dir, &self.boot, base);
        let journal = match Journal::open(&path)? {
            Some(journal) if snapshot.goes_on_with(&path, journal.generation())? => journal,
            // The process that made the checkpoint was stopped before it began the next journal.
            Some(_) => self.next_journal(snapshot.generation())?,
            None if snapshot.base.is_some() => return Err(no_journal(&path)),
            None => Journal::replace(&path, 1, &[])?,
        };
        snapshot.take_in_journal(&journal)?;
        Ok(LockedStore::new(self.clone(), snapshot, journal, lock))
    }

    /// First step of a checkpoint: it stands beside a journal that it holds all of.
    pub(super) fn put_checkpoint(&self, bytes: &[u8]) -> Result<(), FileError> {
        replace_file(&self.dir.join("checkpoint"), bytes).map(drop)
    }

    /// Second step: the journal goes into the audit log, and an empty one takes its place. Done
    /// again after a crash anywhere inside it, it ends the same.
    pub(super) fn next_journal(&self, generation: u64) -> Result<Journal, StoreError> {
        let journal = self.dir.join("journal");
        let audit = self.dir.join("audit");
        make_dir(&audit)?;
        let kept = audit.join(format!("{:016x}", generation - 1));
        match fs::hard_link(&journal, &kept) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(FileError::at("keep", &kept)(error).into());
            }
            _ => sync_parent(&kept)?,
        }
        let next = Journal::replace(&journal, generation, &[])?;
        super::audit::trim(&audit, self.limits.audit_bytes)?;
        Ok(next)
    }
}

impl Snapshot {
    /// The generation of the journal that goes with its checkpoint.
    pub(super) fn generation(&self) -> u64 {
        self.base.as_ref().map_or(1, |base| base.generation)
    }
}
