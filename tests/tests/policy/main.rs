//! Policies in the kernel: what is compiled is loaded, packets are sent, and what comes is what the judge of
//! what is written says.

#[path = "../../../daemon/policy/tests/compile/dice.rs"]
mod dice;
mod node;
#[allow(dead_code, reason = "the compiler's tests use all of it")]
#[path = "../../../daemon/policy/tests/compile/worlds.rs"]
mod worlds;

use bulkhead_nft::{Command, Standing, change};
use bulkhead_policy::{Decision, Matcher, PolicyId, World, compile};
use dice::Dice;
use node::{Nodes, Probe};

/// Steps of the walk, and packets after each.
const STEPS: usize = 80;
const PROBES: usize = 40;

/// Changes what is written, and who is who, but not who is there.
fn edit(dice: &mut Dice, world: &mut World) {
    match dice.below(6) {
        0..=2 => worlds::put_policy(dice, world),
        3 => {
            let names: Vec<PolicyId> = world.policies.keys().cloned().collect();
            if !names.is_empty() {
                world.policies.remove(&dice.one(&names));
            }
        }
        4 => {
            let names: Vec<_> = world.endpoints.keys().cloned().collect();
            let labels = worlds::labels(dice);
            if let Some(endpoint) = world.endpoints.get_mut(&dice.one(&names)) {
                endpoint.labels = labels;
            }
        }
        _ => {
            let name = dice.one(&["x", "y", "z"]).to_owned();
            let namespace = worlds::namespace(dice);
            world.namespaces.insert(name, namespace);
        }
    }
}

fn walk(nodes: &Nodes, ends: usize, seed: u64) {
    let mut dice = Dice::new(seed);
    let mut world = nodes.world();
    let mut tables: Vec<_> = nodes
        .sides()
        .map(|side| compile(&world, &nodes.local(side)).table)
        .collect();
    for side in nodes.sides() {
        nodes.commit(side, vec![Command::AddTable(tables[side].clone())]);
    }
    let mut came = [0; 2];
    for step in 0..STEPS {
        edit(&mut dice, &mut world);
        for side in nodes.sides() {
            let next = compile(&world, &nodes.local(side)).table;
            nodes.commit(side, change(&tables[side], &next));
            tables[side] = next;
        }
        let judge = Matcher::new(&world);
        for _ in 0..PROBES {
            let probe = Probe::any(&mut dice, ends);
            let packet = Nodes::packet(&probe);
            let said = judge.evaluate(&packet);
            let delivered = nodes.send(&probe, said.decision);
            assert_eq!(
                delivered,
                said.decision == Decision::Allow,
                "step {step}: {packet}: {said:#?}"
            );
            came[usize::from(delivered)] += 1;
        }
        for side in nodes.sides() {
            let standing = nodes.standing(side).expect("the table is there");
            let should = Standing::of(&tables[side], &|_| 0);
            assert_eq!(standing.differences(&should), [""; 0], "step {step}");
        }
    }
    println!("{} came, {} did not", came[1], came[0]);
    assert!(came.iter().all(|count| *count > 300), "{came:?}");
}

#[test]
fn packets_are_delivered_as_the_judge_says_at_every_step_of_a_walk() {
    walk(&Nodes::new(1, 6), 6, 11);
}

#[test]
fn packets_are_delivered_as_the_judge_says_between_two_nodes() {
    walk(&Nodes::new(2, 6), 6, 12);
}

#[test]
fn a_device_is_closed_to_whoever_is_not_known_there() {
    let node = Nodes::new(1, 3);
    let mut world = node.world();
    let mut local = node.local(0);
    let known: Vec<_> = local.endpoints.keys().cloned().collect();
    local.devices = local.endpoints.values().copied().collect();
    local.endpoints.remove(&known[0]);
    world.endpoints.remove(&known[0]);
    let table = compile(&world, &local).table;
    node.commit(0, vec![Command::AddTable(table)]);
    for (from, to, comes) in [(0, 1, false), (1, 0, false), (1, 2, true)] {
        let probe = Probe::datagram(from, to);
        let should = if comes {
            Decision::Allow
        } else {
            Decision::Deny
        };
        assert_eq!(node.send(&probe, should), comes, "{from} to {to}");
    }
}

#[test]
fn what_somebody_else_did_to_the_table_is_seen() {
    let node = Nodes::new(1, 3);
    let table = compile(&node.world(), &node.local(0)).table;
    let should = Standing::of(&table, &|_| 0);
    assert_eq!(node.standing(0), None);
    let class = table
        .chains
        .iter()
        .find(|chain| chain.name.as_str().starts_with("verdict-"))
        .expect("there is a verdict")
        .name
        .clone();
    for damage in [
        "delete element inet bulkhead-policy policed { \"bhp000000000000\" }".to_owned(),
        format!("flush chain inet bulkhead-policy {class}"),
        format!("insert rule inet bulkhead-policy {class} accept"),
        "add element inet bulkhead-policy peers4 { 10.0.0.77 : 0:5 }".to_owned(),
        "add chain inet bulkhead-policy strange".to_owned(),
        "delete table inet bulkhead-policy".to_owned(),
    ] {
        node.commit(0, vec![Command::ReplaceTable(table.clone())]);
        let whole = node.standing(0).expect("it was loaded");
        assert_eq!(whole.differences(&should), [""; 0]);
        node.nft(&damage);
        let seen = node.standing(0);
        let differs = seen.is_none_or(|standing| !standing.differences(&should).is_empty());
        assert!(differs, "{damage}");
    }
}

#[test]
fn nft_loads_the_text_and_lists_the_same() {
    let dice = &mut Dice::new(5);
    let (bytes, text) = (Nodes::new(1, 0), Nodes::new(1, 0));
    for _ in 0..5 {
        let world = worlds::world(dice);
        let name = bulkhead_policy::NodeName::new("n1");
        let local = bulkhead_policy::Local::of(&world, Some(&name));
        let command = Command::ReplaceTable(compile(&world, &local).table);
        text.nft(&command.to_string());
        bytes.commit(0, vec![command]);
        assert_eq!(bytes.listing(), text.listing());
    }
}
