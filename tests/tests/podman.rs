//! podman, configured with nothing but a plugin directory and the conflist we ship, runs containers
//! on it. The same claims hold for the reference plugins: that shows the harness to be right.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::thread;
use std::time::Duration;

use bulkhead_tests::podman::Podman;
use bulkhead_tests::{Suite, workspace};
use netns_fixtures::{
    EchoServer, Host, Outside, Pair, Sandbox, Section, Snapshot, Transport, tcp_echo, udp_echo,
    wait_for,
};
use serde_json::{Value, json};

/// How long anything that must happen may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(40);
const HELLO: &[u8] = b"hello";
/// How many containers start at the same time.
const CROWD: usize = 30;

/// The conflist of deploy/podman as network `name` over the plugins of `suite`.
fn network(suite: &Suite, name: &str, v4: &str, v6: &str, state: &Path) -> Value {
    let path = workspace::root().join("deploy/podman/bulkhead.conflist");
    let text = fs::read_to_string(path).expect("the example is in the repository");
    let mut list: Value = serde_json::from_str(&text).expect("the example is JSON");
    list["name"] = json!(name);
    let mut bridge = list["plugins"][0].take();
    bridge["bridge"] = json!(format!("{name}0"));
    bridge["ipam"]["ranges"] = json!([[{ "subnet": v4 }], [{ "subnet": v6 }]]);
    list["plugins"][0] = suite.adapt(bridge, state);
    if !suite.is_ours() {
        let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}});
        list["plugins"].as_array_mut().unwrap().push(portmap);
    }
    list
}

struct Node {
    // Dropped first: its processes live in the sandbox's namespaces.
    podman: Podman,
    suite: Suite,
    before: Snapshot,
    host: Host,
    outside: Outside,
    pair: Pair,
    _sandbox: Sandbox,
}

impl Node {
    fn new(suite: Suite) -> Self {
        let sandbox = Sandbox::new();
        let host = sandbox.host("node").unwrap();
        let outside = sandbox.outside("outside").unwrap();
        let pair = outside.link(&host, 1).unwrap();
        let before = Snapshot::take(&host).unwrap();
        let podman = Podman::start(&sandbox, &host, &[suite.dir()]);
        let node = Self {
            podman,
            suite,
            before,
            host,
            outside,
            pair,
            _sandbox: sandbox,
        };
        let state = node.podman.dir().join("state");
        let networks = [
            ("one", "10.77.0.0/24", "fd77::/64"),
            ("two", "10.78.0.0/24", "fd78::/64"),
        ];
        for (name, v4, v6) in networks {
            let list = network(&node.suite, name, v4, v6, &state);
            node.podman.add_network(&list);
        }
        node
    }

    /// The node's own addresses with a port, as the outside reaches it.
    fn published(&self, port: u16) -> [SocketAddr; 2] {
        [self.pair.node_v4.into(), self.pair.node_v6.into()]
            .map(|address: IpAddr| SocketAddr::new(address, port))
    }

    /// An echo server on any address of the container.
    fn serve(&self, container: &str, transport: Transport, port: u16) -> EchoServer {
        let any = SocketAddr::new("::".parse().unwrap(), port);
        EchoServer::start(&self.podman.netns(container), transport, any).unwrap()
    }

    /// The v4 and v6 address of a container on a network, as podman recorded them.
    fn addresses(&self, container: &str, network: &str) -> [IpAddr; 2] {
        let inspected = self.podman.inspect(container);
        let at = &inspected["NetworkSettings"]["Networks"][network];
        ["IPAddress", "GlobalIPv6Address"]
            .map(|key| at[key].as_str().and_then(|text| text.parse().ok()))
            .map(|address| address.unwrap_or_else(|| panic!("no addresses: {at:#}")))
    }

    #[track_caller]
    fn pings(&self, container: &str, to: IpAddr) {
        let to = to.to_string();
        let (ok, said) = self
            .podman
            .exec(container, &["/bin/ping", "-c1", "-w5", &to]);
        assert!(ok, "{container} does not reach {to}: {said}");
    }

    /// A TCP connection from one container to another carries a line.
    #[track_caller]
    fn speaks(&self, from: &str, to: &str, address: IpAddr) {
        let listen = [
            "exec", "--detach", to, "/bin/nc", "-l", "-p", "9000", "-e", "/bin/cat",
        ];
        self.podman.run(&listen);
        // The listener answers once: whoever gives up on it is refused ever after.
        let ask = format!("echo hello | timeout 20 nc -w19 {address} 9000");
        let answer = wait_for("the answer of a listener that is starting", LIMIT, || {
            let (_, said) = self.podman.exec(from, &["/bin/sh", "-c", &ask]);
            said.contains("hello").then_some(said)
        });
        assert_eq!(answer, "hello\n");
    }

