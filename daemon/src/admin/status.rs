//! How the daemon is, from memory.

use std::sync::atomic::{AtomicU64, Ordering};

use bulkhead_ipam::wire::Spoken;
use bulkhead_ipam::wire::admin::{
    Condition, DaemonStatus, DriftStatus, NodeName, NodeState, NodeStatus, PublishStatus,
    SpoolStatus, Status, StoreKind, StoreStatus,
};

use crate::clock::unix_ms;
use crate::gauges::resident_kib;
use crate::node::Node;

/// All of it.
pub(super) fn status(node: &Node) -> Status {
    let metrics = &node.metrics;
    Status {
        daemon: daemon(node),
        node: itself(node),
        store: embedded(node),
        publish: PublishStatus::default(),
        spool: SpoolStatus {
            waiting: gauge(metrics.spool_waiting.get()),
            consumed: metrics.spool_consumed.get(),
        },
        drift: DriftStatus {
            examined: metrics.examined.get(),
            found: metrics.drift_found.get(),
            mended: metrics.drift_mended.get(),
            found_at_unix_ms: instant(&node.tally.drift_found_at),
            finished_at_unix_ms: instant(&node.tally.reconciled_at),
        },
        pools: Vec::new(),
        attachments: node.attachments(),
        reaping: gauge(metrics.reaping.get()),
        errors: node.failings.all(),
    }
}

fn daemon(node: &Node) -> DaemonStatus {
    let config = node.config();
    DaemonStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started_at_unix_ms: node.started_at_unix_ms,
        now_unix_ms: unix_ms(),
        socket: config.socket.clone(),
        state_dir: node.state.path().to_owned(),
        config: node.config_path.exists().then(|| node.config_path.clone()),
        config_read_at_unix_ms: instant(&node.config_read_at),
        wire: Spoken::OURS.newest,
        wire_oldest: Spoken::OURS.oldest,
        resident_kib: resident_kib(),
        ready: !node.is_stopping(),
        calls: node.tally.calls.load(Ordering::Relaxed),
        calls_failed: node.tally.calls_failed.load(Ordering::Relaxed),
    }
}

fn itself(node: &Node) -> NodeStatus {
    NodeStatus {
        name: NodeName {
            id: node.state.node_id().unwrap_or_default(),
            name: node.cluster.name.clone(),
        },
        epoch: 0,
        state: NodeState::Unknown,
        addresses: Vec::new(),
        blocks: 0,
    }
}

fn embedded(node: &Node) -> StoreStatus {
    StoreStatus {
        kind: StoreKind::Embedded,
        description: format!("embedded store {}", node.state.path().display()),
        condition: Condition::Healthy,
        why: None,
        since_unix_ms: Some(node.started_at_unix_ms),
        answered_at_unix_ms: None,
        cluster: None,
        schema: None,
        revision: 0,
        latency_us: None,
        watch_behind: 0,
        certificate_expires_at_unix_ms: None,
        endpoints: Vec::new(),
    }
}

/// An instant that may not have come yet.
fn instant(at: &AtomicU64) -> Option<u64> {
    Some(at.load(Ordering::Relaxed)).filter(|at| *at > 0)
}

fn gauge(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
