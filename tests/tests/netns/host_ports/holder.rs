//! Whose a host port is.

use std::thread;

use netns_fixtures::{BridgeNetfilter, CniAnswer, CniCall, Verb, wait_for};
use serde_json::{Value, json};

use super::{
    INSIDE, PORT, assert_as_added, assert_refused, mapped, mapped_on, published, publishing,
    seen_at, serve, to,
};
use crate::claims;
use crate::node::{Attachment, BRIDGE, LIMIT, Node, refusal, with};

claims! {
    the_next_network_of_the_container_inherits_it,
}

/// What is said to whoever asks for the held one.
fn taken(asked: &str, held: &str, by: &Attachment, network: &str) -> (u64, String) {
    let holder = format!("{network} {} {}", by.container.name(), by.ifname);
    let text = format!(
        "host port {asked} is taken: {held} belongs to attachment {holder}; choose another, or delete that one (`bulkhead ports ls`) "
    );
    (105, text)
}

fn green(node: &Node) -> Value {
    node.network("green", "br-green", "10.2.0.0/24", "fd02::/64")
}

#[test]
fn a_taken_one_is_refused_by_its_holder_s_name() {
    let node = Node::new(BridgeNetfilter::Off);
    let config = published(&node);
    let a = node.attach(&config, "a");
    let expected = taken("tcp *:8080", "tcp *:8080", &a, "blue");
    assert_eq!(node.refused(&config, "b"), expected);
    let elsewhere = publishing(&green(&node), mapped(PORT, INSIDE));
    assert_eq!(
        node.refused(&elsewhere, "c"),
        expected,
        "asked from another network"
    );
    assert_as_added(&node, &a);
    node.detach(&a);
    let d = node.attach(&elsewhere, "d");
    let _service = serve(&d.container, INSIDE);
    seen_at(to(node.uplink.node_v4, PORT), &node.outside);
    assert_eq!(
        node.refused(&config, "e"),
        taken("tcp *:8080", "tcp *:8080", &d, "green")
    );
    node.detach(&d);
    node.assert_nothing_left();
}

/// Held, asked for, and whether they are one port, as they are for listening sockets.
const OVERLAPS: &[(&str, &str, bool)] = &[
    ("", "192.0.1.2", true),
    ("192.0.1.2", "", true),
    ("", "0.0.0.0", true),
    ("::", "", true),
    ("0.0.0.0", "127.0.0.1", true),
    ("192.0.1.2", "0.0.0.0", true),
    ("2001:db8:1::2", "::", true),
    ("192.0.1.2", "192.0.1.2", true),
    ("192.0.1.2", "::ffff:192.0.1.2", true),
    ("0.0.0.0", "::", false),
    ("192.0.1.2", "127.0.0.1", false),
    ("::", "192.0.1.2", false),
    ("2001:db8:1::2", "0.0.0.0", false),
];

#[test]
fn one_number_is_had_once_on_each_address_and_protocol() {
    let node = Node::new(BridgeNetfilter::Off);
    let tcp = |number: u16, address: &str| json!({"hostPort": number, "containerPort": INSIDE, "hostIP": address, "protocol": "tcp"});
    let numbered = || (1000..).zip(OVERLAPS);
    let held = numbered().map(|(number, (held, _, _))| tcp(number, held));
    let a = node.attach(&publishing(&node.config(), held), "a");
    let mut free = vec![json!({"hostPort": 1000, "containerPort": INSIDE, "protocol": "udp"})];
    for (number, (held, asked, overlaps)) in numbered() {
        if !overlaps {
            free.push(tcp(number, asked));
            continue;
        }
        let config = publishing(&node.config(), [tcp(number, asked)]);
        let (code, said) = node.refused(&config, &format!("b{number}"));
        assert_eq!(code, 105, "{held} and {asked}: {said}");
        assert!(said.contains(a.container.name()), "{said}");
    }
    let c = node.attach(&publishing(&node.config(), free), "c");
    for attachment in [&a, &c] {
        assert_as_added(&node, attachment);
        node.detach(attachment);
    }
    node.assert_nothing_left();
}

