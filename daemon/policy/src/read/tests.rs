//! What readers make of objects, good and bad.

use super::*;
use crate::{Direction, EndpointSelector, Namespaces, Selector};

fn read(text: &str) -> Reading {
    let mut reader = Reader::new();
    reader.read("f.yaml", text).unwrap();
    reader.finish()
}

fn said(reading: &Reading) -> Vec<String> {
    reading.complaints.iter().map(ToString::to_string).collect()
}

/// The only policy of `text`, and what was said.
fn policy(text: &str) -> (Policy, Vec<String>) {
    let reading = read(text);
    let said = said(&reading);
    let mut policies = reading.world.policies.into_values();
    (policies.next().unwrap(), said)
}

fn network_policy(spec: &str) -> (Policy, Vec<String>) {
    policy(&format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: x}}\nspec: {spec}\n"
    ))
}

fn cluster_policy(spec: &str) -> (Policy, Vec<String>) {
    policy(&format!(
        "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {{name: p}}\nspec: {spec}\n"
    ))
}

const ADMIN: &str = "tier: Admin, priority: 5, subject: {namespaces: {}}";

fn is_closed(policy: &Policy) -> bool {
    let is_empty = |direction| policy.rules(direction).is_some_and(<[Rule]>::is_empty);
    let denies = |direction| {
        let rules = policy.rules(direction).unwrap_or_default();
        rules.len() == 1
            && rules[0].action == Action::Deny
            && rules[0].peers == [Peer::Any]
            && rules[0].ports == [Port::Any]
    };
    let closed = |direction| match policy.tier {
        Tier::Middle => is_empty(direction),
        _ => denies(direction),
    };
    closed(Direction::Ingress) && closed(Direction::Egress)
}

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
fn a_whole_cluster_policy_is_read() {
    let (policy, said) = cluster_policy(
        "
  tier: Baseline
  priority: 30
  subject:
    pods:
      namespaceSelector: {matchLabels: {team: a}}
      podSelector: {matchLabels: {app: db}}
  ingress:
  - name: web
    action: Accept
    from:
    - pods: {podSelector: {matchLabels: {app: web}}}
    - namespaces: {}
    protocols:
    - tcp: {destinationPort: {number: 80}}
    - udp: {destinationPort: {range: {start: 10, end: 20}}}
    - destinationNamedPort: http
  - action: Pass
    from: [{namespaces: {}}]
  egress:
  - action: Deny
    to:
    - nodes: {}
    - networks: [10.0.0.0/8, 'fd00::/8']
    protocols:
    - sctp: {destinationPort: {number: 9}}
",
    );
    assert_eq!(said, Vec::<String>::new());
    assert_eq!(policy.tier.to_string(), "baseline tier, priority 30");
    assert_eq!(
        policy.subject[0].to_string(),
        "endpoints app=db of namespaces team=a"
    );
    let ingress = policy.ingress.unwrap();
    assert_eq!(ingress[0].name.as_deref(), Some("web"));
    let listed = |rule: &Rule| {
        let peers = rule.peers.iter().map(ToString::to_string);
        peers
            .chain(rule.ports.iter().map(ToString::to_string))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        listed(&ingress[0]),
        [
            "endpoints app=web of all namespaces",
            "all endpoints of all namespaces",
            "80/tcp",
            "10-20/udp",
            "http"
        ]
    );
    assert_eq!(
        (ingress[1].action, &ingress[1].ports[..]),
        (Action::Pass, &[Port::Any][..])
    );
    assert_eq!(
        listed(&policy.egress.unwrap()[0]),
        ["nodes all", "10.0.0.0/8", "fd00::/8", "9/sctp"]
    );
}

