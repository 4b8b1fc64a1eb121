//! What the daemon does of itself.

mod common;

use std::fs;

use bulkhead_ipam::wire::Spoken;
use bulkhead_ipam::wire::admin::{EventKind, Filter, GcState, RepairState, Reply, Request};
use bulkhead_ipam::wire::{Client, admin};
use bulkhead_model::AttachmentKey;
use common::monitor::Monitor;
use common::{LIMIT, Node};
use netns_fixtures::{Container, Ns, Snapshot, wait_for};
use serde_json::json;

const QUICK: &str =
    "collector.interval_secs = 1\ncollector.grace_secs = 1\nreconcile.interval_secs = 1\n";

/// Loops that come only when asked for.
const QUIET: &str = "collector.interval_secs = 0\nreconcile.interval_secs = 0\n";

fn added(node: &Node, name: &str) -> Container {
    let container = node.container(name);
    node.call("ADD", &container).unwrap().result();
    container
}

/// The last DEL may be about to be noted.
fn assert_no_call_is_kept(node: &Node) {
    let dir = node.state_dir().join("calls");
    wait_for("the calls to be forgotten", LIMIT, || {
        let kept = fs::read_dir(&dir).unwrap().count();
        (kept == 0).then_some(())
    });
}

fn key(container: &Ns) -> AttachmentKey {
    AttachmentKey {
        network: "blue".parse().unwrap(),
        container: container.name().parse().unwrap(),
        interface: "eth0".parse().unwrap(),
    }
}

fn port(container: &Ns) -> String {
    key(container).id().port().to_string()
}

/// The line of the log that has `text`: it is written behind what it tells of.
fn told(node: &Node, text: &str) -> String {
    wait_for("a line of the log", LIMIT, || {
        let log = node.log();
        let line = log.lines().find(|line| line.contains(text));
        line.map(str::to_owned)
    })
}

fn last(mut replies: Vec<Reply>) -> Reply {
    replies.pop().expect("a reply")
}

