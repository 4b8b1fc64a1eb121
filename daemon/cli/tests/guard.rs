//! `bulkhead guard`: of ports of ours and of others, what they may send and what they tried to.

mod common;

use std::net::UdpSocket;
use std::process::{Child, Stdio};
use std::time::Duration;

use common::ours::{Node, dual};
use common::{BULKHEAD, Ran, golden};
use netns_fixtures::packet::Arp;
use netns_fixtures::{Container, PacketSocket, wait_for};
use serde_json::{Value, json};

/// How long anything that must happen may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(10);

fn guard(node: &Node, line: &str) -> Ran {
    node.ask(&format!("guard {line} --conf-dir $DIR/net.d"))
}

#[track_caller]
fn json_of(node: &Node, line: &str) -> Value {
    serde_json::from_str(&guard(node, &format!("{line} -o json")).ok()).unwrap()
}

/// The reference bridge with our guard behind it.
fn theirs(node: &Node) {
    let plugins = json!([
        {
            "type": "bridge", "bridge": "br-theirs", "isDefaultGateway": true,
            "ipam": {
                "type": "host-local", "dataDir": node.scratch.path("host-local"),
                "ranges": [[{"subnet": "10.2.0.0/24"}]],
            },
        },
        {"type": "bulkhead-guard", "stateDir": node.scratch.path("state")},
    ]);
    node.list("theirs", &plugins);
}

/// Says by ARP that it has the gateway's address.
fn spoof(container: &Container) {
    let mac = container.mac("eth0").unwrap();
    let frame = Arp::announcement(mac, "10.1.0.1".parse().unwrap());
    PacketSocket::open(container, "eth0")
        .unwrap()
        .send(&frame)
        .unwrap();
}

#[test]
fn ports_are_listed_with_who_they_are() {
    let Some(node) = Node::new(
        "ports_are_listed_with_who_they_are",
        &["bridge", "host-local"],
    ) else {
        return;
    };
    assert_eq!(json_of(&node, "ls"), json!([]));
    node.network("blue", dual(1), &[]);
    node.network("open", with_guard(dual(3), json!(false)), &[]);
    let roles = json!({"role": "router", "prefixes": ["10.9.0.0/24"]});
    node.network("routed", with_guard(dual(4), roles), &[]);
    theirs(&node);
    for network in ["blue", "open", "routed", "theirs"] {
        node.attach(network, &format!("in-{network}"), "");
    }
    let rows = json_of(&node, "ls");
    let told: Vec<_> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let word = |key: &str| row[key].as_str().unwrap();
            [
                word("attachment"),
                word("guard"),
                word("role"),
                word("plugin"),
            ]
            .join(" ")
        })
        .collect();
    assert_eq!(
        told,
        [
            "blue/in-blue/eth0 on host bulkhead-bridge",
            "open/in-open/eth0 off host bulkhead-bridge",
            "routed/in-routed/eth0 on router bulkhead-bridge",
            "theirs/in-theirs/eth0 on host bulkhead-guard",
        ]
    );
    assert_eq!(rows[0]["addresses"][0], "10.1.0.2");
    assert_eq!(rows[3]["addresses"][0], "10.2.0.2");
    let wide = guard(&node, "ls -o wide").ok();
    for word in ["MULTICAST", "10.1.0.2", rows[3]["port"].as_str().unwrap()] {
        assert!(wide.contains(word), "{wide}");
    }
    // What is off is somebody's decision, and is to be seen.
    let status = node.ask("status");
    assert_eq!(status.code, 6);
    assert!(
        status.stdout.ends_with("\nGUARD OFF\nopen/in-open/eth0\n"),
        "{status:?}"
    );
    let (code, said) = guard(&node, "show grey").refused();
    assert!(code == 3 && said.contains("grey"), "{said}");
}

fn with_guard(mut keys: Value, guard: Value) -> Value {
    keys["guard"] = guard;
    keys
}

