//! Who is where, and who may talk to whom: this node's endpoints from its journals, other nodes' and
//! everything written about them from the store. Whoever compiles policies reads the world here and hears
//! when it changes. While the store is away, what was known last goes on; nothing is taken away because it
//! cannot be read.

mod applied;
mod follow;
mod kept;
mod lag;
mod mirror;
mod objects;
mod publish;
mod row;
#[cfg(test)]
mod tests;
mod told;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bulkhead_attach::UnderWay;
use bulkhead_ipam::{AttachmentRecord, Labels, Recorded, StateDir, StoreError};
use bulkhead_model::{AttachmentKey, NetworkName};
use bulkhead_policy::{EndpointId, Network, World};

use crate::cluster::{Backend, Cluster};
use crate::lasting;
use crate::node::Node;
use mirror::Mirror;
use publish::Desk;

pub(crate) use mirror::{Changed, Mark};
pub(crate) use objects::{Files, Written, read as read_files, spoken_of};
pub(crate) use row::Held;

/// Stack of a thread, in bytes: what is read is on the heap.
const STACK: usize = 512 << 10;

/// All that is known.
pub(crate) struct Identities {
    cluster: Arc<Cluster>,
    state_dir: Arc<StateDir>,
    mirror: Mutex<Mirror>,
    /// One at a time about each attachment: what is read of its record is told before anybody reads it again.
    turns: UnderWay,
    /// Attachments that are no endpoints any more while their records stand, for a moment or until DEL is repeated.
    ending: Mutex<BTreeSet<AttachmentKey>>,
    /// The mirror has changed.
    news: Condvar,
    desk: Mutex<Desk>,
    /// There may be something to publish.
    work: Condvar,
    /// What the store says, for a start without it.
    kept: kept::Kept,
    applied: Mutex<applied::Applied>,
    /// What the kernel enforces has changed.
    told: Condvar,
    is_ending: AtomicBool,
}

/// How publishing is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Publishing {
    pub(crate) standing: usize,
    pub(crate) waiting: usize,
    /// How long the oldest has waited.
    pub(crate) oldest: Duration,
    /// From the call to the row, of the last ones: what half of them stay within, and all but one in a hundred.
    pub(crate) p50: Option<Duration>,
    pub(crate) p99: Option<Duration>,
}

impl Identities {
    /// The endpoints that the recorded attachments are.
    ///
    /// # Errors
    /// The journals cannot be read.
    pub(crate) fn open(
        cluster: &Arc<Cluster>,
        state_dir: &Arc<StateDir>,
        labels: Labels,
    ) -> Result<Self, StoreError> {
        let mirror = Mirror::new(
            cluster.node.clone(),
            &cluster.name,
            &cluster.addresses,
            labels,
        );
        let identities = Self {
            cluster: Arc::clone(cluster),
            state_dir: Arc::clone(state_dir),
            mirror: Mutex::new(mirror),
            turns: UnderWay::default(),
            ending: Mutex::default(),
            news: Condvar::new(),
            desk: Mutex::default(),
            work: Condvar::new(),
            kept: kept::Kept::default(),
            applied: Mutex::default(),
            told: Condvar::new(),
            is_ending: AtomicBool::new(false),
        };
        identities.take_in_all()?;
        identities.recall();
        identities.read_own();
        Ok(identities)
    }

    /// Begins to follow the store, and to tell it of this node's endpoints.
    ///
    /// # Errors
    /// There is no thread.
    pub(crate) fn start(node: &Arc<Node>) -> std::io::Result<()> {
        follow::start(node)?;
        publish::start(node)?;
        kept::start(node)?;
        applied::start(node)
    }

    /// Follows nothing more.
    pub(crate) fn stop(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
        // Under the locks, so that nobody is between the look and the wait.
        drop((self.mirror(), self.desk(), self.applied_state()));
        self.news.notify_all();
        self.work.notify_all();
        self.told.notify_all();
    }

    /// Reads the world as it is known, and what of it has changed since; `None` while it is not known what policies
    /// there are.
    pub(crate) fn read<T>(
        &self,
        since: Mark,
        read: impl FnOnce(&World, &Changed) -> T,
    ) -> Option<T> {
        let mirror = self.mirror();
        mirror
            .knows_policies()
            .then(|| read(mirror.world(), &mirror.since(since)))
    }

    /// Waits until something is newer than `after`, or so long; what has changed since.
    pub(crate) fn await_change(&self, after: Mark, patience: Duration) -> Changed {
        let until = Instant::now() + patience;
        let mut mirror = self.mirror();
        while !mirror.is_newer(after) && !self.ends() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.news.wait_timeout(mirror, left);
            mirror = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        mirror.since(after)
    }

    /// An attachment's record is durable: its endpoint is known from here on, and published.
    pub(crate) fn recorded(&self, record: &AttachmentRecord) -> EndpointId {
        let _turn = self.turns.begin(&record.key);
        self.ending().remove(&record.key);
        self.take_in(record)
    }

    /// An attachment is no endpoint any more, and its record is about to end: until it has, nothing that is read there
    /// makes it one again, or whoever is given its addresses would be taken for it. What it had.
    pub(crate) fn ended(&self, key: &AttachmentKey) -> Held {
        let _turn = self.turns.begin(key);
        self.ending().insert(key.clone());
        self.take_out(key)
    }

