//! Whatever there was, and wherever the last process died: ADD and DEL get there.

use std::collections::BTreeSet;

use bulkhead_plan::{Flow, Forward, Ns, Plan, Want, World};

use crate::cases::{Case, DEAD, all, attached, detached, host, unrecorded};
use crate::{
    applied, assert_same, converged, gone, halves, in_use, its_own, planned, stands, taken_away,
    torn_down,
};

#[test]
fn applying_a_plan_satisfies_the_want_and_planning_again_is_empty() {
    for case in all() {
        let name = case.name;
        let again = planned(&stands(&case), &attached(&case));
        assert_eq!(again, Plan::default(), "{name}");
        let before = torn_down(&in_use(&case), &case);
        for gone in [detached(&case), unrecorded(&case)].map(gone) {
            assert_eq!(planned(&before, &gone), Plan::default(), "{name}");
        }
    }
}

#[test]
fn a_crash_after_any_operation_converges_under_add_and_under_del() {
    for case in all() {
        let (name, before, want) = (case.name, case.before(), attached(&case));
        let (after, empty) = (stands(&case), torn_down(&before, &case));
        for (crash, half) in halves(&before, &planned(&before, &want)) {
            let again = converged(&half, &want);
            assert_same(&case, &again, &after, &format!("ADD after {crash}"));
            assert_eq!(flows(&again), flows(&after), "{name}: ADD after {crash}");
            let gone = torn_down(&half, &case);
            assert_same(&case, &gone, &empty, &format!("DEL after {crash}"));
        }
    }
}

#[test]
fn a_crash_during_del_converges_under_del_and_under_add() {
    for case in all() {
        let (after, want) = (in_use(&case), attached(&case));
        let empty = torn_down(&after, &case);
        for (crash, half) in halves(&after, &planned(&after, &gone(detached(&case)))) {
            let gone = torn_down(&half, &case);
            assert_same(&case, &gone, &empty, &format!("DEL after {crash}"));
            let again = converged(&half, &want);
            assert_same(&case, &again, &after, &format!("ADD after {crash}"));
        }
    }
}

#[test]
fn detaching_leaves_nothing() {
    for case in all() {
        let left = torn_down(&in_use(&case), &case);
        assert_same(&case, &left, &torn_down(&case.before(), &case), "torn down");
        if case.history.is_empty() {
            assert_same(&case, &left, &case.before(), "before");
        }
    }
}

#[test]
fn detaching_leaves_neighbours_untouched() {
    for case in all() {
        let other = match &case.company {
            Some(company) => company.as_ref().clone(),
            None => case.neighbour(),
        };
        let alone = converged(&case.before(), &attached(&other));
        let both = converged(&alone, &attached(&case));
        let own = its_own(detached(&case));
        let left = converged(&both, &own);
        assert_same(&case, &left, &converged(&alone, &own), "alone");
        let again = planned(&left, &attached(&other));
        assert_eq!(again, Plan::default(), "{}", case.name);
    }
}

#[test]
fn without_a_record_del_takes_the_same() {
    for case in all() {
        let after = in_use(&case);
        let left = taken_away(&after, &case, unrecorded(&case));
        assert_same(&case, &left, &torn_down(&after, &case), "recorded");
    }
}

fn flows(world: &World) -> &BTreeSet<Flow> {
    &world.space(&Ns::Host).flows
}

#[test]
fn no_flow_leads_past_a_host_port_that_stands_or_to_one_that_is_gone() {
    for case in all() {
        let (name, mine) = (case.name, case.forwards());
        let of_host_alone = "[::1]:53".parse().unwrap();
        for flow in flows(&stands(&case)) {
            let forward = mine.iter().find(|mine| mine.covers(flow.destination));
            let past = forward.is_some_and(|forward| forward.to != flow.answerer);
            assert!(
                !past || flow.destination == of_host_alone,
                "{name}: {flow:?}"
            );
        }
        for flow in flows(&torn_down(&in_use(&case), &case)) {
            let leads = mine.iter().any(|forward| forward.to == flow.answerer);
            assert!(!leads, "{name}: {flow:?}");
        }
    }
}

#[test]
fn a_dead_one_s_record_does_not_take_a_host_port_back() {
    let flushed = |case: &Case| case.name == "host-ports-flushed-beside-others";
    let case = all().into_iter().find(flushed).unwrap();
    let Want::Attached(mut want) = attached(&case) else {
        panic!("{}", case.name);
    };
    let mine = want.host_ports.mine[0];
    want.host_ports.others.push(Forward {
        to: "10.1.0.99:80".parse().unwrap(),
        owner: DEAD.parse().unwrap(),
        ..mine
    });
    let want = Want::Attached(want);
    let after = converged(&case.before(), &want);
    assert_eq!(planned(&after, &want), Plan::default());
}

#[test]
fn another_attachment_inherits_host_ports_that_a_del_gave_up() {
    let with_ports = |case: &Case| !case.host_ports.is_empty();
    for case in all().into_iter().filter(with_ports) {
        let heir = case.neighbour();
        let alone = converged(&case.before(), &attached(&heir));
        let both = converged(&alone, &attached(&case));
        let left = converged(&both, &its_own(detached(&case)));
        let inherited = Case {
            host_ports: [heir.host_ports.clone(), case.host_ports.clone()].concat(),
            ..heir.clone()
        };
        let want = Want::HostPorts {
            link: Some(heir.node_link()),
            forwards: inherited.forwards(),
        };
        let passed_on = converged(&left, &want);
        for want in [want, attached(&inherited)] {
            assert_eq!(planned(&passed_on, &want), Plan::default(), "{}", case.name);
        }
    }
}

#[test]
fn an_heir_waits_for_who_loads_the_table() {
    let with_flows = |case: &Case| !case.flows.is_empty();
    let case = all().into_iter().find(with_flows).unwrap();
    let want = Want::HostPorts {
        link: Some(case.node_link()),
        forwards: case.forwards(),
    };
    assert_eq!(planned(&case.before(), &want), Plan::default());
}

#[test]
fn a_plan_knows_the_generation_that_its_own_commits_lead_to() {
    for case in all() {
        for read in [1, u32::MAX - 1, u32::MAX] {
            let mut before = case.before();
            host(&mut before).generation = Some(read);
            let after = applied(&before, &planned(&before, &attached(&case)));
            applied(&after, &planned(&after, &gone(detached(&case))));
        }
    }
}
