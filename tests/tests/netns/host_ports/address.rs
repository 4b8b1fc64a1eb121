//! On which of the node's addresses a host port is open.

use std::net::IpAddr;

use netns_fixtures::{BridgeNetfilter, Verb};
use serde_json::Value;

use super::{INSIDE, PORT, assert_refused, mapped_on, publishing, seen_at, serve, to, uplink};
use crate::claims;
use crate::node::{BRIDGE, GATEWAYS, Node, refusal, standing};

claims! {
    on_one_address_the_others_do_not_answer,
    on_127_0_0_1_only_the_host_reaches_it,
    an_unspecified_address_stands_for_its_family,
    each_address_has_its_own_container,
    an_address_that_is_not_the_host_s_is_refused,
    an_address_that_the_host_gets_later_is_taken_then,
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A second address beside the first one on the uplink.
const SECOND: [&str; 2] = ["192.0.1.3", "2001:db8:1::3"];

fn add_second(node: &Node) {
    let [v4, v6] = SECOND;
    node.host
        .ip_batch(&[
            format!("addr add {v4}/24 dev uplink0"),
            format!("addr add {v6}/64 dev uplink0 nodad"),
        ])
        .unwrap();
}

/// A node that has them from the start.
fn with_second(setting: BridgeNetfilter) -> Node {
    let mut node = Node::new(setting);
    add_second(&node);
    node.before = standing(&node.host);
    node
}

fn on_one_address_the_others_do_not_answer(setting: BridgeNetfilter) {
    let node = with_second(setting);
    let first = uplink(&node).map(|address| address.to_string());
    let mappings = first.iter().flat_map(|one| mapped_on(one, PORT, INSIDE));
    let config = publishing(&node.config(), mappings);
    let a = node.attach(&config, "a");
    let _service = serve(&a.container, INSIDE);
    for address in &first {
        for from in [&*node.outside, &*node.host, &*a.container] {
            seen_at(to(ip(address), PORT), from);
        }
    }
    for address in SECOND {
        for from in [&*node.outside, &*node.host] {
            assert_refused(to(ip(address), PORT), from);
        }
    }
    assert_refused(to(ip("127.0.0.1"), PORT), &node.host);
    for gateway in GATEWAYS {
        assert_refused(to(gateway, PORT), &a.container);
    }
    let switch = format!("net/ipv4/conf/{BRIDGE}/route_localnet");
    assert_eq!(node.host.sysctl(&switch).unwrap(), "0", "nothing needs it");
    node.detach(&a);
    node.assert_nothing_left();
}

fn on_127_0_0_1_only_the_host_reaches_it(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let config = publishing(&node.config(), mapped_on("127.0.0.1", PORT, INSIDE));
    let a = node.attach(&config, "a");
    let b = node.attach(&node.config(), "b");
    let _service = serve(&a.container, INSIDE);
    assert_eq!(seen_at(to(ip("127.0.0.1"), PORT), &node.host), GATEWAYS[0]);
    assert_refused(to(ip("127.0.0.2"), PORT), &node.host);
    let [own, _] = uplink(&node);
    for from in [&*node.outside, &*node.host, &*a.container, &*b.container] {
        assert_refused(to(own, PORT), from);
    }
    for from in [&a.container, &b.container] {
        assert_refused(to(GATEWAYS[0], PORT), from);
    }
    node.detach(&a);
    assert_refused(to(ip("127.0.0.1"), PORT), &node.host);
}

fn an_unspecified_address_stands_for_its_family(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let mappings = [("0.0.0.0", 8084), ("::", 8086)];
    let mappings = mappings.map(|(any, number)| mapped_on(any, number, INSIDE));
    let a = node.attach(&publishing(&node.config(), mappings.concat()), "a");
    let _service = serve(&a.container, INSIDE);
    for (address, [open, closed]) in uplink(&node).into_iter().zip([[8084, 8086], [8086, 8084]]) {
        for from in [&*node.outside, &*a.container] {
            seen_at(to(address, open), from);
            assert_refused(to(address, closed), from);
        }
    }
    seen_at(to(ip("127.0.0.1"), 8084), &node.host);
    node.detach(&a);
    node.assert_nothing_left();
}

/// The number alone does not say whose it is.
fn each_address_has_its_own_container(setting: BridgeNetfilter) {
    let node = with_second(setting);
    let [first, second] = [node.uplink.node_v4.to_string(), SECOND[0].to_owned()];
    let services = [("a", first, INSIDE), ("b", second, INSIDE + 1)];
    let serving = services.map(|(name, address, inside)| {
        let mappings = mapped_on(&address, PORT, inside);
        let attachment = node.attach(&publishing(&node.config(), mappings), name);
        // Only the right one listens on the port that its mapping leads to.
        let service = serve(&attachment.container, inside);
        (attachment, address, service)
    });
    for (_, address, _) in &serving {
        seen_at(to(ip(address), PORT), &node.outside);
    }
    let [(a, first, _), (b, second, _)] = serving;
    node.detach(&a);
    assert_refused(to(ip(&first), PORT), &node.outside);
    seen_at(to(ip(&second), PORT), &node.outside);
    node.detach(&b);
    node.assert_nothing_left();
}

fn elsewhere(node: &Node, address: &str) -> Value {
    publishing(&node.config(), mapped_on(address, PORT, INSIDE))
}

fn an_address_that_is_not_the_host_s_is_refused(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let addresses = ["192.0.1.77", "2001:db8:1::77", "192.0.1.255", "224.0.0.1"];
    for (nth, address) in addresses.into_iter().enumerate() {
        let (code, said) = node.refused(&elsewhere(&node, address), &format!("a{nth}"));
        let text = format!(
            "address {address} of portMappings is not on this host: leave \"hostIP\" out, or add the address first "
        );
        assert_eq!((code, said), (102, text));
    }
    // Neither a record nor a claim is left: another one may have the number.
    let b = node.attach(&super::published(&node), "b");
    node.detach(&b);
    node.assert_nothing_left();
}

fn an_address_that_the_host_gets_later_is_taken_then(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let config = elsewhere(&node, SECOND[0]);
    let container = node.sandbox.container("a").unwrap();
    let call = node.call(Verb::Add, &config, &container, "eth0");
    assert!(!node.run(&call).succeeded());
    add_second(&node);
    let a = node.attach_to(&config, &container, "eth0");
    let _service = serve(&a.container, INSIDE);
    seen_at(to(ip(SECOND[0]), PORT), &node.outside);
    // One that went away again is named, and does not keep anything.
    let gone = format!("addr del {}/24 dev uplink0", SECOND[0]);
    node.host.ip(&gone).unwrap();
    let (_, said) = refusal(&node.check(&a));
    assert!(said.contains(SECOND[0]), "{said}");
    node.detach(&a);
    assert!(node.leases().is_empty());
}
