//! CHECK names what drifted, ADD mends it, and DEL leaves nothing in any order.

use netns_fixtures::{BridgeNetfilter, Verb};
use serde_json::json;

use crate::node::{Attachment, Node, refusal};

fn attached() -> (Node, Attachment) {
    let node = Node::new(BridgeNetfilter::Off);
    let a = node.attach(&node.layer3(json!({})), "a");
    (node, a)
}

/// Damages the node or the container, and expects CHECK to name it and a second ADD to mend it.
#[track_caller]
fn named_and_mended(inside: bool, damage: &str, words: &[&str]) {
    let (node, a) = attached();
    assert!(node.check(&a).succeeded());
    let line = damage.replace("PORT", &a.port());
    let ns = if inside { &*a.container } else { &*node.host };
    ns.sh(&line).unwrap();
    let (code, said) = refusal(&node.check(&a));
    assert!(code >= 100, "{line}: {code}: {said}");
    for word in words {
        assert!(said.contains(word), "{line}: {word} is not named: {said}");
    }
    let again = node.attach_to(a.config(), &a.container, "eth0");
    assert_eq!(again.result, a.result, "{line}");
    let answer = node.check(&a);
    assert!(answer.succeeded(), "{line}: {answer:#?}");
    node.detach(&a);
    node.assert_nothing_left();
}

#[test]
fn a_lost_route_of_the_node() {
    named_and_mended(
        false,
        "ip route del 10.1.0.2",
        &["route add 10.1.0.2/32", "proto 98"],
    );
    named_and_mended(false, "ip -6 route del fd01::2", &["route add fd01::2/128"]);
}

#[test]
fn a_lost_neighbour_on_either_side() {
    let flush = "ip neigh flush nud permanent dev";
    named_and_mended(
        false,
        &format!("{flush} PORT"),
        &["10.1.0.2", "nud permanent"],
    );
    let learned = "ip neigh replace 10.1.0.2 lladdr 02:00:00:00:00:99 dev PORT nud reachable";
    named_and_mended(false, learned, &["neigh replace 10.1.0.2"]);
    named_and_mended(true, &format!("{flush} eth0"), &["169.254.1.1", "fe80::1"]);
}

#[test]
fn a_lost_gateway_address_of_the_port() {
    named_and_mended(false, "ip addr del fe80::1/64 dev PORT", &["fe80::1/64"]);
}

#[test]
fn a_changed_sysctl_of_the_port() {
    for (sysctl, value) in [
        ("net.ipv4.conf.PORT.rp_filter", "2"),
        ("net.ipv4.conf.PORT.send_redirects", "1"),
        ("net.ipv4.conf.PORT.accept_redirects", "1"),
        ("net.ipv6.conf.PORT.accept_ra", "2"),
        ("net.ipv6.conf.PORT.accept_redirects", "1"),
        ("net.ipv6.conf.PORT.forwarding", "0"),
    ] {
        let leaf = sysctl.rsplit('.').next().unwrap();
        named_and_mended(false, &format!("sysctl -qw {sysctl}={value}"), &[leaf]);
    }
}

#[test]
fn a_changed_sysctl_of_the_interface() {
    for leaf in ["accept_ra", "autoconf", "accept_redirects"] {
        let line = format!("sysctl -qw net.ipv6.conf.eth0.{leaf}=1");
        named_and_mended(true, &line, &[leaf]);
    }
}

#[test]
fn a_port_that_was_lowered_or_enslaved() {
    named_and_mended(
        false,
        "ip link set PORT down",
        &["up", "10.1.0.2/32", "fe80::1/64"],
    );
    let (node, a) = attached();
    let enslaved = format!("link set {} master theirs", a.port());
    node.host
        .ip_batch(&["link add theirs type bridge", enslaved.as_str()])
        .unwrap();
    let (_, said) = refusal(&node.check(&a));
    assert!(said.contains("nomaster"), "{said}");
    node.attach_to(a.config(), &a.container, "eth0");
    assert!(node.check(&a).succeeded());
}

#[test]
fn lost_routes_and_addresses_of_the_container() {
    named_and_mended(true, "ip -6 route del default", &["::/0", "fe80::1"]);
    named_and_mended(true, "ip route del default", &["0.0.0.0/0", "169.254.1.1"]);
    named_and_mended(true, "ip addr del fd01::2/128 dev eth0", &["fd01::2/128"]);
}

#[test]
fn del_leaves_nothing_in_any_order() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let node = Node::new(BridgeNetfilter::Off);
        let config = node.layer3(json!({"ipMasq": true}));
        let all = ["a", "b", "c"].map(|name| node.attach(&config, name));
        for nth in order {
            node.detach(&all[nth]);
            node.detach(&all[nth]);
        }
        node.assert_nothing_left();
    }
}

#[test]
fn a_container_that_went_first_leaves_nothing() {
    let (node, a) = attached();
    node.sandbox.remove(&a.container).unwrap();
    node.detach(&a);
    node.assert_nothing_left();
}

#[test]
fn gc_takes_what_is_not_listed() {
    let (node, a) = attached();
    let b = node.attach(a.config(), "b");
    let mut config = a.config().clone();
    config["cni.dev/valid-attachments"] =
        json!([{"containerID": b.container.name(), "ifname": "eth0"}]);
    let unused = node.sandbox.container("unused").unwrap();
    let call = node.call(Verb::Gc, &config, &unused, "eth0");
    let bare = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"];
    node.silent(
        &bare
            .into_iter()
            .fold(call, netns_fixtures::CniCall::without),
    );
    assert!(!a.container.has_link("eth0").unwrap());
    assert!(node.check(&b).succeeded());
    node.detach(&b);
    node.assert_nothing_left();
}

#[test]
fn status_says_whether_an_add_would_be_served() {
    let (node, a) = attached();
    let call = node.call(Verb::Status, a.config(), &a.container, "eth0");
    let bare = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"];
    node.silent(
        &bare
            .into_iter()
            .fold(call, netns_fixtures::CniCall::without),
    );
}

#[test]
fn two_interfaces_of_a_container_keep_their_own_links() {
    let (node, a) = attached();
    let second = node.attach_to(a.config(), &a.container, "eth1");
    let b = node.attach(a.config(), "b");
    for attachment in [&a, &second, &b] {
        let answer = node.check(attachment);
        assert!(answer.succeeded(), "{answer:#?}");
    }
    let ping = netns_fixtures::Ping::new(b.v6()).limit(crate::node::LIMIT);
    assert!(ping.from(&a.container).unwrap());
    node.detach(&a);
    assert!(node.check(&second).succeeded());
    node.detach(&second);
    node.detach(&b);
    node.assert_nothing_left();
}
