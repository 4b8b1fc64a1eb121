//! What a change means, what is said in vain, and what would turn a verdict around: told by classes, and
//! checked here against asking about everything.

use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr};

use bulkhead_model::{Family, Protocol};
use bulkhead_policy::classes::What;
use bulkhead_policy::diff::diff;
use bulkhead_policy::edit::{Edit, flips};
use bulkhead_policy::lint::lint;
use bulkhead_policy::matrix::{End, Probe, matrix};
use bulkhead_policy::read::{Effect, Reader};
use bulkhead_policy::representatives::representatives;
use bulkhead_policy::{
    Decision, Endpoint, EndpointId, Engine, Interpreter, Matcher, Packet, Peer, PolicyKind,
    PortRange, Question, Space, Traffic, World,
};

/// Pods a to c in namespaces x and y, by both families.
fn people() -> String {
    let mut text = String::new();
    for (n, namespace) in ["x", "y"].iter().enumerate() {
        writeln!(text, "---\n{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}, labels: {{ns: {namespace}}}}}}}").unwrap();
        for (p, pod) in ["a", "b", "c"].iter().enumerate() {
            let last = 3 * n + p + 1;
            writeln!(
                text,
                "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {pod}, namespace: {namespace}, labels: {{pod: {pod}}}}}, spec: {{containers: [{{ports: [{{name: web, containerPort: 80}}]}}]}}, status: {{podIPs: [{{ip: 10.0.0.{last}}}, {{ip: 'fd00::{last}'}}]}}}}"
            )
            .unwrap();
        }
    }
    text
}

fn policy(name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: {name}, namespace: x}}, spec: {spec}}}"
    )
}

fn cluster(name: &str, tier: &str, priority: u16, ingress: &str) -> String {
    format!(
        "{{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {{name: {name}}}, spec: {{tier: {tier}, priority: {priority}, subject: {{namespaces: {{matchLabels: {{ns: x}}}}}}, ingress: [{ingress}]}}}}"
    )
}

fn own(ingress: &str) -> String {
    format!(
        "{{apiVersion: bulkhead/v1, kind: Policy, metadata: {{name: o}}, spec: {{tier: admin, priority: 3, subject: [{{endpoints: {{namespace: x}}}}], ingress: [{ingress}]}}}}"
    )
}

fn world(policies: &[String]) -> World {
    let mut reader = Reader::new();
    reader.read("people.yaml", &people()).unwrap();
    reader
        .read("policies.yaml", &policies.join("\n---\n"))
        .unwrap();
    let reading = reader.finish();
    assert_eq!(reading.complaints, []);
    reading.world
}

/// Policies that differ in every way there is.
fn some_policies() -> Vec<Vec<String>> {
    vec![
        vec![],
        vec![own(
            "{action: deny, from: [{endpoints: {labels: {matchLabels: {pod: b}}}}], ports: [80/tcp, icmp]}",
        )],
        vec![policy("p", "{podSelector: {}}")],
        vec![policy(
            "p",
            "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {}}], ports: [{port: 80, endPort: 82}]}]}",
        )],
        vec![policy(
            "p",
            "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}}], ports: [{port: web}, {protocol: UDP}]}]}",
        )],
        vec![policy(
            "p",
            "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.0.0.0/29, except: [10.0.0.4/31]}}]}]}",
        )],
        vec![
            policy(
                "p",
                "{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}], egress: [{to: [{podSelector: {matchLabels: {pod: c}}}]}]}",
            ),
            cluster(
                "c",
                "Admin",
                1,
                "{action: Deny, from: [{pods: {podSelector: {matchLabels: {pod: b}}}}], protocols: [{tcp: {destinationPort: {range: {start: 81, end: 90}}}}]}, {action: Pass, from: [{namespaces: {}}]}",
            ),
        ],
        vec![cluster(
            "c",
            "Baseline",
            1,
            "{action: Deny, from: [{namespaces: {}}]}",
        )],
    ]
}

const PORTS: [u16; 8] = [1, 79, 80, 81, 82, 83, 90, 91];

