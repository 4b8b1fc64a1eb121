//! What the daemon does of itself, again and again, on one thread: take in the detachments made without
//! it, reclaim what dead containers left, compare every attachment with its want, forget old history.
//! What touches the kernel or a network's journal is a chore for a worker. Nothing is written where
//! nothing is wrong.

mod collect;
mod evict;
mod flows;
mod guards;
mod history;
mod port;
mod reconcile;
mod spool;
mod watchdog;

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::node::Node;
use crate::workers::{NoThread, Workers};

pub(crate) use collect::{Dead, PATIENCE, dead, detach, reclaim};
pub(crate) use port::{index_of, name_of, stands_in, stands_of};
pub(crate) use reconcile::{Verdict, mend};

/// Stack of the thread, in bytes.
const STACK: usize = 512 << 10;

/// How often the spool is looked at, which is one `stat(2)`, and what the ledger wants detached.
const SPOOL: Duration = Duration::from_secs(1);

/// How often history is trimmed.
const HISTORY: Duration = Duration::from_hours(1);

/// The thread.
pub(crate) struct Loops {
    stop: mpsc::Sender<()>,
}

/// Something that is done again and again.
struct Loop {
    run: fn(&mut State, &Arc<Node>, &Arc<Workers>),
    /// How often; `None` for not at all. Asked anew each time: the configuration may have changed.
    interval: fn(&Node) -> Option<Duration>,
    next: Instant,
}

/// What loops remember from one time to the next.
#[derive(Default)]
struct State {
    suspects: collect::Suspects,
    spool: spool::Seen,
}

impl Loops {
    /// Starts the thread. Its first round comes at once.
    pub(crate) fn start(node: &Arc<Node>, workers: &Arc<Workers>) -> Result<Self, NoThread> {
        let (stop, stopped) = mpsc::channel();
        let (its_node, its_workers) = (Arc::clone(node), Arc::clone(workers));
        let thread = thread::Builder::new()
            .name("loops".to_owned())
            .stack_size(STACK);
        let run = move || go_on(&its_node, &its_workers, &stopped);
        thread.spawn(run).map_err(NoThread)?;
        watchdog::start(Arc::clone(workers), node).map_err(NoThread)?;
        Ok(Self { stop })
    }

    /// Begins nothing more.
    pub(crate) fn stop(&self) {
        let _ = self.stop.send(());
    }
}

/// Ends what an earlier daemon had begun to delete.
pub(crate) fn sweep(node: &Arc<Node>, workers: &Arc<Workers>) {
    let reaper = node.reaper.clone();
    match workers.run(move |_| reaper.sweep()) {
        Some(Err(error)) => {
            let why = crate::told::chain(&error);
            node.failed(
                "links that an earlier daemon was deleting are not deleted",
                &why,
            );
        }
        Some(Ok(links)) if !links.is_empty() => {
            tracing::info!(?links, "deleted what an earlier daemon was deleting");
        }
        _ => {}
    }
}

/// Takes in what was detached before the daemon started, before anybody is served.
pub(crate) fn consume_spool(node: &Arc<Node>, workers: &Arc<Workers>) {
    spool::consume(node, workers);
}

fn go_on(node: &Arc<Node>, workers: &Arc<Workers>, stopped: &mpsc::Receiver<()>) {
    let now = Instant::now();
    let mut state = State::default();
    let mut loops = [
        Loop {
            run: |state, node, workers| state.spool.look(node, workers),
            interval: |_| Some(SPOOL),
            next: now,
        },
        Loop {
            run: |state, node, workers| state.suspects.look(node, workers),
            interval: |node| node.config().collector.interval,
            next: now,
        },
        Loop {
            run: |_, node, workers| {
                reconcile::all(node, workers);
                guards::all(node, workers);
                crate::advertise::follow_all(node);
            },
            interval: |node| node.config().reconcile,
            next: now,
        },
        Loop {
            run: |_, node, workers| evict::all(node, workers),
            interval: |_| Some(SPOOL),
            next: now,
        },
        Loop {
            run: |_, node, workers| flows::look(node, workers),
            interval: |node| node.config().flows,
            next: now,
        },
        Loop {
            run: |_, node, _| history::trim(node),
            interval: |_| Some(HISTORY),
            next: now,
        },
    ];
    loop {
        for one in &mut loops {
            let interval = (one.interval)(node);
            if let Some(interval) = interval
                && Instant::now() >= one.next
            {
                one.next = Instant::now() + interval;
                (one.run)(&mut state, node, workers);
            }
        }
        // Every loop's interval may be shortened meanwhile; the spool's is shorter than any.
        match stopped.recv_timeout(SPOOL) {
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            _ => return,
        }
    }
}
