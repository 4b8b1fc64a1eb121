//! DEL succeeds on whatever is left, and a repeated ADD answers the same.

use netns_fixtures::{BridgeNetfilter, Ping, Snapshot, Verb};
use serde_json::{Value, json};

use crate::claims;
use crate::node::{LIMIT, NOTHING, Node, standing, with};

claims! {
    del_leaves_nothing,
    del_without_prev_result_leaves_nothing,
    del_without_a_namespace_leaves_nothing,
    del_after_the_namespace_is_gone_leaves_nothing,
    del_after_somebody_removed_parts_leaves_nothing,
    del_twice_and_del_before_add_succeed,
    del_of_a_broken_configuration_leaves_nothing,
    del_leaves_the_neighbours_untouched,
    a_second_add_answers_the_same,
    a_second_add_mends_what_is_broken,
    add_into_a_new_namespace_replaces_the_dead_attachment,
    an_add_that_fails_leaves_nothing,
}

/// Everything a network can have on the node.
fn full(node: &Node) -> Value {
    node.config_with(json!({"ipMasq": true, "macspoofchk": true}))
}

fn del_leaves_nothing(setting: BridgeNetfilter) {
    for hook in ["auto", "perPort"] {
        let node = Node::new(setting);
        let config = with(
            full(&node),
            json!({"portFilter": hook, "hairpinMode": true}),
        );
        let [a, b] = node.attach_two(&config);
        let fresh = Snapshot::take(&node.sandbox.container("fresh").unwrap()).unwrap();
        node.detach(&a);
        assert_eq!(fresh.left_in(&a.container, LIMIT).unwrap(), NOTHING);
        node.detach(&b);
        node.assert_nothing_left();
    }
}

fn del_without_prev_result_leaves_nothing(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let a = node.attach(&full(&node), "a");
    node.silent(&node.call(Verb::Del, a.config(), &a.container, "eth0"));
    assert!(!a.container.has_link("eth0").unwrap());
    node.assert_nothing_left();
}

fn del_without_a_namespace_leaves_nothing(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let a = node.attach(&full(&node), "a");
    let call = node.call(Verb::Del, a.config(), &a.container, "eth0");
    node.silent(&call.without("CNI_NETNS"));
    assert!(!a.container.has_link("eth0").unwrap());
    node.assert_nothing_left();
}

fn del_after_the_namespace_is_gone_leaves_nothing(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    for hook in ["auto", "perPort"] {
        let config = with(full(&node), json!({"portFilter": hook}));
        let a = node.attach(&config, &format!("a-{hook}"));
        node.sandbox.remove(&a.container).unwrap();
        node.detach(&a);
        node.assert_nothing_left();
    }
}

/// What a person may do to a live attachment: each one, then DEL.
const DAMAGES: &[&str] = &[
    "ip link del {port}",
    "ip link del br-blue",
    "ip link set {port} nomaster",
    "ip addr flush dev br-blue",
    "nft flush ruleset",
    "nft delete table netdev bulkhead",
    "sysctl -qw net.ipv4.ip_forward=0",
];

fn del_after_somebody_removed_parts_leaves_nothing(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    for (nth, damage) in DAMAGES.iter().enumerate() {
        let a = node.attach(&full(&node), &format!("a{nth}"));
        node.host.sh(&damage.replace("{port}", &a.port())).unwrap();
        node.detach(&a);
        node.assert_nothing_left();
    }
}

fn del_twice_and_del_before_add_succeed(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let container = node.sandbox.container("a").unwrap();
    let config = full(&node);
    node.silent(&node.call(Verb::Del, &config, &container, "eth0"));
    node.assert_nothing_left();
    let a = node.attach_to(&config, &container, "eth0");
    for _ in 0..2 {
        node.detach(&a);
        node.assert_nothing_left();
    }
}

fn del_of_a_broken_configuration_leaves_nothing(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let a = node.attach(&full(&node), "a");
    let broken = with(a.config().clone(), json!({"mtu": "wide"}));
    node.silent(&node.call(Verb::Del, &broken, &a.container, "eth0"));
    node.assert_nothing_left();
}

fn del_leaves_the_neighbours_untouched(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let b = node.attach(&full(&node), "b");
    let standing = [&*node.host, &*b.container].map(standing);
    let a = node.attach(&full(&node), "a");
    for to in a.addresses() {
        assert!(Ping::new(to).limit(LIMIT).from(&b.container).unwrap());
    }
    node.detach(&a);
    for (before, ns) in standing.iter().zip([&*node.host, &*b.container]) {
        assert_eq!(before.left_in(ns, LIMIT).unwrap(), NOTHING);
    }
    assert!(node.check(&b).succeeded());
}

fn a_second_add_answers_the_same(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let [a, _b] = node.attach_two(&full(&node));
    let standing = [&*node.host, &*a.container].map(standing);
    let leased = node.leases();
    let again = node.attach_to(a.config(), &a.container, "eth0");
    assert_eq!(again.result, a.result);
    assert_eq!(node.leases(), leased);
    for (before, ns) in standing.iter().zip([&*node.host, &*a.container]) {
        assert_eq!(before.left_in(ns, LIMIT).unwrap(), NOTHING);
    }
}

fn a_second_add_mends_what_is_broken(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let a = node.attach(&full(&node), "a");
    let standing = [&*node.host, &*a.container].map(standing);
    for damage in DAMAGES {
        node.host.sh(&damage.replace("{port}", &a.port())).unwrap();
        let again = node.attach_to(a.config(), &a.container, "eth0");
        assert_eq!(again.result, a.result, "{damage}");
        for (before, ns) in standing.iter().zip([&*node.host, &*a.container]) {
            let left = before.left_in(ns, LIMIT).unwrap();
            assert_eq!(left, NOTHING, "{damage}");
        }
    }
}

fn add_into_a_new_namespace_replaces_the_dead_attachment(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let a = node.attach(&full(&node), "a");
    let other = node.sandbox.container("other").unwrap();
    let call = node.call(Verb::Add, a.config(), &other, "eth0");
    let call = call.container_id(a.container.name());
    let result = node.run(&call).result();
    assert_eq!(result["ips"], a.result["ips"]);
    assert!(other.has_link("eth0").unwrap());
    assert!(!a.container.has_link("eth0").unwrap());
    node.detach(&a);
    assert!(!other.has_link("eth0").unwrap());
    node.assert_nothing_left();
}

fn an_add_that_fails_leaves_nothing(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let config = full(&node);
    // The kernel refuses these late: a route over a gateway that no address reaches.
    let mut late = config.clone();
    late["ipam"]["routes"] = json!([{"dst": "10.9.0.0/16", "gw": "172.16.0.1"}]);
    node.refused(&late, "a");
    let b = node.attach(&config, "b");
    node.refused(&late, "c");
    for to in b.addresses() {
        assert!(Ping::new(to).limit(LIMIT).from(&node.host).unwrap());
    }
    node.detach(&b);
    node.assert_nothing_left();
}
