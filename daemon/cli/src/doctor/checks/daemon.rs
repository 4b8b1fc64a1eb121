//! The node daemon, what it depends on, and the clock that its records are dated by.

use bulkhead_ipam::wire::admin::{Condition, NodeState, Status, StoreStatus};

use crate::doctor::finding::{Finding, Id};
use crate::doctor::node::{Lock, Node, Said, Watched};
use crate::time::{seconds, span};

const DAY_MS: u64 = 86_400_000;
/// Who renews a certificate by hand wants to know a while before.
const SOON_MS: u64 = 21 * DAY_MS;
/// The daemon publishes within 200 ms.
const LAG_MS: u64 = 60_000;
/// How soon other nodes' policies are to know an endpoint, in microseconds.
const ENDPOINT_US: u64 = 200_000;
/// Clocks that something keeps right differ by far less.
const SKEW_MS: u64 = 60_000;

pub(super) fn check(node: &Node) -> Vec<Finding> {
    let mut findings = clock(node);
    for watched in &node.daemons {
        match &watched.said {
            Said::Nothing(why) => findings.extend(silent(node, watched, why)),
            Said::Status(status) => findings.extend(running(node, watched, status)),
        }
    }
    findings
}

/// If nobody holds the lock either, it is down, which is the state directory's finding.
fn silent(node: &Node, watched: &Watched, why: &str) -> Option<Finding> {
    let mut stores = node.stores.iter();
    let holds = stores.any(|store| store.dir == watched.dir && store.lock == Lock::Held);
    holds.then(|| {
        Finding::problem(Id::DaemonSilent, why)
            .why(format!(
                "somebody holds {} and does not serve it: ADD answers code 11",
                watched.dir.display()
            ))
            .help("journalctl -u bulkheadd -n 100")
            .help("systemctl restart bulkheadd: containers that run go on")
    })
}

fn running(node: &Node, watched: &Watched, status: &Status) -> Vec<Finding> {
    let mut findings = vec![
        ready(status),
        release(node, status),
        fence(status),
        store(&status.store),
        lag(status),
        spool(status),
    ];
    findings.extend(endpoints(status));
    findings.extend(certificate(&status.store, node.clock.now_unix_ms));
    findings.extend(jumped(watched));
    findings
}

fn ready(status: &Status) -> Finding {
    let daemon = &status.daemon;
    if daemon.ready {
        let seen = format!(
            "bulkheadd {} serves on {}",
            daemon.version,
            daemon.socket.display()
        );
        return Finding::ok(Id::DaemonNotReady, seen);
    }
    let last = status.errors.first();
    let why = last.map_or("it is starting or ending", |last| &last.text);
    Finding::problem(
        Id::DaemonNotReady,
        "the node daemon answers and serves no ADD",
    )
    .why(why)
    .help("bulkhead status")
}

/// Every release speaks to the one before and after it.
fn release(node: &Node, status: &Status) -> Finding {
    const OURS: &str = env!("CARGO_PKG_VERSION");
    let daemon = &status.daemon.version;
    let mut others: Vec<_> = node
        .directory
        .releases
        .iter()
        .filter(|(_, release)| *release != daemon)
        .map(|(plugin, release)| format!("{plugin} {release}"))
        .collect();
    if OURS != daemon {
        others.push(format!("bulkhead {OURS}"));
    }
    if others.is_empty() {
        let seen = format!("plugins and daemon are of release {daemon}");
        return Finding::ok(Id::DaemonRelease, seen);
    }
    let seen = format!(
        "bulkheadd is of release {daemon}, {} of another",
        others.join(", ")
    );
    Finding::warn(Id::DaemonRelease, seen)
        .why("a release speaks to the one before it and the one after it, and to no other")
        .help("bulkhead install && systemctl restart bulkheadd: connections are not interrupted")
}

