//! Policies of Kubernetes.

use super::*;

#[test]
fn a_whole_network_policy_is_read() {
    let (policy, said) = policy(
        "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: db
  namespace: x
spec:
  podSelector:
    matchLabels: {app: db}
    matchExpressions:
    - {key: tier, operator: In, values: [a, b]}
  policyTypes: [Ingress, Egress]
  ingress:
  - from:
    - podSelector: {matchLabels: {app: web}}
    - namespaceSelector: {}
      podSelector: {matchLabels: {app: lb}}
    - ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}
    ports:
    - port: 5432
    - {port: 8000, endPort: 8080, protocol: UDP}
    - {port: metrics}
    - protocol: SCTP
  egress: []
",
    );
    assert_eq!(said, Vec::<String>::new());
    assert_eq!(policy.tier, Tier::Middle);
    assert_eq!(policy.origin.at(None).as_deref(), Some("f.yaml:1"));
    let rule = &policy.ingress.as_ref().unwrap()[0];
    assert_eq!(rule.line, Some(13));
    let peers: Vec<String> = rule.peers.iter().map(ToString::to_string).collect();
    assert_eq!(
        peers,
        [
            "endpoints app=web of namespace x",
            "endpoints app=lb of all namespaces",
            "10.0.0.0/8 except 10.1.0.0/16",
        ]
    );
    let ports: Vec<String> = rule.ports.iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["5432/tcp", "8000-8080/udp", "metrics/tcp", "sctp"]);
    assert_eq!(policy.egress, Some(Vec::new()));
}

#[test]
fn policy_types_default_as_the_api_server_does() {
    let directions = |spec: &str| {
        let (policy, _) = network_policy(spec);
        (policy.ingress.is_some(), policy.egress.is_some())
    };
    assert_eq!(directions("{podSelector: {}}"), (true, false));
    assert_eq!(directions("{podSelector: {}, egress: []}"), (true, false));
    assert_eq!(directions("{podSelector: {}, egress: [{}]}"), (true, true));
    assert_eq!(
        directions("{podSelector: {}, policyTypes: [Egress]}"),
        (false, true)
    );
    assert_eq!(
        directions("{podSelector: {}, policyTypes: [Ingress], egress: [{}]}"),
        (true, false)
    );
    assert_eq!(
        directions("{podSelector: {}, policyTypes: [Ingress, Egress]}"),
        (true, true)
    );
}

#[test]
fn absent_and_empty_lists_mean_what_kubernetes_means() {
    let (policy, _) = network_policy("{podSelector: {}, ingress: []}");
    assert_eq!(policy.ingress, Some(Vec::new()));
    for rule in ["{}", "{from: [], ports: []}", "{from: null, ports: null}"] {
        let (policy, said) = network_policy(&format!("{{podSelector: {{}}, ingress: [{rule}]}}"));
        let rule = &policy.ingress.unwrap()[0];
        assert_eq!(
            (&rule.peers[..], &rule.ports[..]),
            (&[Peer::Any][..], &[Port::Any][..])
        );
        assert_eq!(said, Vec::<String>::new());
    }
}

