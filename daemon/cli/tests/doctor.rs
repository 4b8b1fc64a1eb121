//! `bulkhead doctor` on nodes of the test's own: each matter is brought about as it comes about, is named,
//! and what the finding says helps is done and helps.

mod common;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::node::{DIRS, Node};
use common::{BULKHEAD, Scratch, golden, skip};
use netns_fixtures::{Host, Sandbox, Snapshot};
use serde_json::{Value, json};

macro_rules! node {
    ($test:literal) => {
        match Node::new($test) {
            Some(node) => node,
            None => return,
        }
    };
}

/// A node with network blue, and a container on it.
macro_rules! blue {
    ($test:literal) => {{
        let node = node!($test);
        node.network("blue", 77, "");
        node.attach("blue", "c1", false);
        node
    }};
}

/// The one finding with that name.
fn finding(node: &Node, id: &str) -> Value {
    let (_, findings) = node.doctor();
    let mut of = findings.iter().filter(|finding| finding["id"] == id);
    let found = of.next().unwrap_or_else(|| panic!("no {id}: {findings:?}"));
    found.clone()
}

/// Does the first thing that the finding says helps.
fn mend(node: &Node, finding: &Value) {
    let help = finding["help"][0].as_str().unwrap();
    let command = help.split(", unless").next().unwrap();
    let command = command.strip_prefix("until then: ").unwrap_or(command);
    let command = command
        .split_once("is left: ")
        .map_or(command, |(_, it)| it);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", command])
        .env("DIR", node.scratch.path("."));
    node.host.run(&mut shell, b"").unwrap();
}

/// The finding is there with this severity, and mending it leaves none.
fn is_found_and_mended(node: &Node, id: &str, severity: &str) {
    let found = finding(node, id);
    assert_eq!(found["severity"], severity, "{found}");
    let (code, _) = node.doctor();
    assert_eq!(code, if severity == "problem" { 5 } else { 0 });
    mend(node, &found);
    assert_eq!(node.ids(), [""; 0], "after {}", found["help"][0]);
}

/// Every file below a directory, with its inode, length and time of change.
fn files(dir: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let mut all = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let found = fs::symlink_metadata(&path).unwrap();
            all.push(format!(
                "{} {} {} {}.{}",
                path.display(),
                found.ino(),
                found.len(),
                found.ctime(),
                found.ctime_nsec()
            ));
            if found.is_dir() {
                dirs.push(path);
            }
        }
    }
    all.sort();
    all
}

#[test]
fn a_healthy_node_has_no_finding_and_is_left_as_it_was() {
    let node = blue!("a_healthy_node_has_no_finding_and_is_left_as_it_was");
    node.attach("blue", "c2", true);
    let files_before = files(&node.scratch.path("."));
    let before = Snapshot::settled(&node.host, Duration::from_secs(20)).unwrap();
    assert_eq!(node.doctor(), (0, Vec::new()));
    let text = node.bulkhead(&format!("doctor --all {DIRS}")).stdout;
    assert!(text.contains("ok  forward-drop"), "{text}");
    assert_eq!(before.diff(&Snapshot::take(&node.host).unwrap()), [""; 0]);
    assert_eq!(files(&node.scratch.path(".")), files_before);
}

/// How often the table of a family was full, over all processors.
fn refused(table: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/net/stat/{table}")).unwrap();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let column = rows[0]
        .iter()
        .position(|name| *name == "table_fulls")
        .unwrap();
    let counts = rows[1..]
        .iter()
        .map(|row| u64::from_str_radix(row[column], 16).unwrap());
    counts.sum()
}

