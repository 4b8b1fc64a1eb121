//! The state directory: its lock, its owner, its networks.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bulkhead_model::{IfName, NetworkName};

use super::audit::{AuditBounds, Retention};
use super::network::NetworkStore;
use super::warm::{BridgeLock, HostHold, Warm};
use crate::boot::Boot;
use crate::error::{FileError, OpenError, StoreError};
use crate::host::{HostChanges, HostStore};
use crate::host_ports::HostPortIndex;
use crate::journal::{replace_file, sync_parent};
use crate::managed::Managed;
use crate::spool::Spool;

/// What a state directory is opened for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// An ADD in this process: created if missing, refused if a daemon owns the directory.
    Add,
    /// Any other call in this process: not created.
    Shared,
    /// Reading what is recorded, beside whoever has the directory: nothing is locked, and nothing but a
    /// tombstone can be written. Not created.
    Look,
    /// A daemon, for its life; or a repair that must be alone. Created if missing. Every network that
    /// is opened stays open in memory, and any number of threads may share the directory.
    Exclusive,
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LockMode {
    /// With others that share it.
    Shared,
    /// Alone.
    Exclusive,
}

/// The state directory, locked until dropped.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    boot: Boot,
    reach: Reach,
    retention: Retention,
    _lock: Option<FileLock>,
}

/// How the networks of a directory are reached.
#[derive(Clone, Debug)]
pub(super) enum Reach {
    /// By their files, which each call locks.
    Files,
    /// In this process's memory.
    Memory(Arc<Warm>),
    /// By their files, without a lock; nothing can be changed.
    Beside,
}

/// A lock on a file (`flock(2)`), held until dropped.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

impl StateDir {
    /// Opens and locks the directory; waits for who holds it otherwise.
    ///
    /// # Errors
    /// [`OpenError`]; `Missing` only for `Access::Shared` and `Access::Look`, `Managed` for
    /// `Access::Add`, and for `Access::Shared` if a daemon holds the directory.
    pub fn open(path: &Path, access: Access) -> Result<Self, OpenError> {
        Self::open_in(path, access, Boot::current()?)
    }

    /// The same under another boot, for tests and simulations.
    ///
    /// # Errors
    /// As [`StateDir::open`].
    pub fn open_in(path: &Path, access: Access, boot: Boot) -> Result<Self, OpenError> {
        let lock_path = path.join("lock");
        let (mode, create) = match access {
            Access::Add => (LockMode::Shared, true),
            Access::Shared => (LockMode::Shared, false),
            Access::Exclusive => (LockMode::Exclusive, true),
            Access::Look if exists(&lock_path)? => {
                return Ok(Self::new(path, boot, Reach::Beside, None));
            }
            Access::Look => return Err(OpenError::Missing(path.to_owned())),
        };
        if create && !exists(&lock_path)? {
            make_dir(path)?;
        }
        // A daemon marks the directory before it locks it, so nobody waits here for its whole life.
        let refuse_managed = || match access {
            Access::Add if exists(&Managed::path(path))? => {
                Err(OpenError::Managed(path.to_owned()))
            }
            _ => Ok(()),
        };
        refuse_managed()?;
        let is_managed = || exists(&Managed::path(path)).unwrap_or(true);
        let taken = match access {
            Access::Exclusive => FileLock::take(&lock_path, mode, create).map(Some),
            _ => FileLock::take_while(&lock_path, mode, create, || !is_managed()),
        };
        let lock = match taken {
            Err(error) if !create && error.source.kind() == ErrorKind::NotFound => {
                return Err(OpenError::Missing(path.to_owned()));
            }
            other => other?.ok_or_else(|| OpenError::Managed(path.to_owned()))?,
        };
        refuse_managed()?;
        Ok(match access {
            Access::Exclusive => {
                let reach = Reach::Memory(Arc::new(Warm::new(lock)));
                Self::new(path, boot, reach, None)
            }
            _ => Self::new(path, boot, Reach::Files, Some(lock)),
        })
    }

