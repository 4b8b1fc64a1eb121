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

/// What was seen of the spool's file last.
#[derive(Debug, Default)]
pub(super) struct Seen {
    file: Option<(SystemTime, u64)>,
    failed: Option<Instant>,
}

impl Seen {
    /// Takes in what has come since.
    pub(super) fn look(&mut self, node: &Arc<Node>, workers: &Arc<Workers>) {
        let file = fs::metadata(node.state.path().join("spool/journal")).ok();
        let file = file.and_then(|file| Some((file.modified().ok()?, file.len())));
        let again = self.failed.is_some_and(|at| at.elapsed() >= AGAIN);
        if file == self.file && !again {
            return;
        }
        let done = consume(node, workers);
        self.failed = (!done).then(Instant::now);
        let file = fs::metadata(node.state.path().join("spool/journal")).ok();
        self.file = file.and_then(|file| Some((file.modified().ok()?, file.len())));
    }
}

/// Takes in every tombstone; whether nothing is left to be tried again.
pub(super) fn consume(node: &Arc<Node>, workers: &Arc<Workers>) -> bool {
    if !node.state.path().join("spool/journal").exists() {
        return true;
    }
    let (at, chore) = (Arc::clone(node), |worker: &mut Worker, node: &Node| {
        all(node, worker)
    });
    match workers.run(move |worker| chore(worker, &at)) {
        Some(Ok(0)) => true,
        Some(Ok(left)) => {
            node.metrics
                .spool_waiting
                .set(i64::try_from(left).unwrap_or(i64::MAX));
            false
        }
        Some(Err(error)) => {
            node.failed(
                "the spool cannot be read: detachments without the daemon are not taken in",
                &error,
            );
            false
        }
        None => false,
    }
}

/// How many could not be taken in.
fn all(node: &Node, worker: &mut Worker) -> Result<usize, CniError> {
    let spool = node.state.spool().map_err(crate::told::failure)?;
    let tombstones = spool.tombstones().map_err(crate::told::failure)?;
    if tombstones.is_empty() {
        return Ok(0);
    }
    let mut left = 0;
    for tombstone in &tombstones {
        let key = &tombstone.key;
        match one(node, worker, tombstone) {
            Ok(outcome) => tracing::info!(
                network = %key.network,
                container = %key.container,
                ifname = %key.interface,
                detached_at_unix_ms = tombstone.detached_at_unix_ms,
                outcome,
                "took in a detachment made without the daemon"
            ),
            Err(error) => {
                left += 1;
                node.failed(&format!("the detachment of {key} is not taken in"), &error);
            }
        }
    }
    let consumed = tombstones.len() - left;
    if left == 0 {
        // Only then: each is taken in as often as it stands there.
        spool.clear().map_err(crate::told::failure)?;
        node.metrics
            .spool_consumed
            .inc_by(u64::try_from(consumed).unwrap_or(u64::MAX));
        node.metrics.spool_waiting.set(0);
    }
    Ok(left)
}

/// What became of one, in a word.
fn one(node: &Node, worker: &mut Worker, tombstone: &Tombstone) -> Result<&'static str, CniError> {
    let key = &tombstone.key;
    let _pass = node.gate.pass();
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
    collected?;
    node.remembered.forget(key);
    Ok("released")
}

/// Whether the lease is the one that was detached. A plugin that could not read the record does not know
/// its number; then the port tells: it took that down, and whoever attached anew has made another.
fn is_meant(tombstone: &Tombstone, record: &AttachmentRecord) -> bool {
    let port_is_gone = || {
        let port = record.names.port;
        port.is_none_or(|port| port::stands(port) == Some(false))
    };
    match tombstone.sequence {
        Some(sequence) => sequence == record.sequence,
        None => port_is_gone(),
    }
}
