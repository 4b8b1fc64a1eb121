//! What an operator is told when nodes do not reach each other.

use bulkhead_tests::nodes::{LIMIT, Nodes};
use netns_fixtures::wait_for;
use serde_json::Value;

/// The names of what is found, and the text of each.
fn findings(nodes: &Nodes, nth: usize) -> Vec<(String, String)> {
    let words = ["-o", "json", "doctor", "overlay", "--all"];
    let output = nodes.all[nth].say(&words).expect("the CLI runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
    let found = found.as_array().expect("a list").iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    found
        .map(|found| (text(&found["id"]), text(&found["seen"])))
        .collect()
}

fn is_found(nodes: &Nodes, id: &str, seen: &str) {
    let mut last = Vec::new();
    wait_for(&format!("{id} to be found"), LIMIT, || {
        last = findings(nodes, 0);
        let found = last
            .iter()
            .any(|(it, text)| it == id && text.contains(seen));
        found.then_some(())
    });
}

#[test]
fn a_blocked_port_a_narrow_path_and_a_dead_node_are_told_apart() {
    let nodes = Nodes::start(2);
    let (_one, _) = nodes.container(0, "one");
    let (_other, _) = nodes.container(1, "other");
    is_found(&nodes, "overlay-reach", "every other node answers (1)");
    nodes
        .outside
        .nft(
            "table inet block {
               chain forward { type filter hook forward priority 0; udp dport 4789 drop; }
             }",
        )
        .expect("nft loads it");
    is_found(
        &nodes,
        "overlay-port",
        "n2 at 192.0.2.2 answers, but not over UDP port 4789",
    );
    // A router that carries 1400 bytes and tells nobody.
    nodes
        .outside
        .nft(
            "flush ruleset
             table inet narrow {
               chain forward { type filter hook forward priority 0; meta length > 1400 drop; }
             }",
        )
        .expect("nft loads it");
    is_found(
        &nodes,
        "overlay-mtu",
        "n2 at 192.0.2.2 answers packets of 1350 bytes, not those of 1450",
    );
    nodes.outside.nft("flush ruleset").expect("nft does it");
    is_found(&nodes, "overlay-reach", "every other node answers (1)");
    nodes.all[1].set_uplink(false).expect("ip does it");
    is_found(&nodes, "overlay-peer", "n2 at 192.0.2.2 answers nothing");
}

#[test]
fn the_picture_shows_what_there_is_and_also_while_etcd_is_down() {
    let mut nodes = Nodes::start(2);
    let (_one, at) = nodes.container(0, "one");
    let (_other, _) = nodes.container(1, "other");
    let mut drawn = String::new();
    // A daemon gives its first sign of life at some time within a minute of its start.
    let limit = LIMIT * 3;
    wait_for("both nodes in the picture", limit, || {
        drawn = nodes.all[0].must_say(&["topology"]);
        let has = |text: &str| drawn.contains(text);
        let is_whole = drawn.starts_with("2 nodes, 1 network, 2 endpoints\n");
        (is_whole && has("n1 (here)  alive") && has("┌ n2  alive") && has(&at[0].to_string()))
            .then_some(())
    });
    let svg = nodes.all[0].must_say(&["topology", "--svg", "-"]);
    assert!(svg.starts_with("<svg ") && svg.contains("pods  at 192.0.1.2  MTU 1450"));
    nodes.etcd.kill(0);
    let drawn = nodes.all[0].must_say(&["topology"]);
    assert!(drawn.contains("pods  at 192.0.2.2"), "{drawn}");
}