#[test]
fn a_rule_that_is_not_understood_accepts_nothing_or_denies_everything() {
    let peers = "from: [{namespaces: {}}]";
    for rest in [
        "from: [{}]",
        "from: [{pods: {podSelector: {}}, namespaces: {}}]",
        "from: [{namespaces: {}}, {networks: [10.0.0.0/8]}]",
        "from: []",
        "form: [{namespaces: {}}]",
        "from: [{pods: {}}]",
        "from: [{namespaces: {matchLabels: {a: 1}}}]",
        "from: [{namespaces: {}}], protocols: []",
        "from: [{namespaces: {}}], protocols: [{}]",
        "from: [{namespaces: {}}], protocols: [{tcp: {}}]",
        "from: [{namespaces: {}}], protocols: [{icmp: {}}]",
        "from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {number: 80, range: {start: 1, end: 2}}}}]",
        "from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {number: 0}}}]",
        "from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {range: {start: 9, end: 2}}}}]",
        "from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {range: {start: 9}}}}]",
        "from: [{namespaces: {}}], protocols: [{destinationNamedPort: HTTP}]",
        "from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {number: 80}}, udp: {destinationPort: {number: 80}}}]",
    ] {
        let ingress = |action: &str| {
            let (policy, said) = cluster_policy(&format!(
                "{{{ADMIN}, ingress: [{{action: {action}, {rest}}}]}}"
            ));
            assert_eq!(policy.unread, Vec::<String>::new(), "{rest}");
            assert!(!said.is_empty(), "{rest}");
            policy.ingress.unwrap().remove(0)
        };
        let accept = ingress("Accept");
        assert!(
            accept.action == Action::Allow && accept.peers.is_empty(),
            "{rest}"
        );
        for action in ["Deny", "Pass"] {
            let rule = ingress(action);
            assert_eq!(
                (rule.action, &rule.peers[..], &rule.ports[..]),
                (Action::Deny, &[Peer::Any][..], &[Port::Any][..]),
                "{rest}"
            );
        }
    }
    for rule in [
        format!("{{{peers}}}"),
        format!("{{action: Allow, {peers}}}"),
        "null".to_owned(),
    ] {
        let (policy, _) = cluster_policy(&format!("{{{ADMIN}, ingress: [{rule}]}}"));
        let rule = policy.ingress.unwrap().remove(0);
        assert_eq!(
            (rule.action, &rule.peers[..]),
            (Action::Deny, &[Peer::Any][..])
        );
    }
}

#[test]
fn domain_names_and_named_ports_of_networks_are_no_egress_peers_here() {
    for (to, wrong) in [
        (
            "to: [{domainNames: [example.org]}]",
            "domain names are not looked up",
        ),
        (
            "to: [{networks: [10.0.0.0/8]}], protocols: [{destinationNamedPort: http}]",
            "named ports go with pods",
        ),
        (
            "to: [{networks: []}]",
            "an empty list is not a list of at least one item",
        ),
        ("to: [{networks: [10.0.0.0]}]", "is not a prefix"),
    ] {
        let (policy, said) =
            cluster_policy(&format!("{{{ADMIN}, egress: [{{action: Accept, {to}}}]}}"));
        assert!(policy.egress.unwrap()[0].peers.is_empty(), "{to}");
        assert!(said[0].contains(wrong), "{said:?}");
    }
}

#[test]
fn a_cluster_policy_that_is_not_understood_denies_everything_to_whom_it_selects() {
    for (spec, subject) in [
        (
            "{tier: Admin, priority: 1001, subject: {namespaces: {matchLabels: {a: b}}}}",
            "all endpoints of namespaces a=b",
        ),
        (
            "{tier: Admin, priority: -1, subject: {namespaces: {matchLabels: {a: b}}}}",
            "all endpoints of namespaces a=b",
        ),
        (
            "{tier: Admin, priority: '5', subject: {namespaces: {matchLabels: {a: b}}}}",
            "all endpoints of namespaces a=b",
        ),
        (
            "{tier: Admin, subject: {namespaces: {matchLabels: {a: b}}}}",
            "all endpoints of namespaces a=b",
        ),
        (
            "{tier: Middle, priority: 1, subject: {namespaces: {matchLabels: {a: b}}}}",
            "all endpoints of namespaces a=b",
        ),
        (
            "{tier: Admin, priority: 1, subject: {}}",
            "all endpoints of all namespaces",
        ),
        (
            "{tier: Admin, priority: 1, subject: {nodes: {}}}",
            "all endpoints of all namespaces",
        ),
        (
            "{tier: Admin, priority: 1}",
            "all endpoints of all namespaces",
        ),
        (
            "{tier: Admin, priority: 1, subject: {namespaces: {}}, ingres: []}",
            "all endpoints of all namespaces",
        ),
        ("null", "all endpoints of all namespaces"),
    ] {
        let (policy, said) = cluster_policy(spec);
        assert!(is_closed(&policy), "{spec}: {policy:#?}");
        assert_eq!(policy.subject[0].to_string(), subject, "{spec}");
        assert!(!said.is_empty(), "{spec}");
    }
}

