//! Telling the store of this node's endpoints, behind the calls that make and end them: what has changed is
//! looked up in the journals, compared with what is known to be published, and written in batches. After an
//! answer that did not come, and after the node has registered anew, what is published is read again.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bulkhead_ipam::cluster::operations::{
    EndpointWrite, MOST_ENDPOINTS, Published, Standing, StoreTrouble,
};
use bulkhead_ipam::cluster::schema::EndpointRow;
use bulkhead_ipam::cluster::{ObjectPart, Revision};
use bulkhead_ipam::{FileError, StoreError};
use bulkhead_model::{AttachmentId, AttachmentKey, NetworkName};

use super::lag::Lags;
use super::row::row_of;
use super::{Identities, spawn};
use crate::node::Node;
use crate::told::chain;

/// How long to wait after the store has failed, or does not know the node yet.
const PAUSE: Duration = Duration::from_millis(200);

/// How often every attachment is compared with what is published.
const COMPARE: Duration = Duration::from_mins(1);

/// Most rows of one transaction: half of what it has room for, so that labels have some too.
const BATCH: usize = MOST_ENDPOINTS / 2;

/// What is to be published, and what is.
#[derive(Debug, Default)]
pub(super) struct Desk {
    /// Attachments that have changed.
    dirty: BTreeMap<AttachmentKey, Told>,
    /// How often something was told.
    told: u64,
    published: BTreeMap<AttachmentId, Entry>,
    /// Whether what is published was read since the last doubt.
    is_known: bool,
    /// The epoch that it was published in.
    epoch: u64,
    standing_now: Option<Standing>,
    compared_at: Option<Instant>,
    pub(super) lags: Lags,
    /// Addresses that are in no published row any more, and the store's revision as of which.
    withdrawn: BTreeMap<IpAddr, Revision>,
}

/// That an attachment has changed.
#[derive(Clone, Debug)]
struct Told {
    /// When it was first told.
    at: Instant,
    /// Which of all tellings was the last.
    nth: u64,
    /// The addresses that it had.
    had: Vec<IpAddr>,
}

/// A published row.
#[derive(Clone, Debug)]
struct Entry {
    row: EndpointRow,
    modified: Revision,
}

/// What came of publishing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Done {
    All,
    /// The node is not registered, or not as it was.
    Unregistered,
}

/// A row on its way.
struct Sending {
    key: AttachmentKey,
    told: Told,
    write: EndpointWrite,
}

impl Desk {
    /// An attachment may have changed; `had` are addresses that it has no longer.
    pub(super) fn dirty(&mut self, key: &AttachmentKey, had: &[IpAddr]) {
        self.told += 1;
        let told = self.dirty.entry(key.clone()).or_insert_with(|| Told {
            at: Instant::now(),
            nth: 0,
            had: Vec::new(),
        });
        told.nth = self.told;
        told.had.extend(had);
    }

    /// Every attachment is to be looked at.
    pub(super) fn compare(&mut self) {
        self.compared_at = None;
    }

    /// Rows that wait, and for how long the oldest has.
    pub(super) fn waiting(&self) -> (usize, Duration) {
        let oldest = self.dirty.values().map(|told| told.at.elapsed()).max();
        (self.dirty.len(), oldest.unwrap_or_default())
    }

    /// Rows that stand.
    pub(super) fn standing(&self) -> usize {
        self.published.len()
    }

    /// The revision of the store from which on no row has the address; `None` while that is not known. Two networks
    /// may have it, each for itself: it is the later one's.
    pub(super) fn withdrawn(&self, address: IpAddr) -> Option<Revision> {
        let is_had = |told: &Told| told.had.contains(&address);
        let waits = self.dirty.values().any(is_had);
        self.withdrawn.get(&address).copied().filter(|_| !waits)
    }

    /// Addresses that nobody waits for any more.
    pub(super) fn forget_withdrawn(&mut self, but: impl Fn(&IpAddr) -> bool) {
        self.withdrawn.retain(|address, _| but(address));
    }
}

