//! Detachments made while the daemon that owns the directory was down: a DEL takes the kernel
//! objects away itself, leaves a tombstone here and succeeds; the daemon ends the leases before it
//! serves.

use std::path::{Path, PathBuf};

use bulkhead_model::AttachmentKey;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::journal::{Journal, Reader, Tail, first_record};
use crate::store::FileLock;

/// The spool, locked against every other process until dropped.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    journal: Journal,
    _lock: FileLock,
}

/// An attachment that was detached and whose lease is still to be ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Tombstone {
    /// The attachment.
    pub key: AttachmentKey,
    /// The lease's sequence, if its record could be read: a later lease stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// When, in milliseconds since 1970.
    pub detached_at_unix_ms: u64,
}

impl Spool {
    pub(crate) fn open(dir: &Path, lock: FileLock) -> Result<Self, StoreError> {
        let path = dir.join("journal");
        let journal = match Journal::open(&path, |_| Ok(first_record()))? {
            Some(journal) => journal,
            None => Journal::replace(&path, 1, &[])?,
        };
        Ok(Self {
            path,
            journal,
            _lock: lock,
        })
    }

    /// Adds a tombstone; durable when this returns.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is added then.
    pub fn add(&mut self, tombstone: &Tombstone) -> Result<(), StoreError> {
        let body = serde_json::to_vec(tombstone).expect("a tombstone has text keys");
        self.journal.append(&[body])
    }

    /// Every tombstone, in the order of the detachments.
    ///
    /// # Errors
    /// `Damaged` if one is not understood.
    pub fn tombstones(&self) -> Result<Vec<Tombstone>, StoreError> {
        tombstones(&self.path, self.journal.tail())
    }

    /// Those of a state directory, read without a lock; none if there never was one. Makes nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn look(state_dir: &Path) -> Result<Vec<Tombstone>, StoreError> {
        let path = state_dir.join("spool").join("journal");
        match Reader::open(&path)? {
            Some(reader) => tombstones(&path, &reader.tail(first_record())?),
            None => Ok(Vec::new()),
        }
    }

    /// Removes every tombstone, once their leases have ended durably.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn clear(mut self) -> Result<(), StoreError> {
        self.journal.close();
        Journal::replace(&self.path, self.journal.generation() + 1, &[]).map(drop)
    }
}

fn tombstones(path: &Path, tail: &Tail) -> Result<Vec<Tombstone>, StoreError> {
    let read = |body: &std::ops::Range<usize>| {
        let tombstone = serde_json::from_slice(&tail.bytes()[body.clone()]);
        tombstone.map_err(|error| StoreError::Damaged {
            path: path.to_owned(),
            offset: tail.in_file(body.start),
            what: error.to_string(),
        })
    };
    tail.bodies().iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Access, StateDir};
    use crate::testing::TempDir;

    #[test]
    fn tombstones_wait_until_they_are_cleared() {
        let dir = TempDir::new("spool");
        let state = StateDir::open(dir.path(), Access::Exclusive).unwrap();
        let tombstone = |container: &str| Tombstone {
            key: AttachmentKey {
                network: "blue".parse().unwrap(),
                container: container.parse().unwrap(),
                interface: "eth0".parse().unwrap(),
            },
            sequence: Some(7),
            detached_at_unix_ms: 1,
        };
        assert_eq!(Spool::look(dir.path()).unwrap(), []);
        let both = ["c0", "c1"].map(tombstone);
        for one in &both {
            state.spool().unwrap().add(one).unwrap();
        }
        assert_eq!(Spool::look(dir.path()).unwrap(), both);
        let locked = state.spool().unwrap();
        assert_eq!(locked.tombstones().unwrap(), both);
        assert_eq!(Spool::look(dir.path()).unwrap(), both);
        drop(locked);
        state.spool().unwrap().clear().unwrap();
        assert_eq!(state.spool().unwrap().tombstones().unwrap(), []);
    }
}
