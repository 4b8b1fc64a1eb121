//! What we changed on the node itself (sysctls), with the value found and the networks that need
//! it, so that the last one puts it back. Records of an earlier boot are void: the boot undid them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bulkhead_model::NetworkName;
use serde::{Deserialize, Serialize};

use crate::boot::Boot;
use crate::error::StoreError;
use crate::journal::{Journal, Reader, Tail, first_record};
use crate::record::BootId;
use crate::store::FileLock;

/// Records after which the journal is written anew with what is left of them.
const RECORDS_MAX: usize = 256;

/// The journal of changes to the node, locked against every other process until dropped.
#[derive(Debug)]
pub struct HostStore {
    journal: Journal,
    /// In the journal.
    records: usize,
    changes: HostChanges,
    /// Whether every append so far has succeeded.
    sound: bool,
    _lock: FileLock,
}

/// What is changed on the node, as the journal has it.
#[derive(Debug)]
pub struct HostChanges {
    boot: BootId,
    claims: BTreeMap<String, Claim>,
}

/// One change to the node.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct HostChange {
    /// What was changed: a sysctl's path.
    pub key: String,
    /// The value found.
    pub before: String,
    /// The value set.
    pub set: String,
}

/// A change, and who needs it.
#[derive(Clone, Debug)]
struct Claim {
    change: HostChange,
    networks: BTreeSet<NetworkName>,
}

/// A record of the journal.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Record {
    Claimed {
        boot_id: BootId,
        network: NetworkName,
        #[serde(flatten)]
        change: HostChange,
    },
    Dropped {
        network: NetworkName,
    },
}

impl HostStore {
    pub(crate) fn open(dir: &Path, boot: &Boot, lock: FileLock) -> Result<Self, StoreError> {
        let path = dir.join("journal");
        let opened = Journal::open(&path, |_| Ok(first_record()))?;
        let (journal, before) = match opened {
            Some((journal, tail)) => (journal, records(&tail, &path)?),
            None => (Journal::create(&path)?, Vec::new()),
        };
        Ok(Self {
            journal,
            records: before.len(),
            changes: HostChanges::of(before, boot),
            sound: true,
            _lock: lock,
        })
    }

    /// Whether what it knows is what is recorded.
    pub(crate) const fn is_sound(&self) -> bool {
        self.sound
    }

    /// Whether the journal of a state directory holds what was written to it. Takes no lock, changes
    /// nothing and makes nothing; a directory without one is whole.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn verify(state_dir: &Path) -> Result<(), StoreError> {
        let path = state_dir.join("host").join("journal");
        let Some(reader) = Reader::open(&path)? else {
            return Ok(());
        };
        records(&reader.tail(first_record())?, &path).map(drop)
    }

    /// Records that `network` needs `change`; to be called before it is made. If the key is claimed
    /// already, the value found by the first claim stays the one to go back to.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is recorded then.
    pub fn claim(&mut self, network: &NetworkName, change: &HostChange) -> Result<(), StoreError> {
        let known = self.changes.claims.get(&change.key);
        if known.is_some_and(|c| c.networks.contains(network) && c.change.set == change.set) {
            return Ok(());
        }
        self.append(Record::Claimed {
            boot_id: self.changes.boot.clone(),
            network: network.clone(),
            change: change.clone(),
        })
    }

    /// What nobody but `network` needs: to be put back, if the value is still ours, before
    /// [`HostStore::drop_network`] forgets it. In that order a crash in between repeats the
    /// restoring; in the other it would forget it.
    #[must_use]
    pub fn last_needed_by(&self, network: &NetworkName) -> Vec<HostChange> {
        self.changes.last_needed_by(network)
    }

    /// Forgets every claim of `network`; what nobody needs any more is returned.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is forgotten then.
    pub fn drop_network(&mut self, network: &NetworkName) -> Result<Vec<HostChange>, StoreError> {
        let unneeded = self.last_needed_by(network);
        let claims = &self.changes.claims;
        if claims
            .values()
            .any(|claim| claim.networks.contains(network))
        {
            self.append(Record::Dropped {
                network: network.clone(),
            })?;
        }
        Ok(unneeded)
    }

    /// Every change in force, with the networks that need it.
    pub fn changes(&self) -> impl Iterator<Item = (&HostChange, &BTreeSet<NetworkName>)> {
        self.changes.all()
    }

    fn append(&mut self, record: Record) -> Result<(), StoreError> {
        let appended = self.journal.append(&[json(&record)]);
        self.sound &= appended.is_ok();
        appended?;
        self.changes.take_in(record);
        self.records += 1;
        if self.records > RECORDS_MAX {
            let claims = self.changes.claims.values();
            let records = claims.flat_map(|claim| claim.records(&self.changes.boot));
            let records: Vec<_> = records.map(|record| json(&record)).collect();
            // The record itself is durable; a journal that cannot be written anew goes on.
            if self.journal.renew(&records).is_ok() {
                self.records = records.len();
            }
        }
        Ok(())
    }
}

impl HostChanges {
    /// Those of a state directory, read without a lock; none if nothing was ever changed.
    pub(crate) fn read(state_dir: &Path, boot: &Boot) -> Result<Self, StoreError> {
        let path = state_dir.join("host").join("journal");
        let found = match Reader::open(&path)? {
            Some(reader) => records(&reader.tail(first_record())?, &path)?,
            None => Vec::new(),
        };
        Ok(Self::of(found, boot))
    }

