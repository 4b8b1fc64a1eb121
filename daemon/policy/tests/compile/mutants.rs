//! Broken compilers, each of which must be caught by some world.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_nft::{Data, Elements, Field, Match, Name, Op, Operand, Statement, Table, Verdict};
use bulkhead_policy::{
    Action, Interpreter, Local, Mode, OwnPrefix, Peer, Port, Priority, Ruleset, Stance, Tier,
    World, compile,
};

use crate::dice::Dice;
use crate::{disagreement, worlds};

/// Worlds that a mutant may pass unseen.
const WORLDS: u64 = 400;

/// Where each was caught: to look there first saves a minute.
const HINTS: [u64; 19] = [4, 1, 1, 49, 5, 4, 247, 44, 7, 1, 11, 7, 6, 2, 1, 1, 4, 1, 1];

/// Compiles something else than what is there, or makes something else of it.
struct Mutant {
    what: &'static str,
    reads: fn(&mut World),
    writes: fn(&mut Table),
}

/// Where each of the second kind was caught.
const PREFIXED_HINTS: [u64; 3] = [1, 1, 14];

/// Of what is caught by endpoints with prefixes alone.
const PREFIXED: [Mutant; 3] = [
    reads("prefixes are nobody's", |world| {
        for endpoint in world.endpoints.values_mut() {
            endpoint.prefixes.clear();
        }
    }),
    writes("who has a prefix is not known as a peer", |table| {
        for set in &mut table.sets {
            if set.name.as_str() == "delegated6" {
                set.elements = Elements::Ranges(BTreeMap::new());
            }
        }
    }),
    writes("all of a prefix is as its first address is", |table| {
        for set in &mut table.sets {
            if let ("delegated6", Elements::Ranges(ranges)) = (set.name.as_str(), &mut set.elements)
            {
                let mut before: Option<(OwnPrefix, Data)> = None;
                for (first, (_, data)) in ranges {
                    let around = OwnPrefix::around(*first).unwrap();
                    match &before {
                        Some((own, same)) if *own == around => data.clone_from(same),
                        _ => before = Some((around, data.clone())),
                    }
                }
            }
        }
    }),
];

const fn reads(what: &'static str, reads: fn(&mut World)) -> Mutant {
    Mutant {
        what,
        reads,
        writes: |_| (),
    }
}

const fn writes(what: &'static str, writes: fn(&mut Table)) -> Mutant {
    Mutant {
        what,
        reads: |_| (),
        writes,
    }
}

const MUTANTS: [Mutant; 19] = [
    reads("exceptions are overlooked", |world| {
        each_peer(world, |peer| {
            if let Peer::Block(block) = peer {
                block.except.clear();
            }
        });
    }),
    reads("policies in audit are in force", |world| {
        let policies = world.policies.values_mut();
        policies.for_each(|policy| policy.mode = Mode::Enforce);
    }),
    reads("a pass is an allow", |world| {
        each_action(world, |action| {
            if *action == Action::Pass {
                *action = Action::Allow;
            }
        });
    }),
    reads("a pass is nothing", |world| {
        for policy in world.policies.values_mut() {
            for rules in [&mut policy.ingress, &mut policy.egress] {
                let rules = rules.iter_mut();
                rules.for_each(|rules| rules.retain(|rule| rule.action != Action::Pass));
            }
        }
    }),
    reads("an allow of the admin tier is a pass", |world| {
        for policy in world.policies.values_mut() {
            if matches!(policy.tier, Tier::Admin(_)) {
                for rules in [&mut policy.ingress, &mut policy.egress] {
                    for rule in rules.iter_mut().flatten() {
                        if rule.action == Action::Allow {
                            rule.action = Action::Pass;
                        }
                    }
                }
            }
        }
    }),
    reads("a policy without rules isolates nobody", |world| {
        for policy in world.policies.values_mut() {
            for rules in [&mut policy.ingress, &mut policy.egress] {
                if rules.as_ref().is_some_and(Vec::is_empty) {
                    *rules = None;
                }
            }
        }
    }),
    reads("priorities are turned round", |world| {
        for policy in world.policies.values_mut() {
            let turn = |priority: Priority| Priority::new(2 - priority.number().min(2));
            policy.tier = match policy.tier {
                Tier::Admin(priority) => Tier::Admin(turn(priority).unwrap_or(priority)),
                Tier::Baseline(priority) => Tier::Baseline(turn(priority).unwrap_or(priority)),
                Tier::Middle => Tier::Middle,
            };
        }
    }),
    reads("named ports are of any protocol", |world| {
        each_port(world, |port| {
            if let Port::Named { protocol, .. } = port {
                *protocol = None;
            }
        });
    }),
    reads("nobody has names for ports", |world| {
        let endpoints = world.endpoints.values_mut();
        endpoints.for_each(|endpoint| endpoint.ports = BTreeSet::new());
    }),
    reads("codes of ICMP are overlooked", |world| {
        each_port(world, |port| {
            if let Port::Icmp { code, .. } = port {
                *code = None;
            }
        });
    }),
    reads("networks close nothing", |world| {
        for network in world.networks.values_mut() {
            (network.ingress, network.egress) = (Stance::Open, Stance::Open);
        }
    }),
    reads("pools are the world", |world| {
        let networks = world.networks.values_mut();
        networks.for_each(|network| network.pools = BTreeSet::new());
    }),
    reads("namespaces have no labels", |world| {
        world.namespaces.clear();
    }),
    reads("groups have no members", |world| {
        let endpoints = world.endpoints.values_mut();
        endpoints.for_each(|endpoint| endpoint.groups = BTreeSet::new());
    }),
    writes("what nobody knows passes", |table| {
        let verdicts = table
            .sets
            .iter_mut()
            .filter_map(|set| match &mut set.elements {
                Elements::Map(map) => Some(map.values_mut()),
                _ => None,
            });
        for entry in verdicts.flatten() {
            if matches!(entry.data, Data::Verdict(_)) {
                entry.data = Data::Verdict(Verdict::Return);
            }
        }
    }),
    writes("nobody is known by itself", |table| {
        for set in &mut table.sets {
            if let ("peers4" | "peers6", Elements::Map(map)) =
                (set.name.as_str(), &mut set.elements)
            {
                map.clear();
            }
        }
    }),
    writes("the last range goes on where it began", |table| {
        for set in &mut table.sets {
            if let Elements::Ranges(ranges) = &mut set.elements {
                ranges.pop_last();
            }
        }
    }),
    writes("arrivals are not judged", |table| {
        let rest = Statement::jump(Name::literal("arriving"));
        let judges = |it: &Statement| match it {
            Statement::VerdictMap { map, .. } => map.as_str() == "receivers",
            other => *other == rest,
        };
        for chain in &mut table.chains {
            chain
                .rules
                .retain(|rule| !rule.statements.iter().any(judges));
        }
    }),
    writes("the last of a range of ports is outside", |table| {
        for statement in table
            .chains
            .iter_mut()
            .flat_map(|chain| &mut chain.rules)
            .flat_map(|rule| &mut rule.statements)
        {
            if let Statement::Match(Match { fields, op, with }) = statement
                && let Operand::Range { first, .. } = with
                && fields.as_slice() == [Field::TransportDport]
            {
                (*op, *with) = (Op::Eq, Operand::Value(first.clone()));
            }
        }
    }),
];

