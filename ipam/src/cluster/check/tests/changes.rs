//! Ways to damage a scene, and what is to be found then.

use super::*;
use crate::cluster::name::StickyId;
use crate::cluster::operations::tests::NOW;
use crate::cluster::schema::{Beneficiary, BlockRow, FenceRow, KeptRow, ReservationRow, StickyRow};

/// What is done, and the rule and subject of every violation that this is.
pub(super) type Damage = (
    &'static str,
    fn(&mut Scene),
    &'static [(Rule, &'static str)],
);

pub(super) const L65: &str = "10.4.0.65 and fd00:4::41";
pub(super) const L300: &str = "10.4.1.44 and fd00:4::12c";
pub(super) const B64: &str = "block 10.4.0.64/26 and fd00:4::40/122";
pub(super) const B256: &str = "block 10.4.1.0/26 and fd00:4::100/122";

pub(super) fn assert_found(damages: &[Damage]) {
    for (what, damage, expected) in damages {
        let mut scene = Scene::new();
        damage(&mut scene);
        let found = scene.found();
        let found: Vec<_> = found
            .iter()
            .map(|(rule, of)| (*rule, of.as_str()))
            .collect();
        assert_eq!(found, *expected, "{what}");
    }
}

pub(super) fn block_at(first: u64) -> Place {
    Place::Block {
        pool: pool("default"),
        first,
    }
}

pub(super) fn change_block(scene: &Scene, first: u64, change: impl Fn(&mut BlockRow)) {
    let mut row: BlockRow = scene.cluster.value(&block_at(first)).unwrap();
    change(&mut row);
    scene.cluster.put(&block_at(first), &row);
}

pub(super) fn change_lease(scene: &Scene, ordinal: u64, change: impl Fn(&mut LeaseRow)) {
    let place = lease_at("default", ordinal);
    let mut row: LeaseRow = scene.cluster.value(&place).unwrap();
    change(&mut row);
    scene.cluster.put(&place, &row);
}

pub(super) fn change_fence(scene: &Scene, of: &str, change: impl Fn(&mut FenceRow)) {
    let place = Place::Fence(node(of));
    let mut row: FenceRow = scene.cluster.value(&place).unwrap();
    change(&mut row);
    scene.cluster.put(&place, &row);
}

pub(super) fn change_pool(scene: &Scene, change: impl Fn(&mut PoolRow)) {
    let place = Place::Pool(pool("default"));
    let mut row: PoolRow = scene.cluster.value(&place).unwrap();
    change(&mut row);
    scene.cluster.put(&place, &row);
}

pub(super) fn reserve(scene: &Scene, span: &str, at_unix_ms: u64, pod: Option<&str>) {
    let row = ReservationRow {
        pool: None,
        spans: vec![span.parse().unwrap()],
        beneficiary: pod.map(|name| Beneficiary::Pod {
            namespace: "team-a".to_owned(),
            name: name.to_owned(),
        }),
        reason: String::new(),
        by: "ops".to_owned(),
        at_unix_ms,
    };
    let place = Place::Reservation("dns".parse().unwrap());
    scene.cluster.put(&place, &row);
}

pub(super) fn sticky(pod: &str) -> StickyId {
    StickyId {
        namespace: "team-a".parse().unwrap(),
        name: pod.parse().unwrap(),
        network: "blue".parse().unwrap(),
    }
}

pub(super) fn keep(scene: &Scene, ordinal: u64, pod: &str) {
    let place = Place::Kept {
        pool: pool("default"),
        ordinal,
    };
    let sticky = sticky(pod);
    scene.cluster.put(&place, &KeptRow { sticky });
}

pub(super) fn stick(scene: &Scene, ordinal: u64, pod: &str) {
    let row = StickyRow {
        pool: pool("default"),
        ordinal,
        holder: None,
        attempt: crate::cluster::Attempt::default(),
        changed_at_unix_ms: NOW,
    };
    scene.cluster.put(&Place::Sticky(sticky(pod)), &row);
}
