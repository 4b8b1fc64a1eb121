//! A daemon that answers.

use std::fmt::Write;

use bulkhead_ipam::wire::admin::{Condition, EndpointHealth, PoolUsage, Status, StoreStatus};

use crate::node::state;
use crate::output::{count, or_dash, table, visible};
use crate::time::{ago, seconds, span};

pub(super) fn text(status: &Status, now_unix_ms: u64) -> String {
    let mut text = String::new();
    for (label, value) in fields(status, now_unix_ms) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{label:<11}  {}", visible(&value).replace('\n', " "));
    }
    if !status.store.endpoints.is_empty() {
        let endpoints = status.store.endpoints.iter();
        let rows: Vec<_> = endpoints.map(|one| endpoint(one, now_unix_ms)).collect();
        let _ = write!(text, "\n{}", table(&ENDPOINTS, &rows));
    }
    if !status.pools.is_empty() {
        let rows: Vec<_> = status.pools.iter().map(pool).collect();
        let _ = write!(text, "\n{}", table(&POOLS, &rows));
    }
    if !status.errors.is_empty() {
        let rows: Vec<_> = status
            .errors
            .iter()
            .map(|one| {
                vec![
                    seconds(one.at_unix_ms),
                    one.times.to_string(),
                    one.text.clone(),
                ]
            })
            .collect();
        let _ = write!(text, "\n{}", table(&["LAST", "TIMES", "ERROR"], &rows));
    }
    text
}

