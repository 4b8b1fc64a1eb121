//! Every attachment is compared with its want now and then, by the same planner that made it, and mended
//! where it differs.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use bulkhead_attach::Policies;
use bulkhead_cni::{CniError, Verb};
use bulkhead_ipam::AttachmentRecord;
use bulkhead_ipam::wire::admin::EventKind;
use bulkhead_model::AttachmentKey;

use crate::clock::unix_ms;
use crate::events::of_record;
use crate::kind;
use crate::node::Node;
use crate::workers::Workers;

/// How long to wait for a moment without calls before drift is left to the next round.
const PATIENCE: Duration = Duration::from_secs(2);

/// More than the time of a file may lag behind the clock (a tick of the kernel).
const LAG_OF_FILES: Duration = Duration::from_secs(1);

/// What is the case with an attachment, or was.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// It is as it should be.
    Sound,
    /// It was not, and is now; what was done.
    Mended(Vec<String>),
    /// It is not, and calls went on all the time.
    Busy,
    /// It is recorded no more.
    Gone,
    /// Its container is dead.
    Dead,
    /// Nothing is known of what it should be: it was made without the daemon, or by another plugin.
    Unknown,
}

/// Looks at every attachment, each as a chore of its own: calls go first.
pub(super) fn all(node: &Arc<Node>, workers: &Arc<Workers>) {
    let listed = SystemTime::now() - LAG_OF_FILES;
    let keys = match keys(node) {
        Ok(keys) => keys,
        Err(error) => return node.failed("attachments cannot be compared with their want", &error),
    };
    for key in &keys {
        let (at, key) = (Arc::clone(node), key.clone());
        if workers.run(move |_| one(&at, &key)).is_none() && node.is_stopping() {
            return;
        }
    }
    node.tally.reconciled_at.store(unix_ms(), Ordering::Relaxed);
    let known: HashSet<_> = keys.iter().map(AttachmentKey::id).collect();
    if let Err(error) = node.remembered.prune(&known, listed) {
        node.failed(
            "calls of attachments that are no more are not forgotten",
            &error,
        );
    }
}

fn keys(node: &Node) -> Result<Vec<AttachmentKey>, CniError> {
    let mut keys = Vec::new();
    for network in node.state.networks().map_err(crate::told::failure)? {
        if let Some(known) = node
            .state
            .network(&network)
            .read()
            .map_err(crate::told::failure)?
        {
            let records = known.attachments().map_err(crate::told::failure)?;
            keys.extend(records.into_iter().map(|record| record.key));
        }
    }
    Ok(keys)
}

fn one(node: &Node, key: &AttachmentKey) {
    match mend(node, key) {
        Ok(Verdict::Mended(plan)) => tracing::warn!(
            network = %key.network,
            container = %key.container,
            ifname = %key.interface,
            plan = plan.join("; "),
            "mended"
        ),
        Ok(_) => {}
        Err(error) => node.failed(&format!("attachment {key} is not mended"), &error),
    }
}

/// Compares one attachment with its want, and mends it alone.
///
/// # Errors
/// What cannot be read or mended.
pub(crate) fn mend(node: &Node, key: &AttachmentKey) -> Result<Verdict, CniError> {
    let (record, call) = match look(node, key)? {
        Ok(found) => found,
        Err(verdict) => return Ok(verdict),
    };
    node.metrics.examined.inc();
    // What is half made is no drift: it is looked at again when nobody is at it.
    if kind::is_sound(&call, &node.state, &record).is_ok_and(|sound| sound) {
        return Ok(Verdict::Sound);
    }
    let Some(_alone) = node.gate.alone(PATIENCE) else {
        return Ok(Verdict::Busy);
    };
    let (record, call) = match look(node, key)? {
        Ok(found) => found,
        Err(verdict) => return Ok(verdict),
    };
    if kind::is_sound(&call, &node.state, &record)? {
        return Ok(Verdict::Sound);
    }
    node.metrics.drift_found.inc();
    node.tally
        .drift_found_at
        .store(unix_ms(), Ordering::Relaxed);
    node.events
        .tell(|| of_record(EventKind::Drift, &record, String::new()));
    // A DEL that has failed may have taken its policies away with its link, which does not come back without them.
    node.policy.admit(&record)?;
    let plan = kind::repair(&call, &node.state, &record)?;
    let plan: Vec<String> = plan.ops().iter().map(ToString::to_string).collect();
    node.metrics.drift_mended.inc();
    node.events
        .tell(|| of_record(EventKind::Mended, &record, plan.join("; ")));
    Ok(Verdict::Mended(plan))
}

/// The record and the call that made it, or why there is nothing to compare.
fn look(
    node: &Node,
    key: &AttachmentKey,
) -> Result<Result<(AttachmentRecord, bulkhead_cni::Call), Verdict>, CniError> {
    let Some(known) = node
        .state
        .network(&key.network)
        .read()
        .map_err(crate::told::failure)?
    else {
        return Ok(Err(Verdict::Gone));
    };
    let Some(record) = known.find(&key.id()).map_err(crate::told::failure)? else {
        return Ok(Err(Verdict::Gone));
    };
    if known.death(&record).is_some() {
        return Ok(Err(Verdict::Dead));
    }
    if !kind::has_objects(&record) {
        return Ok(Err(Verdict::Unknown));
    }
    let call = node.remembered.call(key, Verb::Add)?;
    Ok(call.map(|call| (record, call)).ok_or(Verdict::Unknown))
}
