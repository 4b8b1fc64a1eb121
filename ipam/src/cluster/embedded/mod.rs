//! The store of a cluster that is one machine: the rows in memory, every transaction in a journal before
//! it is acknowledged, and now and then a snapshot in the place of a long journal.
//!
//! ```text
//! <state>/cluster/lock       held by the one process that has the store open
//! <state>/cluster/journal    every transaction since the snapshot, and perhaps a few before it
//! <state>/cluster/snapshot   the rows at some revision; none at first
//! ```

mod record;
mod snapshot;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json as json;

use super::kv::{ClusterStore, Committed, KeyRange, KvError, Listing, Revision, Txn, Watch, Write};
use super::mvcc::Mvcc;
use super::watched::Watched;
use crate::error::{FileError, StoreError};
use crate::journal::{self, Journal, Tail};
use crate::store::{FileLock, make_dir};
use record::Change;

/// Changes that watches can resume from after a restart are those of the journal; beyond that so many
/// are remembered.
const REMEMBERED: usize = 20_000;
/// A journal shorter than this is not worth a snapshot.
const LEAST_JOURNAL: u64 = 1 << 20;

/// Rows in a directory. Clones share them.
#[derive(Clone, Debug)]
pub struct EmbeddedStore(Arc<Embedded>);

#[derive(Debug)]
struct Embedded {
    rows: Arc<Watched>,
    /// Held for the whole of a commit, so that one is decided and written at a time.
    disk: Mutex<Disk>,
}

#[derive(Debug)]
struct Disk {
    dir: PathBuf,
    journal: Journal,
    /// The journal's length beyond which a snapshot is made.
    longest: u64,
    /// The least of that.
    least: u64,
    _lock: FileLock,
}

/// Why the store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Another process has it open.
    #[error(
        "{} is in use by another process: it belongs to one node daemon; stop the other one",
        .0.display()
    )]
    InUse(PathBuf),
    /// A file does not hold what was written to it.
    #[error("{} is damaged at byte {offset}: {what}; restore {} from a backup", path.display(), path.parent().unwrap_or(path).display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What was found.
        what: String,
    },
    /// The system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file of a later release.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for EmbeddedError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Damaged { path, offset, what } => Self::Damaged { path, offset, what },
            StoreError::File(error) => Self::File(error),
            schema @ StoreError::Schema { .. } => Self::Store(schema),
        }
    }
}

impl EmbeddedStore {
    /// Opens the store in `dir`, which is made if it is missing.
    ///
    /// # Errors
    /// [`EmbeddedError`].
    pub fn open(dir: &Path) -> Result<Self, EmbeddedError> {
        Self::open_with(dir, LEAST_JOURNAL)
    }

    fn open_with(dir: &Path, least: u64) -> Result<Self, EmbeddedError> {
        make_dir(dir)?;
        let lock = FileLock::try_take(&dir.join("lock"))?;
        let lock = lock.ok_or_else(|| EmbeddedError::InUse(dir.to_owned()))?;
        let snapshot = snapshot::read(&dir.join("snapshot"))?;
        let path = dir.join("journal");
        let journal = Journal::open(&path, |_| Ok(journal::first_record()))?;
        let mut rows = match &snapshot {
            Some((rows, revision)) => Mvcc::new(rows.clone(), *revision, REMEMBERED),
            None => Mvcc::empty(REMEMBERED),
        };
        let (journal, tail) = match (journal, &snapshot) {
            (Some(opened), _) => opened,
            (None, None) => (Journal::create(&path)?, Tail::default()),
            // A snapshot is made of a journal, which is replaced and never removed.
            (None, Some(_)) => {
                return Err(damaged(&path, 0, "it is gone, and a snapshot is there"));
            }
        };
        replay(&tail, &path, &mut rows)?;
        let name = format!("embedded store {}", dir.display());
        Ok(Self(Arc::new(Embedded {
            rows: Arc::new(Watched::new(name, rows)),
            disk: Mutex::new(Disk {
                dir: dir.to_owned(),
                journal,
                longest: least,
                least,
                _lock: lock,
            }),
        })))
    }