#[test]
fn pods_that_have_ended_are_nobody() {
    let pod = |phase: &str| {
        read(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: a, namespace: x}}\nstatus: {{phase: {phase}, podIPs: [{{ip: 10.0.0.1}}]}}\n"
        ))
    };
    assert_eq!(pod("Running").world.endpoints.len(), 1);
    assert_eq!(pod("Pending").world.endpoints.len(), 1);
    for phase in ["Succeeded", "Failed"] {
        let reading = pod(phase);
        assert!(reading.world.endpoints.is_empty());
        assert!(
            said(&reading)[0].contains("it has ended"),
            "{:?}",
            said(&reading)
        );
    }
}

#[test]
fn a_pod_tells_its_labels_addresses_named_ports_and_node() {
    let reading = read(
        "apiVersion: v1
kind: Pod
metadata: {name: a, namespace: x, labels: {app: web, 'bad key': b}, deletionTimestamp: '2026-01-01T00:00:00Z'}
spec:
  nodeName: n1
  containers:
  - ports: [{name: http, containerPort: 80}, {containerPort: 81}]
  - ports: [{name: http, containerPort: 8080}, {name: dns, containerPort: 53, protocol: UDP}]
  initContainers:
  - ports: [{name: setup, containerPort: 1}]
  - restartPolicy: Always
    ports: [{name: mesh, containerPort: 15001}]
status:
  phase: Running
  hostIP: 192.0.2.1
  podIP: 10.0.0.1
  podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]
",
    );
    let endpoint = &reading.world.endpoints[&EndpointId::new("x", "a")];
    assert_eq!(endpoint.labels.to_string(), "app=web");
    assert_eq!(endpoint.addresses.len(), 2);
    let ports: Vec<String> = endpoint
        .ports
        .iter()
        .map(|port| format!("{}={}/{}", port.name, port.port, port.protocol))
        .collect();
    assert_eq!(
        ports,
        [
            "dns=53/udp",
            "http=80/tcp",
            "http=8080/tcp",
            "mesh=15001/tcp"
        ]
    );
    let node = &reading.world.nodes[&NodeName::new("n1")];
    assert_eq!(
        node.addresses.iter().next().unwrap().to_string(),
        "192.0.2.1"
    );
    assert_eq!(said(&reading).len(), 1, "{:?}", said(&reading));
}

#[test]
fn lists_documents_and_json_are_all_objects() {
    let pod = |name: &str| {
        format!(r#"{{"metadata":{{"name":"{name}"}},"status":{{"podIP":"10.0.0.1"}}}}"#)
    };
    let full = |name: &str| pod(name).replacen('{', r#"{"apiVersion":"v1","kind":"Pod","#, 1);
    let count = |text: &str| read(text).world.endpoints.len();
    assert_eq!(count(&format!("{}\n{}", full("a"), full("b"))), 2);
    assert_eq!(
        count(&format!(
            r#"{{"apiVersion":"v1","kind":"List","items":[{},{}]}}"#,
            full("a"),
            full("b")
        )),
        2
    );
    assert_eq!(
        count(&format!(
            r#"{{"apiVersion":"v1","kind":"PodList","items":[{},{}]}}"#,
            pod("a"),
            pod("b")
        )),
        2
    );
    assert_eq!(
        count(&format!(
            "---\n{}\n---\n---\n# nothing\n---\n{}\n",
            full("a"),
            full("b")
        )),
        2
    );
    assert_eq!(count(""), 0);
    let reading = read("kind: Pod\n");
    assert!(said(&reading)[0].contains("is not an object with apiVersion and kind"));
}

#[test]
fn an_address_of_two_endpoints_is_told() {
    let pod = |name: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: x}}\nstatus: {{podIP: 10.0.0.1}}\n---\n"
        )
    };
    let reading = read(&(pod("a") + &pod("b")));
    assert_eq!(
        said(&reading),
        [
            "f.yaml:6: x/b: address 10.0.0.1 is also that of x/a: what is written for either holds for it"
        ]
    );
}

#[test]
fn an_object_that_is_there_twice_is_told() {
    let text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n";
    let reading = read(&format!("{text}---\n{text}"));
    assert_eq!(
        said(&reading),
        ["f.yaml:5: Namespace x: it was read before, at f.yaml:1: the last one counts"]
    );
}

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
