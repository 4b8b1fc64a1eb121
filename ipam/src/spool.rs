//! Detachments made while the daemon that owns the directory did not answer: a DEL takes the kernel
//! objects away itself, leaves a tombstone here and succeeds; the daemon ends the leases before it
//! serves. Each is a file of its own, so that nobody waits for a lock that a daemon may hold which
//! stands still.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bulkhead_model::AttachmentKey;
use serde::{Deserialize, Serialize};

use crate::error::{FileError, StoreError};
use crate::journal::sync_parent;

/// What a file is called while it is written.
const UNFINISHED: &str = ".new";

/// The spool.
#[derive(Debug)]
pub struct Spool {
    dir: PathBuf,
}

/// An attachment that was detached and whose lease is still to be ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Tombstone {
    /// The attachment.
    pub key: AttachmentKey,
    /// The lease's sequence, if it had one: a later lease stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// When, in milliseconds since 1970.
    pub detached_at_unix_ms: u64,
}

impl Tombstone {
    /// Of one lease there is one.
    fn file_name(&self) -> String {
        let id = self.key.id();
        match self.sequence {
            Some(sequence) => format!("{id}-{sequence}"),
            None => format!("{id}-none"),
        }
    }
}

impl Spool {
    pub(crate) const fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Adds a tombstone; durable when this returns.
    ///
    /// # Errors
    /// If the file cannot be written; nothing is added then.
    pub fn add(&self, tombstone: &Tombstone) -> Result<(), FileError> {
        let name = tombstone.file_name();
        let path = self.dir.join(&name);
        let beside = self
            .dir
            .join(format!("{name}.{}{UNFINISHED}", std::process::id()));
        let body = serde_json::to_vec(tombstone).expect("a tombstone has text keys");
        write(&beside, &body).map_err(FileError::at("write", &beside))?;
        fs::rename(&beside, &path).map_err(FileError::at("replace", &path))?;
        sync_parent(&path)
    }

    /// Every tombstone, the eldest first.
    ///
    /// # Errors
    /// `Damaged` if one is not understood.
    pub fn tombstones(&self) -> Result<Vec<Tombstone>, StoreError> {
        let list = |error| FileError::at("list", &self.dir)(error);
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(list)? {
            let path = entry.map_err(list)?.path();
            if !path.to_string_lossy().ends_with(UNFINISHED) {
                all.extend(read(&path)?);
            }
        }
        all.sort_by_key(|tombstone: &Tombstone| tombstone.detached_at_unix_ms);
        Ok(all)
    }

    /// Those of a state directory; none if there never was a spool. Makes nothing.
    ///
    /// # Errors
    /// As [`Spool::tombstones`].
    pub fn look(state_dir: &Path) -> Result<Vec<Tombstone>, StoreError> {
        let spool = Self::new(state_dir.join("spool"));
        if spool.dir.exists() {
            spool.tombstones()
        } else {
            Ok(Vec::new())
        }
    }

    /// Removes a tombstone, once its lease has ended durably.
    ///
    /// # Errors
    /// If the file cannot be removed.
    pub fn remove(&self, tombstone: &Tombstone) -> Result<(), FileError> {
        let path = self.dir.join(tombstone.file_name());
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(FileError::at("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file: File = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_data()
}

/// `None` if somebody has removed it meanwhile.
fn read(path: &Path) -> Result<Option<Tombstone>, StoreError> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        bytes => bytes.map_err(FileError::at("read", path))?,
    };
    let tombstone = serde_json::from_slice(&bytes).map_err(|error| StoreError::Damaged {
        path: path.to_owned(),
        offset: 0,
        what: error.to_string(),
    });
    tombstone.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Access, StateDir};
    use crate::testing::TempDir;

    fn tombstone(container: &str, sequence: Option<u64>, at: u64) -> Tombstone {
        Tombstone {
            key: AttachmentKey {
                network: "blue".parse().unwrap(),
                container: container.parse().unwrap(),
                interface: "eth0".parse().unwrap(),
            },
            sequence,
            detached_at_unix_ms: at,
        }
    }

    #[test]
    fn tombstones_wait_until_each_is_removed() {
        let dir = TempDir::new("spool");
        let state = StateDir::open(dir.path(), Access::Exclusive).unwrap();
        assert_eq!(Spool::look(dir.path()).unwrap(), []);
        assert!(!dir.path().join("spool").exists());
        // Two lives of one attachment, and one that nothing was known of.
        let all = [
            tombstone("c0", Some(7), 1),
            tombstone("c0", Some(9), 2),
            tombstone("c1", None, 3),
        ];
        for one in all.iter().chain(&all).rev() {
            state.spool().unwrap().add(one).unwrap();
        }
        // What was being written when its writer died is none.
        fs::write(
            dir.path().join("spool").join(format!("x.1{UNFINISHED}")),
            "{",
        )
        .unwrap();
        let spool = state.spool().unwrap();
        assert_eq!(spool.tombstones().unwrap(), all);
        assert_eq!(Spool::look(dir.path()).unwrap(), all);
        spool.remove(&all[0]).unwrap();
        assert_eq!(spool.tombstones().unwrap(), all[1..]);
        spool.remove(&all[0]).unwrap();
    }

    #[test]
    fn a_file_that_is_no_tombstone_is_named() {
        let dir = TempDir::new("spool-damaged");
        let state = StateDir::open(dir.path(), Access::Exclusive).unwrap();
        let spool = state.spool().unwrap();
        spool.add(&tombstone("c0", Some(7), 1)).unwrap();
        let path = dir
            .path()
            .join("spool")
            .join(tombstone("c0", Some(7), 1).file_name());
        fs::write(&path, "{").unwrap();
        let error = spool.tombstones().unwrap_err().to_string();
        assert!(error.starts_with(&path.display().to_string()), "{error}");
    }
}
