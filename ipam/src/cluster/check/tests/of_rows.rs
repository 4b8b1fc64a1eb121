//! What is right has no violation; each damage of the rows is found as exactly what it is.

use super::changes::*;
use super::*;
use crate::cluster::operations::tests::{NOW, pool_row};
use crate::cluster::schema::FenceState;

#[test]
fn what_is_right_has_no_violation() {
    let scene = Scene::new();
    let expected = Checked {
        violations: Vec::new(),
        pools: 1,
        blocks: 2,
        leases: 3,
        attachments: 2,
    };
    assert_eq!(scene.check(), expected);
    assert_eq!(Scene::with_both().check().violations, []);
    // What is kept, reserved or leased as it should be.
    reserve(&scene, "10.4.0.65", 0, Some("web-65"));
    keep(&scene, 66, "web-66");
    stick(&scene, 66, "web-66");
    assert_eq!(scene.check().violations, []);
    // A node that came back goes on with blocks of its earlier life.
    change_fence(&scene, "n2", |fence| fence.epoch = 3);
    change_lease(&scene, 300, |lease| lease.epoch = 3);
    assert_eq!(scene.check().violations, []);
    // Addresses that are of no pool are nobody's business.
    scene.cluster.put_raw("live/n100000000000000", b"{}");
    assert_eq!(scene.check().violations, []);
}

pub(super) const OF_ROWS: &[Damage] = &[
    (
        "a row of a lease that is none",
        |scene| {
            scene
                .cluster
                .put_raw("leases/default/0000000000000044", b"{\"v\":1}");
        },
        &[(
            Rule::UnreadableRow,
            "/bulkhead/v1/leases/default/0000000000000044",
        )],
    ),
    (
        "a key of no kind",
        |scene| scene.cluster.put_raw("nodes/a/b", b"{}"),
        &[(Rule::UnreadableRow, "/bulkhead/v1/nodes/a/b")],
    ),
    (
        "a row of a later schema",
        |scene| scene.cluster.put_raw("live/n100000000000000", b"{\"v\":2}"),
        &[(Rule::UnreadableRow, "/bulkhead/v1/live/n100000000000000")],
    ),
    (
        "a block that is not aligned",
        |scene| {
            let row = b"{\"bits\":6,\"node\":\"n200000000000000\",\"epoch\":1}";
            scene
                .cluster
                .put_raw("blocks/default/0000000000000221", row);
        },
        &[(
            Rule::BlockMisaligned,
            "block at ordinal 545 of pool default",
        )],
    ),
    (
        "pools of the same addresses",
        |scene| {
            let row = pool_row(&["10.4.128.0/20"]);
            scene.cluster.put(&Place::Pool(pool("web")), &row);
        },
        &[(Rule::PoolsOverlap, "pools default and web")],
    ),
    (
        "a pool that is gone",
        |scene| {
            scene.cluster.delete(&block_at(64));
            scene.cluster.delete(&lease_at("default", 65));
            scene.cluster.delete(&lease_at("default", 66));
            scene.journals.clear();
            scene.cluster.delete(&Place::Pool(pool("default")));
        },
        &[(Rule::BlockOutsidePool, "block 256-319 of pool default")],
    ),
    (
        "a pool that is smaller than its blocks",
        |scene| {
            change_pool(scene, |row| {
                row.geometry = pool_row(&["10.4.0.0/24", "fd00:4::/64"]).geometry;
            });
        },
        &[(Rule::BlockOutsidePool, "block 256-319 of pool default")],
    ),
    (
        "a block larger than the pool ever had",
        |scene| scene.cluster.block("default", 1024, 8, "n2"),
        &[(Rule::BlockTooLarge, "block 10.4.4.0/24 and fd00:4::400/120")],
    ),
    (
        "a block inside another node's",
        |scene| scene.cluster.block("default", 96, 3, "n2"),
        &[(Rule::BlocksOverlap, "block 10.4.0.96/29 and fd00:4::60/125")],
    ),
    (
        "a block around another node's",
        |scene| {
            change_pool(scene, |row| row.largest_bits = 8);
            scene.cluster.block("default", 0, 8, "n2");
        },
        &[(Rule::BlocksOverlap, B64)],
    ),
    (
        "a block of a node that never registered",
        |scene| scene.cluster.block("default", 1024, 6, "n7"),
        &[(Rule::UnknownNode, "block 10.4.4.0/26 and fd00:4::400/122")],
    ),
    (
        "a node's fence that is gone",
        |scene| scene.cluster.delete(&Place::Fence(node("n2"))),
        &[(Rule::UnknownNode, B256)],
    ),
    (
        "a lost node's block that was not given up",
        |scene| {
            change_fence(scene, "n2", |fence| {
                (fence.epoch, fence.state) = (2, FenceState::Lost);
            });
        },
        &[(Rule::StaleFence, B256)],
    ),
    (
        "a lost node's lease that was not given up",
        |scene| {
            change_fence(scene, "n2", |fence| {
                (fence.epoch, fence.state) = (2, FenceState::Lost);
            });
            scene.cluster.delete(&block_at(256));
        },
        &[(Rule::StaleFence, L300)],
    ),
    (
        "a lease of an earlier life of its node",
        |scene| change_fence(scene, "n2", |fence| fence.epoch = 2),
        &[(Rule::StaleFence, L300)],
    ),
    (
        "a block of a life that its node has not reached",
        |scene| change_block(scene, 256, |block| block.epoch = 2),
        &[(Rule::StaleFence, B256)],
    ),
    (
        "a lease of a life that its node has not reached",
        |scene| change_lease(scene, 300, |lease| lease.epoch = 2),
        &[(Rule::StaleFence, L300)],
    ),
    (
        "a lease in no block",
        |scene| scene.cluster.delete(&block_at(256)),
        &[(Rule::LeaseOutsideBlock, L300)],
    ),
    (
        "a lease in another node's block",
        |scene| {
            let row = another(&scene.cluster, 70, "n2");
            scene.cluster.put(&lease_at("default", 70), &row);
        },
        &[(Rule::LeaseOutsideBlock, "10.4.0.70 and fd00:4::46")],
    ),
    (
        "a lease of a node that never registered",
        |scene| {
            let row = another(&scene.cluster, 1030, "n7");
            scene.cluster.put(&lease_at("default", 1030), &row);
        },
        &[(Rule::UnknownNode, "10.4.4.6 and fd00:4::406")],
    ),
    (
        "a lease with another ordinal's address",
        |scene| {
            change_lease(scene, 300, |lease| {
                lease.addresses[1] = "fd00:4::12d".parse().unwrap();
            });
        },
        &[(Rule::LeaseAddresses, L300)],
    ),
    (
        "a lease of a gateway",
        |scene| {
            scene.cluster.block("default", 0, 6, "n2");
            let row = another(&scene.cluster, 1, "n2");
            scene.cluster.put(&lease_at("default", 1), &row);
        },
        &[(Rule::AddressNeverGiven, "10.4.0.1 and fd00:4::1")],
    ),
    (
        "a lease in a reservation that is older and for somebody else",
        |scene| reserve(scene, "10.4.1.40/29", NOW - 100_000, Some("web-1")),
        &[(Rule::ReservationViolated, L300)],
    ),
    (
        "a lease in a reservation that is older and for nobody",
        |scene| reserve(scene, "fd00:4::12c", NOW - 100_000, None),
        &[(Rule::ReservationViolated, L300)],
    ),
    (
        "a lease of what is kept for another name",
        |scene| {
            keep(scene, 300, "web-1");
            stick(scene, 300, "web-1");
        },
        &[(Rule::KeptViolated, L300)],
    ),
    (
        "a name's ordinal that is not kept",
        |scene| stick(scene, 303, "web-1"),
        &[(Rule::StickyUnkept, "10.4.1.47 and fd00:4::12f")],
    ),
    (
        "a name's ordinal that is kept for another",
        |scene| {
            keep(scene, 303, "web-2");
            stick(scene, 303, "web-1");
        },
        &[(Rule::StickyUnkept, "10.4.1.47 and fd00:4::12f")],
    ),
];

