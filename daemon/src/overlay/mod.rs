//! The node's ends of networks that nodes have together. Which there are is read off the recorded
//! attachments, what they lead to off the store, and the kernel is brought there level-triggered: after
//! every change of either, and now and then. What the store does not say because it cannot be reached
//! is left as it stands.

mod agreed;
mod coming;
mod differs;
mod facts;
#[cfg(test)]
mod fixture;
mod follow;
mod join;
mod leases;
mod listen;
mod member;
mod mirror;
mod pass;
mod ports;
mod remember;
mod seal;
mod segment;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use bulkhead_attach::{OverlayEnd, Underlay};
use bulkhead_ipam::cluster::schema::Secret;
use bulkhead_ipam::{StateDir, StoreError};
use bulkhead_model::NetworkName;

use crate::cluster::Cluster;
use crate::node::Node;
use member::Member;
use mirror::Mirror;
use remember::Memory;

pub(crate) use leases::Leases;

/// What a network may be keyed by.
pub(crate) fn new_secret() -> Secret {
    Secret::new(seal::random())
}

/// The kind of attachments of such networks.
const KIND: &str = "vxlan";

/// Stack of a thread, in bytes.
const STACK: usize = 512 << 10;

/// How often it is looked whether a network's last attachment is gone.
const TICK: Duration = Duration::from_secs(1);

/// All of them.
pub(crate) struct Overlays {
    cluster: Arc<Cluster>,
    state_dir: Arc<StateDir>,
    /// What the node is reached by, if the configuration says.
    underlay: Option<Underlay>,
    state: Mutex<State>,
    /// There may be something to do.
    work: Condvar,
    /// A pass over the kernel is done, for calls that wait for it.
    news: Condvar,
    /// There are ports to be looked at.
    ports: Condvar,
    is_ending: AtomicBool,
    /// How the node's ends of encrypted ones are keyed.
    salts: seal::Salts,
}

/// What is known, and what is to be looked at.
#[derive(Default)]
struct State {
    members: BTreeMap<NetworkName, Member>,
    /// Networks that the node has no attachment of any more, with what is still to be taken back.
    leaving: BTreeMap<NetworkName, OverlayEnd>,
    /// Who comes and who goes just now.
    doors: coming::Doors,
    mirror: Mirror,
    /// What the node remembers, until the store was read.
    memory: Option<Memory>,
    /// Rises with everything that the next pass should know.
    wanted: u64,
    /// What of it the last pass knew.
    passed: u64,
    /// Links that the kernel told of, by index.
    heard: BTreeSet<u32>,
    /// Networks in whose own namespaces something changed.
    stirred: BTreeSet<NetworkName>,
    /// Networks whose ports are to be looked at.
    ports: BTreeSet<NetworkName>,
    /// Whether some of what it told was missed.
    missed: bool,
    /// Whether states or policies of `IPsec` changed.
    heard_ipsec: bool,
}

/// What the next pass is about.
struct Turn {
    /// What it will have known.
    wanted: u64,
    /// Whether the store or a call said something new.
    is_new: bool,
    /// Links that the kernel told of; `None` for any.
    heard: Option<BTreeSet<u32>>,
    /// Whether states or policies of `IPsec` may have changed.
    heard_ipsec: bool,
    /// Networks in whose own namespaces something changed.
    stirred: BTreeSet<NetworkName>,
}

impl Overlays {
    /// The ends that the recorded attachments need. Nothing is done about them yet.
    ///
    /// # Errors
    /// The journals cannot be read.
    pub(crate) fn open(
        cluster: &Arc<Cluster>,
        state_dir: &Arc<StateDir>,
        underlay: Option<Underlay>,
    ) -> Result<Self, StoreError> {
        let mut members = BTreeMap::new();
        for network in state_dir.networks()? {
            if let Some(end) = member::recorded(state_dir, &network)? {
                members.insert(network, Member::new(end, None));
            }
        }
        let state = State {
            members,
            wanted: 1,
            missed: true,
            memory: remember::recall(cluster, state_dir),
            ..State::default()
        };
        Ok(Self {
            cluster: Arc::clone(cluster),
            state_dir: Arc::clone(state_dir),
            underlay,
            state: Mutex::new(state),
            work: Condvar::new(),
            news: Condvar::new(),
            ports: Condvar::new(),
            is_ending: AtomicBool::new(false),
            salts: seal::Salts::open(state_dir),
        })
    }

    /// Begins to keep them.
    ///
    /// # Errors
    /// There is no thread.
    pub(crate) fn start(node: &Arc<Node>) -> std::io::Result<()> {
        let node = Arc::clone(node);
        spawn("overlay", move || go_on(&node))
    }

    /// Keeps nothing more. What stands goes on.
    pub(crate) fn stop(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
        // Under the lock, so that nobody is between the look and the wait.
        drop(self.state());
        self.work.notify_all();
        self.news.notify_all();
        self.ports.notify_all();
    }

    /// Something is new that a pass should know.
    fn tell<T>(&self, tell: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        state.wanted += 1;
        let told = tell(&mut state);
        drop(state);
        self.work.notify_all();
        told
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What a bug left half changed the next pass looks at anew.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ends(&self) -> bool {
        self.is_ending.load(Ordering::Relaxed)
    }

    /// Waits until there is something to do, a tick at most where there is something to keep.
    fn turn(&self) -> Turn {
        let mut state = self.state();
        let idle = |state: &State| state.members.is_empty() && state.leaving.is_empty();
        while idle(&state) && !self.ends() {
            let waited = self.work.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        let is_quiet = state.heard.is_empty() && state.stirred.is_empty() && !state.missed;
        let is_quiet = is_quiet && !state.heard_ipsec && !self.ends();
        if state.wanted == state.passed && is_quiet {
            let waited = self.work.wait_timeout(state, TICK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let (heard, missed) = (
            std::mem::take(&mut state.heard),
            std::mem::take(&mut state.missed),
        );
        let heard_ipsec = std::mem::take(&mut state.heard_ipsec) || missed;
        Turn {
            wanted: state.wanted,
            is_new: state.wanted > state.passed,
            heard: (!missed).then_some(heard),
            heard_ipsec,
            stirred: std::mem::take(&mut state.stirred),
        }
    }

    /// A pass is done that knew so much.
    fn passed(&self, wanted: u64) {
        self.state().passed = wanted;
        self.news.notify_all();
    }
}

/// Follows store and kernel once there is something to keep, and makes pass after pass.
fn go_on(node: &Arc<Node>) {
    let overlays = &node.overlays;
    let mut passes = pass::Passes::new();
    let mut follows = false;
    loop {
        let turn = overlays.turn();
        if overlays.ends() {
            return;
        }
        if !std::mem::replace(&mut follows, true) {
            let followed = follow::start(node)
                .and_then(|()| listen::start(node))
                .and_then(|()| ports::start(node));
            if let Err(error) = followed {
                node.failed("overlays are not kept", &error);
                follows = false;
                thread::sleep(TICK);
            }
        }
        passes.make(node, &turn);
        overlays.passed(turn.wanted);
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let thread = thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK);
    thread.spawn(run).map(drop)
}
