//! The planner's laws, over every case: applying a plan satisfies the want, planning again is empty,
//! a crash after any operation converges under a new ADD and under a DEL, a DEL leaves neighbours and
//! strangers untouched, and nothing passes meanwhile that must not.

mod convergence;
mod guarded;
mod order;
mod plans;
mod strangers;
mod within;

#[path = "../cases/mod.rs"]
mod cases;

use std::net::IpAddr;

use bulkhead_plan::{Detached, Ns, Op, Plan, Want, World, plan};
use cases::{Case, attached, detached};

/// What does not count as a difference: the generation moves with every commit; an ADD ends flows and
/// beliefs that a DEL has no business with, takes over what a dead one left, and leaves limits that
/// are wanted no longer to the DEL.
fn settled(mut world: World, case: &Case) -> World {
    if case.bandwidth.egress.is_none() {
        let _ = world.run(&Op::DelLink {
            ns: Ns::Host,
            name: case.ifb(),
        });
    }
    if let (None, Some(port)) = (
        case.bandwidth.ingress,
        cases::host(&mut world).links.get_mut(&case.port()),
    ) {
        port.shape = None;
    }
    for space in world.spaces.values_mut() {
        space.generation = None;
        space.flows.clear();
        let of_case = |address: IpAddr| {
            detached(case)
                .neighbours
                .iter()
                .any(|(_, it)| *it == address)
        };
        space
            .neighbours
            .retain(|(_, address), _| !of_case(*address));
        for table in space.tables.values_mut() {
            table.elements.retain(|_, keys| !keys.is_empty());
            for entries in table.maps.values_mut() {
                entries.retain(|_, entry| entry.comment.as_deref() != Some(cases::DEAD));
            }
            table.maps.retain(|_, entries| !entries.is_empty());
        }
    }
    world
}

#[track_caller]
fn applied(world: &World, plan: &Plan) -> World {
    let mut next = world.clone();
    next.apply(plan)
        .unwrap_or_else(|refusal| panic!("{refusal}: {plan}"));
    next
}

#[track_caller]
fn planned(world: &World, want: &Want) -> Plan {
    plan(world, want).unwrap_or_else(|conflict| panic!("{conflict}"))
}

/// What is wanted, done.
#[track_caller]
fn converged(world: &World, want: &Want) -> World {
    applied(world, &planned(world, want))
}

/// The worlds that a process leaves which dies after any operation, with how many it did.
fn halves(world: &World, plan: &Plan) -> Vec<(usize, World)> {
    let first = |count: usize| Plan::new(plan.ops()[..count].to_vec());
    (0..=plan.ops().len())
        .map(|count| (count, applied(world, &first(count))))
        .collect()
}

fn gone(want: Detached) -> Want {
    Want::Detached(Box::new(want))
}

/// The attachment alone, as DEL does it first.
fn its_own(want: Detached) -> Want {
    gone(Detached {
        network: None,
        ..want
    })
}

/// DEL as a call makes it: the attachment first, then what the network shared.
#[track_caller]
fn torn_down(world: &World, case: &Case) -> World {
    taken_away(world, case, detached(case))
}

#[track_caller]
fn taken_away(world: &World, case: &Case, want: Detached) -> World {
    let after = converged(world, &its_own(want.clone()));
    let left = converged(&after, &gone(want));
    match &case.company {
        // What others did to the neighbour was mended with what it shares.
        Some(company) if !planned(&case.before(), &attached(company)).is_empty() => {
            converged(&left, &attached(company))
        }
        _ => left,
    }
}

/// Compares what matters of two worlds, and shows no more than what differs.
#[track_caller]
fn assert_same(case: &Case, left: &World, right: &World, what: &str) {
    let [left, right] = [left, right].map(|world| settled(world.clone(), case));
    if left == right {
        return;
    }
    let [left, right] = [left, right].map(|world| format!("{world:#?}"));
    let lines = |of: &str, other: &str| -> Vec<String> {
        let other: std::collections::HashSet<_> = other.lines().collect();
        let only = of.lines().filter(|line| !other.contains(line));
        only.map(str::to_owned).collect()
    };
    let (more, less) = (lines(&left, &right), lines(&right, &left));
    panic!(
        "{}: {what}: {more:#?} instead of {less:#?}, among others",
        case.name
    );
}

/// The world an undisturbed ADD leaves.
#[track_caller]
fn stands(case: &Case) -> World {
    converged(&case.before(), &attached(case))
}

/// The same, with traffic to its host ports.
fn in_use(case: &Case) -> World {
    let mut world = stands(case);
    cases::host(&mut world).flows.extend(case.flows_in());
    world
}

/// Runs `plan` and asserts that what is `broken` was so from the start, and is not in the end.
#[track_caller]
fn never_begins(what: &str, world: &World, ops: &[Op], broken: impl Fn(&World) -> bool) {
    let mut world = world.clone();
    let mut was = broken(&world);
    for op in ops {
        world
            .run(op)
            .unwrap_or_else(|refusal| panic!("{what}: {refusal}: {op}"));
        let is = broken(&world);
        assert!(was || !is, "{what}: begins with {op}");
        was = is;
    }
    assert!(!was, "{what}: in the end");
}