#[test]
fn a_binding_is_shown_as_it_stands_and_told_in_words() {
    let Some(node) = Node::new(
        "a_binding_is_shown_as_it_stands_and_told_in_words",
        &["bridge", "host-local"],
    ) else {
        return;
    };
    node.network("blue", dual(1), &[]);
    theirs(&node);
    node.attach("blue", "c1", "");
    node.attach("theirs", "c2", "");
    // The bridge's MAC is made from the machine's id.
    let bridge = netns_fixtures::packet::mac_text(node.host.mac("br-blue").unwrap());
    let shown = guard(&node, "show c1").ok();
    let of_bridge = |line: &&str| !line.starts_with("node-links") && !line.contains(&bridge);
    let shown: String = shown.split_inclusive('\n').filter(of_bridge).collect();
    golden("guard-show.txt", &shown);
    golden("guard-explain.txt", &guard(&node, "explain c1").ok());
    for subject in ["c2", "theirs/c2/eth0", "10.2.0.2"] {
        assert_eq!(
            json_of(&node, &format!("show {subject}"))[0]["stands"],
            true
        );
    }
    let explained = json_of(&node, "explain c2");
    assert!(
        explained[0]["note"]
            .as_str()
            .unwrap()
            .contains("bulkhead-guard")
    );
    let may = |text: &str, may: bool| {
        let clauses = explained[0]["clauses"].as_array().unwrap().iter();
        let mut of = clauses.filter(|clause| clause["what"].as_str().unwrap().contains(text));
        assert_eq!(of.next().unwrap()["may"], may, "{text}");
    };
    may("send from 10.2.0.2 with", true);
    may("send from another IPv4 address", false);
    node.host.sh("nft flush set netdev bulkhead id4").unwrap();
    let shown = guard(&node, "show c2 -o json");
    assert_eq!(shown.code, 5, "{shown:?}");
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    let missing = shown[0]["elements"].as_array().unwrap().iter();
    let missing: Vec<_> = missing.filter(|one| one["stands"] == false).collect();
    assert!(
        missing.len() == 1 && missing[0]["set"] == "id4",
        "{missing:?}"
    );
    node.host.sh("nft delete table netdev bulkhead").unwrap();
    let shown = guard(&node, "show c1");
    assert_eq!(shown.code, 5);
    assert!(shown.stdout.contains("the table is gone"), "{shown:?}");
}

