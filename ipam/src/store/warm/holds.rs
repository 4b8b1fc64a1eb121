//! What a process that has the directory to itself keeps in memory besides the networks: who holds a
//! bridge, and the journal of changes to the node.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use bulkhead_model::IfName;

use super::super::dir::{FileLock, LockMode};
use super::locked;
use crate::error::StoreError;
use crate::host::HostStore;

/// The lock of a bridge, held until dropped.
#[derive(Debug)]
pub struct BridgeLock(Holding);

#[derive(Debug)]
enum Holding {
    File(#[allow(dead_code, reason = "held until dropped")] FileLock),
    Memory(Bridges, IfName, LockMode),
}

impl From<FileLock> for BridgeLock {
    fn from(lock: FileLock) -> Self {
        Self(Holding::File(lock))
    }
}

/// The bridges that somebody holds.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Bridges(Arc<Held>);

#[derive(Debug, Default)]
struct Held {
    bridges: Mutex<BTreeMap<IfName, Holders>>,
    changed: Condvar,
}

/// Who holds one bridge. Whoever waits to have it alone goes before those who come to share it.
#[derive(Debug, Default)]
struct Holders {
    sharing: usize,
    alone: bool,
    waiting_alone: usize,
}

impl Bridges {
    pub(in super::super) fn hold(&self, bridge: IfName, mode: LockMode) -> BridgeLock {
        let mut bridges = locked(&self.0.bridges);
        if mode == LockMode::Exclusive {
            bridges.entry(bridge).or_default().waiting_alone += 1;
        }
        loop {
            let holders = bridges.entry(bridge).or_default();
            match mode {
                LockMode::Shared if !holders.alone && holders.waiting_alone == 0 => {
                    holders.sharing += 1;
                    break;
                }
                LockMode::Exclusive if !holders.alone && holders.sharing == 0 => {
                    holders.alone = true;
                    holders.waiting_alone -= 1;
                    break;
                }
                _ => {}
            }
            let woken = self.0.changed.wait(bridges);
            bridges = woken.unwrap_or_else(PoisonError::into_inner);
        }
        BridgeLock(Holding::Memory(self.clone(), bridge, mode))
    }
}

impl Drop for BridgeLock {
    fn drop(&mut self) {
        let Holding::Memory(of, bridge, mode) = &self.0 else {
            return;
        };
        let mut bridges = locked(&of.0.bridges);
        if let Some(holders) = bridges.get_mut(bridge) {
            match mode {
                LockMode::Shared => holders.sharing -= 1,
                LockMode::Exclusive => holders.alone = false,
            }
            if holders.sharing == 0 && !holders.alone && holders.waiting_alone == 0 {
                bridges.remove(bridge);
            }
        }
        of.0.changed.notify_all();
    }
}

/// The changes to the node, locked until dropped.
#[derive(Debug)]
pub struct HostHold {
    /// `None` only while it is given back.
    store: Option<Box<HostStore>>,
    back: Option<HostDesk>,
}

impl HostHold {
    pub(in super::super) fn alone(store: HostStore) -> Self {
        Self {
            store: Some(Box::new(store)),
            back: None,
        }
    }
}

impl Deref for HostHold {
    type Target = HostStore;

    fn deref(&self) -> &HostStore {
        self.store.as_deref().expect("it is held")
    }
}

impl DerefMut for HostHold {
    fn deref_mut(&mut self) -> &mut HostStore {
        self.store.as_deref_mut().expect("it is held")
    }
}

impl Drop for HostHold {
    fn drop(&mut self) {
        let (Some(desk), Some(store)) = (self.back.take(), self.store.take()) else {
            return;
        };
        // After a failure only the file says what is recorded.
        let place = if store.is_sound() {
            Place::Here(store)
        } else {
            Place::Unopened
        };
        *locked(&desk.0.place) = place;
        desk.0.free.notify_one();
    }
}

/// Where the open journal of changes to the node is, for one thread at a time.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct HostDesk(Arc<Desk>);

#[derive(Debug, Default)]
struct Desk {
    place: Mutex<Place>,
    free: Condvar,
}

#[derive(Debug, Default)]
enum Place {
    #[default]
    Unopened,
    Here(Box<HostStore>),
    Taken,
}

impl HostDesk {
    /// Waits for it, and opens it if nobody has yet.
    pub(in super::super) fn take(
        &self,
        open: impl FnOnce() -> Result<HostStore, StoreError>,
    ) -> Result<HostHold, StoreError> {
        let mut place = locked(&self.0.place);
        let found = loop {
            match std::mem::replace(&mut *place, Place::Taken) {
                Place::Taken => {
                    let woken = self.0.free.wait(place);
                    place = woken.unwrap_or_else(PoisonError::into_inner);
                }
                found => break found,
            }
        };
        drop(place);
        let store = match found {
            Place::Here(store) => store,
            Place::Unopened | Place::Taken => Box::new(open().inspect_err(|_| {
                *locked(&self.0.place) = Place::Unopened;
                self.0.free.notify_one();
            })?),
        };
        Ok(HostHold {
            store: Some(store),
            back: Some(self.clone()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::store::{Access, StateDir};
    use crate::testing::TempDir;

    fn bridge(name: &str) -> IfName {
        name.parse().unwrap()
    }

    #[test]
    fn a_bridge_is_shared_or_somebodys_alone() {
        let dir = TempDir::new("bridge-locks");
        let state = StateDir::open(dir.path(), Access::Exclusive).unwrap();
        let lock = |name, mode| state.bridge_lock(&bridge(name), mode).unwrap();
        let (one, two) = (lock("a", LockMode::Shared), lock("a", LockMode::Shared));
        drop(lock("b", LockMode::Exclusive));
        let (told, order) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn({
                let told = told.clone();
                move || {
                    let _alone = lock("a", LockMode::Exclusive);
                    told.send("alone").unwrap();
                }
            });
            drop(one);
            told.send("shared").unwrap();
            drop(two);
        });
        assert_eq!(order.try_iter().collect::<Vec<_>>(), ["shared", "alone"]);
        drop(lock("a", LockMode::Shared));
        assert!(!dir.path().join("bridges").exists(), "no file is needed");
    }

    #[test]
    fn the_nodes_changes_are_opened_once_and_again_after_a_failure() {
        let dir = TempDir::new("host-hold");
        let state = StateDir::open(dir.path(), Access::Exclusive).unwrap();
        let change = crate::HostChange {
            key: "net/ipv4/ip_forward".to_owned(),
            before: "0".to_owned(),
            set: "1".to_owned(),
        };
        let blue = "blue".parse().unwrap();
        assert_eq!(state.host_changes().unwrap().all().count(), 0);
        state.host().unwrap().claim(&blue, &change).unwrap();
        // Whatever becomes of the file, the memory knows.
        let path = dir.path().join("host/journal");
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, "damage").unwrap();
        assert_eq!(
            state.host().unwrap().last_needed_by(&blue),
            std::slice::from_ref(&change)
        );
        std::fs::write(&path, &text).unwrap();
        drop(state);
        let state = StateDir::open(dir.path(), Access::Exclusive).unwrap();
        let kept = state.host_changes().unwrap();
        assert_eq!(kept.last_needed_by(&blue), [change]);
    }
}
