//! The truth tables of `bulkhead_tests::truth`, asked of who judges by the semantics and of what would be
//! loaded: every pair, port and step, by IPv4 and by IPv6.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use bulkhead_model::Family;
use bulkhead_policy::read::{Effect, Reader};
use bulkhead_policy::{
    Decision, Engine, Interpreter, Judgement, Matcher, Packet, Space, Traffic, World,
};
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

/// How many questions the interpreter of what would be loaded is asked one of: it runs three tables for each.
const ONE_OF: usize = 13;

/// Asks everything about a step in the world of one family; how much that was.
fn ask(of: &str, step: &Step, family: Family, one_of: usize) -> usize {
    let in_family = |text: &str| match family {
        Family::V4 => text.to_owned(),
        Family::V6 => twin(text),
    };
    let world = read(&in_family(&step.objects), of);
    let matcher = Matcher::new(&world);
    let loaded = Interpreter::new(&world);
    let ends: Vec<(String, IpAddr)> = step.pods.iter().cloned().chain(others()).collect();
    let is_pod = |name: &str| name.contains('/');
    let mut asked = 0;
    for (from, source) in &ends {
        for (to, destination) in &ends {
            let is_itself = from == to && !step.hairpins;
            if is_itself || !(is_pod(from) || is_pod(to)) {
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
                let both = [egress, ingress].into_iter().flatten();
                let decision = both.fold(Decision::Allow, Decision::and);
                let expected = Judgement {
                    decision,
                    egress,
                    ingress,
                };
                let is_asked = asked % one_of == 0;
                let loaded: Option<&dyn Engine> = is_asked.then_some(&loaded);
                for engine in std::iter::once::<&dyn Engine>(&matcher).chain(loaded) {
                    let told = engine.judge(&packet).unwrap();
                    assert_eq!(
                        told, expected,
                        "{of}, {family}, {}: {question}, {engine:.20?}\n{}",
                        step.does, step.objects
                    );
                }
                asked += 1;
            }
        }
    }
    asked
}

/// Asks everything about the cases of a family; how many steps they have.
fn asked_about(family_of_cases: &str, one_of: usize) -> usize {
    let mut steps = 0;
    for case in all()
        .iter()
        .filter(|case| case.name.starts_with(family_of_cases))
    {
        for step in &case.steps {
            steps += 1;
            for family in [Family::V4, Family::V6] {
                assert!(ask(&case.name, step, family, one_of) > 0);
            }
        }
    }
    steps
}

#[test]
fn targets_and_rules_are_judged_as_written_down() {
    assert!(asked_about("targets", ONE_OF) >= 11);
    assert!(asked_about("rules", ONE_OF) >= 11);
}

#[test]
fn peers_are_judged_as_written_down() {
    assert!(asked_about("peers", ONE_OF) >= 64);
}

#[test]
fn ports_and_protocols_are_judged_as_written_down() {
    assert!(asked_about("ports", ONE_OF) >= 75);
}

#[test]
fn changes_and_conflicts_are_judged_as_written_down() {
    assert!(asked_about("actions", ONE_OF) >= 33);
    assert!(asked_about("conflicts", ONE_OF) >= 10);
}

#[test]
fn kubernetes_own_cases_are_judged_as_written_down() {
    assert!(asked_about("e2e", ONE_OF) >= 58);
}

#[test]
fn the_conformance_of_cluster_policies_is_judged_as_written_down() {
    assert!(asked_about("cnp", ONE_OF) >= 45);
}

/// Of some cases, and under `make soak` of all: every question to both.
#[test]
fn soak_what_would_be_loaded_is_asked_everything() {
    let cases = match std::env::var_os("BULKHEAD_SOAK") {
        Some(_) => "",
        None => "conflicts",
    };
    assert!(asked_about(cases, 1) >= 10);
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
