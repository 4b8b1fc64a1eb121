//! The truth tables of `bulkhead_tests::truth`, asked of who judges by the semantics: every pair, port and
//! step, by IPv4 and by IPv6.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use bulkhead_model::Family;
use bulkhead_policy::read::{Effect, Reader};
use bulkhead_policy::{Decision, Direction, Matcher, Packet, Space, Traffic, World};
use bulkhead_tests::truth::{Ask, NODE, OTHER_NODE, OUTSIDE, Step, all, twin};

/// Who is asked besides pods.
fn others() -> [(String, IpAddr); 3] {
    let of = |name: &str, address: Ipv4Addr| (name.to_owned(), IpAddr::V4(address));
    [
        of(OUTSIDE, Ipv4Addr::new(203, 0, 113, 9)),
        of(NODE, Ipv4Addr::new(192, 0, 2, 1)),
        of(OTHER_NODE, Ipv4Addr::new(192, 0, 2, 2)),
    ]
}

fn read(objects: &str, of: &str) -> World {
    let mut reader = Reader::new();
    reader
        .read(of, objects)
        .unwrap_or_else(|error| panic!("{of}: {error}\n{objects}"));
    let reading = reader.finish();
    let wrong = reading
        .complaints
        .iter()
        .find(|complaint| complaint.effect != Effect::Told);
    assert!(wrong.is_none(), "{of}: {wrong:?}\n{objects}");
    reading.world
}

/// Asks everything about a step in the world of one family; how much that was.
fn ask(of: &str, step: &Step, family: Family) -> usize {
    let in_family = |text: &str| match family {
        Family::V4 => text.to_owned(),
        Family::V6 => twin(text),
    };
    let world = read(&in_family(&step.objects), of);
    let matcher = Matcher::new(&world);
    let ends: Vec<(String, IpAddr)> = step.pods.iter().cloned().chain(others()).collect();
    let is_pod = |name: &str| name.contains('/');
    let mut asked = 0;
    for (from, source) in &ends {
        for (to, destination) in &ends {
            if from == to || !(is_pod(from) || is_pod(to)) {
                continue;
            }
            for (protocol, port) in step.ports.iter().copied() {
                let address = |address: &IpAddr| in_family(&address.to_string()).parse().unwrap();
                let packet = Packet {
                    space: Space::Node,
                    source: address(source),
                    destination: address(destination),
                    traffic: Traffic::Port { protocol, port },
                };
                let question = Ask {
                    from,
                    to,
                    protocol,
                    port,
                };
                let says = |is_denied| {
                    if is_denied {
                        Decision::Deny
                    } else {
                        Decision::Allow
                    }
                };
                // Whatever the policies say, a pod's own node reaches it.
                let ingress = is_pod(to).then(|| says(from != NODE && (step.ingress)(&question)));
                let egress = is_pod(from).then(|| says((step.egress)(&question)));
                let verdict = matcher.evaluate(&packet);
                let told = (
                    verdict.of(Direction::Egress),
                    verdict.of(Direction::Ingress),
                );
                assert_eq!(
                    told,
                    (egress, ingress),
                    "{of}, {family}, {}: {question}\n{}",
                    step.does,
                    step.objects
                );
                let both = [egress, ingress]
                    .into_iter()
                    .flatten()
                    .fold(Decision::Allow, Decision::and);
                assert_eq!(verdict.decision, both, "{of}: {question}");
                asked += 1;
            }
        }
    }
    asked
}

fn asked_about(family_of_cases: &str) -> (usize, usize) {
    let mut steps = 0;
    let mut asked = 0;
    for case in all()
        .iter()
        .filter(|case| case.name.starts_with(family_of_cases))
    {
        for step in &case.steps {
            steps += 1;
            for family in [Family::V4, Family::V6] {
                asked += ask(&case.name, step, family);
            }
        }
    }
    println!("{family_of_cases}: {steps} steps, {asked} asked");
    (steps, asked)
}

#[test]
fn the_matcher_knows_targets_and_rules() {
    assert!(asked_about("targets").0 >= 11);
    assert!(asked_about("rules").0 >= 11);
}

#[test]
fn the_matcher_knows_peers() {
    assert!(asked_about("peers").0 >= 64);
}

#[test]
fn the_matcher_knows_ports_and_protocols() {
    assert!(asked_about("ports").0 >= 75);
}

#[test]
fn the_matcher_knows_changes_and_conflicts() {
    assert!(asked_about("actions").0 >= 33);
    assert!(asked_about("conflicts").0 >= 10);
}

#[test]
fn the_matcher_knows_kubernetes_own_cases() {
    assert!(asked_about("e2e").0 >= 58);
}

#[test]
fn the_matcher_knows_the_conformance_of_cluster_policies() {
    assert!(asked_about("cnp").0 >= 44);
}

/// A case that is there twice hides one that is missing.
#[test]
fn every_case_has_a_name_of_its_own_and_a_family() {
    let cases = all();
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), cases.len());
    for case in &cases {
        let (family, _) = case.name.split_once(": ").expect("has a family");
        assert!(
            [
                "targets",
                "rules",
                "peers",
                "ports",
                "actions",
                "conflicts",
                "e2e",
                "cnp"
            ]
            .contains(&family),
            "{}",
            case.name
        );
        assert!(!case.steps.is_empty(), "{}", case.name);
    }
}

/// A table that says yes to everything, or no, shows nothing: only where the name says so.
#[test]
fn most_tables_have_both_answers() {
    let cases = all();
    let is_mixed = |step: &Step| {
        let answers = step.pods.iter().flat_map(|(from, _)| {
            step.pods
                .iter()
                .filter(move |(to, _)| to != from)
                .flat_map(move |(to, _)| {
                    step.ports.iter().map(move |(protocol, port)| {
                        let question = Ask {
                            from,
                            to,
                            protocol: *protocol,
                            port: *port,
                        };
                        (step.ingress)(&question) || (step.egress)(&question)
                    })
                })
        });
        let answers: BTreeSet<bool> = answers.collect();
        answers.len() == 2
    };
    let mixed = cases
        .iter()
        .filter(|case| case.steps.iter().any(is_mixed))
        .count();
    assert!(mixed * 10 > cases.len() * 8, "{mixed} of {}", cases.len());
}
