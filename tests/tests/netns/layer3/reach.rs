//! Who reaches whom, and by what way.

use std::net::{IpAddr, SocketAddr};

use netns_fixtures::{BridgeNetfilter, Ns, Outside, Ping};
use serde_json::json;

use super::{count, counted, learned};
use crate::node::{
    Attachment, LIMIT, Node, OUTSIDE, WINDOW, assert_reaches, refusal, seen_as, with,
};

fn node() -> Node {
    Node::new(BridgeNetfilter::Off)
}

/// The outside knows the way to the containers, as a routing daemon would have told it.
fn announced(node: &Node, blocks: &[&str]) {
    for block in blocks {
        let via: IpAddr = if block.contains(':') {
            node.uplink.node_v6.into()
        } else {
            node.uplink.node_v4.into()
        };
        node.outside
            .ip(&format!("route add {block} via {via}"))
            .unwrap();
    }
}

#[track_caller]
fn both_ways(a: &Attachment, b: &Attachment) {
    for (from, to) in [(a, b), (b, a)] {
        for (own, other) in from.addresses().into_iter().zip(to.addresses()) {
            assert_reaches(&from.container, &to.container, other, own);
        }
    }
}

#[test]
fn containers_reach_each_other_through_the_node_alone() {
    let node = node();
    let [a, b] = node.attach_two(&node.layer3(json!({})));
    both_ways(&a, &b);
    let gate = "table inet theirs {
        chain forward {
            type filter hook forward priority 0; policy drop;
        }
    }";
    node.host.nft(gate).unwrap();
    for address in b.addresses() {
        assert!(!Ping::new(address).limit(WINDOW).from(&a.container).unwrap());
    }
    node.host.nft("delete table inet theirs").unwrap();
    both_ways(&a, &b);
}

#[test]
fn the_result_tells_the_link_and_the_gateways() {
    let node = node();
    let a = node.attach(&node.layer3(json!({})), "a");
    let interfaces = a.result["interfaces"].as_array().unwrap();
    assert_eq!(interfaces.len(), 2, "{:#}", a.result);
    assert_eq!(interfaces[0]["mac"], "fe:62:68:00:00:01");
    assert_eq!(interfaces[1]["name"], "eth0");
    let ips = json!([
        {"interface": 1, "address": format!("{}/32", a.v4()), "gateway": "169.254.1.1"},
        {"interface": 1, "address": format!("{}/128", a.v6()), "gateway": "fe80::1"},
    ]);
    assert_eq!(a.result["ips"], ips);
    let routes = json!([
        {"dst": "169.254.1.1/32"},
        {"dst": "0.0.0.0/0", "gw": "169.254.1.1"},
        {"dst": "::/0", "gw": "fe80::1"},
    ]);
    assert_eq!(a.result["routes"], routes);
}

#[test]
fn the_outside_is_reached_as_oneself_or_as_the_node() {
    let node = node();
    announced(&node, &["10.1.0.0/24", "fd01::/64"]);
    for (masquerade, own) in [(false, true), (true, false)] {
        let a = node.attach(&node.layer3(json!({"ipMasq": masquerade})), "a");
        let nodes: [IpAddr; 2] = [node.uplink.node_v4.into(), node.uplink.node_v6.into()];
        for ((to, mine), nodes) in OUTSIDE.into_iter().zip(a.addresses()).zip(nodes) {
            let seen = seen_as(&a.container, &node.outside, to);
            assert_eq!(seen, if own { mine } else { nodes }, "{to}");
        }
        node.detach(&a);
        node.sandbox.remove(&a.container).unwrap();
        node.assert_nothing_left();
    }
}

#[test]
fn a_network_without_ipv4_has_none_anywhere() {
    let node = node();
    announced(&node, &["fd01::/64"]);
    let ranges = json!({"ranges": [[{"subnet": "fd01::/64"}]]});
    let config = node.layer3(json!({}));
    let ipam = with(config["ipam"].clone(), ranges);
    let config = with(config, json!({"ipam": ipam}));
    let [a, b] = node.attach_two(&config);
    both_ways(&a, &b);
    let seen = seen_as(&a.container, &node.outside, Outside::V6.into());
    assert_eq!(seen, IpAddr::from(a.v6()));
    for ns in [&*node.host, &*a.container] {
        let v4 = ns.ip("-4 addr show up").unwrap();
        let others = v4.lines().filter(|line| line.contains("inet "));
        let theirs = |line: &&str| line.contains("127.0.0.1") || line.contains("uplink0");
        assert_eq!(others.filter(|line| !theirs(line)).count(), 0, "{v4}");
    }
    assert_eq!(a.container.ip("-4 route show").unwrap(), "");
    let forwarding = format!("net/ipv4/conf/{}/forwarding", a.port());
    assert_eq!(node.host.sysctl(&forwarding).unwrap(), "0");
    assert_eq!(node.host.sysctl("net/ipv4/ip_forward").unwrap(), "0");
}

#[test]
fn a_network_without_ipv6_has_none_on_its_links() {
    let node = node();
    let config = node.layer3(json!({}));
    let ipam = with(
        config["ipam"].clone(),
        json!({"ranges": [[{"subnet": "10.1.0.0/24"}]]}),
    );
    let [a, b] = node.attach_two(&with(config, json!({"ipam": ipam})));
    both_ways(&a, &b);
    for (ns, link) in [(&*node.host, a.port()), (&*a.container, "eth0".to_owned())] {
        let shown = ns.ip(&format!("-6 addr show dev {link}")).unwrap();
        assert_eq!(shown, "", "{link}");
    }
}