pub(super) fn start(node: &Arc<Node>) -> std::io::Result<()> {
    spawn(node, "endpoints", |node| {
        while !node.identities.ends() {
            match node.identities.publish(node) {
                Ok(Done::All) => {}
                // The ledger registers it.
                Ok(Done::Unregistered) => std::thread::sleep(PAUSE),
                Err(error) => {
                    tracing::debug!(why = chain(&error), "endpoints are not published yet");
                    std::thread::sleep(PAUSE);
                }
            }
        }
    })
}

impl Identities {
    /// Publishes what there is to publish, or waits for something.
    fn publish(&self, node: &Node) -> Result<Done, Doubt> {
        self.await_work();
        if self.ends() {
            return Ok(Done::All);
        }
        let Some(epoch) = self.registered() else {
            return Ok(Done::Unregistered);
        };
        {
            let mut desk = self.desk();
            if desk.epoch != epoch {
                (desk.epoch, desk.is_known) = (epoch, false);
                desk.standing_now = None;
            }
        }
        if !self.desk().is_known {
            self.read_published()?;
        }
        let due = self
            .desk()
            .compared_at
            .is_none_or(|at| at.elapsed() >= COMPARE);
        if due {
            self.compare()?;
        }
        while let Some(batch) = self.batch(epoch)? {
            if self.send(node, epoch, batch)? == Done::Unregistered {
                return Ok(Done::Unregistered);
            }
        }
        Ok(Done::All)
    }

