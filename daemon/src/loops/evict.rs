//! Attachments whose addresses are no longer this node's: it was declared lost, and has come back. They
//! are detached before anybody else may have the address here, and it is said.

use std::sync::Arc;
use std::time::Duration;

use bulkhead_cni::{CniError, Verb};
use bulkhead_ipam::cluster::ledger::Evicted;
use bulkhead_ipam::wire::admin::EventKind;

use crate::events::of_attachment;
use crate::host::Here;
use crate::kind;
use crate::node::Node;
use crate::workers::{Worker, Workers};

/// How long to wait for a moment without calls before it is left to the next round.
const PATIENCE: Duration = Duration::from_secs(2);

/// Detaches every one.
pub(super) fn all(node: &Arc<Node>, workers: &Arc<Workers>) {
    for evicted in node.cluster.evicted() {
        let at = Arc::clone(node);
        workers.run(move |worker: &mut Worker| {
            let key = evicted.key.clone();
            match one(&at, worker, &evicted) {
                Ok(true) => tell(&at, &evicted),
                Ok(false) => {}
                Err(error) => at.failed(
                    &format!(
                        "attachment {key} is not detached, and its address is no longer this node's"
                    ),
                    &error,
                ),
            }
        });
    }
}

fn tell(node: &Node, evicted: &Evicted) {
    let key = &evicted.key;
    let reason = &evicted.reason;
    tracing::error!(
        network = %key.network,
        container = %key.container,
        ifname = %key.interface,
        addresses = ?evicted.addresses,
        reason,
        "detached: its address is no longer this node's"
    );
    node.failings
        .note(format!("attachment {key} was detached: {reason}"));
    node.events.tell(|| {
        let addresses = evicted.addresses.clone();
        of_attachment(EventKind::Released, key, addresses, reason.clone())
    });
}

/// Whether it is detached now.
fn one(node: &Node, worker: &mut Worker, evicted: &Evicted) -> Result<bool, CniError> {
    let Some(_alone) = node.gate.alone(PATIENCE) else {
        return Ok(false);
    };
    let key = &evicted.key;
    let known = node
        .state
        .network(&key.network)
        .read()
        .map_err(crate::told::failure)?;
    let record = known.map(|known| known.find(&key.id())).transpose();
    let record = record.map_err(crate::told::failure)?.flatten();
    let Some(record) = record.filter(|record| record.sequence == evicted.sequence) else {
        // It has ended meanwhile, without the ledger.
        node.cluster.forget_evicted(evicted);
        return Ok(false);
    };
    let call = match node.remembered.call(key, Verb::Del) {
        Ok(Some(call)) => call,
        _ => kind::bare_call(&record)?,
    };
    let reason = format!("evicted: {}", evicted.reason);
    let mut host = Here::chore(node, &mut worker.kernel);
    let collected = kind::collect(&mut host, &call, &record, &reason);
    worker.kernel.dismiss();
    node.identities.changed(key);
    collected?;
    node.cluster.forget_evicted(evicted);
    node.remembered.forget(key);
    Ok(true)
}