    fn new(path: &Path, boot: Boot, reach: Reach, lock: Option<FileLock>) -> Self {
        Self {
            path: path.to_owned(),
            boot,
            reach,
            retention: Retention::default(),
            _lock: lock,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// This boot.
    #[must_use]
    pub const fn boot(&self) -> &Boot {
        &self.boot
    }

    /// Whether a daemon owns it; also if that cannot be told.
    #[must_use]
    pub fn is_managed(&self) -> bool {
        exists(&Managed::path(&self.path)).unwrap_or(true)
    }

    /// How much of the past is kept from now on of every network, instead of the default.
    pub fn keep_audit(&self, bounds: AuditBounds) {
        self.retention.set(bounds);
    }

    /// Removes what is beyond the bounds; also done whenever a journal is full. For bounds of age, to
    /// be called from time to time.
    ///
    /// # Errors
    /// If a file cannot be removed.
    pub fn trim_audit(&self) -> Result<(), FileError> {
        self.reach.may_change(&self.path)?;
        for name in self.networks()? {
            self.network(&name).trim_audit()?;
        }
        Ok(())
    }

    /// The node's id: made on first use and kept; 32 hexadecimal digits.
    ///
    /// # Errors
    /// If it can be neither read nor made.
    pub fn node_id(&self) -> Result<String, FileError> {
        let path = self.path.join("node-id");
        let read = || match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FileError::at("read", &path)(error)),
        };
        if let Some(id) = read()? {
            return Ok(id);
        }
        self.reach.may_change(&self.path)?;
        let _alone = FileLock::take(&self.path.join("node-id.lock"), LockMode::Exclusive, true)?;
        if let Some(id) = read()? {
            return Ok(id);
        }
        let uuid = Path::new("/proc/sys/kernel/random/uuid");
        let id = fs::read_to_string(uuid).map_err(FileError::at("read", uuid))?;
        let id: String = id.chars().filter(char::is_ascii_hexdigit).collect();
        replace_file(&path, format!("{id}\n").as_bytes())?;
        Ok(id)
    }

    /// One network's store; nothing is read yet.
    #[must_use]
    pub fn network(&self, name: &NetworkName) -> NetworkStore {
        let (reach, retention) = (self.reach.clone(), self.retention.clone());
        NetworkStore::new(&self.path, name, &self.boot, reach, retention)
    }

    /// Every network with a record, by name.
    ///
    /// # Errors
    /// If the directory cannot be listed.
    pub fn networks(&self) -> Result<Vec<NetworkName>, FileError> {
        networks(&self.path)
    }

    /// The changes to the node itself, locked.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn host(&self) -> Result<HostHold, StoreError> {
        self.reach.may_change(&self.path)?;
        let open = || {
            let (dir, lock) = self.locked_dir("host")?;
            HostStore::open(&dir, &self.boot, lock)
        };
        match &self.reach {
            Reach::Memory(warm) => warm.host.take(open),
            Reach::Files | Reach::Beside => open().map(HostHold::alone),
        }
    }

    /// The same as they are recorded now, without a lock; makes nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn host_changes(&self) -> Result<HostChanges, StoreError> {
        HostChanges::read(&self.path, &self.boot)
    }

    /// Who has which host port, locked.
    ///
    /// # Errors
    /// If the directory or its lock cannot be made.
    pub fn host_ports(&self) -> Result<HostPortIndex, FileError> {
        self.reach.may_change(&self.path)?;
        let (dir, lock) = self.locked_dir("host-ports")?;
        Ok(HostPortIndex::new(dir, lock))
    }

    /// The detachments that a daemon has still to hear of.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn spool(&self) -> Result<Spool, FileError> {
        let dir = self.path.join("spool");
        make_dir(&dir)?;
        Ok(Spool::new(dir))
    }

    fn locked_dir(&self, name: &str) -> Result<(PathBuf, FileLock), FileError> {
        let dir = self.path.join(name);
        if !exists(&dir)? {
            make_dir(&dir)?;
        }
        let lock = FileLock::take(&dir.join("lock"), LockMode::Exclusive, true)?;
        Ok((dir, lock))
    }

    /// The lock of a bridge: shared while a port is plugged, exclusive while the bridge is removed.
    ///
    /// # Errors
    /// If the lock file cannot be made.
    pub fn bridge_lock(&self, bridge: &IfName, mode: LockMode) -> Result<BridgeLock, FileError> {
        self.reach.may_change(&self.path)?;
        if let Reach::Memory(warm) = &self.reach {
            return Ok(warm.bridges.hold(*bridge, mode));
        }
        let dir = self.path.join("bridges");
        let path = dir.join(format!("{bridge}.lock"));
        let lock = match FileLock::take(&path, mode, true) {
            Err(error) if error.source.kind() == ErrorKind::NotFound => {
                make_dir(&dir)?;
                FileLock::take(&path, mode, true)
            }
            other => other,
        };
        lock.map(BridgeLock::from)
    }
}

