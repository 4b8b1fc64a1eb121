//! `bulkhead cni` over real plugins in namespaces of the test's own: the reference plugins as Debian
//! installs them, and ours where they are built.

mod common;

use std::path::PathBuf;

use common::{REFERENCE, Scratch, golden, plugins};
use netns_fixtures::{Container, Host, Ns, Sandbox};

/// A node with one container and a place for files.
struct Node {
    sandbox: Sandbox,
    host: Host,
    container: Container,
    scratch: Scratch,
    dirs: String,
}

impl Node {
    fn new(bin: &str) -> Self {
        let sandbox = Sandbox::new();
        let scratch = Scratch::new();
        Self {
            host: sandbox.host("node").unwrap(),
            container: sandbox.container("c1").unwrap(),
            dirs: format!("--conf-dir $DIR/net.d --cache-dir $DIR/cache --bin-dir {bin}"),
            sandbox,
            scratch,
        }
    }

    /// `bulkhead cni <verb> <network> <container's namespace> <rest>` on the node.
    fn cni(&self, verb: &str, network: &str, rest: &str) -> common::Ran {
        let netns = self.container.path().display();
        let line = format!("cni {verb} {network} {netns} {} {rest}", self.dirs);
        self.scratch.bulkhead_in(&self.host, &line)
    }

    /// The addresses host-local has given out on `network`.
    fn leases(&self, network: &str) -> Vec<String> {
        let mut names = self.scratch.names(&format!("leases/{network}"));
        names.retain(|name| name.starts_with("10."));
        names
    }
}

fn links(ns: &Ns) -> Vec<String> {
    let links = ns.ip_json("link show").unwrap();
    let links = links.as_array().unwrap().iter();
    links
        .map(|link| link["ifname"].as_str().unwrap().to_owned())
        .collect()
}

/// The reference bridge over host-local, then `second`.
fn list(scratch: &Scratch, name: &str, version: &str, second: &str) {
    let data = scratch.text("leases");
    scratch.write(
        &format!("net.d/{name}.conflist"),
        &format!(
            r#"{{"cniVersion":"{version}","name":"{name}","plugins":[
              {{"type":"bridge","bridge":"br-{name}","isGateway":true,
                "ipam":{{"type":"host-local","subnet":"10.77.0.0/24","dataDir":"{data}"}}}},
              {second}]}}"#
        ),
    );
}

const TUNING: &str = r#"{"type":"tuning","capabilities":{"mac":true}}"#;

fn reference(test: &str) -> Option<Node> {
    let needed = ["bridge", "host-local", "tuning", "loopback"];
    plugins(test, Some(PathBuf::from(REFERENCE)), &needed)?;
    Some(Node::new(REFERENCE))
}

macro_rules! reference_node {
    ($test:literal) => {
        match reference($test) {
            Some(node) => node,
            None => return,
        }
    };
}

#[test]
fn a_chain_is_added_checked_and_deleted_as_libcni_does() {
    let node = reference_node!("a_chain_is_added_checked_and_deleted_as_libcni_does");
    list(&node.scratch, "blue", "1.0.0", TUNING);
    let attachment = r#"--container-id c1 --ifname net0 --cap mac="02:00:00:00:00:77""#;
    let result = node.cni("add", "blue", attachment).ok();
    let result: serde_json::Value = serde_json::from_str(&result).unwrap();
    assert_eq!(result["cniVersion"], "1.0.0");
    assert_eq!(result["ips"][0]["address"], "10.77.0.2/24");
    // The second plugin got the first one's result and the capability, and changed the MAC in both.
    assert_eq!(result["interfaces"][2]["mac"], "02:00:00:00:00:77");
    assert_eq!(node.container.mac("net0").unwrap(), [2, 0, 0, 0, 0, 0x77]);
    assert_eq!(node.scratch.names("cache/results"), ["blue-c1-net0"]);

    let same = "--container-id c1 --ifname net0";
    assert_eq!(node.cni("check", "blue", same).ok(), "");
    node.container
        .ip("link set net0 address 02:00:00:00:00:78")
        .unwrap();
    assert_eq!(node.cni("check", "blue", same).refused().0, 1);

    assert_eq!(node.cni("del", "blue", same).ok(), "");
    assert_eq!(links(&node.container), ["lo"]);
    assert_eq!(node.scratch.names("cache/results"), [""; 0]);
    assert_eq!(node.leases("blue"), [""; 0]);
    assert_eq!(node.cni("del", "blue", same).ok(), "", "a second time");
}

