//! Which endpoints there are, by every way that they come and go.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use bulkhead_ipam::wire::admin::{RepairState, Reply, Request};
use bulkhead_ipam::wire::{Answer, Client, Delegate};
use bulkhead_model::AttachmentKey;
use serde_json::json;

use crate::common::{self, LIMIT, Node};
use crate::{FENCE, Pod, QUICK, apply, network};

/// Comparing everything with what is known never makes an end of what has just begun, or the reverse.
#[test]
fn endpoints_are_known_as_calls_leave_them_while_all_are_compared() {
    let node = Node::start(QUICK);
    apply(&node, FENCE);
    let others: Vec<Pod> = (0..4)
        .map(|nth| Pod::add(&node, &format!("other{nth}"), "server", "bulkhead-ipv6"))
        .collect();
    let container = node.container("churned");
    let config = network(&node, "friend", "bulkhead-ipv6");
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut config = config.clone();
            let names = others.iter().map(|pod| pod.container.name());
            let valid = names.chain([container.name()]);
            config["cni.dev/valid-attachments"] = valid
                .map(|name| json!({"containerID": name, "ifname": "eth0"}))
                .collect();
            // A test that fails ends too.
            let until = Instant::now() + LIMIT;
            while !ends.load(Ordering::Relaxed) && Instant::now() < until {
                node.call_of("GC", &container, &config).unwrap().result();
            }
        });
        let is_known = || {
            let replies = node.ask(&Request::Known);
            let rows = replies.into_iter().flat_map(|reply| match reply {
                Reply::Known { rows } => rows,
                other => panic!("{other:?}"),
            });
            let names: Vec<String> = rows.map(|row| row.endpoint.name).collect();
            names.iter().any(|name| name == container.name())
        };
        let wrong = (0..25).find_map(|turn| {
            node.call_of("ADD", &container, &config).unwrap().result();
            let added = is_known();
            let said = node.call_of("DEL", &container, &config).unwrap();
            let seen = (added, said.0.exit, is_known());
            (seen != (true, 0, false)).then_some((turn, seen))
        });
        ends.store(true, Ordering::Relaxed);
        assert_eq!(
            wrong, None,
            "turn, known after ADD, DEL's exit, known after it"
        );
    });
}

#[test]
fn another_plugin_is_told_to_release_what_nothing_is_enforced_for_any_more() {
    // It is mended when that is asked for, and not before.
    let node = Node::start("collector.interval_secs = 0\nreconcile.interval_secs = 0\n");
    apply(&node, FENCE);
    let container = node.container("server");
    let mut config = network(&node, "server", "bulkhead-ipv6");
    config["ipam"] = json!({"type": "of-somebody-else"});
    let stands = || {
        let table = node.host.sh("nft list table inet bulkhead-policy");
        table.is_ok_and(|table| table.contains("10.1.0.9 :"))
    };
    let mut asked = Vec::new();
    let mut call = |verb: &str, exit: u8| {
        let client = Client::connect(&node.socket(), Some(LIMIT)).unwrap();
        let [netns, own] =
            [container.path(), node.host.path()].map(|path| File::open(path).unwrap());
        let call = common::call(verb, &container, &config);
        let delegated = |delegate: &Delegate| {
            asked.push((delegate.verb.clone(), stands()));
            let gives = r#"{"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.9/24"}]}"#;
            let stdout = if delegate.verb == "ADD" { gives } else { "" };
            Answer {
                exit,
                stdout: stdout.into(),
                stderr: Vec::new(),
            }
        };
        let said = client.call(&call, Some(netns.as_fd()), own.as_fd(), delegated);
        assert_eq!(said.unwrap().exit == 0, exit == 0);
    };
    call("ADD", 0);
    assert!(stands());
    call("DEL", 1);
    assert!(!stands());
    // What is not released is still there, and what mends it does not give it a link without policies.
    let attachment = AttachmentKey {
        network: "fenced".parse().unwrap(),
        container: container.name().parse().unwrap(),
        interface: "eth0".parse().unwrap(),
    };
    match node.ask(&Request::Repair { attachment }).pop() {
        Some(Reply::Repair(report)) => assert_eq!(report.state, RepairState::Repaired),
        other => panic!("{other:?}"),
    }
    assert!(stands());
    call("DEL", 0);
    let asked: Vec<(&str, bool)> = asked
        .iter()
        .map(|(verb, stands)| (verb.as_str(), *stands))
        .collect();
    assert_eq!(asked, [("ADD", false), ("DEL", false), ("DEL", false)]);
}
