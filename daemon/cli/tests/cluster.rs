//! Commands of the cluster against a daemon that says what is wanted: how requests are made, pages put
//! together, refusals told and drawings written. What a real daemon does is proved with it.

mod common;

use bulkhead_ipam::wire::admin::{Filter, Request};
use common::scripted::Scripted;
use common::{Ran, Scratch};
use serde_json::{Value, json};

fn node(name: &str) -> Value {
    json!({"nodeId": format!("{name}-0123"), "node": name, "state": "active", "epoch": 3,
        "addresses": ["10.0.0.1"], "version": "0.1.0", "blocks": 2, "claimed": 128, "held": 110})
}

fn pool() -> Value {
    json!({"name": "default", "v4": "10.4.0.0/22", "blockBits": 6, "state": "enabled",
        "usage": {"pool": "default", "size": 1022, "claimed": 64, "held": 61, "cooling": 2, "blocks": 1}, "nodes": 1})
}

fn block() -> Value {
    json!({"pool": "default", "first": 0, "bits": 6, "prefixes": ["10.4.0.0/26"], "nodeId": "a-0123", "node": "<a>",
        "epoch": 3, "claimedAtUnixMs": 1_772_352_000_000_u64, "state": "active", "held": 61, "cooling": 2, "reserved": 1})
}

/// What a small cluster answers.
fn cluster(request: &Request) -> Vec<Value> {
    match request {
        Request::Nodes { filter } if filter.node.is_some() => {
            vec![json!({"reply": "nodes", "rows": [node("a")]})]
        }
        // In pages, as a large cluster's.
        Request::Nodes { .. } => vec![
            json!({"reply": "progress", "what": "nodes read", "done": 1}),
            json!({"reply": "nodes", "rows": [node("a")]}),
            json!({"reply": "idle"}),
            json!({"reply": "nodes", "rows": [node("b")]}),
        ],
        Request::NodeLost { .. } => vec![
            json!({"reply": "lost", "nodeId": "a-0123", "node": "a", "fencedEpoch": 3, "blocks": 2, "leases": 110}),
        ],
        Request::Pools { .. } => vec![json!({"reply": "pools", "rows": [pool()]})],
        Request::Blocks { .. } => vec![json!({"reply": "blocks", "rows": [block()]})],
        Request::PoolAdd { .. } => {
            vec![json!({"reply": "done", "notes": ["no node has these labels"]})]
        }
        Request::PoolRemove { .. } => vec![
            json!({"reply": "refused", "code": "conflict", "text": "pool default has 1 block: drain it first"}),
        ],
        Request::Who { .. } => {
            vec![json!({"reply": "refused", "code": "not-found", "text": "no pool has it"})]
        }
        Request::Reservations { .. } => vec![
            json!({"reply": "refused", "code": "unavailable", "text": "etcd https://a cannot be reached: timed out"}),
        ],
        Request::Check { .. } => vec![
            json!({"reply": "check", "violations": [], "leases": 1}),
            json!({"reply": "check", "violations": [{"rule": "address-twice", "subject": "10.4.0.9", "text": "t"}], "leases": 2}),
        ],
        Request::Watch { .. } => vec![
            json!({"reply": "idle"}),
            json!({"reply": "event", "atUnixMs": 1_772_352_000_000_u64, "kind": "node-up", "node": {"nodeId": "a", "node": "a"}}),
            json!({"reply": "event", "atUnixMs": 1_772_352_000_001_u64, "kind": "later-word", "text": "x", "more": true}),
        ],
        Request::Endpoints { .. } => vec![json!({"reply": "weather"})],
        Request::ConfigReload => vec![json!({"reply": "done"})],
        _ => vec![json!({"reply": "refused", "code": "unsupported", "text": "not served"})],
    }
}

fn run(scratch: &Scratch, daemon: &Scripted, line: &str) -> Ran {
    scratch.bulkhead(&format!(
        "{line} --socket {} --state-dir $DIR/state",
        daemon.socket()
    ))
}

#[test]
fn pages_are_one_list() {
    let (scratch, daemon) = (Scratch::new(), Scripted::start(cluster));
    let said = run(&scratch, &daemon, "node ls").ok();
    let names: Vec<_> = said
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(names, ["NODE", "a", "b"]);
    let rows: Value =
        serde_json::from_str(&run(&scratch, &daemon, "node ls -o json").ok()).unwrap();
    assert_eq!(rows[1]["nodeId"], "b-0123");
    let yaml = run(&scratch, &daemon, "node ls -o yaml").ok();
    assert!(yaml.starts_with("- nodeId: a-0123\n"), "{yaml}");
    let ran = run(&scratch, &daemon, "ipam check -o json");
    assert_eq!(ran.code, 5, "{ran:?}");
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (&report["leases"], &report["violations"][0]["rule"]),
        (&json!(2), &json!("address-twice"))
    );
}