/// One table of a family serves all namespaces, and the machine's own alone is told of it.
#[test]
fn the_machine_s_neighbour_tables_are_compared_with_their_limits() {
    const TEST: &str = "the_machine_s_neighbour_tables_are_compared_with_their_limits";
    let node = blue!("the_machine_s_neighbour_tables_are_compared_with_their_limits");
    let words = format!("doctor --all -o json {DIRS}")
        .replace("$DIR", &node.scratch.path(".").to_string_lossy());
    let of_tables = |json: &str| -> Vec<Value> {
        let findings: Vec<Value> = serde_json::from_str(json).unwrap();
        let of = findings
            .into_iter()
            .filter(|it| it["id"].as_str().unwrap().starts_with("neighbour-"));
        of.collect()
    };
    let inside = node.bulkhead(&format!("doctor --all -o json {DIRS}"));
    assert_eq!(of_tables(&inside.stdout), [Value::Null; 0]);
    if fs::metadata("/proc/net/stat/arp_cache").is_err() {
        return skip(TEST, "the machine's own network namespace");
    }
    let tables = [("ipv4", "arp_cache"), ("ipv6", "ndisc_cache")];
    let before = tables.map(|(_, table)| refused(table));
    let output = Command::new(BULKHEAD)
        .args(words.split(' '))
        .output()
        .unwrap();
    let found = of_tables(&String::from_utf8(output.stdout).unwrap());
    for ((version, table), before) in tables.into_iter().zip(before) {
        let path = format!("net/{version}/neigh/default/gc_thresh3");
        let limit = fs::read_to_string(format!("/proc/sys/{path}")).unwrap();
        let limit = format!("{path} is {}", limit.trim());
        let told = |id: &str| {
            let is_it =
                |it: &&Value| it["id"] == id && it["seen"].as_str().unwrap().contains(&limit);
            found
                .iter()
                .find(is_it)
                .unwrap_or_else(|| panic!("no {id} of {limit}: {found:?}"))
        };
        let attachments = told("neighbour-limit");
        assert!(
            attachments["seen"]
                .as_str()
                .unwrap()
                .starts_with("1 attachments "),
            "{attachments}"
        );
        assert_eq!(attachments["severity"], "ok");
        let fill = told("neighbour-table");
        let said = fill["seen"].as_str().unwrap();
        let count = said
            .split("has refused ")
            .nth(1)
            .unwrap()
            .split(' ')
            .next()
            .unwrap();
        let count: u64 = count.parse().unwrap();
        assert!((before..=refused(table)).contains(&count), "{said}");
        assert!(count == 0 || fill["severity"] != "ok", "{fill}");
    }
}

#[test]
fn forwarding_that_is_off_is_named() {
    let node = blue!("forwarding_that_is_off_is_named");
    for (path, id) in [
        ("net/ipv4/ip_forward", "forwarding-off"),
        ("net/ipv6/conf/all/forwarding", "forwarding-off"),
        ("net/ipv4/conf/br-blue/forwarding", "link-forwarding-off"),
        ("net/ipv6/conf/uplink0/forwarding", "link-forwarding-off"),
    ] {
        node.host.set_sysctl(path, "0").unwrap();
        assert_eq!(node.seen(id), [format!("{path} is 0")]);
        is_found_and_mended(&node, id, "problem");
    }
}

#[test]
fn an_uplink_that_will_lose_its_advertised_route_is_named() {
    let node = blue!("an_uplink_that_will_lose_its_advertised_route_is_named");
    node.host
        .ip("-6 route replace default via 2001:db8:1::1 dev uplink0 proto ra")
        .unwrap();
    node.host
        .set_sysctl("net/ipv6/conf/uplink0/accept_ra", "1")
        .unwrap();
    is_found_and_mended(&node, "accept-ra", "problem");
}

#[test]
fn settings_that_contradict_a_network_are_named() {
    let node = blue!("settings_that_contradict_a_network_are_named");
    for (path, value, id, severity) in [
        (
            "net/ipv4/conf/all/route_localnet",
            "1",
            "route-localnet-all",
            "warn",
        ),
        (
            "net/ipv4/conf/uplink0/route_localnet",
            "1",
            "route-localnet-all",
            "warn",
        ),
        (
            "net/ipv6/conf/default/disable_ipv6",
            "1",
            "ipv6-disabled",
            "problem",
        ),
    ] {
        node.host.set_sysctl(path, value).unwrap();
        is_found_and_mended(&node, id, severity);
    }
    node.host
        .set_sysctl("net/ipv6/conf/br-blue/disable_ipv6", "1")
        .unwrap();
    let found = finding(&node, "ipv6-disabled");
    assert_eq!(found["seen"], "net/ipv6/conf/br-blue/disable_ipv6 is 1");
}

#[test]
fn a_strict_reverse_path_filter_matters_with_two_uplinks() {
    let node = blue!("a_strict_reverse_path_filter_matters_with_two_uplinks");
    node.host
        .set_sysctl("net/ipv4/conf/uplink0/rp_filter", "1")
        .unwrap();
    node.host
        .set_sysctl("net/ipv4/conf/all/rp_filter", "0")
        .unwrap();
    assert_eq!(node.ids(), [""; 0], "one uplink");
    node.host.bridge("other0", &["192.0.2.1/24"]).unwrap();
    node.host
        .set_sysctl("net/ipv4/conf/other0/rp_filter", "0")
        .unwrap();
    node.host
        .ip("route add default via 192.0.2.2 dev other0 metric 500")
        .unwrap();
    is_found_and_mended(&node, "rp-filter-strict", "warn");
}

