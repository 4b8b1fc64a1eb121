//! What is read anew whenever somebody reads the metrics.

use std::fs;
use std::sync::PoisonError;

use bulkhead_ipam::cluster::ledger::{Counters, Ledger, PoolUsage};
use bulkhead_kernel::{Deletion, Kernel};
use bulkhead_plan::{Ns, Reason, filter_table, segment_table};

use crate::cluster::Backend;
use crate::metrics::{
    EndpointLabels, NetworkLabels, OutcomeLabels, PoolLabels, ReasonLabels, raise, set,
};
use crate::node::Node;

/// Sets every gauge to what is.
pub(crate) fn refresh(node: &Node) {
    let metrics = &node.metrics;
    metrics.attachments.set(signed(node.attachments()));
    metrics.resident.set(signed(resident_kib() * 1024));
    metrics.reaping.set(signed(node.reaper.backlog() as u64));
    networks(node);
    pools(node);
    store(node);
    guard(node);
    overlays(node);
    identities(node);
}

/// What is known of endpoints and policies, and told.
fn identities(node: &Node) {
    let (metrics, identities) = (&node.metrics, &node.identities);
    let waiting = identities.publishing().waiting;
    metrics.endpoints_waiting.set(signed(waiting as u64));
    metrics.policy_known.set(signed(identities.mark().policies));
    let enforced = identities.enforced().unwrap_or_default();
    metrics.policy_enforced.set(signed(enforced));
}

/// What networks that nodes have together lead to.
fn overlays(node: &Node) {
    let metric = &node.metrics.overlay_peers;
    metric.clear();
    for (network, peers) in node.overlays.peers() {
        let labels = NetworkLabels {
            network: network.to_string(),
        };
        set(metric, &labels, peers as u64);
    }
}

/// What the kernel has counted since the filter's tables were loaded: the node's, and those of namespaces that
/// networks have for themselves. One that was loaded anew counts from 0 again, as after a restart.
fn guard(node: &Node) {
    let mut kernel = Kernel::new(Deletion::Blocking);
    let mut seen = node
        .guard_drops
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let mut spaces = node.overlays.spaces();
    spaces.insert(Ns::Host);
    seen.retain(|ns, _| spaces.contains(ns));
    for ns in spaces {
        let last = seen.entry(ns.clone()).or_default();
        for (reason, last) in Reason::ALL.into_iter().zip(last) {
            let Some(now) = dropped(&mut kernel, &ns, reason) else {
                break;
            };
            let since = if now < *last { now } else { now - *last };
            *last = now;
            let labels = ReasonLabels {
                reason: reason.word(),
            };
            let drops = &node.metrics.guard_drops;
            drops.get_or_create(&labels).inc_by(since);
        }
    }
}

/// Packets that were dropped for a reason in a namespace; `None` if the kernel does not say. What leads to a
/// bridge from outside is counted beside what ports send.
fn dropped(kernel: &mut Kernel, ns: &Ns, reason: Reason) -> Option<u64> {
    let outside = (reason == Reason::Dead).then(segment_table);
    let mut packets = 0;
    for table in std::iter::once(filter_table()).chain(outside) {
        let counts = kernel.rule_counts(ns, &table, &reason.chain()).ok()?;
        let counted = counts.iter().flatten().map(|count| count.packets);
        packets += counted.sum::<u64>();
    }
    Some(packets)
}

/// Ranges that networks have of their own.
fn networks(node: &Node) {
    for network in node.state.networks().unwrap_or_default() {
        let known = node.state.network(&network).read().ok().flatten();
        let usage = known.and_then(|known| known.usage().ok());
        for used in usage.into_iter().flatten() {
            let pool = format!("{network}/{}", used.set);
            let free = u64::try_from(used.free).unwrap_or(u64::MAX);
            let states = [
                ("held", used.held),
                ("cooling", used.cooling),
                ("free", free),
            ];
            addresses(node, &pool, &states);
        }
    }
}

/// The node's share of the cluster's pools.
fn pools(node: &Node) {
    let usages = node.cluster.look(|ledger: &Ledger| {
        let pools = ledger
            .pools()
            .map(|pool| (pool.to_string(), ledger.usage(pool)));
        pools.collect::<Vec<(String, PoolUsage)>>()
    });
    for (pool, usage) in usages {
        let states = [
            ("held", usage.used),
            ("cooling", usage.cooling),
            ("free", usage.free),
            ("reserved", usage.reserved),
            ("borrowed", usage.borrowed),
            ("leaked", usage.leaked),
        ];
        addresses(node, &pool, &states);
        let state = "claimed";
        set(
            &node.metrics.blocks,
            &PoolLabels { pool, state },
            usage.blocks,
        );
    }
}

fn addresses(node: &Node, pool: &str, states: &[(&'static str, u64)]) {
    for (state, value) in states {
        let (pool, state) = (pool.to_owned(), *state);
        set(&node.metrics.addresses, &PoolLabels { pool, state }, *value);
    }
}

/// What nodes agree in, and what of this node it has not heard of.
fn store(node: &Node) {
    let metrics = &node.metrics;
    let seen = node.cluster.health.seen();
    metrics.store_up.set(i64::from(seen.serves()));
    let (counters, (waiting, since_ms)) = node
        .cluster
        .look(|ledger| (ledger.counters(), ledger.unpublished()));
    let now_ms = node.state.boot().now().since_boot_ms;
    let lag_ms = since_ms.map_or(0, |since| now_ms.saturating_sub(since));
    metrics.unpublished.set(signed(waiting as u64));
    metrics.publish_lag.set(seconds(lag_ms));
    claims(node, &counters);
    if let Backend::Etcd(etcd) = &node.cluster.backend {
        for member in etcd.health() {
            let labels = EndpointLabels {
                endpoint: member.endpoint,
            };
            let up = member.state == bulkhead_ipam_etcd::EndpointState::Serving;
            set(&metrics.endpoint_up, &labels, u64::from(up));
            set(
                &metrics.endpoint_failures,
                &labels,
                u64::from(member.failures),
            );
            let latency = member.latency.unwrap_or_default().as_secs_f64();
            metrics.endpoint_seconds.get_or_create(&labels).set(latency);
        }
    }
}

fn claims(node: &Node, counters: &Counters) {
    let outcomes = [
        ("claimed", counters.claims),
        ("conflict", counters.conflicts),
        ("returned", counters.returned),
        ("ceded", counters.ceded),
        ("borrowed", counters.borrowed),
    ];
    for (outcome, total) in outcomes {
        raise(&node.metrics.claims, &OutcomeLabels { outcome }, total);
    }
    raise(
        &node.metrics.transactions,
        &OutcomeLabels {
            outcome: "answered",
        },
        counters.transactions,
    );
    raise(
        &node.metrics.transactions,
        &OutcomeLabels {
            outcome: "ambiguous",
        },
        counters.ambiguous,
    );
}

/// Memory that the process occupies (`VmRSS` of proc(5)), in KiB; 0 without a `/proc`.
pub(crate) fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Milliseconds as seconds.
fn seconds(ms: u64) -> f64 {
    std::time::Duration::from_millis(ms).as_secs_f64()
}