    fn of(records: Vec<Record>, boot: &Boot) -> Self {
        let mut changes = Self {
            boot: boot.id().clone(),
            claims: BTreeMap::new(),
        };
        for record in records {
            changes.take_in(record);
        }
        changes
    }

    /// What nobody but `network` needs.
    #[must_use]
    pub fn last_needed_by(&self, network: &NetworkName) -> Vec<HostChange> {
        let last = |claim: &&Claim| claim.networks.len() == 1 && claim.networks.contains(network);
        self.claims
            .values()
            .filter(last)
            .map(|claim| claim.change.clone())
            .collect()
    }

    /// Every change in force, with the networks that need it.
    pub fn all(&self) -> impl Iterator<Item = (&HostChange, &BTreeSet<NetworkName>)> {
        self.claims
            .values()
            .map(|claim| (&claim.change, &claim.networks))
    }

    fn take_in(&mut self, record: Record) {
        match record {
            Record::Claimed { boot_id, .. } if boot_id != self.boot => {}
            Record::Claimed {
                network, change, ..
            } => {
                let claim = self
                    .claims
                    .entry(change.key.clone())
                    .or_insert_with(|| Claim {
                        change: change.clone(),
                        networks: BTreeSet::new(),
                    });
                claim.change.set = change.set;
                claim.networks.insert(network);
            }
            Record::Dropped { network } => {
                for claim in self.claims.values_mut() {
                    claim.networks.remove(&network);
                }
                self.claims.retain(|_, claim| !claim.networks.is_empty());
            }
        }
    }
}

impl Claim {
    fn records(&self, boot: &BootId) -> impl Iterator<Item = Record> {
        self.networks.iter().map(|network| Record::Claimed {
            boot_id: boot.clone(),
            network: network.clone(),
            change: self.change.clone(),
        })
    }
}

fn records(tail: &Tail, path: &Path) -> Result<Vec<Record>, StoreError> {
    let records = tail.records().map(|(offset, body)| {
        let record = serde_json::from_slice(&body);
        record.map_err(|error| StoreError::Damaged {
            path: path.to_owned(),
            offset,
            what: error.to_string(),
        })
    });
    records.collect()
}

fn json(record: &Record) -> Vec<u8> {
    serde_json::to_vec(record).expect("a record has text keys")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::Now;
    use crate::store::{Access, HostHold, StateDir};
    use crate::testing::TempDir;

    fn open(dir: &TempDir, boot: &str) -> (StateDir, HostHold) {
        let now = Now {
            since_boot_ms: 0,
            unix_ms: 0,
        };
        let boot = Boot::fixed(boot, now);
        let state = StateDir::open_in(dir.path(), Access::Add, boot).unwrap();
        let host = state.host().unwrap();
        (state, host)
    }

    fn change(key: &str, before: &str) -> HostChange {
        HostChange {
            key: key.to_owned(),
            before: before.to_owned(),
            set: "1".to_owned(),
        }
    }

    fn network(name: &str) -> NetworkName {
        name.parse().unwrap()
    }

    #[test]
    fn the_last_network_gets_the_value_that_the_first_one_found() {
        let dir = TempDir::new("host");
        let (blue, red) = (network("blue"), network("red"));
        {
            let (_state, mut host) = open(&dir, "a");
            host.claim(&blue, &change("net/ipv4/ip_forward", "0"))
                .unwrap();
            host.claim(&red, &change("net/ipv4/ip_forward", "1"))
                .unwrap();
            host.claim(&red, &change("net/ipv6/conf/all/forwarding", "0"))
                .unwrap();
        }
        let (_state, mut host) = open(&dir, "a");
        assert_eq!(host.drop_network(&blue).unwrap(), []);
        let left = host.drop_network(&red).unwrap();
        let expected = [
            change("net/ipv4/ip_forward", "0"),
            change("net/ipv6/conf/all/forwarding", "0"),
        ];
        assert_eq!(left, expected);
        assert_eq!(host.drop_network(&red).unwrap(), []);
    }

    #[test]
    fn a_boot_voids_every_claim() {
        let dir = TempDir::new("host-boot");
        let blue = network("blue");
        open(&dir, "a").1.claim(&blue, &change("k", "0")).unwrap();
        let (_state, mut host) = open(&dir, "b");
        assert_eq!(host.changes().count(), 0);
        assert_eq!(host.drop_network(&blue).unwrap(), []);
    }

    #[test]
    fn a_journal_that_grows_is_written_anew_with_the_same_claims() {
        let dir = TempDir::new("host-grows");
        let (state, mut host) = open(&dir, "a");
        host.claim(&network("stays"), &change("k", "0")).unwrap();
        for _ in 0..RECORDS_MAX {
            host.claim(&network("comes"), &change("k", "9")).unwrap();
            host.drop_network(&network("comes")).unwrap();
        }
        assert!(host.records <= RECORDS_MAX);
        drop((host, state));
        let (_state, host) = open(&dir, "a");
        assert_eq!(host.last_needed_by(&network("stays")), [change("k", "0")]);
    }
}