#[test]
fn each_damage_of_the_rows_is_found_as_what_it_is() {
    assert_found(OF_ROWS);
}

#[test]
fn no_rows_make_the_check_panic() {
    let scene = Scene::new();
    for row in scene.cluster.rows() {
        for at in 0..row.value.len() {
            let mut damaged = scene.cluster.rows();
            let of = damaged
                .iter_mut()
                .find(|other| other.key == row.key)
                .unwrap();
            of.value[at] ^= 0x15;
            let checked = check(&Facts {
                schema: &scene.cluster.schema,
                rows: &damaged,
                journals: &scene.journals,
                kernels: std::slice::from_ref(&scene.kernel),
            });
            drop(checked);
        }
    }
}

#[test]
fn the_range_has_what_is_checked_and_not_the_past() {
    let schema = Schema::default();
    let range = range(&schema);
    for place in [
        block_at(0),
        lease_at("default", 0),
        Place::Fence(node("n1")),
        Place::Pool(pool("default")),
        Place::Sticky(sticky("web-1")),
        Place::Meta,
        Place::Change,
        Place::Reservation("dns".parse().unwrap()),
        Place::Kept {
            pool: pool("default"),
            ordinal: 0,
        },
    ] {
        assert!(range.contains(&schema.key(&place)), "{place:?}");
    }
    assert!(!range.contains(
        &schema.key(&Place::Audit(crate::cluster::schema::AuditPlace {
            pool: pool("default"),
            ordinal: 0,
            at_unix_ms: 0,
            writer: "n1".to_owned(),
            nth: 0,
        }))
    ));
}