fn fields(status: &Status, now: u64) -> Vec<(&'static str, String)> {
    let daemon = &status.daemon;
    let serving = if daemon.ready {
        "serving"
    } else {
        "NOT SERVING ADD"
    };
    let config = match (&daemon.config, daemon.config_read_at_unix_ms) {
        (Some(path), Some(at)) => format!("{}, read {}", path.display(), seconds(at)),
        (Some(path), None) => path.display().to_string(),
        (None, _) => "none, all defaults".to_owned(),
    };
    vec![
        (
            "daemon",
            format!(
                "bulkheadd {}, pid {}, up {}, {} KiB, {serving}",
                daemon.version,
                daemon.pid,
                ago(daemon.started_at_unix_ms, daemon.now_unix_ms),
                daemon.resident_kib,
            ),
        ),
        ("socket", daemon.socket.display().to_string()),
        ("state dir", daemon.state_dir.display().to_string()),
        ("config", config),
        ("node", node(status)),
        ("store", store(&status.store, now)),
        ("etcd", consistency(&status.store, now)),
        ("publish", publish(status)),
        ("endpoints", endpoints(status)),
        ("policies", policies(status)),
        ("spool", spool(status)),
        ("drift", drift(status, now)),
        (
            "calls",
            format!(
                "{} served, {} answered with an error; {} attachments, {} deletions under way",
                daemon.calls, daemon.calls_failed, status.attachments, status.reaping,
            ),
        ),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .collect()
}

fn node(status: &Status) -> String {
    let node = &status.node;
    let addresses: Vec<_> = node.addresses.iter().map(ToString::to_string).collect();
    format!(
        "{} ({}), {}, epoch {}, {} blocks, {}",
        node.name.name,
        node.name.id,
        state(node.state),
        node.epoch,
        node.blocks,
        or_dash(Some(addresses.join(" "))),
    )
}

fn store(store: &StoreStatus, now: u64) -> String {
    let since = store
        .since_unix_ms
        .map_or_else(String::new, |at| format!(" for {}", ago(at, now)));
    let why = store
        .why
        .as_ref()
        .map_or_else(String::new, |why| format!(": {why}"));
    format!(
        "{}: {}{since}{why}",
        store.description,
        condition(store.condition)
    )
}

/// What only a store of several nodes has; empty for the embedded one.
fn consistency(store: &StoreStatus, now: u64) -> String {
    if store.endpoints.is_empty() {
        return String::new();
    }
    let mut said = vec![format!(
        "revision {}, {} behind",
        store.revision, store.watch_behind
    )];
    said.extend(store.latency_us.map(milliseconds));
    said.extend(
        store
            .answered_at_unix_ms
            .map(|at| format!("answered {} ago", ago(at, now))),
    );
    said.extend(store.certificate_expires_at_unix_ms.map(|at| {
        if at <= now {
            format!("CERTIFICATE EXPIRED {} ago", ago(at, now))
        } else {
            format!("certificate expires in {}", span(at - now))
        }
    }));
    said.join(", ")
}

fn publish(status: &Status) -> String {
    let publish = &status.publish;
    let exact = if publish.exact {
        "compared with the store since it was last reached"
    } else {
        "not compared with the store yet"
    };
    match publish.waiting {
        0 => format!("nothing waits; {exact}"),
        waiting => format!(
            "{waiting} rows wait, the oldest {}; {exact}",
            span(publish.lag_ms)
        ),
    }
}

/// This node's endpoints, as policies of all nodes know them.
fn endpoints(status: &Status) -> String {
    let identities = &status.identities;
    if identities.published + identities.waiting == 0 {
        return String::new();
    }
    let mut said = vec![format!("{} published", identities.published)];
    if identities.waiting > 0 {
        let oldest = span(identities.oldest_ms);
        said.push(format!("{} wait, the oldest {oldest}", identities.waiting));
    }
    said.extend(identities.p99_us.map(|p99| {
        let p50 = milliseconds(identities.p50_us.unwrap_or_default());
        format!(
            "half within {p50} of their call, 99 of 100 within {}",
            milliseconds(p99)
        )
    }));
    said.join(", ")
}

/// Empty while there are none.
fn policies(status: &Status) -> String {
    let identities = &status.identities;
    match (identities.revision, identities.enforced) {
        (0, _) => String::new(),
        (known, None) => format!("revision {known} known, none enforced"),
        (known, Some(enforced)) => format!("revision {known} known, {enforced} enforced"),
    }
}

fn spool(status: &Status) -> String {
    let spool = &status.spool;
    format!(
        "{} detachments wait, {} were taken in",
        spool.waiting, spool.consumed
    )
}

fn drift(status: &Status, now: u64) -> String {
    let drift = &status.drift;
    let when = |at: Option<u64>, what: &str| {
        at.map_or_else(String::new, |at| format!(", {what} {} ago", ago(at, now)))
    };
    format!(
        "{} of {} looks found something, {} mended{}{}",
        drift.found,
        drift.examined,
        drift.mended,
        when(drift.found_at_unix_ms, "the last"),
        when(drift.finished_at_unix_ms, "all looked at"),
    )
}

const ENDPOINTS: [&str; 6] = [
    "ENDPOINT", "STATE", "LATENCY", "ANSWERED", "VERSION", "NOTE",
];

fn endpoint(one: &EndpointHealth, now: u64) -> Vec<String> {
    let in_use = one.in_use.then(|| "in use".to_owned());
    let note: Vec<_> = in_use.into_iter().chain(one.why.clone()).collect();
    vec![
        one.url.clone(),
        condition(one.condition).to_owned(),
        or_dash(one.latency_us.map(milliseconds)),
        or_dash(
            one.answered_at_unix_ms
                .map(|at| format!("{} ago", ago(at, now))),
        ),
        or_dash(one.version.clone()),
        or_dash(Some(note.join("; "))),
    ]
}

const POOLS: [&str; 8] = [
    "POOL",
    "BLOCKS",
    "ADDRESSES",
    "HELD",
    "COOLING",
    "FREE",
    "BORROWED",
    "LEAKED",
];

fn pool(usage: &PoolUsage) -> Vec<String> {
    vec![
        usage.pool.clone(),
        usage.blocks.to_string(),
        count(usage.claimed.into()),
        usage.held.to_string(),
        usage.cooling.to_string(),
        usage.free.to_string(),
        usage.borrowed.to_string(),
        usage.leaked.to_string(),
    ]
}

fn milliseconds(us: u64) -> String {
    format!("{}.{} ms", us / 1000, us % 1000 / 100)
}

const fn condition(condition: Condition) -> &'static str {
    match condition {
        Condition::Healthy => "healthy",
        Condition::Degraded => "degraded",
        Condition::Unreachable => "unreachable",
        Condition::Denied => "refuses",
        Condition::Unknown => "not known",
    }
}

#[cfg(test)]
mod tests {
    use bulkhead_ipam::wire::admin::Status;
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_772_352_000_000;

