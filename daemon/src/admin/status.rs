//! How the daemon is, from memory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bulkhead_ipam::cluster::schema::SCHEMA;
use bulkhead_ipam::wire::Spoken;
use bulkhead_ipam::wire::admin::{
    Condition, DaemonStatus, DriftStatus, EndpointHealth, Failing, IdentityStatus, NodeName,
    NodeState, NodeStatus, PoolUsage, PublishStatus, SpoolStatus, Status, StoreKind, StoreStatus,
};
use bulkhead_ipam_etcd::EndpointState;

use crate::clock::{millis, unix_ms};
use crate::cluster::Backend;
use crate::gauges::resident_kib;
use crate::node::Node;

/// Errors that are told.
const MOST_ERRORS: usize = 20;

/// All of it.
pub(super) fn status(node: &Node) -> Status {
    let metrics = &node.metrics;
    Status {
        daemon: daemon(node),
        node: itself(node),
        store: store(node),
        publish: publish(node),
        identities: identities(node),
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
        pools: pools(node),
        attachments: node.attachments(),
        reaping: gauge(metrics.reaping.get()),
        errors: errors(node),
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
    let cluster = &node.cluster;
    let (epoch, blocks) = cluster.look(|ledger| {
        let blocks = ledger.pools().map(|pool| ledger.usage(pool).blocks).sum();
        (ledger.epoch(), blocks)
    });
    NodeStatus {
        name: NodeName {
            id: cluster.node.to_string(),
            name: cluster.name.clone(),
        },
        epoch,
        state: if epoch > 0 {
            NodeState::Active
        } else {
            NodeState::Unknown
        },
        addresses: cluster.addresses.clone(),
        blocks,
    }
}

fn store(node: &Node) -> StoreStatus {
    let cluster = &node.cluster;
    let seen = cluster.health.seen();
    let (kind, endpoints) = match &cluster.backend {
        Backend::Embedded(_) => (StoreKind::Embedded, Vec::new()),
        Backend::Etcd(etcd) => {
            let members = etcd.health().into_iter().map(endpoint);
            (StoreKind::Etcd, members.collect())
        }
    };
    let degraded = seen.serves()
        && endpoints
            .iter()
            .any(|one: &EndpointHealth| one.why.is_some());
    let id = cluster.look(|ledger| ledger.cluster().to_owned());
    StoreStatus {
        kind,
        description: cluster.backend.store().describe(),
        condition: if degraded {
            Condition::Degraded
        } else {
            seen.condition
        },
        why: seen.why.clone(),
        since_unix_ms: Some(seen.since_unix_ms),
        answered_at_unix_ms: seen.answered_at_unix_ms,
        cluster: Some(id).filter(|id| !id.is_empty()),
        schema: Some(SCHEMA),
        revision: 0,
        latency_us: seen.latency().map(micros),
        watch_behind: 0,
        certificate_expires_at_unix_ms: None,
        endpoints,
    }
}

fn endpoint(member: bulkhead_ipam_etcd::EndpointHealth) -> EndpointHealth {
    let condition = match member.state {
        EndpointState::Untried => Condition::Unknown,
        EndpointState::Serving => Condition::Healthy,
        EndpointState::Ejected => Condition::Unreachable,
    };
    EndpointHealth {
        url: member.endpoint,
        condition,
        why: member
            .last_error
            .filter(|_| condition != Condition::Healthy),
        answered_at_unix_ms: None,
        latency_us: member.latency.map(micros),
        in_use: member.preferred,
        version: member.version,
    }
}

fn publish(node: &Node) -> PublishStatus {
    let (waiting, since_ms, exact) = node.cluster.look(|ledger| {
        let (waiting, since_ms) = ledger.unpublished();
        (waiting, since_ms, ledger.is_synced())
    });
    let now_ms = node.state.boot().now().since_boot_ms;
    PublishStatus {
        waiting: waiting as u64,
        lag_ms: since_ms.map_or(0, |since| now_ms.saturating_sub(since)),
        exact,
    }
}

fn identities(node: &Node) -> IdentityStatus {
    let publishing = node.identities.publishing();
    IdentityStatus {
        published: publishing.standing as u64,
        waiting: publishing.waiting as u64,
        oldest_ms: millis(publishing.oldest),
        p50_us: publishing.p50.map(micros),
        p99_us: publishing.p99.map(micros),
        revision: node.identities.mark().policies,
        enforced: node.identities.enforced(),
    }
}

fn pools(node: &Node) -> Vec<PoolUsage> {
    node.cluster.look(|ledger| {
        let own = ledger.pools().map(|pool| (pool, ledger.usage(pool)));
        let own = own.filter(|(_, usage)| usage.blocks > 0);
        let listed = own.map(|(pool, usage)| PoolUsage {
            pool: pool.to_string(),
            size: usage.owned,
            claimed: usage.owned,
            held: usage.used,
            cooling: usage.cooling,
            reserved: usage.reserved,
            free: usage.free,
            borrowed: usage.borrowed,
            leaked: usage.leaked,
            blocks: usage.blocks,
        });
        listed.collect()
    })
}

/// The last things that went wrong, and what the ledger says somebody has to see to.
fn errors(node: &Node) -> Vec<Failing> {
    let troubles = node
        .cluster
        .look(bulkhead_ipam::cluster::ledger::Ledger::troubles);
    let unread = node.identities.unread();
    let lasting = troubles.into_iter().chain(unread).map(|text| Failing {
        at_unix_ms: unix_ms(),
        times: 1,
        text,
    });
    lasting
        .chain(node.failings.all())
        .take(MOST_ERRORS)
        .collect()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// An instant that may not have come yet.
fn instant(at: &AtomicU64) -> Option<u64> {
    Some(at.load(Ordering::Relaxed)).filter(|at| *at > 0)
}

fn gauge(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
