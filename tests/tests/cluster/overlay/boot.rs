//! A node that boots while etcd is away.

use bulkhead_tests::nodes::{LIMIT, NETWORK, Node, Nodes};
use netns_fixtures::{Verb, wait_for};
use serde_json::Value;

use super::reaches;

fn here(node: &Node) -> Value {
    let told = node.must_say(&["-o", "json", "overlay", "show", NETWORK]);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    told["here"].clone()
}

#[test]
fn a_node_that_boots_while_etcd_is_down_goes_by_what_it_knew() {
    let mut nodes = Nodes::start(2);
    let (far, far_at) = nodes.container(0, "far");
    let (dead, at) = nodes.container(1, "dead");
    reaches(&far, &at);
    let record = nodes.all[1].state().join("overlays");
    wait_for("the other node to be remembered", LIMIT, || {
        let written = std::fs::read_to_string(&record).unwrap_or_default();
        (written.contains("192.0.1.2") && written.contains("192.0.2.2")).then_some(())
    });
    nodes.etcd.kill(0);
    nodes.all[1].boot();
    let node = &nodes.all[1];
    let _ = node.call(Verb::Del, &dead, &node.network()).result();
    let (again, at) = nodes.container(1, "again");
    reaches(&again, &far_at);
    reaches(&far, &at);
    let told = here(&nodes.all[1]);
    assert!(told["asOfUnixMs"].as_u64().is_some(), "{told}");
    assert_eq!(told["storeRead"], false, "{told}");
    let text = nodes.all[1].must_say(&["overlay", "show", NETWORK]);
    assert!(
        text.contains("stale, the others are as they were known"),
        "{text}"
    );
    // The first snapshot takes its place, with whoever came meanwhile.
    nodes.etcd.restart(0).expect("etcd starts");
    nodes.etcd.wait_for_leader().expect("etcd serves");
    wait_for("the store to be read", LIMIT, || {
        let told = here(&nodes.all[1]);
        (told["storeRead"] == true && told.get("asOfUnixMs").is_none()).then_some(())
    });
    let _ = nodes.join("");
    let (third, third_at) = nodes.container(2, "third");
    reaches(&again, &third_at);
    reaches(&third, &at);
}

#[test]
fn a_damaged_record_is_refused_and_the_store_waited_for() {
    let mut nodes = Nodes::start(2);
    let (far, _) = nodes.container(0, "far");
    let (dead, at) = nodes.container(1, "dead");
    reaches(&far, &at);
    let record = nodes.all[1].state().join("overlays");
    wait_for("the other node to be remembered", LIMIT, || {
        std::fs::metadata(&record).is_ok().then_some(())
    });
    nodes.all[1].kill();
    let mut bytes = std::fs::read(&record).expect("it is there");
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    std::fs::write(&record, bytes).expect("it is ours");
    nodes.all[1].boot();
    let node = &nodes.all[1];
    let _ = node.call(Verb::Del, &dead, &node.network()).result();
    let (again, at) = nodes.container(1, "again");
    reaches(&far, &at);
    assert_eq!(here(&nodes.all[1])["storeRead"], true);
    drop(again);
}
