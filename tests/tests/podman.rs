//! podman, configured with nothing but a plugin directory and the conflist we ship, runs containers
//! on it. The same claims hold for the reference plugins: that shows the harness to be right.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use bulkhead_tests::podman::Podman;
use bulkhead_tests::{Suite, workspace};
use netns_fixtures::{EchoServer, Host, Outside, Sandbox, Section, Snapshot, Transport, wait_for};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(10);

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
    list
}

struct Node {
    // Dropped first: its processes live in the sandbox's namespaces.
    podman: Podman,
    suite: Suite,
    before: Snapshot,
    host: Host,
    outside: Outside,
    /// The node's own addresses, as the outside sees them.
    addresses: [IpAddr; 2],
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
            addresses: [pair.node_v4.into(), pair.node_v6.into()],
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
        let ask = format!("echo hello | timeout 2 nc -w1 {address} 9000");
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
        assert_eq!(self.ports(), Vec::<String>::new());
        let state = self.podman.dir().join("state");
        for network in ["one", "two"] {
            assert_eq!(self.suite.leases(network, &state), Vec::<IpAddr>::new());
        }
        let after = Snapshot::take(&self.host).unwrap();
        let left = self.before.diff_where(&after, |section, key| {
            self.suite.is_ours() || (section == Section::Link && key.starts_with("veth"))
        });
        assert_eq!(left, Vec::<String>::new());
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
    for (outside, own) in outsides.into_iter().zip(node.addresses) {
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
);
