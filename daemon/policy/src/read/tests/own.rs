//! Objects of our own kinds.

use super::*;

#[test]
fn our_own_objects_are_read() {
    let reading = read(
        "apiVersion: bulkhead/v1
kind: SecurityGroup
metadata: {name: web}
spec:
  ingress:
  - from: [{group: lb}, {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}, {entity: world}, {network: blue}]
    ports: [80/tcp, 8000-8080/udp, http/tcp, icmp/8, icmpv6, protocol/47, sctp]
---
apiVersion: bulkhead/v1
kind: Policy
metadata: {name: fence}
spec:
  tier: admin
  priority: 10
  mode: audit
  subject: [{group: web}, {endpoints: {labels: {matchLabels: {a: b}}, namespace: x}}]
  egress:
  - {action: deny, name: metadata, to: [{cidr: 169.254.169.254/32}, {nodes: {}}]}
  - {action: pass}
---
apiVersion: bulkhead/v1
kind: Network
metadata: {name: blue}
spec: {gateways: [10.4.0.1], pools: [10.4.0.0/16], overlapping: true, unlabelled: {ingress: closed}}
---
apiVersion: bulkhead/v1
kind: Endpoint
metadata: {name: a, labels: {app: web}}
spec: {network: blue, addresses: [10.4.0.2, 'fd00::2'], node: n1, groups: [web], ports: [{name: http, port: 80/tcp}]}
",
    );
    assert_eq!(said(&reading), Vec::<String>::new());
    let world = &reading.world;
    let policies: Vec<String> = world.policies.keys().map(ToString::to_string).collect();
    assert_eq!(policies, ["Policy fence", "SecurityGroup web"]);
    let group = &world.policies.values().nth(1).unwrap();
    assert_eq!(group.egress, Some(Vec::new()));
    let ports: Vec<String> = group.ingress.as_ref().unwrap()[0]
        .ports
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        ports,
        [
            "80/tcp",
            "8000-8080/udp",
            "http/tcp",
            "icmp/8",
            "icmpv6",
            "protocol/47",
            "sctp"
        ]
    );
    let fence = &world.policies.values().next().unwrap();
    assert_eq!((fence.mode, fence.ingress.is_none()), (Mode::Audit, true));
    assert_eq!(fence.egress.as_ref().unwrap()[1].peers, [Peer::Any]);
    let (id, endpoint) = world.endpoints.iter().next().unwrap();
    assert_eq!(id.to_string(), "blue/a");
    assert_eq!(endpoint.groups.len(), 1);
    assert_eq!(world.space_of(id), Space::Network("blue".parse().unwrap()));
}

#[test]
fn our_own_objects_fail_closed_too() {
    let own = |kind: &str, spec: &str| {
        policy(&format!(
            "apiVersion: bulkhead/v1\nkind: {kind}\nmetadata: {{name: p}}\nspec: {spec}\n"
        ))
    };
    let subject = "subject: [{group: g}]";
    for spec in [
        format!("{{tier: middle, {subject}, priority: 3, ingress: [{{}}]}}"),
        format!("{{tier: first, {subject}, ingress: [{{}}]}}"),
        format!("{{tier: admin, {subject}, ingress: [{{}}]}}"),
        format!("{{tier: admin, priority: 1001, {subject}, ingress: [{{}}]}}"),
        format!("{{tier: admin, priority: 1, mode: watch, {subject}}}"),
        "{tier: admin, priority: 1, subject: []}".to_owned(),
        "{tier: admin, priority: 1, subject: [{group: G}]}".to_owned(),
        "{tier: admin, priority: 1}".to_owned(),
    ] {
        let (policy, said) = own("Policy", &spec);
        assert!(is_closed(&policy), "{spec}: {policy:#?}");
        assert!(!said.is_empty(), "{spec}");
    }
    for rule in [
        "{action: deny}",
        "{from: []}",
        "{from: [{}]}",
        "{from: [{group: g, except: [10.0.0.0/8]}]}",
        "{ports: [80]}",
        "{ports: ['80']}",
        "{from: [{entity: moon}]}",
    ] {
        let (policy, said) = own("SecurityGroup", &format!("{{ingress: [{rule}]}}"));
        let rule = policy.ingress.unwrap().remove(0);
        assert!(
            rule.action == Action::Allow && rule.peers.is_empty(),
            "{rule:?}"
        );
        assert!(!said.is_empty());
    }
    let reading = read("apiVersion: bulkhead/v2\nkind: Policy\nmetadata: {name: p}\nspec: {}\n");
    assert!(
        said(&reading)[0].contains("is no object of ours"),
        "{:?}",
        said(&reading)
    );
}
