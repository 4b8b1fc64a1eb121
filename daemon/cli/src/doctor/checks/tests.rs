//! What no namespace of a test's own can bring about: tables and limits of the whole machine, and kernels
//! of other releases.

use bulkhead_ipam::{AttachmentRecord, Pool, Range, RangeSet};
use bulkhead_model::Family;
use bulkhead_plan::Features;

use super::{features, neighbours, sysctls};
use crate::coexist::network::{Bridged, HostPorts, Routed};
use crate::doctor::finding::{Finding, Id, Severity};
use crate::doctor::node::{Linked, Node, Table};

fn record(nth: usize) -> AttachmentRecord {
    let json = serde_json::json!({
        "key": {"network": "blue", "container": format!("c{nth}"), "interface": "eth0"},
        "sequence": nth, "boot_id": "a", "created_at_unix_ms": 0, "kind": "bridge", "ipam": "own",
    });
    serde_json::from_value(json).unwrap()
}

fn blue(attachments: usize) -> Bridged {
    Bridged {
        name: "blue".parse().unwrap(),
        file: None,
        bridge: "br-blue".parse().unwrap(),
        routed: Routed::Yes,
        families: [Family::V4].into(),
        host_ports: HostPorts::Declared,
        config: None,
        live: (0..attachments).map(record).collect(),
        pool: Some(Pool {
            sets: vec![RangeSet {
                ranges: vec![Range::of("10.0.0.0/16".parse().unwrap())],
            }],
            ..Pool::default()
        }),
    }
}

fn severities(findings: &[Finding], id: Id) -> Vec<Severity> {
    let of = findings.iter().filter(|finding| finding.id == id);
    of.map(|finding| finding.severity).collect()
}

#[test]
fn attachments_are_counted_against_the_neighbour_table() {
    let severity = |attachments| {
        let mut node = Node {
            networks: vec![blue(attachments)],
            ..Node::default()
        };
        for (nth, value) in [(1, "128"), (2, "512"), (3, "1024")] {
            let path = format!("net/ipv4/neigh/default/gc_thresh{nth}");
            node.sysctls.set(path, value);
        }
        let findings = neighbours::check(&node);
        let [finding] = &findings[..] else {
            panic!("one family: {findings:?}");
        };
        (finding.severity, finding.help.first().cloned())
    };
    assert_eq!(severity(256), (Severity::Ok, None));
    assert_eq!(severity(257).0, Severity::Warn);
    let help = "sysctl -w net/ipv4/neigh/default/gc_thresh3=4096";
    assert_eq!(severity(513), (Severity::Problem, Some(help.to_owned())));
}

/// A record with addresses, on a port that the guard judges.
fn guarded(nth: usize, kind: &str) -> AttachmentRecord {
    let json = serde_json::json!({
        "key": {"network": "red", "container": format!("c{nth}"), "interface": "eth0"},
        "sequence": nth, "boot_id": "a", "created_at_unix_ms": 0, "kind": kind, "ipam": "own",
        "names": {"port": format!("bhp{nth}"), "other": {
            "guard": "on", "gateway": "cni0 02:00:00:00:00:01 10.1.0.1 fd00::1",
        }},
        "addresses": [{"address": "10.1.0.5/24", "range": 0}, {"address": "fd00::5/64", "range": 1}],
    });
    serde_json::from_value(json).unwrap()
}

fn red(attachments: usize) -> Linked {
    Linked {
        name: "red".parse().unwrap(),
        live: (0..attachments).map(|nth| guarded(nth, "ipv6")).collect(),
    }
}

#[test]
fn the_neighbour_tables_fill_is_compared_with_its_limit() {
    let of = |mut node: Node, entries, refused| {
        node.sysctls
            .set("net/ipv6/neigh/default/gc_thresh3", "1000");
        node.neighbours.v6 = Some(Table { entries, refused });
        let findings = neighbours::check(&node);
        let help = findings
            .iter()
            .find_map(|finding| finding.help.first().cloned());
        (severities(&findings, Id::NeighbourTable), help)
    };
    let seen = |entries, refused, ours| {
        let linked = vec![red(ours)];
        let node = Node {
            linked,
            ..Node::default()
        };
        of(node, entries, refused)
    };
    assert_eq!(seen(799, 0, 0), (vec![Severity::Ok], None));
    let help = "sysctl -w net/ipv6/neigh/default/gc_thresh3=2048";
    assert_eq!(
        seen(800, 0, 0),
        (vec![Severity::Warn], Some(help.to_owned()))
    );
    assert_eq!(seen(950, 0, 0).0, [Severity::Problem]);
    assert_eq!(
        seen(950, 0, 100).0,
        [Severity::Ok],
        "200 of these do not count"
    );
    assert_eq!(seen(10, 1, 0).0, [Severity::Warn], "it was full once");
    let behind = Node {
        guarded: (0..100).map(|nth| guarded(nth, "guard")).collect(),
        ..Node::default()
    };
    assert_eq!(of(behind, 950, 0).0, [Severity::Ok], "nor do these");
    let node = Node::default();
    assert_eq!(
        severities(&neighbours::check(&node), Id::NeighbourTable),
        []
    );
}

#[test]
fn a_kernel_that_does_not_limit_groups_matters_to_bridges() {
    let of = |networks, group_limit| {
        let node = Node {
            networks,
            features: Some(Features {
                group_limit,
                ..Features::default()
            }),
            ..Node::default()
        };
        severities(&features::check(&node), Id::KernelGroupLimit)
    };
    assert_eq!(of(vec![blue(0)], false), [Severity::Warn]);
    assert_eq!(of(vec![blue(0)], true), [Severity::Ok]);
    assert_eq!(of(vec![], false), []);
}

#[test]
fn tracked_flows_are_compared_with_their_limit() {
    let severity = |count: &str| {
        let mut node = Node::default();
        node.sysctls.set("net/netfilter/nf_conntrack_count", count);
        node.sysctls.set("net/netfilter/nf_conntrack_max", "1000");
        severities(&sysctls::check(&node), Id::ConntrackFull)
    };
    assert_eq!(severity("799"), [Severity::Ok]);
    assert_eq!(severity("800"), [Severity::Warn]);
    assert_eq!(severity("950"), [Severity::Problem]);
    let none = sysctls::check(&Node::default());
    assert_eq!(severities(&none, Id::ConntrackFull), []);
}

#[test]
fn old_kernels_and_missing_modules_are_named() {
    let mut node = Node {
        networks: vec![blue(0)],
        ..Node::default()
    };
    assert_eq!(features::check(&node).len(), 0, "nothing is known");
    node.software.kernel = Some((5, 13));
    let old = features::check(&node);
    assert_eq!(severities(&old, Id::KernelTooOld), [Severity::Problem]);
    let modules = ["bridge", "veth", "nf_tables"].map(str::to_owned);
    node.software.modules = Some(modules.into());
    let missing = features::check(&node);
    let missing: Vec<_> = missing
        .iter()
        .filter(|finding| finding.id == Id::KernelModule)
        .map(|finding| finding.seen.as_str())
        .collect();
    assert_eq!(missing, ["the kernel has no module nf_nat"]);
}