#[test]
fn a_namespace_has_a_name_and_a_container_id_without_being_given_either() {
    let node = reference_node!("a_namespace_has_a_name_and_a_container_id");
    node.scratch.write(
        "net.d/lo.conf",
        r#"{"cniVersion":"0.4.0","name":"lo","type":"loopback"}"#,
    );
    let name = node.container.name();
    let line = |verb: &str| format!("cni {verb} lo {name} --ifname lo {}", node.dirs);
    let run = |verb: &str| node.scratch.bulkhead_in(&node.host, &line(verb));
    let result: serde_json::Value = serde_json::from_str(&run("add").ok()).unwrap();
    assert_eq!(result["ips"][0]["address"], "127.0.0.1/8");
    let cached = node.scratch.names("cache/results");
    assert_eq!(cached.len(), 1);
    assert!(
        cached[0].starts_with("lo-cnitool-") && cached[0].ends_with("-lo"),
        "{cached:?}"
    );
    // The same namespace by its path is the same container.
    assert_eq!(node.cni("del", "lo", "--ifname lo").ok(), "");
    assert_eq!(node.scratch.names("cache/results"), [""; 0]);
}

#[test]
fn del_needs_no_namespace_and_add_and_check_do() {
    let node = reference_node!("del_needs_no_namespace_and_add_and_check_do");
    list(&node.scratch, "blue", "0.4.0", TUNING);
    node.cni("add", "blue", "--container-id c1").ok();
    node.sandbox.remove(&node.container).unwrap();
    for verb in ["add", "check"] {
        let (code, stderr) = node.cni(verb, "blue", "--container-id c1").refused();
        assert_eq!(code, 3);
        assert!(
            stderr.starts_with("bulkhead: there is no network namespace /run/netns/"),
            "{stderr}"
        );
        assert!(
            stderr.contains("\n  code 4: invalid environment\n"),
            "{stderr}"
        );
    }
    assert_eq!(node.leases("blue"), ["10.77.0.2"]);
    assert_eq!(node.cni("del", "blue", "--container-id c1").ok(), "");
    assert_eq!(node.leases("blue"), [""; 0]);
}