#[test]
fn a_difference_is_what_asking_about_everything_finds() {
    let worlds: Vec<World> = some_policies()
        .iter()
        .map(|policies| world(policies))
        .collect();
    let outside = [
        "203.0.113.9".parse().unwrap(),
        "2001:db8::9".parse().unwrap(),
    ];
    let probes: Vec<Probe> = PORTS
        .into_iter()
        .flat_map(|port| {
            [
                Probe::Port(Protocol::Tcp, port),
                Probe::Port(Protocol::Udp, port),
            ]
        })
        .chain([Probe::Echo, Probe::Protocol(47)])
        .collect();
    let matrices: Vec<_> = worlds
        .iter()
        .map(|world| matrix(world, &Matcher::new(world), &outside, probes.clone()).unwrap())
        .collect();
    for (old, before) in worlds.iter().zip(&matrices) {
        for (new, after) in worlds.iter().zip(&matrices) {
            let difference = diff(old, new);
            for (was, is) in before
                .cells()
                .zip(after.cells())
                .filter(|(was, _)| !was.is_loopback())
            {
                let [source, destination] =
                    [was.source, was.destination].map(|end| &before.ends[end]);
                let told = difference.changes.iter().find(|change| {
                    holds(&change.source, source)
                        && holds(&change.destination, destination)
                        && change.families.contains(&was.family)
                        && change
                            .what
                            .iter()
                            .any(|what| speaks_of(*what, was.traffic.unwrap(), was.family))
                });
                let expected = (was.judgement.decision != is.judgement.decision)
                    .then_some(is.judgement.decision);
                assert_eq!(
                    told.map(|change| change.now),
                    expected,
                    "{source} -> {destination} {} {}",
                    probes[was.probe],
                    was.family
                );
            }
        }
    }
}

fn holds(who: &bulkhead_policy::classes::Who, end: &End) -> bool {
    match (end, who.outside) {
        (End::Address(address), Some((first, last))) => {
            (first..=last).contains(address) && Family::of(*address) == Family::of(first)
        }
        _ => who.members.contains(end),
    }
}

fn speaks_of(what: bulkhead_policy::classes::What, traffic: Traffic, family: Family) -> bool {
    use bulkhead_policy::classes::What;
    match (what, traffic) {
        (What::Ports(of, ports), Traffic::Port { protocol, port }) => {
            of == protocol && ports.contains(port)
        }
        (What::Icmp(of, None), Traffic::Icmp { .. }) => of == family,
        (What::Other(None), Traffic::Other(_)) => true,
        _ => false,
    }
}

#[test]
fn nothing_differs_from_itself() {
    for policies in some_policies() {
        let world = world(&policies);
        assert_eq!(diff(&world, &world).changes, []);
    }
}

#[test]
fn every_change_that_is_told_turns_the_verdict_around() {
    let mut told = 0;
    for policies in some_policies() {
        let world = world(&policies);
        let matcher = Matcher::new(&world);
        for (source, destination) in [
            ("10.0.0.4", "10.0.0.1"),
            ("10.0.0.2", "10.0.0.1"),
            ("203.0.113.9", "10.0.0.1"),
            ("10.0.0.1", "10.0.0.5"),
        ] {
            for port in [80, 81, 443] {
                let packet = Packet {
                    space: Space::Node,
                    source: source.parse().unwrap(),
                    destination: destination.parse().unwrap(),
                    traffic: Traffic::Port {
                        protocol: Protocol::Tcp,
                        port,
                    },
                };
                let verdict = matcher.evaluate(&packet);
                let ways = flips(&world, &packet, &verdict);
                assert!(
                    !ways.is_empty(),
                    "{source} -> {destination} {port} of {policies:?}"
                );
                for way in ways {
                    let mut changed = world.clone();
                    for edit in &way {
                        edit.apply(&mut changed);
                        understood(edit);
                    }
                    assert_ne!(
                        Matcher::new(&changed).evaluate(&packet).decision,
                        verdict.decision,
                        "{way:?}"
                    );
                    told += 1;
                }
            }
        }
    }
    assert!(told > 100, "{told}");
}

