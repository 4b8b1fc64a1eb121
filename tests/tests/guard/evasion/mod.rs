//! Random but valid stacks of VLAN tags, extension headers, pieces and orders around each message
//! that a port may not send. None may arrive whole or have an effect; what does is told with the
//! seed that makes it again (`BULKHEAD_GUARD_SEED`).

mod dice;
mod stack;

use std::hash::{BuildHasher, RandomState};

use netns_fixtures::BridgeNetfilter;

use crate::field::Field;
use crate::ground::Ground;
use crate::judge::carry_out;
use crate::shot::Shot;
use dice::Dice;
use stack::{Forbidden, hide};

/// Seeds that are tried each time: the first of all, and what once got through.
const KEPT: [u64; 1] = [1];
/// Messages for each seed, in lots that are judged together.
const LOTS: usize = 16;
const LOT: usize = 128;
/// On an unguarded port so many of a hundred arrive at least: a bridge that snoops drops broken
/// membership reports, and nobody forwards what is addressed to nobody.
const ARRIVING: usize = 75;

crate::on_each_ground! { ground: what_is_hidden }

fn what_is_hidden(ground: Ground, setting: BridgeNetfilter) {
    if ground.is_guarded() {
        none_gets_through(ground, setting);
    } else {
        most_get_through(ground, setting);
    }
}

fn seeds() -> Vec<u64> {
    match std::env::var("BULKHEAD_GUARD_SEED") {
        Ok(seed) => vec![seed.parse().expect("BULKHEAD_GUARD_SEED is a number")],
        // The standard library's keys are random in each process.
        Err(_) => KEPT
            .into_iter()
            .chain([RandomState::new().hash_one(0)])
            .collect(),
    }
}

/// Nothing that is generated gets through.
fn none_gets_through(ground: Ground, setting: BridgeNetfilter) {
    let mut field = Field::new(ground, setting);
    for seed in seeds() {
        let mut dice = Dice::new(seed);
        for lot in 0..LOTS {
            let shots: Vec<(Forbidden, Shot)> = (0..LOT)
                .map(|_| hide(&field.lab.scene, &mut dice))
                .collect();
            if carry_out(&mut field, shots.iter().map(|(_, shot)| shot)).is_harmless() {
                continue;
            }
            // One by one, to name it; together they may only have looked like one.
            for (nth, (message, shot)) in shots.iter().enumerate() {
                let outcome = carry_out(&mut field, [shot]);
                assert!(
                    outcome.is_harmless(),
                    "{ground:?}: BULKHEAD_GUARD_SEED={seed}, lot {lot}, number {nth}: {message:?} got \
                     through: {outcome}\n   sent:\n{}",
                    shot.dump()
                );
            }
        }
    }
}

/// What is generated works where nothing stops it.
fn most_get_through(ground: Ground, setting: BridgeNetfilter) {
    let mut field = Field::new(ground, setting);
    let mut dice = Dice::new(KEPT[0]);
    let mut tally: Vec<(Forbidden, usize, usize, usize)> = Forbidden::ALL
        .iter()
        .map(|message| (*message, 0, 0, 0))
        .collect();
    for _ in 0..200 {
        let (message, shot) = hide(&field.lab.scene, &mut dice);
        let outcome = carry_out(&mut field, [&shot]);
        let row = tally
            .iter_mut()
            .find(|row| row.0 == message)
            .expect("one of all");
        row.1 += 1;
        row.2 += usize::from(!outcome.delivered.is_empty());
        row.3 += usize::from(!outcome.effects.is_empty());
    }
    for (message, sent, arrived, took) in tally {
        println!("{message:?}: {sent} sent, {arrived} arrived, {took} took effect");
        assert!(
            sent > 0 && arrived * 100 >= sent * ARRIVING,
            "{message:?}: {arrived} of {sent}"
        );
        assert!(
            took > 0 || !message.takes_effect(),
            "{message:?} of {sent} none took effect"
        );
    }
}
