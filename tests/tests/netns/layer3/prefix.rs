//! A whole /64 for each container (RFC 8273).

use std::net::{IpAddr, Ipv6Addr};

use netns_fixtures::{BridgeNetfilter, Outside, Ping};
use serde_json::{Value, json};

use super::learned;
use crate::node::{LIMIT, Node, assert_reaches, seen_as, with};

fn prefixed(node: &Node, ranges: &Value) -> Value {
    let config = node.layer3(json!({"prefixPerContainer": true}));
    let ipam = with(config["ipam"].clone(), json!({"ranges": ranges}));
    with(config, json!({"ipam": ipam}))
}

#[test]
fn every_address_of_a_prefix_is_the_container_s() {
    let node = Node::new(BridgeNetfilter::Off);
    let way = node.uplink.node_v6;
    node.outside
        .ip(&format!("route add fd01::/48 via {way}"))
        .unwrap();
    let config = prefixed(
        &node,
        &json!([[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd01::/48"}]]),
    );
    let [a, b] = node.attach_two(&config);
    let ip = |v6: Ipv6Addr| format!("{v6}/64");
    assert_eq!(a.result["ips"][1]["address"], ip(a.v6()));
    assert_eq!(a.v6(), "fd01::1".parse::<Ipv6Addr>().unwrap());
    assert_eq!(b.v6(), "fd01:0:0:1::1".parse::<Ipv6Addr>().unwrap());
    let from = a.v6().into();
    assert_reaches(&a.container, &b.container, b.v6().into(), from);
    let others = [
        "fd01:0:0:1::7",
        "fd01::1:2:3:4",
        "fd01:0:0:1:ffff:ffff:ffff:ffff",
    ];
    let of_b = [others[0], others[2]];
    for other in of_b {
        b.container
            .ip(&format!("addr add {other}/128 dev eth0 nodad"))
            .unwrap();
    }
    a.container
        .ip(&format!("addr add {}/128 dev eth0 nodad", others[1]))
        .unwrap();
    for other in of_b {
        let to: IpAddr = other.parse().unwrap();
        assert!(
            Ping::new(to).limit(LIMIT).from(&a.container).unwrap(),
            "{other}"
        );
        assert!(
            Ping::new(to).limit(LIMIT).from(&node.outside).unwrap(),
            "{other}"
        );
        assert!(
            Ping::new(to).limit(LIMIT).from(&node.host).unwrap(),
            "{other}"
        );
    }
    seen_as(&a.container, &node.outside, Outside::V6.into());
    assert_eq!(learned(&node.host, "bhp"), [""; 0]);
    assert_eq!(learned(&a.container, "eth0"), [""; 0]);
    for attachment in [&a, &b] {
        assert!(node.check(attachment).succeeded());
    }
    let again = node.attach_to(&config, &a.container, "eth0");
    assert_eq!(again.result, a.result);
    node.detach(&b);
    node.detach(&a);
    node.assert_nothing_left();
}

#[test]
fn a_prefix_that_is_asked_for_is_given_by_any_of_its_addresses() {
    let node = Node::new(BridgeNetfilter::Off);
    let asked = json!({
        "capabilities": {"ips": true},
        "runtimeConfig": {"ips": ["fd01:0:0:2a::9"]},
    });
    let config = prefixed(&node, &json!([[{"subnet": "fd01::/48"}]]));
    let a = node.attach(&with(config, asked), "a");
    assert_eq!(a.result["ips"][0]["address"], "fd01:0:0:2a::1/64");
}

#[test]
fn a_pool_of_prefixes_runs_out_by_prefixes() {
    let node = Node::new(BridgeNetfilter::Off);
    let config = prefixed(&node, &json!([[{"subnet": "fd01::/63"}]]));
    let [a, _b] = node.attach_two(&config);
    let (code, said) = node.refused(&config, "c");
    assert!(code >= 100, "{said}");
    assert!(said.contains("2 of 2 addresses are held"), "{said}");
    node.detach(&a);
}