/// A container on a network with links of their own.
fn linked(node: &Node) {
    let state = node.scratch.text("state");
    let text = format!(
        r#"{{"cniVersion":"1.0.0","name":"red","plugins":[{{"type":"bulkhead-ipv6","stateDir":"{state}",
        "ipam":{{"type":"bulkhead-ipam","ranges":[[{{"subnet":"10.78.0.0/24"}}]]}}}}]}}"#
    );
    node.scratch.write("net.d/red.conflist", &text);
    node.attach("red", "r1", false);
}

#[test]
fn what_loosens_the_filter_of_links_to_containers_is_named() {
    let node = node!("what_loosens_the_filter_of_links_to_containers_is_named");
    node.host
        .set_sysctl("net/ipv4/conf/all/rp_filter", "0")
        .unwrap();
    linked(&node);
    assert_eq!(node.ids(), [""; 0]);
    node.host
        .set_sysctl("net/ipv4/conf/all/rp_filter", "2")
        .unwrap();
    let found = finding(&node, "rp-filter-loose");
    assert_eq!(found["networks"], json!(["red"]));
    is_found_and_mended(&node, "rp-filter-loose", "warn");
    let links = node.host.ip_json("link show type veth").unwrap();
    let mut names = links.as_array().unwrap().iter();
    let is_ours = |link: &&Value| link["ifname"].as_str().unwrap().starts_with("bhp");
    let port = names.find(is_ours).unwrap()["ifname"].as_str().unwrap();
    let path = format!("net/ipv4/conf/{port}/rp_filter");
    node.host.set_sysctl(&path, "0").unwrap();
    let found = finding(&node, "rp-filter-port");
    assert!(found["seen"].as_str().unwrap().contains(port), "{found}");
    assert_eq!(found["help"][0], "bulkhead check --repair");
    node.bulkhead(&format!("check --repair {DIRS}")).ok();
    assert_eq!(node.ids(), [""; 0]);
}

#[test]
fn an_mtu_above_the_uplinks_is_named_with_the_value_to_set() {
    let node = blue!("an_mtu_above_the_uplinks_is_named_with_the_value_to_set");
    node.host.ip("link set uplink0 mtu 1400").unwrap();
    let found = finding(&node, "mtu-above-uplink");
    assert_eq!(found["severity"], "problem");
    let help = found["help"].as_array().unwrap();
    let in_file = help[0].as_str().unwrap();
    assert!(
        in_file.starts_with("\"mtu\": 1400 beside \"bridge\" in "),
        "{help:?}"
    );
    let now = help[1]
        .as_str()
        .unwrap()
        .strip_prefix("until then: ")
        .unwrap();
    node.host.sh(now).unwrap();
    assert_eq!(node.ids(), [""; 0]);
    node.network("blue", 77, r#","mtu":9000"#);
    let seen = node.seen("mtu-above-uplink");
    assert_eq!(
        seen,
        ["its configuration asks for an MTU of 9000 bytes, and uplink uplink0 one of 1400"]
    );
    node.host.ip("link set br-blue mtu 1000").unwrap();
    assert!(node.ids().contains(&"mtu-below-ipv6".to_owned()));
}

#[test]
fn what_other_plugins_left_is_named_and_can_be_removed() {
    let node = blue!("what_other_plugins_left_is_named_and_can_be_removed");
    node.host.bridge("cni0", &[]).unwrap();
    is_found_and_mended(&node, "reference-bridge", "warn");
    node.host.nft("add table inet cni_hostport").unwrap();
    is_found_and_mended(&node, "reference-table", "warn");
    for line in [
        "-t nat -N CNI-HOSTPORT-DNAT",
        "-t nat -A PREROUTING -j CNI-HOSTPORT-DNAT",
    ] {
        node.host.sh(&format!("iptables-nft {line}")).unwrap();
    }
    is_found_and_mended(&node, "reference-chains", "warn");
    node.scratch
        .write("cache/networks/blue/10.77.0.9", "c0\r\neth0");
    node.scratch
        .write("cache/networks/blue/last_reserved_ip.0", "10.77.0.9");
    let seen = node.seen("host-local-leases");
    assert!(
        seen[0].contains("1 leases of host-local, and network blue is ours now"),
        "{seen:?}"
    );
    is_found_and_mended(&node, "host-local-leases", "warn");
    node.host
        .ip("link add stray0 type veth peer name stray1")
        .unwrap();
    node.host.ip("link set stray0 master br-blue").unwrap();
    is_found_and_mended(&node, "stray-veth", "warn");
}

#[test]
fn what_other_plugins_use_is_no_leftover() {
    let node = blue!("what_other_plugins_use_is_no_leftover");
    node.scratch.write(
        "net.d/z.conflist",
        r#"{"cniVersion":"1.0.0","name":"z","plugins":[
          {"type":"bridge","ipam":{"type":"host-local","subnet":"10.9.0.0/24"}},{"type":"portmap"}]}"#,
    );
    node.host.bridge("cni0", &[]).unwrap();
    node.host.nft("add table inet cni_hostport").unwrap();
    node.host
        .sh("iptables-nft -t nat -N CNI-HOSTPORT-DNAT")
        .unwrap();
    node.scratch
        .write("cache/networks/z/10.9.0.2", "c0\r\neth0");
    assert_eq!(node.ids(), [""; 0]);
}

