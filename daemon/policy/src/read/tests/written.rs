//! How objects are written, and what no reader may believe or fall over.

use super::*;

#[test]
fn a_key_that_is_there_twice_is_told_wherever_it_is() {
    let reading = read(
        "apiVersion: v1
kind: Pod
metadata: {name: a, name: b}
status: {podIPs: [{ip: 10.0.0.1, ip: 10.0.0.2}]}
",
    );
    assert_eq!(
        said(&reading),
        [
            "f.yaml:3: Pod default/a: metadata.name: this field is there twice; it is left out",
            "f.yaml:4: Pod default/a: status.podIPs[0].ip: this field is there twice; it is left out"
        ]
    );
    let (policy, said) = policy(
        "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: a, namespace: x, namespace: y}
spec: {ingress: [{}]}
",
    );
    assert!(is_closed(&policy));
    assert_eq!(
        said,
        [
            "f.yaml:3: NetworkPolicy x/a: metadata.namespace: this field is there twice; it fails closed"
        ]
    );
}

#[test]
fn what_is_spelt_like_something_that_is_read_is_told() {
    for (version, kind) in [
        ("networking.k8s.io/v1", "NetworkPolicies"),
        ("networking.k8s.io/v1", "networkpolicy"),
        ("v1", "pod"),
        ("v2", "Namespace"),
        ("apps/v1", "Pod"),
        ("v1", "networkPolicy"),
    ] {
        let reading = read(&format!(
            "{{apiVersion: {version}, kind: {kind}, metadata: {{name: a}}}}"
        ));
        assert_eq!(reading.complaints.len(), 1, "{version} {kind}");
        assert_eq!(reading.complaints[0].effect, Effect::Ignored);
    }
    for (version, kind) in [
        ("networking.k8s.io/v1", "Ingress"),
        ("networking.k8s.io/v1", "IngressClassList"),
        ("networking.k8s.io/v1", "NetworkPolicyList"),
        ("apps/v1", "Deployment"),
        ("v1", "Service"),
        ("longhorn.io/v1beta2", "Node"),
    ] {
        let reading = read(&format!(
            "{{apiVersion: {version}, kind: {kind}, metadata: {{name: a}}}}"
        ));
        assert_eq!((reading.complaints.len(), reading.others), (0, 1), "{kind}");
    }
}

#[test]
fn a_number_that_others_read_as_another_is_none() {
    for number in ["010", "+80", "0x50", "8e1", "80.0"] {
        let (policy, _) =
            network_policy(&format!("{{ingress: [{{ports: [{{port: {number}}}]}}]}}"));
        let rules = policy.rules(Direction::Ingress).unwrap();
        assert!(rules[0].ports.is_empty(), "{number}");
    }
}

#[test]
fn ten_thousand_labels_and_values_are_read_in_an_instant() {
    use std::fmt::Write;
    let mut labels = String::new();
    for n in 0..10_000 {
        write!(labels, "l{n}: v{n}, ").unwrap();
    }
    let values: Vec<String> = (0..10_000).map(|n| format!("v{n}")).collect();
    let values = values.join(", ");
    let reading = read(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: a, namespace: x, labels: {{{labels}}}}}\nstatus: {{podIP: 10.0.0.1}}\n---
apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: x}}
spec: {{podSelector: {{matchLabels: {{{labels}}}, matchExpressions: [{{key: l1, operator: In, values: [{values}]}}]}}}}\n"
    ));
    assert_eq!(said(&reading), Vec::<String>::new());
    let world = &reading.world;
    let (id, endpoint) = world.endpoints.iter().next().unwrap();
    let policy = world.policies.values().next().unwrap();
    assert!(world.is_about(policy, id, endpoint));
    let again = "l: v, ".repeat(10_000);
    let reading = read(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: a, labels: {{{again}}}}}\n"
    ));
    assert_eq!(
        reading.complaints.len(),
        2 + 9_998,
        "each, and that it has no address"
    );
}

/// A text that is changed anywhere is read, or refused, and never more than that.
#[test]
fn nothing_that_is_written_brings_the_reader_down() {
    let text = "---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: x, annotations: {bulkhead/mode: audit}}
spec:
  podSelector: &s {matchLabels: {app: 'db'}, matchExpressions: [{key: tier, operator: In, values: [a, b]}]}
  ingress:
  - from: [{podSelector: *s}, {ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16, \"10.2.0.0/16\"]}}]
    ports: [{port: 5432, endPort: 5440}, {port: http, protocol: UDP}]
---
{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"a\\u00e9\"}, \"status\": {\"podIPs\": [{\"ip\": \"fd00::1\"}]}}
";
    let marks = [
        '{', '}', '[', ']', ':', '-', '&', '*', '\'', '"', '\n', ' ', '!', '|', '?', '\\', '\0',
        '9', 'é', '\u{feff}',
    ];
    let characters: Vec<char> = text.chars().collect();
    let mut seed: usize = 1;
    let mut next = |below: usize| {
        // Knuth's MMIX: enough to choose places.
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut read_as_objects = 0;
    for _ in 0..3_000 {
        let mut changed = characters.clone();
        for _ in 0..=next(3) {
            let at = next(changed.len());
            match next(3) {
                0 => changed.truncate(at.max(1)),
                1 => changed.insert(at, marks[next(marks.len())]),
                _ => changed[at] = marks[next(marks.len())],
            }
        }
        let changed: String = changed.into_iter().collect();
        let mut reader = Reader::new();
        if reader.read("f.yaml", &changed).is_ok() {
            read_as_objects += 1;
        }
        let reading = reader.finish();
        for complaint in &reading.complaints {
            assert!(!complaint.to_string().is_empty());
        }
    }
    assert!(read_as_objects > 300, "{read_as_objects}");
}
