//! Who switches forwarding on, what that must not break, and that it is undone.

use std::net::Ipv6Addr;

use netns_fixtures::packet::{Icmpv6, NdOption, RouterAdvertisement};
use netns_fixtures::{BridgeNetfilter, End, Ns, PacketSocket, veth, wait_for};
use serde_json::json;

use crate::claims;
use crate::node::{LIMIT, NOTHING, Node, standing};

const V4: &str = "net/ipv4/ip_forward";
const V6: &str = "net/ipv6/conf/all/forwarding";

claims! {
    a_gateway_forwards_and_its_last_del_undoes_it,
    a_segment_without_a_gateway_does_not_forward,
    forwarding_stays_until_the_last_network_goes,
    forwarding_that_was_on_stays_on,
    forwarding_that_somebody_changed_since_is_theirs,
    a_host_keeps_its_route_from_router_advertisements,
}

#[track_caller]
fn assert_forwards(node: &Node, v4: &str, v6: &str) {
    let values = [V4, V6].map(|key| node.host.sysctl(key).unwrap());
    assert_eq!(values, [v4, v6]);
}

fn a_gateway_forwards_and_its_last_del_undoes_it(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    assert_forwards(&node, "0", "0");
    let [a, b] = node.attach_two(&node.config());
    assert_forwards(&node, "1", "1");
    node.detach(&a);
    assert_forwards(&node, "1", "1");
    node.detach(&b);
    assert_forwards(&node, "0", "0");
    node.assert_nothing_left();
}

fn a_segment_without_a_gateway_does_not_forward(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let a = node.attach(&node.config_with(json!({"isDefaultGateway": false})), "a");
    assert_forwards(&node, "0", "0");
    node.detach(&a);
    node.assert_nothing_left();
}

fn forwarding_stays_until_the_last_network_goes(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let green = node.network("green", "br-green", "10.2.0.0/24", "fd02::/64");
    let a = node.attach(&node.config(), "a");
    let b = node.attach(&green, "b");
    node.detach(&a);
    assert_forwards(&node, "1", "1");
    node.detach(&b);
    assert_forwards(&node, "0", "0");
    node.assert_nothing_left();
}

fn forwarding_that_was_on_stays_on(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    node.host.forward().unwrap();
    let before = standing(&node.host);
    let a = node.attach(&node.config(), "a");
    node.detach(&a);
    assert_forwards(&node, "1", "1");
    assert_eq!(before.left_in(&node.host, LIMIT).unwrap(), NOTHING);
}

fn forwarding_that_somebody_changed_since_is_theirs(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let a = node.attach(&node.config(), "a");
    // 2 is no value of ours and forwards all the same.
    node.host.set_sysctl(V6, "2").unwrap();
    node.detach(&a);
    assert_forwards(&node, "0", "2");
}

/// Advertises a default route from `router`'s `lan`.
fn advertise(router: &Ns) {
    let mac = router.mac("lan").unwrap();
    let local: Ipv6Addr = "fe80::1".parse().unwrap();
    let advertisement = RouterAdvertisement {
        hop_limit: 64,
        flags: 0,
        lifetime_secs: 1800,
        reachable_ms: 0,
        retrans_ms: 0,
        options: vec![NdOption::SourceMac(mac)],
    };
    PacketSocket::open(router, "lan")
        .unwrap()
        .send(&Icmpv6::router_advertisement(mac, local, advertisement))
        .unwrap();
}

fn has_advertised_route(host: &Ns) -> bool {
    let routes = host.ip_json("-6 route show default dev wan").unwrap();
    let mut routes = routes.as_array().unwrap().iter();
    routes.any(|route| route["protocol"] == "ra")
}

fn a_host_keeps_its_route_from_router_advertisements(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let router = node.sandbox.ns("router").unwrap();
    veth(&End::new(&node.host, "wan"), &End::new(&router, "lan")).unwrap();
    wait_for("a route from an advertisement", LIMIT, || {
        advertise(&router);
        has_advertised_route(&node.host).then_some(())
    });
    let key = "net/ipv6/conf/wan/accept_ra";
    let before = standing(&node.host);
    let a = node.attach(&node.config(), "a");
    assert_forwards(&node, "1", "1");
    assert!(has_advertised_route(&node.host), "the route is gone");
    assert_eq!(node.host.sysctl(key).unwrap(), "2");
    // Not only is the route kept: the next advertisement still counts.
    node.host.ip("-6 route del default dev wan").unwrap();
    wait_for("the route again", LIMIT, || {
        advertise(&router);
        has_advertised_route(&node.host).then_some(())
    });
    node.detach(&a);
    assert_eq!(node.host.sysctl(key).unwrap(), "1");
    assert_forwards(&node, "0", "0");
    assert!(has_advertised_route(&node.host), "the route is gone");
    assert_eq!(before.left_in(&node.host, LIMIT).unwrap(), NOTHING);
}
