//! A route of somebody else's where one to another node should be.

use std::net::IpAddr;

use bulkhead_tests::nodes::{LIMIT, NETWORK, Node, Nodes};
use netns_fixtures::wait_for;
use serde_json::Value;

use super::{answers, reaches};

/// The routes in the way of a node, as its row has them.
fn in_the_way(node: &Node, of: &str) -> Vec<Value> {
    let told = node.must_say(&["-o", "json", "overlay", "peers", NETWORK]);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let rows = told.as_array().expect("rows").iter();
    let mut rows = rows.filter(|row| row["node"] == of);
    let row = rows.next().expect("the node has a row");
    row["obstacles"].as_array().cloned().unwrap_or_default()
}

fn findings(node: &Node) -> Vec<Value> {
    let words = ["-o", "json", "doctor", "overlay"];
    let output = node.say(&words).expect("the CLI runs");
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let found = found.as_array().expect("a list").iter();
    found
        .filter(|found| found["id"] == "overlay-route")
        .cloned()
        .collect()
}

#[test]
fn a_strangers_route_is_told_and_holds_up_no_other_node() {
    let mut nodes = Nodes::start(2);
    let (from, _) = nodes.container(0, "from");
    let (_to, at) = nodes.container(1, "to");
    reaches(&from, &at);
    let node = &nodes.all[0];
    let device = node.device();
    let block = |family: &str| {
        let routes = node
            .host
            .ip_json(&format!("{family} route show dev {device}"));
        let routes = routes.expect("ip runs");
        let routes = routes.as_array().expect("an array").iter();
        let mut to = routes.filter_map(|route| Some(route["dst"].as_str()?.to_owned()));
        let ours = |to: &String| {
            to.contains('/') && (to.starts_with("10.4.") || to.starts_with("fd00:4:"))
        };
        to.find(ours).expect("a block of the other")
    };
    let (v4, v6) = (block("-4"), block("-6"));
    // One instead of ours, one that drops without a word.
    node.host
        .ip(&format!(
            "-4 route replace {v4} via 192.0.1.1 dev uplink0 proto static"
        ))
        .expect("ip does it");
    node.host
        .ip(&format!("-6 route delete {v6}"))
        .expect("ip does it");
    node.host
        .ip(&format!("-6 route add blackhole {v6} metric 512"))
        .expect("ip does it");
    wait_for("both to be told", LIMIT, || {
        (in_the_way(&nodes.all[0], "n2").len() == 2).then_some(())
    });
    let marked = nodes.all[0].must_say(&["overlay", "peers", NETWORK]);
    assert!(marked.contains("active, hindered"), "{marked}");
    // Another node that comes does not wait for that.
    let _ = nodes.join("");
    let (_third, third_at) = nodes.container(2, "third");
    reaches(&from, &third_at);
    assert!(at.iter().all(|at: &IpAddr| !answers(&from, *at)));
    assert!(in_the_way(&nodes.all[0], "n3").is_empty());
    // The lines that mend it.
    let found = findings(&nodes.all[0]);
    assert_eq!(found.len(), 2, "{found:?}");
    for finding in &found {
        let line = finding["help"][0].as_str().expect("a line");
        assert!(line.starts_with("ip "), "{line}");
        nodes.all[0].host.sh(line).expect("the line does it");
    }
    reaches(&from, &at);
    wait_for("none to be told any more", LIMIT, || {
        let told = in_the_way(&nodes.all[0], "n2");
        (told.is_empty() && findings(&nodes.all[0]).is_empty()).then_some(())
    });
}
