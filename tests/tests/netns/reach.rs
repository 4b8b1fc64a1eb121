//! Who reaches whom, over ICMP, TCP and UDP in both families.

use netns_fixtures::{BridgeNetfilter, Ping};
use serde_json::json;

use crate::claims;
use crate::node::{GATEWAYS, LIMIT, Node, OUTSIDE, assert_reaches};

claims! {
    containers_reach_each_other,
    containers_reach_their_gateway_and_it_them,
    containers_reach_the_outside,
    a_deleted_container_is_reached_no_more,
}

fn containers_reach_each_other(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let [a, b] = node.attach_two(&node.config());
    for (to, from) in b.addresses().into_iter().zip(a.addresses()) {
        assert_reaches(&a.container, &b.container, to, from);
    }
    for (to, from) in a.addresses().into_iter().zip(b.addresses()) {
        assert_reaches(&b.container, &a.container, to, from);
    }
}

fn containers_reach_their_gateway_and_it_them(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let a = node.attach(&node.config(), "a");
    for (gateway, own) in GATEWAYS.into_iter().zip(a.addresses()) {
        assert_reaches(&a.container, &node.host, gateway, own);
        assert_reaches(&node.host, &a.container, own, gateway);
    }
}

fn containers_reach_the_outside(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let a = node.attach(&node.config_with(json!({"ipMasq": true})), "a");
    let uplink = [node.uplink.node_v4.into(), node.uplink.node_v6.into()];
    for (to, seen) in OUTSIDE.into_iter().zip(uplink) {
        assert_reaches(&a.container, &node.outside, to, seen);
    }
}

fn a_deleted_container_is_reached_no_more(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let [a, b] = node.attach_two(&node.config());
    for to in b.addresses() {
        assert!(Ping::new(to).limit(LIMIT).from(&a.container).unwrap());
    }
    node.detach(&b);
    for to in b.addresses() {
        let ping = Ping::new(to).limit(std::time::Duration::from_millis(300));
        assert!(!ping.from(&a.container).unwrap(), "{to}");
    }
    for gateway in GATEWAYS {
        assert!(Ping::new(gateway).limit(LIMIT).from(&a.container).unwrap());
    }
    node.detach(&a);
    node.assert_nothing_left();
}
