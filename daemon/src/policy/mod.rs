//! What this node's kernel enforces: the world as it is known, compiled for the node's own endpoints, and
//! committed whenever either changes. ADD is answered once its endpoint's policy stands, and an address is released
//! once nothing stands for it any more. What somebody else changes is put right; while nothing is known of any
//! policy, what stands goes on.

mod cut;
mod gone;
mod stand;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bulkhead_attach::policies::device;
use bulkhead_cni::CniError;
use bulkhead_ipam::wire::admin::{Judged, PolicyVerified};
use bulkhead_ipam::{AttachmentRecord, Recorded, StateDir, StoreError};
use bulkhead_kernel::ObserveError;
use bulkhead_model::{AttachmentKey, IfName, Prefix};
use bulkhead_policy::compile::Told;
use bulkhead_policy::{Decision, EndpointId, Local, Packet, World};

use crate::config::Established;
use crate::identity::{Changed, Held, Identities, Mark};
use crate::lasting;
use crate::node::Node;
pub(crate) use cut::standing;
use cut::{Due, Scissors};
pub(crate) use gone::Gone;
use stand::{Stand, Trouble};

/// Stack of the thread, in bytes: a table is made on the heap.
const STACK: usize = 1 << 20;

/// Longest that nothing is looked at while nothing is heard.
const TICK: Duration = Duration::from_secs(1);

/// Who enforces.
pub(crate) struct Enforcer {
    identities: Arc<Identities>,
    state: Mutex<State>,
    /// Addresses that may have connections of those who had them before.
    gone: Gone,
    /// Whoever cuts has them, so that nobody cuts what an address's next holder has begun. Taken before the state.
    scissors: Mutex<Scissors>,
    is_ending: AtomicBool,
    /// How often the table was found otherwise than it had been left, and put right.
    healed: AtomicU64,
    /// Connections that were cut because they are no longer allowed.
    cut: AtomicU64,
}

struct State {
    /// The attachments that policies are enforced for.
    local: BTreeMap<AttachmentKey, (EndpointId, IfName)>,
    /// How many listen to what is allowed.
    listeners: usize,
    stand: Stand,
    /// What was known when the kernel was told last.
    mark: Mark,
}

impl Enforcer {
    /// For the recorded attachments that ask for it. Nothing is done about them yet.
    ///
    /// # Errors
    /// The journals cannot be read.
    pub(crate) fn open(
        identities: &Arc<Identities>,
        state_dir: &StateDir,
        gone: Gone,
    ) -> Result<Self, StoreError> {
        let mut local = BTreeMap::new();
        // Not what an earlier boot has left.
        let there = identities.own();
        for recorded in state_dir.everything()? {
            if let Recorded::Attachment(record) = recorded?
                && there.contains(&record.key)
                && let Some(device) = device(&record.names)
            {
                let endpoint = identities.recorded(&record);
                local.insert(record.key.clone(), (endpoint, device));
            }
        }
        let state = State {
            local,
            listeners: 0,
            stand: Stand::unknown(),
            mark: Mark::default(),
        };
        Ok(Self {
            identities: Arc::clone(identities),
            state: Mutex::new(state),
            gone,
            scissors: Mutex::new(Scissors::new()),
            is_ending: AtomicBool::new(false),
            healed: AtomicU64::new(0),
            cut: AtomicU64::new(0),
        })
    }

    /// Begins to follow what is known.
    ///
    /// # Errors
    /// There is no thread.
    pub(crate) fn start(node: &Arc<Node>) -> std::io::Result<()> {
        lasting::spawn(node, "policy", STACK, |node| go_on(node))
    }

    /// Follows nothing more. What stands goes on.
    pub(crate) fn stop(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
    }

    /// Whether the kernel enforces exactly what it should.
    ///
    /// # Errors
    /// The kernel does not answer, or it is not known what it should enforce.
    pub(crate) fn verify(&self) -> Result<PolicyVerified, Trouble> {
        let mut state = self.state();
        let revision = state.mark.policies;
        let differences = state.stand.differences()?;
        Ok(PolicyVerified {
            revision: differences.is_some().then_some(revision),
            endpoints: state.local.len() as u64,
            differences: differences.unwrap_or_default(),
            healed: self.healed.load(Ordering::Relaxed),
            cut: self.cut.load(Ordering::Relaxed),
        })
    }