impl Reach {
    /// Whether more than a tombstone can be written to the directory at `path`.
    pub(super) fn may_change(&self, path: &Path) -> Result<(), FileError> {
        match self {
            Self::Files | Self::Memory(_) => Ok(()),
            Self::Beside => {
                let source = io::Error::new(ErrorKind::PermissionDenied, BesideDaemon);
                Err(FileError::at("change", path)(source))
            }
        }
    }
}

/// Why a directory opened for [`Access::Look`] is not written to.
#[derive(Debug, thiserror::Error)]
#[error("it belongs to a node daemon that does not answer, start bulkheadd")]
struct BesideDaemon;

/// Whether something is at `path`; an error is no answer.
fn exists(path: &Path) -> Result<bool, FileError> {
    path.try_exists().map_err(FileError::at("look for", path))
}

/// Where a network's files are.
pub(super) fn network_dir(state_dir: &Path, name: &NetworkName) -> PathBuf {
    state_dir.join("networks").join(name.as_str())
}

/// Every network under a state directory.
pub(super) fn networks(state_dir: &Path) -> Result<Vec<NetworkName>, FileError> {
    let dir = state_dir.join("networks");
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FileError::at("list", &dir)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(FileError::at("list", &dir))?;
        // Whatever else somebody put here is not a network's.
        if let Some(Ok(name)) = entry.file_name().to_str().map(str::parse) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

impl FileLock {
    /// Takes the lock alone, or `None` if somebody else has it.
    pub(crate) fn try_take(path: &Path) -> Result<Option<Self>, FileError> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(FileError::at("open", path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(FileError::at("lock", path)(error)),
        }
    }

    pub(crate) fn take(path: &Path, mode: LockMode, create: bool) -> Result<Self, FileError> {
        let file = lock_file(path, create)?;
        loop {
            let locked = match mode {
                LockMode::Shared => file.lock_shared(),
                LockMode::Exclusive => file.lock(),
            };
            match locked {
                Ok(()) => return Ok(Self { _file: file }),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(FileError::at("lock", path)(error)),
            }
        }
    }

    /// The same, given up once `waits` says no while somebody else has it: a daemon that comes in
    /// between has it for life.
    fn take_while(
        path: &Path,
        mode: LockMode,
        create: bool,
        waits: impl Fn() -> bool,
    ) -> Result<Option<Self>, FileError> {
        const PAUSE: Duration = Duration::from_millis(5);
        let file = lock_file(path, create)?;
        loop {
            let locked = match mode {
                LockMode::Shared => file.try_lock_shared(),
                LockMode::Exclusive => file.try_lock(),
            };
            match locked {
                Ok(()) => return Ok(Some(Self { _file: file })),
                Err(TryLockError::WouldBlock) if waits() => thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Interrupted => {}
                Err(TryLockError::Error(error)) => return Err(FileError::at("lock", path)(error)),
            }
        }
    }
}

fn lock_file(path: &Path, create: bool) -> Result<File, FileError> {
    let mut options = OpenOptions::new();
    options.read(true).mode(0o600);
    if create {
        options.write(true).create(true);
    }
    options.open(path).map_err(FileError::at("open", path))
}

/// Makes a directory for root alone and every parent it lacks, each durable.
pub(crate) fn make_dir(path: &Path) -> Result<(), FileError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => sync_parent(path),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let Some(parent) = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty())
            else {
                return Err(FileError::at("create", path)(error));
            };
            make_dir(parent)?;
            match DirBuilder::new().mode(0o700).create(path) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    Err(FileError::at("create", path)(error))
                }
                _ => sync_parent(path),
            }
        }
        Err(error) => Err(FileError::at("create", path)(error)),
    }
}