#[test]
fn a_node_is_declared_lost_only_with_a_persons_word() {
    let (scratch, daemon) = (Scratch::new(), Scripted::start(cluster));
    let ran = run(&scratch, &daemon, "node lost a --reason fire");
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.stderr
            .contains("Its 2 blocks (128 addresses) and 110 leases are given up at once"),
        "{ran:?}"
    );
    assert!(ran.stderr.ends_with("say --yes\n"), "{ran:?}");
    let is_said = |daemon: &Scripted| {
        let asked = daemon.asked();
        asked
            .iter()
            .any(|request| matches!(request, Request::NodeLost { .. }))
    };
    assert!(!is_said(&daemon));
    let ran = run(&scratch, &daemon, "node lost a --reason fire --yes");
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (
            0,
            "node a: lost, fenced out of epoch 3; 2 blocks and 110 leases were given up\n"
        )
    );
    let Some(Request::NodeLost {
        node,
        by,
        statement,
    }) = daemon.asked().pop()
    else {
        panic!("{:?}", daemon.asked());
    };
    assert_eq!((node.as_str(), statement.as_str()), ("a-0123", "fire"));
    assert!(by.contains("uid "), "{by}");
}

#[test]
fn a_pool_is_added_and_a_refusal_is_told() {
    let (scratch, daemon) = (Scratch::new(), Scripted::start(cluster));
    let said = run(
        &scratch,
        &daemon,
        "pool add p --v4 10.4.0.0/22 --block-size 32",
    )
    .ok();
    assert_eq!(said, "pool p: added\n  note: no node has these labels\n");
    let Some(Request::PoolAdd { pool }) = daemon.asked().pop() else {
        panic!("{:?}", daemon.asked());
    };
    assert_eq!((pool.name.as_str(), pool.block_bits), ("p", Some(5)));
    let refused = |line: &str| run(&scratch, &daemon, line).refused();
    let conflict = "bulkhead: pool default has 1 block: drain it first\n";
    assert_eq!(refused("pool rm default"), (1, conflict.to_owned()));
    let unavailable = "bulkhead: etcd https://a cannot be reached: timed out\n";
    assert_eq!(refused("ipam reservations"), (4, unavailable.to_owned()));
    assert_eq!(refused("pool drain default").0, 1);
    let (code, stderr) = refused("pool set default");
    assert_eq!(code, 2);
    assert!(stderr.contains("say what to set"), "{stderr}");
    let (code, stderr) =
        run(&scratch, &daemon, "ipam who 10.9.9.9 --conf-dir $DIR/net.d").refused();
    assert_eq!(code, 3, "{stderr}");
}

#[test]
fn what_a_later_release_says_is_no_answer() {
    let (scratch, daemon) = (Scratch::new(), Scripted::start(cluster));
    for line in ["endpoint ls", "config reload"] {
        let (code, stderr) = run(&scratch, &daemon, line).refused();
        assert_eq!(code, 1, "{stderr}");
        assert!(
            stderr.contains("this release of bulkhead does not know"),
            "{stderr}"
        );
    }
}

#[test]
fn the_map_is_drawn_for_eyes_and_for_programs() {
    let (scratch, daemon) = (Scratch::new(), Scripted::start(cluster));
    let said = run(&scratch, &daemon, "pool map").ok();
    assert!(said.contains("  10.4.0.0  A▇~ ·"), "{said}");
    assert!(!said.contains('\u{1b}'), "nobody looks");
    let said = run(&scratch, &daemon, "pool map --color always").ok();
    assert!(said.contains("\u{1b}[38;5;"), "{said}");
    assert_eq!(
        run(&scratch, &daemon, "pool map default --svg $DIR/map.svg").ok(),
        ""
    );
    let drawn = std::fs::read_to_string(scratch.path("map.svg")).unwrap();
    let document = roxmltree::Document::parse(&drawn).unwrap();
    let mut titles = document
        .descendants()
        .filter(|node| node.has_tag_name("title"));
    let told = "10.4.0.0/26: <a>, 61 of 64 held, 2 cooling";
    assert!(titles.any(|title| title.text() == Some(told)), "{drawn}");
    assert_eq!(run(&scratch, &daemon, "pool map --svg -").ok(), drawn);
    let rows: Value =
        serde_json::from_str(&run(&scratch, &daemon, "pool map -o json").ok()).unwrap();
    assert_eq!(rows["blocks"][0]["node"], "<a>");
    let asked = daemon.asked();
    let filter = Filter {
        pool: Some("default".to_owned()),
        ..Filter::default()
    };
    assert!(asked.contains(&Request::Blocks { filter }), "{asked:?}");
}

#[test]
fn a_watch_ends_when_it_has_seen_enough_and_says_when_the_daemon_is_gone() {
    let (scratch, daemon) = (Scratch::new(), Scripted::start(cluster));
    let said = run(&scratch, &daemon, "watch -n 2 -o json").ok();
    let kinds: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (kinds.len(), &kinds[0]["kind"], &kinds[1]["kind"]),
        (2, &json!("node-up"), &json!("other"))
    );
    let ran = run(&scratch, &daemon, "watch --pod x");
    assert_eq!(ran.code, 6, "{ran:?}");
    assert_eq!(ran.stdout.lines().count(), 2);
    assert!(
        ran.stderr.contains("the connection to the daemon"),
        "{ran:?}"
    );
}

#[test]
fn without_a_daemon_the_exit_code_says_so() {
    let scratch = Scratch::new();
    for line in [
        "node ls",
        "pool ls",
        "block ls",
        "watch",
        "config reload",
        "store backup $DIR/b",
    ] {
        let ran = scratch.bulkhead(&format!("{line} --socket $DIR/none --state-dir $DIR/state"));
        assert_eq!((ran.code, ran.stdout.as_str()), (6, ""), "{line}: {ran:?}");
        assert!(
            ran.stderr
                .contains("no daemon listens on $DIR/none, start bulkheadd"),
            "{ran:?}"
        );
    }
}