/// Rules that are wrong, and what is said of them.
const WRONG_RULES: &[(&str, &str)] = &[
    ("{form: []}", "spec.ingress[0].form: unknown field"),
    (
        "{from: [{}]}",
        "spec.ingress[0].from[0]: exactly one of ipBlock, or podSelector and namespaceSelector must be set",
    ),
    (
        "{from: [{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}]}",
        "exactly one of",
    ),
    (
        "{from: [{podSelector: {}, nodeSelector: {}}]}",
        "spec.ingress[0].from[0].nodeSelector: unknown field",
    ),
    (
        "{from: [{podSelector: {matchLabel: {a: b}}}]}",
        "podSelector.matchLabel: unknown field",
    ),
    (
        "{from: [{podSelector: {matchLabels: {a: true}}}]}",
        "matchLabels.a: true is not a label's value, as text",
    ),
    (
        "{from: [{podSelector: {matchLabels: {'a b': c}}}]}",
        "a b is not a label's key",
    ),
    (
        "{from: [{podSelector: {matchExpressions: [{key: a, operator: Is, values: [b]}]}}]}",
        "\"Is\" is not an operator",
    ),
    (
        "{from: [{podSelector: {matchExpressions: [{key: a, operator: In}]}}]}",
        "values: missing",
    ),
    (
        "{from: [{podSelector: {matchExpressions: [{key: a, operator: In, values: []}]}}]}",
        "an empty list is not a list of values",
    ),
    (
        "{from: [{podSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}]}",
        "is not nothing, which Exists",
    ),
    (
        "{from: [{podSelector: {matchExpressions: [{operator: Exists}]}}]}",
        "key: missing",
    ),
    (
        "{from: [{ipBlock: {cidr: 10.0.0.300/8}}]}",
        "spec.ingress[0].from[0].ipBlock.cidr: \"10.0.0.300/8\" is not a prefix",
    ),
    ("{from: [{ipBlock: {cidr: 10.0.0.1}}]}", "is not a prefix"),
    ("{from: [{ipBlock: {}}]}", "cidr: missing"),
    (
        "{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]}",
        "exception 11.0.0.0/16 is not inside 10.0.0.0/8",
    ),
    (
        "{from: [{ipBlock: {cidr: 10.0.0.0/8, except: ['fd00::/16']}}]}",
        "exception fd00::/16 is not inside",
    ),
    (
        "{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}]}",
        "exception 10.0.0.0/8 is not inside",
    ),
    (
        "{ports: [{port: 0}]}",
        "spec.ingress[0].ports[0].port: 0 is not a port",
    ),
    ("{ports: [{port: 65536}]}", "65536 is not a port"),
    ("{ports: [{port: -1}]}", "-1 is not a port"),
    ("{ports: [{port: 1.5}]}", "1.5 is not a port"),
    ("{ports: [{port: '80'}]}", "\"80\" is not a port"),
    ("{ports: [{port: HTTP}]}", "\"HTTP\" is not a port"),
    (
        "{ports: [{port: 80, protocol: tcp}]}",
        "\"tcp\" is not a protocol",
    ),
    (
        "{ports: [{port: 80, protocol: ICMP}]}",
        "\"ICMP\" is not a protocol",
    ),
    (
        "{ports: [{port: 80, endPort: 79}]}",
        "the last port, 79, is below the first, 80",
    ),
    (
        "{ports: [{port: http, endPort: 90}]}",
        "endPort goes with a number",
    ),
    ("{ports: [{endPort: 90}]}", "endPort goes with a number"),
    (
        "{ports: [{port: 80, endPort: 70000}]}",
        "70000 is not a port's number",
    ),
    (
        "{ports: {port: 80}}",
        "spec.ingress[0].ports: a map is not a list",
    ),
    ("null", "spec.ingress[0]: null is not a map"),
    ("{from: [], from: []}", "from: this field is there twice"),
];

#[test]
fn what_is_wrong_with_a_rule_closes_the_rule_alone() {
    for (rule, wrong) in WRONG_RULES {
        let spec = format!("{{podSelector: {{}}, ingress: [{rule}, {{ports: [{{port: 80}}]}}]}}");
        let (policy, said) = network_policy(&spec);
        let rules = policy.ingress.unwrap();
        assert_eq!(policy.unread, Vec::<String>::new(), "{rule}");
        assert!(
            rules[0].peers.is_empty() && rules[0].ports.is_empty(),
            "{rule}"
        );
        assert!(!rules[0].unread.is_empty(), "{rule}");
        assert_eq!(rules[1].ports[0].to_string(), "80/tcp", "{rule}");
        assert!(
            said.iter().any(|said| said.contains(wrong)),
            "{rule}: {said:#?}"
        );
        assert!(
            said[0].starts_with("f.yaml:4: NetworkPolicy x/p: "),
            "{said:?}"
        );
        assert!(said[0].ends_with("; it fails closed"), "{said:?}");
    }
}