    /// Forgets the changes up to `revision`: watches that have not seen them end.
    pub fn compact(&self, revision: Revision) {
        self.0.rows.change(|rows| rows.compact(revision));
    }
}

/// Carries out what the journal says that the snapshot does not have.
fn replay(tail: &Tail, path: &Path, rows: &mut Mvcc) -> Result<(), EmbeddedError> {
    for (at, body) in tail.records() {
        let wrong = |what: &str| damaged(path, at, what);
        let change: Change<'_> =
            json::from_slice(&body).map_err(|error| wrong(&format!("no transaction: {error}")))?;
        if change.revision <= rows.revision().0 {
            continue;
        }
        let writes = change.writes();
        let writes = writes.ok_or_else(|| wrong("no transaction: a key or a value is none"))?;
        let due = rows.revision().0 + 1;
        if rows.apply(&writes).0 != due || change.revision != due {
            return Err(wrong(&format!(
                "revision {} where {due} is due",
                change.revision
            )));
        }
    }
    Ok(())
}

fn damaged(path: &Path, offset: u64, what: &str) -> EmbeddedError {
    EmbeddedError::Damaged {
        path: path.to_owned(),
        offset,
        what: what.to_owned(),
    }
}

impl Disk {
    /// Makes a change durable.
    fn append(&mut self, revision: Revision, writes: &[Write], store: &str) -> Result<(), KvError> {
        let change = json::to_vec(&Change::new(revision, writes)).expect("a change is JSON");
        let result = self.journal.append(&[change]);
        result.map_err(|error| {
            let why = format!(
                "{error}: {}; make room on the disk or mend it",
                error.source
            );
            let store = store.to_owned();
            if self.journal.is_settled() {
                KvError::Refused { store, why }
            } else {
                // It could not be taken back, so that it may be there after a restart.
                KvError::Ambiguous { store, why }
            }
        })
    }

    /// Puts a snapshot in the place of a journal that has grown long.
    fn shorten(&mut self, rows: &Mvcc) {
        if self.journal.end() <= self.longest {
            return;
        }
        // What was committed is durable as it is; if this fails, the next attempt is some way off.
        self.longest = match self.snapshot(rows) {
            Ok(length) => self.least.max(2 * length),
            Err(_) => self.journal.end() + self.least,
        };
    }

    /// The snapshot's length.
    fn snapshot(&mut self, rows: &Mvcc) -> Result<u64, FileError> {
        let generation = self.journal.generation() + 1;
        let bytes = snapshot::encode(rows, generation);
        journal::replace_file(&self.dir.join("snapshot"), &bytes)?;
        self.journal.renew::<Vec<u8>>(&[])?;
        Ok(journal::offset(bytes.len()))
    }
}

impl ClusterStore for EmbeddedStore {
    fn range(&self, range: &KeyRange, limit: usize) -> Result<Listing, KvError> {
        Ok(self.0.rows.lock().range(range, limit))
    }

    fn commit(&self, txn: &Txn) -> Result<Committed, KvError> {
        let Embedded { rows, disk } = &*self.0;
        txn.check(&rows.name)?;
        // Nothing between lock and unlock panics half way.
        let mut disk = disk.lock().unwrap_or_else(PoisonError::into_inner);
        let (held, now, changes) = {
            let rows = rows.lock();
            let held = txn.when.iter().all(|compare| rows.holds(compare));
            (held, rows.revision(), held && rows.changes(&txn.writes))
        };
        if !changes {
            return Ok(Committed {
                held,
                revision: now,
            });
        }
        disk.append(Revision(now.0 + 1), &txn.writes, &rows.name)?;
        let revision = rows.change(|rows| rows.apply(&txn.writes));
        disk.shorten(&rows.lock());
        Ok(Committed { held, revision })
    }

    fn watch(&self, range: &KeyRange, after: Revision) -> Result<Box<dyn Watch>, KvError> {
        self.0.rows.watch(range, after)
    }

    fn describe(&self) -> String {
        self.0.rows.name.clone()
    }
}
