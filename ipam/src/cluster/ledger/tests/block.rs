//! One block's ordinals.

use super::super::own::{CoolDown, OwnBlock, Slot};
use super::*;

const COOL: CoolDown = CoolDown {
    least_ms: 30_000,
    most_ms: 600_000,
};

fn own(first: u64, bits: u8) -> OwnBlock {
    OwnBlock::new(Block::new(first, bits).unwrap(), |_| true)
}

fn id(nth: u64) -> AttachmentId {
    key(&format!("c{nth}")).id()
}

#[test]
fn a_freed_ordinal_is_given_out_after_every_other() {
    let mut own = own(0, 3);
    assert_eq!(own.take(id(0)), Some(0));
    own.cool(0, 1_000);
    own.confirm(0);
    assert_eq!(own.ripen(COOL, 31_000, |_| true), [] as [u64; 0]);
    let order: Vec<u64> = (1..9).filter_map(|nth| own.take(id(nth))).collect();
    assert_eq!(order, [1, 2, 3, 4, 5, 6, 7, 0]);
}

#[test]
fn an_ordinal_cools_for_the_least_time_and_until_it_is_confirmed() {
    for (confirm_at, after, ripe) in [
        (Some(1), 29_999, false),
        (Some(1), 30_000, true),
        (None, 30_000, false),
        (None, 599_999, false),
        (None, 600_000, true),
    ] {
        let mut own = own(0, 0);
        own.take(id(0));
        own.cool(0, 0);
        if confirm_at.is_some() {
            own.confirm(0);
        }
        let unconfirmed = own.ripen(COOL, after, |_| true);
        assert_eq!(own.free(), u64::from(ripe), "{confirm_at:?} {after}");
        let told = ripe && confirm_at.is_none();
        assert_eq!(unconfirmed.len(), usize::from(told));
    }
}

#[test]
fn a_clock_that_goes_backwards_lets_nothing_ripen_early() {
    let mut own = own(0, 0);
    own.take(id(0));
    own.cool(0, 100_000);
    own.confirm(0);
    own.ripen(COOL, 50, |_| true);
    assert_eq!(own.free(), 0);
}

#[test]
fn what_leaves_is_given_to_nobody_also_not_when_asked_for() {
    let mut own = own(64, 6);
    own.leaving = Block::new(96, 5);
    own.sort_out(|_| true);
    assert_eq!(own.free(), 32);
    assert!(!own.take_one(100, id(0)));
    assert!(
        (0..40)
            .filter_map(|nth| own.take(id(nth)))
            .all(|at| at < 96)
    );
}

#[test]
fn every_ordinal_is_one_thing_whatever_is_done() {
    let mut own = own(0, 5);
    let mut seed = 7_u64;
    let mut next = |bound: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % bound
    };
    for step in 0..20_000_u64 {
        let at = next(32);
        match next(8) {
            0 => drop(own.take(id(step))),
            1 => drop(own.take_one(at, id(step))),
            2 => own.cool(at, step),
            3 => own.put_back(at, step, next(2) == 0),
            4 => own.confirm(at),
            5 => drop(own.ripen(COOL, step * 1_000, |at| at % 5 != 0)),
            6 => own.sort_out(|at| at % 7 != 0),
            _ => own.recall_cooling(at, step),
        }
        let count = |slot: fn(Slot) -> bool| {
            u64::try_from((0..32).filter(|at| slot(own.slot(*at))).count()).unwrap()
        };
        assert_eq!(count(|slot| slot == Slot::Free), own.free());
        assert_eq!(count(|slot| slot == Slot::Cooling), own.cooling());
        assert_eq!(count(|slot| matches!(slot, Slot::Held(_))), own.held());
        let withheld = count(|slot| slot == Slot::Withheld);
        assert_eq!(own.free() + own.cooling() + own.held() + withheld, 32);
    }
}

#[test]
fn parts_and_their_whole_know_the_same() {
    let mut own = own(0, 4);
    for nth in 0..6 {
        own.take(id(nth));
    }
    own.cool(2, 9);
    let mut whole = OwnBlock::new(own.block, |_| false);
    for part in own.block.halves().unwrap() {
        whole.inherit(&own.part(part));
    }
    for ordinal in own.block.ordinals() {
        assert_eq!(whole.slot(ordinal), own.slot(ordinal));
    }
    assert_eq!(whole.free(), own.free());
}

#[test]
fn an_idle_part_has_nothing_held_and_not_too_much_free() {
    let mut own = own(0, 4);
    own.take_one(1, id(0));
    assert_eq!(own.idle_part(4, 100), Block::new(8, 3));
    assert_eq!(own.idle_part(2, 100), Block::new(4, 2));
    assert_eq!(own.idle_part(4, 5), Block::new(4, 2));
    own.take_one(12, id(1));
    own.cool(12, 0);
    assert_eq!(own.idle_part(4, 100), Block::new(4, 2));
    assert_eq!(own.idle_part(4, 0), None);
}
