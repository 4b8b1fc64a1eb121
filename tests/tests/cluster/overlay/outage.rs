//! What goes on while the store, a daemon or a node is away.

use std::time::Duration;

use bulkhead_tests::nodes::{LIMIT, NETWORK, Nodes};
use netns_fixtures::{Capture, Verb, wait_for};

use super::{answers, reaches};

#[test]
fn containers_live_whole_lives_on_every_node_while_etcd_is_down() {
    let mut nodes = Nodes::start(3);
    let first: Vec<_> = (0..3).map(|nth| nodes.container(nth, "first")).collect();
    for (from, _) in &first {
        for (_, at) in first.iter().filter(|(to, _)| to.name() != from.name()) {
            reaches(from, at);
        }
    }
    nodes.etcd.kill(0);
    let second: Vec<_> = (0..3).map(|nth| nodes.container(nth, "second")).collect();
    for (from, _) in &second {
        for (to, at) in first.iter().chain(&second) {
            if to.name() != from.name() {
                reaches(from, at);
            }
        }
    }
    for (nth, (container, _)) in second.iter().enumerate() {
        let node = &nodes.all[nth];
        let _ = node.call(Verb::Del, container, &node.network()).result();
    }
    for (from, _) in &first {
        for (_, at) in first.iter().filter(|(to, _)| to.name() != from.name()) {
            reaches(from, at);
        }
    }
}

#[test]
fn a_daemon_that_is_killed_leaves_the_network_and_takes_it_up_again_also_without_etcd() {
    let mut nodes = Nodes::start(2);
    let (from, _) = nodes.container(0, "from");
    let (_to, at) = nodes.container(1, "to");
    reaches(&from, &at);
    nodes.all[0].kill();
    reaches(&from, &at);
    nodes.etcd.kill(0);
    nodes.all[0].start();
    let (newer, _) = nodes.container(0, "newer");
    reaches(&newer, &at);
    nodes.etcd.restart(0).expect("etcd starts");
    nodes.etcd.wait_for_leader().expect("etcd serves");
    let node = &nodes.all[0];
    wait_for("the store to be read", LIMIT, || {
        let told = node.must_say(&["-o", "json", "overlay", "show", NETWORK]);
        told.contains("\"storeRead\": true").then_some(())
    });
    reaches(&newer, &at);
}

#[test]
fn nodes_join_and_leave_while_others_speak() {
    let mut nodes = Nodes::start(2);
    let (from, _) = nodes.container(0, "from");
    let (_to, at) = nodes.container(1, "to");
    reaches(&from, &at);
    let _ = nodes.join("");
    let (third, third_at) = nodes.container(2, "third");
    reaches(&from, &third_at);
    reaches(&third, &at);
    let node = &nodes.all[2];
    let _ = node.call(Verb::Del, &third, &node.network()).result();
    wait_for("the third node to be forgotten", LIMIT, || {
        let told = nodes.all[0].must_say(&["-o", "json", "overlay", "peers", NETWORK]);
        (!told.contains("\"n3\"")).then_some(())
    });
    reaches(&from, &at);
}

#[test]
fn the_block_of_a_lost_node_goes_to_another_and_no_packet_to_the_wrong_one() {
    let mut nodes = Nodes::start(3);
    let (from, _) = nodes.container(0, "from");
    let (_lost, at) = nodes.container(1, "lost");
    reaches(&from, &at);
    nodes.all[1].kill();
    nodes.all[1].set_uplink(false).expect("ip does it");
    let _ = nodes.all[0].must_say(&["node", "lost", "n2", "--yes"]);
    wait_for("the lost node to be forgotten", LIMIT, || {
        let told = nodes.all[0].must_say(&["-o", "json", "overlay", "peers", NETWORK]);
        (!told.contains("\"n2\"")).then_some(())
    });
    let capture = Capture::start(&nodes.outside, "node2").expect("a capture");
    for address in &at {
        assert!(!answers(&from, *address));
    }
    let to_the_lost = |bytes: &[u8]| bytes.get(36..38) == Some(&4789_u16.to_be_bytes()[..]);
    capture
        .none_within(
            "an encapsulated packet",
            Duration::from_millis(300),
            |seen| to_the_lost(&seen.bytes),
        )
        .unwrap();
    // Its addresses are had by the third node, and found there.
    let mut network = nodes.all[2].network();
    network["args"] = serde_json::json!({"cni": {"ips": [at[0].to_string(), at[1].to_string()]}});
    let container = nodes.bare(2, "heir");
    let answer = wait_for("the addresses to be given", LIMIT, || {
        let answer = nodes.all[2].call(Verb::Add, &container, &network);
        answer.succeeded().then_some(answer)
    });
    assert_eq!(bulkhead_tests::nodes::addresses(&answer.result()), at);
    reaches(&from, &at);
}
