//! CNI calls served by a daemon.

mod common;

use bulkhead_ipam::wire::{ClientError, RefusalCode, Spoken};
use common::{LIMIT, Node, call};
use netns_fixtures::wait_for;
use serde_json::json;

/// The releases that a plugin may be of, beside this daemon.
const RELEASES: [Spoken; 3] = [
    Spoken {
        oldest: 1,
        newest: 1,
    },
    Spoken::OURS,
    Spoken {
        oldest: 2,
        newest: 3,
    },
];

#[test]
fn add_check_and_del_are_served_for_plugins_of_every_release() {
    let node = Node::start("");
    for (nth, release) in RELEASES.into_iter().enumerate() {
        let container = node.container(&format!("c{nth}"));
        let config = node.network(&json!({}));
        let added = node
            .call_as(release, "ADD", &container, &config)
            .unwrap()
            .result();
        let address = added["ips"][0]["address"].as_str().unwrap();
        assert!(
            container
                .ip("addr show dev eth0")
                .unwrap()
                .contains(address)
        );
        let mut checked = config.clone();
        checked["prevResult"] = added;
        node.call_as(release, "CHECK", &container, &checked)
            .unwrap()
            .result();
        node.call_as(release, "STATUS", &container, &config)
            .unwrap()
            .result();
        node.call_as(release, "DEL", &container, &config)
            .unwrap()
            .result();
        assert!(!container.has_link("eth0").unwrap());
    }
    assert_eq!(node.status().attachments, 0);
    assert_eq!(node.status().daemon.calls, 12);
}

#[test]
fn a_guard_that_is_off_is_told_in_the_log() {
    let node = Node::start("");
    let added = |name: &str, guard: bool| {
        let config = node.network(&json!({"guard": guard}));
        let container = node.container(name);
        node.call_as(Spoken::OURS, "ADD", &container, &config)
            .unwrap()
            .result();
    };
    added("judged", true);
    added("open", false);
    // The line comes behind the answer.
    let told = || {
        let log = node.log();
        let lines = log.lines().filter(|line| line.contains("the guard is off"));
        let lines: Vec<_> = lines.map(str::to_owned).collect();
        (!lines.is_empty()).then_some(lines)
    };
    let told = wait_for("the line in the log", LIMIT, told);
    assert!(told.len() == 1 && told[0].contains("open"), "{told:?}");
}

#[test]
fn a_caller_from_another_namespace_is_refused() {
    let node = Node::start("");
    let container = node.container("c");
    let call = call("ADD", &container, &node.network(&json!({})));
    let error = node
        .send(Spoken::OURS, &call, container.path(), &container)
        .unwrap_err();
    let ClientError::Refused { refusal, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(refusal.code, RefusalCode::Namespace);
}

#[test]
fn the_nodes_own_namespace_is_not_a_container() {
    let node = Node::start("");
    let said = node.call("ADD", &node.host).unwrap();
    assert_eq!(said.code(), 8);
    let mut call = call("ADD", &node.container("gone"), &node.network(&json!({})));
    call.environment.retain(|(name, _)| name != "CNI_NETNS");
    call.environment
        .push(("CNI_NETNS".into(), "/nonexistent".into()));
    let said = node
        .send(Spoken::OURS, &call, "/nonexistent".as_ref(), &node.host)
        .unwrap();
    assert_eq!(said.code(), 4);
}

#[test]
fn a_plugin_that_the_daemon_does_not_know_is_told_to_try_again() {
    let node = Node::start("");
    let config = node.network(&json!({"type": "bulkhead-later"}));
    let said = node.call_of("ADD", &node.container("c"), &config).unwrap();
    assert_eq!(said.code(), 11);
    assert!(
        said.json()["msg"]
            .as_str()
            .unwrap()
            .contains("bulkhead-later")
    );
}

#[test]
fn an_error_reads_as_from_the_plugin_itself() {
    let node = Node::start("");
    let config = node.network(&json!({"mtu": -1}));
    let said = node.call_of("ADD", &node.container("c"), &config).unwrap();
    assert_eq!(said.code(), 7);
    let status = node.status();
    assert_eq!((status.daemon.calls, status.daemon.calls_failed), (1, 1));
}
