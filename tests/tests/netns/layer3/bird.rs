//! BIRD, from Debian, announces what we route: known by our protocol number.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use bulkhead_model::ROUTE_PROTOCOL;
use bulkhead_tests::Scratch;
use netns_fixtures::{BridgeNetfilter, Ns, Ping, wait_for};
use serde_json::json;

use crate::node::{LIMIT, Node, with};

/// A BIRD of a namespace; it ends with this.
struct Bird {
    child: Child,
}

impl Bird {
    fn start(ns: &Ns, dir: &Path, name: &str, config: &str) -> Self {
        let file = dir.join(format!("{name}.conf"));
        std::fs::write(&file, config).unwrap();
        let path = "/usr/sbin/bird";
        assert!(Path::new(path).exists(), "`make setup` installs bird2");
        let mut command: Command = ns.command(path);
        command
            .args(["-f", "-c"])
            .arg(&file)
            .arg("-s")
            .arg(dir.join(format!("{name}.ctl")))
            .stdin(Stdio::null());
        Self {
            child: command.spawn().unwrap(),
        }
    }
}

impl Drop for Bird {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As docs/ipv6.md shows it: learn what carries our number, tell the neighbour.
fn speaker(id: &str, own: u32, [here, there]: [&str; 2], kernel: &str) -> String {
    let channel = |family: &str| {
        format!("protocol kernel {{ learn; scan time 1; {family} {{ {kernel} }}; }}\n")
    };
    format!(
        "router id {id};
         protocol device {{ scan time 1; }}
         {}{}
         protocol bgp {{
             local {here} as {own};
             neighbor {there} external;
             connect retry time 1; connect delay time 1; error wait time 1, 2;
             ipv4 {{ import all; export filter {{ if source = RTS_BGP then accept; {OURS} }}; next hop self; extended next hop on; }};
             ipv6 {{ import all; export filter {{ if source = RTS_BGP then accept; {OURS} }}; next hop self; }};
         }}",
        channel("ipv4"),
        channel("ipv6"),
    )
}

const OURS: &str = "if krt_source = 98 then accept; reject;";

#[test]
fn bird_announces_the_routes_that_carry_our_number() {
    assert_eq!(ROUTE_PROTOCOL, 98, "docs and this test name it");
    let node = Node::new(BridgeNetfilter::Off);
    let scratch = Scratch::new(&node.sandbox, "bird");
    let (near, far) = (
        node.uplink.node_v6.to_string(),
        node.uplink.gateway_v6.to_string(),
    );
    std::fs::create_dir_all(scratch.path()).unwrap();
    let learns = "import all; export none;";
    let installs = "import none; export all;";
    let _node = Bird::start(
        &node.host,
        scratch.path(),
        "node",
        &speaker("192.0.1.2", 64_512, [&near, &far], learns),
    );
    let _peer = Bird::start(
        &node.outside,
        scratch.path(),
        "peer",
        &speaker("192.0.1.1", 64_513, [&far, &near], installs),
    );
    let a = node.attach(&node.layer3(json!({})), "a");
    let prefixes = node.layer3(json!({"prefixPerContainer": true, "name": "green"}));
    let ipam = json!({"ranges": [[{"subnet": "fd02::/48"}]]});
    let ipam = with(prefixes["ipam"].clone(), ipam);
    let b = node.attach(&with(prefixes, json!({"ipam": ipam})), "b");
    let told = || {
        let v4 = node.outside.ip("-4 route show proto bird").unwrap();
        v4 + &node.outside.ip("-6 route show proto bird").unwrap()
    };
    let mine = [
        a.v4().to_string(),
        a.v6().to_string(),
        "fd02::/64".to_owned(),
        // The blocks, which blackhole routes stand for.
        "10.1.0.0/24".to_owned(),
        "fd01::/64".to_owned(),
        "fd02::/48".to_owned(),
    ];
    wait_for("the outside to be told", LIMIT * 3, || {
        let told = told();
        mine.iter().all(|mine| told.contains(mine)).then_some(())
    });
    // The node's own routes are not ours to announce.
    assert!(!told().contains("default"), "{}", told());
    for address in [a.addresses(), b.addresses()].concat() {
        assert!(
            Ping::new(address).limit(LIMIT).from(&node.outside).unwrap(),
            "{address}"
        );
    }
    node.detach(&a);
    wait_for("the outside to forget", LIMIT, || {
        (!told().contains(&mine[1])).then_some(())
    });
}