    /// What the table of this node does to a packet between these endpoints, `None` if nothing is enforced for
    /// either here. `own` are the node's addresses.
    pub(crate) fn judged(
        &self,
        packet: &Packet,
        ends: &[BTreeSet<EndpointId>; 2],
        own: &BTreeSet<IpAddr>,
    ) -> Option<Judged> {
        let state = self.state();
        let device = |ids: &BTreeSet<EndpointId>| {
            let mut local = state.local.values();
            local
                .find(|(id, _)| ids.contains(id))
                .map(|(_, device)| *device)
        };
        let (decision, said) =
            state
                .stand
                .judged(packet, (device(&ends[0]), device(&ends[1])), own)?;
        Some(Judged {
            source: packet.source,
            destination: packet.destination,
            traffic: packet.traffic.to_string(),
            allowed: decision == Decision::Allow,
            said,
            standing: None,
        })
    }

    /// One more listens to what is allowed: from here on the kernel tells of it.
    ///
    /// # Errors
    /// The kernel is not told; then nobody listens.
    pub(crate) fn listen(&self) -> Result<(), Trouble> {
        let mut state = self.state();
        state.listeners += 1;
        let told = state.tell_kernel(&self.identities).map(drop);
        if told.is_err() {
            state.listeners -= 1;
        }
        told
    }

    /// One less listens; with the last one the kernel is silent again.
    ///
    /// # Errors
    /// The kernel is not told; it is when something changes next.
    pub(crate) fn listen_no_more(&self) -> Result<(), Trouble> {
        let mut state = self.state();
        state.listeners -= 1;
        state.tell_kernel(&self.identities).map(drop)
    }

    /// Puts right what somebody else has changed; what that was.
    fn heal(&self) -> Result<Vec<String>, Trouble> {
        let mut state = self.state();
        let found = state.stand.differences()?.unwrap_or_default();
        if found.is_empty() {
            return Ok(found);
        }
        // A commit of our own is none in between: that has the lock. Whatever it was, all of it goes.
        state.stand.forget();
        state.tell_kernel(&self.identities)?;
        self.healed.fetch_add(1, Ordering::Relaxed);
        Ok(found)
    }

    /// Which connections are to be cut now.
    fn due(&self, established: Established) -> Option<Due> {
        let judge = match established {
            Established::Cut => self.state().stand.due_to_cut(),
            // It stays due.
            Established::Keep => None,
        };
        let due = Due {
            at: Instant::now(),
            judge,
            gone: self.gone.all(),
        };
        due.is_something().then_some(due)
    }

    /// Cuts what is due. What is not cut stays so.
    fn cut(&self, node: &Node) {
        let mut scissors = self.scissors();
        let Some(due) = self.due(node.config().established) else {
            return;
        };
        match scissors.cut(&due) {
            Ok(cut) => {
                self.gone.are_cut(&due.gone, due.at);
                self.cut.fetch_add(cut, Ordering::Relaxed);
                node.metrics.policy_cut.inc_by(cut);
            }
            Err(error) => {
                if due.judge.is_some() {
                    self.state().stand.is_not_cut();
                }
                let why = crate::told::chain(&error);
                node.failed("connections that are no longer allowed are not cut", &why);
            }
        }
    }

    /// Nothing stands of the connections that others had with these addresses.
    fn begin_anew(&self, record: &AttachmentRecord) -> Result<(), CniError> {
        let cut = self.cut_gone(&Held::of(record).all());
        cut.map_err(|error| {
            let network = &record.key.network;
            let why = crate::told::chain(&error);
            CniError::try_again(format!(
                "network {network}: connections of those who had the addresses before are not cut: {why}"
            ))
        })
    }

    fn cut_gone(&self, held: &BTreeSet<Prefix>) -> Result<(), ObserveError> {
        if self.gone.among(held).is_empty() {
            return Ok(());
        }
        let mut scissors = self.scissors();
        // Who had them has cut some meanwhile, maybe.
        let (at, judge) = (Instant::now(), None);
        let gone = self.gone.among(held);
        let due = Due { at, judge, gone };
        if due.is_something() {
            scissors.cut(&due)?;
            self.gone.are_cut(&due.gone, due.at);
        }
        Ok(())
    }

    /// Before an address is released: what cannot be noted, and would be forgotten with this process, is cut at once.
    fn go(&self, key: &AttachmentKey, had: &Held) -> Result<(), CniError> {
        let Err(unnoted) = self.gone.note(&had.all()) else {
            return Ok(());
        };
        let cut = self.cut_gone(&had.all());
        cut.map_err(|error| {
            let network = &key.network;
            let why = crate::told::chain(&error);
            CniError::try_again(format!(
                "network {network}: that connections of its addresses are to be cut is not noted: {unnoted}; they are not cut either: {why}"
            ))
        })
    }

