//! `bulkhead check` as an operator uses it. What others do to running attachments, under traffic, is in
//! tests/netns/repairs.

mod common;

use std::path::Path;
use std::process::Command;

use common::ours::{Node, dual, ports};
use common::store::{Book, When};
use common::{golden, without_tables};
use netns_fixtures::{Ns, Snapshot};
use serde_json::{Value, json};

const TUNING: &str = "tuning";

macro_rules! node {
    ($test:literal $(, $reference:expr)*) => {
        match Node::new($test, &[$($reference),*]) {
            Some(node) => node,
            None => return,
        }
    };
}

fn tuned() -> Value {
    json!({"type": TUNING, "mac": "02:00:00:00:00:77", "mtu": 1400})
}

/// Runs what was printed on the node.
#[track_caller]
fn sh(node: &Node, script: &str) {
    let mut shell = Command::new("sh");
    let ran = node.host.run(shell.arg("-e"), script.as_bytes());
    ran.unwrap_or_else(|error| panic!("{error}\n{script}"));
}

#[test]
fn every_state_is_told_and_drift_is_a_script() {
    let node = node!("every_state_is_told_and_drift_is_a_script", "ptp");
    node.network("blue", dual(1), &[]);
    node.list(
        "plain",
        &json!([{"type": "ptp", "ipam": {"type": "bulkhead-ipam", "dataDir": node.scratch.path("state"),
            "subnet": "10.9.0.0/24"}}]),
    );
    let [c1, c2, _c3] = ["c1", "c2", "c3"].map(|id| node.attach("blue", id, ""));
    let c4 = node.attach("blue", "c4", "");
    node.attach("plain", "p1", "");
    let port = |id: &str| port_of(&node, id);
    node.sandbox.remove(&c4).unwrap();
    assert_eq!(
        node.run("check c1").ok(),
        "# blue/c1/eth0: as it should be\n"
    );

    c1.ip("addr del 10.1.0.2/24 dev eth0").unwrap();
    node.host.sh("nft delete table netdev bulkhead").unwrap();
    c2.ip_batch(&["link del eth0", "link add eth0 type bridge"])
        .unwrap();
    let ran = node.run("check");
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (1, ""),
        "something is in the way"
    );
    let text = ran.stdout.replace(node.sandbox.stem(), "");
    golden("check.txt", &without_tables(&text));
    let said: Value = serde_json::from_str(&node.run("check -o json").stdout).unwrap();
    let count = |nth: usize, key: &str| said[nth][key].as_array().map_or(0, Vec::len);
    let states: Vec<_> = said
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["state"])
        .collect();
    assert_eq!(
        states,
        ["drift", "failed", "drift", "dead", "addresses-only"]
    );
    // The table is wrong for both, and listed once among the commands.
    assert_eq!([count(0, "drift"), count(0, "plan")], [6, 6]);
    assert_eq!([count(2, "drift"), count(2, "plan")], [1, 0]);
    assert_eq!(said[3]["reason"], "its network namespace is gone");

    c2.ip("link del eth0").unwrap();
    let ran = node.run("check");
    assert_eq!(ran.code, 5);
    sh(&node, &ran.stdout);
    limit_groups(&node);
    assert_eq!(node.run("check").code, 0, "{}", node.run("check").stdout);

    node.host
        .ip(&format!("link set {} down", port("c1")))
        .unwrap();
    let ran = node.run("check --repair");
    let said = format!(
        "# blue/c1/eth0: repaired:\nip link set dev {} up\n",
        port("c1")
    );
    assert!(ran.code == 0 && ran.stdout.starts_with(&said), "{ran:?}");
    assert_eq!(node.run("check").code, 0);
}

fn port_of(node: &Node, id: &str) -> String {
    let told = &node.json(&format!("explain {id}"))[0]["values"];
    let mut rows = told.as_array().unwrap().iter();
    let port = rows.find(|row| row["object"] == "port").unwrap();
    port["value"].as_str().unwrap().to_owned()
}

