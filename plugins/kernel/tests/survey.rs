//! The node seen whole, and what is told of a forwarded packet against what becomes of one.

use std::time::Duration;

use bulkhead_kernel::{Deletion, Kernel, Leads, OtherEnd};
use bulkhead_model::Family;
use bulkhead_nft::foreign::{Connection, Packet};
use netns_fixtures::{EchoServer, End, Host, Ns, Sandbox, Transport, tcp_echo, veth};

/// How long what must happen may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(40);
/// How long what must not happen is waited for.
const WINDOW: Duration = Duration::from_millis(300);

/// A router between two ends.
struct Way {
    _sandbox: Sandbox,
    host: Host,
    left: Ns,
    right: Ns,
}

impl Way {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let host = sandbox.host("host").unwrap();
        host.forward().unwrap();
        let side = |name: &str, nth: u8| {
            let ns = sandbox.ns(name).unwrap();
            let near = End::new(&host, name).address(&format!("10.{nth}.0.1/24"));
            let far = End::new(&ns, "eth0").address(&format!("10.{nth}.0.2/24"));
            veth(&near, &far).unwrap();
            ns.ip(&format!("route add default via 10.{nth}.0.1"))
                .unwrap();
            ns
        };
        Self {
            left: side("left", 1),
            right: side("right", 2),
            host,
            _sandbox: sandbox,
        }
    }

    /// A connection from left to right comes about, or does not.
    #[track_caller]
    fn connects(&self, should: bool, rules: &str) {
        let listen = "10.2.0.2:0".parse().unwrap();
        let server = EchoServer::start(&self.right, Transport::Tcp, listen).unwrap();
        let limit = if should { LIMIT } else { WINDOW };
        let connected = tcp_echo(&self.left, server.address(), b"x", limit);
        assert_eq!(connected.is_ok(), should, "{rules}: {connected:?}");
    }

    /// The chains and rules that are said to drop its packets, and the number of doubts.
    fn told(&self) -> Vec<(String, Option<usize>, usize)> {
        let ruleset = self
            .host
            .enter(|| Kernel::new(Deletion::Blocking).rulesets().unwrap())
            .unwrap();
        let packet = |input: &str, output: &str, connection| Packet {
            family: Family::V4,
            input: input.parse().unwrap(),
            output: output.parse().unwrap(),
            source: None,
            destination: None,
            connection,
        };
        let ways = [
            packet("left", "right", Connection::New),
            packet("right", "left", Connection::Reply),
        ];
        let dropped = ways
            .iter()
            .flat_map(|packet| ruleset.drops(packet, |_| false));
        dropped
            .map(|dropped| (dropped.chain, dropped.rule, dropped.doubts.len()))
            .collect()
    }

    fn load(&self, ruleset: &str) {
        self.host.nft(&format!("flush ruleset\n{ruleset}")).unwrap();
    }
}

fn forward(policy: &str, rules: &str) -> String {
    format!(
        "table inet t {{ set both {{ type ifname; elements = {{ \"left\", \"right\" }}; }}
           chain own {{ accept; }}
           chain other {{ return; }}
           chain c {{ type filter hook forward priority 0; policy {policy};\n{rules}\n}}\n}}\n"
    )
}

/// Rules under a policy of drop that let the connection pass.
const PASSING: [&str; 9] = [
    "accept",
    "iifname @both accept",
    "iifname { \"left\", \"right\" } oifname != \"lo\" jump own",
    "iifname \"le*\" accept; iifname \"ri*\" ct state established accept",
    "ct state vmap { new : jump own, established : accept, invalid : drop }",
    "ct state new,established accept",
    "meta mark 0 meta nfproto ipv4 meta l4proto tcp accept",
    "ct direction original accept; ct direction reply goto own",
    "iifname vmap { \"left\" : goto own, \"right\" : goto own }",
];

/// Rules under a policy of drop that do not, though they look alike.
const DROPPING: [&str; 8] = [
    "",
    "iifname \"left\" accept",
    "iifname != \"left\" accept",
    "ct state established accept",
    "ct status dnat accept",
    "iifname @both jump other",
    "iifname vmap { \"left\" : jump other, \"right\" : jump own }",
    "iifname @both reject; accept",
];

#[test]
fn what_is_told_of_a_ruleset_is_what_packets_meet() {
    let way = Way::new();
    way.connects(true, "the way is there");
    for rules in PASSING {
        way.load(&forward("drop", rules));
        assert_eq!(way.told(), [], "{rules}");
        way.connects(true, rules);
    }
    for rules in DROPPING {
        way.load(&forward("drop", rules));
        let told = way.told();
        assert!(!told.is_empty(), "{rules}");
        assert!(told.iter().all(|(.., doubts)| *doubts == 0), "{told:?}");
        way.connects(false, rules);
    }
    for (rules, passes) in [("", true), ("iifname \"left\" drop", false)] {
        way.load(&forward("accept", rules));
        assert_eq!(way.told().is_empty(), passes);
        way.connects(passes, rules);
    }
}