#[test]
fn a_foreign_table_that_does_not_see_forwarded_packets_is_none_of_ours() {
    let node = blue!("a_foreign_table_that_does_not_see_forwarded_packets");
    node.host
        .nft(
            "table inet fence { chain in { type filter hook input priority 0; policy drop; }\n
             chain way { type filter hook forward priority 0; policy drop; iifname \"br-blue\" accept; oifname \"br-blue\" accept; }\n}\n",
        )
        .unwrap();
    assert_eq!(node.ids(), [""; 0]);
}

#[test]
fn tables_that_nothing_shows_are_a_warning() {
    let test = "tables_that_nothing_shows_are_a_warning";
    let mut node = blue!("tables_that_nothing_shows_are_a_warning");
    let mut loading = Command::new("iptables-legacy");
    loading
        .args(["-P", "FORWARD", "ACCEPT"])
        .envs(node.environment.iter().cloned());
    if node.host.run(&mut loading, b"").is_err() {
        skip(test, "kernel lacks ip_tables");
        return;
    }
    assert_eq!(node.ids(), [""; 0]);
    let hide = "mount --bind /dev/null /usr/sbin/xtables-legacy-multi && exec \"$@\"";
    let wrapper = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        hide,
        "sh",
    ];
    node.wrapper = wrapper.map(str::to_owned).into();
    assert_eq!(finding(&node, "legacy-rules-unread")["severity"], "warn");
}