fn fence(status: &Status) -> Finding {
    let node = &status.node;
    match node.state {
        NodeState::Lost => Finding::problem(
            Id::NodeLost,
            format!("the cluster has declared node {} lost", node.name.name),
        )
        .why(
            "its blocks are given up; it detaches what it does not own any more and registers anew",
        )
        .help("bulkhead status; bulkhead node ls -o wide says who declared it, and why"),
        NodeState::Active | NodeState::Unknown => {
            let seen = format!("node {} has epoch {}", node.name.name, node.epoch);
            Finding::ok(Id::NodeLost, seen)
        }
    }
}

fn store(store: &StoreStatus) -> Finding {
    let why = store.why.as_deref().unwrap_or("it does not say why");
    let seen = format!("{}: {why}", store.description);
    match store.condition {
        Condition::Healthy | Condition::Unknown => {
            Finding::ok(Id::ClusterStore, format!("{} serves", store.description))
        }
        Condition::Degraded => Finding::warn(Id::ClusterStore, seen)
            .why("if more members fail, there is no majority: then no node claims blocks or publishes")
            .help("bulkhead status lists the members; look at the log of each"),
        Condition::Unreachable => Finding::problem(Id::ClusterStore, seen)
            .why("ADD goes on while the node's blocks last; no block is claimed, nothing is published")
            .help("is etcd up, and does the node reach it? bulkhead status lists the members")
            .help("bulkhead status also says how many addresses the node has left"),
        Condition::Denied => Finding::problem(Id::ClusterStore, seen)
            .why("it answers and refuses: credentials, a certificate, a permission, or its quota")
            .help("correct the user or the certificate in bulkheadd.toml, then bulkhead config reload")
            .help("or, with NOSPACE: etcdctl alarm list, compact and defrag, etcdctl alarm disarm"),
    }
}

fn certificate(store: &StoreStatus, now_unix_ms: u64) -> Option<Finding> {
    let expires = store.certificate_expires_at_unix_ms?;
    let at = seconds(expires);
    let help = "renew it in place, then bulkhead config reload";
    Some(if expires <= now_unix_ms {
        Finding::problem(
            Id::ClusterCertificate,
            format!("the certificate for etcd expired at {at}"),
        )
        .why("etcd refuses the node, or the node etcd")
        .help(help)
    } else if expires - now_unix_ms < SOON_MS {
        let left = span(expires - now_unix_ms);
        let seen = format!("the certificate for etcd expires in {left}, at {at}");
        Finding::warn(Id::ClusterCertificate, seen)
            .why("from then on etcd refuses the node, or the node etcd")
            .help(help)
    } else {
        Finding::ok(
            Id::ClusterCertificate,
            format!("the certificate for etcd is good until {at}"),
        )
    })
}

fn lag(status: &Status) -> Finding {
    let publish = &status.publish;
    let seen = format!(
        "{} rows wait to be published, the oldest {}",
        publish.waiting,
        span(publish.lag_ms)
    );
    // A store that cannot be reached is told once.
    if publish.lag_ms < LAG_MS || status.store.condition != Condition::Healthy {
        return Finding::ok(Id::ClusterLag, seen);
    }
    Finding::warn(Id::ClusterLag, seen)
        .why("other nodes and operators see an older state; the node itself goes on")
        .help("bulkhead status: its last errors, and how slow the store is")
}

/// How soon others know of this node's endpoints; nothing where it had none lately.
fn endpoints(status: &Status) -> Option<Finding> {
    let identities = &status.identities;
    let p99 = identities.p99_us?;
    let seen = format!(
        "99 of 100 endpoints are known to other nodes within {} ms",
        p99.div_ceil(1000)
    );
    if p99 <= ENDPOINT_US || status.store.condition != Condition::Healthy {
        return Some(Finding::ok(Id::EndpointLag, seen));
    }
    let finding = Finding::warn(Id::EndpointLag, seen)
        .why("until a node knows an endpoint, its policies by label and by group deny it")
        .help(
            "bulkhead status: how slow the store is; etcd's disk decides it (etcdctl check perf)",
        );
    Some(finding)
}

fn spool(status: &Status) -> Finding {
    let waiting = status.spool.waiting;
    let seen = format!("{waiting} detachments made without the daemon wait to be taken in");
    if waiting == 0 {
        return Finding::ok(Id::SpoolWaiting, seen);
    }
    Finding::warn(Id::SpoolWaiting, seen)
        .why("their addresses stay held until then")
        .help("bulkhead status: its last errors say what keeps it from them")
}

