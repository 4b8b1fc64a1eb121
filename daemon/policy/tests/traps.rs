//! Where readers of `NetworkPolicy` go wrong: each pitfall is a test, and so is each corner that the
//! specifications leave open (docs/policy.md). Objects in, verdicts out, nothing in between is looked at.

use std::net::IpAddr;

use bulkhead_model::Protocol;
use bulkhead_policy::read::Reader;
use bulkhead_policy::{
    Decision, Direction, Packet, Reason, Space, Traffic, Verdict, World, evaluate,
};

/// Namespaces x and y with pods a and b each, on node n1 but for y/b, which is on n2; y is labelled
/// `ns: y`. Their addresses are 10.0.0.1 to 4 and `fd00::1` to 4.
const PEOPLE: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: x, labels: {ns: x}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: y, labels: {ns: y}}}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: x, labels: {pod: a}}
spec: {nodeName: n1, containers: [{ports: [{name: web, containerPort: 80}, {name: dns, containerPort: 53, protocol: UDP}]}]}
status: {hostIP: 192.0.2.1, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: x, labels: {pod: b}}
spec: {nodeName: n1, containers: [{ports: [{name: web, containerPort: 8080}]}]}
status: {hostIP: 192.0.2.1, podIPs: [{ip: 10.0.0.2}, {ip: 'fd00::2'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: y, labels: {pod: a}}
spec: {nodeName: n1}
status: {hostIP: 192.0.2.1, podIPs: [{ip: 10.0.0.3}, {ip: 'fd00::3'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: y, labels: {pod: b}}
spec: {nodeName: n2}
status: {hostIP: 192.0.2.2, podIPs: [{ip: 10.0.0.4}, {ip: 'fd00::4'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: host, namespace: y, labels: {pod: b}}
spec: {nodeName: n2, hostNetwork: true}
status: {hostIP: 192.0.2.2, podIPs: [{ip: 192.0.2.2}]}
";

const XA: &str = "10.0.0.1";
const XB: &str = "10.0.0.2";
const YA: &str = "10.0.0.3";
const YB: &str = "10.0.0.4";
const OWN_NODE: &str = "192.0.2.1";
const OTHER_NODE: &str = "192.0.2.2";
const OUTSIDE: &str = "203.0.113.9";

fn world(more: &[&str]) -> World {
    let mut reader = Reader::new();
    reader.read("people.yaml", PEOPLE).unwrap();
    for text in more {
        reader.read("policies.yaml", text).unwrap();
    }
    reader.finish().world
}

/// A policy of namespace x.
fn policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: x}}\nspec: {spec}\n"
    )
}

fn cluster(name: &str, tier: &str, priority: u16, rest: &str) -> String {
    format!(
        "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {{name: {name}}}\nspec: {{tier: {tier}, priority: {priority}, {rest}}}\n"
    )
}

/// A world with policies of namespace x.
fn with(specs: &[&str]) -> World {
    let policies: Vec<String> = (0..)
        .zip(specs)
        .map(|(nth, spec)| policy(&format!("p{nth}"), spec))
        .collect();
    world(&policies.iter().map(String::as_str).collect::<Vec<_>>())
}

fn verdict(world: &World, source: &str, destination: &str, traffic: Traffic) -> Verdict {
    let address = |text: &str| -> IpAddr { text.parse().unwrap() };
    let packet = Packet {
        space: Space::Node,
        source: address(source),
        destination: address(destination),
        traffic,
    };
    evaluate(world, &packet)
}

/// Whether it goes through, the same by IPv4 and by IPv6.
fn goes(world: &World, source: &str, destination: &str, traffic: Traffic) -> bool {
    let of_v6 = |text: &str| match text.strip_prefix("10.0.0.") {
        Some(last) => Some(format!("fd00::{last}")),
        None => (text == OUTSIDE).then(|| "2001:db8::9".to_owned()),
    };
    let decision = verdict(world, source, destination, traffic).decision;
    if let (Some(source), Some(destination)) = (of_v6(source), of_v6(destination)) {
        let twin = verdict(world, &source, &destination, traffic).decision;
        assert_eq!(twin, decision, "{source} -> {destination} {traffic}");
    }
    decision == Decision::Allow
}

const fn tcp(port: u16) -> Traffic {
    Traffic::Port {
        protocol: Protocol::Tcp,
        port,
    }
}

const fn udp(port: u16) -> Traffic {
    Traffic::Port {
        protocol: Protocol::Udp,
        port,
    }
}

const fn sctp(port: u16) -> Traffic {
    Traffic::Port {
        protocol: Protocol::Sctp,
        port,
    }
}

const ECHO: Traffic = Traffic::Icmp { kind: 8, code: 0 };

#[test]
fn isolation_is_per_direction_and_per_pod() {
    let world = with(&["{podSelector: {matchLabels: {pod: a}}, policyTypes: [Ingress]}"]);
    assert!(!goes(&world, XB, XA, tcp(80)), "selected, in the direction");
    assert!(
        goes(&world, XA, XB, tcp(80)),
        "selected, in the other direction"
    );
    assert!(
        goes(&world, YA, XB, tcp(80)),
        "of the namespace and not selected"
    );
    assert!(
        goes(&world, XB, YA, tcp(80)),
        "of another namespace, with the same label"
    );
    let world = with(&["{podSelector: {}, policyTypes: [Egress]}"]);
    assert!(!goes(&world, XA, YA, tcp(80)) && goes(&world, YA, XA, tcp(80)));
}

#[test]
fn policy_types_default_to_ingress_and_to_egress_where_there_are_rules() {
    let out = |spec: &str| goes(&with(&[spec]), XA, YA, tcp(80));
    assert!(out("{podSelector: {}}"));
    assert!(
        out("{podSelector: {}, egress: []}"),
        "as SetDefaults_NetworkPolicy has it"
    );
    assert!(!out("{podSelector: {}, egress: [{ports: [{port: 1}]}]}"));
    assert!(out(
        "{podSelector: {}, policyTypes: [Ingress], egress: [{ports: [{port: 1}]}]}"
    ));
    assert!(
        !goes(&with(&["{podSelector: {}, egress: [{}]}"]), YA, XA, tcp(80)),
        "ingress always"
    );
}

#[test]
fn no_rules_deny_and_an_empty_rule_allows_everything() {
    let into = |ingress: &str| {
        goes(
            &with(&[&format!("{{podSelector: {{}}, ingress: {ingress}}}")]),
            OUTSIDE,
            XA,
            udp(9),
        )
    };
    assert!(!into("[]"));
    assert!(!into("null"));
    assert!(into("[{}]"));
    assert!(into("[{from: []}]"));
    assert!(into("[{ports: []}]"));
    assert!(into("[{from: [], ports: []}]"));
}

#[test]
fn selectors_of_one_peer_are_met_together_and_peers_each() {
    let from = |peers: &str, who: &str| {
        goes(
            &with(&[&format!(
                "{{podSelector: {{}}, ingress: [{{from: {peers}}}]}}"
            )]),
            who,
            XA,
            tcp(80),
        )
    };
    let both =
        "[{podSelector: {matchLabels: {pod: a}}, namespaceSelector: {matchLabels: {ns: y}}}]";
    assert!(from(both, YA) && !from(both, YB) && !from(both, XB));
    let either =
        "[{podSelector: {matchLabels: {pod: b}}}, {namespaceSelector: {matchLabels: {ns: y}}}]";
    assert!(from(either, YA) && from(either, YB) && from(either, XB));
    let all_of_own = "[{podSelector: {}}]";
    assert!(from(all_of_own, XB) && !from(all_of_own, YA) && !from(all_of_own, OUTSIDE));
    let all = "[{namespaceSelector: {}}]";
    assert!(from(all, XB) && from(all, YA) && !from(all, OUTSIDE));
}

#[test]
fn a_port_without_protocol_is_tcp_and_a_protocol_without_port_is_all_of_it() {
    let into = |ports: &str, traffic| {
        goes(
            &with(&[&format!(
                "{{podSelector: {{}}, ingress: [{{ports: {ports}}}]}}"
            )]),
            YA,
            XA,
            traffic,
        )
    };
    assert!(into("[{port: 80}]", tcp(80)) && !into("[{port: 80}]", udp(80)));
    assert!(into("[{protocol: UDP}]", udp(1)) && into("[{protocol: UDP}]", udp(65535)));
    assert!(!into("[{protocol: UDP}]", tcp(1)));
    let range = "[{port: 80, endPort: 90}]";
    assert!(
        into(range, tcp(80))
            && into(range, tcp(90))
            && !into(range, tcp(79))
            && !into(range, tcp(91))
    );
    assert!(
        !into("[{port: web, endPort: 90}]", tcp(80)),
        "endPort needs a number: closed"
    );
    assert!(
        !into("[{port: 90, endPort: 80}]", tcp(85)),
        "an empty range: closed"
    );
}

#[test]
fn a_named_port_is_the_destinations_own() {
    let world =
        with(&["{podSelector: {}, ingress: [{ports: [{port: web}]}], policyTypes: [Ingress]}"]);
    assert!(goes(&world, YA, XA, tcp(80)) && !goes(&world, YA, XA, tcp(8080)));
    assert!(
        goes(&world, YA, XB, tcp(8080)) && !goes(&world, YA, XB, tcp(80)),
        "another number there"
    );
    let world = with(&["{podSelector: {}, ingress: [{ports: [{port: dns}]}]}"]);
    assert!(
        !goes(&world, YA, XA, udp(53)) && !goes(&world, YA, XA, tcp(53)),
        "of another protocol"
    );
    let world = with(&["{podSelector: {}, ingress: [{ports: [{port: dns, protocol: UDP}]}]}"]);
    assert!(goes(&world, YA, XA, udp(53)));
    assert!(!goes(&world, YA, XB, udp(53)), "no such port there");
    let world =
        with(&["{podSelector: {}, egress: [{ports: [{port: web}]}], policyTypes: [Egress]}"]);
    assert!(goes(&world, XA, XB, tcp(8080)) && !goes(&world, XA, XB, tcp(80)));
    assert!(!goes(&world, XA, YA, tcp(80)), "no such port there");
    assert!(!goes(&world, XA, OUTSIDE, tcp(80)), "no endpoint, no names");
}

#[test]
fn a_block_means_pods_too_and_an_exception_is_of_its_own_block() {
    let from = |specs: &[&str], who: &str| {
        verdict(&with(specs), who, XA, tcp(80)).decision == Decision::Allow
    };
    let block = "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.4/32]}}]}]}";
    assert!(from(&[block], YA) && !from(&[block], YB) && !from(&[block], OUTSIDE));
    let again = "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.4/30}}]}]}";
    assert!(
        from(&[block, again], YB),
        "another policy may allow what is excepted here"
    );
    let nested = "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/24]}}, {ipBlock: {cidr: 10.0.0.4/32}}]}]}";
    assert!(from(&[nested], YB) && !from(&[nested], YA));
}

#[test]
fn allows_are_a_union_without_order() {
    let world = with(&[
        "{podSelector: {}, ingress: []}",
        "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {}}]}]}",
        "{podSelector: {}, ingress: [{ports: [{port: 443}]}]}",
    ]);
    assert!(goes(&world, XB, XA, tcp(80)) && goes(&world, YA, XA, tcp(443)));
    assert!(
        !goes(&world, YA, XA, tcp(80))
            && !goes(&world, XA, XB, tcp(80))
            && goes(&world, XA, XB, tcp(443))
    );
}

#[test]
fn tiers_are_asked_in_order_and_a_pass_goes_to_the_next() {
    let of = "subject: {namespaces: {matchLabels: {ns: x}}}, ingress: ";
    let rule = |action: &str| format!("{of}[{{action: {action}, from: [{{namespaces: {{}}}}]}}]");
    let isolated = policy("p", "{podSelector: {}}");
    let open = policy("p", "{podSelector: {}, ingress: [{}]}");
    let into = |policies: &[&String]| {
        let policies: Vec<&str> = policies.iter().map(|policy| policy.as_str()).collect();
        goes(&world(&policies), YA, XA, tcp(80))
    };
    let [accept, deny, pass] =
        ["Accept", "Deny", "Pass"].map(|action| cluster("admin", "Admin", 5, &rule(action)));
    let [accept_first, deny_first, pass_first] =
        ["Accept", "Deny", "Pass"].map(|action| cluster("first", "Admin", 4, &rule(action)));
    let [base_accept, base_deny, base_pass] =
        ["Accept", "Deny", "Pass"].map(|action| cluster("base", "Baseline", 0, &rule(action)));
    let base_deny_last = cluster("last", "Baseline", 9, &rule("Deny"));
    assert!(
        into(&[&accept, &isolated]) && !into(&[&deny, &open]),
        "admin before the middle"
    );
    assert!(
        !into(&[&pass, &isolated]) && into(&[&pass, &open]),
        "a pass goes on"
    );
    assert!(
        into(&[&deny, &accept_first]) && !into(&[&accept, &deny_first]),
        "by priority"
    );
    assert!(
        into(&[&deny, &pass_first]),
        "a pass leaves the rest of the tier out"
    );
    assert!(
        !into(&[&base_accept, &isolated]) && into(&[&base_deny, &open]),
        "the middle before baseline"
    );
    assert!(
        !into(&[&base_deny]) && !into(&[&pass, &base_deny]),
        "baseline where nobody isolates"
    );
    assert!(
        into(&[&base_pass, &base_deny_last]),
        "a pass of the last tier"
    );
    assert!(into(&[&base_accept]) && into(&[]));
}

#[test]
fn rules_of_one_policy_are_taken_in_order() {
    let rules = |rules: &str| {
        world(&[&cluster(
            "c",
            "Admin",
            1,
            &format!("subject: {{namespaces: {{}}}}, ingress: [{rules}]"),
        )])
    };
    let deny_all = "{action: Deny, from: [{namespaces: {}}]}";
    let accept_a = "{action: Accept, from: [{pods: {podSelector: {matchLabels: {pod: a}}}}]}";
    let first = rules(&format!("{accept_a}, {deny_all}"));
    assert!(goes(&first, YA, XA, tcp(80)) && !goes(&first, YB, XA, tcp(80)));
    let last = rules(&format!("{deny_all}, {accept_a}"));
    assert!(!goes(&last, YA, XA, tcp(80)));
}

#[test]
fn policies_of_one_priority_are_asked_by_name() {
    let rule = |action: &str| {
        format!(
            "subject: {{namespaces: {{}}}}, ingress: [{{action: {action}, from: [{{namespaces: {{}}}}]}}]"
        )
    };
    let into = |first: &str, second: &str| {
        let [first, second] = [
            cluster("a", "Admin", 7, &rule(first)),
            cluster("b", "Admin", 7, &rule(second)),
        ];
        let orders = [world(&[&first, &second]), world(&[&second, &first])];
        let [one, other] = orders.map(|world| goes(&world, YA, XA, tcp(80)));
        assert_eq!(one, other, "whatever the order they are read in");
        one
    };
    assert!(into("Accept", "Deny") && !into("Deny", "Accept"));
}

#[test]
fn a_cluster_policy_isolates_nobody() {
    let world = world(&[&cluster(
        "c",
        "Admin",
        1,
        "subject: {namespaces: {}}, ingress: [{action: Accept, from: [{pods: {podSelector: {matchLabels: {pod: a}}}}]}]",
    )]);
    assert!(goes(&world, YB, XA, tcp(80)));
}

#[test]
fn unknown_fields_fail_closed() {
    let rule = |action: &str| {
        let text = cluster(
            "c",
            "Admin",
            1,
            &format!(
                "subject: {{namespaces: {{}}}}, ingress: [{{action: {action}, from: [{{services: {{}}}}]}}, {{action: Accept, from: [{{namespaces: {{}}}}]}}]"
            ),
        );
        goes(&world(&[&text]), YA, XA, tcp(80))
    };
    assert!(rule("Accept"), "matches nothing, so the next rule is asked");
    assert!(!rule("Deny") && !rule("Pass"));
}

#[test]
fn both_ends_must_let_it_go() {
    let world = world(&[
        &policy(
            "in",
            "{podSelector: {matchLabels: {pod: b}}, ingress: [{from: [{podSelector: {matchLabels: {pod: a}}}]}]}",
        ),
        &policy(
            "out",
            "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{ports: [{port: 1}]}]}",
        ),
    ]);
    let verdict = verdict(&world, XA, XB, tcp(80));
    assert_eq!(verdict.of(Direction::Ingress), Some(Decision::Allow));
    assert_eq!(verdict.of(Direction::Egress), Some(Decision::Deny));
    assert_eq!(verdict.decision, Decision::Deny);
    assert!(goes(&world, XA, XB, tcp(1)) && !goes(&world, YA, XB, tcp(1)));
}

#[test]
fn what_comes_back_by_way_of_a_service_is_judged_as_anything_else() {
    let world = with(&[
        "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}}]}]}",
    ]);
    assert!(!goes(&world, XA, XA, tcp(80)));
    let world = with(&["{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}"]);
    assert!(goes(&world, XA, XA, tcp(80)));
}

#[test]
fn the_own_node_always_reaches_its_pods_and_is_told_as_such() {
    let world = world(&[
        &policy("p", "{podSelector: {}}"),
        &cluster(
            "c",
            "Admin",
            0,
            "subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]",
        ),
    ]);
    let of_own = verdict(&world, OWN_NODE, XA, tcp(80));
    assert_eq!(of_own.decision, Decision::Allow);
    assert_eq!(of_own.because[0].reason, Reason::OwnNode);
    assert!(
        !goes(&world, OTHER_NODE, XA, tcp(80)),
        "another node is anybody"
    );
}

#[test]
fn the_own_node_is_a_destination_as_any_other() {
    let world = with(&["{podSelector: {}, policyTypes: [Egress]}"]);
    assert!(!goes(&world, XA, OWN_NODE, tcp(80)));
    let world = with(&[
        "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 192.0.2.1/32}}]}]}",
    ]);
    assert!(goes(&world, XA, OWN_NODE, tcp(80)) && !goes(&world, XA, OTHER_NODE, tcp(80)));
}

#[test]
fn icmp_is_a_protocol_and_a_rule_with_ports_is_not_about_it() {
    let isolated = with(&["{podSelector: {}}"]);
    assert!(!goes(&isolated, YA, XA, ECHO));
    let by_port = with(&["{podSelector: {}, ingress: [{ports: [{port: 80}]}]}"]);
    assert!(!goes(&by_port, YA, XA, ECHO) && !goes(&by_port, YA, XA, Traffic::Other(47)));
    let by_peer = with(&["{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}"]);
    assert!(goes(&by_peer, YA, XA, ECHO) && goes(&by_peer, YA, XA, Traffic::Other(47)));
    let by_type = "apiVersion: bulkhead/v1\nkind: Policy\nmetadata: {name: p}\nspec: {tier: middle, subject: [{endpoints: {namespace: x}}], ingress: [{ports: [icmp/8, icmpv6/128]}]}\n";
    let world = world(&[by_type]);
    let go = |source, destination, kind| {
        verdict(&world, source, destination, Traffic::Icmp { kind, code: 0 }).decision
            == Decision::Allow
    };
    assert!(go(YA, XA, 8) && !go(YA, XA, 13));
    assert!(
        go("fd00::3", "fd00::1", 128) && !go("fd00::3", "fd00::1", 8),
        "types of the other family"
    );
}

#[test]
fn neighbour_discovery_is_never_broken() {
    let world = with(&["{podSelector: {}, policyTypes: [Ingress, Egress]}"]);
    for kind in [130, 131, 132, 133, 134, 135, 136, 143] {
        let verdict = verdict(
            &world,
            "fd00::3",
            "fd00::1",
            Traffic::Icmp { kind, code: 0 },
        );
        assert_eq!(verdict.decision, Decision::Allow, "{kind}");
        assert_eq!(verdict.because[1].reason, Reason::Discovery);
    }
    for (source, destination, kind) in [
        ("fd00::3", "fd00::1", 137),
        ("fd00::3", "fd00::1", 128),
        (YA, XA, 135),
    ] {
        let verdict = verdict(&world, source, destination, Traffic::Icmp { kind, code: 0 });
        assert_eq!(verdict.decision, Decision::Deny, "{source} {kind}");
    }
}

#[test]
fn an_sctp_policy_is_not_about_tcp() {
    let world = with(&["{podSelector: {}, ingress: [{ports: [{protocol: SCTP, port: 80}]}]}"]);
    assert!(goes(&world, YA, XA, sctp(80)));
    assert!(
        !goes(&world, YA, XA, tcp(80))
            && !goes(&world, YA, XA, udp(80))
            && !goes(&world, YA, XA, sctp(81))
    );
}

#[test]
fn pods_on_their_nodes_network_are_nodes() {
    let all = "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}";
    let world = with(&[all]);
    assert!(
        !goes(&world, OTHER_NODE, XA, tcp(80)),
        "no selector means one"
    );
    let policy_of_y = policy("p", "{podSelector: {}, policyTypes: [Ingress, Egress]}")
        .replace("namespace: x", "namespace: y");
    let world = self::world(&[&policy_of_y]);
    let verdict = verdict(&world, OUTSIDE, OTHER_NODE, tcp(80));
    assert_eq!(
        (verdict.decision, verdict.because.len()),
        (Decision::Allow, 0),
        "no policy is about one"
    );
    let by_address =
        with(&["{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 192.0.2.2/32}}]}]}"]);
    assert!(goes(&by_address, OTHER_NODE, XA, tcp(80)));
}

#[test]
fn pods_that_have_ended_are_neither_selected_nor_peers() {
    let ended = "{apiVersion: v1, kind: Pod, metadata: {name: job, namespace: x, labels: {pod: b}}, status: {phase: Succeeded, podIPs: [{ip: 10.0.0.9}]}}\n";
    let allow_b = policy(
        "p",
        "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}]}]}",
    );
    let world = world(&[ended, &allow_b]);
    let from = |who: &str| verdict(&world, who, XA, tcp(80)).decision;
    assert_eq!(
        from("10.0.0.9"),
        Decision::Deny,
        "the address may be another's by now"
    );
    assert_eq!(from(XB), Decision::Allow);
    assert_eq!(
        verdict(&world, YA, "10.0.0.9", tcp(80)).of(Direction::Ingress),
        None
    );
}

#[test]
fn a_pod_that_is_being_deleted_is_still_selected() {
    let dying = "{apiVersion: v1, kind: Pod, metadata: {name: old, namespace: x, deletionTimestamp: '2026-01-01T00:00:00Z'}, status: {phase: Running, podIPs: [{ip: 10.0.0.9}]}}\n";
    let world = world(&[dying, &policy("p", "{podSelector: {}}")]);
    assert_eq!(
        verdict(&world, YA, "10.0.0.9", tcp(80)).decision,
        Decision::Deny
    );
}

#[test]
fn the_default_route_of_one_family_is_nothing_of_the_other() {
    let from = |cidr: &str, who: &str, to: &str| {
        let world = with(&[&format!(
            "{{podSelector: {{}}, ingress: [{{from: [{{ipBlock: {{cidr: '{cidr}'}}}}]}}]}}"
        )]);
        verdict(&world, who, to, tcp(80)).decision == Decision::Allow
    };
    assert!(from("0.0.0.0/0", YA, XA) && !from("0.0.0.0/0", "fd00::3", "fd00::1"));
    assert!(from("::/0", "fd00::3", "fd00::1") && !from("::/0", YA, XA));
    assert!(!from("::ffff:0:0/96", YA, XA), "mapped addresses are IPv6");
}

#[test]
fn every_namespace_has_the_label_of_its_name() {
    let from = |specs: &str, who: &str| goes(&with(&[specs]), who, XA, tcp(80));
    let by_name = "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: y}}}]}]}";
    assert!(from(by_name, YA) && !from(by_name, XB));
    // Also one without an object, and one that says it is another.
    let liar = "{apiVersion: v1, kind: Namespace, metadata: {name: z, labels: {kubernetes.io/metadata.name: y}}}\n---\n{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: z}, status: {podIPs: [{ip: 10.0.0.9}]}}\n";
    let world = world(&[liar, &policy("p", by_name)]);
    assert_eq!(
        verdict(&world, "10.0.0.9", XA, tcp(80)).decision,
        Decision::Deny
    );
}

const NETWORK: &str = "
apiVersion: bulkhead/v1
kind: Network
metadata: {name: blue}
spec: {gateways: [10.4.0.1], pools: [10.4.0.0/24], unlabelled: {ingress: closed}}
---
{apiVersion: bulkhead/v1, kind: Endpoint, metadata: {name: a, labels: {app: web}}, spec: {network: blue, addresses: [10.4.0.2], node: n1}}
---
{apiVersion: bulkhead/v1, kind: Endpoint, metadata: {name: b}, spec: {network: blue, addresses: [10.4.0.3], node: n1, groups: [db]}}
---
{apiVersion: bulkhead/v1, kind: Endpoint, metadata: {name: c}, spec: {network: blue, addresses: [10.4.0.4], node: n1}}
---
{apiVersion: v1, kind: Node, metadata: {name: n1, labels: {zone: east}}, status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2, labels: {zone: west}}, status: {addresses: [{type: InternalIP, address: 192.0.2.2}, {type: Hostname, address: n2}]}}
";

fn blue(more: &str) -> World {
    let mut reader = Reader::new();
    reader.read("blue.yaml", NETWORK).unwrap();
    reader.read("more.yaml", more).unwrap();
    let reading = reader.finish();
    assert_eq!(reading.complaints, []);
    reading.world
}

fn egress_to(peer: &str) -> World {
    blue(&format!(
        "apiVersion: bulkhead/v1\nkind: Policy\nmetadata: {{name: p}}\nspec: {{tier: middle, subject: [{{network: blue}}], egress: [{{to: [{peer}]}}]}}\n"
    ))
}

#[test]
fn entities_are_what_an_address_is() {
    let to = |peer: &str| {
        let world = egress_to(peer);
        [
            "10.4.0.1",
            OWN_NODE,
            OTHER_NODE,
            "10.4.0.3",
            "10.4.0.99",
            OUTSIDE,
        ]
        .map(|to| {
            verdict(&world, "10.4.0.2", to, tcp(80)).of(Direction::Egress) == Some(Decision::Allow)
        })
    };
    assert_eq!(
        to("{entity: own-node}"),
        [true, true, false, false, false, false]
    );
    assert_eq!(
        to("{entity: any-node}"),
        [true, true, true, false, false, false]
    );
    assert_eq!(
        to("{entity: gateway}"),
        [true, false, false, false, false, false]
    );
    assert_eq!(
        to("{entity: world}"),
        [false, false, false, false, false, true]
    );
    assert_eq!(
        to("{nodes: {matchLabels: {zone: west}}}"),
        [false, false, true, false, false, false]
    );
    assert_eq!(
        to("{network: blue}"),
        [false, false, false, true, false, false]
    );
    assert_eq!(to("{group: db}"), [false, false, false, true, false, false]);
}

#[test]
fn an_address_of_nobody_in_a_pool_is_met_by_no_label_and_is_not_the_world() {
    for peer in ["{endpoints: {}}", "{entity: world}", "{network: blue}"] {
        let world = egress_to(peer);
        assert_eq!(
            verdict(&world, "10.4.0.2", "10.4.0.99", tcp(80)).decision,
            Decision::Deny,
            "{peer}"
        );
    }
    let world = egress_to("{cidr: 10.4.0.0/24}");
    assert_eq!(
        verdict(&world, "10.4.0.2", "10.4.0.99", tcp(80)).decision,
        Decision::Allow
    );
}

#[test]
fn the_network_decides_for_those_without_labels_and_groups() {
    let world = blue("");
    let into = |to: &str| verdict(&world, OUTSIDE, to, tcp(80)).decision;
    assert_eq!(
        [into("10.4.0.2"), into("10.4.0.3"), into("10.4.0.4")],
        [Decision::Allow, Decision::Allow, Decision::Deny]
    );
    assert_eq!(
        verdict(&world, "10.4.0.4", OUTSIDE, tcp(80)).decision,
        Decision::Allow
    );
    let world = blue(
        "{apiVersion: bulkhead/v1, kind: Policy, metadata: {name: p}, spec: {tier: baseline, priority: 1, subject: [{network: blue}], ingress: [{ports: [80/tcp]}]}}\n",
    );
    assert_eq!(
        verdict(&world, OUTSIDE, "10.4.0.4", tcp(80)).decision,
        Decision::Allow,
        "somebody decided"
    );
}

#[test]
fn a_group_is_open_to_whom_any_group_of_the_member_lets_in() {
    let world = blue("
{apiVersion: bulkhead/v1, kind: SecurityGroup, metadata: {name: db}, spec: {ingress: [{ports: [5432/tcp]}]}}
---
{apiVersion: bulkhead/v1, kind: Endpoint, metadata: {name: d}, spec: {network: blue, addresses: [10.4.0.5], groups: [db, web]}}
---
{apiVersion: bulkhead/v1, kind: SecurityGroup, metadata: {name: web}, spec: {ingress: [{ports: [80/tcp]}], egress: [{}]}}
");
    let into = |to: &str, port| verdict(&world, OUTSIDE, to, tcp(port)).decision == Decision::Allow;
    assert!(into("10.4.0.3", 5432) && !into("10.4.0.3", 80));
    assert!(into("10.4.0.5", 5432) && into("10.4.0.5", 80) && !into("10.4.0.5", 22));
    let out = |from: &str| verdict(&world, from, OUTSIDE, tcp(80)).decision == Decision::Allow;
    assert!(
        !out("10.4.0.3") && out("10.4.0.5"),
        "no egress rule, no way out"
    );
}

#[test]
fn addresses_of_overlapping_networks_are_told_apart() {
    let world = blue("
{apiVersion: bulkhead/v1, kind: Network, metadata: {name: red}, spec: {overlapping: true, pools: [10.4.0.0/24]}}
---
{apiVersion: bulkhead/v1, kind: Endpoint, metadata: {name: a}, spec: {network: red, addresses: [10.4.0.2], groups: [shut]}}
---
{apiVersion: bulkhead/v1, kind: SecurityGroup, metadata: {name: shut}, spec: {}}
");
    let into = |space| {
        let packet = Packet {
            space,
            source: OUTSIDE.parse().unwrap(),
            destination: "10.4.0.2".parse().unwrap(),
            traffic: tcp(80),
        };
        evaluate(&world, &packet).decision
    };
    assert_eq!(into(Space::Node), Decision::Allow);
    assert_eq!(into(Space::Network("red".parse().unwrap())), Decision::Deny);
}

#[test]
fn a_policy_in_audit_decides_nothing_and_is_told() {
    let audit = policy("p", "{podSelector: {}}").replace(
        "namespace: x}",
        "namespace: x, annotations: {bulkhead/mode: audit}}",
    );
    let told = verdict(&world(&[&audit]), YA, XA, tcp(80));
    assert_eq!(told.decision, Decision::Allow);
    assert_eq!(
        told.because[1].would_deny[0].to_string(),
        "NetworkPolicy x/p"
    );
    let open = policy("q", "{podSelector: {}, ingress: [{}]}");
    let told = verdict(&world(&[&audit, &open]), YA, XA, tcp(80));
    assert!(
        told.because[1].would_deny.is_empty(),
        "another would have allowed it"
    );
}
