//! Following the store: each kind of rows is read whole and then watched; a watch that ends is begun anew
//! the same way.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bulkhead_ipam::cluster::KvError;

use super::mirror::KINDS;
use super::{Overlays, spawn};
use crate::node::Node;

/// How long a watch is waited for before it is looked whether it is still wanted.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long to wait after the store has failed.
const PAUSE: Duration = Duration::from_millis(500);

pub(super) fn start(node: &Arc<Node>) -> std::io::Result<()> {
    for kind in KINDS {
        let node = Arc::clone(node);
        spawn("overlay-store", move || go_on(&node.overlays, kind))?;
    }
    Ok(())
}

fn go_on(overlays: &Overlays, kind: &'static str) {
    while !overlays.ends() {
        if let Err(error) = follow(overlays, kind) {
            tracing::debug!(%error, kind, "what nodes have together is read anew");
            thread::sleep(PAUSE);
        }
    }
}

fn follow(overlays: &Overlays, kind: &'static str) -> Result<(), KvError> {
    let (store, schema) = (overlays.cluster.backend.store(), &overlays.cluster.schema);
    let range = schema.kind(kind);
    let listing = store.range(&range, 0)?;
    overlays.tell(|state| {
        state.mirror.list(schema, kind, &listing.rows);
        if state.mirror.is_complete() {
            state.memory = None;
        }
    });
    let mut watch = store.watch(&range, listing.revision)?;
    while !overlays.ends() {
        let events = watch.next(PATIENCE)?;
        if !events.is_empty() {
            overlays.tell(|state| state.mirror.observe(schema, &events));
        }
    }
    Ok(())
}
