//! The ports of other plugins that are guarded: their plugin works without the daemon, which ends the
//! guards of dead containers, and puts back what somebody took out of the kernel.

use std::sync::Arc;

use bulkhead_attach::{end_guard, guard_again};
use bulkhead_cni::CniError;
use bulkhead_ipam::{AttachmentRecord, Guards, StaleReason};

use super::port;
use crate::node::Node;
use crate::workers::Workers;

/// Looks at every one, each as a chore of its own.
pub(super) fn all(node: &Arc<Node>, workers: &Arc<Workers>) {
    let guards = Guards::of(node.state.path());
    let records = match guards.all() {
        Ok(records) => records,
        Err(error) => {
            let why = crate::told::chain(&error);
            return node.failed("guarded ports are not looked at", &why);
        }
    };
    for record in records {
        let (at, guards) = (Arc::clone(node), guards.clone());
        let looked = workers.run(move |_| {
            if let Err(error) = one(&at, &guards, &record) {
                let key = &record.key;
                at.failed(
                    &format!("the guard of attachment {key} is not mended"),
                    &error,
                );
            }
        });
        if looked.is_none() && node.is_stopping() {
            return;
        }
    }
}

fn one(node: &Node, guards: &Guards, record: &AttachmentRecord) -> Result<(), CniError> {
    let (key, path) = (&record.key, node.state.path());
    let death = guards.death(record).map_err(crate::told::failure)?;
    let stands = record.names.port.map(port::stands);
    match (death, stands) {
        // A namespace whose path is gone may live on; its port says so.
        (Some(StaleReason::OtherBoot), _) | (Some(_), Some(Some(false)) | None) => {
            end_guard(path, record)?;
            tracing::warn!(
                network = %key.network,
                container = %key.container,
                ifname = %key.interface,
                evidence = death.map(|death| death.to_string()),
                "ended the guard of a dead container"
            );
        }
        (None, Some(Some(true))) => {
            let done = guard_again(path, record)?;
            if !done.is_empty() {
                let done: Vec<_> = done.ops().iter().map(ToString::to_string).collect();
                tracing::warn!(
                    network = %key.network,
                    container = %key.container,
                    ifname = %key.interface,
                    plan = done.join("; "),
                    "mended the guard of a port that another plugin made"
                );
            }
        }
        // Its main plugin is at it, or nothing can be told.
        _ => {}
    }
    Ok(())
}
