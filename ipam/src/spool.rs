//! Detachments made while the daemon that owns the directory was down: a DEL takes the kernel
//! objects away itself, leaves a tombstone here and succeeds; the daemon ends the leases before it
//! serves.

use std::path::Path;

use bulkhead_model::AttachmentKey;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::journal::{Journal, Tail, first_record};
use crate::store::FileLock;

/// The spool, locked against every other process and thread until dropped.
#[derive(Debug)]
pub struct Spool {
    journal: Journal,
    bodies: Vec<Vec<u8>>,
    tombstones: Vec<Tombstone>,
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

/// Which tombstones somebody has seen. Others may be added meanwhile.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seen {
    generation: u64,
    count: usize,
}

impl Spool {
    pub(crate) fn open(dir: &Path, lock: FileLock) -> Result<Self, StoreError> {
        let path = dir.join("journal");
        let opened = Journal::open(&path, |_| Ok(first_record()))?;
        let (journal, tail) = match opened {
            Some(opened) => opened,
            None => (Journal::create(&path)?, Tail::default()),
        };
        let read = tail.records().map(|(offset, body)| {
            let tombstone = serde_json::from_slice(&body);
            let tombstone = tombstone.map_err(|error| StoreError::Damaged {
                path: path.clone(),
                offset,
                what: error.to_string(),
            });
            Ok((body.to_vec(), tombstone?))
        });
        let (bodies, tombstones) = read
            .collect::<Result<Vec<_>, StoreError>>()?
            .into_iter()
            .unzip();
        Ok(Self {
            journal,
            bodies,
            tombstones,
            _lock: lock,
        })
    }

    /// Adds a tombstone; durable when this returns.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is added then.
    pub fn add(&mut self, tombstone: &Tombstone) -> Result<(), StoreError> {
        let body = serde_json::to_vec(tombstone).expect("a tombstone has text keys");
        self.journal.append(&[&body])?;
        self.bodies.push(body);
        self.tombstones.push(tombstone.clone());
        Ok(())
    }

    /// Every tombstone, in the order of the detachments.
    #[must_use]
    pub fn tombstones(&self) -> &[Tombstone] {
        &self.tombstones
    }

    /// That all there are now were seen: for [`Spool::forget`], once their leases have ended. The spool
    /// need not be locked until then.
    #[must_use]
    pub const fn seen(&self) -> Seen {
        Seen {
            generation: self.journal.generation(),
            count: self.tombstones.len(),
        }
    }

    /// Removes the tombstones that were seen, once their leases have ended durably; later ones stay. A
    /// crash before it is done leaves all of them: to end a lease again does nothing.
    ///
    /// # Errors
    /// [`StoreError`]; the tombstones may stay then.
    pub fn forget(&mut self, seen: Seen) -> Result<(), StoreError> {
        // Of another generation somebody else has removed them.
        if seen.generation != self.journal.generation() || seen.count == 0 {
            return Ok(());
        }
        self.journal.renew(&self.bodies[seen.count..])?;
        self.bodies.drain(..seen.count);
        self.tombstones.drain(..seen.count);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::{Access, StateDir};
    use crate::testing::TempDir;

    fn tombstone(container: &str) -> Tombstone {
        Tombstone {
            key: AttachmentKey {
                network: "blue".parse().unwrap(),
                container: container.parse().unwrap(),
                interface: "eth0".parse().unwrap(),
            },
            sequence: Some(7),
            detached_at_unix_ms: 1,
        }
    }

    fn left(state: &StateDir) -> Vec<String> {
        let spool = state.spool().unwrap();
        let containers = spool.tombstones().iter().map(|one| &one.key.container);
        containers.map(ToString::to_string).collect()
    }

    #[test]
    fn what_a_del_adds_while_others_are_consumed_stays() {
        let dir = TempDir::new("spool");
        let daemon = StateDir::open(dir.path(), Access::Exclusive).unwrap();
        let beside = StateDir::open(dir.path(), Access::Beside).unwrap();
        for container in ["c0", "c1"] {
            beside.spool().unwrap().add(&tombstone(container)).unwrap();
        }
        let seen = daemon.spool().unwrap().seen();
        beside.spool().unwrap().add(&tombstone("c2")).unwrap();
        assert_eq!(left(&daemon), ["c0", "c1", "c2"]);
        daemon.spool().unwrap().forget(seen).unwrap();
        assert_eq!(left(&daemon), ["c2"]);
        daemon.spool().unwrap().forget(seen).unwrap();
        assert_eq!(left(&daemon), ["c2"]);
        let mut spool = daemon.spool().unwrap();
        spool.add(&tombstone("c3")).unwrap();
        spool.forget(spool.seen()).unwrap();
        assert_eq!(spool.tombstones(), []);
        drop(spool);
        assert_eq!(left(&daemon), [""; 0]);
    }

    #[test]
    fn a_crash_while_they_are_forgotten_leaves_all_or_the_later_ones() {
        let dir = TempDir::new("spool-crash");
        let state = StateDir::open(dir.path(), Access::Exclusive).unwrap();
        for container in ["c0", "c1"] {
            state.spool().unwrap().add(&tombstone(container)).unwrap();
        }
        let seen = state.spool().unwrap().seen();
        state.spool().unwrap().add(&tombstone("c2")).unwrap();
        let path = dir.path().join("spool/journal");
        let before = fs::read(&path).unwrap();
        state.spool().unwrap().forget(seen).unwrap();
        let after = fs::read(&path).unwrap();
        for cut in 0..after.len() {
            fs::write(&path, &before).unwrap();
            fs::write(path.with_extension("new"), &after[..cut]).unwrap();
            assert_eq!(left(&state), ["c0", "c1", "c2"], "cut at {cut}");
        }
        state.spool().unwrap().forget(seen).unwrap();
        assert_eq!(left(&state), ["c2"]);
    }
}
