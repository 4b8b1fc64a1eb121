//! Addresses of the network that nobody holds.

use std::net::{IpAddr, SocketAddr};

use netns_fixtures::{BridgeNetfilter, Ns, wait_for};
use serde_json::json;

use super::{count, counted, neighbours};
use crate::node::{LIMIT, Node};

fn send(from: &Ns, to: &str) {
    let to: IpAddr = to.parse().unwrap();
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let sent = from.enter(|| {
        let socket = std::net::UdpSocket::bind(any).unwrap();
        // The node's own sockets are told at once that there is no route.
        let _ = socket.send_to(b"?", SocketAddr::new(to, 9));
    });
    sent.unwrap();
}

#[test]
fn what_nobody_holds_is_looked_for_nowhere() {
    let node = Node::new(BridgeNetfilter::Off);
    let [a, b] = node.attach_two(&node.layer3(json!({})));
    node.detach(&b);
    let mac = netns_fixtures::packet::mac_text(a.mac());
    count(&node, "udp dport 9");
    let gone: Vec<String> = b.addresses().iter().map(ToString::to_string).collect();
    for (block, via) in [
        ("10.1.0.0/24", IpAddr::from(node.uplink.node_v4)),
        ("fd01::/64", node.uplink.node_v6.into()),
    ] {
        let line = format!("route add {block} via {via}");
        node.outside.ip(&line).unwrap();
    }
    for nobody in gone
        .iter()
        .map(String::as_str)
        .chain(["10.1.0.200", "fd01::1:2:3"])
    {
        send(&a.container, nobody);
        send(&node.host, nobody);
        send(&node.outside, nobody);
    }
    let asked = neighbours(&node.host).into_iter().filter(|entry| {
        let of_network = |dst: &str| dst.starts_with("10.1.0.") || dst.starts_with("fd01:");
        entry["dst"].as_str().is_some_and(of_network) && entry["lladdr"] != mac
    });
    assert_eq!(asked.collect::<Vec<_>>(), [0; 0]);
    // What somebody holds leaves by the default route, as the rest would have without the blackhole.
    send(&a.container, "203.0.113.9");
    wait_for("a packet to elsewhere", LIMIT, || {
        (counted(&node) > 0).then_some(())
    });
    assert_eq!(counted(&node), 1);
}

#[test]
fn blackholes_go_with_the_last_attachment_of_every_network_that_has_them() {
    let node = Node::new(BridgeNetfilter::Off);
    let shown = || {
        let v4 = node.host.ip("route show type blackhole").unwrap();
        let v6 = node.host.ip("-6 route show type blackhole").unwrap();
        v4.lines().count() + v6.lines().count()
    };
    let [a, b] = node.attach_two(&node.layer3(json!({})));
    assert_eq!(shown(), 2);
    node.detach(&a);
    assert_eq!(shown(), 2);
    node.host.ip("route flush type blackhole").unwrap();
    assert!(!node.check(&b).succeeded());
    node.attach_to(b.config(), &b.container, "eth0");
    assert_eq!(shown(), 2);
    node.detach(&b);
    node.assert_nothing_left();
}

#[test]
fn a_range_that_is_a_part_of_its_subnet_leaves_the_rest_to_others() {
    let node = Node::new(BridgeNetfilter::Off);
    let mut config = node.layer3(json!({}));
    config["ipam"]["ranges"] = json!([[{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.128"}]]);
    let a = node.attach(&config, "a");
    assert_eq!(node.host.ip("route show type blackhole").unwrap(), "");
    node.detach(&a);
    node.assert_nothing_left();
}
