//! The leak collector: attachments of this node whose container cannot be alive any more. The facts are
//! the boot the attachment was made in, and its namespace: nothing at its path or another one, and its
//! port gone with it. What is seen twice, far enough apart, is detached as DEL would, with the evidence
//! in the log and in the audit.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bulkhead_cni::{CniError, Verb};
use bulkhead_ipam::wire::admin::EventKind;
use bulkhead_ipam::{AttachmentRecord, Snapshot, StaleReason};
use bulkhead_model::AttachmentId;

use super::port;
use crate::events::of_record;
use crate::host::Here;
use crate::kind;
use crate::metrics::ReasonLabels;
use crate::node::Node;
use crate::workers::{Worker, Workers};

/// How long to wait for a moment without calls before a leak is left to the next round.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// A dead attachment.
#[derive(Clone, Debug)]
pub(crate) struct Dead {
    pub(crate) record: AttachmentRecord,
    pub(crate) reason: StaleReason,
    /// What was seen, in words.
    pub(crate) evidence: String,
}

/// Who was seen dead, and since when. A lease is known by its number: the next one of the same
/// attachment is another.
#[derive(Debug, Default)]
pub(super) struct Suspects(HashMap<(AttachmentId, u64), Instant>);

impl Suspects {
    /// Looks, and reclaims what was seen dead before.
    pub(super) fn look(&mut self, node: &Arc<Node>, workers: &Arc<Workers>) {
        let (dead, failures) = dead(node);
        for failure in failures {
            node.failed("dead containers were not looked for", &failure);
        }
        let now = Instant::now();
        let grace = node.config().collector.grace;
        let seen: Vec<_> = dead.iter().map(name).collect();
        self.0.retain(|known, _| seen.contains(known));
        for dead in dead {
            let since = *self.0.entry(name(&dead)).or_insert(now);
            if now.duration_since(since) >= grace {
                let (at, by) = (Arc::clone(node), move |worker: &mut Worker, node: &Node| {
                    reclaim(node, worker, &dead, "collector")
                });
                workers.run(move |worker| by(worker, &at));
            }
        }
    }
}

fn name(dead: &Dead) -> (AttachmentId, u64) {
    (dead.record.id(), dead.record.sequence)
}

/// Every dead attachment of the node, and what could not be read.
pub(crate) fn dead(node: &Node) -> (Vec<Dead>, Vec<String>) {
    let (mut all, mut failures) = (Vec::new(), Vec::new());
    let networks = node.state.networks().unwrap_or_else(|error| {
        failures.push(crate::told::chain(&error));
        Vec::new()
    });
    for network in networks {
        let known = node.state.network(&network).read();
        let found = known.and_then(|known| known.map_or(Ok(Vec::new()), |known| dead_in(&known)));
        match found {
            Ok(found) => all.extend(found),
            Err(error) => failures.push(crate::told::chain(&error)),
        }
    }
    (all, failures)
}

fn dead_in(known: &Snapshot) -> Result<Vec<Dead>, bulkhead_ipam::StoreError> {
    let records = known.attachments()?.into_iter();
    Ok(records.filter_map(|record| judge(known, record)).collect())
}

/// Whether the facts say that an attachment is dead.
fn judge(known: &Snapshot, record: AttachmentRecord) -> Option<Dead> {
    let reason = known.death(&record)?;
    let port = record.names.port.filter(|_| kind::has_objects(&record));
    let boot = || {
        format!(
            "made in an earlier boot of the machine, {:?}",
            record.boot_id
        )
    };
    let evidence = match (reason, port) {
        (StaleReason::OtherBoot, _) => boot(),
        // The path is somebody's word; the port says whether the namespace lives on without it.
        (_, Some(_)) if port::stands_of(&record) != Some(false) => return None,
        (_, Some(port)) => format!("{reason}, and port {port} with it"),
        (_, None) => reason.to_string(),
    };
    Some(Dead {
        record,
        reason,
        evidence,
    })
}

/// Detaches a dead attachment, alone, if it is still what was seen dead. Whether it was.
///
/// # Errors
/// What stands in the way, which is in the log.
pub(crate) fn reclaim(
    node: &Node,
    worker: &mut Worker,
    dead: &Dead,
    by: &str,
) -> Result<bool, CniError> {
    let reclaimed = try_reclaim(node, worker, dead, by);
    let key = &dead.record.key;
    match &reclaimed {
        Ok(true) => {
            let reason = match dead.reason {
                StaleReason::OtherBoot => "other-boot",
                StaleReason::NetnsReplaced => "netns-replaced",
                StaleReason::NetnsGone => "netns-gone",
                StaleReason::NotListed => "not-listed",
            };
            node.metrics
                .reclaimed
                .get_or_create(&ReasonLabels { reason })
                .inc();
            node.events
                .tell(|| of_record(EventKind::Reclaimed, &dead.record, dead.evidence.clone()));
            tracing::warn!(
                network = %key.network,
                container = %key.container,
                ifname = %key.interface,
                addresses = %addresses(&dead.record),
                evidence = dead.evidence,
                by,
                "reclaimed"
            );
        }
        Ok(false) => tracing::debug!(attachment = %key, "not reclaimed now, it is looked at again"),
        Err(error) => node.failed(
            &format!("attachment {key} is dead and not reclaimed"),
            error,
        ),
    }
    reclaimed
}

fn try_reclaim(node: &Node, worker: &mut Worker, dead: &Dead, by: &str) -> Result<bool, CniError> {
    let Some(_alone) = node.gate.alone(PATIENCE) else {
        return Ok(false);
    };
    let key = &dead.record.key;
    let Some(known) = node
        .state
        .network(&key.network)
        .read()
        .map_err(crate::told::failure)?
    else {
        return Ok(false);
    };
    let record = known.find(&key.id()).map_err(crate::told::failure)?;
    let Some(record) = record.filter(|record| record.sequence == dead.record.sequence) else {
        return Ok(false);
    };
    if judge(&known, record.clone()).is_none() {
        return Ok(false);
    }
    let reason = format!("{by}: {}", dead.evidence);
    detach(node, worker, &record, &reason)?;
    Ok(true)
}

/// Takes an attachment down, kernel objects first, and ends its lease. Nobody may call ADD or DEL
/// meanwhile.
///
/// # Errors
/// What stands in the way; the lease stands then.
pub(crate) fn detach(
    node: &Node,
    worker: &mut Worker,
    record: &AttachmentRecord,
    reason: &str,
) -> Result<(), CniError> {
    let key = &record.key;
    let call = match node.remembered.call(key, Verb::Del) {
        Ok(Some(call)) => call,
        // What is kept may be damaged; the record is what counts.
        _ => kind::bare_call(record)?,
    };
    let collected = kind::collect(
        &mut Here::chore(node, &mut worker.kernel),
        &call,
        record,
        reason,
    );
    worker.kernel.dismiss();
    node.identities.changed(key);
    collected?;
    node.remembered.forget(key);
    Ok(())
}

fn addresses(record: &AttachmentRecord) -> String {
    let addresses = record
        .addresses
        .iter()
        .map(|leased| leased.address.to_string());
    addresses.collect::<Vec<_>>().join(" ")
}
