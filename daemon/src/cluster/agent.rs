//! Does what the ledger wants done, one thing at a time.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bulkhead_ipam::cluster::ledger::{Call, Next, Outcome};

use super::{Cluster, watch};

/// Stack of the thread, in bytes: what is read is on the heap.
const STACK: usize = 512 << 10;

/// How long to sleep if nothing is due.
const LONGEST: Duration = Duration::from_mins(1);

pub(super) fn start(cluster: &Arc<Cluster>) -> std::io::Result<()> {
    let cluster = Arc::clone(cluster);
    let thread = thread::Builder::new()
        .name("cluster".to_owned())
        .stack_size(STACK);
    thread.spawn(move || go_on(&cluster)).map(drop)
}

fn go_on(cluster: &Arc<Cluster>) {
    while !cluster.ends() {
        watch::follow(cluster);
        if let Some(call) = next(cluster) {
            carry_out(cluster, call);
        }
    }
}

/// The next call, or nothing after a wait for one.
fn next(cluster: &Cluster) -> Option<Call> {
    let mut ledger = cluster.ledger();
    let now = cluster.now();
    let asks = ledger.open_asks();
    let next = ledger.next(now);
    // Some are answered by what memory has already, and no call of theirs is news.
    if ledger.open_asks() != asks {
        cluster.news.notify_all();
    }
    let until_ms = match next {
        Next::Call(call) => return Some(call),
        Next::Idle { until_ms } => until_ms,
    };
    if cluster.ends() {
        return None;
    }
    let left = until_ms.map(|until| until.saturating_sub(now.since_boot_ms));
    let wait = left.map_or(LONGEST, Duration::from_millis).min(LONGEST);
    // Waking up for nothing only asks again.
    drop(cluster.work.wait_timeout(ledger, wait));
    None
}

/// Makes a call and those that follow from it.
fn carry_out(cluster: &Cluster, first: Call) {
    let mut call = Some(first);
    while let Some(next) = call {
        let outcome = made(cluster, next);
        call = cluster.ledger().done(outcome, cluster.now());
        cluster.news.notify_all();
    }
}

fn made(cluster: &Cluster, call: Call) -> Outcome {
    let store = cluster.backend.store();
    tracing::trace!(?call, "for the ledger");
    let began = Instant::now();
    match call {
        Call::Save(file) => {
            let saved = file.save(cluster.state.path());
            Outcome::Saved(saved.map_err(|error| crate::told::chain(&error)))
        }
        Call::Read(ranges) => {
            let read: Result<Vec<_>, _> =
                ranges.iter().map(|range| store.range(range, 0)).collect();
            cluster
                .health
                .answered(began.elapsed(), read.as_ref().err());
            Outcome::Read(read)
        }
        Call::Commit(txn) => {
            let committed = store.commit(&txn);
            cluster
                .health
                .answered(began.elapsed(), committed.as_ref().err());
            Outcome::Committed(committed)
        }
    }
}
