//! The protocol of blocks and leases under everything that can go wrong, in virtual time: thousands of
//! nodes on one store in memory, with requests that are delayed, lost, and run after nobody waits for
//! them any more; partitions, outages, crashes between any two steps, reboots, clocks that jump, watches
//! that lag or lose their place, nodes that are declared lost and come back.
//!
//! One seed is one run. `BULKHEAD_SIM_SEED` replays it, `BULKHEAD_SIM_NODES` sets how many nodes there
//! are. `BULKHEAD_SOAK` runs 5,000 nodes of 110 pods.

mod disk;
mod faults;
mod load;
mod network;
mod node;
mod operator;
mod pods;
mod random;
mod verdict;
mod wire;
mod world;

use std::env;

use load::Load;
use world::{Faults, World};

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}

fn is_soak() -> bool {
    env::var_os("BULKHEAD_SOAK").is_some()
}

/// The seeds to run: one that is named, or so many.
fn seeds(few: u64, many: u64) -> std::ops::RangeInclusive<u64> {
    match number("BULKHEAD_SIM_SEED") {
        Some(seed) => seed..=seed,
        None if is_soak() => 1..=many,
        None => 1..=few,
    }
}

/// Nodes in a quick run, or in a long one.
fn nodes(few: u64, many: u64) -> u64 {
    let meant = if is_soak() { many } else { few };
    number("BULKHEAD_SIM_NODES").unwrap_or(meant)
}

#[test]
fn soak_no_address_is_given_twice_and_none_is_lost_whatever_fails() {
    for seed in seeds(3, 20) {
        let mut world = World::new(seed, nodes(12, 24), "10.64.0.0/21", Faults::Many);
        world.run(
            Load::Churn { pods: 40 },
            if is_soak() { 600_000 } else { 240_000 },
        );
        world.come_to_rest();
        let verdict = world.verdict();
        println!("seed {seed}: {verdict}");
        assert!(verdict.is_clean(), "seed {seed}: {verdict}");
    }
}

#[test]
fn soak_a_full_pool_is_shared_without_duplicates_whatever_fails() {
    for seed in seeds(1, 8) {
        let mut world = World::new(seed, nodes(8, 12), "10.64.0.0/24", Faults::Many);
        world.run(
            Load::Churn { pods: 30 },
            if is_soak() { 600_000 } else { 150_000 },
        );
        world.come_to_rest();
        let verdict = world.verdict();
        println!("seed {seed}: {verdict}");
        assert!(verdict.is_clean(), "seed {seed}: {verdict}");
    }
}

#[test]
fn soak_a_burst_of_110_pods_on_every_node_takes_few_transactions() {
    let nodes = nodes(100, 5_000);
    let prefix = if nodes > 1_000 {
        "10.64.0.0/12"
    } else {
        "10.64.0.0/15"
    };
    let mut world = World::new(7, nodes, prefix, Faults::None);
    let burst = world.measure(Load::Burst { pods: 110 }, 30_000);
    // A node that was slowed by a conflict claims more ahead, and gives it back when it has lain idle.
    let burst = burst.with_aftermath(&world.measure(Load::Rest, 180_000));
    println!("burst of 110 on {nodes} nodes: {burst}");
    assert_eq!(burst.adds, nodes * 110);
    assert!(burst.per_thousand() <= 40.0, "{burst}");
    let trickle = world.measure(Load::Trickle { every_ms: 5_000 }, 60_000);
    println!("trickle on {nodes} nodes: {trickle}");
    assert!(trickle.adds > nodes * 8, "{trickle}");
    assert!(trickle.per_thousand() <= 1_000.0, "{trickle}");
    assert!(trickle.lag_ms <= 200, "{trickle}");
    world.come_to_rest();
    let verdict = world.verdict();
    assert!(verdict.is_clean(), "{verdict}");
}

#[test]
fn soak_thousands_of_nodes_churn_through_faults() {
    let nodes = nodes(40, 5_000);
    let prefix = if nodes > 1_000 {
        "10.64.0.0/12"
    } else {
        "10.64.0.0/18"
    };
    let mut world = World::new(11, nodes, prefix, Faults::Some);
    world.run(
        Load::Churn { pods: 110 },
        if is_soak() { 240_000 } else { 90_000 },
    );
    world.come_to_rest();
    let verdict = world.verdict();
    println!("{nodes} nodes: {verdict}");
    assert!(verdict.is_clean(), "{verdict}");
}