/// What is to be written is understood when it is read.
fn understood(edit: &Edit) {
    let Some(snippet) = edit.snippet() else {
        return;
    };
    let text = match edit {
        Edit::AddRule {
            policy: id,
            direction,
            ..
        } => {
            let (version, spec) = match id.kind {
                PolicyKind::NetworkPolicy => ("networking.k8s.io/v1", "podSelector: {}"),
                PolicyKind::ClusterNetworkPolicy => (
                    "policy.networking.k8s.io/v1alpha2",
                    "tier: Admin\n  priority: 1\n  subject: {namespaces: {}}",
                ),
                PolicyKind::Policy | PolicyKind::SecurityGroup => (
                    "bulkhead/v1",
                    "tier: admin\n  priority: 1\n  subject: [{group: g}]",
                ),
            };
            format!(
                "apiVersion: {version}\nkind: {}\nmetadata: {{name: p}}\nspec:\n  {spec}\n  {direction}:\n  {snippet}",
                id.kind
            )
        }
        _ => snippet,
    };
    let mut reader = Reader::new();
    reader.read("snippet.yaml", &text).unwrap();
    let reading = reader.finish();
    let wrong = reading
        .complaints
        .iter()
        .find(|complaint| complaint.effect != Effect::Told);
    assert_eq!(wrong, None, "{text}");
    assert_eq!(reading.world.policies.len(), 1, "{text}");
}

#[test]
fn a_label_that_a_rule_asks_for_is_a_change_too() {
    let world = world(&[policy(
        "p",
        "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchLabels: {role: client}}}]}]}",
    )]);
    let packet = Packet {
        space: Space::Node,
        source: "10.0.0.2".parse().unwrap(),
        destination: "10.0.0.1".parse().unwrap(),
        traffic: Traffic::Port {
            protocol: Protocol::Tcp,
            port: 80,
        },
    };
    let verdict = Matcher::new(&world).evaluate(&packet);
    assert_eq!(verdict.decision, Decision::Deny);
    let ways: Vec<String> = flips(&world, &packet, &verdict)
        .iter()
        .map(|way| way[0].to_string())
        .collect();
    assert!(
        ways.contains(&"label x/b role=client".to_owned()),
        "{ways:?}"
    );
}

/// The matters found in policies, with the rule's direction and place.
fn found(policies: &[String]) -> Vec<String> {
    let findings = lint(&world(policies));
    let said = findings.iter().map(|finding| {
        let rule = finding.rule.map_or_else(String::new, |(direction, nth)| {
            format!(" {direction} {}", nth + 1)
        });
        format!("{}{rule}: {}", finding.policy.name, finding.matter.name())
    });
    said.collect()
}

#[test]
fn what_is_said_in_vain_is_found() {
    let accept_all = "{action: Accept, from: [{namespaces: {}}]}";
    let deny_b = "{action: Deny, from: [{pods: {podSelector: {matchLabels: {pod: b}}}}]}";
    assert_eq!(
        found(&[cluster("c", "Admin", 1, &format!("{accept_all}, {deny_b}"))]),
        ["c ingress 2: shadowed"]
    );
    assert_eq!(
        found(&[cluster("c", "Admin", 1, &format!("{deny_b}, {accept_all}"))]),
        Vec::<String>::new()
    );
    assert_eq!(
        found(&[
            cluster("first", "Admin", 1, accept_all),
            cluster("late", "Admin", 2, deny_b)
        ]),
        ["late ingress 1: shadowed"]
    );
    assert_eq!(
        found(&[
            cluster("one", "Admin", 1, accept_all),
            cluster("two", "Admin", 1, deny_b)
        ]),
        ["two ingress 1: shadowed", "two ingress 1: conflict"]
    );
    assert_eq!(
        found(&[
            cluster("one", "Admin", 1, deny_b),
            cluster("two", "Admin", 1, accept_all)
        ]),
        ["two ingress 1: conflict"]
    );
    assert_eq!(
        found(&[
            cluster("c", "Admin", 1, accept_all),
            policy("p", "{podSelector: {}, ingress: [{}]}")
        ]),
        Vec::<String>::new()
    );
    assert_eq!(
        found(&[policy(
            "p",
            "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}, {from: [{podSelector: {matchLabels: {pod: a}}}]}]}"
        )]),
        ["p ingress 2: redundant"]
    );
    assert_eq!(
        found(&[policy(
            "p",
            "{podSelector: {matchLabels: {pod: q}}, ingress: [{}]}"
        )]),
        ["p: selects-nobody"]
    );
    assert_eq!(
        found(&[policy(
            "p",
            "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {pod: q}}}]}]}"
        )]),
        ["p ingress 1: no-peer"]
    );
    assert_eq!(
        found(&[policy(
            "p",
            "{podSelector: {}, ingress: [{ports: [{port: sql}]}]}"
        )]),
        ["p ingress 1: unknown-port-name"]
    );
    assert_eq!(
        found(&[policy(
            "p",
            "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}]}"
        )]),
        ["p ingress 1: prefix-over-pods"]
    );
    assert_eq!(
        found(&[policy(
            "p",
            "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}"
        )]),
        Vec::<String>::new()
    );
    assert_eq!(
        found(&[policy("p", "{podSelector: {}}")]),
        Vec::<String>::new()
    );
}

