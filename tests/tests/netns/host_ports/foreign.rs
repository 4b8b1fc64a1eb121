//! Host ports beside what is not ours: a bridge that somebody made, other programs' translation, the
//! node's own switches.

use std::net::IpAddr;

use netns_fixtures::{BridgeNetfilter, Container, End, Section, veth};
use serde_json::json;

use super::{
    INSIDE, PORT, assert_as_added, assert_refused, mapped, mapped_on, published, publishing,
    seen_at, serve, to, uplink,
};
use crate::claims;
use crate::node::{BRIDGE, GATEWAYS, LIMIT, NOTHING, Node, settled, standing, with};

claims! {
    host_ports_work_behind_a_joined_bridge,
    behind_a_joined_bridge_127_0_0_1_needs_its_switch,
    an_adopted_bridge_is_switched_and_put_back,
    behind_a_joined_bridge_without_a_gateway_of_ours_too,
    other_programs_translation_goes_on,
    the_node_s_own_switches_are_left_alone,
}

/// A bridge that somebody made and plugged a port of theirs into.
fn their_bridge(node: &Node) -> Container {
    node.host
        .bridge(BRIDGE, &["10.1.0.1/24", "fd01::1/64"])
        .unwrap();
    let theirs = node.sandbox.container("theirs").unwrap();
    let near = End::new(&node.host, "theirs").mac("02:00:00:00:00:01");
    veth(&near, &End::new(&theirs, "eth0")).unwrap();
    node.host
        .ip(&format!("link set theirs master {BRIDGE}"))
        .unwrap();
    settled(&node.host, BRIDGE);
    theirs
}

fn switch() -> String {
    format!("net/ipv4/conf/{BRIDGE}/route_localnet")
}

fn host_ports_work_behind_a_joined_bridge(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let _theirs = their_bridge(&node);
    let before = standing(&node.host);
    let a = node.attach(&published(&node), "a");
    let b = node.attach(&node.config(), "b");
    let _service = serve(&a.container, INSIDE);
    let own = uplink(&node);
    for (address, gateway) in own.into_iter().zip(GATEWAYS) {
        seen_at(to(address, PORT), &node.outside);
        assert_eq!(seen_at(to(address, PORT), &node.host), address);
        assert_eq!(seen_at(to(address, PORT), &a.container), gateway);
        assert_eq!(seen_at(to(address, PORT), &b.container), gateway);
    }
    assert_eq!(node.host.sysctl(&switch()).unwrap(), "0", "theirs");
    assert_as_added(&node, &a);
    node.detach(&a);
    node.detach(&b);
    assert_eq!(before.left_in(&node.host, LIMIT).unwrap(), NOTHING);
}

fn behind_a_joined_bridge_127_0_0_1_needs_its_switch(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let _theirs = their_bridge(&node);
    let config = publishing(&node.config(), mapped_on("127.0.0.1", PORT, INSIDE));
    let text = format!(
        "bridge {BRIDGE} was not made by bulkhead and does not route 127.0.0.0/8, which a host port there needs: set net.ipv4.conf.{BRIDGE}.route_localnet to 1, or set \"adopt\": true "
    );
    assert_eq!(node.refused(&config, "a"), (102, text));
    node.host.set_sysctl(&switch(), "1").unwrap();
    let before = standing(&node.host);
    let a = node.attach(&config, "b");
    let _service = serve(&a.container, INSIDE);
    let loopback = to("127.0.0.1".parse::<IpAddr>().unwrap(), PORT);
    assert_eq!(seen_at(loopback, &node.host), GATEWAYS[0]);
    node.detach(&a);
    assert_refused(loopback, &node.host);
    assert_eq!(before.left_in(&node.host, LIMIT).unwrap(), NOTHING);
}

fn an_adopted_bridge_is_switched_and_put_back(setting: BridgeNetfilter) {
    for already in ["0", "1"] {
        let node = Node::new(setting);
        let _theirs = their_bridge(&node);
        node.host.set_sysctl(&switch(), already).unwrap();
        let before = standing(&node.host);
        let config = with(published(&node), json!({"adopt": true}));
        let a = node.attach(&config, "a");
        let _service = serve(&a.container, INSIDE);
        let loopback = to("127.0.0.1".parse::<IpAddr>().unwrap(), PORT);
        assert_eq!(seen_at(loopback, &node.host), GATEWAYS[0]);
        assert_eq!(node.host.sysctl(&switch()).unwrap(), "1");
        node.detach(&a);
        assert_eq!(before.left_in(&node.host, LIMIT).unwrap(), NOTHING);
    }
}

