//! `"segmentation": "l3"`: one bridge, and no segment.

use netns_fixtures::{BridgeNetfilter, Ping};
use serde_json::json;

use crate::claims;
use crate::node::{BRIDGE, GATEWAYS, LIMIT, Node, assert_reaches};

claims! {
    containers_reach_each_other_by_the_node_alone,
    containers_reach_their_gateway_and_it_them,
    no_packet_is_lost_to_a_redirect,
    nobody_asks_for_a_neighbour,
    check_and_del_see_all_of_it,
    what_needs_a_segment_is_refused,
}

fn containers_reach_each_other_by_the_node_alone(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let [a, b] = node.attach_two(&node.config_with(json!({"segmentation": "l3"})));
    for (to, from) in b.addresses().into_iter().zip(a.addresses()) {
        assert_reaches(&a.container, &b.container, to, from);
    }
    // What is sent to the other's own MAC goes nowhere: the ports are isolated.
    let mac = b.container.mac("eth0").unwrap();
    let mac: Vec<_> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    let mac = mac.join(":");
    for to in b.addresses() {
        let line = format!("neigh replace {to} lladdr {mac} dev eth0 nud permanent");
        a.container.ip(&line).unwrap();
        a.container.ip(&format!("route add {to} dev eth0")).unwrap();
        let ping = Ping::new(to).limit(std::time::Duration::from_millis(300));
        assert!(!ping.from(&a.container).unwrap(), "{to}");
    }
}

fn containers_reach_their_gateway_and_it_them(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let a = node.attach(&node.config_with(json!({"segmentation": "l3"})), "a");
    for (gateway, own) in GATEWAYS.into_iter().zip(a.addresses()) {
        assert_reaches(&a.container, &node.host, gateway, own);
        assert_reaches(&node.host, &a.container, own, gateway);
    }
}

/// The node sends such a packet out of the link it came in by, and would say so to its sender.
fn no_packet_is_lost_to_a_redirect(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let [a, b] = node.attach_two(&node.config_with(json!({"segmentation": "l3"})));
    for to in b.addresses() {
        for _ in 0..8 {
            assert!(
                Ping::new(to).limit(LIMIT).from(&a.container).unwrap(),
                "{to}"
            );
        }
        let route = a.container.ip(&format!("route get {to}")).unwrap();
        assert!(route.contains(" via "), "{route}");
    }
}

/// Permanent neighbours on both sides: nothing is there that a flood could push out.
fn nobody_asks_for_a_neighbour(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let [a, b] = node.attach_two(&node.config_with(json!({"segmentation": "l3"})));
    for to in b.addresses() {
        assert!(
            Ping::new(to).limit(LIMIT).from(&a.container).unwrap(),
            "{to}"
        );
    }
    let inside = a.container.ip("neigh show dev eth0").unwrap();
    let node_side = node.host.ip(&format!("neigh show dev {BRIDGE}")).unwrap();
    for (whose, entries) in [("container", inside), ("node", node_side)] {
        let temporary: Vec<_> = entries
            .lines()
            .filter(|line| !line.contains("PERMANENT") && !line.contains("NOARP"))
            // The node's own probe of one that asked it.
            .filter(|line| !line.starts_with("fe80::"))
            .collect();
        assert!(temporary.is_empty(), "{whose}: {temporary:?}");
    }
}

fn check_and_del_see_all_of_it(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let config = node.config_with(json!({"segmentation": "l3"}));
    let [a, b] = node.attach_two(&config);
    node.detach(&a);
    node.detach(&b);
    node.assert_nothing_left();
}

fn what_needs_a_segment_is_refused(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let bare = json!({"segmentation": "l3", "isGateway": false, "isDefaultGateway": false});
    for (name, keys, key) in [
        ("a", json!({"segmentation": "l4"}), "segmentation"),
        ("b", bare, "segmentation"),
        (
            "c",
            json!({"segmentation": "l3", "multicast": "all"}),
            "multicast",
        ),
    ] {
        let (_, said) = node.refused(&node.config_with(keys), name);
        assert!(said.contains(key), "{said}");
    }
}
