//! Another daemon, and other people's hands.

use netns_fixtures::wait_for;

use crate::common::{LIMIT, Node};
use crate::{FENCE, Pod, QUICK, apply, verified};

#[test]
fn a_restart_changes_nothing_and_damage_is_put_right() {
    let mut node = Node::start(QUICK);
    apply(&node, FENCE);
    let server = Pod::add(&node, "server", "server", "bulkhead-ipv6");
    let stranger = Pod::add(&node, "stranger", "stranger", "bulkhead-ipv6");
    let receiver = server.listens();
    let before = node_listing(&node);
    node.kill();
    assert!(
        !stranger.reaches(server.at(0), &receiver),
        "it stands without a daemon"
    );
    node.start_daemon();
    let another = Pod::add(&node, "another", "stranger", "bulkhead-ipv6");
    another.del(&node);
    assert_eq!(node_listing(&node), before);
    let seen = verified(&node);
    assert_eq!((seen.endpoints, seen.healed), (2, 0));
    assert_eq!(seen.differences, [""; 0]);
    node.host
        .sh("nft flush chain inet bulkhead-policy forward")
        .unwrap();
    wait_for("it to be put right", LIMIT, || {
        node.log().contains("put right").then_some(())
    });
    assert!(!stranger.reaches(server.at(0), &receiver));
    let healed = || verified(&node).healed > 0;
    wait_for("it to be counted", LIMIT, || healed().then_some(()));
}

fn node_listing(node: &Node) -> Vec<String> {
    let text = node
        .host
        .sh("nft -s list table inet bulkhead-policy")
        .unwrap();
    let mut blocks: Vec<String> = text.split("\n\n").map(str::to_owned).collect();
    blocks.sort();
    blocks
}
