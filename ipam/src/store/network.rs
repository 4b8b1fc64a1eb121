//! One network's directory: how it is locked, opened and repaired after a crash.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bulkhead_model::NetworkName;

use super::audit::Retention;
use super::checkpoint::Checkpoint;
use super::dir::{FileLock, LockMode, Reach, make_dir, network_dir};
use super::locked::LockedStore;
use super::own::Own;
use super::snapshot::{Snapshot, no_journal};
use super::warm::{Missing, Network};
use crate::boot::Boot;
use crate::error::{FileError, StoreError};
use crate::journal::{Journal, Piece, replace_file, sync_parent};

/// Bounds of a store. The defaults are for use, others for tests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Records after which a checkpoint is made: what an open replays.
    pub(crate) tail_records: usize,
    /// Length of a journal, in bytes, after which the next one is begun.
    pub(crate) journal_bytes: u64,
    /// Freed addresses listed for a range.
    pub(crate) freed: usize,
}

impl Limits {
    /// Where every call opens the store anew.
    pub(crate) const FILES: Self = Self {
        tail_records: 128,
        journal_bytes: 1 << 20,
        freed: 4096,
    };
    /// Where a process opens it once. Replaying this many records takes some 20 ms.
    pub(crate) const MEMORY: Self = Self {
        tail_records: 8192,
        journal_bytes: 8 << 20,
        freed: 4096,
    };
}

/// How far the journal of a network in memory grows ahead, in bytes: some 400 records. The batch for which
/// it grows waits until as much is on the disk.
const GROWTH: u64 = 256 << 10;

/// One network's store.
#[derive(Clone, Debug)]
pub struct NetworkStore {
    pub(super) state_dir: PathBuf,
    pub(super) name: NetworkName,
    pub(super) dir: PathBuf,
    pub(super) boot: Boot,
    pub(super) limits: Limits,
    pub(super) reach: Reach,
    pub(super) retention: Retention,
}

/// How much of a store is taken into memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Extent {
    /// What came after the checkpoint; the rest is looked up in it.
    Changes,
    /// All.
    Everything,
}

impl NetworkStore {
    pub(super) fn new(
        state_dir: &Path,
        name: &NetworkName,
        boot: &Boot,
        reach: Reach,
        retention: Retention,
    ) -> Self {
        let limits = match reach {
            Reach::Memory(_) => Limits::MEMORY,
            Reach::Files | Reach::Beside => Limits::FILES,
        };
        Self {
            state_dir: state_dir.to_owned(),
            name: name.clone(),
            dir: network_dir(state_dir, name),
            boot: boot.clone(),
            limits,
            reach,
            retention,
        }
    }

    /// Another network of the same directory.
    pub(super) fn other(&self, name: &NetworkName) -> Self {
        let (reach, retention) = (self.reach.clone(), self.retention.clone());
        Self::new(&self.state_dir, name, &self.boot, reach, retention)
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
        self.reach.may_change(&self.dir)?;
        match &self.reach {
            Reach::Files | Reach::Beside => {
                let own = self.open(self.lock_file()?)?;
                Ok(LockedStore::alone(self.clone(), own))
            }
            Reach::Memory(warm) => {
                let network = warm.network(self, Missing::Make)?;
                let network = network.expect("a missing one is made");
                Ok(LockedStore::warm(self.clone(), network))
            }
        }
    }