/// Wherever in a policy a field is written that nobody knows, nothing is allowed that was not.
#[test]
fn an_unknown_field_widens_nothing() {
    let probes = vec![
        Probe::Port(Protocol::Tcp, 80),
        Probe::Port(Protocol::Tcp, 81),
        Probe::Port(Protocol::Udp, 9),
        Probe::Echo,
    ];
    let outside = ["203.0.113.9".parse().unwrap()];
    let asked = |text: &str| {
        let mut reader = Reader::new();
        reader.read("people.yaml", &people()).unwrap();
        reader.read("policies.yaml", text).unwrap();
        let reading = reader.finish();
        let told = matrix(
            &reading.world,
            &Matcher::new(&reading.world),
            &outside,
            probes.clone(),
        )
        .unwrap();
        let decisions = told.cells().map(|cell| cell.judgement.decision);
        (decisions.collect::<Vec<_>>(), reading.complaints.len())
    };
    let mut places = 0;
    for policies in some_policies() {
        let text = policies.join("\n---\n");
        let (before, _) = asked(&text);
        for (at, _) in text.match_indices('{') {
            let changed = format!("{}{{unheard: 1, {}", &text[..at], &text[at + 1..]);
            let (after, complaints) = asked(&changed);
            let is_metadata = text[..at].ends_with("metadata: ");
            assert!(complaints > 0 || is_metadata, "{changed}");
            let widened = before
                .iter()
                .zip(&after)
                .any(|(was, is)| *was == Decision::Deny && *is == Decision::Allow);
            assert!(!widened, "{changed}");
            places += 1;
        }
    }
    assert!(places > 60, "{places}");
}

/// Who stands for a pod: whoever has its label, or else the others of its namespace.
fn stand_in(world: &World, pod: &EndpointId) -> EndpointId {
    let named = |name: String| EndpointId::new(pod.namespace.clone(), name);
    let own = named(format!("[pod={}]", pod.name));
    if world.endpoints.contains_key(&own) {
        own
    } else {
        named("[others]".to_owned())
    }
}

#[test]
fn who_stands_for_everybody_is_told_what_everybody_is_told() {
    let spoken_of_addresses_or_names = |policies: &[String]| {
        let mut policies = policies.iter();
        policies.any(|text| text.contains("ipBlock") || text.contains("port: web"))
    };
    let mut asked = [0; 2];
    for policies in some_policies() {
        // Where a pod's address or its ports make the difference, nobody can stand for it.
        if spoken_of_addresses_or_names(&policies) {
            continue;
        }
        let whole = world(&policies);
        let mut bare = whole.clone();
        bare.endpoints.clear();
        let stand_ins = representatives(&[&bare]);
        assert!(stand_ins.is_whole());
        stand_ins.stand_in(&mut bare);
        let judges = [Matcher::new(&whole), Matcher::new(&bare)];
        for from in whole.endpoints.keys() {
            for to in whole.endpoints.keys().filter(|to| *to != from) {
                for port in PORTS {
                    let says = |judge: &Matcher<'_>, of: &World, from, to| {
                        let question = Question {
                            source: End::Endpoint(from),
                            destination: End::Endpoint(to),
                            probe: Probe::Port(Protocol::Tcp, port),
                        };
                        let packet = question.packet(of, Family::V4).unwrap();
                        judge.evaluate(&packet).decision
                    };
                    let said = says(&judges[0], &whole, from.clone(), to.clone());
                    let stood = [from, to].map(|pod| stand_in(&bare, pod));
                    let [of, at] = stood;
                    let told = says(&judges[1], &bare, of.clone(), at.clone());
                    assert_eq!(
                        told, said,
                        "{from} -> {to}: {of} -> {at} {port}: {policies:?}"
                    );
                    asked[usize::from(said == Decision::Allow)] += 1;
                }
            }
        }
    }
    assert!(asked.iter().all(|count| *count > 100), "{asked:?}");
}

