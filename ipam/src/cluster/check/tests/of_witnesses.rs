//! Each difference of two witnesses is found as exactly what it is, with what both say.

use super::changes::*;
use super::*;
use crate::cluster::geometry::Block;
use crate::cluster::operations::tests::pool_row;

const OF_WITNESSES: &[Damage] = &[
    (
        "two journals that have one address",
        |scene| {
            *scene = Scene::with_both();
            let held = scene.journals[0].held[0].clone();
            let other = Held {
                attachment: another(&scene.cluster, 700, "n2").attachment,
                ..held
            };
            scene.journals[1].held.push(other);
        },
        &[(Rule::AddressTwice, L65), (Rule::LeaseOutsideBlock, L65)],
    ),
    (
        "one journal that gives an address twice",
        |scene| {
            let other = another(&scene.cluster, 700, "n1").attachment;
            let held = Held {
                attachment: other,
                ..scene.journals[0].held[0].clone()
            };
            scene.kernel.containers.push(container(&held));
            scene.journals[0].held.push(held);
            scene.journals[0].queued.insert((pool("default"), 65));
        },
        &[(Rule::AddressTwice, L65)],
    ),
    (
        "a row of another node for what a journal has",
        |scene| {
            change_lease(scene, 65, |lease| lease.node = node("n2"));
            // n2 has the block that the ordinal is in.
            scene.cluster.delete(&block_at(64));
            scene.cluster.block("default", 64, 0, "n1");
            for block in rest_of_64() {
                scene
                    .cluster
                    .block("default", block.first(), block.bits(), "n1");
            }
            scene.cluster.block("default", 65, 0, "n2");
            scene.journals[0].blocks = None;
        },
        &[(Rule::AddressTwice, L65), (Rule::LeaseOutsideBlock, L65)],
    ),
    (
        "the same address by leases of two pools",
        |scene| {
            let row = pool_row(&["10.4.1.0/24"]);
            scene.cluster.put(&Place::Pool(pool("web")), &row);
            scene.cluster.block("web", 0, 6, "n1");
            let lease = lease(&row, 44, "n1");
            scene.cluster.put(&lease_at("web", 44), &lease);
            scene.journals.clear();
        },
        &[
            (Rule::AddressTwice, "10.4.1.44"),
            (Rule::PoolsOverlap, "pools default and web"),
        ],
    ),
    (
        "an address of one container in another",
        |scene| {
            let address = "10.4.0.65".parse().unwrap();
            let addresses = scene.kernel.containers[1].addresses.as_mut().unwrap();
            addresses.push(address);
        },
        &[(Rule::AddressTwice, "10.4.0.65")],
    ),
    (
        "a block that its node does not know",
        |scene| scene.cluster.block("default", 1024, 6, "n1"),
        &[(Rule::BlockDiffers, "block 10.4.4.0/26 and fd00:4::400/122")],
    ),
    (
        "a block that a node takes for its own and is another's",
        |scene| {
            let block = Block::new(256, 5).unwrap();
            let blocks = scene.journals[0].blocks.as_mut().unwrap();
            blocks.push((pool("default"), block));
        },
        &[(Rule::BlockDiffers, "block 256-287 of pool default")],
    ),
    (
        "a lease that is not published",
        |scene| scene.cluster.delete(&lease_at("default", 65)),
        &[(Rule::LeaseUnpublished, L65)],
    ),
    (
        "a lease that is not on record",
        |scene| {
            scene.journals[0].held.remove(0);
            scene.kernel.containers.remove(0);
        },
        &[(Rule::LeaseUnrecorded, L65)],
    ),
    (
        "a lease that is published with another sequence",
        |scene| change_lease(scene, 65, |lease| lease.sequence = 9),
        &[(Rule::LeaseDiffers, L65)],
    ),
    (
        "a lease that is published for another attachment",
        |scene| {
            let other = another(&scene.cluster, 700, "n1").attachment;
            change_lease(scene, 65, |lease| lease.attachment = other.clone());
        },
        &[(Rule::LeaseDiffers, L65)],
    ),
    (
        "a record that is in no block of its node",
        |scene| {
            scene.cluster.delete(&lease_at("default", 65));
            let held = Held {
                ordinal: 2000,
                addresses: another(&scene.cluster, 2000, "n1").addresses,
                ..scene.journals[0].held.remove(0)
            };
            scene.kernel.containers[0] = container(&held);
            scene.journals[0].held.push(held);
        },
        &[(Rule::LeaseOutsideBlock, "10.4.7.208 and fd00:4::7d0")],
    ),
    (
        "a container that is gone",
        |scene| drop(scene.kernel.containers.remove(0)),
        &[(Rule::AttachmentMissing, L65)],
    ),
    (
        "a port that is gone",
        |scene| scene.kernel.containers[0].port = Port::Missing,
        &[(Rule::PortMissing, L65)],
    ),
    (
        "an address that is gone",
        |scene| {
            let addresses = scene.kernel.containers[0].addresses.as_mut().unwrap();
            addresses.pop();
        },
        &[(Rule::AddressMissing, L65)],
    ),
    (
        "an address that nobody recorded",
        |scene| {
            let addresses = scene.kernel.containers[0].addresses.as_mut().unwrap();
            addresses.push("10.4.0.99".parse().unwrap());
            addresses.push("192.0.2.1".parse().unwrap());
        },
        &[(Rule::AddressUnrecorded, "10.4.0.99")],
    ),
    (
        "a container that nobody recorded",
        |scene| {
            scene.kernel.containers.push(Container {
                attachment: None,
                place: "/run/netns/stray eth0".to_owned(),
                addresses: Some(vec!["10.4.0.99".parse().unwrap()]),
                port: Port::Unasked,
            });
        },
        &[(Rule::AddressUnrecorded, "10.4.0.99")],
    ),
];

