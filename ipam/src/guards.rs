//! The ports of other plugins that are guarded: one small file for each, replaced whole. There is no
//! lease in them and no address that anybody could get twice, so they need no owner: a plugin writes
//! its own beside a node daemon, whether that answers or not. What is recorded is durable before the
//! kernel is told of it, so that whoever loads the table anew finds every live binding.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use bulkhead_model::{AttachmentId, IfName};

use crate::boot::Boot;
use crate::error::FileError;
use crate::journal::{replace_file, sync_parent};
use crate::record::AttachmentRecord;
use crate::store::{FileLock, LockMode, StaleReason, death, make_dir};

/// The guarded ports of a state directory; nothing is read yet, and nothing made.
#[derive(Clone, Debug)]
pub struct Guards {
    dir: PathBuf,
}

/// The same, locked against every other process until dropped.
#[derive(Debug)]
pub struct LockedGuards {
    guards: Guards,
    _lock: FileLock,
}

impl Guards {
    /// Those of the state directory at `path`.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        Self {
            dir: path.join("guards"),
        }
    }

    /// The record of an attachment.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn find(&self, id: &AttachmentId) -> Result<Option<AttachmentRecord>, FileError> {
        read(&self.path(id))
    }

    /// Whose a port is that is recorded under this name: of several in turn the last one's.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn holder(&self, port: IfName) -> Result<Option<AttachmentRecord>, FileError> {
        let path = self.port_path(port);
        let name = match fs::read_to_string(&path) {
            Ok(name) => name,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FileError::at("read", &path)(error)),
        };
        let record = read(&self.dir.join(name))?;
        Ok(record.filter(|record| record.names.port == Some(port)))
    }

    /// Whether nothing is recorded but, perhaps, this one.
    ///
    /// # Errors
    /// If the directory cannot be listed.
    pub fn is_empty_but(&self, id: &AttachmentId) -> Result<bool, FileError> {
        let own = self.path(id);
        Ok(self.files()?.iter().all(|path| *path == own))
    }

    /// Every record, in the order of their keys.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn all(&self) -> Result<Vec<AttachmentRecord>, FileError> {
        let mut all = Vec::new();
        for path in self.files()? {
            all.extend(read(&path)?);
        }
        all.sort_by_cached_key(|record: &AttachmentRecord| record.key.to_string());
        Ok(all)
    }

    /// Those that may be alive: what an earlier boot guarded went with it.
    ///
    /// # Errors
    /// As [`Guards::all`]; if `/proc` is not mounted.
    pub fn of_this_boot(&self) -> Result<Vec<AttachmentRecord>, FileError> {
        let mut all = self.all()?;
        if !all.is_empty() {
            let boot = Boot::current()?;
            all.retain(|record| record.boot_id == *boot.id());
        }
        Ok(all)
    }

    /// Why a guarded container cannot be alive; `None` if it may be.
    ///
    /// # Errors
    /// If `/proc` is not mounted.
    pub fn death(&self, record: &AttachmentRecord) -> Result<Option<StaleReason>, FileError> {
        Ok(death(record, &Boot::current()?))
    }

    /// Waits until no other process has them; the directory is made if it is missing.
    ///
    /// # Errors
    /// If the directory or its lock cannot be made.
    pub fn lock(self) -> Result<LockedGuards, FileError> {
        let path = self.dir.join("lock");
        let lock = match FileLock::take(&path, LockMode::Exclusive, true) {
            Err(error) if error.source.kind() == ErrorKind::NotFound => {
                make_dir(&self.dir)?;
                FileLock::take(&path, LockMode::Exclusive, true)
            }
            other => other,
        }?;
        Ok(LockedGuards {
            guards: self,
            _lock: lock,
        })
    }

    /// The same; `None` if nothing was ever recorded.
    ///
    /// # Errors
    /// If the lock cannot be taken.
    pub fn lock_existing(self) -> Result<Option<LockedGuards>, FileError> {
        match FileLock::take(&self.dir.join("lock"), LockMode::Exclusive, false) {
            Err(error) if error.source.kind() == ErrorKind::NotFound => Ok(None),
            lock => Ok(Some(LockedGuards {
                _lock: lock?,
                guards: self,
            })),
        }
    }

    /// The files of records.
    fn files(&self) -> Result<Vec<PathBuf>, FileError> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(FileError::at("list", &self.dir)(error)),
        };
        let mut all = Vec::new();
        for entry in entries {
            let path = entry.map_err(FileError::at("list", &self.dir))?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                all.push(path);
            }
        }
        Ok(all)
    }

    fn path(&self, id: &AttachmentId) -> PathBuf {
        self.dir.join(file(id))
    }

    /// Names the record's file.
    fn port_path(&self, port: IfName) -> PathBuf {
        self.dir.join(format!("{port}.port"))
    }
}

