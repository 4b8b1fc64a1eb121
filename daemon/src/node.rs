//! The node as this process has it: shared by all that runs.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use bulkhead_attach::UnderWay;
use bulkhead_ipam::StateDir;
use bulkhead_ipam::wire::admin::EventKind;
use bulkhead_kernel::{Identity, Reaper};
use bulkhead_plan::{Ns, Reason};
use tokio::runtime::Handle;

use crate::advertise::Ports;
use crate::clock::unix_ms;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::events::{Events, event};
use crate::failings::Failings;
use crate::gate::Gate;
use crate::identity::Identities;
use crate::log::Threshold;
use crate::metrics::Metrics;
use crate::overlay::{Leases, Overlays};
use crate::policy::Enforcer;
use crate::remembered::Remembered;

/// Everything that the parts of the daemon share.
pub(crate) struct Node {
    /// The file of the configuration, and when it was read.
    pub(crate) config_path: PathBuf,
    pub(crate) config_read_at: AtomicU64,
    config: RwLock<Arc<Config>>,
    pub(crate) threshold: Threshold,
    /// The state directory, held alone.
    pub(crate) state: Arc<StateDir>,
    /// The network namespace of the daemon, which is the node's.
    pub(crate) netns: Identity,
    /// What calls were made with, for whoever compares attachments with their want.
    pub(crate) remembered: Remembered,
    /// The node's share of the cluster's pools.
    pub(crate) cluster: Arc<Cluster>,
    /// The node's ends of networks that nodes have together.
    pub(crate) overlays: Arc<Overlays>,
    /// Who is where, and who may talk to whom.
    pub(crate) identities: Arc<Identities>,
    /// What the kernel enforces of it.
    pub(crate) policy: Arc<Enforcer>,
    /// The pools as calls know them.
    pub(crate) pools: Arc<Leases>,
    /// Where tasks that wait for sockets are run.
    pub(crate) sockets: Handle,
    /// Who deletes links while calls go on.
    pub(crate) reaper: Reaper,
    /// Calls about one attachment are served one after another.
    pub(crate) under_way: UnderWay,
    pub(crate) gate: Gate,
    pub(crate) metrics: Metrics,
    pub(crate) failings: Failings,
    pub(crate) events: Events,
    pub(crate) tally: Tally,
    /// Ports that something is advertised on.
    pub(crate) advertised: Ports,
    /// What the guard of each namespace had dropped by each reason when the metrics were read last.
    pub(crate) guard_drops: Mutex<BTreeMap<Ns, [u64; Reason::ALL.len()]>>,
    pub(crate) started_at_unix_ms: u64,
    is_stopping: AtomicBool,
}

/// What a node is made of.
pub(crate) struct Parts {
    pub(crate) config_path: PathBuf,
    pub(crate) config: Config,
    pub(crate) threshold: Threshold,
    pub(crate) state: Arc<StateDir>,
    pub(crate) netns: Identity,
    pub(crate) remembered: Remembered,
    pub(crate) sockets: Handle,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) overlays: Arc<Overlays>,
    pub(crate) identities: Arc<Identities>,
    pub(crate) policy: Arc<Enforcer>,
}

/// What status tells and metrics alone do not.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Calls served.
    pub(crate) calls: AtomicU64,
    /// Of these, answered with an error.
    pub(crate) calls_failed: AtomicU64,
    /// When drift was found last; 0 for never.
    pub(crate) drift_found_at: AtomicU64,
    /// When every attachment was looked at last; 0 for never.
    pub(crate) reconciled_at: AtomicU64,
}

impl Node {
    /// At its start.
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            config_path: parts.config_path,
            config_read_at: AtomicU64::new(unix_ms()),
            config: RwLock::new(Arc::new(parts.config)),
            threshold: parts.threshold,
            state: parts.state,
            netns: parts.netns,
            remembered: parts.remembered,
            pools: Arc::new(Leases::new(
                Arc::clone(&parts.cluster),
                Arc::clone(&parts.overlays),
            )),
            cluster: parts.cluster,
            overlays: parts.overlays,
            identities: parts.identities,
            policy: parts.policy,
            sockets: parts.sockets,
            reaper: Reaper::new(),
            under_way: UnderWay::default(),
            gate: Gate::default(),
            metrics: Metrics::new(),
            failings: Failings::default(),
            events: Events::default(),
            tally: Tally::default(),
            advertised: Ports::default(),
            guard_drops: Mutex::default(),
            started_at_unix_ms: unix_ms(),
            is_stopping: AtomicBool::new(false),
        }
    }

    /// The configuration as it is now.
    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().expect("nobody panics while changing it"))
    }

    /// Another configuration from now on.
    pub(crate) fn configure(&self, config: Config) {
        self.threshold.set(config.log.level);
        *self
            .config
            .write()
            .expect("nobody panics while changing it") = Arc::new(config);
        self.config_read_at.store(unix_ms(), Ordering::Relaxed);
    }

    /// Attachments recorded on the node, as far as they can be read.
    pub(crate) fn attachments(&self) -> u64 {
        let networks = self.state.networks().unwrap_or_default();
        let counts = networks.iter().filter_map(|network| {
            let known = self.state.network(network).read().ok()??;
            Some(known.live_count())
        });
        counts.sum()
    }

    /// The daemon has been told to stop.
    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    /// Whether it has.
    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// Whether `path` is the state directory, whatever it is called.
    pub(crate) fn owns(&self, path: &Path) -> bool {
        let place = |path: &Path| {
            let found = rustix::fs::stat(path).ok()?;
            Some((found.st_dev, found.st_ino))
        };
        path == self.state.path()
            || place(path).is_some_and(|it| Some(it) == place(self.state.path()))
    }

    /// Whether a descriptor is the node's own network namespace.
    pub(crate) fn is_own(&self, netns: impl AsFd) -> bool {
        rustix::fs::fstat(netns)
            .is_ok_and(|found| (found.st_dev, found.st_ino) == (self.netns.dev, self.netns.ino))
    }

    /// Something went wrong that an operator should hear of.
    pub(crate) fn failed(&self, what: &str, why: &dyn std::fmt::Display) {
        tracing::error!(error = %why, "{what}");
        self.tell_failing(format!("{what}: {why}"));
    }

    /// `what` ended in a panic, whose place the log tells.
    pub(crate) fn met_bug(&self, what: &str) {
        self.metrics.panics.inc();
        let text = format!("{what} met a bug of bulkheadd, the log has its place; report it");
        tracing::error!("{text}");
        self.tell_failing(text);
    }

    fn tell_failing(&self, text: String) {
        self.events.tell(|| event(EventKind::Error, text.clone()));
        self.failings.note(text);
    }
}