#[test]
fn nobody_asks_for_a_neighbour() {
    let node = node();
    let [a, b] = node.attach_two(&node.layer3(json!({"ipMasq": true})));
    both_ways(&a, &b);
    for to in OUTSIDE {
        seen_as(&a.container, &node.outside, to);
    }
    for address in a.addresses() {
        assert!(Ping::new(address).limit(LIMIT).from(&node.host).unwrap());
    }
    assert_eq!(learned(&node.host, "bhp"), [""; 0]);
    for ns in [&a.container, &b.container] {
        assert_eq!(learned(ns, "eth0"), [""; 0]);
    }
}

fn spoof(from: &Ns, source: SocketAddr, to: SocketAddr) {
    let sent = from.enter(|| {
        let socket = std::net::UdpSocket::bind(source).unwrap();
        socket.send_to(b"?", to).unwrap()
    });
    assert_eq!(sent.unwrap(), 1);
}

/// Of what a container sends from its neighbour's address, from one of nobody's and from its own, the
/// last alone leaves the node.
#[track_caller]
fn only_its_own_leaves(outside: IpAddr, nobody: IpAddr) {
    let node = node();
    let [a, b] = node.attach_two(&node.layer3(json!({})));
    let of_family = |of: &Attachment| {
        let mut all = of.addresses().into_iter();
        all.find(|address| address.is_ipv4() == outside.is_ipv4())
            .unwrap()
    };
    let (word, bits, flags) = if outside.is_ipv4() {
        ("ip", 32, "")
    } else {
        ("ip6", 128, "nodad")
    };
    let foreign = [of_family(&b), nobody];
    let added = foreign.map(|address| format!("addr add {address}/{bits} dev lo {flags}"));
    a.container.ip_batch(&added).unwrap();
    let to = SocketAddr::new(outside, 9);
    count(&node, &format!("{word} daddr {outside} udp dport 9"));
    for source in foreign {
        spoof(&a.container, SocketAddr::new(source, 4000), to);
    }
    // What comes after shows that what came before was dropped.
    spoof(&a.container, SocketAddr::new(of_family(&a), 4000), to);
    netns_fixtures::wait_for("its own packet", LIMIT, || {
        (counted(&node) > 0).then_some(())
    });
    assert_eq!(counted(&node), 1);
}

#[test]
fn a_source_that_is_not_the_container_s_does_not_leave() {
    only_its_own_leaves(Outside::V4.into(), "203.0.113.7".parse().unwrap());
}

#[test]
fn an_ipv6_source_that_is_not_the_container_s_does_not_leave() {
    only_its_own_leaves(Outside::V6.into(), "2001:db8:bad::7".parse().unwrap());
}

#[test]
fn host_ports_lead_to_a_link_too() {
    let node = node();
    let mapping = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
    let config = with(
        node.layer3(json!({})),
        json!({"capabilities": {"portMappings": true}, "runtimeConfig": {"portMappings": mapping}}),
    );
    let a = node.attach(&config, "a");
    let plain = node.layer3(json!({}));
    let b = node.attach(&plain, "b");
    let any = SocketAddr::new("0.0.0.0".parse().unwrap(), 80);
    let v6 = SocketAddr::new(a.v6().into(), 80);
    let servers = [any, v6].map(|on| {
        netns_fixtures::EchoServer::start(&a.container, netns_fixtures::Transport::Tcp, on).unwrap()
    });
    let ask = |from: &Ns, to: IpAddr| {
        let to = SocketAddr::new(to, 8080);
        netns_fixtures::tcp_echo(from, to, b"who", LIMIT).unwrap()
    };
    let pair = node.uplink;
    assert_eq!(
        ask(&node.outside, pair.node_v4.into()),
        IpAddr::from(pair.gateway_v4)
    );
    assert_eq!(
        ask(&node.outside, pair.node_v6.into()),
        IpAddr::from(pair.gateway_v6)
    );
    for from in [&*node.host, &*a.container, &*b.container] {
        ask(from, pair.node_v4.into());
        ask(from, pair.node_v6.into());
    }
    ask(&node.host, "127.0.0.1".parse().unwrap());
    drop(servers);
    node.detach(&a);
    node.detach(&b);
    node.assert_nothing_left();
}

#[test]
fn a_route_past_the_node_is_refused() {
    let node = node();
    let config = node.layer3(json!({}));
    let routes = json!({"routes": [{"dst": "10.9.0.0/16", "gw": "10.1.0.1"}]});
    let ipam = with(config["ipam"].clone(), routes);
    let (code, said) = node.refused(&with(config, json!({"ipam": ipam})), "a");
    assert_eq!(code, 7, "{said}");
    assert!(
        said.contains("10.9.0.0/16") && said.contains("169.254.1.1"),
        "{said}"
    );
}

#[test]
fn an_address_that_is_routed_elsewhere_is_refused() {
    let node = node();
    node.host
        .ip_batch(&[
            "link add wg0 type bridge",
            "link set wg0 up",
            "route add 10.1.0.42/32 dev wg0",
        ])
        .unwrap();
    let asked = json!({"runtimeConfig": {"ips": ["10.1.0.42"]}, "capabilities": {"ips": true}});
    let config = node.layer3(asked);
    let container = node.sandbox.container("a").unwrap();
    let call = node.call(netns_fixtures::Verb::Add, &config, &container, "eth0");
    let (code, said) = refusal(&node.run(&call));
    assert_eq!(code, 102, "{said}");
    assert!(
        said.contains("10.1.0.42/32") && said.contains("wg0"),
        "{said}"
    );
    assert!(node.leases().is_empty());
}
