//! `bulkhead coexist` and what `bulkhead doctor` says of foreign firewalls: real ones, in namespaces of
//! the test's own, and connections of a container through them.

mod common;

use std::fs;

use common::firewalld::firewalld;
use common::node::Reach::{Answered, Silent};
use common::node::{Node, connects};
use common::skip;
use netns_fixtures::{BridgeNetfilter, End, Feature, Ns, veth};

macro_rules! node {
    ($test:literal) => {
        match Node::new($test) {
            Some(node) => node,
            None => return,
        }
    };
}

/// What docker 24 makes of the forward hook, and docker 28.
const DOCKER: [(&str, &str); 2] = [
    (
        "24",
        ":FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
",
    ),
    (
        "28",
        ":FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-BRIDGE - [0:0]
:DOCKER-CT - [0:0]
:DOCKER-FORWARD - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER ! -i docker0 -o docker0 -j DROP
-A DOCKER-BRIDGE -o docker0 -j DOCKER
-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i docker0 -j ACCEPT
",
    ),
];

/// The rules of both families, without counters.
fn saved(node: &Node, engine: &str) -> Vec<String> {
    let save = |tool: &str| node.sh(&format!("{tool}-{engine}-save"));
    let text = save("iptables") + &save("ip6tables");
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(" [").next().unwrap().to_owned())
        .collect()
}

fn restore(node: &Node, engine: &str, rules: &str) {
    let text = format!("*filter\n{rules}COMMIT\n");
    for tool in ["iptables", "ip6tables"] {
        let mut command = std::process::Command::new(format!("{tool}-{engine}-restore"));
        command.arg("-w").envs(node.environment.iter().cloned());
        node.host.run(&mut command, text.as_bytes()).unwrap();
    }
}

/// docker's own bridge and a container on it, whose port nobody published.
fn dockers_container(node: &Node) -> Ns {
    let ns = node.sandbox.ns("docked").unwrap();
    node.host.bridge("docker0", &["172.17.0.1/16"]).unwrap();
    let near = End::new(&node.host, "docked");
    let far = End::new(&ns, "eth0").address("172.17.0.2/16");
    veth(&near, &far).unwrap();
    node.host.ip("link set docked master docker0").unwrap();
    ns.ip("route add default via 172.17.0.1").unwrap();
    ns
}

/// The outside, which knows a route to the network, gets no answer that nobody published.
fn is_closed(node: &Node, container: &Ns, subnet: &str, address: &str) {
    let via = node.pair.node_v4;
    let route = format!("route replace {subnet} via {via}");
    node.outside.ip(&route).unwrap();
    connects(&node.outside, container, address.parse().unwrap(), Silent);
}

fn docker_is_named_let_through_and_put_back(node: &Node, engine: &str, rules: &str) {
    node.network("blue", 77, "");
    let container = node.attach("blue", "c1", true);
    let neighbour = node.attach("blue", "c2", false);
    let docked = dockers_container(node);
    let bridged = Feature::BrNetfilter.is_present().unwrap();
    if bridged {
        node.host.set_bridge_netfilter(BridgeNetfilter::On).unwrap();
    }
    let meet = |expected| {
        let address = "10.77.0.3".parse().unwrap();
        connects(&container, &neighbour, address, expected);
    };
    meet(Answered);
    node.reaches_outside(&container, [Answered; 2]);
    assert_eq!(node.ids(), [""; 0]);

    restore(node, engine, rules);
    let before = saved(node, engine);
    node.reaches_outside(&container, [Silent; 2]);
    node.host_port_answers(&container, Silent);
    let (code, findings) = node.doctor();
    assert_eq!(code, 5);
    let of = |id: &'static str| findings.iter().filter(move |it| it["id"] == id);
    assert_eq!(
        of("forward-drop").count(),
        2,
        "one for each family: {findings:?}"
    );
    assert_eq!(of("bridged-drop").count(), if bridged { 2 } else { 0 });
    meet(if bridged { Silent } else { Answered });
    let finding = of("forward-drop").next().unwrap();
    assert_eq!(finding["networks"], serde_json::json!(["blue"]));
    let seen = finding["seen"].as_str().unwrap();
    assert!(
        seen.contains("chain FORWARD of") && seen.contains("(docker)"),
        "{seen}"
    );
    assert_eq!(
        finding["help"][0],
        "bulkhead coexist add blue --with docker"
    );
    assert_eq!(saved(node, engine), before, "looking changes nothing");

    let added = node.coexist("add blue").ok();
    assert_eq!(added.matches("added").count(), 10, "{added}");
    node.reaches_outside(&container, [Answered; 2]);
    node.host_port_answers(&container, Answered);
    meet(Answered);
    is_closed(node, &container, "10.77.0.0/24", "10.77.0.2");
    // docker's networks stay docker's.
    connects(&container, &docked, "172.17.0.2".parse().unwrap(), Silent);
    assert_eq!(node.ids(), [""; 0]);

    let with_ours = saved(node, engine);
    let again = node.coexist("add blue").ok();
    assert_eq!(again.matches("unchanged").count(), 10, "{again}");
    assert_eq!(saved(node, engine), with_ours);

    let tool = format!("iptables-{engine}");
    node.sh(&format!("{tool} -w -D DOCKER-USER 2"));
    assert_eq!(node.ids(), ["coexist-rule-missing"]);
    assert_eq!(node.coexist("ls").ok().matches("missing").count(), 1);
    node.coexist("add blue").ok();
    assert_eq!(saved(node, engine), with_ours, "in the same order");

    let removed = node.coexist("rm blue").ok();
    assert_eq!(removed.matches("removed").count(), 10, "{removed}");
    assert_eq!(saved(node, engine), before);
    node.reaches_outside(&container, [Silent; 2]);
    let again = node.coexist("rm blue");
    assert_eq!((again.code, again.stdout.as_str()), (0, ""));
    assert_eq!(node.scratch.names("state/coexist"), [""; 0]);
}