/// What only a described namespace's labels tell apart is told apart.
#[test]
fn who_stands_in_a_described_namespace_has_its_labels() {
    let text = "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}, podSelector: {matchLabels: {pod: b}}}], ports: [{port: web}, {port: dns}]}]}";
    let mut world = world(&[policy("p", text)]);
    world.endpoints.clear();
    let stand_ins = representatives(&[&world]);
    stand_ins.stand_in(&mut world);
    let named = |name: &str| EndpointId::new("y", name);
    assert!(
        world.endpoints.contains_key(&named("[pod=b]")),
        "{:?}",
        world.endpoints.keys()
    );
    // Two names are two ports, which are told by them.
    let ports = &world.endpoints[&named("[pod=b]")].ports;
    let told: Vec<Option<String>> = ports
        .iter()
        .map(|named| stand_ins.name_of(What::Ports(named.protocol, PortRange::one(named.port))))
        .collect();
    assert_eq!(
        told,
        [Some("dns/tcp".to_owned()), Some("web/tcp".to_owned())]
    );
    let numbers: Vec<u16> = ports.iter().map(|named| named.port).collect();
    assert!(numbers[0].abs_diff(numbers[1]) > 1, "{numbers:?}");
}

#[test]
fn too_many_to_tell_apart_are_told_to_be() {
    let keys: Vec<String> = (0..20).map(|nth| format!("k{nth}: v")).collect();
    let selectors = keys.iter().map(|key| {
        policy(
            &key.replace(": ", "-"),
            &format!("{{podSelector: {{matchLabels: {{{key}}}}}}}"),
        )
    });
    let policies: Vec<String> = selectors.collect();
    let mut world = world(&policies);
    world.endpoints.clear();
    let stand_ins = representatives(&[&world]);
    assert!(!stand_ins.is_whole());
    stand_ins.stand_in(&mut world);
    // With each of them alone, at least.
    assert!(world.endpoints.len() > 20, "{}", world.endpoints.len());
}

/// Endpoints with prefixes of their own, and one with two addresses; the ends of each part of what they have, and a few
/// beside them.
const WIDE: &str = "
{apiVersion: bulkhead/v1, kind: Network, metadata: {name: wide}, spec: {pools: ['fd01::/32'], gateways: ['fd01::1']}}
---
{apiVersion: bulkhead/v1, kind: Endpoint, metadata: {name: leased, labels: {is: wide}}, spec: {network: wide, addresses: ['fd01:0:0:1::1', 10.9.0.1], prefixes: ['fd01:0:0:1::/64'], node: n1}}
---
{apiVersion: bulkhead/v1, kind: Endpoint, metadata: {name: bare, labels: {is: wide}}, spec: {network: wide, prefixes: ['fd01:0:0:2::/64'], node: n1}}
---
{apiVersion: bulkhead/v1, kind: Endpoint, metadata: {name: beside, labels: {is: wide}}, spec: {network: wide, addresses: ['fd01:0:1::5'], prefixes: ['fd01:0:0:3::/64', 'fd01:0:0:4::/64'], node: n2}}
---
{apiVersion: bulkhead/v1, kind: Endpoint, metadata: {name: two, labels: {is: wide}}, spec: {network: wide, addresses: [10.9.0.2, 10.9.0.3, 'fd01:0:1::6'], node: n2}}
";

fn wide_world(policies: &[String]) -> World {
    let mut reader = Reader::new();
    for text in [&people(), WIDE, &policies.join("\n---\n")] {
        reader.read("objects.yaml", text).unwrap();
    }
    let reading = reader.finish();
    assert_eq!(reading.complaints, []);
    reading.world
}