    fn ports(&self) -> Vec<String> {
        let links = self.host.ip_json("link show type veth").unwrap();
        let names = links.as_array().into_iter().flatten();
        names
            .filter_map(|link| link["ifname"].as_str().map(str::to_owned))
            .filter(|name| name != Outside::UPLINK)
            .collect()
    }

    /// Ours leaves the node as it was; the reference leaves its bridges, sysctls and nat chains.
    #[track_caller]
    fn assert_nothing_left(&self) {
        let state = self.podman.dir().join("state");
        for network in ["one", "two"] {
            assert_eq!(self.suite.leases(network, &state), Vec::<IpAddr>::new());
        }
        // The kernel finishes behind DEL: carrier follows a port.
        let left = self.before.left_where(&self.host, LIMIT, |section, key| {
            self.suite.is_ours() || (section == Section::Link && key.starts_with("veth"))
        });
        assert_eq!(left.unwrap(), Vec::<String>::new());
        assert_eq!(self.ports(), Vec::<String>::new());
    }
}

fn containers_reach_each_other_and_the_outside(suite: Suite) {
    let node = Node::new(suite);
    node.podman.sleeper("a", "one", &[]);
    node.podman.sleeper("b", "one", &[]);
    for address in node.addresses("b", "one") {
        node.pings("a", address);
        node.speaks("a", "b", address);
    }
    // It has no route to the containers: only masquerade brings an answer.
    node.pings("a", Outside::V4.into());
    node.pings("a", Outside::V6.into());
    assert_eq!(node.ports().len(), 2);
    node.podman.run(&["rm", "--force", "--time", "0", "a", "b"]);
    node.assert_nothing_left();
}

fn the_outside_sees_the_nodes_address(suite: Suite) {
    let node = Node::new(suite);
    node.podman.sleeper("a", "one", &[]);
    let outsides = [IpAddr::from(Outside::V4), Outside::V6.into()];
    let own: [IpAddr; 2] = [node.pair.node_v4.into(), node.pair.node_v6.into()];
    for (outside, own) in outsides.into_iter().zip(own) {
        let at = (outside, 0).into();
        let server = EchoServer::start(&node.outside, Transport::Tcp, at).unwrap();
        let port = server.address().port();
        let ask = format!("echo hello | timeout 10 nc -w9 {outside} {port}");
        let (_, said) = node.podman.exec("a", &["/bin/sh", "-c", &ask]);
        // The server greets with the address it sees.
        assert_eq!(said, format!("{own}\nhello\n"));
    }
    node.podman.run(&["rm", "--force", "--time", "0", "a"]);
    node.assert_nothing_left();
}

fn a_container_joins_and_leaves_a_second_network(suite: Suite) {
    let node = Node::new(suite);
    node.podman.sleeper("a", "one", &[]);
    node.podman.sleeper("c", "two", &[]);
    node.podman.run(&["network", "connect", "two", "a"]);
    for address in node.addresses("c", "two") {
        node.pings("a", address);
    }
    let (_, links) = node.podman.exec("a", &["/bin/ip", "-o", "link"]);
    assert!(links.contains("eth0") && links.contains("eth1"), "{links}");
    node.podman.run(&["network", "disconnect", "two", "a"]);
    assert_eq!(node.ports().len(), 2);
    node.podman.run(&["rm", "--force", "--time", "0", "a", "c"]);
    node.assert_nothing_left();
}

fn requested_addresses_and_mac_are_honoured(suite: Suite) {
    let node = Node::new(suite);
    let options = [
        "--ip",
        "10.77.0.50",
        "--ip6",
        "fd77::50",
        "--mac-address",
        "02:00:00:00:00:50",
    ];
    node.podman.sleeper("a", "one", &options);
    let expected = ["10.77.0.50", "fd77::50"].map(|text| text.parse::<IpAddr>().unwrap());
    assert_eq!(node.addresses("a", "one"), expected);
    let (_, link) = node.podman.exec("a", &["/bin/ip", "link", "show", "eth0"]);
    assert!(link.contains("02:00:00:00:00:50"), "{link}");
    node.podman.run(&["rm", "--force", "--time", "0", "a"]);
    node.assert_nothing_left();
}

fn a_stopped_container_leaves_nothing_and_starts_again(suite: Suite) {
    let node = Node::new(suite);
    node.podman.sleeper("a", "one", &[]);
    node.podman.run(&["stop", "--time", "0", "a"]);
    // podman's clean-up after a stop runs behind the command.
    wait_for("the port to go", LIMIT, || {
        node.ports().is_empty().then_some(())
    });
    node.podman.run(&["start", "a"]);
    node.pings("a", Outside::V4.into());
    node.podman.run(&["rm", "--force", "--time", "0", "a"]);
    node.assert_nothing_left();
}