/// The bridge's own address is its owner's: the network has no gateway, and the host an address there.
fn behind_a_joined_bridge_without_a_gateway_of_ours_too(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let _theirs = their_bridge(&node);
    node.host.set_sysctl(&switch(), "1").unwrap();
    node.host.forward().unwrap();
    let before = standing(&node.host);
    let routes = json!([{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}, {"dst": "::/0", "gw": "fd01::1"}]);
    let mut config = with(node.config(), json!({"isDefaultGateway": false}));
    config["ipam"]["routes"] = routes;
    config["capabilities"] = json!({"portMappings": true});
    let a = node.attach(&publishing(&config, mapped(PORT, INSIDE)), "a");
    let b = node.attach(&config, "b");
    let _service = serve(&a.container, INSIDE);
    let loopback = to("127.0.0.1".parse::<IpAddr>().unwrap(), PORT);
    assert_eq!(seen_at(loopback, &node.host), GATEWAYS[0]);
    for (address, gateway) in uplink(&node).into_iter().zip(GATEWAYS) {
        seen_at(to(address, PORT), &node.outside);
        assert_eq!(seen_at(to(address, PORT), &a.container), gateway);
        assert_eq!(seen_at(to(address, PORT), &b.container), gateway);
    }
    node.detach(&a);
    node.detach(&b);
    assert_eq!(before.left_in(&node.host, LIMIT).unwrap(), NOTHING);
}

/// Destination NAT as kube-proxy has it: in chains of its own, at the usual priority.
const SERVICES: &str = "\
add table ip services
add chain ip services prerouting { type nat hook prerouting priority dstnat; }
add chain ip services output { type nat hook output priority -100; }
add rule ip services prerouting fib daddr type local tcp dport 30080 counter dnat to 10.1.0.2:81
add rule ip services output fib daddr type local tcp dport 30080 counter dnat to 10.1.0.2:81
add rule ip services prerouting fib daddr type local udp dport 30080 counter dnat to 10.1.0.2:81
add rule ip services output fib daddr type local udp dport 30080 counter dnat to 10.1.0.2:81
add rule ip services prerouting tcp dport 8080 counter dnat to 10.1.0.99:1
add rule ip services prerouting ip daddr 10.96.0.10 counter dnat to 10.1.0.2
";

fn other_programs_translation_goes_on(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    node.host.nft(SERVICES).unwrap();
    let before = standing(&node.host);
    let a = node.attach(&published(&node), "a");
    let _services = [INSIDE, 81].map(|port| serve(&a.container, port));
    let [own, _] = uplink(&node);
    for from in [&*node.outside, &*node.host] {
        seen_at(to(own, 30080), from);
        // What a container was given is not a service's.
        seen_at(to(own, PORT), from);
    }
    if setting == BridgeNetfilter::On {
        // A service within the network keeps the neighbour's address, which policies and logs name;
        // without br_netfilter its answer would go past the node.
        let b = node.attach(&node.config(), "b");
        let service: IpAddr = "10.96.0.10".parse().unwrap();
        let seen = seen_at(to(service, 81), &b.container);
        assert_eq!(seen, IpAddr::from(b.v4()));
        node.detach(&b);
    }
    let now = standing(&node.host);
    let theirs = |section, key: &str| section == Section::Nft && key == "ip services";
    assert_eq!(before.diff_where(&now, theirs), NOTHING);
    node.detach(&a);
    assert_eq!(before.left_in(&node.host, LIMIT).unwrap(), NOTHING);
}

fn the_node_s_own_switches_are_left_alone(setting: BridgeNetfilter) {
    for all in ["0", "1"] {
        let mut node = Node::new(setting);
        node.host
            .set_sysctl("net/ipv4/conf/all/route_localnet", all)
            .unwrap();
        node.before = standing(&node.host);
        let a = node.attach(&published(&node), "a");
        let now = standing(&node.host);
        let changed = node.before.diff_where(&now, |section, key| {
            section == Section::Sysctl && key.ends_with("route_localnet")
        });
        let bridge = [format!("+ sysctl {} 1", switch())];
        let of_port = |line: &String| !line.contains(&a.port());
        let changed: Vec<_> = changed.into_iter().filter(of_port).collect();
        assert_eq!(changed, bridge);
        node.detach(&a);
        node.assert_nothing_left();
    }
}
