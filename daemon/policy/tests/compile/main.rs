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
mod ways;
mod worlds;

use std::collections::{BTreeMap, BTreeSet};
use std::env;

use bulkhead_nft::{Command, Table, change, changed};
use bulkhead_policy::compile::{Cause, Outcome, Said, Told};
use bulkhead_policy::interpret::run;
use bulkhead_policy::{
    Changes, Compiler, Decision, Direction, EndpointId, Interpreter, Local, Matcher, NodeName,
    Packet, Reason, Space, Traffic, Verdict, World, compile,
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
    for seed in seeds(50, 3_000) {
        let mut world = worlds::world(&mut Dice::new(seed));
        if seed % 2 == 0 {
            worlds::delegate(&mut Dice::new(seed), &mut world);
        }
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

/// What is otherwise in a world than in the one before; `None` where networks are.
fn differences(before: &World, now: &World) -> Option<Changes> {
    fn differ<K: Clone + Ord, V: PartialEq>(
        before: &BTreeMap<K, V>,
        now: &BTreeMap<K, V>,
    ) -> BTreeSet<K> {
        let keys = before.keys().chain(now.keys());
        let other = keys.filter(|key| before.get(key) != now.get(key));
        other.cloned().collect()
    }
    (before.networks == now.networks).then(|| Changes {
        endpoints: differ(&before.endpoints, &now.endpoints),
        policies: differ(&before.policies, &now.policies),
        namespaces: differ(&before.namespaces, &now.namespaces),
        nodes: before.nodes != now.nodes,
    })
}

/// What a node holds, step by step.
struct Standing {
    compiler: Compiler,
    table: Table,
    outcomes: BTreeMap<String, Said>,
}

impl Standing {
    fn new(world: &World, local: &Local) -> Self {
        let mut compiler = Compiler::default();
        let ruleset = compiler.compile(world, local);
        Self {
            compiler,
            table: ruleset.table,
            outcomes: ruleset.outcomes,
        }
    }

    /// Goes on to the next world; whether nothing was compiled.
    fn go_on(&mut self, world: &World, local: &Local, changes: Option<&Changes>) -> bool {
        let followed = changes.and_then(|one| self.compiler.follow(world, local, one));
        let is_followed = followed.is_some();
        let commands = if let Some(change) = followed {
            let commands = change.commands.clone();
            let taken = changed(&self.table, &commands);
            change.apply(&mut self.table, &mut self.outcomes);
            assert_eq!(taken.as_ref(), Ok(&self.table), "{commands:?}");
            commands
        } else {
            let ruleset = self.compiler.compile(world, local);
            let commands = change(&self.table, &ruleset.table);
            let taken = changed(&self.table, &commands);
            assert_eq!(taken.as_ref(), Ok(&ruleset.table), "{commands:?}");
            (self.table, self.outcomes) = (ruleset.table, ruleset.outcomes);
            commands
        };
        let replaces = |one: &Command| matches!(one, Command::ReplaceTable(_));
        assert!(!commands.iter().any(replaces), "{commands:?}");
        is_followed
    }
}

#[test]
fn soak_what_is_followed_step_by_step_is_what_is_compiled_from_scratch() {
    let node = NodeName::new("n1");
    let (mut followed, mut steps) = (0, 0);
    for seed in seeds(6, 1_000) {
        let mut dice = Dice::new(seed);
        let mut prefixes = Dice::new(seed);
        let mut world = worlds::world(&mut dice);
        let mut standing = Standing::new(&world, &Local::of(&world, Some(&node)));
        let mut told = Told::Denied;
        for step in 0..100 {
            let before = world.clone();
            if dice.below(8) == 0 {
                told = match told {
                    Told::Denied => Told::Everything,
                    Told::Everything => Told::Denied,
                };
            }
            // Several changes may be told at once, and some that are none.
            for _ in 0..=dice.below(4) / 3 {
                if dice.percent(70) {
                    worlds::edit(&mut dice, &mut world);
                } else {
                    worlds::move_endpoint(&mut dice, &mut world);
                }
            }
            if prefixes.percent(15) {
                worlds::delegate(&mut prefixes, &mut world);
            }
            let local = Local {
                told,
                ..Local::of(&world, Some(&node))
            };
            let mut changes = differences(&before, &world);
            if let Some(changes) = &mut changes {
                changes
                    .policies
                    .extend(world.policies.keys().next().cloned());
                changes
                    .endpoints
                    .extend(world.endpoints.keys().next().cloned());
            }
            steps += 1;
            followed += usize::from(standing.go_on(&world, &local, changes.as_ref()));
            let fresh = compile(&world, &local);
            let missing = change(&standing.table, &fresh.table);
            assert_eq!(missing, [], "seed {seed}, step {step}: {changes:?}");
            assert_eq!(
                standing.outcomes, fresh.outcomes,
                "seed {seed}, step {step}"
            );
            if step % 8 != 0 {
                continue;
            }
            let judge = standing.compiler.judge();
            for packet in worlds::packets(&world).step_by(97) {
                let said = (judge.decide(&packet), fresh.judge.decide(&packet));
                assert_eq!(said.0, said.1, "seed {seed}, step {step}: {packet}");
            }
        }
    }
    println!("{followed} of {steps} steps were followed");
    assert!(followed * 10 > steps * 8);
}

#[test]
fn the_same_world_gives_the_same_bytes() {
    let node = NodeName::new("n1");
    let world = worlds::world(&mut Dice::new(7));
    let local = Local::of(&world, Some(&node));
    let one = compile(&world, &local).table.to_string();
    assert_eq!(compile(&world, &local).table.to_string(), one);
}

/// A prefix is its holder's on its own device alone, and nothing is looked for in prefixes where there are none.
#[test]
fn a_prefix_is_known_on_its_own_device() {
    let node = NodeName::new("n1");
    let mut world = World::default();
    let [one, other] = ["one", "other"].map(|name| EndpointId::new("x", name));
    let devices = |world: &World| {
        let local = Local::of(world, Some(&node));
        let ruleset = compile(world, &local);
        (ruleset, [&one, &other].map(|id| local.endpoints[id]))
    };
    for (nth, id) in [&one, &other].into_iter().enumerate() {
        let mut endpoint = worlds::bare(&node);
        endpoint.addresses = [format!("fd00:0:0:{nth}::1").parse().unwrap()].into();
        world.endpoints.insert(id.clone(), endpoint);
    }
    let before = devices(&world).0.table.to_string();
    for name in ["delegated6", "prefixes6", "from-prefix", "to-prefix"] {
        assert!(!before.contains(name), "{before}");
    }
    for (nth, endpoint) in world.endpoints.values_mut().enumerate() {
        endpoint.prefixes = [format!("fd00:0:0:{nth}::/64").parse().unwrap()].into();
    }
    let (ruleset, [first, second]) = devices(&world);
    let sent = |source: &str, destination: &str, from, to| {
        let packet = Packet {
            space: Space::Node,
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            traffic: Traffic::Other(47),
        };
        let ran = run(&ruleset.table, &packet, (Some(from), Some(to)), |_| false);
        ran.unwrap().unwrap().verdict == bulkhead_nft::Policy::Accept
    };
    assert!(sent("fd00::7", "fd00:0:0:1::9", first, second));
    // Another's address, nobody's, and another's device.
    assert!(!sent("fd00:0:0:1::7", "fd00:0:0:1::9", first, second));
    assert!(!sent("fd00:0:0:2::7", "fd00:0:0:1::9", first, second));
    assert!(!sent("fd00::7", "fd00:0:0:1::9", first, first));
    // Two who have the same one have none.
    for endpoint in world.endpoints.values_mut() {
        endpoint.prefixes = ["fd00::/64".parse().unwrap()].into();
    }
    assert_eq!(devices(&world).0.closed, [one, other]);
}

/// A network whose addresses mean something on it alone is a world of its own.
#[test]
fn networks_with_addresses_of_their_own_are_compiled_by_themselves() {
    for seed in seeds(4, 200) {
        let mut world = worlds::world(&mut Dice::new(seed));
        let apart = Space::Network("tight".parse().unwrap());
        for (name, network) in &mut world.networks {
            if name.as_str() == "tight" {
                network.space = apart.clone();
            }
        }
        // Somebody has the same address in both.
        let mut twins = world.endpoints.clone();
        twins.retain(|id, _| world.space_of(id) == Space::Node);
        for (id, endpoint) in twins {
            let network = "tight".parse().ok();
            let name = format!("{}-twin", id.name);
            world.endpoints.insert(
                EndpointId {
                    name,
                    network,
                    ..id
                },
                endpoint,
            );
        }
        let judge = Matcher::new(&world);
        let interpreter = Interpreter::new(&world);
        let mut verdicts = [0; 2];
        for packet in worlds::packets(&world) {
            for space in [Space::Node, apart.clone()] {
                let packet = Packet {
                    space,
                    ..packet.clone()
                };
                let said = judge.evaluate(&packet);
                let done = interpreter.evaluate(&packet).unwrap();
                assert_eq!(done, said.decision, "seed {seed}, {packet:?}: {said:#?}");
                verdicts[usize::from(done == Decision::Allow)] += 1;
            }
        }
        println!("seed {seed}: {verdicts:?}");
    }
}
