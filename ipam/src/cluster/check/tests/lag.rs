//! What a node has still to publish is no violation, if it says so.

use super::*;

fn queue(scene: &mut Scene, ordinal: u64) {
    let place = (pool("default"), ordinal);
    scene.journals[0].queued.insert(place);
}

#[test]
fn a_lease_that_waits_to_be_published_is_no_violation() {
    let mut scene = Scene::new();
    scene.cluster.delete(&lease_at("default", 65));
    assert_eq!(scene.found().len(), 1);
    queue(&mut scene, 65);
    assert_eq!(scene.found(), []);
}

#[test]
fn a_release_that_waits_to_be_published_is_no_violation() {
    let mut scene = Scene::new();
    scene.journals[0].held.remove(0);
    scene.kernel.containers.remove(0);
    assert_eq!(scene.found().len(), 1);
    queue(&mut scene, 65);
    assert_eq!(scene.found(), []);
}

#[test]
fn an_address_that_was_given_anew_waits_with_its_old_row() {
    let mut scene = Scene::new();
    let other = another(&scene.cluster, 700, "n1").attachment;
    scene.journals[0].held[0].attachment = other;
    scene.kernel.containers[0] = container(&scene.journals[0].held[0]);
    assert_eq!(scene.found().len(), 1);
    queue(&mut scene, 65);
    assert_eq!(scene.found(), []);
}

#[test]
fn a_node_in_a_new_life_says_that_its_leases_wait() {
    let mut scene = Scene::new();
    let place = Place::Fence(node("n1"));
    let mut fence: crate::cluster::schema::FenceRow = scene.cluster.value(&place).unwrap();
    fence.epoch = 2;
    scene.cluster.put(&place, &fence);
    assert_eq!(scene.found().len(), 2);
    queue(&mut scene, 65);
    queue(&mut scene, 66);
    assert_eq!(scene.found(), []);
}

#[test]
fn what_waits_excuses_no_duplicate() {
    let mut scene = Scene::with_both();
    scene.journals[1].held[0] = Held {
        attachment: scene.journals[1].held[0].attachment.clone(),
        ..scene.journals[0].held[0].clone()
    };
    for ordinal in [65, 300] {
        queue(&mut scene, ordinal);
        let place = (pool("default"), ordinal);
        scene.journals[1].queued.insert(place);
    }
    let rules: Vec<Rule> = scene.found().into_iter().map(|(rule, _)| rule).collect();
    assert_eq!(rules, [Rule::AddressTwice, Rule::LeaseOutsideBlock]);
}

#[test]
fn another_nodes_lag_is_not_known() {
    let mut scene = Scene::new();
    scene.cluster.delete(&Place::Block {
        pool: pool("default"),
        first: 256,
    });
    queue(&mut scene, 300);
    assert_eq!(scene.found()[0].0, Rule::LeaseOutsideBlock);
}
