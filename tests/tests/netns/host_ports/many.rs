//! Hundreds of host ports.

use netns_fixtures::BridgeNetfilter;
use serde_json::Value;

use super::{
    INSIDE, PORT, assert_as_added, assert_refused, mapped, published, publishing, seen_at, serve,
    to, uplink,
};
use crate::node::{Attachment, Node};

/// Numbers, each open over TCP and UDP.
const NUMBERS: u16 = 250;

fn config(node: &Node, first: u16) -> Value {
    let mappings = (first..first + NUMBERS).flat_map(|number| mapped(number, number));
    publishing(&node.config(), mappings)
}

/// Entries of one map whose comment is the attachment's port.
fn entries(node: &Node, map: &str, of: &Attachment) -> usize {
    let listed = node
        .host
        .sh(&format!("nft list map inet bulkhead-ports {map}"))
        .unwrap();
    listed
        .matches(&format!("comment \"{}\"", of.port()))
        .count()
}

#[test]
fn five_hundred_come_work_and_go() {
    let node = Node::new(BridgeNetfilter::On);
    let a = node.attach(&config(&node, 10_000), "a");
    for (map, count) in [("every4", 500), ("every6", 500), ("one4", 0), ("one6", 0)] {
        assert_eq!(entries(&node, map, &a), count, "{map}");
    }
    let asked = [10_000, 10_100, 10_249];
    let own = uplink(&node);
    for number in asked {
        let _service = serve(&a.container, number);
        for address in own {
            seen_at(to(address, number), &node.outside);
        }
    }
    assert_as_added(&node, &a);
    let again = node.attach_to(a.config(), &a.container, "eth0");
    assert_eq!(again.result, a.result);
    // Beside them others come and go, and leave them as they are.
    let b = node.attach(&config(&node, 20_000), "b");
    node.host.nft("flush ruleset").unwrap();
    let c = node.attach(&published(&node), "c");
    for of in [&a, &b] {
        assert_eq!(entries(&node, "every6", of), 500, "loaded anew");
    }
    let _service = serve(&c.container, INSIDE);
    seen_at(to(node.uplink.node_v4, PORT), &node.outside);
    node.detach(&b);
    for (of, count) in [(&a, 500), (&b, 0), (&c, 1 + 1)] {
        assert_eq!(entries(&node, "every4", of), count);
    }
    node.detach(&a);
    for address in own {
        assert_refused(to(address, asked[1]), &node.outside);
    }
    seen_at(to(node.uplink.node_v4, PORT), &node.outside);
    node.detach(&c);
    node.assert_nothing_left();
}

/// More than a netlink socket takes at once by default (`net.core.wmem_default`).
#[test]
fn thousands_go_in_one_transaction() {
    let node = Node::new(BridgeNetfilter::Off);
    let mappings = (10_000..11_000).flat_map(|number| mapped(number, number));
    let a = node.attach(&publishing(&node.config(), mappings), "a");
    assert_eq!(entries(&node, "every6", &a), 2_000);
    assert_as_added(&node, &a);
    node.detach(&a);
    node.assert_nothing_left();
}