#[test]
fn an_attachment_has_many_names() {
    let node = node!("an_attachment_has_many_names");
    node.network("blue", dual(1), &[]);
    node.network("green", dual(2), &[]);
    let egress = r#"--cap bandwidth={"egressRate":1000000,"egressBurst":80000}"#;
    let c1 = node.attach("blue", "c1", egress);
    node.cni("add", "green", &c1, "c1", "--ifname net1").ok();
    node.attach("blue", "c10", "");
    node.attach("green", "deadbeef", "");
    let said = |subject: &str| {
        let ran = node.run(&format!("check {subject}"));
        let names = ran.stdout.lines().map(|line| {
            let name = line
                .strip_prefix("# ")
                .and_then(|line| line.split(": ").next());
            name.unwrap().to_owned()
        });
        (ran.code, names.collect::<Vec<_>>(), ran.stderr)
    };
    let named = |subject: &str, names: &[&str]| {
        let (code, found, stderr) = said(subject);
        assert_eq!((code, stderr.as_str()), (0, ""), "{subject}");
        assert_eq!(found, names, "{subject}");
    };
    // A whole id is one, whatever begins with it; on both of its networks.
    named("c1", &["blue/c1/eth0", "green/c1/net1"]);
    named("c10", &["blue/c10/eth0"]);
    named("dead", &["green/deadbeef/eth0"]);
    named("green/c1", &["green/c1/net1"]);
    named("green/d", &["green/deadbeef/eth0"]);
    named("green/c1/net1", &["green/c1/net1"]);
    let port = port_of(&node, "blue/c1");
    named(&port, &["blue/c1/eth0"]);
    named(&port.replacen("bhp", "bhi", 1), &["blue/c1/eth0"]);
    named("10.1.0.3", &["blue/c10/eth0"]);
    named("10.1.0.3/24", &["blue/c10/eth0"]);
    named("fd00:2:0::3", &["green/deadbeef/eth0"]);

    let (code, found, stderr) = said("c");
    assert_eq!((code, found.len()), (1, 0));
    assert_eq!(
        stderr,
        "bulkhead: c names several attachments: blue/c1/eth0, blue/c10/eth0, green/c1/net1; write \
         more of one\n"
    );
    for unknown in [
        "x",
        "blue/deadbeef",
        "blue/c1/net1",
        "10.1.0.9",
        "bhpaaaaaaaaaaaa",
    ] {
        let (code, _, stderr) = said(unknown);
        let expected = format!(
            "bulkhead: {unknown} is no recorded attachment, `bulkhead ipam ls` lists them\n"
        );
        assert_eq!((code, stderr.as_str()), (3, expected.as_str()));
    }
    for malformed in ["a/b/c/d", "a//b"] {
        let (code, _, stderr) = said(malformed);
        assert!(
            code == 2 && stderr.contains("names no attachment"),
            "{stderr}"
        );
    }
}

#[test]
fn what_later_plugins_changed_is_known_from_the_runtime_s_cache() {
    let node = node!(
        "what_later_plugins_changed_is_known_from_the_runtime_s_cache",
        TUNING
    );
    node.network("blue", dual(1), &[tuned()]);
    let c1 = node.attach("blue", "c1", "");
    let sound = "# blue/c1/eth0: as it should be\n";
    let blind = "# MAC and MTU of the interface are taken as they stand: tuning may have changed \
                 them, and no result of ADD is cached\n";
    assert_eq!(node.run("check").ok(), sound);
    let uncached = || node.run("check").stdout;
    std::fs::rename(node.scratch.path("cache"), node.scratch.path("lost")).unwrap();
    assert_eq!(uncached(), format!("{sound}{blind}"));
    // What is not known is not undone either.
    c1.ip("addr flush dev eth0").unwrap();
    assert_eq!(node.run("check --repair").code, 0);
    assert_eq!(c1.mac("eth0").unwrap(), [2, 0, 0, 0, 0, 0x77]);
    assert_eq!(uncached(), format!("{sound}{blind}"));
    std::fs::rename(node.scratch.path("lost"), node.scratch.path("cache")).unwrap();

    // The MAC is in the result, the MTU only from version 1.1.0 on.
    c1.ip("link set eth0 address 02:00:00:00:00:78 mtu 1300")
        .unwrap();
    let netns = c1.name();
    let said = node.run("check");
    let mends = format!("ip -n {netns} link set dev eth0 address 02:00:00:00:00:77\n");
    assert_eq!(said.code, 5);
    assert!(
        said.stdout.ends_with(&format!("this mends it:\n{mends}")),
        "{said:?}"
    );
    assert_eq!(node.run("check --repair").code, 0);
    assert_eq!(node.run("check").ok(), sound);
}

#[test]
fn without_later_plugins_mac_and_mtu_are_the_recorded_ones() {
    let node = node!("without_later_plugins_mac_and_mtu_are_the_recorded_ones");
    node.network("blue", dual(1), &[]);
    let mac = r#"--cap mac="02:00:00:00:00:05""#;
    let c1 = node.attach("blue", "c1", mac);
    std::fs::remove_dir_all(node.scratch.path("cache")).unwrap();
    assert_eq!(node.run("check").code, 0);
    c1.ip("link set eth0 address 02:00:00:00:00:78 mtu 1300")
        .unwrap();
    let lines = node.run("check").stdout;
    assert!(
        lines.contains("eth0 address 02:00:00:00:00:05\n"),
        "{lines}"
    );
    assert!(lines.contains("eth0 mtu 1500\n"), "{lines}");
    sh(&node, &lines);
    assert_eq!(node.run("check").code, 0);
}