#[test]
fn dockers_drop_is_named_let_through_and_put_back() {
    for (release, rules) in DOCKER {
        let node = node!("dockers_drop_is_named_let_through_and_put_back");
        eprintln!("docker {release}");
        docker_is_named_let_through_and_put_back(&node, "nft", rules);
    }
}

#[test]
fn dockers_drop_in_the_old_iptables_is_named_let_through_and_put_back() {
    let test = "dockers_drop_in_the_old_iptables_is_named_let_through_and_put_back";
    let node = node!("dockers_drop_in_the_old_iptables_is_named_let_through_and_put_back");
    if !has_legacy_tables(&node) {
        skip(test, "kernel lacks ip_tables");
        return;
    }
    docker_is_named_let_through_and_put_back(&node, "legacy", DOCKER[0].1);
}

/// Asked in a namespace of its own, because asking makes the tables.
fn has_legacy_tables(node: &Node) -> bool {
    let probe = node.sandbox.ns("probe").unwrap();
    ["iptables-legacy", "ip6tables-legacy"].iter().all(|tool| {
        let mut command = std::process::Command::new(tool);
        command
            .args(["-S", "FORWARD"])
            .envs(node.environment.iter().cloned());
        probe.run(&mut command, b"").is_ok()
    })
}

#[test]
fn an_operators_own_rules_come_first() {
    let node = node!("an_operators_own_rules_come_first");
    node.network("blue", 77, "");
    let container = node.attach("blue", "c1", false);
    restore(&node, "nft", DOCKER[0].1);
    node.sh("iptables-nft -I DOCKER-USER -o uplink0 -d 198.51.100.1 -j DROP");
    let before = saved(&node, "nft");
    node.coexist("add blue").ok();
    node.reaches_outside(&container, [Silent, Answered]);
    let rules = node.sh("iptables-nft -S DOCKER-USER");
    let rules: Vec<_> = rules
        .lines()
        .filter(|line| line.starts_with("-A"))
        .collect();
    assert!(
        rules[0].ends_with("DROP") && rules[6].ends_with("-j RETURN"),
        "{rules:?}"
    );
    node.coexist("rm blue").ok();
    assert_eq!(saved(&node, "nft"), before);
}

#[test]
fn what_was_to_be_added_is_recorded_even_if_the_tool_fails() {
    let node = node!("what_was_to_be_added_is_recorded_even_if_the_tool_fails");
    node.network("blue", 77, "");
    restore(&node, "nft", DOCKER[1].1);
    let before = saved(&node, "nft");
    // Adds the first rule, then dies as a full disk or a killed process would make it.
    node.scratch.write(
        "bin/iptables-nft",
        "#!/bin/sh\ncase \"$*\" in *-A*docker+*) echo no more >&2; exit 4;; esac\n\
         PATH=/usr/sbin:/sbin:/usr/bin:/bin exec iptables-nft \"$@\"\n",
    );
    node.sh(&format!(
        "chmod 755 {}",
        node.scratch.text("bin/iptables-nft")
    ));
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", node.scratch.text("bin"));
    let mut torn = node;
    torn.environment.push(("PATH".to_owned(), path));
    let (code, stderr) = torn.coexist("add blue").refused();
    assert_eq!(code, 1);
    assert!(stderr.contains("no more"), "{stderr}");
    assert_eq!(torn.scratch.names("state/coexist"), ["blue.json"]);
    torn.environment.pop();
    assert_ne!(saved(&torn, "nft"), before, "the first rule stands");
    assert_eq!(torn.coexist("ls").ok().matches("present").count(), 1);
    torn.coexist("rm blue").ok();
    assert_eq!(saved(&torn, "nft"), before);
}