    /// The same, `None` if the network has no record; creates nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn lock_existing(&self) -> Result<Option<LockedStore>, StoreError> {
        self.reach.may_change(&self.dir)?;
        match &self.reach {
            Reach::Files | Reach::Beside => {
                let path = self.dir.join("lock");
                match FileLock::take(&path, LockMode::Exclusive, false) {
                    Err(error) if error.source.kind() == ErrorKind::NotFound => Ok(None),
                    lock => {
                        let own = self.open(lock?)?;
                        Ok(Some(LockedStore::alone(self.clone(), own)))
                    }
                }
            }
            Reach::Memory(warm) => {
                let network = warm.network(self, Missing::Leave)?;
                Ok(network.map(|network| LockedStore::warm(self.clone(), network)))
            }
        }
    }

    /// What is recorded now, without any lock; `None` if nothing ever was. All that was acknowledged is
    /// in it, and nothing that is not durable where the store is in this process's memory.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn read(&self) -> Result<Option<Snapshot>, StoreError> {
        match &self.reach {
            Reach::Files | Reach::Beside => Snapshot::read(&self.dir, &self.boot),
            Reach::Memory(warm) => {
                let network = warm.network(self, Missing::Leave)?;
                Ok(network.map(|network| network.read()))
            }
        }
    }

    /// Locks the network's files, whose directory is made if it is missing.
    pub(super) fn lock_file(&self) -> Result<FileLock, FileError> {
        let path = self.dir.join("lock");
        match FileLock::take(&path, LockMode::Exclusive, true) {
            Err(error) if error.source.kind() == ErrorKind::NotFound => {
                make_dir(&self.dir)?;
                FileLock::take(&path, LockMode::Exclusive, true)
            }
            other => other,
        }
    }

    fn open(&self, lock: FileLock) -> Result<Own, StoreError> {
        let (snapshot, journal) = self.load(Extent::Changes)?;
        Ok(Own::new(snapshot, journal, lock))
    }

    /// What is recorded, and the journal to go on with. Who calls it holds the lock of the files.
    pub(super) fn load(&self, extent: Extent) -> Result<(Snapshot, Journal), StoreError> {
        let path = self.dir.join("journal");
        let base = Checkpoint::open(&self.dir.join("checkpoint"))?;
        let mut snapshot = Snapshot::empty(&self.dir, &self.boot, base);
        let opened = Journal::open(&path, |generation| snapshot.tail_start(generation))?;
        if opened.is_none() && snapshot.base.is_some() {
            return Err(no_journal(&path));
        }
        if extent == Extent::Everything {
            snapshot = snapshot.in_memory()?;
        }
        let Some((journal, tail)) = opened else {
            return Ok((snapshot, Journal::create(&path)?));
        };
        snapshot.take_in(&tail)?;
        Ok((snapshot, journal))
    }

    /// Puts a checkpoint beside the journal, which goes on: whether a crash leaves the old one or
    /// the new, the journal has what came after it.
    pub(super) fn put_checkpoint(&self, bytes: &[u8]) -> Result<(), FileError> {
        replace_file(&self.dir.join("checkpoint"), bytes).map(drop)
    }

    /// Puts a journal into the audit log and begins the next one with what the checkpoint has not of
    /// it. Done again after a crash anywhere inside it, it ends the same.
    pub(super) fn next_journal(
        &self,
        journal: &mut Journal,
        since: &[Piece],
    ) -> Result<(), FileError> {
        let audit = self.dir.join("audit");
        make_dir(&audit)?;
        let kept = audit.join(format!("{:016x}", journal.generation()));
        journal.trim()?;
        match fs::hard_link(self.dir.join("journal"), &kept) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(FileError::at("keep", &kept)(error));
            }
            _ => sync_parent(&kept)?,
        }
        journal.renew(since)?;
        self.trim_audit()
    }

    /// Removes from the audit log what is no longer to be kept.
    pub(super) fn trim_audit(&self) -> Result<(), FileError> {
        let now = self.boot.now();
        super::audit::trim(&self.dir.join("audit"), self.retention.bounds(), now)
    }

    /// The network in this process's memory.
    pub(super) fn in_memory(&self, hold: &Arc<FileLock>) -> Result<Network, StoreError> {
        let lock = self.lock_file()?;
        let (snapshot, mut journal) = self.load(Extent::Everything)?;
        journal.grow_by(GROWTH);
        let locks = [Arc::clone(hold), Arc::new(lock)];
        // Not what holds the network itself, or nothing would ever let go of it.
        let store = Self {
            reach: Reach::Files,
            ..self.clone()
        };
        Ok(Network::new(store, snapshot, journal, locks))
    }
}
