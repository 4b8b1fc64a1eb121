//! A ledger at work: threads that ask it for addresses, one that does for it what it has to do with the
//! store and its file, and one for each watch. The decisions are the ledger's; here is only who waits for
//! whom.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::kv::{ClusterStore, KeyRange, KvError, Revision};
use super::ledger::{
    Acquire, Call, Ledger, LedgerFile, Next, Outcome, PoolAsk, PoolGrant, PoolRefusal, Waiting,
};
use crate::boot::Boot;

/// A ledger that threads share.
#[derive(Debug)]
pub struct SharedLedger {
    ledger: Mutex<Ledger>,
    /// Something was asked of it or told to it: there may be something to do.
    asked: Condvar,
    /// Something was done for it: what somebody waits for may be there.
    done: Condvar,
    boot: Boot,
}

/// Why no ordinal was acquired.
#[derive(Debug, thiserror::Error)]
pub enum PoolAcquireError {
    /// The ledger's decision.
    #[error(transparent)]
    Refused(#[from] PoolRefusal),
    /// It did not come in time.
    #[error("no address after {waited_ms} ms: {waiting}; try again")]
    TimedOut {
        /// How long it was waited for, in milliseconds.
        waited_ms: u128,
        /// What for.
        waiting: Waiting,
    },
}

impl PoolAcquireError {
    /// Whether the same ask may succeed shortly with nothing else changed.
    #[must_use]
    pub const fn is_retriable(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.is_retriable(),
            Self::TimedOut { .. } => true,
        }
    }
}

impl SharedLedger {
    /// Shares a ledger of this boot.
    #[must_use]
    pub const fn new(ledger: Ledger, boot: Boot) -> Self {
        Self {
            ledger: Mutex::new(ledger),
            asked: Condvar::new(),
            done: Condvar::new(),
            boot,
        }
    }

    /// Tells the ledger something, or asks it. The call must not block.
    pub fn with<T>(&self, tell: impl FnOnce(&mut Ledger) -> T) -> T {
        let told = tell(&mut self.lock());
        self.asked.notify_all();
        told
    }

    /// Acquires an ordinal, and waits for it if it has to be fetched. It is to be settled or abandoned.
    ///
    /// # Errors
    /// [`PoolAcquireError`]; nothing is picked then.
    pub fn acquire(
        &self,
        ask: &PoolAsk,
        patience: Duration,
    ) -> Result<Box<PoolGrant>, PoolAcquireError> {
        let begun = Instant::now();
        let mut ledger = self.lock();
        loop {
            let waiting = match ledger.acquire(ask, self.boot.now()) {
                Acquire::Granted(grant) => {
                    // What is free may be few by now.
                    self.asked.notify_all();
                    return Ok(grant);
                }
                Acquire::Refused(refusal) => return Err(refusal.into()),
                Acquire::Wait(waiting) => waiting,
            };
            self.asked.notify_all();
            let left = patience.saturating_sub(begun.elapsed());
            if left.is_zero() {
                ledger.abandon(&ask.key, self.boot.now());
                return Err(PoolAcquireError::TimedOut {
                    waited_ms: begun.elapsed().as_millis(),
                    waiting,
                });
            }
            let waited = self.done.wait_timeout(ledger, left);
            ledger = waited.expect("a ledger does not panic half way").0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        // What panicked half way may hold an address twice: nobody goes on with it.
        self.ledger
            .lock()
            .expect("a ledger does not panic half way")
    }
}

/// Does for a ledger what it has to do.
pub struct Agent {
    shared: Arc<SharedLedger>,
    store: Arc<dyn ClusterStore>,
    save: SaveFile,
    stop: Arc<AtomicBool>,
}

/// Replaces the ledger's file, durably. The error has its causes.
pub type SaveFile = Box<dyn FnMut(&LedgerFile) -> Result<(), String> + Send>;

impl Agent {
    /// Longest sleep, so that a stop is noticed.
    const SLEEP: Duration = Duration::from_millis(500);

    /// An agent that works until `stop` is set.
    #[must_use]
    pub fn new(
        shared: Arc<SharedLedger>,
        store: Arc<dyn ClusterStore>,
        save: SaveFile,
        stop: Arc<AtomicBool>,
    ) -> Self {
        Self {
            shared,
            store,
            save,
            stop,
        }
    }

