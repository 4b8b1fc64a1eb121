//! What is not ours: used as it is, named where it is in the way, and never touched.

use bulkhead_model::AttachmentKey;
use netns_fixtures::{BridgeNetfilter, Container, End, Ping, Snapshot, Verb, veth};
use serde_json::json;

use crate::claims;
use crate::node::{
    BRIDGE, GATEWAYS, LIMIT, NETWORK, NOTHING, Node, refusal, settled, standing, with,
};

claims! {
    a_foreign_bridge_is_joined_and_not_altered,
    a_joined_bridge_keeps_its_mac,
    a_foreign_bridge_without_the_gateway_is_refused,
    a_foreign_bridge_that_is_down_is_refused,
    an_adopted_bridge_is_brought_to_the_want_and_back,
    an_adopted_bridge_keeps_what_it_had,
    an_address_of_the_gateway_s_subnet_is_refused,
    force_address_replaces_another_gateway,
    a_link_of_the_bridge_s_name_is_refused,
    a_link_of_the_port_s_name_is_refused,
    an_interface_of_the_container_is_refused,
    a_table_of_the_filter_s_name_is_refused,
    a_table_of_the_masquerade_s_name_is_refused,
    a_route_of_the_same_metric_is_refused,
    strangers_beside_us_are_left_alone,
}

fn a_foreign_bridge_is_joined_and_not_altered(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    node.host
        .bridge(BRIDGE, &["10.1.0.1/24", "fd01::1/64", "172.31.0.1/24"])
        .unwrap();
    let _theirs = plugged_bridge(&node, "02:00:00:00:00:01");
    let theirs = standing(&node.host);
    let config = node.config_with(json!({"ipMasq": true}));
    let [a, b] = node.attach_two(&config);
    let now = Snapshot::take(&node.host).unwrap();
    let of_bridge = |_, key: &str| key == BRIDGE || key.starts_with(&format!("{BRIDGE} "));
    assert_eq!(theirs.diff_where(&now, of_bridge), NOTHING);
    for gateway in GATEWAYS {
        assert!(Ping::new(gateway).limit(LIMIT).from(&a.container).unwrap());
    }
    node.detach(&a);
    node.detach(&b);
    assert_eq!(theirs.left_in(&node.host, LIMIT).unwrap(), NOTHING);
}

fn a_joined_bridge_keeps_its_mac(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    node.host
        .bridge(BRIDGE, &["10.1.0.1/24", "fd01::1/64"])
        .unwrap();
    // A bridge without a MAC of its own has the lowest of its ports.
    let _theirs = plugged_bridge(&node, "fa:ff:ff:ff:ff:ff");
    let before = node.host.mac(BRIDGE).unwrap();
    for name in ["a", "b", "c"] {
        node.attach(&node.config(), name);
        assert_eq!(node.host.mac(BRIDGE).unwrap(), before);
    }
}

fn a_foreign_bridge_without_the_gateway_is_refused(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    node.host.bridge(BRIDGE, &["10.1.0.1/24"]).unwrap();
    let (_, said) = node.refused(&node.config(), "a");
    for word in [BRIDGE, "fd01::1/64", "adopt"] {
        assert!(said.contains(word), "{said}");
    }
}

fn a_foreign_bridge_that_is_down_is_refused(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    node.host
        .bridge(BRIDGE, &["10.1.0.1/24", "fd01::1/64"])
        .unwrap();
    // Addresses of IPv6 go when a link does down.
    let keep = format!("net/ipv6/conf/{BRIDGE}/keep_addr_on_down");
    node.host.set_sysctl(&keep, "1").unwrap();
    node.host.ip(&format!("link set {BRIDGE} down")).unwrap();
    let (_, said) = node.refused(&node.config(), "a");
    assert!(said.contains(BRIDGE) && said.contains("down"), "{said}");
}

