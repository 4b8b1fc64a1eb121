//! Who the outside sees.

use std::net::IpAddr;

use netns_fixtures::BridgeNetfilter;
use serde_json::{Value, json};

use crate::claims;
use crate::node::{Attachment, Node, OUTSIDE, seen_as};

claims! {
    masqueraded_the_outside_sees_the_node,
    without_masquerade_the_outside_sees_the_container,
    what_is_never_translated_has_no_table,
    ipv4_alone_is_masqueraded,
    ipv6_alone_is_masqueraded,
    excluded_destinations_see_the_container,
    containers_see_each_other_unmasqueraded,
    the_other_networks_containers_are_masqueraded,
    the_last_del_takes_the_masquerade_away,
}

/// A node whose outside has routes back to the containers, and one attachment.
fn attached(setting: BridgeNetfilter, ip_masq: &Value) -> (Node, Attachment) {
    let node = Node::new(setting);
    let via = node.uplink;
    node.outside
        .ip_batch(&[
            format!("route add 10.1.0.0/24 via {}", via.node_v4),
            format!("route add fd01::/64 via {}", via.node_v6),
        ])
        .unwrap();
    let a = node.attach(&node.config_with(json!({"ipMasq": ip_masq})), "a");
    (node, a)
}

#[track_caller]
fn assert_seen(node: &Node, a: &Attachment, as_whom: [IpAddr; 2]) {
    for (to, expected) in OUTSIDE.into_iter().zip(as_whom) {
        assert_eq!(seen_as(&a.container, &node.outside, to), expected, "{to}");
    }
}

fn masqueraded_the_outside_sees_the_node(setting: BridgeNetfilter) {
    let (node, a) = attached(setting, &json!(true));
    let node_v4 = node.uplink.node_v4.into();
    assert_seen(&node, &a, [node_v4, node.uplink.node_v6.into()]);
}

fn without_masquerade_the_outside_sees_the_container(setting: BridgeNetfilter) {
    let (node, a) = attached(setting, &json!(false));
    assert_seen(&node, &a, [a.v4().into(), a.v6().into()]);
    assert!(node.host.nft("list tables").unwrap().contains("inet bh-"));
}

/// Where no container may have host ports either, nothing has connections tracked.
fn what_is_never_translated_has_no_table(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let keys = json!({"ipMasq": false, "capabilities": {"bandwidth": true}});
    let _a = node.attach(&node.config_with(keys), "a");
    let tables = node.host.nft("list tables").unwrap();
    assert!(!tables.contains("inet bh-"), "{tables}");
}

fn ipv4_alone_is_masqueraded(setting: BridgeNetfilter) {
    let (node, a) = attached(setting, &json!({"ipv4": true}));
    assert_seen(&node, &a, [node.uplink.node_v4.into(), a.v6().into()]);
}

fn ipv6_alone_is_masqueraded(setting: BridgeNetfilter) {
    let (node, a) = attached(setting, &json!({"ipv6": true}));
    assert_seen(&node, &a, [a.v4().into(), node.uplink.node_v6.into()]);
}

fn excluded_destinations_see_the_container(setting: BridgeNetfilter) {
    let exclude = ["198.51.100.0/24", "2001:db8:ffff::/48"];
    let ip_masq = json!({"ipv4": true, "ipv6": true, "exclude": exclude});
    let (node, a) = attached(setting, &ip_masq);
    assert_seen(&node, &a, [a.v4().into(), a.v6().into()]);
    let (gateway_v4, gateway_v6) = (node.uplink.gateway_v4, node.uplink.gateway_v6);
    let others = [
        (IpAddr::from(gateway_v4), IpAddr::from(node.uplink.node_v4)),
        (gateway_v6.into(), node.uplink.node_v6.into()),
    ];
    for (to, seen) in others {
        assert_eq!(seen_as(&a.container, &node.outside, to), seen, "{to}");
    }
}

fn containers_see_each_other_unmasqueraded(setting: BridgeNetfilter) {
    let (node, a) = attached(setting, &json!(true));
    let b = node.attach(a.config(), "b");
    for (to, from) in b.addresses().into_iter().zip(a.addresses()) {
        assert_eq!(seen_as(&a.container, &b.container, to), from, "{to}");
    }
}

fn the_other_networks_containers_are_masqueraded(setting: BridgeNetfilter) {
    let (node, a) = attached(setting, &json!(true));
    let other = node.network("green", "br-green", "10.2.0.0/24", "fd02::/64");
    let b = node.attach(&other, "b");
    let gateways = ["10.2.0.1", "fd02::1"].map(|text| text.parse::<IpAddr>().unwrap());
    for (to, seen) in b.addresses().into_iter().zip(gateways) {
        assert_eq!(seen_as(&a.container, &b.container, to), seen, "{to}");
    }
}

fn the_last_del_takes_the_masquerade_away(setting: BridgeNetfilter) {
    let (node, a) = attached(setting, &json!(true));
    let b = node.attach(a.config(), "b");
    node.detach(&a);
    let seen = seen_as(&b.container, &node.outside, OUTSIDE[0]);
    assert_eq!(seen, IpAddr::from(node.uplink.node_v4));
    node.detach(&b);
    node.assert_nothing_left();
}