#[test]
fn what_is_wrong_with_a_policy_closes_it_for_whom_it_selects() {
    for spec in [
        "{podSelector: {}, ingres: [{}]}",
        "{podSelector: {}, policyTypes: [Inbound], ingress: [{}]}",
        "{podSelector: {matchLabels: {a: 1}}, ingress: [{}]}",
        "{podSelector: {}, ingress: {}}",
        "null",
        "[]",
    ] {
        let (policy, said) = network_policy(spec);
        assert!(is_closed(&policy), "{spec}: {policy:#?}");
        assert!(!policy.unread.is_empty() && !said.is_empty(), "{spec}");
        let everyone_of_x = EndpointSelector::Labelled {
            namespaces: Namespaces::Named("x".to_owned()),
            labels: Selector::everything(),
        };
        assert_eq!(policy.subject, [everyone_of_x], "{spec}");
    }
    let (policy, _) = network_policy("{podSelector: {matchLabels: {a: b}}, new: 1, ingress: [{}]}");
    assert!(is_closed(&policy));
    assert_eq!(
        policy.subject[0].to_string(),
        "endpoints a=b of namespace x"
    );
}

#[test]
fn an_unknown_version_fails_closed_for_what_it_selects() {
    for (version, kind) in [
        ("networking.k8s.io/v2", "NetworkPolicy"),
        ("extensions/v1beta1", "NetworkPolicy"),
        ("v1", "NetworkPolicy"),
    ] {
        let (policy, said) = policy(&format!(
            "apiVersion: {version}\nkind: {kind}\nmetadata: {{name: p, namespace: x}}\nspec: {{podSelector: {{matchLabels: {{a: b}}}}, ingress: [{{}}]}}\n"
        ));
        assert!(is_closed(&policy), "{version}");
        assert_eq!(
            policy.subject[0].to_string(),
            "endpoints a=b of namespace x"
        );
        assert!(
            said[0].contains(&format!("NetworkPolicy of {version} is not known here")),
            "{said:?}"
        );
    }
    let (policy, said) = policy(
        "apiVersion: policy.networking.k8s.io/v1alpha3\nkind: ClusterNetworkPolicy\nmetadata: {name: p}\nspec: {tier: Baseline, priority: 7, subject: {namespaces: {matchLabels: {a: b}}}, ingress: []}\n",
    );
    assert!(is_closed(&policy), "{policy:#?}");
    assert_eq!(
        policy.tier,
        Tier::Baseline(crate::Priority::new(7).unwrap())
    );
    assert_eq!(
        policy.subject[0].to_string(),
        "all endpoints of namespaces a=b"
    );
    assert_eq!(said.len(), 1);
}

#[test]
fn policies_of_others_are_told_and_left_out() {
    for version in ["crd.projectcalico.org/v1", "cilium.io/v2"] {
        let reading = read(&format!(
            "apiVersion: {version}\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: x}}\nspec: {{}}\n"
        ));
        assert!(reading.world.policies.is_empty());
        assert!(
            said(&reading)[0].ends_with("; it is left out"),
            "{:?}",
            said(&reading)
        );
    }
    let reading = read("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: p}\n");
    assert_eq!((reading.others, reading.complaints.len()), (1, 0));
}

#[test]
fn the_mode_of_a_kubernetes_policy_is_an_annotation() {
    let mode = |value: &str| {
        policy(&format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, annotations: {{bulkhead/mode: {value}}}}}\nspec: {{podSelector: {{}}}}\n"
        ))
    };
    assert_eq!(mode("audit").0.mode, Mode::Audit);
    assert_eq!(mode("enforce").0.mode, Mode::Enforce);
    let (policy, said) = mode("Audit");
    assert_eq!((policy.mode, said.len()), (Mode::Enforce, 1));
}
