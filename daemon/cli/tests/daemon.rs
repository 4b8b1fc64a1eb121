//! Commands beside a node daemon, which has the state directory to itself: looking goes on without it,
//! changing is its to do.

mod common;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;

use common::daemon::{Daemon, LIMIT};
use common::ours::{Node, dual};
use common::{BULKHEAD, Ran};
use netns_fixtures::{Snapshot, wait_for};
use serde_json::{Value, json};

/// A node with network blue.
macro_rules! node {
    ($test:literal) => {{
        let Some(node) = Node::with_daemon($test) else {
            return;
        };
        node.network("blue", dual(1), &[]);
        node
    }};
}

/// Loops that come only when asked for.
const QUIET: &str = "collector.interval_secs = 0\nreconcile.interval_secs = 0\n";

fn value(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

#[test]
fn everything_that_looks_works_with_the_daemon_and_without_it() {
    let node = node!("everything_that_looks_works_with_the_daemon_and_without_it");
    let daemon = Daemon::start(&node, QUIET);
    node.attach("blue", "c1", "");
    let sources = "--conf-dir $DIR/net.d --state-dir $DIR/state";
    let looks = |code_of_cluster: i32| {
        for (line, code, said) in [
            ("net ls", 0, "10.1.0.1-10.1.0.254: 1 held"),
            ("ipam ls", code_of_cluster, "10.1.0.2/24"),
            ("ipam show blue", 0, "10.1.0.0/24"),
            ("ipam show 10.1.0.2", 0, "state      held"),
        ] {
            let ran = node.scratch.bulkhead(&format!("{line} {sources}"));
            assert_eq!(ran.code, code, "{line}: {ran:?}");
            assert!(ran.stdout.contains(said), "{line}: {ran:?}");
        }
        assert_eq!(node.run("ports ls").code, 0);
        let check = node.run("check");
        assert_eq!(
            (check.code, check.stdout.as_str()),
            (0, "# blue/c1/eth0: as it should be\n")
        );
        assert!(
            node.run("explain c1")
                .ok()
                .contains("# The kernel holds all of it.")
        );
    };
    // What is of the cluster is the daemon's to tell.
    looks(i32::from(node.ask("ipam reservations").code != 0));
    daemon.kill();
    looks(6);
}

#[test]
fn status_tells_of_the_daemon_and_of_its_directory_without_it() {
    let node = node!("status_tells_of_the_daemon_and_of_its_directory_without_it");
    let daemon = Daemon::start(&node, QUIET);
    node.attach("blue", "c1", "");
    let ran = node.ask("status -o json");
    let status = value(&ran);
    assert_eq!(status["running"], true, "{ran:?}");
    assert_eq!(status["attachments"], 1);
    assert_eq!(status["daemon"]["stateDir"], "$DIR/state");
    assert_eq!(ran.code, if status["healthy"] == true { 0 } else { 5 });
    assert!(
        node.ask("status")
            .stdout
            .contains("1 served, 0 answered with an error")
    );

    daemon.kill();
    let container = node.container("c2");
    let refused = node.cni("add", "blue", &container, "c2", "");
    assert_eq!(refused.code, 1, "{refused:?}");
    let ran = node.ask("status");
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(ran.stderr.contains(", start bulkheadd: "), "{ran:?}");
    assert!(
        ran.stdout.contains("ADD is refused with code 11"),
        "{ran:?}"
    );
    assert!(ran.stdout.contains("blue     1\n"), "{ran:?}");
}

#[test]
fn a_daemon_that_never_was_is_not_running() {
    let node = node!("a_daemon_that_never_was_is_not_running");
    node.attach("blue", "c1", "");
    let ran = node.ask("status --socket $DIR/none");
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(
        ran.stdout
            .contains("daemon       none has this state directory\n"),
        "{ran:?}"
    );
    assert_eq!(node.ask("node ls --socket $DIR/none").refused().0, 6);
    assert_eq!(
        node.scratch.names("state/spool"),
        [""; 0],
        "looking makes nothing"
    );
}

#[test]
fn drift_is_mended_by_the_daemon() {
    let node = node!("drift_is_mended_by_the_daemon");
    let _daemon = Daemon::start(&node, QUIET);
    node.attach("blue", "c1", "");
    node.host.ip("link set br-blue down").unwrap();
    let ran = node.run("check");
    assert_eq!(ran.code, 5, "{ran:?}");
    let ran = node.run("check --repair -o json");
    assert_eq!(ran.code, 0, "{ran:?}");
    let verdict = &value(&ran)[0];
    assert_eq!(verdict["state"], "repaired");
    let plan: Vec<_> = verdict["plan"].as_array().unwrap().iter().collect();
    assert!(
        plan.contains(&&json!("ip link set dev br-blue up")),
        "{plan:?}"
    );
    assert_eq!(node.run("check").code, 0);
}

#[test]
fn what_is_dead_is_collected_by_the_daemon_when_it_was_seen_so_twice() {
    let node = node!("what_is_dead_is_collected_by_the_daemon_when_it_was_seen_so_twice");
    let _daemon = Daemon::start(&node, &format!("{QUIET}collector.grace_secs = 1\n"));
    let before = Snapshot::take(&node.host).unwrap();
    let c1 = node.attach("blue", "c1", "");
    assert_eq!(node.json("ipam gc"), json!([]));
    node.sandbox.remove(&c1).unwrap();
    // The port goes some time after the namespace.
    let dry = wait_for("it to be seen dead", LIMIT, || {
        let rows = node.json("ipam gc --dry-run");
        (rows != json!([])).then_some(rows)
    });
    assert_eq!(dry[0]["attachment"], "blue/c1/eth0");
    assert_eq!(dry[0]["removed"], false);
    let removed = wait_for("it to be collected", LIMIT, || {
        let rows = node.json("ipam gc");
        (rows[0]["removed"] == true).then_some(rows)
    });
    assert_eq!(removed[0]["addresses"][0], "10.1.0.2/24");
    assert_eq!(node.json("ipam gc"), json!([]));
    assert_eq!(before.left_in(&node.host, LIMIT).unwrap(), [""; 0]);
}

#[test]
fn events_are_told_as_they_happen() {
    let node = node!("events_are_told_as_they_happen");
    let daemon = Daemon::start(&node, QUIET);
    let mut child = node
        .host
        .command(BULKHEAD)
        .args(["watch", "-o", "json", "--network", "blue", "--state-dir"])
        .arg(node.scratch.path("state"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (told, heard) = mpsc::channel();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let reader = thread::spawn(move || {
        for line in lines {
            told.send(line.unwrap()).unwrap();
        }
    });
    // Nothing says from outside that it has begun: what is attached after that is told.
    let mut containers = Vec::new();
    let first = wait_for("an event", LIMIT, || {
        let name = format!("c{}", containers.len());
        containers.push(node.attach("blue", &name, ""));
        heard.try_recv().ok()
    });
    let event: Value = serde_json::from_str(&first).unwrap();
    assert_eq!(event["kind"], "acquired", "{event}");
    assert_eq!(event["attachment"]["network"], "blue");
    assert!(event["at"].as_str().unwrap().ends_with('Z'));
    daemon.kill();
    assert_eq!(child.wait().unwrap().code(), Some(6), "the daemon is gone");
    reader.join().unwrap();
}

#[test]
fn ports_count_what_goes_through_them() {
    let node = node!("ports_count_what_goes_through_them");
    let _daemon = Daemon::start(&node, QUIET);
    let c1 = node.attach("blue", "c1", "");
    c1.sh("ping -c 3 -i 0.2 10.1.0.1").unwrap();
    let rows = value(&node.ask("endpoint ls -o json"));
    assert_eq!(rows[0]["container"], "c1");
    assert!(rows[0]["sentPackets"].as_u64().unwrap() >= 3, "{rows}");
    assert!(node.ask("endpoint ls --network red").ok().lines().count() == 1);
}

#[test]
fn a_configuration_is_read_again_and_a_mistake_changes_nothing() {
    let node = node!("a_configuration_is_read_again_and_a_mistake_changes_nothing");
    let _daemon = Daemon::start(&node, QUIET);
    assert_eq!(node.ask("config reload").ok(), "nothing has changed\n");
    let file = node.scratch.path("bulkheadd.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        format!("{text}log.level = \"debug\"\nworkers.threads = 4\n"),
    )
    .unwrap();
    let said = node.ask("config reload").ok();
    assert!(
        said.contains("applied     log.level: info -> debug\n"),
        "{said}"
    );
    assert!(
        said.contains("at restart  workers.threads: 8 -> 4\n"),
        "{said}"
    );
    std::fs::write(&file, format!("{text}log.level = \"loud\"\n")).unwrap();
    let (code, stderr) = node.ask("config reload").refused();
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("log.level"), "{stderr}");
}

#[test]
fn doctor_looks_at_the_daemon() {
    let node = node!("doctor_looks_at_the_daemon");
    let daemon = Daemon::start(&node, QUIET);
    node.attach("blue", "c1", "");
    let ids = |line: &str| {
        let ran = node.run(line);
        let findings = value(&ran);
        let findings = findings.as_array().unwrap().iter();
        let ids = findings.map(|finding| finding["id"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>()
    };
    let all = ids("doctor --all -o json");
    for id in [
        "daemon-not-ready",
        "daemon-release",
        "cluster-store",
        "clock-jumped",
        "spool-waiting",
    ] {
        assert!(all.contains(&id.to_owned()), "{id}: {all:?}");
    }
    let bad = ids("doctor -o json");
    let of_daemon = |id: &&String| id.starts_with("daemon-") || id.starts_with("cluster-");
    assert_eq!(bad.iter().find(of_daemon), None, "{bad:?}");
    daemon.kill();
    assert!(ids("doctor -o json").contains(&"state-managed".to_owned()));
}

#[test]
fn a_support_bundle_has_what_the_daemon_says_of_itself() {
    let node = node!("a_support_bundle_has_what_the_daemon_says_of_itself");
    let _daemon = Daemon::start(&node, QUIET);
    node.attach("blue", "c1", "");
    let line = "support-bundle $DIR/b.tar.gz --conf-dir $DIR/net.d --config $DIR/bulkheadd.toml";
    let said = node.ask(line).ok();
    assert!(said.starts_with("$DIR/b.tar.gz: "), "{said}");
    let listed = node
        .host
        .sh(&format!("tar xzOf {}", node.scratch.text("b.tar.gz")))
        .unwrap();
    for text in [
        "bulkhead_",
        "\"stateDir\"",
        "collector.interval_secs = 0",
        "table netdev bulkhead",
        "br-blue",
    ] {
        assert!(listed.contains(text), "{text}");
    }
}

#[test]
fn what_is_advertised_to_a_container_is_told() {
    let node = node!("what_is_advertised_to_a_container_is_told");
    let _daemon = Daemon::start(&node, QUIET);
    let plugin = json!({
        "type": "bulkhead-ipv6", "stateDir": node.scratch.path("state"),
        "routerAdvertisements": {"dns": ["2001:db8::53"], "dhcpv6": true},
        "ipam": {"type": "bulkhead-ipam", "ranges": [[{"subnet": "fd00:7::/64"}]]},
    });
    node.list("told", &json!([plugin]));
    node.attach("told", "c1", "");
    let whole = node.run("explain c1").ok();
    for told in [
        "lifetime=1800 mtu=1500 other dns=2001:db8::53 refresh=86400",
        "routerAdvertisements, recorded; sent by bulkheadd from fe80::1",
        "net/ipv6/conf/eth0/ra_defrtr_metric=2048",
        "# The kernel holds all of it.",
    ] {
        assert!(whole.contains(told), "{told}:\n{whole}");
    }
    let may = node.ask("guard explain c1 --conf-dir $DIR/net.d").ok();
    assert!(may.contains("ask the node by DHCPv6"), "{may}");
}