fn an_adopted_bridge_is_brought_to_the_want_and_back(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    node.host.bridge(BRIDGE, &["172.31.0.1/24"]).unwrap();
    let _keeper = plugged_bridge(&node, "02:00:00:00:00:01");
    let theirs = standing(&node.host);
    let config = node.config_with(json!({"adopt": true, "promiscMode": true}));
    let [a, b] = node.attach_two(&config);
    for gateway in GATEWAYS {
        assert!(Ping::new(gateway).limit(LIMIT).from(&a.container).unwrap());
    }
    node.detach(&a);
    node.detach(&b);
    assert_eq!(theirs.left_in(&node.host, LIMIT).unwrap(), NOTHING);
}

/// Gives the bridge a port of somebody else's, so that its carrier does not hang on ours, and waits
/// until it has settled.
fn plugged_bridge(node: &Node, mac: &str) -> Container {
    let container = node.sandbox.container("theirs").unwrap();
    let near = End::new(&node.host, "theirs").mac(mac);
    veth(&near, &End::new(&container, "eth0")).unwrap();
    node.host
        .ip(&format!("link set theirs master {BRIDGE}"))
        .unwrap();
    settled(&node.host, BRIDGE);
    container
}

fn an_adopted_bridge_keeps_what_it_had(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    node.host.bridge(BRIDGE, &["10.1.0.1/24"]).unwrap();
    let _keeper = plugged_bridge(&node, "02:00:00:00:00:01");
    let theirs = standing(&node.host);
    let a = node.attach(&node.config_with(json!({"adopt": true})), "a");
    node.detach(&a);
    // 10.1.0.1/24 was theirs before, fd01::1/64 was ours.
    assert_eq!(theirs.left_in(&node.host, LIMIT).unwrap(), NOTHING);
}

fn an_address_of_the_gateway_s_subnet_is_refused(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let a = node.attach(&node.config(), "a");
    let mut moved = node.config();
    moved["ipam"]["ranges"] = json!([
        [{"subnet": "10.1.0.0/24", "gateway": "10.1.0.99"}],
        [{"subnet": "fd01::/64"}],
    ]);
    moved["name"] = json!("green");
    let (_, said) = node.refused(&moved, "b");
    for word in [BRIDGE, "10.1.0.1/24", "10.1.0.99/24", "forceAddress"] {
        assert!(said.contains(word), "{said}");
    }
    node.detach(&a);
    node.assert_nothing_left();
}

fn force_address_replaces_another_gateway(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let a = node.attach(&node.config(), "a");
    let mut moved = node.config_with(json!({"forceAddress": true, "name": "green"}));
    moved["ipam"]["ranges"] = json!([
        [{"subnet": "10.1.0.0/24", "gateway": "10.1.0.99", "rangeStart": "10.1.0.100"}],
        [{"subnet": "fd01::/64", "rangeStart": "fd01::100"}],
    ]);
    let b = node.attach(&moved, "b");
    let standing = standing(&node.host);
    let has = |key: &str| {
        let key = format!("{BRIDGE} {key}");
        standing
            .value(netns_fixtures::Section::Address, &key)
            .is_some()
    };
    assert!(has("10.1.0.99/24") && !has("10.1.0.1/24"));
    let new: std::net::IpAddr = "10.1.0.99".parse().unwrap();
    assert!(Ping::new(new).limit(LIMIT).from(&b.container).unwrap());
    node.detach(&a);
    node.detach(&b);
    node.assert_nothing_left();
}

/// Refused with every one of `words` in its text, and nothing of the node changed by ADD or DEL.
#[track_caller]
fn assert_in_the_way(node: &Node, config: &serde_json::Value, words: &[&str]) {
    let standing = Snapshot::take(&node.host).unwrap();
    let container = node.sandbox.container("a").unwrap();
    let answer = node.run(&node.call(Verb::Add, config, &container, "eth0"));
    let (_, said) = refusal(&answer);
    for word in words {
        assert!(said.contains(word), "{word} is not named: {said}");
    }
    node.silent(&node.call(Verb::Del, config, &container, "eth0"));
    assert_eq!(standing.left_in(&node.host, LIMIT).unwrap(), NOTHING);
    assert!(node.leases().is_empty());
}