impl std::ops::Deref for LockedGuards {
    type Target = Guards;

    fn deref(&self) -> &Guards {
        &self.guards
    }
}

impl LockedGuards {
    /// Records an attachment, in place of what was recorded of it. Durable when it returns.
    ///
    /// # Errors
    /// If the file cannot be written; the old one stands then.
    pub fn put(&self, record: &AttachmentRecord) -> Result<(), FileError> {
        let bytes = serde_json::to_vec(record).expect("a record has text keys");
        replace_file(&self.path(&record.id()), &bytes)?;
        if let Some(port) = record.names.port {
            replace_file(&self.port_path(port), file(&record.id()).as_bytes())?;
        }
        Ok(())
    }

    /// Forgets an attachment. Durable when it returns.
    ///
    /// # Errors
    /// If the file cannot be removed.
    pub fn remove(&self, record: &AttachmentRecord) -> Result<(), FileError> {
        let id = record.id();
        if let Some(port) = record.names.port
            && self.holder(port)?.is_some_and(|holder| holder.id() == id)
        {
            remove(&self.port_path(port))?;
        }
        let path = self.path(&id);
        remove(&path)?;
        sync_parent(&path)
    }
}

fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(FileError::at("remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn file(id: &AttachmentId) -> String {
    format!("{id}.json")
}

fn read(path: &Path) -> Result<Option<AttachmentRecord>, FileError> {
    let at = FileError::at("read", path);
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(error)),
    };
    let record = serde_json::from_slice(&bytes);
    record
        .map(Some)
        .map_err(|error| at(io::Error::new(ErrorKind::InvalidData, error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Ipam, Labels, Names};
    use crate::testing::TempDir;

    fn record(container: &str) -> AttachmentRecord {
        AttachmentRecord {
            key: bulkhead_model::AttachmentKey {
                network: "blue".parse().unwrap(),
                container: container.parse().unwrap(),
                interface: "eth0".parse().unwrap(),
            },
            sequence: 0,
            boot_id: Boot::current().unwrap().id().clone(),
            created_at_unix_ms: 1,
            kind: "guard".to_owned(),
            netns: None,
            names: Names::default(),
            config_digest: String::new(),
            addresses: Vec::new(),
            ipam: Ipam::None,
            pod: None,
            labels: Labels::new(),
            ports: Vec::new(),
            pool: None,
        }
    }

    #[test]
    fn what_is_recorded_is_found_until_it_is_removed() {
        let scratch = TempDir::new("guards");
        let guards = Guards::of(scratch.path());
        assert_eq!(guards.all().unwrap(), []);
        assert!(guards.clone().lock_existing().unwrap().is_none());
        let (one, two) = (record("a"), record("b"));
        let locked = guards.clone().lock().unwrap();
        locked.put(&two).unwrap();
        locked.put(&one).unwrap();
        let again = AttachmentRecord {
            created_at_unix_ms: 2,
            ..one.clone()
        };
        locked.put(&again).unwrap();
        assert_eq!(guards.all().unwrap(), [again.clone(), two.clone()]);
        assert_eq!(guards.find(&one.id()).unwrap(), Some(again));
        locked.remove(&one).unwrap();
        locked.remove(&one).unwrap();
        drop(locked);
        assert_eq!(guards.of_this_boot().unwrap(), [two]);
    }

    #[test]
    fn a_port_is_the_last_one_s_who_has_it() {
        let scratch = TempDir::new("guards");
        let locked = Guards::of(scratch.path()).lock().unwrap();
        let port: IfName = "veth0".parse().unwrap();
        let [one, two] = ["a", "b"].map(|container| {
            let mut record = record(container);
            record.names.port = Some(port);
            record
        });
        locked.put(&one).unwrap();
        locked.put(&two).unwrap();
        assert_eq!(locked.holder(port).unwrap(), Some(two.clone()));
        assert!(!locked.is_empty_but(&one.id()).unwrap());
        locked.remove(&one).unwrap();
        assert_eq!(locked.holder(port).unwrap(), Some(two.clone()));
        assert!(locked.is_empty_but(&two.id()).unwrap());
        locked.remove(&two).unwrap();
        assert_eq!(locked.holder(port).unwrap(), None);
    }

    #[test]
    fn a_file_that_is_no_record_is_named() {
        let scratch = TempDir::new("guards");
        let locked = Guards::of(scratch.path()).lock().unwrap();
        locked.put(&record("a")).unwrap();
        let path = locked.path(&record("a").id());
        fs::write(&path, "{").unwrap();
        let error = locked.all().unwrap_err();
        assert_eq!((error.action, &error.path), ("read", &path));
    }
}
