//! Threads of the operating system that do what needs a namespace: calls, and the loops' chores. Each
//! keeps sockets of its own. One that met a bug, or that may be left in a container's namespace, ends
//! and is replaced.

mod queue;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bulkhead_kernel::{Deletion, Kernel, Wait};

use crate::call::Call;
use crate::node::Node;
use queue::{Queue, Seat, Work};

/// Stack of a worker, in bytes: a call needs less than a quarter of it.
const STACK: usize = 512 << 10;

/// What a worker keeps warm.
pub(crate) struct Worker {
    /// Its kernel, with its sockets.
    pub(crate) kernel: Kernel,
}

/// Something that a loop has done on a worker.
pub(crate) type Chore = Box<dyn FnOnce(&mut Worker) + Send>;

/// The workers.
pub(crate) struct Workers {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Queue,
    node: Arc<Node>,
    /// Works begun since the start, for whoever wants to know that they go on.
    begun: AtomicUsize,
    /// The same, ended.
    ended: AtomicUsize,
}

/// Why there are no workers.
#[derive(Debug, thiserror::Error)]
#[error("no thread can be started, look at the limits of the process")]
pub(crate) struct NoThread(#[source] pub(crate) std::io::Error);

impl Workers {
    /// Starts as many as the configuration says.
    pub(crate) fn start(node: &Arc<Node>) -> Result<Self, NoThread> {
        let shared = Arc::new(Shared {
            queue: Queue::default(),
            node: Arc::clone(node),
            begun: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
        });
        for _ in 0..node.config().threads {
            spawn(&shared).map_err(NoThread)?;
        }
        Ok(Self { shared })
    }

    /// Has a call served; it answers its caller itself. Given back if the daemon is ending.
    pub(crate) fn call(&self, call: Box<Call>) -> Result<(), Box<Call>> {
        match self.shared.queue.enter(Work::Call(call)) {
            Err(Work::Call(call)) => Err(call),
            _ => Ok(()),
        }
    }

    /// Runs `chore` on a worker and waits for what it returns; `None` if the daemon is ending, or if it
    /// met a bug.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        chore: impl FnOnce(&mut Worker) -> T + Send + 'static,
    ) -> Option<T> {
        self.begin(chore)?.recv().ok()
    }

    /// Whether the workers live: one of them answers within `patience`, or they are all busy and get
    /// something done meanwhile, or wait for plugins that are not ours.
    pub(crate) fn answer(&self, patience: Duration) -> bool {
        let ended = self.shared.ended.load(Ordering::Relaxed);
        let Some(answer) = self.begin(|_| ()) else {
            return true;
        };
        answer.recv_timeout(patience).is_ok()
            || self.shared.ended.load(Ordering::Relaxed) != ended
            || self.shared.node.metrics.delegated.get() > 0
    }

    /// Takes nothing more in and waits for the calls in flight, until `until`. How many have not ended.
    pub(crate) fn stop(&self, until: Instant) -> usize {
        self.shared.queue.close(until)
    }

    fn begin<T: Send + 'static>(
        &self,
        chore: impl FnOnce(&mut Worker) -> T + Send + 'static,
    ) -> Option<mpsc::Receiver<T>> {
        let (done, waiting) = mpsc::sync_channel(1);
        let chore: Chore = Box::new(move |worker| {
            // Who does not wait any more does not want it.
            let _ = done.send(chore(worker));
        });
        self.shared.queue.enter(Work::Chore(chore)).ok()?;
        Some(waiting)
    }
}

fn spawn(shared: &Arc<Shared>) -> std::io::Result<()> {
    let shared = Arc::clone(shared);
    let worker = thread::Builder::new()
        .name("worker".to_owned())
        .stack_size(STACK);
    worker.spawn(move || work(&shared)).map(drop)
}

/// A worker's life.
fn work(shared: &Arc<Shared>) {
    let mut worker = Worker {
        kernel: Kernel::new(Deletion::Reaper(shared.node.reaper.clone(), Wait::Gone)),
    };
    let seat = Seat::default();
    while let Some(work) = shared.queue.take(&seat) {
        shared.begun.fetch_add(1, Ordering::Relaxed);
        let sound = match work {
            Work::Call(call) => call.serve(&shared.node, &mut worker),
            Work::Chore(chore) => {
                let done = catch_unwind(AssertUnwindSafe(|| chore(&mut worker)));
                done.map_err(|_| shared.node.met_bug("a chore")).is_ok()
            }
        };
        shared.ended.fetch_add(1, Ordering::Relaxed);
        shared.queue.ended();
        if !sound {
            replace(shared);
            return;
        }
    }
}

/// A thread that met a bug may stand in a container's namespace.
fn replace(shared: &Arc<Shared>) {
    if let Err(error) = spawn(shared) {
        let text = format!("a worker is not replaced: {error}; restart bulkheadd");
        tracing::error!(%error, "a worker is not replaced");
        shared.node.failings.note(text);
    }
}