fn a_link_of_the_bridge_s_name_is_refused(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    node.host
        .ip(&format!("link add {BRIDGE} type veth peer name theirs"))
        .unwrap();
    assert_in_the_way(&node, &node.config(), &[BRIDGE, "veth"]);
}

fn key(node: &Node, container: &str) -> AttachmentKey {
    AttachmentKey {
        network: NETWORK.parse().unwrap(),
        container: format!("{}{container}", node.sandbox.stem())
            .parse()
            .unwrap(),
        interface: "eth0".parse().unwrap(),
    }
}

fn a_link_of_the_port_s_name_is_refused(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let port = key(&node, "a").id().port().to_string();
    node.host
        .ip(&format!("link add {port} type veth peer name theirs"))
        .unwrap();
    assert_in_the_way(&node, &node.config(), &[&port]);
}

fn an_interface_of_the_container_is_refused(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let container = node.sandbox.container("a").unwrap();
    container.ip("link add eth0 type bridge").unwrap();
    let theirs = standing(&container);
    let config = node.config();
    let answer = node.run(&node.call(Verb::Add, &config, &container, "eth0"));
    let (_, said) = refusal(&answer);
    assert!(said.contains("eth0"), "{said}");
    node.silent(&node.call(Verb::Del, &config, &container, "eth0"));
    assert_eq!(theirs.left_in(&container, LIMIT).unwrap(), NOTHING);
    node.assert_nothing_left();
}

fn a_table_of_the_filter_s_name_is_refused(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    node.host.nft("add table netdev bulkhead").unwrap();
    assert_in_the_way(&node, &node.config(), &["netdev bulkhead"]);
}

fn a_table_of_the_masquerade_s_name_is_refused(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let network: bulkhead_model::NetworkName = NETWORK.parse().unwrap();
    let name = network.derived("bh-");
    node.host
        .nft(&format!("add table inet {name} {{ comment \"theirs\"; }}"))
        .unwrap();
    let config = node.config_with(json!({"ipMasq": true}));
    assert_in_the_way(&node, &config, &[&name]);
}

fn a_route_of_the_same_metric_is_refused(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let mut config = node.config();
    config["ipam"]["routes"] = json!([{"dst": "10.9.0.0/16", "priority": 5}]);
    let container = node.sandbox.container("a").unwrap();
    container
        .ip_batch(&[
            "link add theirs type bridge",
            "link set theirs addrgenmode none",
            "link set theirs up",
            "route add 10.9.0.0/16 dev theirs metric 5",
        ])
        .unwrap();
    let theirs = standing(&container);
    let answer = node.run(&node.call(Verb::Add, &config, &container, "eth0"));
    let (_, said) = refusal(&answer);
    for word in ["10.9.0.0/16", "theirs"] {
        assert!(said.contains(word), "{said}");
    }
    assert_eq!(theirs.left_in(&container, LIMIT).unwrap(), NOTHING);
    node.assert_nothing_left();
}

fn strangers_beside_us_are_left_alone(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    node.host
        .ip_batch(&[
            "link add theirs type veth peer name theirs1 group 7",
            "link set theirs up",
            "addr add 10.9.9.9/24 dev theirs",
            "route add 10.8.0.0/16 via 10.9.9.1 onlink dev theirs proto 99",
            "neigh add 10.9.9.5 lladdr 02:00:00:00:00:05 dev theirs nud permanent",
            "rule add fwmark 7 lookup 77",
        ])
        .unwrap();
    node.host
        .nft("add table inet theirs\nadd chain inet theirs c { type filter hook forward priority 0; }\n\
              add table netdev theirs\nadd chain netdev theirs c { type filter hook ingress device uplink0 priority 0; }")
        .unwrap();
    let theirs = standing(&node.host);
    let config = node.config_with(json!({"ipMasq": true, "macspoofchk": true}));
    let [a, b] = node.attach_two(&config);
    node.detach(&a);
    node.detach(&b);
    let gc = with(config, json!({"cni.dev/valid-attachments": []}));
    node.silent(&node.call(Verb::Gc, &gc, &a.container, "eth0"));
    assert_eq!(theirs.left_in(&node.host, LIMIT).unwrap(), NOTHING);
}