#[test]
fn a_failed_add_is_told_and_left_or_undone() {
    let node = reference_node!("a_failed_add_is_told_and_left_or_undone");
    list(
        &node.scratch,
        "blue",
        "1.0.0",
        r#"{"type":"no-such-plugin"}"#,
    );
    let ran = node.cni("add", "blue", r#"--cap ips=["10.77.0.9"]"#);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    golden("cni-add-failed.txt", &ran.stderr);
    assert_eq!(links(&node.container), ["lo", "eth0"]);
    assert_eq!(node.scratch.names("cache/results"), [""; 0]);

    // A plugin's own code and text come through. DEL stops at the missing plugin too, and says so.
    let ran = node.cni("add", "blue", "-o json --undo-on-failure");
    assert_eq!(ran.code, 1, "{ran:?}");
    let error: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (&error["cniVersion"], &error["code"]),
        (&"1.0.0".into(), &999.into())
    );
    let msg = error["msg"].as_str().unwrap();
    assert!(
        msg.starts_with(r#"network blue, ADD: plugin "bridge": "#),
        "{msg}"
    );
    assert_eq!(
        ran.stderr,
        "bulkhead: undoing it failed too: network blue, DEL: plugin \"no-such-plugin\" not found in \
         /usr/lib/cni, install it or correct the type\n"
    );
}

#[test]
fn undo_on_failure_leaves_nothing() {
    let node = reference_node!("undo_on_failure_leaves_nothing");
    list(
        &node.scratch,
        "blue",
        "1.0.0",
        r#"{"type":"tuning","sysctl":{"net.no.such":"1"}}"#,
    );
    let (code, stderr) = node.cni("add", "blue", "--undo-on-failure").refused();
    assert_eq!(code, 1);
    assert!(
        stderr.starts_with(r#"bulkhead: network blue, ADD: plugin "tuning": "#),
        "{stderr}"
    );
    assert!(!stderr.contains("left as they are"), "{stderr}");
    assert_eq!(links(&node.container), ["lo"]);
    assert_eq!(node.leases("blue"), [""; 0]);
}

#[test]
fn gc_deletes_what_is_not_kept() {
    let node = reference_node!("gc_deletes_what_is_not_kept");
    list(&node.scratch, "blue", "1.0.0", TUNING);
    for interface in ["net0", "net1"] {
        node.cni(
            "add",
            "blue",
            &format!("--container-id c1 --ifname {interface}"),
        )
        .ok();
    }
    let without_gc =
        "bulkhead: network blue: version 1.0.0 has no GC, its plugins were not asked\n";
    let gc = |rest: &str| {
        let ran = node.cni("gc", "blue", rest);
        assert_eq!(
            (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
            (0, "", without_gc)
        );
        node.scratch.names("cache/results")
    };
    assert_eq!(gc(""), ["blue-c1-net0", "blue-c1-net1"]);
    assert_eq!(gc("--keep c1:net1 --keep c9:eth0"), ["blue-c1-net1"]);
    assert_eq!(links(&node.container), ["lo", "net1"]);
    assert_eq!(gc("--none-valid"), [""; 0]);
    assert_eq!(node.leases("blue"), [""; 0]);
}

#[test]
fn a_verb_that_the_version_lacks_and_an_attachment_never_made_are_named() {
    let node =
        reference_node!("a_verb_that_the_version_lacks_and_an_attachment_never_made_are_named");
    list(&node.scratch, "blue", "1.0.0", TUNING);
    golden(
        "cni-status-version.txt",
        &node.cni("status", "blue", "").refused().1,
    );
    let (code, stderr) = node.cni("check", "blue", "--container-id c7").refused();
    assert_eq!(code, 3);
    golden("cni-check-never-added.txt", &stderr);
    let ran = node.cni("check", "blue", "--container-id c7 -o json");
    golden("cni-check-never-added.json", &ran.stdout);
    node.scratch.write("cache/results/blue-c7-eth0", "{");
    assert_eq!(
        node.cni("check", "blue", "--container-id c7").refused().0,
        4
    );
}

#[test]
fn a_network_that_is_not_there_is_3_and_a_broken_file_4() {
    let scratch = Scratch::new();
    let status = || scratch.bulkhead("cni status blue --conf-dir $DIR/net.d");
    let (code, stderr) = status().refused();
    assert_eq!(code, 3);
    golden("cni-no-network.txt", &stderr);
    scratch.write("net.d/1.conflist", "{");
    let (code, stderr) = status().refused();
    assert_eq!(code, 4);
    golden("cni-broken-file.txt", &stderr);
}

#[test]
fn a_malformed_argument_is_2_and_says_how_to_write_it() {
    let scratch = Scratch::new();
    for (argument, remedy) in [
        (
            "--cap mac=02:00:00:00:00:01",
            r#"a string needs quotes: mac='"..."'"#,
        ),
        ("--cap mac", "write KEY=VALUE"),
        ("--args-cni =1", "write KEY=VALUE"),
        ("--arg A=1;B=2", "repeat --arg for a second one"),
        ("--ifname a/b", "is not an interface name"),
        ("--container-id a/b", "is not a container id"),
    ] {
        let (code, stderr) = scratch
            .bulkhead(&format!("cni add blue ns {argument}"))
            .refused();
        assert_eq!(code, 2, "{argument}");
        assert!(stderr.contains(remedy), "{argument}: {stderr}");
    }
    let both = scratch
        .bulkhead("cni gc blue --none-valid --keep c1:eth0")
        .refused();
    assert_eq!(both.0, 2);
    let (code, stderr) = scratch.bulkhead("cni gc blue --keep c1").refused();
    assert!(
        code == 2 && stderr.contains("write CONTAINER:IFNAME"),
        "{stderr}"
    );
}

/// The same commands over our own plugins, and the store that they leave.
#[test]
fn our_plugins_are_run_and_their_leases_listed() {
    let test = "our_plugins_are_run_and_their_leases_listed";
    let dir = std::env::var_os("BULKHEAD_BIN_DIR").map(PathBuf::from);
    let Some(dir) = plugins(test, dir, &["bulkhead-bridge", "bulkhead-ipam"]) else {
        return;
    };
    let node = Node::new(&dir.display().to_string());
    let state = node.scratch.text("state");
    node.scratch.write(
        "net.d/blue.conflist",
        &format!(
            r#"{{"cniVersion":"1.1.0","name":"blue","plugins":[{{"type":"bulkhead-bridge","bridge":"br-blue",
              "isGateway":true,"stateDir":"{state}","ipam":{{"type":"bulkhead-ipam",
              "ranges":[[{{"subnet":"10.77.0.0/24"}}],[{{"subnet":"fd00:77::/64"}}]]}}}}]}}"#
        ),
    );
    assert_eq!(node.cni("status", "blue", "").ok(), "");
    let same = "--container-id c1 --ifname net0";
    let result: serde_json::Value =
        serde_json::from_str(&node.cni("add", "blue", same).ok()).unwrap();
    assert_eq!(result["ips"][0]["address"], "10.77.0.2/24");
    assert_eq!(result["ips"][1]["address"], "fd00:77::2/64");
    assert_eq!(node.cni("check", "blue", same).ok(), "");

    let look = |line: &str| {
        let line = format!("{line} -o json --conf-dir $DIR/net.d --state-dir $DIR/none");
        let json = node.scratch.bulkhead_in(&node.host, &line).ok();
        serde_json::from_str::<serde_json::Value>(&json).unwrap()
    };
    let lease = &look("ipam ls blue")[0];
    assert_eq!(
        (&lease["container"], &lease["state"]),
        (&"c1".into(), &"live".into())
    );
    assert_eq!(
        lease["addresses"],
        serde_json::json!(["10.77.0.2/24", "fd00:77::2/64"])
    );
    assert_eq!(look("net ls")[0]["attachments"], 1);
    assert_eq!(
        look("ipam show 10.77.0.2")[0]["holder"]["interface"],
        "net0"
    );

    node.sandbox.remove(&node.container).unwrap();
    assert_eq!(look("ipam ls")[0]["state"], "netns-gone");
    node.cni("gc", "blue", "").ok();
    assert_eq!(look("ipam ls"), serde_json::json!([]));
    let past = look("ipam show 10.77.0.2");
    assert_eq!(past[0]["state"], "not-held");
    assert_eq!(past[0]["history"].as_array().unwrap().len(), 2);
    assert_eq!(node.cni("del", "blue", same).ok(), "");
    assert_eq!(links(&node.host), ["lo"]);
}
