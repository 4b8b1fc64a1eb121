//! `bulkhead ipam gc`: what is dead goes, with the reason, and nothing else.

mod common;

use std::time::Duration;

use common::ours::{Node, dual, ports};
use common::store::{Book, When};
use netns_fixtures::{Section, Snapshot, wait_for};
use serde_json::{Value, json};

macro_rules! node {
    ($test:literal $(, $reference:expr)*) => {
        match Node::new($test, &[$($reference),*]) {
            Some(node) => node,
            None => return,
        }
    };
}

const LIMIT: Duration = Duration::from_secs(10);
const GONE: &str = "its network namespace is gone";
const REPLACED: &str = "its network namespace is gone, the path leads to another one";
const BOOTED: &str = "made before the machine booted";

/// The attachments of a list, with why and whether they were removed.
fn rows(list: &Value) -> Vec<(&str, &str, bool)> {
    let rows = list.as_array().unwrap().iter();
    rows.map(|row| {
        let text = |key: &str| row[key].as_str().unwrap();
        let removed = row["removed"].as_bool().unwrap();
        (text("attachment"), text("reason"), removed)
    })
    .collect()
}

#[test]
fn the_dead_are_told_first_and_then_removed() {
    let node = node!("the_dead_are_told_first_and_then_removed");
    node.network("blue", dual(1), &[]);
    node.network("green", dual(2), &[]);
    let asked = format!(
        "{} {}",
        ports(&json!([{"hostPort": 8080, "containerPort": 80}])),
        r#"--cap bandwidth={"egressRate":1000000,"egressBurst":80000}"#
    );
    let c1 = node.attach("blue", "c1", &asked);
    let c2 = node.attach("blue", "c2", "");
    node.attach("green", "alive", "");
    let state = node.scratch.path("state");
    let book = Book::own(
        &state,
        "green",
        r#"{"ranges":[[{"subnet":"10.2.0.0/24"}],[{"subnet":"fd00:2::/64"}]]}"#,
    );
    book.attach("booted", None, 0, When::EarlierBoot);
    let alive = node.run("check alive").ok();
    node.sandbox.remove(&c1).unwrap();
    let usurper = node.usurped(&c2, "c2");
    // The kernel takes the ports of dead namespaces away when it has time, then finds that their bridge
    // has no carrier, and marks its routes.
    wait_for("the ports of the dead to go", LIMIT, || {
        let links = node.host.ip_json("link show").unwrap();
        let links = links.as_array().unwrap().iter();
        let names = links.filter_map(|link| link["ifname"].as_str());
        let dead = ["-4", "-6"].map(|family| {
            let list = format!("ip {family} route show table all dev br-blue");
            let routes = node.host.sh(&list).unwrap();
            let mut others = routes
                .lines()
                .filter(|route| !route.starts_with("local ") && !route.starts_with("anycast "));
            others.all(|route| route.contains("linkdown"))
        });
        let ports = names.filter(|name| name.starts_with("bhp")).count();
        (ports == 1 && dead == [true; 2]).then_some(())
    });

    let (files, kernel) = (node.files(), Snapshot::take(&node.host).unwrap());
    let told = node.json("ipam gc --dry-run");
    let dead = |removed| {
        [
            ("blue/c1/eth0", GONE, removed),
            ("blue/c2/eth0", REPLACED, removed),
            ("green/booted/eth0", BOOTED, removed),
        ]
    };
    assert_eq!(rows(&told), dead(false));
    assert_eq!(told[0]["addresses"], json!(["10.1.0.2/24", "fd00:1::2/64"]));
    assert_eq!(
        rows(&node.json("ipam gc green --dry-run")),
        dead(false)[2..]
    );
    assert!(node.files() == files, "nothing was removed");
    assert_eq!(kernel.diff(&Snapshot::take(&node.host).unwrap()), [""; 0]);

    assert_eq!(rows(&node.json("ipam gc blue")), dead(true)[..2]);
    let left = Snapshot::take(&node.host).unwrap();
    let ours = |(link, _): &(&str, &str)| link.starts_with("bhi") || *link == "br-blue";
    assert_eq!(
        left.section(Section::Link).find(ours),
        None,
        "the network went with its last"
    );
    assert_eq!(node.json("ports ls"), json!([]));
    assert_eq!(rows(&node.json("ipam gc")), dead(true)[2..]);
    assert_eq!(node.json("ipam gc"), json!([]));
    assert_eq!(node.run("check alive").ok(), alive);
    assert!(!usurper.has_link("eth0").unwrap());
    let past = &node
        .scratch
        .bulkhead("ipam show 10.1.0.2 -o json --conf-dir $DIR/net.d --state-dir $DIR/state");
    assert!(
        past.stdout.contains(&format!("\"reason\": \"gc: {GONE}\"")),
        "{past:?}"
    );
}