fn gc(node: &Node, dry_run: bool) -> Vec<admin::ListedDead> {
    let filter = Filter::default();
    match last(node.ask(&Request::Gc { dry_run, filter })) {
        Reply::Gc { rows } => rows,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_dead_container_left_is_reclaimed_once_it_was_seen_dead_twice() {
    let node = Node::start(QUICK);
    let before = Snapshot::take(&node.host).unwrap();
    let (dead, lives) = (added(&node, "dead"), added(&node, "lives"));
    node.sandbox.remove(&dead).unwrap();
    wait_for("the leak to be reclaimed", LIMIT, || {
        (node.status().attachments == 1).then_some(())
    });
    assert!(lives.has_link("eth0").unwrap());
    let line = told(&node, "reclaimed");
    assert!(
        line.contains(&format!("and port {} with it", port(&dead))),
        "{line}"
    );
    assert!(line.contains("by=\"collector\""), "{line}");
    node.call("DEL", &lives).unwrap().result();
    assert_eq!(before.left_in(&node.host, LIMIT).unwrap(), [""; 0]);
    assert_no_call_is_kept(&node);
}

#[test]
fn a_namespace_that_only_lost_its_path_is_not_dead() {
    let node = Node::start(QUIET);
    let container = added(&node, "c");
    let _held = fs::File::open(container.path()).unwrap();
    node.sandbox.remove(&container).unwrap();
    assert_eq!(gc(&node, true), []);
    assert!(node.host.has_link(&port(&container)).unwrap());
}

#[test]
fn an_operator_ends_at_once_what_is_dead() {
    let node = Node::start(QUIET);
    let (dead, _lives) = (added(&node, "dead"), added(&node, "lives"));
    assert_eq!(gc(&node, true), []);
    node.sandbox.remove(&dead).unwrap();
    let found = wait_for("the port to go with its container", LIMIT, || {
        Some(gc(&node, true)).filter(|found| !found.is_empty())
    });
    assert_eq!((found.len(), found[0].state), (1, GcState::Found));
    assert_eq!(node.status().attachments, 2);
    let removed = gc(&node, false);
    assert_eq!((removed.len(), removed[0].state), (1, GcState::Removed));
    assert_eq!(removed[0].key, key(&dead));
    assert_eq!(node.status().attachments, 1);
    assert_eq!(gc(&node, false), []);
}

#[test]
fn a_kernel_that_was_changed_is_mended() {
    let node = Node::start(QUICK);
    let container = added(&node, "c");
    let before = Snapshot::settled(&node.host, LIMIT).unwrap();
    node.host
        .ip(&format!("link set dev {} nomaster", port(&container)))
        .unwrap();
    wait_for("the drift to be mended", LIMIT, || {
        let drift = node.status().drift;
        (drift.mended == 1 && drift.found == 1).then_some(())
    });
    assert_eq!(before.left_in(&node.host, LIMIT).unwrap(), [""; 0]);
    let line = told(&node, "mended");
    assert!(line.contains("master br-blue"), "{line}");
}

#[test]
fn rounds_in_which_nothing_is_wrong_write_nothing() {
    let node = Node::start(QUICK);
    added(&node, "c");
    let finished = || node.status().drift.finished_at_unix_ms;
    let first = wait_for("a round", LIMIT, finished);
    Snapshot::settled(&node.host, LIMIT).unwrap();
    let monitor = Monitor::start(&node.host);
    let later = || finished().filter(|now| *now > first + 2000);
    wait_for("more rounds", LIMIT, later);
    assert_eq!(monitor.told(), "");
}

#[test]
fn an_operator_has_one_attachment_repaired() {
    let mut node = Node::start(QUIET);
    let container = added(&node, "c");
    let repair = |node: &Node| {
        let attachment = key(&container);
        match last(node.ask(&Request::Repair { attachment })) {
            Reply::Repair(report) => report,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(repair(&node).state, RepairState::Sound);
    // Whoever is asked after a restart knows the call too.
    node.stop();
    node.start_daemon();
    node.host
        .ip(&format!("link set dev {} down", port(&container)))
        .unwrap();
    let report = repair(&node);
    assert_eq!(report.state, RepairState::Repaired);
    let up = format!("ip link set dev {} up", port(&container));
    assert!(report.plan.contains(&up), "{:?}", report.plan);
    assert_eq!(repair(&node).state, RepairState::Sound);
    node.call("DEL", &container).unwrap().result();
    assert_eq!(repair(&node).state, RepairState::Gone);
}

/// What follows from a call is noted once its caller has the answer, and before anybody who asks next.
#[test]
fn who_asks_as_soon_as_an_add_is_answered_finds_it_noted() {
    let node = Node::start(QUIET);
    let container = node.container("c");
    for _ in 0..50 {
        node.call("ADD", &container).unwrap().result();
        let attachment = key(&container);
        match last(node.ask(&Request::Repair { attachment })) {
            Reply::Repair(report) => assert_eq!(report.state, RepairState::Sound),
            other => panic!("{other:?}"),
        }
        node.call("DEL", &container).unwrap().result();
    }
    assert_no_call_is_kept(&node);
}

#[test]
fn watchers_are_told_what_happens() {
    let node = Node::start(QUIET);
    let client = Client::connect(&node.socket(), Some(LIMIT)).unwrap();
    let filter = Filter {
        network: Some("blue".to_owned()),
        ..Filter::default()
    };
    let mut replies = client.stream::<Reply>(&Request::Watch { filter }).unwrap();
    // The first word says that the watch has begun.
    assert_eq!(replies.next().unwrap().unwrap(), Reply::Idle);
    let container = added(&node, "c");
    node.call("DEL", &container).unwrap().result();
    let mut next = || loop {
        match replies.next().unwrap().unwrap() {
            Reply::Event(event) => return event,
            Reply::Idle => {}
            other => panic!("{other:?}"),
        }
    };
    let (acquired, released) = (next(), next());
    assert_eq!(
        (acquired.kind, acquired.addresses.len()),
        (EventKind::Acquired, 2)
    );
    assert_eq!(
        (released.kind, released.attachment),
        (EventKind::Released, Some(key(&container)))
    );
}

#[test]
fn ports_are_counted_from_the_containers_side() {
    let node = Node::start(QUIET);
    let (one, other) = (added(&node, "one"), added(&node, "other"));
    let address = one.ip_json("-4 addr show dev eth0").unwrap();
    let address = address[0]["addr_info"][0]["local"]
        .as_str()
        .unwrap()
        .to_owned();
    other
        .sh(&format!("ping -c 3 -i 0.01 -s 1000 {address}"))
        .unwrap();
    let filter = Filter::default();
    let Reply::Endpoints { rows } = last(node.ask(&Request::Endpoints { filter })) else {
        panic!("endpoints were asked for");
    };
    let row = rows.iter().find(|row| row.key == key(&other)).unwrap();
    assert!(row.sent_packets >= 3 && row.sent_bytes >= 3000, "{row:?}");
    assert!(row.received_packets >= 3, "{row:?}");
    assert_eq!(row.port.to_string(), port(&other));
}

#[test]
fn what_helps_from_afar_has_no_secrets_and_says_how_it_is() {
    let node = Node::start(QUIET);
    added(&node, "c");
    let pieces = node
        .ask(&Request::Support)
        .into_iter()
        .map(|reply| match reply {
            Reply::Piece(piece) => piece,
            other => panic!("{other:?}"),
        });
    let pieces: Vec<_> = pieces.collect();
    let text = |file: &str| {
        let of_file = pieces.iter().filter(|piece| piece.file == file);
        of_file.map(|piece| piece.text.as_str()).collect::<String>()
    };
    assert!(text("status.json").contains("\"attachments\": 1"));
    assert!(text("configuration.txt").contains("store.backend = embedded\n"));
    assert!(text("metrics.txt").ends_with("# EOF\n"));
    assert_eq!(text("networks.txt"), "blue: 1 attachments\n");
    assert!(text("process/status.txt").contains("VmRSS"));
}

#[test]
fn what_cannot_be_served_is_said() {
    let node = Node::start(QUIET);
    let mut client = Client::connect_as(Spoken::OURS, &node.socket(), Some(LIMIT)).unwrap();
    let reply: Reply = client.ask(&json!({"request": "weather"})).unwrap();
    let Reply::Refused(error) = reply else {
        panic!("{reply:?}");
    };
    assert_eq!(error.code, admin::Reason::Unsupported);
    assert!(error.text.contains("weather"), "{}", error.text);
    // The connection goes on.
    let status: Reply = client.ask(&Request::Status).unwrap();
    assert!(matches!(status, Reply::Status(_)));
}
