//! The node's share of the cluster's pools: its ledger, the store that nodes agree in, and who carries
//! between them. The ledger decides, and neither waits nor looks at a clock; here is what does.

mod agent;
mod facts;
mod health;
mod leases;
mod operator;
mod watch;

use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bulkhead_ipam::cluster::ledger::{
    self, Evicted, Identity, Ledger, LedgerFile, LedgerFileError, PoolChoice, Tuning,
};
use bulkhead_ipam::cluster::schema::{NodeRow, Schema};
use bulkhead_ipam::cluster::{ClusterStore, EmbeddedError, EmbeddedStore, NameError, NodeId};
use bulkhead_ipam::{AttachmentRecord, FileError, Now, StateDir, StoreError};
use bulkhead_ipam_etcd::EtcdStore;

use crate::clock::unix_ms;
use crate::config::{Config, Store};
use health::Health;

/// What nodes agree in.
pub(crate) enum Backend {
    Embedded(EmbeddedStore),
    Etcd(EtcdStore),
}

/// The share.
pub(crate) struct Cluster {
    pub(crate) backend: Backend,
    pub(crate) schema: Schema,
    pub(crate) node: NodeId,
    pub(crate) name: String,
    /// The node's own addresses, as it says to others.
    pub(crate) addresses: Vec<IpAddr>,
    state: Arc<StateDir>,
    ledger: Mutex<Ledger>,
    /// Attachments that the ledger does not know, and that must not stay.
    orphans: Mutex<Vec<Evicted>>,
    /// There may be something to do for the agent.
    work: Condvar,
    /// The ledger has changed, for asks that wait.
    news: Condvar,
    /// Which of the ledger's watches are followed; none has the highest number.
    watches: AtomicU64,
    is_ending: AtomicBool,
    pub(crate) health: Health,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    /// The embedded store cannot be opened.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    /// What etcd's client needs of the system is not there.
    #[error("etcd cannot be spoken to: the system gives no thread or socket")]
    Etcd(#[source] std::io::Error),
    /// The ledger's file is not used.
    #[error(transparent)]
    File(#[from] LedgerFileError),
    /// The node has no id.
    #[error(transparent)]
    Id(#[from] FileError),
    /// Its id is none.
    #[error(
        "node-id in the state directory is no id of a node; remove it, if the node has no leases of pools"
    )]
    NoId(#[from] NameError),
    /// The journals cannot be read.
    #[error(transparent)]
    Journals(#[from] StoreError),
    /// There are no threads.
    #[error("no thread can be started, look at the limits of the process")]
    Thread(#[source] std::io::Error),
}

impl Backend {
    /// It, as the ledger and operators know it.
    pub(crate) fn store(&self) -> &dyn ClusterStore {
        match self {
            Self::Embedded(store) => store,
            Self::Etcd(store) => store,
        }
    }

    /// Whether nothing is to be expected of it now, as far as that shows without a question.
    pub(crate) fn is_away(&self) -> bool {
        match self {
            Self::Embedded(_) => false,
            Self::Etcd(store) => store.is_away(),
        }
    }

    fn open(config: &Config) -> Result<Self, ClusterError> {
        match &config.store {
            Store::Embedded => {
                let dir = config.state_dir.join("cluster");
                Ok(Self::Embedded(EmbeddedStore::open(&dir)?))
            }
            Store::Etcd(etcd) => {
                let store = EtcdStore::start(etcd.config.clone());
                Ok(Self::Etcd(store.map_err(ClusterError::Etcd)?))
            }
        }
    }
}

impl Cluster {
    /// The share as the state directory remembers it. The store is not waited for.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub(crate) fn open(config: &Config, state: &Arc<StateDir>) -> Result<Self, ClusterError> {
        let node: NodeId = state.node_id()?.parse()?;
        let name = node_name(config);
        let file = LedgerFile::load(state.path(), &node)?;
        let (leases, freed) = facts::recorded(state, file.as_ref())?;
        let schema = Schema::default();
        let about = about(config, &name, state);
        let addresses = about.addresses.clone();
        let identity = Identity {
            node: node.clone(),
            about,
            session: session(&node),
        };
        let now = state.boot().now();
        let tuning = Tuning::default();
        let mut ledger =
            Ledger::rebuild(identity, schema.clone(), tuning, file, leases, freed, now);
        // Pools that were used before are known by their blocks; the first ADD of a node finds one too.
        ledger.expect_pools(PoolChoice::Any);
        Ok(Self {
            backend: Backend::open(config)?,
            schema,
            node,
            name,
            addresses,
            state: Arc::clone(state),
            ledger: Mutex::new(ledger),
            orphans: Mutex::default(),
            work: Condvar::new(),
            news: Condvar::new(),
            watches: AtomicU64::new(u64::MAX),
            is_ending: AtomicBool::new(false),
            health: Health::new(unix_ms()),
        })
    }

    /// Begins to carry between ledger and store.
    ///
    /// # Errors
    /// [`ClusterError::Thread`].
    pub(crate) fn start(self: &Arc<Self>) -> Result<(), ClusterError> {
        agent::start(self).map_err(ClusterError::Thread)
    }

    /// Carries nothing more.
    pub(crate) fn stop(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
        // Under the lock, so that nobody is between the look and the wait.
        drop(self.ledger());
        self.work.notify_all();
        self.news.notify_all();
    }

    /// Reads in the ledger.
    pub(crate) fn look<T>(&self, read: impl FnOnce(&Ledger) -> T) -> T {
        read(&self.ledger())
    }

    /// Tells the ledger something, and whoever waits for news of it.
    pub(crate) fn tell<T>(&self, tell: impl FnOnce(&mut Ledger, Now) -> T) -> T {
        let told = tell(&mut self.ledger(), self.now());
        self.work.notify_all();
        self.news.notify_all();
        told
    }

    /// Attachments that have to be detached, because their addresses are no longer this node's.
    pub(crate) fn evicted(&self) -> Vec<Evicted> {
        let mut all = self.look(|ledger| ledger.evicted().cloned().collect::<Vec<_>>());
        all.extend(self.orphans().iter().cloned());
        all
    }

    /// An evicted attachment is detached, or its record has ended otherwise.
    pub(crate) fn forget_evicted(&self, evicted: &Evicted) {
        self.orphans().retain(|orphan| orphan != evicted);
        let (key, sequence) = (&evicted.key, evicted.sequence);
        let ended = ledger::Ended::Released;
        self.tell(|ledger, now| ledger.released(key, sequence, ended, &evicted.reason, now));
    }

    /// What was recorded under an address that was this node's when it was picked, and is not now.
    fn orphan(&self, record: &AttachmentRecord) {
        let addresses = record.addresses.iter();
        self.orphans().push(Evicted {
            key: record.key.clone(),
            sequence: record.sequence,
            addresses: addresses.map(|leased| leased.address.address()).collect(),
            reason: "its address was no longer this node's when it was recorded".to_owned(),
        });
    }

    fn orphans(&self) -> MutexGuard<'_, Vec<Evicted>> {
        self.orphans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // A bug in it is met by whoever asked; what it holds is checked against the store later.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Now {
        self.state.boot().now()
    }

    fn ends(&self) -> bool {
        self.is_ending.load(Ordering::Relaxed)
    }
}

/// What the node is called: as configured, else as the host.
pub(crate) fn node_name(config: &Config) -> String {
    let host = || {
        let host = rustix::system::uname();
        host.nodename().to_string_lossy().to_lowercase()
    };
    config.node.name.clone().unwrap_or_else(host)
}

fn about(config: &Config, name: &str, state: &StateDir) -> NodeRow {
    NodeRow {
        name: name.to_owned(),
        addresses: own_addresses(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        labels: config.node.labels.iter().cloned().collect(),
        boot_id: state.boot().id().as_str().to_owned(),
        started_at_unix_ms: unix_ms(),
    }
}

/// The addresses that the node speaks to others from: those its routes choose towards documentation's
/// addresses (RFC 5737, RFC 3849). Connecting a datagram socket sends nothing.
pub(crate) fn own_addresses() -> Vec<IpAddr> {
    let towards = |any: &str, other: &str| {
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(other).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    let v4 = towards("0.0.0.0:0", "192.0.2.1:9");
    let v6 = towards("[::]:0", "[2001:db8::1]:9");
    v4.into_iter().chain(v6).collect()
}

/// A name of this process that no other has.
fn session(node: &NodeId) -> String {
    let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
    let unique: String = uuid
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(12)
        .collect();
    format!("{}-{unique}", node.short())
}
