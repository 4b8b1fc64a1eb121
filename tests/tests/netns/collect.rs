//! GC: what the runtime does not list goes; no list and an empty one are not the same.

use netns_fixtures::{BridgeNetfilter, CniCall, Verb};
use serde_json::{Value, json};

use crate::claims;
use crate::node::{Attachment, LIMIT, NOTHING, Node, standing, with};

const KEY: &str = "cni.dev/valid-attachments";

claims! {
    gc_without_a_list_takes_only_the_dead,
    gc_with_null_or_an_empty_list_takes_all,
    gc_takes_what_is_not_listed,
    gc_leaves_other_networks,
    gc_tells_two_interfaces_of_one_container_apart,
}

fn gc(node: &Node, config: &Value, keys: Value) {
    let config = with(config.clone(), keys);
    node.silent(&bare(node.call(
        Verb::Gc,
        &config,
        &node.sandbox.container("unused").unwrap(),
        "eth0",
    )));
}

/// Without the variables that name an attachment.
fn bare(call: CniCall) -> CniCall {
    ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]
        .into_iter()
        .fold(call, CniCall::without)
}

fn named(attachment: &Attachment) -> Value {
    json!({"containerID": attachment.container.name(), "ifname": attachment.ifname})
}

fn gc_without_a_list_takes_only_the_dead(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let config = node.config();
    let [a, b] = node.attach_two(&config);
    let c = node.attach(&config, "c");
    node.sandbox.remove(&c.container).unwrap();
    gc(&node, &config, json!({}));
    for attachment in [&a, &b] {
        assert!(node.check(attachment).succeeded());
    }
    assert_eq!(node.leases().len(), 4);
    node.detach(&a);
    node.detach(&b);
    node.assert_nothing_left();
}

fn gc_with_null_or_an_empty_list_takes_all(setting: BridgeNetfilter) {
    for list in [Value::Null, json!([])] {
        let node = Node::new(setting);
        let config = node.config();
        let both = node.attach_two(&config);
        gc(&node, &config, json!({KEY: list}));
        for attachment in &both {
            assert!(!attachment.container.has_link("eth0").unwrap());
        }
        node.assert_nothing_left();
    }
}

fn gc_takes_what_is_not_listed(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let config = node.config_with(json!({"macspoofchk": true}));
    let a = node.attach(&config, "a");
    let standing = standing(&node.host);
    let [b, c] = ["b", "c"].map(|name| node.attach(&config, name));
    gc(&node, &config, json!({KEY: [named(&a)]}));
    for attachment in [&b, &c] {
        assert!(!attachment.container.has_link("eth0").unwrap());
    }
    assert!(node.check(&a).succeeded());
    assert_eq!(standing.left_in(&node.host, LIMIT).unwrap(), NOTHING);
    assert_eq!(node.leases(), a.addresses());
    node.detach(&a);
    node.assert_nothing_left();
}

fn gc_leaves_other_networks(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let a = node.attach(&node.config(), "a");
    let green = node.network("green", "br-green", "10.2.0.0/24", "fd02::/64");
    let b = node.attach(&green, "b");
    gc(&node, &node.config(), json!({KEY: []}));
    assert!(!a.container.has_link("eth0").unwrap());
    assert!(node.check(&b).succeeded());
    node.detach(&b);
    node.assert_nothing_left();
}

fn gc_tells_two_interfaces_of_one_container_apart(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let config = node.config();
    let first = node.attach(&config, "a");
    let second = node.attach_to(&config, &first.container, "net1");
    gc(&node, &config, json!({KEY: [named(&second)]}));
    assert!(!first.container.has_link("eth0").unwrap());
    assert!(node.check(&second).succeeded());
    node.detach(&second);
    node.assert_nothing_left();
}
