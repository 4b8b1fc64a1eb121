//! Several attachments of one container, and networks without addresses.

use std::net::IpAddr;
use std::time::Duration;

use netns_fixtures::{BridgeNetfilter, Ping, Section, Verb};
use serde_json::{Value, json};

use crate::claims;
use crate::node::{BRIDGE, GATEWAYS, LIMIT, NOTHING, Node, standing};

claims! {
    a_container_is_attached_twice_to_one_network,
    the_default_route_of_the_first_network_stays,
    a_layer_2_network_carries_what_its_containers_bring,
    a_layer_2_add_does_not_wait,
    a_disabled_interface_is_left_down,
    networks_know_nothing_of_each_other,
    a_bridge_of_two_networks_goes_with_the_last,
}

fn a_container_is_attached_twice_to_one_network(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    // Two interfaces on one segment: the container answers by either, with the address of the other.
    let config = node.config_with(json!({"guard": false}));
    let b = node.attach(&config, "b");
    let first = node.attach(&config, "a");
    let second = node.attach_to(&config, &first.container, "net1");
    assert_ne!(first.port(), second.port());
    let both = first.addresses().into_iter().chain(second.addresses());
    for to in both {
        assert!(
            Ping::new(to).limit(LIMIT).from(&b.container).unwrap(),
            "{to}"
        );
    }
    for attachment in [&first, &second] {
        let answer = node.check(attachment);
        assert!(answer.succeeded(), "{answer:#?}");
    }
    node.detach(&first);
    assert!(first.container.has_link("net1").unwrap());
    for to in second.addresses() {
        assert!(
            Ping::new(to).limit(LIMIT).from(&b.container).unwrap(),
            "{to}"
        );
    }
    assert_eq!(node.leases().len(), 4);
    node.detach(&second);
    node.detach(&b);
    node.assert_nothing_left();
}

/// The link by which `family` leaves the container.
fn default_link(container: &netns_fixtures::Ns, to: IpAddr) -> Value {
    let route = container.ip_json(&format!("route get {to}")).unwrap();
    route[0]["dev"].clone()
}

fn the_default_route_of_the_first_network_stays(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let first = node.attach(&node.config(), "a");
    let alone = standing(&first.container);
    let green = node.network("green", "br-green", "10.2.0.0/24", "fd02::/64");
    let second = node.attach_to(&green, &first.container, "net1");
    for to in crate::node::OUTSIDE {
        assert_eq!(default_link(&first.container, to), "eth0", "{to}");
    }
    for gateway in ["10.2.0.1", "fd02::1"] {
        let to: IpAddr = gateway.parse().unwrap();
        assert!(Ping::new(to).limit(LIMIT).from(&first.container).unwrap());
    }
    for attachment in [&first, &second] {
        let answer = node.check(attachment);
        assert!(answer.succeeded(), "{answer:#?}");
    }
    node.detach(&second);
    assert_eq!(alone.left_in(&first.container, LIMIT).unwrap(), NOTHING);
    let second = node.attach_to(&green, &first.container, "net1");
    node.detach(&first);
    for to in crate::node::OUTSIDE {
        assert_eq!(default_link(&second.container, to), "net1", "{to}");
    }
    node.detach(&second);
    node.assert_nothing_left();
}

fn a_layer_2_network_carries_what_its_containers_bring(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let [a, b] = node.attach_two(&node.segment());
    assert_eq!(
        a.result
            .get("ips")
            .map_or(0, |ips| ips.as_array().unwrap().len()),
        0
    );
    assert_eq!(node.leases(), Vec::<IpAddr>::new());
    for (attachment, last) in [(&a, 1), (&b, 2)] {
        let container = &attachment.container;
        container
            .ip_batch(&[
                format!("addr add 192.168.9.{last}/24 dev eth0"),
                format!("addr add fd09::{last}/64 dev eth0 nodad"),
            ])
            .unwrap();
    }
    for to in ["192.168.9.2", "fd09::2"] {
        let to: IpAddr = to.parse().unwrap();
        assert!(
            Ping::new(to).limit(LIMIT).from(&a.container).unwrap(),
            "{to}"
        );
    }
    assert_eq!(node.host.sysctl("net/ipv4/ip_forward").unwrap(), "0");
    for attachment in [&a, &b] {
        assert!(node.check(attachment).succeeded());
        node.detach(attachment);
    }
    node.assert_nothing_left();
}

/// Detection of a duplicate takes a second at least; an interface without addresses of ours has
/// nothing to wait for. A machine without time for it may be slow at the first ones.
fn a_layer_2_add_does_not_wait(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let elapsed = |nth: usize| {
        let container = node.sandbox.container(&format!("c{nth}")).unwrap();
        let answer = node.run(&node.call(Verb::Add, &node.segment(), &container, "eth0"));
        assert!(answer.succeeded(), "{answer:#?}");
        answer.elapsed
    };
    let mut took = (0..20).map(elapsed);
    let quick = took.find(|elapsed| *elapsed < Duration::from_millis(900));
    assert!(quick.is_some(), "every one of 20 took longer");
}

fn a_disabled_interface_is_left_down(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let mut config = node.segment();
    config["disableContainerInterface"] = json!(true);
    let a = node.attach(&config, "a");
    let flags = || {
        let link = a.container.ip_json("link show dev eth0").unwrap();
        link[0]["flags"].as_array().unwrap().clone()
    };
    assert!(!flags().contains(&json!("UP")), "{:?}", flags());
    assert!(node.check(&a).succeeded());
    a.container.ip("link set eth0 up").unwrap();
    assert!(node.check(&a).succeeded(), "who raises it may");
    node.detach(&a);
    node.assert_nothing_left();
}

fn networks_know_nothing_of_each_other(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let a = node.attach(&node.config_with(json!({"ipMasq": true})), "a");
    let standing = standing(&node.host);
    let leased = node.leases();
    let green = node.network("green", "br-green", "10.2.0.0/24", "fd02::/64");
    let b = node.attach(&green, "b");
    node.detach(&b);
    assert_eq!(standing.left_in(&node.host, LIMIT).unwrap(), NOTHING);
    assert_eq!(node.leases(), leased);
    for gateway in GATEWAYS {
        assert!(Ping::new(gateway).limit(LIMIT).from(&a.container).unwrap());
    }
    node.detach(&a);
    node.assert_nothing_left();
}

fn a_bridge_of_two_networks_goes_with_the_last(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let a = node.attach(&node.config(), "a");
    let green = node.network("green", BRIDGE, "10.2.0.0/24", "fd02::/64");
    let b = node.attach(&green, "b");
    node.detach(&a);
    let standing = standing(&node.host);
    assert!(standing.value(Section::Link, BRIDGE).is_some());
    for gateway in ["10.2.0.1", "fd02::1"] {
        let to: IpAddr = gateway.parse().unwrap();
        assert!(
            Ping::new(to).limit(LIMIT).from(&b.container).unwrap(),
            "{to}"
        );
    }
    node.detach(&b);
    node.assert_nothing_left();
}