    fn status() -> Status {
        serde_json::from_value(json!({
            "daemon": {
                "version": "0.1.0", "pid": 812, "startedAtUnixMs": NOW - 7_200_000, "nowUnixMs": NOW,
                "socket": "/run/bulkhead/bulkheadd.sock", "stateDir": "/var/lib/bulkhead",
                "config": "/etc/bulkhead/bulkheadd.toml", "configReadAtUnixMs": NOW - 1000,
                "wire": 2, "wireOldest": 1, "residentKib": 11420, "ready": true, "calls": 12001, "callsFailed": 3,
            },
            "node": {"nodeId": "b7f3", "node": "node-1", "epoch": 3, "state": "active", "addresses": ["10.0.0.1"], "blocks": 2},
            "store": {
                "kind": "etcd", "description": "etcd https://10.0.0.1:2379", "condition": "degraded",
                "why": "1 of 2 members does not answer", "sinceUnixMs": NOW - 300_000, "answeredAtUnixMs": NOW - 400,
                "revision": 8812, "latencyUs": 1234, "certificateExpiresAtUnixMs": NOW + 3_715_200_000_u64,
                "endpoints": [
                    {"url": "https://10.0.0.1:2379", "condition": "healthy", "latencyUs": 900, "answeredAtUnixMs": NOW, "inUse": true, "version": "3.5.0"},
                    {"url": "https://10.0.0.2:2379", "condition": "unreachable", "why": "connection refused"},
                ],
            },
            "publish": {"waiting": 4, "lagMs": 1500, "exact": true},
            "identities": {"published": 62, "waiting": 1, "oldestMs": 40, "p50Us": 9000, "p99Us": 61000, "revision": 7, "enforced": 6},
            "spool": {"waiting": 0, "consumed": 2},
            "drift": {"examined": 250, "found": 1, "mended": 1, "foundAtUnixMs": NOW - 60_000},
            "pools": [{"pool": "default", "size": 65, "claimed": 65, "held": 62, "cooling": 2, "reserved": 1, "free": 0, "borrowed": 1, "blocks": 2}],
            "attachments": 62,
            "errors": [{"atUnixMs": NOW - 60_000, "times": 3, "text": "etcd https://10.0.0.2:2379 cannot be reached: connection refused"}],
        }))
        .unwrap()
    }

    #[test]
    fn a_daemon_that_answers_is_told_whole() {
        assert_eq!(
            text(&status(), NOW),
            "\
daemon       bulkheadd 0.1.0, pid 812, up 2 h, 11420 KiB, serving
socket       /run/bulkhead/bulkheadd.sock
state dir    /var/lib/bulkhead
config       /etc/bulkhead/bulkheadd.toml, read 2026-03-01T07:59:59Z
node         node-1 (b7f3), active, epoch 3, 2 blocks, 10.0.0.1
store        etcd https://10.0.0.1:2379: degraded for 5 min: 1 of 2 members does not answer
etcd         revision 8812, 0 behind, 1.2 ms, answered 0 s ago, certificate expires in 43 d
publish      4 rows wait, the oldest 1 s; compared with the store since it was last reached
endpoints    62 published, 1 wait, the oldest 0 s, half within 9.0 ms of their call, 99 of 100 within 61.0 ms
policies     revision 7 known, 6 enforced
spool        0 detachments wait, 2 were taken in
drift        1 of 250 looks found something, 1 mended, the last 60 s ago
calls        12001 served, 3 answered with an error; 62 attachments, 0 deletions under way

ENDPOINT               STATE        LATENCY  ANSWERED  VERSION  NOTE
https://10.0.0.1:2379  healthy      0.9 ms   0 s ago   3.5.0    in use
https://10.0.0.2:2379  unreachable  -        -         -        connection refused

POOL     BLOCKS  ADDRESSES  HELD  COOLING  FREE  BORROWED  LEAKED
default  2       65         62    2        0     1         0

LAST                  TIMES  ERROR
2026-03-01T07:59:00Z  3      etcd https://10.0.0.2:2379 cannot be reached: connection refused
"
        );
    }

    #[test]
    fn what_expired_or_does_not_serve_stands_out() {
        let mut status = status();
        status.store.certificate_expires_at_unix_ms = Some(NOW - 86_400_000);
        status.daemon.ready = false;
        let text = text(&status, NOW);
        assert!(text.contains("CERTIFICATE EXPIRED 24 h ago"), "{text}");
        assert!(text.contains("NOT SERVING ADD"), "{text}");
        assert!(!crate::status::is_healthy(&status));
    }

    #[test]
    fn the_embedded_store_has_no_members_to_tell_of() {
        let mut status = status();
        status.store.endpoints.clear();
        assert!(!text(&status, NOW).contains("\netcd "));
    }
}