    /// Works, on the calling thread and on one for each watch.
    pub fn run(mut self) {
        let mut generation = 0;
        while !self.stop.load(Ordering::Acquire) {
            let watching = self.shared.lock().watching();
            if let Some(watching) = watching.filter(|watching| watching.generation != generation) {
                generation = watching.generation;
                for range in watching.ranges {
                    self.watch(range, watching.after, generation);
                }
            }
            self.turn();
        }
    }

    /// Does what is to be done next; if there is nothing, sleeps until there may be.
    fn turn(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut ledger = shared.lock();
        let now = shared.boot.now();
        let sleep = match ledger.next(now) {
            Next::Call(call) => {
                drop(ledger);
                self.work(call);
                return;
            }
            Next::Idle { until_ms: None } => Self::SLEEP,
            Next::Idle {
                until_ms: Some(until),
            } => Duration::from_millis(until.saturating_sub(now.since_boot_ms).max(1)),
        };
        // The lock is held from the question to the sleep: nothing that is asked in between is slept
        // through.
        let slept = shared.asked.wait_timeout(ledger, sleep.min(Self::SLEEP));
        drop(slept.expect("a ledger does not panic half way"));
    }

    /// Makes a call, and those that follow from it.
    fn work(&mut self, call: Call) {
        let mut call = Some(call);
        while let Some(next) = call {
            let outcome = self.perform(&next);
            call = self.shared.lock().done(outcome, self.shared.boot.now());
            self.shared.done.notify_all();
        }
    }

    fn perform(&mut self, call: &Call) -> Outcome {
        match call {
            Call::Save(file) => Outcome::Saved((self.save)(file)),
            Call::Read(ranges) => Outcome::Read(
                ranges
                    .iter()
                    .map(|range| self.store.range(range, 0))
                    .collect(),
            ),
            Call::Commit(txn) => Outcome::Committed(self.store.commit(txn)),
        }
    }

    /// Tells the ledger of every change of a range, as long as it is the generation that is watched.
    fn watch(&self, range: KeyRange, after: Revision, generation: u64) {
        let (shared, store) = (Arc::clone(&self.shared), Arc::clone(&self.store));
        let stop = Arc::clone(&self.stop);
        thread::spawn(move || {
            let watcher = Watcher {
                shared,
                store,
                stop,
                generation,
            };
            watcher.run(&range, after);
        });
    }
}

struct Watcher {
    shared: Arc<SharedLedger>,
    store: Arc<dyn ClusterStore>,
    stop: Arc<AtomicBool>,
    generation: u64,
}

impl Watcher {
    /// How long a watch waits in one go.
    const PATIENCE: Duration = Duration::from_millis(500);

    fn run(&self, range: &KeyRange, after: Revision) {
        let lost = self.follow(range, after).is_err();
        if lost && self.is_meant() {
            self.shared.with(Ledger::watch_lost);
        }
    }

    /// Until the watch is over, or is not meant any more.
    fn follow(&self, range: &KeyRange, after: Revision) -> Result<(), KvError> {
        let mut waits = VecDeque::from([100, 500, 2_000, 5_000]);
        let mut watch = loop {
            match self.store.watch(range, after) {
                Ok(watch) => break watch,
                Err(error @ KvError::Compacted { .. }) => return Err(error),
                Err(_) if !self.is_meant() => return Ok(()),
                Err(_) => {
                    let wait = waits.pop_front().unwrap_or(5_000);
                    thread::sleep(Duration::from_millis(wait));
                }
            }
        };
        while self.is_meant() {
            let events = watch.next(Self::PATIENCE)?;
            if !events.is_empty() {
                let now = self.shared.boot.now();
                self.shared.with(|ledger| ledger.observe(&events, now));
                self.shared.done.notify_all();
            }
        }
        Ok(())
    }