#[test]
fn a_network_s_configuration_need_not_be_there() {
    let node = node!("a_network_s_configuration_need_not_be_there");
    node.network("blue", dual(1), &[]);
    let before = Snapshot::take(&node.host).unwrap();
    let [c1, c2] = ["c1", "c2"].map(|id| node.attach("blue", id, ""));
    std::fs::remove_file(node.scratch.path("net.d/blue.conflist")).unwrap();
    node.sandbox.remove(&c1).unwrap();
    assert_eq!(rows(&node.json("ipam gc")), [("blue/c1/eth0", GONE, true)]);
    // Nor what the runtime cached, nor the plugin in another network of the name.
    std::fs::remove_dir_all(node.scratch.path("cache")).unwrap();
    node.list("blue", &json!([{"type": "ptp"}]));
    node.sandbox.remove(&c2).unwrap();
    assert_eq!(rows(&node.json("ipam gc")), [("blue/c2/eth0", GONE, true)]);
    assert_eq!(before.left_in(&node.host, LIMIT).unwrap(), [""; 0]);
}

#[test]
fn another_ipam_plugin_gets_its_addresses_back() {
    let node = node!("another_ipam_plugin_gets_its_addresses_back", "host-local");
    let leases = node.scratch.text("leases");
    let delegated =
        || json!({"ipam": {"type": "host-local", "dataDir": leases, "subnet": "10.3.0.0/24"}});
    node.network("blue", delegated(), &[]);
    let given = || {
        let mut names = node.scratch.names("leases/blue");
        names.retain(|name| name.starts_with("10."));
        names
    };
    let [c1, c2, c3] = ["c1", "c2", "c3"].map(|id| node.attach("blue", id, ""));
    assert_eq!(given().len(), 3);
    node.sandbox.remove(&c1).unwrap();
    node.json("ipam gc");
    assert_eq!(given(), ["10.3.0.3", "10.3.0.4"]);
    // The configuration that the runtime cached says where they are, too.
    std::fs::remove_file(node.scratch.path("net.d/blue.conflist")).unwrap();
    node.sandbox.remove(&c2).unwrap();
    assert_eq!(rows(&node.json("ipam gc")), [("blue/c2/eth0", GONE, true)]);
    assert_eq!(given(), ["10.3.0.4"]);
    // Without either, nobody knows, and the record stays for another time.
    std::fs::rename(node.scratch.path("cache"), node.scratch.path("lost")).unwrap();
    node.sandbox.remove(&c3).unwrap();
    let ran = node.run("ipam gc -o json");
    assert_eq!(ran.code, 1);
    let list: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(rows(&list), [("blue/c3/eth0", GONE, false)]);
    assert!(ran.stderr.contains("host-local"), "{ran:?}");
    std::fs::rename(node.scratch.path("lost"), node.scratch.path("cache")).unwrap();
    assert_eq!(rows(&node.json("ipam gc")), [("blue/c3/eth0", GONE, true)]);
    assert_eq!(given(), [""; 0]);
}

#[test]
fn addresses_of_another_main_plugin_s_attachment_are_released() {
    let node = node!(
        "addresses_of_another_main_plugin_s_attachment_are_released",
        "ptp"
    );
    node.list(
        "plain",
        &json!([{"type": "ptp", "ipam": {"type": "bulkhead-ipam", "dataDir": node.scratch.path("state"),
            "subnet": "10.9.0.0/24"}}]),
    );
    let p1 = node.attach("plain", "p1", "");
    assert_eq!(node.json("ipam gc"), json!([]));
    node.sandbox.remove(&p1).unwrap();
    assert_eq!(rows(&node.json("ipam gc")), [("plain/p1/eth0", GONE, true)]);
    assert_eq!(node.run("check").ok(), "");
}

#[test]
fn what_a_daemon_manages_is_not_collected_beside_it() {
    let node = node!("what_a_daemon_manages_is_not_collected_beside_it");
    node.network("blue", dual(1), &[]);
    let c1 = node.attach("blue", "c1", "");
    let socket = node.scratch.text("socket");
    let managed = json!({"socket": socket, "version": 1}).to_string();
    node.scratch.write("state/managed", &managed);
    node.sandbox.remove(&c1).unwrap();
    let absent = "bulkhead: no daemon listens on $DIR/socket, start bulkheadd: No such file or directory (os error 2)\n";
    let ran = node.run("ipam gc --dry-run -o json");
    assert_eq!((ran.code, ran.stderr.as_str()), (6, absent));
    assert_eq!(
        rows(&serde_json::from_str(&ran.stdout).unwrap()),
        [("blue/c1/eth0", GONE, false)],
        "looking needs no daemon"
    );
    let ran = node.run("ipam gc");
    assert_eq!((ran.code, ran.stderr.as_str()), (6, absent));
    let sources = "--conf-dir $DIR/net.d --state-dir $DIR/state";
    let ran = node.scratch.bulkhead(&format!("ipam ls {sources}"));
    assert_eq!((ran.code, ran.stderr.as_str()), (6, absent));
    assert!(ran.stdout.contains(" c1 "), "its own leases: {ran:?}");
}
