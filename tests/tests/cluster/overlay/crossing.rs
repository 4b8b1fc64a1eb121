//! A container that comes while the node's last one on the network goes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bulkhead_tests::nodes::{NETWORK, Nodes, addresses};
use netns_fixtures::{Etcd, Verb};
use serde_json::Value;

use super::reaches;

/// How often they cross, each time a little later in the other's end.
const CROSSINGS: u32 = 10;
const LATER: Duration = Duration::from_millis(6);

/// When each node's row of the network was made, by the row's key.
fn told(nodes: &Nodes) -> BTreeMap<String, u64> {
    let ends = format!("/bulkhead/v1/vteps/{NETWORK}/");
    let said = nodes
        .etcd
        .etcdctl(&["get", "--prefix", &ends, "--write-out", "json"]);
    let said: Value = serde_json::from_str(&said.expect("etcd answers")).expect("JSON");
    let rows = said["kvs"].as_array().into_iter().flatten();
    let row = |row: &Value| {
        let key = row["key"].as_str().expect("a key").to_owned();
        (key, row["create_revision"].as_u64().expect("a revision"))
    };
    rows.map(row).collect()
}

/// Answers are some milliseconds late until then: what a call and the pass ask of the store overlaps.
fn dawdles(etcd: &Etcd, until: &AtomicBool) {
    while !until.load(Ordering::Relaxed) {
        etcd.stop(0);
        thread::sleep(Duration::from_millis(4));
        etcd.cont(0);
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn whoever_comes_while_the_last_one_goes_is_on_the_network_when_that_is_said() {
    let nodes = Nodes::start(2);
    let node = &nodes.all[0];
    let (peer, peer_at) = nodes.container(1, "peer");
    let of_peer = told(&nodes).into_keys().next().expect("it was told");
    let of_node = || told(&nodes).into_iter().find(|(key, _)| *key != of_peer);
    let (mut last, _) = nodes.container(0, "0");
    for nth in 1..=CROSSINGS {
        let next = nodes.bare(0, &nth.to_string());
        let is_over = AtomicBool::new(false);
        let added = thread::scope(|scope| {
            let gone = scope.spawn(|| node.call(Verb::Del, &last, &node.network()));
            let _slow = scope.spawn(|| dawdles(&nodes.etcd, &is_over));
            thread::sleep(LATER * nth);
            let added = node.call(Verb::Add, &next, &node.network());
            is_over.store(true, Ordering::Relaxed);
            assert!(gone.join().is_ok_and(|gone| gone.succeeded()));
            added.result()
        });
        let row = of_node();
        assert!(
            row.is_some(),
            "the others are told of no end, crossing {nth}"
        );
        reaches(&next, &peer_at);
        reaches(&peer, &addresses(&added));
        assert_eq!(of_node(), row, "it was told again, crossing {nth}");
        last = next;
    }
}