    /// An attachment may be recorded otherwise than before, or not be any more.
    pub(crate) fn changed(&self, key: &AttachmentKey) {
        // The next comparison finds it.
        if let Err(error) = self.follow_record(key) {
            tracing::warn!(%error, attachment = %key, "its record is not read");
        }
    }

    fn follow_record(&self, key: &AttachmentKey) -> Result<(), StoreError> {
        let _turn = self.turns.begin(key);
        match self.recorded_now(key)? {
            Some(_) if self.ending().contains(key) => {}
            Some(record) => drop(self.take_in(&record)),
            None => {
                self.ending().remove(key);
                drop(self.take_out(key));
            }
        }
        Ok(())
    }

    fn take_in(&self, record: &AttachmentRecord) -> EndpointId {
        let network = &record.key.network;
        let about = Network {
            space: row::space_of(record),
            ..self.about(network).unwrap_or_default()
        };
        let row = row::row_of(record, 0);
        let endpoint = self.tell(|mirror| {
            mirror.join(network, about);
            mirror.put_own(row)
        });
        self.publish_soon(&record.key, &[]);
        endpoint
    }

    fn take_out(&self, key: &AttachmentKey) -> Held {
        let had = self.tell(|mirror| {
            let had = mirror.remove_own(&key.network, &key.id());
            if mirror.own_on(&key.network) == 0 {
                mirror.leave(&key.network);
            }
            had
        });
        self.publish_soon(key, &had.addresses);
        had
    }

    /// Attachments may have changed, nobody says which.
    pub(crate) fn compare_soon(&self) {
        self.desk().compare();
        self.work.notify_all();
    }

    /// How publishing is.
    pub(crate) fn publishing(&self) -> Publishing {
        let desk = self.desk();
        let (waiting, oldest) = desk.waiting();
        Publishing {
            standing: desk.standing(),
            waiting,
            oldest,
            p50: desk.lags.within(50),
            p99: desk.lags.within(99),
        }
    }

    /// Where knowledge stands.
    pub(crate) fn mark(&self) -> Mark {
        self.look(Mirror::mark)
    }

    /// The attachment's record, if it is of this boot.
    fn recorded_now(&self, key: &AttachmentKey) -> Result<Option<AttachmentRecord>, StoreError> {
        let Some(known) = self.state_dir.network(&key.network).read()? else {
            return Ok(None);
        };
        let record = known.find(&key.id())?;
        Ok(record.filter(|record| known.is_of_this_boot(record)))
    }

    /// The node's own attachments, of this boot.
    pub(crate) fn own(&self) -> BTreeSet<AttachmentKey> {
        self.look(Mirror::own).into_iter().collect()
    }

    /// Compares every record with what is known. Calls go on meanwhile, so that what was listed says only whom to look
    /// at.
    fn take_in_all(&self) -> Result<(), StoreError> {
        let mut all = self.own();
        all.extend(self.ending().iter().cloned());
        for recorded in self.state_dir.everything()? {
            if let Recorded::Attachment(record) = recorded? {
                all.insert(record.key);
            }
        }
        all.iter().try_for_each(|key| self.follow_record(key))
    }

    /// What the journal says of a network itself.
    fn about(&self, network: &NetworkName) -> Result<Network, StoreError> {
        let known = self.state_dir.network(network).read()?;
        let pool = known.and_then(|known| known.pool().cloned());
        let ranges: Vec<_> = pool
            .iter()
            .flat_map(|pool| pool.ranges().map(|(_, range)| range.clone()))
            .collect();
        Ok(Network {
            gateways: ranges.iter().filter_map(|range| range.gateway).collect(),
            pools: ranges.iter().map(|range| range.subnet).collect(),
            ..Network::default()
        })
    }

    /// The epoch that the node is registered with; `None` before it is, and while it is declared lost.
    fn registered(&self) -> Option<u64> {
        let epoch = self
            .cluster
            .look(bulkhead_ipam::cluster::ledger::Ledger::epoch);
        (epoch > 0).then_some(epoch)
    }

    /// Whether the store is this node's own, which is there whenever the node is.
    fn is_alone(&self) -> bool {
        matches!(self.cluster.backend, Backend::Embedded(_))
    }

    fn publish_soon(&self, key: &AttachmentKey, had: &[IpAddr]) {
        self.desk().dirty(key, had);
        self.work.notify_all();
    }

    /// Tells the mirror something, and whoever waits for news of it.
    fn tell<T>(&self, tell: impl FnOnce(&mut Mirror) -> T) -> T {
        let mut mirror = self.mirror();
        let before = mirror.mark();
        let told = tell(&mut mirror);
        let is_new = mirror.mark() != before;
        drop(mirror);
        if is_new {
            self.news.notify_all();
        }
        told
    }

    fn look<T>(&self, look: impl FnOnce(&Mirror) -> T) -> T {
        look(&self.mirror())
    }

    fn mirror(&self) -> MutexGuard<'_, Mirror> {
        // What a bug left half changed the next listing reads anew.
        self.mirror.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ending(&self) -> MutexGuard<'_, BTreeSet<AttachmentKey>> {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn applied_state(&self) -> MutexGuard<'_, applied::Applied> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ends(&self) -> bool {
        self.is_ending.load(Ordering::Relaxed)
    }
}

fn spawn(
    node: &Arc<Node>,
    name: &'static str,
    run: impl Fn(&Arc<Node>) + Send + 'static,
) -> std::io::Result<()> {
    lasting::spawn(node, name, STACK, run)
}
