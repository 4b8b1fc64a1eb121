//! Detachments that plugins made while the daemon did not answer: the containers are off already, what is
//! left is the lease's end, and whatever of the kernel's objects the plugin did not know of.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bulkhead_cni::{CniError, Verb};
use bulkhead_ipam::{AttachmentRecord, Tombstone};

use super::port;
use crate::host::Here;
use crate::kind;
use crate::node::Node;
use crate::workers::{Worker, Workers};

/// How long until what failed is tried again.
const AGAIN: Duration = Duration::from_secs(30);

/// When the spool was looked at last, by its directory's own clock.
#[derive(Debug, Default)]
pub(super) struct Seen {
    changed: Option<SystemTime>,
    failed: Option<Instant>,
}

impl Seen {
    /// Takes in what has come since.
    pub(super) fn look(&mut self, node: &Arc<Node>, workers: &Arc<Workers>) {
        let changed = changed(node);
        let again = self.failed.is_some_and(|at| at.elapsed() >= AGAIN);
        if changed == self.changed && !again {
            return;
        }
        let done = consume(node, workers);
        self.failed = (!done).then(Instant::now);
        self.changed = changed;
    }
}

fn changed(node: &Node) -> Option<SystemTime> {
    let dir = fs::metadata(node.state.path().join("spool"));
    dir.and_then(|dir| dir.modified()).ok()
}

/// Takes in every tombstone; whether nothing is left to be tried again.
pub(super) fn consume(node: &Arc<Node>, workers: &Arc<Workers>) -> bool {
    if changed(node).is_none() {
        return true;
    }
    let at = Arc::clone(node);
    let left = workers.run(move |worker: &mut Worker| {
        let left = all(&at, worker);
        left.map_err(|error| at.failed("detachments without the daemon are not taken in", &error))
    });
    let Some(Ok(left)) = left else {
        return false;
    };
    node.metrics
        .spool_waiting
        .set(i64::try_from(left).unwrap_or(i64::MAX));
    left == 0
}

/// How many could not be taken in.
fn all(node: &Node, worker: &mut Worker) -> Result<usize, CniError> {
    let spool = node.state.spool().map_err(crate::told::failure)?;
    let mut left = 0;
    for tombstone in spool.tombstones().map_err(crate::told::failure)? {
        let key = &tombstone.key;
        let taken = one(node, worker, &tombstone);
        let removed = taken.and_then(|outcome| {
            spool.remove(&tombstone).map_err(crate::told::failure)?;
            Ok(outcome)
        });
        match removed {
            Ok(outcome) => {
                node.metrics.spool_consumed.inc();
                tracing::info!(
                    network = %key.network,
                    container = %key.container,
                    ifname = %key.interface,
                    detached_at_unix_ms = tombstone.detached_at_unix_ms,
                    outcome,
                    "took in a detachment made without the daemon"
                );
            }
            Err(error) => {
                left += 1;
                node.failed(&format!("the detachment of {key} is not taken in"), &error);
            }
        }
    }
    Ok(left)
}

/// What became of one, in a word.
fn one(node: &Node, worker: &mut Worker, tombstone: &Tombstone) -> Result<&'static str, CniError> {
    let key = &tombstone.key;
    let (_pass, _turn) = (node.gate.pass(), node.under_way.begin(key));
    let Some(known) = node
        .state
        .network(&key.network)
        .read()
        .map_err(crate::told::failure)?
    else {
        return Ok("unknown");
    };
    let Some(record) = known.find(&key.id()).map_err(crate::told::failure)? else {
        return Ok("ended");
    };
    if !is_meant(tombstone, &record) {
        return Ok("attached-anew");
    }
    let call = match node.remembered.call(key, Verb::Del) {
        Ok(Some(call)) => call,
        _ => kind::bare_call(&record)?,
    };
    let reason = "del without the daemon";
    let collected = kind::collect(
        &mut Here::chore(node, &mut worker.kernel),
        &call,
        &record,
        reason,
    );
    worker.kernel.dismiss();
    node.identities.changed(key);
    collected?;
    node.remembered.forget(key);
    Ok("released")
}

/// Whether the lease is the one that was detached. A plugin that saw no record took down by derived names
/// what a call of the daemon's was about to make; then the port tells: whoever attached anew has made
/// another.
fn is_meant(tombstone: &Tombstone, record: &AttachmentRecord) -> bool {
    let port_is_gone = || record.names.port.is_none() || port::stands_of(record) == Some(false);
    match tombstone.sequence {
        Some(sequence) => sequence == record.sequence,
        None => port_is_gone(),
    }
}