#[test]
fn a_network_that_is_configured_no_more_is_compared_with_what_was_cached() {
    let node = node!("a_network_that_is_configured_no_more_is_compared_with_what_was_cached");
    node.network("blue", dual(1), &[]);
    let c1 = node.attach(
        "blue",
        "c1",
        &ports(&json!([{"hostPort": 8080, "containerPort": 80}])),
    );
    std::fs::remove_file(node.scratch.path("net.d/blue.conflist")).unwrap();
    assert_eq!(node.run("check").ok(), "# blue/c1/eth0: as it should be\n");
    c1.ip("route del default").unwrap();
    assert_eq!(node.run("check --repair").code, 0);
    assert_eq!(node.run("check").code, 0);
    std::fs::remove_dir_all(node.scratch.path("cache")).unwrap();
    let ran = node.run("check");
    assert_eq!(ran.code, 1);
    golden("check-unconfigured.txt", &ran.stdout);
    assert_eq!(node.run("explain c1").refused().0, 3);

    // Of another plugin by now.
    node.list("blue", &json!([{"type": "ptp"}]));
    let ran = node.run("check");
    assert_eq!(ran.code, 1);
    golden("check-no-plugin.txt", &ran.stdout);
}

#[test]
fn an_attachment_is_not_moved_to_a_bridge_that_was_configured_since() {
    let node = node!("an_attachment_is_not_moved_to_a_bridge_that_was_configured_since");
    let before = Snapshot::take(&node.host).unwrap();
    let [c1, c2] = ["c1", "c2"].map(|id| node.container(id));
    // The bridge that is used no more goes with its last container, whichever that is.
    for order in [[(&c1, "c1"), (&c2, "c2")], [(&c2, "c2"), (&c1, "c1")]] {
        node.network("blue", dual(1), &[]);
        node.cni("add", "blue", &c1, "c1", "").ok();
        let mut keys = dual(1);
        keys["bridge"] = json!("br-new");
        node.network("blue", keys, &[]);
        for line in ["check", "check --repair"] {
            let ran = node.run(line);
            let said = "# blue/c1/eth0: bridge: br-new is not br-blue, on which attachment blue c1 \
                        eth0 was made: put it back, or make the container anew\n";
            assert_eq!((ran.code, ran.stdout.as_str()), (1, said));
        }
        node.cni("add", "blue", &c2, "c2", "").ok();
        assert!(node.run("check c2").stdout.ends_with(": as it should be\n"));
        for (container, id) in order {
            node.cni("del", "blue", container, id, "").ok();
        }
        let limit = std::time::Duration::from_secs(10);
        assert_eq!(before.left_in(&node.host, limit).unwrap(), [""; 0]);
    }
}

/// For a port's limit of groups iproute2 has a word since 6.3: the script says it in a comment.
fn limit_groups(node: &Node) {
    node.run("check --repair");
}

#[test]
fn a_namespace_without_a_name_is_entered_by_its_path() {
    let node = node!("a_namespace_without_a_name_is_entered_by_its_path");
    node.network("blue", dual(1), &[]);
    let c1 = node.container("c1");
    let mut inside = c1.command("sleep").arg("60").spawn().unwrap();
    let path = format!("/proc/{}/ns/net", inside.id());
    let anonymous = Ns::at(Path::new(&path));
    netns_fixtures::wait_for(
        "sleep to be in its namespace",
        std::time::Duration::from_secs(10),
        || anonymous.has_link("eth0").ok().filter(|found| !found),
    );
    let egress = r#"--cap bandwidth={"egressRate":1000000,"egressBurst":80000}"#;
    node.cni("add", "blue", &anonymous, "c1", egress).ok();
    node.host.ip("link del br-blue").unwrap();
    c1.ip("link del eth0").unwrap();
    let ran = node.run("check");
    assert_eq!(ran.code, 5);
    let enters = format!("nsenter --net={path} -- ip addr add 10.1.0.2/24 dev eth0\n");
    assert!(ran.stdout.contains(&enters), "{}", ran.stdout);
    sh(&node, &ran.stdout);
    limit_groups(&node);
    assert_eq!(node.run("check").ok(), "# blue/c1/eth0: as it should be\n");
    node.cni("del", "blue", &anonymous, "c1", "").ok();
    inside.kill().unwrap();
    inside.wait().unwrap();
}

