//! A state directory, looked at without waiting for who holds it.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use bulkhead_ipam::{HostStore, Managed, SetUsage, Snapshot, StoreError};
use bulkhead_model::NetworkName;
use rustix::fs::statvfs;

use crate::coexist::network::Recorded;
use crate::failure::{Failure, chain};
use crate::sources::{Network, recorded};

/// How long a lock is asked for: an ADD or a repair holds it for milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

/// A state directory.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) dir: PathBuf,
    pub(crate) lock: Lock,
    /// Whether a node daemon is said to own it.
    pub(crate) managed: bool,
    /// Owner and mode; `None` if there is no directory.
    pub(crate) owner: Option<Owner>,
    pub(crate) room: Option<Room>,
    /// What a file does not hold that was written to it, each told.
    pub(crate) damaged: Vec<String>,
    /// Range sets without a free address.
    pub(crate) full: Vec<(NetworkName, SetUsage)>,
    /// Networks with attachments that cannot be alive, and how many.
    pub(crate) dead: Vec<(NetworkName, usize)>,
    /// What the system refused to show, each told.
    pub(crate) unread: Vec<String>,
}

/// Who holds the directory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lock {
    /// There is no lock file: nothing was ever recorded.
    None,
    Free,
    /// Somebody has it alone.
    Held,
    /// It cannot be opened.
    Unreadable,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    /// Permissions alone.
    pub(crate) mode: u32,
}

/// What is free on its file system for whom the directory belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) bytes: u64,
    /// `None` if the file system does not count them.
    pub(crate) inodes: Option<u64>,
}

impl Store {
    pub(super) fn look(dir: &Path) -> Self {
        let owner = fs::metadata(dir).ok().map(|found| Owner {
            uid: found.uid(),
            mode: found.mode() & 0o7777,
        });
        // A daemon has it for life.
        let managed = Managed::path(dir).exists();
        let mut store = Self {
            dir: dir.to_owned(),
            lock: lock(
                &dir.join("lock"),
                if managed { Duration::ZERO } else { PATIENCE },
            ),
            managed,
            owner,
            room: owner.and_then(|_| room(dir)),
            damaged: Vec::new(),
            full: Vec::new(),
            dead: Vec::new(),
            unread: Vec::new(),
        };
        if let Err(error) = HostStore::verify(dir) {
            let told = chain(&error);
            store.remember(told, Fault::of(&error));
        }
        store
    }

    /// The networks with a record; reading them needs no lock.
    pub(super) fn networks(&self) -> Result<Vec<NetworkName>, Failure> {
        match self.lock {
            Lock::Free | Lock::Held => recorded(&self.dir),
            Lock::None | Lock::Unreadable => Ok(Vec::new()),
        }
    }

    /// What is recorded of a network; what is wrong with it is remembered here.
    pub(super) fn read(&mut self, network: &Network) -> Recorded {
        if matches!(self.lock, Lock::None | Lock::Unreadable) {
            return Recorded::default();
        }
        let snapshot = match network.read() {
            Ok(snapshot) => snapshot,
            Err(failure) => {
                let fault = match &failure {
                    Failure::Store { source, .. } => Fault::of(source),
                    _ => Fault::Access,
                };
                self.remember(chain(&failure), fault);
                return Recorded::default();
            }
        };
        let Some(snapshot) = snapshot else {
            return Recorded::default();
        };
        self.take_in(&network.name, &snapshot)
            .unwrap_or_else(|error| {
                let told = format!("network {}: {}", network.name, chain(&error));
                self.remember(told, Fault::of(&error));
                Recorded::default()
            })
    }

    fn remember(&mut self, told: String, fault: Fault) {
        match fault {
            Fault::Damage => self.damaged.push(told),
            Fault::Access => self.unread.push(told),
        }
    }

    fn take_in(
        &mut self,
        network: &NetworkName,
        snapshot: &Snapshot,
    ) -> Result<Recorded, StoreError> {
        let recorded = Recorded::of(snapshot)?;
        if recorded.dead > 0 {
            self.dead.push((network.clone(), recorded.dead));
        }
        let usage = snapshot.usage()?.into_iter();
        let full = usage.filter(|set| set.free == 0);
        self.full.extend(full.map(|set| (network.clone(), set)));
        Ok(recorded)
    }
}

/// What is wrong with a file.
#[derive(Clone, Copy)]
enum Fault {
    /// Its bytes.
    Damage,
    /// That it cannot be read.
    Access,
}

impl Fault {
    fn of(error: &StoreError) -> Self {
        match error {
            StoreError::Damaged { .. } | StoreError::Schema { .. } => Self::Damage,
            StoreError::File(_) => Self::Access,
        }
    }
}

/// Takes the lock as an ADD would, and lets go of it.
fn lock(path: &Path, patience: Duration) -> Lock {
    let Ok(true) = path.try_exists() else {
        return Lock::None;
    };
    let Ok(file) = File::open(path) else {
        return Lock::Unreadable;
    };
    let deadline = Instant::now() + patience;
    loop {
        match file.try_lock_shared() {
            Ok(()) => return Lock::Free,
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => return Lock::Held,
            Err(TryLockError::Error(_)) => return Lock::Unreadable,
        }
    }
}

fn room(dir: &Path) -> Option<Room> {
    let found = statvfs(dir).ok()?;
    Some(Room {
        bytes: found.f_bavail.saturating_mul(found.f_frsize),
        inodes: (found.f_files != 0).then_some(found.f_favail),
    })
}