fn each_peer(world: &mut World, mut change: impl FnMut(&mut Peer)) {
    for policy in world.policies.values_mut() {
        for rules in [&mut policy.ingress, &mut policy.egress] {
            for rule in rules.iter_mut().flatten() {
                rule.peers.iter_mut().for_each(&mut change);
            }
        }
    }
}

fn each_port(world: &mut World, mut change: impl FnMut(&mut Port)) {
    for policy in world.policies.values_mut() {
        for rules in [&mut policy.ingress, &mut policy.egress] {
            for rule in rules.iter_mut().flatten() {
                rule.ports.iter_mut().for_each(&mut change);
            }
        }
    }
}

fn each_action(world: &mut World, mut change: impl FnMut(&mut Action)) {
    for policy in world.policies.values_mut() {
        for rules in [&mut policy.ingress, &mut policy.egress] {
            for rule in rules.iter_mut().flatten() {
                change(&mut rule.action);
            }
        }
    }
}

impl Mutant {
    fn compile(&self, world: &World, local: &Local) -> Ruleset {
        let mut world = world.clone();
        (self.reads)(&mut world);
        let mut ruleset = compile(&world, local);
        (self.writes)(&mut ruleset.table);
        ruleset
    }

    /// A world that catches it, the one that did so when this was written first.
    fn caught_by(&self, hint: u64, world: impl Fn(u64) -> World) -> Option<u64> {
        [hint].into_iter().chain(1..=WORLDS).find(|seed| {
            let world = world(*seed);
            let interpreter = Interpreter::with(&world, |world, local| self.compile(world, local));
            disagreement(&world, &interpreter).is_err()
        })
    }
}

#[test]
fn broken_compilers_are_caught() {
    let world = |seed| worlds::world(&mut Dice::new(seed));
    let prefixed = |seed| {
        let mut world = world(seed);
        worlds::delegate(&mut Dice::new(seed), &mut world);
        world
    };
    let caught = MUTANTS.iter().zip(HINTS);
    let caught = caught.map(|(mutant, hint)| (mutant.what, mutant.caught_by(hint, world)));
    let by_prefixes = PREFIXED.iter().zip(PREFIXED_HINTS);
    let by_prefixes =
        by_prefixes.map(|(mutant, hint)| (mutant.what, mutant.caught_by(hint, prefixed)));
    let caught: Vec<_> = caught.chain(by_prefixes).collect();
    let worlds: Vec<u64> = caught.iter().filter_map(|(_, seed)| *seed).collect();
    println!("caught by {worlds:?}");
    let uncaught = caught.iter().filter(|(_, seed)| seed.is_none());
    let uncaught: Vec<_> = uncaught.map(|(what, _)| what).collect();
    assert!(uncaught.is_empty(), "not caught: {uncaught:?}");
}