#[test]
fn configurations_that_runtimes_will_not_use_are_named() {
    let node = blue!("configurations_that_runtimes_will_not_use_are_named");
    let other = r#"{"cniVersion":"1.0.0","name":"aaa","plugins":[{"type":"ptp"}]}"#;
    node.scratch.write("net.d/aaa.conflist", other);
    let found = finding(&node, "conf-not-first");
    assert_eq!(found["networks"], serde_json::json!(["blue"]));
    assert_eq!(node.doctor().0, 0, "a warning");
    fs::remove_file(node.scratch.path("net.d/aaa.conflist")).unwrap();

    let ours = fs::read_to_string(node.scratch.path("net.d/blue.conflist")).unwrap();
    node.scratch.write("net.d/blue.conflist.bak", &ours);
    node.scratch.write("net.d/.bulkhead-install-1-2", &ours);
    node.scratch.write("net.d/kubeconfig", "bulkhead-");
    assert_eq!(node.ids(), ["conf-ignored", "conf-leftover"]);
    mend(&node, &finding(&node, "conf-leftover"));
    fs::remove_file(node.scratch.path("net.d/blue.conflist.bak")).unwrap();

    node.scratch.write("net.d/c.conflist", &ours);
    assert_eq!(node.ids(), ["conf-shadowed"]);
    node.scratch.write("net.d/c.conflist", "{");
    assert_eq!(finding(&node, "conf-broken")["severity"], "problem");
    fs::remove_file(node.scratch.path("net.d/c.conflist")).unwrap();

    node.network("blue", 77, r#","mtu":12"#);
    let found = finding(&node, "conf-refused");
    let seen = found["seen"].as_str().unwrap();
    assert!(
        seen.contains("mtu: 12 is not an MTU of 68 to 65535 bytes"),
        "{seen}"
    );
}

#[test]
fn plugins_that_are_not_as_they_should_be_are_named() {
    let node = blue!("plugins_that_are_not_as_they_should_be_are_named");
    let chain = |plugin: &str, versions: &str| {
        let path = node.scratch.path("net.d/blue.conflist");
        let text = fs::read_to_string(&path).unwrap();
        let (head, _) = text.rsplit_once("]}").unwrap();
        let text = format!("{head},{{\"type\":\"{plugin}\"}}]}}");
        let text = text.replace("\"cniVersion\":\"1.0.0\"", versions);
        fs::write(path, text).unwrap();
    };
    let write = |name: &str, text: &str, mode: u32| {
        node.scratch.write(&format!("bin/{name}"), text);
        let path = node.scratch.path(&format!("bin/{name}"));
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    let doctor = || {
        let line = format!("doctor -o json {DIRS} --bin-dir $DIR/bin --cache-dir $DIR/cache");
        let findings: Vec<Value> = serde_json::from_str(&node.bulkhead(&line).stdout).unwrap();
        let of = findings.iter().filter(|it| it["id"] != "plugin-missing");
        let ids: Vec<_> = of.map(|it| it["id"].as_str().unwrap().to_owned()).collect();
        let missing = findings.iter().filter(|it| it["id"] == "plugin-missing");
        (ids, missing.count())
    };
    assert_eq!(doctor(), (Vec::new(), 1), "bulkhead-bridge");
    let speaking = |versions: &str| {
        format!(
            "#!/bin/sh\necho '{{\"cniVersion\":\"1.0.0\",\"supportedVersions\":[{versions}]}}'\n"
        )
    };
    write("bulkhead-bridge", &speaking("\"1.0.0\",\"1.1.0\""), 0o755);
    assert_eq!(doctor(), (Vec::new(), 0));
    chain(
        "tuned",
        r#""cniVersion":"1.0.0","cniVersions":["1.0.0","1.1.0"]"#,
    );
    assert_eq!(doctor(), (Vec::new(), 1));
    write("tuned", &speaking("\"1.0.0\""), 0o644);
    assert_eq!(doctor(), (vec!["plugin-not-executable".to_owned()], 0));
    write("tuned", &speaking("\"1.0.0\""), 0o755);
    assert_eq!(doctor(), (vec!["plugin-version".to_owned()], 0));
    write(
        "tuned",
        "#!/bin/sh\necho no such library >&2; exit 127\n",
        0o755,
    );
    assert_eq!(doctor(), (vec!["plugin-silent".to_owned()], 0));
    write("tuned", &speaking("\"1.1.0\",\"1.0.0\""), 0o755);
    assert_eq!(doctor(), (Vec::new(), 0));
}

#[test]
fn an_nft_that_would_hang_is_named() {
    let mut node = node!("an_nft_that_would_hang_is_named");
    node.network("blue", 77, r#","portFilter":"prefix""#);
    let nft = node.scratch.path("bin/nft");
    let speaks = |version: &str| {
        let text = format!("#!/bin/sh\necho 'nftables v{version} (Some Name)'\n");
        node.scratch.write("bin/nft", &text);
        fs::set_permissions(&nft, Permissions::from_mode(0o755)).unwrap();
    };
    speaks("1.1.5");
    let path = format!("{}:/usr/sbin:/usr/bin", node.scratch.text("bin"));
    node.environment.push(("PATH".to_owned(), path));
    let seen = node.seen("nft-too-old");
    assert_eq!(seen, [r#""portFilter" is "prefix", and nft is 1.1.5"#]);
    node.scratch
        .write("bin/nft", "#!/bin/sh\necho 'nftables v1.1.6 (Some Name)'\n");
    assert!(!node.ids().contains(&"nft-too-old".to_owned()));
}

#[test]
fn a_store_that_cannot_serve_is_named() {
    let node = blue!("a_store_that_cannot_serve_is_named");
    let dir = node.scratch.path("state");
    fs::set_permissions(&dir, Permissions::from_mode(0o777)).unwrap();
    is_found_and_mended(&node, "state-permissions", "warn");

    let managed = json!({"socket": node.scratch.text("socket")});
    node.scratch.write("state/managed", &managed.to_string());
    assert_eq!(finding(&node, "state-managed")["severity"], "problem");
    let alone = File::open(dir.join("lock")).unwrap();
    alone.lock().unwrap();
    assert_eq!(
        node.ids(),
        ["daemon-silent"],
        "somebody holds it and does not serve"
    );
    fs::remove_file(dir.join("managed")).unwrap();
    assert_eq!(node.ids(), ["state-locked"]);
    drop(alone);
    assert_eq!(node.ids(), [""; 0]);

    let journal = dir.join("networks/blue/journal");
    let whole = fs::read(&journal).unwrap();
    let mut damaged = whole.clone();
    let middle = whole.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&journal, damaged).unwrap();
    let seen = node.seen("state-damaged");
    assert!(
        seen[0].contains("networks/blue/journal is damaged at byte"),
        "{seen:?}"
    );
    fs::write(&journal, whole).unwrap();

    let journal = dir.join("host/journal");
    let mut damaged = fs::read(&journal).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&journal, damaged).unwrap();
    let seen = node.seen("state-damaged");
    assert!(
        seen[0].contains("host/journal is damaged at byte"),
        "{seen:?}"
    );
}

#[test]
fn a_full_disk_is_named_before_an_add_meets_it() {
    let mut node = blue!("a_full_disk_is_named_before_an_add_meets_it");
    let state = node.scratch.text("state");
    let small = format!(
        "mount -t tmpfs -o size=1m,nr_inodes=90 none {state} && chmod 700 {state} && exec \"$@\""
    );
    let wrapper = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        &small,
        "sh",
    ];
    node.wrapper = wrapper.map(str::to_owned).into();
    let found = finding(&node, "state-disk-full");
    assert_eq!(found["severity"], "problem");
    let seen = found["seen"].as_str().unwrap();
    assert!(seen.starts_with("1 MiB and 89 inodes are free"), "{seen}");
}

#[test]
fn dead_attachments_and_a_full_pool_are_named() {
    let node = node!("dead_attachments_and_a_full_pool_are_named");
    node.network("blue", 77, "");
    let path = node.scratch.path("net.d/blue.conflist");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("10.77.0.0/24", "10.77.0.0/30")).unwrap();
    let container = node.attach("blue", "c1", false);
    let seen = node.seen("pool-full");
    assert!(
        seen[0].ends_with("has no free address: 1 are held"),
        "{seen:?}"
    );
    node.sandbox.remove(&container).unwrap();
    let (_, findings) = node.doctor();
    let of_dead = findings.iter().find(|it| it["id"] == "dead-attachments");
    assert_eq!(of_dead.unwrap()["help"][0], "bulkhead ipam gc blue");
}

#[test]
fn a_network_that_is_configured_no_more_is_still_looked_after() {
    let node = blue!("a_network_that_is_configured_no_more_is_still_looked_after");
    fs::remove_file(node.scratch.path("net.d/blue.conflist")).unwrap();
    node.host.set_sysctl("net/ipv4/ip_forward", "0").unwrap();
    assert_eq!(
        finding(&node, "forwarding-off")["networks"],
        serde_json::json!(["blue"])
    );
}

/// A namespace with nothing in it.
fn empty() -> (Sandbox, Host) {
    let sandbox = Sandbox::new();
    let host = sandbox.host("empty").unwrap();
    (sandbox, host)
}

const EVERYWHERE: &str =
    "--conf-dir $DIR/net.d --state-dir $DIR/state --bin-dir $DIR/bin --cache-dir $DIR/cache";

#[test]
fn findings_are_told_to_a_person_the_worst_first() {
    let (_sandbox, host) = empty();
    let scratch = Scratch::new();
    scratch.write(
        "net.d/10-aaa.conflist",
        r#"{"cniVersion":"1.0.0","name":"aaa","plugins":[{"type":"ptp"}]}"#,
    );
    scratch.write(
        "net.d/20-blue.conflist",
        r#"{"cniVersion":"1.0.0","name":"blue","plugins":[{"type":"bulkhead-bridge"}]}"#,
    );
    let ran = scratch.bulkhead_in(&host, &format!("doctor {EVERYWHERE}"));
    assert_eq!((ran.code, ran.stderr.as_str()), (5, ""));
    golden("doctor.txt", &ran.stdout);
    let ran = scratch.bulkhead_in(&host, &format!("doctor -o json {EVERYWHERE}"));
    golden("doctor.json", &ran.stdout);
    assert_eq!(scratch.names("state"), [""; 0], "looking makes nothing");
}

#[test]
fn what_could_not_be_looked_at_is_4_unless_there_are_problems() {
    let (_sandbox, host) = empty();
    let scratch = Scratch::new();
    scratch.write("net.d", "a file");
    let ran = scratch.bulkhead_in(&host, &format!("doctor {EVERYWHERE}"));
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.stderr.contains("$DIR/net.d"), "{ran:?}");
}
