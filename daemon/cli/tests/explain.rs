//! `bulkhead explain`: the texts are in tests/golden; `BULKHEAD_BLESS=1` rewrites them.

mod common;

use common::ours::{Node, dual, ports};
use common::{golden, without_tables};
use serde_json::{Value, json};

macro_rules! node {
    ($test:literal $(, $reference:expr)*) => {
        match Node::new($test, &[$($reference),*]) {
            Some(node) => node,
            None => return,
        }
    };
}

/// The text without what is another's on each machine and in each run; as long blanks depend on that,
/// they are two.
fn shown(node: &Node, text: &str) -> String {
    let bridge = node.host.ip_json("addr show dev br-blue").unwrap();
    let mac = bridge[0]["address"].as_str().unwrap();
    let addresses = bridge[0]["addr_info"].as_array().unwrap().iter();
    let mut text = text.replace(node.sandbox.stem(), "").replace(mac, "$MAC");
    for local in addresses.map(|info| info["local"].as_str().unwrap()) {
        if local.starts_with("fe80:") {
            text = text.replace(local, "$LINK-LOCAL");
        }
    }
    let text = without_tables(&text);
    let lines = text.lines().map(|line| {
        let words = line.split("  ").filter(|word| !word.is_empty());
        let words = words.map(|word| {
            let word = word.trim_start();
            let is_time = word.len() == 20 && word.starts_with("20") && word.ends_with('Z');
            if is_time { "$TIME" } else { word }
        });
        words.collect::<Vec<_>>().join("  ") + "\n"
    });
    lines.collect()
}

fn values<'t>(told: &'t Value, object: &str) -> Vec<&'t str> {
    let rows = told["values"].as_array().unwrap().iter();
    let rows = rows.filter(|row| row["object"] == object);
    rows.map(|row| row["value"].as_str().unwrap()).collect()
}

#[test]
fn every_object_is_told_with_its_source_and_both_plans() {
    let node = node!("every_object_is_told_with_its_source_and_both_plans");
    let keys = json!({"ipMasq": true, "macspoofchk": true, "mtu": 1400});
    let mut keys = keys.as_object().unwrap().clone();
    keys.extend(dual(1).as_object().unwrap().clone());
    node.network("blue", Value::Object(keys), &[]);
    let mappings = json!([
        {"hostPort": 8080, "containerPort": 80},
        {"hostPort": 53, "containerPort": 5353, "protocol": "udp", "hostIP": "127.0.0.1"},
    ]);
    let limits = r#"--cap bandwidth={"ingressRate":1000000,"ingressBurst":80000,"egressRate":2000000,"egressBurst":2147483647}"#;
    let asked = format!("{} {limits}", ports(&mappings));
    node.attach("blue", "c1", &asked);
    golden("explain.txt", &shown(&node, &node.run("explain c1").ok()));

    // Of two, DEL leaves what they share; and what is not as it should be is told too.
    node.attach("blue", "c2", "");
    node.host.sysctl("net/ipv4/ip_forward").unwrap();
    node.host.set_sysctl("net/ipv4/ip_forward", "0").unwrap();
    let told = &node.json("explain c2")[0];
    assert_eq!(told["drift"], json!(["sysctl -w net/ipv4/ip_forward=1"]));
    let del = told["del"].to_string();
    assert!(
        !del.contains("link del dev br-blue") && !del.contains("delete table"),
        "{del}"
    );
    assert_eq!(values(told, "host port"), [""; 0]);
    assert_eq!(values(told, "port qdisc"), [""; 0]);
}

/// What is printed as the plan of DEL is what DEL leaves undone: nothing.
#[test]
fn the_plan_of_del_takes_everything_down() {
    let node = node!("the_plan_of_del_takes_everything_down");
    node.network("blue", dual(1), &[]);
    let before = netns_fixtures::Snapshot::take(&node.host).unwrap();
    let limits = r#"--cap bandwidth={"egressRate":2000000,"egressBurst":2147483647}"#;
    let mappings = ports(&json!([{"hostPort": 8080, "containerPort": 80}]));
    node.attach("blue", "c1", &format!("{mappings} {limits}"));
    let told = &node.json("explain c1")[0];
    let lines = told["del"].as_array().unwrap().iter();
    let script: String = lines
        .map(|line| line.as_str().unwrap().to_owned() + "\n")
        .collect();
    let mut shell = std::process::Command::new("sh");
    node.host.run(shell.arg("-e"), script.as_bytes()).unwrap();
    let limit = std::time::Duration::from_secs(5);
    assert_eq!(
        before.left_in(&node.host, limit).unwrap(),
        [""; 0],
        "{script}"
    );
    // And what is printed as the plan of ADD puts it there again.
    let lines = told["add"].as_array().unwrap().iter();
    let script: String = lines
        .map(|line| line.as_str().unwrap().to_owned() + "\n")
        .collect();
    let mut shell = std::process::Command::new("sh");
    node.host.run(shell.arg("-e"), script.as_bytes()).unwrap();
    // For a port's limit of groups iproute2 has a word since 6.3.
    node.run("check --repair");
    assert_eq!(node.run("check").ok(), "# blue/c1/eth0: as it should be\n");
}

#[test]
fn what_later_plugins_changed_is_told_as_theirs() {
    let node = node!("what_later_plugins_changed_is_told_as_theirs", "tuning");
    let tuning = json!({"type": "tuning", "mac": "02:00:00:00:00:77", "mtu": 1400});
    node.network("blue", dual(1), &[tuning]);
    node.attach("blue", "c1", "");
    let told = &node.json("explain c1")[0];
    assert_eq!(told["later"], json!(["tuning"]));
    let rows = told["values"].as_array().unwrap();
    for (object, value) in [
        ("interface MAC", "02:00:00:00:00:77"),
        ("interface MTU", "1400"),
    ] {
        let row = rows.iter().find(|row| row["object"] == object).unwrap();
        assert_eq!(row["value"], value);
        assert_eq!(row["source"], "changed by a plugin chained later");
    }
    assert_eq!(values(told, "port MTU"), ["1500"]);
}

#[test]
fn of_another_main_plugin_s_attachment_the_addresses_are_told() {
    let node = node!(
        "of_another_main_plugin_s_attachment_the_addresses_are_told",
        "ptp"
    );
    node.list(
        "plain",
        &json!([{"type": "ptp", "ipam": {"type": "bulkhead-ipam", "dataDir": node.scratch.path("state"),
            "subnet": "10.9.0.0/24"}}]),
    );
    node.attach("plain", "p1", "");
    let told = &node.json("explain p1")[0];
    assert_eq!(values(told, "address"), ["10.9.0.2/24"]);
    assert_eq!(told["add"], json!([]));
    let text = node.run("explain 10.9.0.2").ok();
    let last = "\n# another main plugin made the interface: only the addresses are ours\n";
    assert!(text.ends_with(last), "{text}");
}

#[test]
fn of_a_dead_one_nothing_can_be_told() {
    let node = node!("of_a_dead_one_nothing_can_be_told");
    node.network("blue", dual(1), &[]);
    let c1 = node.attach("blue", "c1", "");
    node.sandbox.remove(&c1).unwrap();
    let ran = node.run("explain c1");
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.stderr,
        "bulkhead: attachment blue/c1/eth0 is dead, its network namespace is gone; `bulkhead ipam gc` \
         removes what it left\n"
    );
}