    /// Waits until an attachment has changed, or all are to be compared.
    fn await_work(&self) {
        let mut desk = self.desk();
        while desk.dirty.is_empty() && desk.is_known && !self.ends() {
            let since = desk.compared_at.map_or(COMPARE, |at| at.elapsed());
            let Some(left) = COMPARE.checked_sub(since).filter(|left| !left.is_zero()) else {
                return;
            };
            let waited = self.work.wait_timeout(desk, left);
            desk = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Reads what is published of this node, on the networks that its state directory knows.
    fn read_published(&self) -> Result<(), Doubt> {
        let mut published = BTreeMap::new();
        for network in self.state_dir.networks()? {
            let Some(part) = part(&network) else {
                continue;
            };
            let operations = self.cluster.operations();
            let (rows, _) = operations.endpoints_of(&part, Some(&self.cluster.node))?;
            for one in rows {
                let entry = Entry {
                    modified: one.modified,
                    row: one.row,
                };
                published.insert(entry.row.attachment.id(), entry);
            }
        }
        let mut desk = self.desk();
        desk.published = published;
        desk.is_known = true;
        desk.compared_at = None;
        Ok(())
    }

    /// Looks at every attachment and every published row.
    fn compare(&self) -> Result<(), Doubt> {
        self.take_in_all()?;
        let mut desk = self.desk();
        let published: Vec<AttachmentKey> = desk
            .published
            .values()
            .map(|entry| entry.row.attachment.clone())
            .collect();
        for key in &published {
            desk.dirty(key, &[]);
        }
        desk.compared_at = Some(Instant::now());
        Ok(())
    }

    /// The next rows that differ from what is published; those that do not are struck off.
    fn batch(&self, epoch: u64) -> Result<Option<Vec<Sending>>, Doubt> {
        let dirty = self.desk().dirty.clone();
        let mut batch = Vec::new();
        for (key, told) in dirty {
            let row = self
                .recorded_now(&key)?
                .map(|record| row_of(&record, epoch));
            let mut desk = self.desk();
            let known = desk.published.get(&key.id());
            let is_so = known.map(|entry| &entry.row) == row.as_ref();
            let place = part(&key.network);
            if let (false, Some(network)) = (is_so, place) {
                let seen = known.map_or(Revision(0), |entry| entry.modified);
                let write = EndpointWrite {
                    id: key.id().to_string().parse().map_err(Doubt::Name)?,
                    network,
                    seen,
                    row,
                };
                batch.push(Sending { key, told, write });
            } else {
                desk.strike_off(&key, &told);
            }
            if batch.len() == BATCH {
                break;
            }
        }
        Ok((!batch.is_empty()).then_some(batch))
    }

    fn send(&self, node: &Node, epoch: u64, batch: Vec<Sending>) -> Result<Done, Doubt> {
        let writes: Vec<EndpointWrite> = batch.iter().map(|one| one.write.clone()).collect();
        let operations = self.cluster.operations();
        let known = self.desk().standing_now.clone();
        let standing = match known {
            Some(standing) => standing,
            None => match operations.standing_as(&self.cluster.node, epoch)? {
                Some(standing) => standing,
                None => return Ok(Done::Unregistered),
            },
        };
        let published = operations.publish_endpoints(&standing, &writes);
        let mut desk = self.desk();
        match published? {
            Published::Made(revision) => {
                desk.standing_now = Some(standing);
                for one in batch {
                    let lag = one.told.at.elapsed();
                    node.metrics.endpoint_published.observe(lag.as_secs_f64());
                    desk.lags.note(lag);
                    desk.stands(one, revision);
                }
                Ok(Done::All)
            }
            Published::Unknown => {
                desk.is_known = false;
                desk.standing_now = None;
                Ok(Done::All)
            }
        }
    }
}

impl Desk {
    /// Nothing is to be published of an attachment, if nobody has told of it again meanwhile.
    fn strike_off(&mut self, key: &AttachmentKey, told: &Told) {
        if self.dirty.get(key).is_none_or(|last| last.nth != told.nth) {
            return;
        }
        let told = self.dirty.remove(key);
        let now = self.published.get(&key.id());
        let is_published =
            |address: &IpAddr| now.is_some_and(|entry| entry.row.addresses.contains(address));
        // One that came and went before it was published.
        let had = told.into_iter().flat_map(|told| told.had);
        let gone: Vec<IpAddr> = had.filter(|address| !is_published(address)).collect();
        for address in gone {
            self.withdraw(address, Revision(0));
        }
    }

    fn withdraw(&mut self, address: IpAddr, revision: Revision) {
        let last = self.withdrawn.entry(address).or_insert(revision);
        *last = revision.max(*last);
    }

    /// A row is written.
    fn stands(&mut self, one: Sending, revision: Revision) {
        let id = one.key.id();
        let before = self.published.remove(&id);
        let now = one.write.row.as_ref().map(|row| row.addresses.as_slice());
        let before = before.map(|entry| entry.row.addresses).unwrap_or_default();
        for address in before {
            if !now.unwrap_or_default().contains(&address) {
                self.withdraw(address, revision);
            }
        }
        for address in now.unwrap_or_default() {
            self.withdrawn.remove(address);
        }
        if let Some(row) = one.write.row {
            let entry = Entry {
                row,
                modified: revision,
            };
            self.published.insert(id, entry);
        }
        self.strike_off(&one.key, &one.told);
    }
}

/// Why it is not known what is to be published.
#[derive(Debug, thiserror::Error)]
pub(super) enum Doubt {
    /// The state directory cannot be listed.
    #[error(transparent)]
    Directory(#[from] FileError),
    /// The journals cannot be read.
    #[error(transparent)]
    Journal(#[from] StoreError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreTrouble),
    /// An attachment's id is no part of a key, which cannot be.
    #[error(transparent)]
    Name(bulkhead_ipam::cluster::NameError),
}

/// A network as a part of a key; one whose name is too long for that has no endpoints that others see.
pub(super) fn part(network: &NetworkName) -> Option<ObjectPart> {
    network.as_str().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_while_it_is_published_is_looked_at_again() {
        let key = AttachmentKey {
            network: "blue".parse().unwrap(),
            container: "c1".parse().unwrap(),
            interface: "eth0".parse().unwrap(),
        };
        let address: IpAddr = "10.1.0.2".parse().unwrap();
        let mut desk = Desk::default();
        desk.dirty(&key, &[]);
        let looked_at = desk.dirty[&key].clone();
        // Its end, after its record was read and before its row is written.
        desk.dirty(&key, &[address]);
        desk.strike_off(&key, &looked_at);
        assert_eq!(desk.waiting().0, 1);
        assert_eq!(desk.withdrawn(address), None, "its row may stand");
        let looked_at = desk.dirty[&key].clone();
        desk.strike_off(&key, &looked_at);
        assert_eq!(desk.waiting().0, 0);
        assert_eq!(desk.withdrawn(address), Some(Revision(0)));
    }
}
