//! The compiler does what the judge says: over worlds by chance and every kind of packet in them, the tables'
//! interpreter and the judge of what is written come to the same verdict.
//!
//! One seed is one run, and is printed; `BULKHEAD_POLICY_SEED` replays it, `BULKHEAD_SOAK` runs many.

#![expect(
    clippy::disallowed_methods,
    reason = "the environment says how long to run"
)]

mod dice;
mod mutants;
mod worlds;

use std::collections::BTreeSet;
use std::env;

use bulkhead_nft::{Command, change, changed};
use bulkhead_policy::compile::{Cause, Outcome, Said, Told};
use bulkhead_policy::{
    Compiler, Decision, Direction, EndpointId, Interpreter, Local, Matcher, NodeName, Reason,
    Verdict, World, compile,
};
use dice::Dice;

fn seeds(few: u64, many: u64) -> std::ops::RangeInclusive<u64> {
    let named = env::var("BULKHEAD_POLICY_SEED");
    match named.ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..=seed,
        None if env::var_os("BULKHEAD_SOAK").is_some() => 1..=many,
        None => 1..=few,
    }
}

/// The first packet about which the two disagree, and how often each verdict was given.
fn disagreement(world: &World, interpreter: &Interpreter) -> Result<[usize; 2], String> {
    let judge = Matcher::new(world);
    let mut verdicts = [0; 2];
    for packet in worlds::packets(world) {
        let said = judge.evaluate(&packet);
        let told = || format!("{packet}: {said:#?}\n{world:#?}");
        let (done, way) = interpreter
            .follow(&packet)
            .map_err(|undefined| format!("{undefined}: {}", told()))?;
        if done != said.decision {
            return Err(format!("{done} by the tables: {}", told()));
        }
        if interpreter.judge(&packet) != done {
            return Err(format!(
                "what the tables are made of says otherwise: {}",
                told()
            ));
        }
        if !is_the_way(&way, &expected(&said)) {
            return Err(format!("the tables say {way:#?}: {}", told()));
        }
        verdicts[usize::from(done == Decision::Allow)] += 1;
    }
    Ok(verdicts)
}

/// Whether that is what was to be said, in any order of nodes. What ends at its source is not judged where it would
/// have arrived, if that is the same node.
fn is_the_way(way: &[Said], expected: &[Said]) -> bool {
    let not_said = |said: &Said| {
        let ends = |other: &Said| other.decision() == Decision::Deny && other != said;
        said.direction == Direction::Ingress && expected.iter().any(ends)
    };
    let told = way
        .iter()
        .filter(|said| said.outcome.cause != Cause::OwnNode);
    let mut missing = expected.iter().filter(|said| !way.contains(said));
    told.clone().all(|said| expected.contains(said)) && missing.all(not_said)
}

/// What the tables should say on the way; what the node itself sends has a chain of its own.
fn expected(verdict: &Verdict) -> Vec<Said> {
    let sides = verdict.because.iter();
    let cause = |reason: &Reason| match reason.clone() {
        Reason::Rule { policy, rule } => Some(Cause::Rule { policy, rule }),
        Reason::Isolated(policies) => Some(Cause::Isolated(policies)),
        Reason::Network(network) => Some(Cause::Network(network)),
        Reason::Nobody => Some(Cause::Nobody),
        Reason::OwnNode | Reason::Discovery => None,
    };
    let said = sides.filter_map(|side| {
        Some(Said {
            direction: side.direction,
            outcome: Outcome {
                decision: side.decision,
                cause: cause(&side.reason)?,
                would_deny: side.would_deny.iter().cloned().collect(),
            },
        })
    });
    said.collect()
}

