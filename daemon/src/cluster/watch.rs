//! What others change in the store, told to the ledger as it happens.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use bulkhead_ipam::cluster::ledger::Ledger;
use bulkhead_ipam::cluster::{KeyRange, Revision};

use super::Cluster;

/// Stack of a thread that waits for changes, in bytes.
const STACK: usize = 256 << 10;

/// How long one waits before it looks whether it is still wanted.
const PATIENCE: Duration = Duration::from_secs(1);

/// Follows what the ledger wants followed now.
pub(super) fn follow(cluster: &Arc<Cluster>) {
    let Some(watching) = cluster.look(Ledger::watching) else {
        return;
    };
    let before = cluster.watches.swap(watching.generation, Ordering::Relaxed);
    if before == watching.generation {
        return;
    }
    for range in watching.ranges {
        let (its, generation, after) = (Arc::clone(cluster), watching.generation, watching.after);
        let thread = thread::Builder::new()
            .name("watch".to_owned())
            .stack_size(STACK);
        let spawned = thread.spawn(move || one(&its, &range, after, generation));
        if spawned.is_err() {
            cluster.tell(|ledger, _| ledger.watch_lost());
        }
    }
}

/// Follows one range, until it ends or another generation is followed.
fn one(cluster: &Cluster, range: &KeyRange, after: Revision, generation: u64) {
    let is_wanted = || cluster.watches.load(Ordering::Relaxed) == generation && !cluster.ends();
    let followed = cluster
        .backend
        .store()
        .watch(range, after)
        .and_then(|mut watch| {
            while is_wanted() {
                let events = watch.next(PATIENCE)?;
                if !events.is_empty() && is_wanted() {
                    tracing::debug!(
                        from = range.from,
                        events = events.len(),
                        "the store has changed"
                    );
                    cluster.tell(|ledger, now| ledger.observe(&events, now));
                } else if cluster.backend.is_away() && cluster.look(Ledger::relies_on_store) {
                    cluster.tell(|ledger, _| ledger.store_doubted());
                }
            }
            Ok(())
        });
    if let Err(error) = followed
        && is_wanted()
    {
        tracing::debug!(%error, from = range.from, "a watch of the store has ended, all is read anew");
        cluster.tell(|ledger, _| ledger.watch_lost());
    }
}
