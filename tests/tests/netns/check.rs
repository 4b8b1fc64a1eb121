//! CHECK is content right after ADD, and names what drifted.

use netns_fixtures::BridgeNetfilter;
use serde_json::{Value, json};

use crate::claims;
use crate::node::{Attachment, Node, refusal};

claims! {
    check_is_content_right_after_add,
    check_passes_what_a_network_does_not_claim,
    check_names_a_removed_address,
    check_names_a_removed_route,
    check_names_an_interface_that_is_down,
    check_names_a_port_that_is_down,
    check_names_a_changed_mac,
    check_names_a_port_off_its_bridge,
    check_names_a_removed_interface,
    check_names_a_removed_gateway_address,
    check_names_a_flushed_ruleset,
    check_names_a_removed_binding,
    check_names_a_changed_sysctl,
    check_names_forwarding_switched_off,
    check_names_a_changed_mtu,
    check_names_a_port_attribute,
    check_names_an_unknown_attachment,
}

fn attached(setting: BridgeNetfilter) -> (Node, Attachment) {
    let node = Node::new(setting);
    let config = node.config_with(json!({"macspoofchk": true, "ipMasq": true}));
    let a = node.attach(&config, "a");
    (node, a)
}

#[track_caller]
fn assert_drift(node: &Node, a: &Attachment, words: &[&str]) {
    let (code, said) = refusal(&node.check(a));
    assert!(code >= 100, "{code}: {said}");
    for word in words {
        assert!(said.contains(word), "{word} is not named: {said}");
    }
}

fn check_is_content_right_after_add(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let variants: [Value; 4] = [
        json!({}),
        json!({"macspoofchk": true, "portFilter": "perPort", "hairpinMode": true}),
        json!({"mtu": 9000, "ipMasq": {"ipv4": true, "exclude": ["192.0.2.0/24"]}}),
        json!({"isDefaultGateway": false, "portIsolation": true, "promiscMode": true}),
    ];
    for (nth, keys) in variants.into_iter().enumerate() {
        let config = node.config_with(keys);
        let [a, b] = ["a", "b"].map(|name| node.attach(&config, &format!("{name}{nth}")));
        for attachment in [&a, &b] {
            let answer = node.check(attachment);
            assert!(
                answer.succeeded() && answer.stdout.is_empty(),
                "{answer:#?}"
            );
        }
        node.detach(&a);
        node.detach(&b);
    }
}

fn check_passes_what_a_network_does_not_claim(setting: BridgeNetfilter) {
    let (node, a) = attached(setting);
    a.container
        .ip_batch(&[
            "addr add 172.20.0.1/24 dev eth0",
            "route add 10.77.0.0/16 via 10.1.0.9",
            "link set eth0 txqueuelen 77",
        ])
        .unwrap();
    let answer = node.check(&a);
    assert!(answer.succeeded(), "{answer:#?}");
}

fn check_names_a_removed_address(setting: BridgeNetfilter) {
    for v6 in [false, true] {
        let (node, a) = attached(setting);
        let address = a.addresses()[usize::from(v6)].to_string();
        let len = if v6 { 64 } else { 24 };
        a.container
            .ip(&format!("addr del {address}/{len} dev eth0"))
            .unwrap();
        assert_drift(&node, &a, &[&address, "eth0"]);
    }
}

fn check_names_a_removed_route(setting: BridgeNetfilter) {
    let (node, a) = attached(setting);
    a.container.ip("-6 route del default").unwrap();
    assert_drift(&node, &a, &["::/0", "fd01::1"]);
    let (node, a) = attached(setting);
    a.container.ip("route del default").unwrap();
    assert_drift(&node, &a, &["0.0.0.0/0", "10.1.0.1"]);
}

fn check_names_an_interface_that_is_down(setting: BridgeNetfilter) {
    let (node, a) = attached(setting);
    a.container.ip("link set eth0 down").unwrap();
    assert_drift(&node, &a, &["eth0", "up"]);
}

fn check_names_a_port_that_is_down(setting: BridgeNetfilter) {
    let (node, a) = attached(setting);
    let port = a.port();
    node.host.ip(&format!("link set {port} down")).unwrap();
    assert_drift(&node, &a, &[&port, "up"]);
}

fn check_names_a_changed_mac(setting: BridgeNetfilter) {
    let (node, a) = attached(setting);
    let mac = netns_fixtures::packet::mac_text(a.mac());
    a.container
        .ip("link set eth0 address 02:ba:d0:00:00:02")
        .unwrap();
    assert_drift(&node, &a, &["eth0", &mac]);
}

fn check_names_a_port_off_its_bridge(setting: BridgeNetfilter) {
    let (node, a) = attached(setting);
    let port = a.port();
    node.host.ip(&format!("link set {port} nomaster")).unwrap();
    assert_drift(&node, &a, &[&port, "br-blue"]);
}

fn check_names_a_removed_interface(setting: BridgeNetfilter) {
    let (node, a) = attached(setting);
    a.container.ip("link del eth0").unwrap();
    assert_drift(&node, &a, &["eth0"]);
}

fn check_names_a_removed_gateway_address(setting: BridgeNetfilter) {
    let (node, a) = attached(setting);
    node.host.ip("addr del 10.1.0.1/24 dev br-blue").unwrap();
    assert_drift(&node, &a, &["10.1.0.1/24", "br-blue"]);
}

fn check_names_a_flushed_ruleset(setting: BridgeNetfilter) {
    let (node, a) = attached(setting);
    node.host.sh("nft flush ruleset").unwrap();
    assert_drift(&node, &a, &["netdev bulkhead", "masquerade"]);
}

fn check_names_a_removed_binding(setting: BridgeNetfilter) {
    let (node, a) = attached(setting);
    let (port, mac) = (a.port(), netns_fixtures::packet::mac_text(a.mac()));
    node.host
        .nft(&format!(
            "delete element netdev bulkhead id2 {{ \"{port}\" . {mac} }}"
        ))
        .unwrap();
    assert_drift(&node, &a, &[&port, &mac]);
}

fn check_names_a_changed_sysctl(setting: BridgeNetfilter) {
    let (node, a) = attached(setting);
    let key = "net/ipv6/conf/eth0/accept_ra";
    a.container.set_sysctl(key, "2").unwrap();
    assert_drift(&node, &a, &["accept_ra"]);
}

fn check_names_forwarding_switched_off(setting: BridgeNetfilter) {
    let (node, a) = attached(setting);
    node.host.set_sysctl("net/ipv4/ip_forward", "0").unwrap();
    assert_drift(&node, &a, &["ip_forward"]);
}

fn check_names_a_changed_mtu(setting: BridgeNetfilter) {
    let (node, a) = attached(setting);
    a.container.ip("link set eth0 mtu 1300").unwrap();
    assert_drift(&node, &a, &["eth0", "mtu"]);
}

fn check_names_a_port_attribute(setting: BridgeNetfilter) {
    let (node, a) = attached(setting);
    let port = a.port();
    node.host
        .sh(&format!("bridge link set dev {port} isolated on"))
        .unwrap();
    assert_drift(&node, &a, &[&port, "isolated"]);
}

fn check_names_an_unknown_attachment(setting: BridgeNetfilter) {
    let (node, a) = attached(setting);
    node.detach(&a);
    assert_drift(&node, &a, &[a.container.name()]);
}