#[test]
fn soak_the_tables_do_what_the_judge_says() {
    let mut total = [0; 2];
    for seed in seeds(60, 3_000) {
        let world = worlds::world(&mut Dice::new(seed));
        // What is told of makes no difference.
        let told = [Told::Denied, Told::Everything][usize::from(seed % 4 == 0)];
        let compiled = |world: &World, local: &Local| {
            let local = local.clone();
            compile(world, &Local { told, ..local })
        };
        let verdicts = disagreement(&world, &Interpreter::with(&world, compiled))
            .unwrap_or_else(|told| panic!("seed {seed}: {told}"));
        total[0] += verdicts[0];
        total[1] += verdicts[1];
    }
    println!("{} denied, {} allowed", total[0], total[1]);
    assert!(total.iter().all(|count| *count > 1_000));
}

#[test]
fn soak_a_table_becomes_the_next_by_what_differs() {
    let node = NodeName::new("n1");
    let of = |world: &World, told| Local {
        told,
        ..Local::of(world, Some(&node))
    };
    for seed in seeds(10, 1_000) {
        let mut dice = Dice::new(seed);
        let mut world = worlds::world(&mut dice);
        let mut told = Told::Denied;
        let mut table = compile(&world, &of(&world, told)).table;
        let mut kept = Compiler::default();
        for step in 0..100 {
            if dice.below(8) == 0 {
                told = match told {
                    Told::Denied => Told::Everything,
                    Told::Everything => Told::Denied,
                };
            } else {
                worlds::edit(&mut dice, &mut world);
            }
            let fresh = compile(&world, &of(&world, told)).table;
            let remembered = kept.compile(&world, &of(&world, told));
            assert_eq!(remembered.table, fresh, "seed {seed}, step {step}");
            let commands = change(&table, &fresh);
            let whole = |one: &Command| matches!(one, Command::ReplaceTable(_));
            assert!(!commands.iter().any(whole), "seed {seed}, step {step}");
            table = changed(&table, &commands).unwrap_or_else(|name| {
                panic!("seed {seed}, step {step}: the kernel would refuse {name}: {commands:?}")
            });
            assert_eq!(table, fresh, "seed {seed}, step {step}");
        }
    }
}

#[test]
fn soak_endpoints_elsewhere_are_followed_without_compiling() {
    let node = NodeName::new("n1");
    let mut followed = 0;
    for seed in seeds(8, 2_000) {
        let mut dice = Dice::new(seed);
        let mut world = worlds::world(&mut dice);
        let mut local = Local::of(&world, Some(&node));
        let mut compiler = Compiler::default();
        let ruleset = compiler.compile(&world, &local);
        let (mut table, mut judge) = (ruleset.table, ruleset.judge);
        for step in 0..60 {
            let before = world.clone();
            worlds::move_endpoint(&mut dice, &mut world);
            let ids = before.endpoints.keys().chain(world.endpoints.keys());
            let is_other = |id: &&EndpointId| before.endpoints.get(id) != world.endpoints.get(id);
            let moved: BTreeSet<EndpointId> = ids.filter(is_other).cloned().collect();
            local = Local::of(&world, Some(&node));
            let fresh = compile(&world, &local);
            if let Some(moves) = compiler.follow(&world, &local, &moved) {
                let commands = moves.commands(&table);
                let by_commands = changed(&table, &commands);
                moves.apply(&mut table, &mut judge);
                assert_eq!(by_commands.as_ref(), Ok(&table), "seed {seed}, step {step}");
                assert_eq!(table, fresh.table, "seed {seed}, step {step}");
                followed += 1;
            } else {
                let ruleset = compiler.compile(&world, &local);
                (table, judge) = (ruleset.table, ruleset.judge);
            }
            for packet in worlds::packets(&world).step_by(97) {
                assert_eq!(
                    judge.decide(&packet),
                    fresh.judge.decide(&packet),
                    "{packet}"
                );
            }
        }
    }
    println!("{followed} steps were followed");
    assert!(followed > 50);
}

#[test]
fn the_same_world_gives_the_same_bytes() {
    let node = NodeName::new("n1");
    let world = worlds::world(&mut Dice::new(7));
    let local = Local::of(&world, Some(&node));
    let one = compile(&world, &local).table.to_string();
    assert_eq!(compile(&world, &local).table.to_string(), one);
}
