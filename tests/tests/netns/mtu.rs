//! One MTU: on the interface, on its port, in the result, and in the packets that pass.

use std::net::IpAddr;

use netns_fixtures::{BridgeNetfilter, Ping, path_mtu};
use serde_json::{Value, json};

use crate::claims;
use crate::node::{BRIDGE, GATEWAYS, LIMIT, Node, OUTSIDE};

claims! {
    a_network_without_an_mtu_has_that_of_ethernet,
    a_network_s_mtu_is_kept_end_to_end,
    jumbo_frames_pass,
    an_interface_takes_its_foreign_bridge_s_mtu,
    a_jumbo_network_speaks_to_a_narrow_outside,
    routes_carry_their_mtu,
}

fn link_mtu(ns: &netns_fixtures::Ns, link: &str) -> Value {
    ns.ip_json(&format!("link show dev {link}")).unwrap()[0]["mtu"].clone()
}

#[track_caller]
fn assert_mtu(node: &Node, config: &Value, mtu: usize) {
    let [a, b] = node.attach_two(config);
    assert_eq!(link_mtu(&a.container, "eth0"), mtu);
    assert_eq!(link_mtu(&node.host, &a.port()), mtu);
    let interfaces = a.result["interfaces"].as_array().unwrap();
    for interface in interfaces {
        assert_eq!(interface["mtu"], mtu, "{interface}");
    }
    for to in b.addresses().into_iter().chain(GATEWAYS) {
        let passed = path_mtu(&a.container, to, mtu + 100).unwrap();
        assert_eq!(passed, Some(mtu), "{to}");
        let fragmented = Ping::new(to).packet_size(mtu * 2).limit(LIMIT);
        assert!(fragmented.from(&a.container).unwrap(), "{to}");
    }
}

fn a_network_without_an_mtu_has_that_of_ethernet(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    assert_mtu(&node, &node.config(), 1500);
}

fn a_network_s_mtu_is_kept_end_to_end(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    assert_mtu(&node, &node.config_with(json!({"mtu": 1400})), 1400);
}

fn jumbo_frames_pass(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    assert_mtu(&node, &node.config_with(json!({"mtu": 9000})), 9000);
}

fn an_interface_takes_its_foreign_bridge_s_mtu(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    node.host
        .bridge(BRIDGE, &["10.1.0.1/24", "fd01::1/64"])
        .unwrap();
    node.host
        .ip(&format!("link set {BRIDGE} mtu 1380"))
        .unwrap();
    assert_mtu(&node, &node.config(), 1380);
}

fn a_jumbo_network_speaks_to_a_narrow_outside(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let config = node.config_with(json!({"mtu": 9000, "ipMasq": true}));
    let a = node.attach(&config, "a");
    for to in OUTSIDE {
        let passed = path_mtu(&a.container, to, 9000).unwrap();
        assert_eq!(passed, Some(1500), "{to}");
        let large = vec![b'x'; 200_000];
        let any = std::net::SocketAddr::new(to, 0);
        let tcp =
            netns_fixtures::EchoServer::start(&node.outside, netns_fixtures::Transport::Tcp, any);
        let server = tcp.unwrap();
        netns_fixtures::tcp_echo(&a.container, server.address(), &large, LIMIT).unwrap();
    }
}

fn routes_carry_their_mtu(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let mut config = node.config();
    config["ipam"]["routes"] = json!([
        {"dst": "198.51.100.0/24", "mtu": 1300},
        {"dst": "2001:db8:ffff::/48", "mtu": 1300, "advmss": 1200},
    ]);
    let a = node.attach(&config, "a");
    let routes = a.result["routes"].as_array().unwrap();
    let of = |dst: &str| routes.iter().find(|route| route["dst"] == dst).unwrap();
    assert_eq!(of("198.51.100.0/24")["mtu"], 1300);
    assert_eq!(of("2001:db8:ffff::/48")["advmss"], 1200);
    for to in OUTSIDE {
        let told = a.container.ip_json(&format!("route get {to}")).unwrap();
        let gateway: IpAddr = told[0]["gateway"].as_str().unwrap().parse().unwrap();
        assert!(GATEWAYS.contains(&gateway), "{told}");
        assert!(told.to_string().contains("1300"), "{told}");
    }
}