    fn is_meant(&self) -> bool {
        let watching = self.shared.lock().watching();
        !self.stop.load(Ordering::Acquire)
            && watching.is_some_and(|watching| watching.generation == self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::geometry::{Geometry, Layout, Subnet};
    use crate::cluster::ledger::{Identity, PoolChoice, Tuning};
    use crate::cluster::memory::MemoryStore;
    use crate::cluster::operations::Operator;
    use crate::cluster::schema::{Labels, NodeRow, PoolRow, Schema};
    use crate::testing::TempDir;

    fn node(id: &str, dir: &TempDir) -> Arc<SharedLedger> {
        let boot_id = dir.path().join("boot_id");
        std::fs::write(&boot_id, "4f1d\n").unwrap();
        let boot = Boot::from_file(&boot_id).unwrap();
        let who = Identity {
            node: id.parse().unwrap(),
            about: NodeRow::default(),
            session: format!("{id}-0"),
        };
        let (schema, tuning) = (Schema::default(), Tuning::default());
        let ledger = Ledger::rebuild(who, schema, tuning, None, [], [], boot.now());
        Arc::new(SharedLedger::new(ledger, boot))
    }

    fn ask(container: &str) -> PoolAsk {
        PoolAsk {
            key: bulkhead_model::AttachmentKey {
                network: "blue".parse().unwrap(),
                container: container.parse().unwrap(),
                interface: "eth0".parse().unwrap(),
            },
            pools: PoolChoice::Any,
            pod: None,
            labels: Labels::new(),
            requested: Vec::new(),
            sticky: false,
        }
    }

    #[test]
    fn threads_of_two_nodes_get_addresses_that_are_all_different_and_all_published() {
        const THREADS: usize = 8;
        const EACH: usize = 12;
        let dir = TempDir::new("agent");
        let store = MemoryStore::new(10_000);
        let schema = Schema::default();
        let operator = Operator {
            store: &store,
            schema: &schema,
            by: "ops",
            session: "operator-0",
            now_unix_ms: 0,
        };
        let v4 = Some(Subnet::of("10.4.0.0/20".parse().unwrap()));
        let layout = Layout {
            v4,
            block_bits: 4,
            ..Layout::default()
        };
        let row = PoolRow::new(Geometry::new(layout).unwrap());
        operator.pool_add(&"p".parse().unwrap(), &row).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let nodes = ["n1", "n2"].map(|id| node(id, &dir));
        let agents = nodes.clone().map(|shared| {
            let save: SaveFile = Box::new(|_| Ok(()));
            let agent = Agent::new(shared, Arc::new(store.clone()), save, Arc::clone(&stop));
            thread::spawn(|| agent.run())
        });
        let mut got = Vec::new();
        thread::scope(|scope| {
            let mut workers = Vec::new();
            for (nth, shared) in nodes.iter().enumerate() {
                for worker in 0..THREADS {
                    workers.push(scope.spawn(move || {
                        let grant = |pod: usize| {
                            let ask = ask(&format!("n{nth}-w{worker}-c{pod}"));
                            let grant = shared.acquire(&ask, Duration::from_mins(1)).unwrap();
                            let now = shared.boot.now();
                            assert!(shared.with(|ledger| ledger.settle(&ask.key, 1, now)));
                            grant.ordinal
                        };
                        (0..EACH).map(grant).collect::<Vec<u64>>()
                    }));
                }
            }
            for worker in workers {
                got.extend(worker.join().unwrap());
            }
        });
        let published = || store.range(&schema.kind("leases"), 0).unwrap().rows.len();
        let deadline = Instant::now() + Duration::from_mins(1);
        while published() < got.len() && Instant::now() < deadline {
            thread::yield_now();
        }
        stop.store(true, Ordering::Release);
        for agent in agents {
            agent.join().unwrap();
        }
        assert_eq!(published(), got.len());
        let count = got.len();
        got.sort_unstable();
        got.dedup();
        assert_eq!((got.len(), count), (2 * THREADS * EACH, 2 * THREADS * EACH));
    }

    #[test]
    fn who_waits_in_vain_is_told_what_for() {
        let dir = TempDir::new("agent-vain");
        let shared = node("n1", &dir);
        let error = shared
            .acquire(&ask("c1"), Duration::from_millis(20))
            .unwrap_err();
        assert!(error.is_retriable());
        let text = error.to_string();
        assert!(
            text.contains("ms: the cluster's store has not answered since the start; try again"),
            "{text}"
        );
    }
}