fn wide_policies() -> Vec<Vec<String>> {
    let from = |block: &str| {
        vec![policy(
            "p",
            &format!(
                "{{podSelector: {{matchLabels: {{pod: a}}}}, ingress: [{{from: [{{ipBlock: {block}}}]}}]}}"
            ),
        )]
    };
    vec![
        vec![],
        from("{cidr: 'fd01:0:0:1:8000::/65', except: ['fd01:0:0:1:c000::/66']}"),
        from("{cidr: 'fd01:0:0:1:c000::/66'}"),
        // All but the address that it has leased.
        from("{cidr: 'fd01::/16', except: ['fd01:0:0:1::1/128']}"),
        // Of one all, of another a part, and of both ends of a third.
        from(
            "{cidr: 'fd01::/62', except: ['fd01:0:0:2:ffff:ffff:ffff:ffff/128', 'fd01:0:0:3:4000::/66']}",
        ),
        vec![policy(
            "p",
            "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 'fd01:0:0:4:ffff::/80'}}, {ipBlock: {cidr: 10.9.0.3/32}}], ports: [{port: 80}]}]}",
        )],
        vec![own(
            "{action: deny, from: [{cidr: 'fd01:0:0:2::/65'}], ports: [80/tcp]}, {action: deny, from: [{cidr: 10.9.0.2/31}]}",
        )],
    ]
}

/// Addresses of an endpoint, by what it has alone.
fn some_addresses(endpoint: &Endpoint) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = endpoint.addresses.iter().copied().collect();
    for own in &endpoint.prefixes {
        let IpAddr::V6(first) = own.first() else {
            unreachable!("they are of IPv6");
        };
        let steps = [0_i128, 1, 2, 1 << 62, 2 << 62, 3 << 62, 0xffff << 48];
        let around = steps.iter().flat_map(|step| [*step, step - 1, step + 1]);
        let of_own = around
            .chain([i128::from(u64::MAX)])
            .map(|step| {
                IpAddr::from(Ipv6Addr::from_bits(
                    first.to_bits().wrapping_add_signed(step),
                ))
            })
            .filter(|address| own.contains(*address));
        all.extend(of_own);
    }
    all
}

/// Whether an end stands for an address: a part for its own, the endpoint for what no part of it has.
fn stands_for(end: &End, id: &EndpointId, address: IpAddr, parts: &[&End]) -> bool {
    let has = |end: &End| matches!(end, End::Part(of, part) if of == id && part.contains(address));
    match end {
        End::Endpoint(of) => of == id && !parts.iter().any(|end| has(end)),
        part => has(part),
    }
}

/// Every address of what an endpoint has as a whole is told what the judge says of that very address.
#[test]
fn parts_of_a_prefix_that_policies_tell_apart_are_asked_about_by_themselves() {
    let probes = vec![
        Probe::Port(Protocol::Tcp, 80),
        Probe::Port(Protocol::Udp, 9),
    ];
    let (mut asked, mut apart) = (0, 0);
    for policies in wide_policies() {
        let world = wide_world(&policies);
        let judge = Matcher::new(&world);
        let tables = Interpreter::new(&world);
        let engines: [&dyn Engine; 2] = [&judge, &tables];
        for engine in engines {
            let told = matrix(&world, engine, &[], probes.clone()).unwrap();
            let parts: Vec<&End> = told
                .ends
                .iter()
                .filter(|end| matches!(end, End::Part(..)))
                .collect();
            apart += parts.len();
            for cell in told.cells().filter(|cell| !cell.is_loopback()) {
                let ends = [cell.source, cell.destination].map(|end| &told.ends[end]);
                let [from, to] = ends.map(|end| {
                    let id = end.id().unwrap();
                    let all = some_addresses(&world.endpoints[id]).into_iter();
                    let all = all.filter(|address| {
                        Family::of(*address) == cell.family && stands_for(end, id, *address, &parts)
                    });
                    all.collect::<Vec<_>>()
                });
                assert!(!from.is_empty() && !to.is_empty(), "{ends:?}");
                let there = from.iter().zip(to.iter().cycle());
                let back = from.iter().cycle().zip(&to);
                for (source, destination) in there.chain(back.take(to.len())) {
                    let (source, destination) = (*source, *destination);
                    let packet = Packet {
                        space: Space::Node,
                        source,
                        destination,
                        traffic: cell.traffic.unwrap(),
                    };
                    let said = judge.evaluate(&packet).decision;
                    assert_eq!(
                        cell.judgement.decision, said,
                        "{packet}: {ends:?}: {policies:?}"
                    );
                    asked += 1;
                }
            }
        }
    }
    assert!(apart > 10 && asked > 1_000, "{apart} {asked}");
}

