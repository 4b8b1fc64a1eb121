//! One network's directory: how it is locked, opened and repaired after a crash.

use std::fs;
use std::io::ErrorKind;
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
    /// Records after which a checkpoint is made: what an open replays at most.
    pub(crate) tail_records: usize,
    /// Length of a journal, in bytes, after which the next one is begun.
    pub(crate) journal_bytes: u64,
    /// Freed addresses listed for a range.
    pub(crate) freed: usize,
    /// Bytes of old journals kept for the audit.
    pub(crate) audit_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tail_records: 128,
            journal_bytes: 1 << 20,
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
            Err(error) if error.source.kind() == ErrorKind::NotFound => {
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
            Err(error) if error.source.kind() == ErrorKind::NotFound => Ok(None),
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

    /// Forgets history from before `before_unix_ms`, in milliseconds since 1970, a journal at a time:
    /// some of it may stay. Takes no lock: whoever writes only adds journals.
    ///
    /// # Errors
    /// If a file cannot be looked at or removed.
    pub fn forget_before(&self, before_unix_ms: u64) -> Result<(), FileError> {
        super::audit::forget(&self.dir.join("audit"), before_unix_ms)
    }

    fn open(&self, lock: FileLock) -> Result<LockedStore, StoreError> {
        let path = self.dir.join("journal");
        let base = Checkpoint::open(&self.dir.join("checkpoint"))?;
        let mut snapshot = Snapshot::empty(&self.dir, &self.boot, base);
        let journal = match Journal::open(&path, |generation| snapshot.tail_start(generation))? {
            Some(journal) => journal,
            None if snapshot.base.is_some() => return Err(no_journal(&path)),
            None => Journal::replace(&path, 1, &[])?,
        };
        snapshot.take_in(journal.tail())?;
        Ok(LockedStore::new(self.clone(), snapshot, journal, lock))
    }

    /// Puts a checkpoint beside the journal, which goes on: whether a crash leaves the old one or
    /// the new, the journal has what came after it.
    pub(super) fn put_checkpoint(&self, bytes: &[u8]) -> Result<(), FileError> {
        replace_file(&self.dir.join("checkpoint"), bytes).map(drop)
    }

    /// Puts a journal that a checkpoint holds all of into the audit log, and begins the next one.
    /// Done again after a crash anywhere inside it, it ends the same.
    pub(super) fn next_journal(&self, full: u64) -> Result<Journal, StoreError> {
        let journal = self.dir.join("journal");
        let audit = self.dir.join("audit");
        make_dir(&audit)?;
        let kept = audit.join(format!("{full:016x}"));
        match fs::hard_link(&journal, &kept) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(FileError::at("keep", &kept)(error).into());
            }
            _ => sync_parent(&kept)?,
        }
        let next = Journal::replace(&journal, full + 1, &[])?;
        super::audit::trim(&audit, self.limits.audit_bytes)?;
        Ok(next)
    }
}