fn rest_of_64() -> Vec<Block> {
    let whole = Block::new(64, 6).unwrap();
    let mut rest = whole.without(Block::one(65).unwrap());
    rest.retain(|block| block.first() != 64);
    rest
}

#[test]
fn each_difference_of_two_witnesses_is_found_as_what_it_is() {
    assert_found(OF_WITNESSES);
}

#[test]
fn a_violation_has_what_every_witness_says() {
    let scene = Scene::new();
    change_lease(&scene, 65, |lease| lease.sequence = 9);
    let found = scene.check().violations;
    assert_eq!(
        found[0].text,
        "what n1 (n100000000000000) has on record is published otherwise; restart that node's daemon, which compares them"
    );
    let evidence: Vec<_> = found[0]
        .evidence
        .iter()
        .map(|one| (one.source, one.place.as_str(), one.says.as_str()))
        .collect();
    assert_eq!(
        evidence,
        [
            (
                Witness::Journal,
                "n1:/var/lib/bulkhead",
                "10.4.0.65 and fd00:4::41 of attachment blue c65 eth0, sequence 65"
            ),
            (
                Witness::Store,
                "/bulkhead/v1/leases/default/0000000000000041",
                "10.4.0.65 and fd00:4::41 of team-a/web-65 (attachment blue c65 eth0) on n1 (n100000000000000), epoch 1, sequence 9"
            ),
        ]
    );
    assert_eq!(found[0].nodes, [node("n1")]);
    assert_eq!(found[0].pool, Some(pool("default")));
}

#[test]
fn a_violation_says_what_to_do() {
    let mut said = std::collections::BTreeSet::new();
    for (what, damage, _) in super::of_rows::OF_ROWS.iter().chain(OF_WITNESSES) {
        let mut scene = Scene::new();
        damage(&mut scene);
        for violation in scene.check().violations {
            assert!(violation.text.contains("; "), "{what}: {}", violation.text);
            assert!(!violation.evidence.is_empty(), "{what}");
            said.insert(violation.rule);
        }
    }
    assert_eq!(said.len(), 23, "{said:?}");
}