#[test]
fn rules_follow_the_network_to_another_bridge_and_outlive_its_configuration() {
    let node = node!("rules_follow_the_network_to_another_bridge");
    node.network("blue", 77, "");
    restore(&node, "nft", DOCKER[1].1);
    let before = saved(&node, "nft");
    node.coexist("add blue --with docker").ok();
    let path = node.scratch.path("net.d/blue.conflist");
    let moved = fs::read_to_string(&path)
        .unwrap()
        .replace("br-blue", "br-new");
    fs::write(&path, moved).unwrap();
    node.coexist("add blue --with docker").ok();
    let rules = node.sh("iptables-nft -S DOCKER-USER");
    assert!(
        rules.contains("br-new") && !rules.contains("br-blue"),
        "{rules}"
    );
    fs::remove_file(&path).unwrap();
    assert_eq!(node.ids(), ["coexist-unneeded"]);
    node.coexist("rm blue").ok();
    assert_eq!(saved(&node, "nft"), before);
}

#[test]
fn a_chain_of_nobody_we_know_is_named_and_left_alone() {
    let node = node!("a_chain_of_nobody_we_know_is_named_and_left_alone");
    node.network("blue", 77, "");
    let container = node.attach("blue", "c1", false);
    let nothing = node.coexist("add blue");
    assert_eq!((nothing.code, nothing.stdout.as_str()), (0, ""));
    assert!(nothing.stderr.contains("nothing drops"), "{nothing:?}");
    node.host
        .nft("table inet fence { chain way { type filter hook forward priority 5; policy drop; ct state established accept; }\n}\n")
        .unwrap();
    node.reaches_outside(&container, [Silent; 2]);
    let (code, stderr) = node.coexist("add blue").refused();
    assert_eq!(code, 1);
    assert!(
        stderr.contains("chain way of table inet fence drops"),
        "{stderr}"
    );
    let (_, findings) = node.doctor();
    // What doctor says helps, helps.
    for help in findings[0]["help"].as_array().unwrap() {
        let help = help.as_str().unwrap();
        let command = &help[help.find("nft ").unwrap()..];
        node.sh(command);
    }
    node.reaches_outside(&container, [Answered; 2]);
    assert_eq!(node.ids(), [""; 0]);
    assert_eq!(node.coexist("add blue --with docker").refused().0, 1);
    assert_eq!(node.coexist("add red").refused().0, 3);
    assert_eq!(node.coexist("rm red").refused().0, 3);
    assert_eq!(node.coexist("add blue --with nobody").refused().0, 2);
}

/// Everything that firewalld keeps, for now and for good.
fn zones(node: &Node) -> String {
    node.sh("firewall-cmd --list-all-zones") + &node.sh("firewall-cmd --permanent --list-all-zones")
}

#[test]
fn firewallds_drop_is_named_let_through_and_put_back() {
    let mut node = node!("firewallds_drop_is_named_let_through_and_put_back");
    node.network("blue", 77, "");
    let container = node.attach("blue", "c1", true);
    let _daemons = firewalld(&mut node);
    let before = zones(&node);
    node.reaches_outside(&container, [Silent; 2]);
    // firewalld lets in by itself what was translated.
    node.host_port_answers(&container, Answered);
    let (code, findings) = node.doctor();
    assert_eq!(code, 5, "{findings:?}");
    let seen = findings[0]["seen"].as_str().unwrap();
    assert!(
        seen.contains("of table inet firewalld (firewalld) drops what its containers send"),
        "{seen}"
    );

    node.coexist("add blue").ok();
    node.reaches_outside(&container, [Answered; 2]);
    node.host_port_answers(&container, Answered);
    is_closed(&node, &container, "10.77.0.0/24", "10.77.0.2");
    assert_eq!(node.ids(), [""; 0]);
    assert_eq!(
        node.coexist("add blue").ok().matches("unchanged").count(),
        2
    );

    node.sh("firewall-cmd --reload");
    // It is permanent.
    node.reaches_outside(&container, [Answered; 2]);
    assert_eq!(node.ids(), [""; 0]);
    node.sh("firewall-cmd --zone=trusted --remove-interface=br-blue");
    assert!(node.ids().contains(&"coexist-rule-missing".to_owned()));
    node.coexist("add blue").ok();
    assert_eq!(node.ids(), [""; 0]);

    node.coexist("rm blue").ok();
    assert_eq!(zones(&node), before);
    node.reaches_outside(&container, [Silent; 2]);

    node.sh("firewall-cmd --zone=trusted --add-interface=br-blue");
    let own = node.coexist("add blue --with firewalld").ok();
    assert_eq!(own.matches("  left").count(), 1, "{own}");
    node.coexist("rm blue").ok();
    let zone = node.sh("firewall-cmd --get-zone-of-interface=br-blue");
    assert_eq!(zone.trim(), "trusted", "the operator's own stays");
}