#[test]
fn a_condition_that_is_not_understood_is_told_as_a_doubt() {
    let way = Way::new();
    for rules in [
        "tcp dport 1-65535 accept",
        "ip saddr { 10.0.0.0/8 } accept",
        "iifname . oifname { \"left\" . \"right\", \"right\" . \"left\" } accept",
        "meta length < 60000 jump own",
    ] {
        way.load(&forward("drop", rules));
        let told = way.told();
        assert!(told.iter().all(|(.., doubts)| *doubts == 1), "{told:?}");
        way.connects(true, rules);
    }
    // One that drops is taken not to mean the packet.
    way.load(&forward(
        "accept",
        "tcp dport 1 drop; limit rate over 1000000/second drop",
    ));
    assert_eq!(way.told(), []);
    way.connects(true, "");
}

#[test]
fn the_rules_of_iptables_are_understood() {
    let way = Way::new();
    let iptables = |line: &str| way.host.sh(&format!("iptables-nft {line}")).unwrap();
    iptables("-P FORWARD DROP");
    iptables("-N USER");
    iptables("-A FORWARD -j USER");
    iptables("-A FORWARD -p icmp -j ACCEPT");
    assert_eq!(way.told().len(), 2);
    way.connects(false, "");
    iptables("-A USER -i left -m comment --comment mine -j ACCEPT");
    iptables("-A FORWARD -o left -m conntrack --ctstate RELATED,DNAT -j ACCEPT");
    assert_eq!(way.told(), [("FORWARD".to_owned(), None, 0)]);
    way.connects(false, "");
    iptables("-A FORWARD -o lef+ -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT");
    assert_eq!(way.told(), []);
    way.connects(true, "");
    iptables("-I FORWARD -m mark ! --mark 0x1/0x1 -j REJECT");
    assert_eq!(way.told()[0], ("FORWARD".to_owned(), Some(0), 0));
    way.connects(false, "");
}

#[test]
fn links_and_default_routes_are_all_told() {
    let way = Way::new();
    way.host.bridge("br0", &[]).unwrap();
    way.host.ip("link set left master br0").unwrap();
    way.host
        .ip("link add here0 type veth peer name here1")
        .unwrap();
    way.host
        .ip_batch(&[
            "route add default via 10.2.0.2 metric 20",
            "route add ::/0 dev right metric 7 proto ra",
            "route add default dev br0 metric 10",
            "route add blackhole 198.51.100.0/24",
        ])
        .unwrap();
    let asked = ["10.2.0.2", "10.2.0.1", "198.51.100.7"].map(|to| to.parse().unwrap());
    let (links, routes, ways, all) = way
        .host
        .enter(|| {
            let mut kernel = Kernel::new(Deletion::Blocking);
            (
                kernel.host_links().unwrap(),
                kernel.default_routes().unwrap(),
                kernel.ways(&asked.into()).unwrap(),
                kernel.main_ways().unwrap(),
            )
        })
        .unwrap();
    let link = |name: &str| {
        links
            .iter()
            .find(|link| link.name.as_str() == name)
            .unwrap()
    };
    assert_eq!(link("left").bridge, "br0".parse().ok());
    assert_eq!(link("left").other_end, Some(OtherEnd::Elsewhere));
    assert_eq!(link("here0").other_end, Some(OtherEnd::Here));
    assert_eq!(
        (link("br0").kind.as_str(), link("br0").other_end),
        ("bridge", None)
    );
    assert!(link("lo").kind.is_empty());
    let told: Vec<_> = routes
        .iter()
        .map(|route| {
            (
                route.family,
                route.link.as_str(),
                route.priority,
                route.advertised,
            )
        })
        .collect();
    let expected = [
        (Family::V4, "br0", 10, false),
        (Family::V4, "right", 20, false),
        (Family::V6, "right", 7, true),
    ];
    assert_eq!(told, expected);
    let right = |gateway: Option<&str>| Leads::Out {
        link: "right".parse().unwrap(),
        gateway: gateway.map(|gateway| gateway.parse().unwrap()),
    };
    let leads: Vec<Leads> = ways.iter().map(|way| way.leads).collect();
    assert_eq!(leads, [Leads::Here, right(None), Leads::Nowhere]);
    let of = |to: &str| {
        let to = to.parse().unwrap();
        let of: Vec<Leads> = all
            .iter()
            .filter(|way| way.to == to)
            .map(|way| way.leads)
            .collect();
        of
    };
    let br0 = Leads::Out {
        link: "br0".parse().unwrap(),
        gateway: None,
    };
    assert_eq!(of("0.0.0.0/0"), [br0], "the one that is taken");
    assert_eq!(of("::/0"), [right(None)]);
}
