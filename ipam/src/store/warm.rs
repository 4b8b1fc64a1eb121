//! The networks of a directory that this process has to itself, each opened once and kept in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bulkhead_model::NetworkName;

use super::dir::FileLock;
use super::network::NetworkStore;
use crate::error::{FileError, StoreError};

mod checkpoint;
mod desk;
mod holds;

pub(super) use desk::{Network, Turn};
pub use holds::{BridgeLock, HostHold};
pub(super) use holds::{Bridges, HostDesk};

/// The networks, and the lock that makes them this process's.
#[derive(Debug)]
pub(super) struct Warm {
    hold: Arc<FileLock>,
    networks: Mutex<BTreeMap<NetworkName, Arc<Slot>>>,
    /// Held while a network chooses its pool.
    choice: Mutex<()>,
    pub(super) bridges: Bridges,
    pub(super) host: HostDesk,
}

/// A network's place: empty until somebody opens it, while others wait who want the same one.
type Slot = Mutex<Option<Arc<Network>>>;

/// What becomes of a network that has no record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Missing {
    /// Its directory is made.
    Make,
    /// Nothing.
    Leave,
}

impl Warm {
    pub(super) fn new(hold: FileLock) -> Self {
        Self {
            hold: Arc::new(hold),
            networks: Mutex::default(),
            choice: Mutex::default(),
            bridges: Bridges::default(),
            host: HostDesk::default(),
        }
    }

    /// The network of `store`, opened if it is not yet; `None` only for `Missing::Leave`.
    pub(super) fn network(
        &self,
        store: &NetworkStore,
        missing: Missing,
    ) -> Result<Option<Arc<Network>>, StoreError> {
        let known = locked(&self.networks).get(&store.name).cloned();
        if known.is_none() && missing == Missing::Leave && !is_there(store)? {
            return Ok(None);
        }
        let slot = known.unwrap_or_else(|| {
            let mut networks = locked(&self.networks);
            Arc::clone(networks.entry(store.name.clone()).or_default())
        });
        let mut slot = locked(&slot);
        if let Some(network) = &*slot {
            return Ok(Some(Arc::clone(network)));
        }
        let network = Arc::new(store.in_memory(&self.hold)?);
        Ok(Some(Arc::clone(slot.insert(network))))
    }

    /// One network chooses at a time.
    pub(super) fn choice(&self) -> MutexGuard<'_, ()> {
        locked(&self.choice)
    }
}

fn is_there(store: &NetworkStore) -> Result<bool, FileError> {
    let lock = store.dir.join("lock");
    lock.try_exists().map_err(FileError::at("look for", &lock))
}

/// Nothing that can panic is done under these locks; what a panic left is whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