/// ufw with files of its own, switched on.
fn ufw(node: &mut Node) {
    let dir = node.scratch.text("ufw");
    let script = format!(
        "mkdir -p {dir}/run/netns && cp -a /etc/ufw {dir}/etc && cp -a /etc/default {dir}/default && \
         sed -i s/ENABLED=yes/ENABLED=no/ {dir}/etc/ufw.conf"
    );
    node.host
        .run(std::process::Command::new("sh").args(["-c", &script]), b"")
        .unwrap();
    let mounts = format!(
        "mount --bind {dir}/etc /etc/ufw && mount --bind {dir}/default /etc/default && \
         mount --rbind /run/netns {dir}/run/netns && mount --rbind {dir}/run /run && exec \"$@\""
    );
    let wrapper = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        &mounts,
        "sh",
    ];
    node.wrapper = wrapper.map(str::to_owned).into();
    node.sh("ufw --force enable");
}

#[test]
fn ufws_drop_is_named_let_through_and_put_back() {
    let mut node = node!("ufws_drop_is_named_let_through_and_put_back");
    node.network("blue", 77, "");
    let container = node.attach("blue", "c1", true);
    ufw(&mut node);
    // The first rule that is added and deleted takes rules away that ufw began with.
    node.sh("ufw route allow in on br-other");
    node.sh("ufw route delete allow in on br-other");
    let before = saved(&node, "nft");
    let shown = node.sh("ufw show added");
    node.reaches_outside(&container, [Silent; 2]);
    node.host_port_answers(&container, Silent);
    let (code, findings) = node.doctor();
    assert_eq!(code, 5);
    let seen = findings[0]["seen"].as_str().unwrap();
    assert!(
        seen.contains("(ufw) drops what its containers send"),
        "{seen}"
    );

    node.coexist("add blue").ok();
    node.reaches_outside(&container, [Answered; 2]);
    is_closed(&node, &container, "10.77.0.0/24", "10.77.0.2");
    assert_eq!(
        node.coexist("add blue").ok().matches("unchanged").count(),
        1
    );
    // ufw cannot tell a host port, so that is the operator's decision; what doctor proposes helps.
    node.host_port_answers(&container, Silent);
    let (_, findings) = node.doctor();
    let help = findings[0]["help"].as_array().unwrap();
    assert_eq!(
        help[0],
        "ufw route allow out on br-blue to 10.77.0.2 port 80 proto tcp"
    );
    node.sh(help[0].as_str().unwrap());
    node.host_port_answers(&container, Answered);
    node.sh("ufw route delete allow out on br-blue to 10.77.0.2 port 80 proto tcp");
    node.coexist("add blue --with ufw --inbound").ok();
    node.host_port_answers(&container, Answered);
    assert_eq!(node.ids(), [""; 0]);

    node.sh("ufw route delete allow in on br-blue");
    assert!(node.ids().contains(&"coexist-rule-missing".to_owned()));
    node.coexist("add blue").ok();
    assert_eq!(node.ids(), [""; 0]);

    node.coexist("rm blue").ok();
    assert_eq!(saved(&node, "nft"), before);
    assert_eq!(node.sh("ufw show added"), shown);

    node.sh("ufw route allow in on br-blue");
    let own = node.coexist("add blue --with ufw").ok();
    assert_eq!(own.matches("  left").count(), 1, "{own}");
    let again = node.coexist("rm blue");
    assert!(again.stderr.contains("no rule is recorded"), "{again:?}");
    assert!(node.sh("ufw show added").contains("allow in on br-blue"));
}
