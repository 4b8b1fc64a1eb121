//! Ports of other plugins, guarded in a state directory that the daemon has.

mod common;

use std::fs;

use common::{LIMIT, Node, plugins};
use netns_fixtures::packet::mac_text;
use netns_fixtures::{CniCall, End, Verb, veth, wait_for};
use serde_json::json;

const QUICK: &str =
    "collector.interval_secs = 1\ncollector.grace_secs = 1\nreconcile.interval_secs = 1\n";

#[test]
fn a_guarded_port_is_mended_and_ends_with_its_container() {
    let Some(dir) = plugins("a_guarded_port_is_mended_and_ends_with_its_container") else {
        return;
    };
    let node = Node::start(QUICK);
    let container = node.container("theirs");
    let inside = End::new(&container, "eth0").address("10.5.0.2/24");
    veth(&End::new(&node.host, "veth7"), &inside).unwrap();
    let [near, far] = [
        mac_text(node.host.mac("veth7").unwrap()),
        mac_text(container.mac("eth0").unwrap()),
    ];
    let previous = json!({
        "cniVersion": "1.0.0",
        "interfaces": [
            {"name": "veth7", "mac": near},
            {"name": "eth0", "mac": far, "sandbox": container.path()},
        ],
        "ips": [{"address": "10.5.0.2/24", "interface": 1}],
    });
    let config = json!({
        "cniVersion": "1.0.0", "name": "theirs", "type": "bulkhead-guard",
        "stateDir": node.state_dir(), "prevResult": previous,
    });
    let call = CniCall::new(dir.join("bulkhead-guard"), Verb::Add)
        .container_id(container.name())
        .netns(container.path())
        .ifname("eth0")
        .stdin(&config);
    let answer = call.run(&node.host).unwrap();
    assert!(answer.succeeded(), "{answer:?}");
    let held = || {
        let listed = node.host.sh("nft list ruleset").unwrap();
        (listed.contains("port-veth7") && listed.contains("10.5.0.2")).then_some(())
    };
    held().expect("it is guarded though the daemon has the directory");
    node.host.sh("nft delete table netdev bulkhead").unwrap();
    wait_for("the guard to be put back", LIMIT, held);
    // The line comes behind what it tells of.
    wait_for("it to be told", LIMIT, || {
        node.log().contains("mended the guard").then_some(())
    });
    node.sandbox.remove(&container).unwrap();
    wait_for("the guard to end", LIMIT, || {
        let tables = node.host.sh("nft list tables netdev").unwrap();
        tables.is_empty().then_some(())
    });
    // What is known of it goes once nothing of it stands.
    wait_for("the guard to be forgotten", LIMIT, || {
        let files = fs::read_dir(node.state_dir().join("guards")).unwrap();
        let names = files.map(|file| file.unwrap().file_name());
        names.eq(["lock"]).then_some(())
    });
}