/// What is printed until `child` ends; it is given something to print meanwhile.
fn printed(mut child: Child, meanwhile: impl Fn()) -> String {
    wait_for("the command to end", LIMIT, || {
        meanwhile();
        child.try_wait().unwrap()
    });
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn drops(node: &Node, words: &[&str]) -> Child {
    let mut command = node.host.command(BULKHEAD);
    command.args(["guard", "drops"]).args(words);
    command.arg("--state-dir").arg(node.scratch.path("state"));
    command.arg("--conf-dir").arg(node.scratch.path("net.d"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn what_is_dropped_is_printed_and_counted() {
    let Some(node) = Node::new(
        "what_is_dropped_is_printed_and_counted",
        &["bridge", "host-local"],
    ) else {
        return;
    };
    node.network("blue", dual(1), &[]);
    theirs(&node);
    let ours = node.attach("blue", "c1", "");
    let other = node.attach("theirs", "c2", "");
    for (container, name) in [(&ours, "blue/c1/eth0"), (&other, "theirs/c2/eth0")] {
        let child = drops(&node, &["--count", "1", "-o", "json"]);
        let row: Value = serde_json::from_str(&printed(child, || spoof(container))).unwrap();
        assert_eq!(
            (&row["attachment"], &row["reason"]),
            (&json!(name), &json!("arp"))
        );
        let frame = row["frame"].as_str().unwrap();
        let mac = netns_fixtures::packet::mac_text(container.mac("eth0").unwrap());
        assert!(
            frame.starts_with(&mac) && frame.contains("10.1.0.1"),
            "{frame}"
        );
        let counted = json_of(&node, &format!("counters {name}"));
        let [count] = counted["ports"].as_array().unwrap().as_slice() else {
            panic!("{counted}");
        };
        assert_eq!(
            (&count["attachment"], &count["reason"]),
            (&json!(name), &json!("arp"))
        );
        assert!(count["packets"].as_u64().unwrap() > 0);
        assert!(counted.get("totals").is_none());
    }
    let all = json_of(&node, "counters");
    let sum: u64 = all["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["packets"].as_u64().unwrap())
        .sum();
    assert_eq!(
        all["totals"],
        json!([{"reason": "arp", "packets": sum, "bytes": all["totals"][0]["bytes"]}])
    );
    let text = guard(&node, "counters").ok();
    assert!(
        text.contains("ALL PORTS") && text.contains("theirs/c2/eth0"),
        "{text}"
    );
    // It ends also if nothing comes.
    let child = drops(&node, &["--for", "1ms"]);
    assert_eq!(printed(child, || ()), "");
    let line = printed(drops(&node, &["--count", "1"]), || spoof(&ours));
    assert!(line.contains("  blue/c1/eth0  arp        "), "{line}");
}

/// What nobody judged before it was routed to a bridge, for an address that nobody holds there.
#[test]
fn what_is_dropped_in_front_of_a_bridge_is_printed() {
    let Some(node) = Node::new("what_is_dropped_in_front_of_a_bridge_is_printed", &[]) else {
        return;
    };
    node.network("blue", dual(1), &[]);
    node.network("open", with_guard(dual(3), json!(false)), &[]);
    node.attach("blue", "c1", "");
    let open = node.attach("open", "c2", "");
    for (to, any) in [("10.1.0.99", "0.0.0.0:0"), ("fd00:1::99", "[::]:0")] {
        let scan = || {
            open.enter(|| {
                let socket = UdpSocket::bind(any).unwrap();
                drop(socket.send_to(b"anybody there?", (to, 9)));
            })
            .unwrap();
        };
        let row = printed(drops(&node, &["--count", "1", "-o", "json"]), scan);
        let row: Value = serde_json::from_str(&row).unwrap();
        assert_eq!(
            (&row["reason"], &row["attachment"], &row["port"]),
            (&json!("unheld"), &Value::Null, &json!("br-open"))
        );
        assert!(row["frame"].as_str().unwrap().contains(to), "{row}");
    }
}

#[test]
fn a_guard_behind_another_plugin_is_checked_explained_and_mended() {
    let Some(node) = Node::new(
        "a_guard_behind_another_plugin_is_checked_explained_and_mended",
        &["bridge", "host-local"],
    ) else {
        return;
    };
    node.network("blue", dual(1), &[]);
    theirs(&node);
    for network in ["blue", "theirs"] {
        node.attach(network, &format!("in-{network}"), "");
    }
    let whole = node.ask("explain in-theirs --conf-dir $DIR/net.d").ok();
    for told in [
        "made by the plugin before",
        "10.2.0.2/24",
        "permanent neighbours on both sides",
        "ip neigh replace 10.2.0.2 lladdr",
        "neigh replace 10.2.0.1 lladdr",
        "ip neigh del 10.2.0.2 dev br-theirs",
        "another main plugin made the port: only its guard is ours",
        "The kernel holds all of it.",
        "add element netdev bulkhead id4",
        "delete element netdev bulkhead id4",
    ] {
        assert!(whole.contains(told), "{told}:\n{whole}");
    }
    let check = |line: &str| node.ask(&format!("check {line} --conf-dir $DIR/net.d"));
    assert!(check("in-theirs").ok().contains("as it should be"));
    node.host.sh("nft delete table netdev bulkhead").unwrap();
    let drifted = check("in-theirs");
    assert_eq!(drifted.code, 5, "{drifted:?}");
    assert!(
        drifted.stdout.contains("not as it should be"),
        "{drifted:?}"
    );
    let repaired = check("--repair").ok();
    assert!(repaired.contains("theirs/in-theirs/eth0: "), "{repaired}");
    assert!(
        check("")
            .ok()
            .contains("theirs/in-theirs/eth0: as it should be")
    );
    let ruleset = node.host.sh("nft list ruleset").unwrap();
    assert!(
        ruleset.contains("10.2.0.2") && ruleset.contains("10.1.0.2"),
        "{ruleset}"
    );
}