    fn scissors(&self) -> MutexGuard<'_, Scissors> {
        self.scissors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_kernel(&self) -> Result<Mark, Trouble> {
        self.state().tell_kernel(&self.identities)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What a bug left half done is read from the kernel, or replaced.
        self.state.lock().unwrap_or_else(|poisoned| {
            let mut state = PoisonError::into_inner(poisoned);
            state.stand.forget();
            self.state.clear_poison();
            state
        })
    }
}

impl State {
    /// Compiles what is known, and commits what is new of it.
    fn tell_kernel(&mut self, identities: &Identities) -> Result<Mark, Trouble> {
        let endpoints = self.local.values().cloned();
        let local = Local {
            endpoints: endpoints.collect(),
            told: match self.listeners {
                0 => Told::Denied,
                _ => Told::Everything,
            },
            ..Local::default()
        };
        let before = self.mark;
        let bring = |world: &World, changed: &Changed| {
            // What is not told one by one is compiled.
            let follows = !changed.everything && before != Mark::default();
            let changes = follows.then_some(&changed.changes);
            self.stand.bring_to(world, &local, changes)?;
            Ok(changed.mark)
        };
        let mark = identities.read(before, bring);
        let mark = mark.unwrap_or(Err(Trouble::Unknown))?;
        identities.verdicts_are(&self.stand.outcomes);
        self.mark = mark;
        Ok(mark)
    }
}

impl bulkhead_attach::Policies for Enforcer {
    fn admit(&self, record: &AttachmentRecord) -> Result<(), CniError> {
        let Some(device) = device(&record.names) else {
            return Ok(());
        };
        self.begin_anew(record)?;
        let endpoint = self.identities.recorded(record);
        let mut state = self.state();
        state.local.insert(record.key.clone(), (endpoint, device));
        let told = state.tell_kernel(&self.identities);
        told.map(drop)
            .map_err(|trouble| refusal(&record.key, &trouble))
    }

    fn dismiss(&self, key: &AttachmentKey) -> Result<(), CniError> {
        let had = self.identities.ended(key);
        self.go(key, &had)?;
        let mut state = self.state();
        state.local.remove(key);
        let told = match state.tell_kernel(&self.identities) {
            // It cannot be compiled.
            Err(Trouble::Unknown) if state.local.is_empty() => state.stand.clear(),
            // It stays among the others' until it is known what policies there are. Nobody has its device any
            // more, and nobody with policies is given its address before.
            Err(Trouble::Unknown) => Ok(()),
            told => told.map(drop),
        };
        told.map_err(|trouble| refusal(key, &trouble))
    }
}

fn refusal(key: &AttachmentKey, trouble: &Trouble) -> CniError {
    let network = &key.network;
    let why = crate::told::chain(trouble);
    CniError::try_again(format!(
        "network {network}: policies are not enforced: {why}"
    ))
}

/// Follows what is known, compares now and then, cuts what is no longer allowed.
fn go_on(node: &Node) {
    let enforcer = &node.policy;
    let mut mark = Mark::default();
    let mut verified_at = Instant::now();
    let mut first = true;
    while !enforcer.is_ending.load(Ordering::Relaxed) {
        let changed = enforcer.identities.await_change(mark, TICK);
        let is_new = first || changed.mark != mark;
        mark = changed.mark;
        if is_new || enforcer.state().stand.is_unknown() {
            match enforcer.tell_kernel() {
                Ok(told) => {
                    first = false;
                    enforcer.identities.applied(told, Vec::new());
                }
                Err(Trouble::Unknown) => {}
                Err(trouble) => {
                    let why = crate::told::chain(&trouble);
                    node.failed("policies are not enforced as they are written", &why);
                    enforcer
                        .identities
                        .applied(enforcer.state().mark, vec![why]);
                }
            }
        }
        enforcer.cut(node);
        // As often as attachments are compared with their want.
        let interval = node.config().reconcile;
        if interval.is_some_and(|interval| verified_at.elapsed() >= interval) {
            verified_at = Instant::now();
            match enforcer.heal() {
                Ok(found) if found.is_empty() => {}
                Ok(found) => {
                    node.metrics.policy_mended.inc();
                    tracing::warn!(
                        ?found,
                        "policies stood otherwise in the kernel, and were put right"
                    );
                }
                Err(trouble) => {
                    let why = crate::told::chain(&trouble);
                    node.failed("what the kernel enforces is not compared", &why);
                }
            }
        }
    }
}