fn published_ports_answer_outside_and_the_node(suite: Suite) {
    let node = Node::new(suite);
    let addresses = ["--ip", "10.77.0.50", "--ip6", "fd77::50"];
    let others = ["--mac-address", "02:00:00:00:00:50", "--publish", "8080:80"];
    let udp = ["--publish", "127.0.0.1:8081:81/udp"];
    let range = ["--publish", "9000-9003:9000-9003"];
    let options = [&addresses[..], &others, &udp, &range].concat();
    node.podman.sleeper("a", "one", &options);
    let servers = [80, 9000, 9003].map(|port| node.serve("a", Transport::Tcp, port));
    let udp = node.serve("a", Transport::Udp, 81);
    for port in [8080, 9000, 9003] {
        let clients: [IpAddr; 2] = [node.pair.gateway_v4.into(), node.pair.gateway_v6.into()];
        for (at, client) in node.published(port).into_iter().zip(clients) {
            let seen = tcp_echo(&node.outside, at, HELLO, LIMIT).unwrap();
            assert_eq!(seen, client, "{at}");
            tcp_echo(&node.host, at, HELLO, LIMIT).unwrap();
        }
        let localhost = (Ipv4Addr::LOCALHOST, port).into();
        tcp_echo(&node.host, localhost, HELLO, LIMIT).unwrap();
    }
    let localhost = (Ipv4Addr::LOCALHOST, 8081).into();
    udp_echo(&node.host, localhost, HELLO, LIMIT).unwrap();
    for at in node.published(8081) {
        let answer = udp_echo(&node.outside, at, HELLO, Duration::from_millis(300));
        assert!(answer.is_err(), "{at} is published on 127.0.0.1 alone");
    }
    drop((servers, udp));
    node.podman.run(&["rm", "--force", "--time", "0", "a"]);
    for at in node.published(8080) {
        assert!(tcp_echo(&node.outside, at, HELLO, LIMIT).is_err(), "{at}");
    }
    node.assert_nothing_left();
}

/// podman asks every network of a container for all its ports, and holds them itself meanwhile.
fn a_published_port_answers_whichever_networks_there_are(suite: Suite) {
    let node = Node::new(suite);
    let options = ["--network", "two", "--publish", "8080:80"];
    node.podman.sleeper("both", "one", &options);
    node.podman
        .sleeper("later", "one", &["--publish", "8090:80"]);
    node.podman.run(&["network", "connect", "two", "later"]);
    for (container, port) in [("both", 8080), ("later", 8090)] {
        let _server = node.serve(container, Transport::Tcp, 80);
        for at in node.published(port) {
            tcp_echo(&node.outside, at, HELLO, LIMIT).unwrap();
        }
        node.podman
            .run(&["network", "disconnect", "two", container]);
        for at in node.published(port) {
            tcp_echo(&node.outside, at, HELLO, LIMIT).unwrap();
        }
    }
    node.podman
        .run(&["rm", "--force", "--time", "0", "both", "later"]);
    node.assert_nothing_left();
}

#[test]
fn containers_that_come_and_go_together_share_nothing_and_leave_nothing() {
    let node = Node::new(Suite::ours());
    let names: Vec<String> = (0..CROWD).map(|nth| format!("c{nth}")).collect();
    thread::scope(|scope| {
        for (nth, name) in names.iter().enumerate() {
            let podman = &node.podman;
            scope.spawn(move || {
                let port = format!("{}:80", 9000 + nth);
                podman.sleeper(name, "one", &["--publish", &port]);
            });
        }
    });
    let addresses = names.iter().flat_map(|name| node.addresses(name, "one"));
    assert_eq!(addresses.collect::<BTreeSet<_>>().len(), 2 * CROWD);
    for (nth, name) in names.iter().enumerate().step_by(CROWD / 3) {
        let _server = node.serve(name, Transport::Tcp, 80);
        let port = u16::try_from(9000 + nth).unwrap();
        for at in node.published(port) {
            tcp_echo(&node.outside, at, HELLO, LIMIT).unwrap();
        }
    }
    thread::scope(|scope| {
        for name in &names {
            let podman = &node.podman;
            scope.spawn(move || podman.run(&["rm", "--force", "--time", "0", name]));
        }
    });
    node.assert_nothing_left();
}

macro_rules! over_both {
    ($($claim:ident),* $(,)?) => {
        mod reference {
            use super::Suite;
            $(#[test] fn $claim() { super::$claim(Suite::reference()); })*
        }
        mod ours {
            use super::Suite;
            $(#[test] fn $claim() { super::$claim(Suite::ours()); })*
        }
    };
}

over_both!(
    containers_reach_each_other_and_the_outside,
    the_outside_sees_the_nodes_address,
    a_container_joins_and_leaves_a_second_network,
    requested_addresses_and_mac_are_honoured,
    a_stopped_container_leaves_nothing_and_starts_again,
    published_ports_answer_outside_and_the_node,
    a_published_port_answers_whichever_networks_there_are,
);