#[test]
fn a_dead_holder_is_named_until_it_is_collected() {
    let node = Node::new(BridgeNetfilter::Off);
    let config = published(&node);
    let a = node.attach(&config, "a");
    node.sandbox.remove(&a.container).unwrap();
    let port = a.port();
    wait_for("the port to go with its namespace", LIMIT, || {
        (!node.host.has_link(&port).unwrap()).then_some(())
    });
    // The kernel tells the bridge's loss of its carrier up to a second later (`linkwatch`).
    wait_for("the bridge to have no carrier", LIMIT, || {
        let shown = node.host.ip_json(&format!("link show {BRIDGE}")).unwrap();
        (shown[0]["operstate"] == "DOWN").then_some(())
    });
    assert_eq!(
        node.refused(&config, "b"),
        taken("tcp *:8080", "tcp *:8080", &a, "blue")
    );
    let call = node.call(Verb::Gc, &node.config(), &a.container, "eth0");
    let call = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]
        .into_iter()
        .fold(call, CniCall::without);
    node.silent(&call);
    let b = node.attach(&config, "c");
    node.detach(&b);
    node.assert_nothing_left();
}

#[test]
fn a_second_add_keeps_it_whatever_it_asks_for() {
    let node = Node::new(BridgeNetfilter::Off);
    let a = node.attach(&published(&node), "a");
    let again = node.attach_to(a.config(), &a.container, "eth0");
    assert_eq!(again.result, a.result);
    let other = publishing(&node.config(), mapped(PORT + 1, INSIDE));
    node.attach_to(&other, &a.container, "eth0");
    // What is recorded counts: the port is still a's, and the other one nobody's.
    let config = published(&node);
    assert_eq!(
        node.refused(&config, "b"),
        taken("tcp *:8080", "tcp *:8080", &a, "blue")
    );
    let c = node.attach(&other, "c");
    node.detach(&c);
    node.detach(&a);
    node.assert_nothing_left();
}

/// podman asks for a container's ports on each of its networks.
fn the_next_network_of_the_container_inherits_it(setting: BridgeNetfilter) {
    for first_goes in [true, false] {
        let node = Node::new(setting);
        let container = node.sandbox.container("a").unwrap();
        let blue = node.attach_to(&published(&node), &container, "eth0");
        let config = publishing(&green(&node), mapped(PORT, INSIDE));
        let green = node.attach_to(
            &with(
                config,
                json!({"isDefaultGateway": false, "isGateway": true}),
            ),
            &container,
            "eth1",
        );
        let _service = serve(&container, INSIDE);
        let address = to(node.uplink.node_v4, PORT);
        for attachment in [&blue, &green] {
            assert_as_added(&node, attachment);
        }
        seen_at(address, &node.outside);
        let (goes, stays) = if first_goes {
            (&blue, &green)
        } else {
            (&green, &blue)
        };
        node.detach(goes);
        if first_goes {
            container.ip("route add default via 10.2.0.1").unwrap();
        }
        seen_at(address, &node.outside);
        let (code, said) = node.refused(&published(&node), "b");
        assert_eq!(code, 105);
        assert!(said.contains(container.name()), "{said}");
        assert_as_added(&node, stays);
        seen_at(address, &container);
        node.detach(stays);
        assert_refused(address, &node.outside);
        node.assert_nothing_left();
    }
}

const AT_ONCE: usize = 16;

#[test]
fn of_many_at_once_one_has_it() {
    let node = Node::new(BridgeNetfilter::Off);
    let config = published(&node);
    let containers: Vec<_> = (0..AT_ONCE)
        .map(|nth| node.sandbox.container(&format!("c{nth}")).unwrap())
        .collect();
    for _ in 0..2 {
        let answers: Vec<CniAnswer> = thread::scope(|scope| {
            let threads: Vec<_> = containers
                .iter()
                .map(|container| {
                    let call = node.call(Verb::Add, &config, container, "eth0");
                    let node = &node;
                    scope.spawn(move || node.run(&call))
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let winners = answers.iter().filter(|answer| answer.succeeded()).count();
        assert_eq!(winners, 1, "{answers:#?}");
        for answer in answers.iter().filter(|answer| !answer.succeeded()) {
            assert_eq!(refusal(answer).0, 105, "{answer:#?}");
        }
        assert_eq!(node.leases().len(), 2, "the winner's");
        for container in &containers {
            node.silent(&node.call(Verb::Del, &config, container, "eth0"));
        }
        node.assert_nothing_left();
    }
}

#[test]
fn one_address_is_named_with_the_port() {
    let node = Node::new(BridgeNetfilter::Off);
    let a = node.attach(
        &publishing(&node.config(), mapped_on("2001:db8:1::2", PORT, INSIDE)),
        "a",
    );
    let expected = taken("tcp *:8080", "tcp [2001:db8:1::2]:8080", &a, "blue");
    assert_eq!(node.refused(&published(&node), "b"), expected);
}