#[test]
fn a_difference_in_a_part_of_a_prefix_is_told_of_that_part() {
    let worlds: Vec<World> = wide_policies()
        .iter()
        .map(|policies| wide_world(policies))
        .collect();
    let traffic = Traffic::Port {
        protocol: Protocol::Tcp,
        port: 80,
    };
    let mut differing = 0;
    for old in &worlds {
        for new in &worlds {
            let difference = diff(old, new);
            let judges = [Matcher::new(old), Matcher::new(new)];
            let ends = difference.changes.iter();
            let ends = ends.flat_map(|change| change.source.members.iter());
            let told_parts: Vec<&End> = ends.filter(|end| matches!(end, End::Part(..))).collect();
            differing += told_parts.len();
            let pod = EndpointId::new("x", "a");
            let destination = "fd00::1".parse().unwrap();
            for (id, endpoint) in old.endpoints.iter().filter(|(id, _)| id.network.is_some()) {
                for source in some_addresses(endpoint).into_iter().filter(IpAddr::is_ipv6) {
                    let packet = Packet {
                        space: Space::Node,
                        source,
                        destination,
                        traffic,
                    };
                    let [was, is] = judges
                        .each_ref()
                        .map(|judge| judge.evaluate(&packet).decision);
                    let is_told = difference.changes.iter().any(|change| {
                        let of_source = change.source.members.iter().any(|end| match end {
                            End::Part(of, part) => of == id && part.contains(source),
                            // Its first address, and what is told as that.
                            End::Endpoint(of) => of == id && of_first(old, id, source, &[old, new]),
                            End::Address(_) => false,
                        });
                        of_source
                            && change.now == is
                            && change
                                .destination
                                .members
                                .contains(&End::Endpoint(pod.clone()))
                            && change.families.contains(&Family::V6)
                            && change
                                .what
                                .iter()
                                .any(|what| speaks_of(*what, traffic, Family::V6))
                    });
                    assert_eq!(is_told, was != is, "{packet}: {was} {is}: {difference:#?}");
                }
            }
        }
    }
    assert!(differing > 10, "{differing}");
}

/// Whether blocks of the policies have an address as they have the one that the endpoint is asked about by.
fn of_first(world: &World, id: &EndpointId, address: IpAddr, worlds: &[&World]) -> bool {
    let first = End::Endpoint(id.clone()).address(world, Family::of(address));
    let policies = worlds.iter().flat_map(|world| world.policies.values());
    let rules = policies.flat_map(|policy| [&policy.ingress, &policy.egress]);
    let mut peers = rules.flatten().flatten().flat_map(|rule| &rule.peers);
    peers.all(|peer| match peer {
        Peer::Block(block) => {
            first.is_some_and(|first| block.contains(first) == block.contains(address))
        }
        _ => true,
    })
}

#[test]
fn a_rule_about_a_part_of_a_prefix_is_not_said_in_vain() {
    let said = |block: &str| {
        let text = format!(
            "{{podSelector: {{}}, ingress: [{{from: [{{ipBlock: {{cidr: '{block}'}}}}]}}]}}"
        );
        let findings = lint(&wide_world(&[policy("p", &text)]));
        findings
            .iter()
            .map(|found| found.matter.name())
            .collect::<Vec<_>>()
    };
    // Which is a prefix over pods, but matches what they send.
    assert_eq!(said("fd01:0:0:1:8000::/65"), ["prefix-over-pods"]);
    let second = "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 'fd01:0:0:1::/66'}}]}, {from: [{ipBlock: {cidr: 'fd01:0:0:1::/65'}}]}]}";
    let findings = lint(&wide_world(&[policy("p", second)]));
    let redundant: Vec<_> = findings
        .iter()
        .filter(|found| found.matter.name() == "redundant")
        .map(|found| found.rule.map(|(_, nth)| nth))
        .collect();
    // The second says more than the first: of addresses that nobody is asked about by.
    assert_eq!(redundant, [Some(0)]);
}
