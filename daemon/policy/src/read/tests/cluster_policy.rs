//! Policies of whole clusters.

use super::*;

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