#[test]
fn a_namespace_that_is_another_s_by_now_is_never_mended() {
    let node = node!("a_namespace_that_is_another_s_by_now_is_never_mended");
    node.network("blue", dual(1), &[]);
    let c1 = node.attach("blue", "c1", "");
    let other = node.usurped(&c1, "c1");
    for line in ["check", "check --repair"] {
        assert_eq!(
            node.run(line).ok(),
            "# blue/c1/eth0: dead, its network namespace is gone, the path leads to another one; \
             `bulkhead ipam gc` removes what it left\n"
        );
    }
    assert!(!other.has_link("eth0").unwrap());
}

#[test]
fn looking_creates_and_changes_nothing() {
    let node = node!("looking_creates_and_changes_nothing");
    let nothing = node.files();
    for line in [
        "check",
        "check --repair",
        "ports ls",
        "ipam gc",
        "ipam gc --dry-run",
    ] {
        node.run(line).ok();
    }
    assert_eq!(node.run("explain c1").refused().0, 3);
    assert!(node.files() == nothing);

    // Neither a gateway nor addresses: nothing of the node was changed, and nothing is recorded of it.
    node.network("flat", json!({"isDefaultGateway": false}), &[]);
    let c1 = node.attach("flat", "c1", "");
    let both = || [&*node.host, &*c1].map(|ns| Snapshot::take(ns).unwrap());
    let looked = |lines: &[&str]| {
        let (files, kernel) = (node.files(), both());
        for line in lines {
            let ran = node.run(line);
            assert_eq!(ran.stderr, "", "{line}");
        }
        assert!(node.files() == files);
        for (before, after) in kernel.iter().zip(both()) {
            assert_eq!(before.diff(&after), [""; 0]);
        }
    };
    looked(&[
        "check",
        "check --repair",
        "explain c1",
        "ports ls",
        "ipam gc --dry-run",
    ]);
    node.host.sh("nft flush ruleset").unwrap();
    looked(&["check", "explain c1", "ipam gc --dry-run"]);
}

#[test]
fn what_a_daemon_manages_is_not_mended_beside_it() {
    let node = node!("what_a_daemon_manages_is_not_mended_beside_it");
    node.network("blue", dual(1), &[]);
    node.attach("blue", "c1", "");
    let socket = node.scratch.text("socket");
    let managed = json!({"socket": socket, "version": 1}).to_string();
    node.scratch.write("state/managed", &managed);
    assert_eq!(
        node.run("check --repair").code,
        0,
        "nothing has to be mended"
    );
    node.host.ip("link set br-blue down").unwrap();
    let ran = node.run("check");
    assert_eq!(ran.code, 5, "looking needs no daemon: {ran:?}");
    let ran = node.run("check --repair");
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (
            1,
            "# blue/c1/eth0: no daemon listens on $DIR/socket, start bulkheadd: No such file or directory (os error 2)\n"
        )
    );
}

#[test]
fn a_store_that_cannot_be_read_is_4_and_the_rest_is_told() {
    let node = node!("a_store_that_cannot_be_read_is_4_and_the_rest_is_told");
    node.network("blue", dual(1), &[]);
    node.attach("blue", "c1", "");
    let state = node.scratch.path("state");
    Book::foreign(&state, "torn").attach("c2", None, 0, When::ThisBoot);
    node.scratch
        .write("state/networks/torn/journal", "nonsense");
    let ran = node.run("check");
    assert_eq!(ran.code, 4, "{ran:?}");
    assert_eq!(ran.stdout, "# blue/c1/eth0: as it should be\n");
    assert!(
        ran.stderr.starts_with("bulkhead: network torn: "),
        "{ran:?}"
    );
}

/// It begins and ends with a ruleset of its own, and so it does with each reload.
#[test]
fn firewalld_leaves_what_is_ours() {
    let Some(mut node) = common::node::Node::new("firewalld_leaves_what_is_ours") else {
        return;
    };
    node.network("blue", 1, r#","macspoofchk":true"#);
    let container = node.attach("blue", "c1", true);
    let check = |node: &common::node::Node| {
        let line = format!("check {} --cache-dir $DIR/cache", common::node::DIRS);
        node.bulkhead(&line).ok()
    };
    let sound = "# blue/c1/eth0: as it should be\n";
    let daemons = common::firewalld::firewalld(&mut node);
    assert_eq!(check(&node), sound);
    for reload in ["--reload", "--complete-reload"] {
        node.sh(&format!("firewall-cmd {reload}"));
        assert_eq!(check(&node), sound, "{reload}");
        assert!(node.host_port_answers(&container), "{reload}");
    }
    drop(daemons);
    assert_eq!(check(&node), sound);
}