fn jumped(watched: &Watched) -> Option<Finding> {
    let jump = watched.jump_ms?;
    let by = span(jump.unsigned_abs());
    if jump.unsigned_abs() < SKEW_MS {
        return Some(Finding::ok(
            Id::ClockJumped,
            "the clock was not set since the daemon started",
        ));
    }
    let way = if jump < 0 { "back" } else { "forward" };
    Some(
        Finding::warn(
            Id::ClockJumped,
            format!("the clock was set {way} by {by} since the daemon started"),
        )
        .why("what was recorded before has dates that do not fit; addresses and cool-downs do not depend on it")
        .help("see what sets it: timedatectl; journalctl -u chronyd -u systemd-timesyncd"),
    )
}

fn clock(node: &Node) -> Vec<Finding> {
    let clock = node.clock;
    let own = node.networks.iter().flat_map(|network| &network.live);
    let own = own.map(|record| (record.created_at_unix_ms, "a record of this node"));
    let nodes = node.daemons.iter().flat_map(|watched| &watched.nodes);
    let others = nodes.filter_map(|other| Some((other.seen_at_unix_ms?, other.name.name.as_str())));
    let newest = own.chain(others).max();
    let mut findings = Vec::new();
    if let Some((at, whose)) = newest {
        findings.push(if at > clock.now_unix_ms.saturating_add(SKEW_MS) {
            let by = span(at - clock.now_unix_ms);
            Finding::problem(
                Id::ClockBehind,
                format!("the clock stands at {}, {by} before what {whose} says", seconds(clock.now_unix_ms)),
            )
            .why("audits answer wrongly who had an address when, and certificates seem not valid yet")
            .help("set it, here or there: timedatectl set-ntp true")
        } else {
            Finding::ok(Id::ClockBehind, "the clock is not before anything recorded")
        });
    }
    findings.extend(clock.synchronised.map(|synchronised| {
        if synchronised {
            return Finding::ok(Id::ClockUnsynchronised, "the clock is kept right");
        }
        Finding::warn(Id::ClockUnsynchronised, "nothing keeps the clock right")
            .why("audits of several nodes are compared by it, and certificates judged; addresses do not depend on it")
            .help("timedatectl set-ntp true, or start chronyd")
    }));
    findings
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::doctor::finding::Severity;
    use crate::doctor::node::Clock;

    const NOW: u64 = 1_772_352_000_000;

    fn status() -> Value {
        json!({
            "daemon": {
                "version": env!("CARGO_PKG_VERSION"), "pid": 1, "startedAtUnixMs": NOW, "nowUnixMs": NOW,
                "socket": "/s", "stateDir": "/d", "wire": 2, "wireOldest": 1, "ready": true,
            },
            "node": {"nodeId": "b7", "node": "node-1", "epoch": 3, "state": "active"},
            "store": {"kind": "etcd", "description": "etcd https://a:2379", "condition": "healthy",
                "certificateExpiresAtUnixMs": NOW + 30 * DAY_MS},
        })
    }

    fn node(change: fn(&mut Value)) -> Node {
        let mut status = status();
        change(&mut status);
        Node {
            daemons: vec![Watched {
                dir: "/d".into(),
                said: Said::Status(Box::new(serde_json::from_value(status).unwrap())),
                nodes: Vec::new(),
                jump_ms: Some(0),
            }],
            clock: Clock {
                now_unix_ms: NOW,
                synchronised: Some(true),
            },
            ..Node::default()
        }
    }

    /// What is not as it should be.
    fn bad(node: &Node) -> Vec<(Severity, &'static str)> {
        let findings = check(node).into_iter();
        let bad = findings.filter(|finding| finding.severity != Severity::Ok);
        bad.map(|finding| (finding.severity, finding.id.as_str()))
            .collect()
    }

    #[test]
    fn a_daemon_that_serves_is_no_finding() {
        assert_eq!(bad(&node(|_| ())), []);
        assert_eq!(bad(&Node::default()), []);
    }

    #[test]
    fn each_thing_that_is_wrong_has_its_finding() {
        type Case = (fn(&mut Value), Severity, &'static str);
        let cases: [Case; 12] = [
            (
                |status| status["daemon"]["ready"] = json!(false),
                Severity::Problem,
                "daemon-not-ready",
            ),
            (
                |status| status["daemon"]["version"] = json!("9.9.9"),
                Severity::Warn,
                "daemon-release",
            ),
            (
                |status| status["node"]["state"] = json!("lost"),
                Severity::Problem,
                "node-lost",
            ),
            (
                |status| status["store"]["condition"] = json!("degraded"),
                Severity::Warn,
                "cluster-store",
            ),
            (
                |status| status["store"]["condition"] = json!("unreachable"),
                Severity::Problem,
                "cluster-store",
            ),
            (
                |status| status["store"]["condition"] = json!("denied"),
                Severity::Problem,
                "cluster-store",
            ),
            (
                |status| status["store"]["certificateExpiresAtUnixMs"] = json!(NOW + DAY_MS),
                Severity::Warn,
                "cluster-certificate",
            ),
            (
                |status| status["store"]["certificateExpiresAtUnixMs"] = json!(NOW),
                Severity::Problem,
                "cluster-certificate",
            ),
            (
                |status| status["publish"] = json!({"waiting": 3, "lagMs": LAG_MS}),
                Severity::Warn,
                "cluster-lag",
            ),
            (
                |status| status["identities"] = json!({"p50Us": 90_000, "p99Us": 200_001}),
                Severity::Warn,
                "endpoint-lag",
            ),
            (
                |status| status["spool"] = json!({"waiting": 1}),
                Severity::Warn,
                "spool-waiting",
            ),
            (
                |status| status["store"]["condition"] = json!("some later word"),
                Severity::Ok,
                "",
            ),
        ];
        for (change, severity, id) in cases {
            let expected: Vec<_> = Some((severity, id))
                .filter(|_| !id.is_empty())
                .into_iter()
                .collect();
            assert_eq!(bad(&node(change)), expected);
        }
    }

    #[test]
    fn an_outage_is_told_once() {
        let node = node(|status| {
            status["store"]["condition"] = json!("unreachable");
            status["publish"] = json!({"waiting": 3, "lagMs": 10 * LAG_MS});
        });
        assert_eq!(bad(&node), [(Severity::Problem, "cluster-store")]);
    }

    #[test]
    fn a_plugin_of_another_release_is_named() {
        let mut node = node(|_| ());
        let releases = &mut node.directory.releases;
        releases.insert("bulkhead-bridge".to_owned(), "0.0.9".to_owned());
        let findings = check(&node);
        let seen = findings
            .iter()
            .find(|finding| finding.id == Id::DaemonRelease)
            .unwrap();
        assert!(
            seen.seen.ends_with("bulkhead-bridge 0.0.9 of another"),
            "{}",
            seen.seen
        );
    }

    #[test]
    fn a_clock_that_is_wrong_is_told_by_whom() {
        let mut ahead = node(|_| ());
        let other = json!({"nodeId": "c8", "node": "node-2", "state": "active", "epoch": 1, "seenAtUnixMs": NOW + SKEW_MS + 1});
        ahead.daemons[0].nodes = vec![serde_json::from_value(other).unwrap()];
        assert_eq!(bad(&ahead), [(Severity::Problem, "clock-behind")]);
        let mut jumped = node(|_| ());
        jumped.daemons[0].jump_ms = Some(-7_200_000);
        assert_eq!(bad(&jumped), [(Severity::Warn, "clock-jumped")]);
        let findings = check(&jumped);
        let seen = findings
            .iter()
            .find(|finding| finding.id == Id::ClockJumped)
            .unwrap();
        assert_eq!(
            seen.seen,
            "the clock was set back by 2 h since the daemon started"
        );
        let mut free = node(|_| ());
        free.clock.synchronised = Some(false);
        assert_eq!(bad(&free), [(Severity::Warn, "clock-unsynchronised")]);
    }
}
