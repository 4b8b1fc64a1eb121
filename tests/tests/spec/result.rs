//! The shape of a result in each version (CNI spec 1.1.0, "ADD Success", and the older texts), and
//! CHECK and STATUS over it.

use std::net::IpAddr;

use bulkhead_tests::Suite;
use netns_fixtures::Verb;
use serde_json::{Value, json};

use crate::claims;
use crate::node::{Node, refusal, silent};

claims! {
    both:
        add_answers_in_the_version_asked,
        check_is_silent_after_add,
        check_finds_a_lost_address,
        check_finds_a_lost_interface,
        check_is_too_new_for_old_configurations;
    ours:
        the_newest_result_has_the_newest_fields,
        the_mtu_is_reported_and_set,
        check_needs_the_result,
        check_finds_a_changed_mac,
        check_finds_a_lost_route,
        check_tolerates_what_others_added,
        status_of_a_whole_node_is_silent,
        gc_and_status_are_too_new_for_old_configurations,
        a_second_add_answers_the_same,
}

const OLD: [&str; 2] = ["0.1.0", "0.2.0"];
const MIDDLE: [&str; 3] = ["0.3.0", "0.3.1", "0.4.0"];

fn add_answers_in_the_version_asked(suite: &Suite) {
    let node = Node::new(suite);
    for version in OLD.iter().chain(&MIDDLE).chain(&["1.0.0"]) {
        let config = node.config(version);
        let result = node.add(&config);
        assert_eq!(result["cniVersion"], *version);
        if OLD.contains(version) {
            assert_old_shape(suite, &result);
        } else {
            assert_shape(&node, &result, MIDDLE.contains(version));
        }
        node.del(&config);
    }
    node.assert_nothing_left();
}

fn assert_old_shape(suite: &Suite, result: &Value) {
    let [v4, v6] = suite.gateways();
    for (family, address, gateway, default) in [
        ("ip4", "10.77.", v4, "0.0.0.0/0"),
        ("ip6", "fd77::", v6, "::/0"),
    ] {
        let of = &result[family];
        assert!(
            of["ip"].as_str().is_some_and(|ip| ip.starts_with(address)),
            "{result:#}"
        );
        assert_eq!(of["gateway"], gateway);
        let mut routes = of["routes"].as_array().unwrap().iter();
        assert!(routes.any(|route| route["dst"] == default), "{result:#}");
    }
    assert!(result.get("interfaces").is_none() && result.get("ips").is_none());
}

fn assert_shape(node: &Node, result: &Value, families_are_named: bool) {
    let interfaces = result["interfaces"].as_array().unwrap();
    let ips = result["ips"].as_array().unwrap();
    assert_eq!(ips.len(), 2, "{result:#}");
    let [v4, v6] = node.suite.gateways();
    for (ip, family, gateway) in [(&ips[0], "4", v4), (&ips[1], "6", v6)] {
        let expected = families_are_named.then(|| json!(family));
        assert_eq!(ip.get("version"), expected.as_ref());
        assert_eq!(ip["gateway"], gateway);
        let nth = usize::try_from(ip["interface"].as_u64().unwrap()).unwrap();
        assert_eq!(interfaces[nth]["name"], "eth0");
        assert_eq!(interfaces[nth]["sandbox"], json!(node.container.path()));
    }
    for interface in interfaces {
        let mac = interface["mac"].as_str().unwrap();
        let inside = interface["sandbox"]
            .as_str()
            .is_some_and(|path| !path.is_empty());
        let ns = if inside {
            &*node.container
        } else {
            &*node.host
        };
        let links = ns.ip_json(&format!(
            "link show dev {}",
            interface["name"].as_str().unwrap()
        ));
        assert_eq!(links.unwrap()[0]["address"], mac);
    }
    // Over a link of its own one to the IPv4 gateway too.
    let routes = if node.suite.has_bridges() { 2 } else { 3 };
    assert_eq!(result["routes"].as_array().map(Vec::len), Some(routes));
    // Go's types of these versions always write it, and readers of that time expect it.
    assert!(
        !families_are_named || result["dns"].is_object(),
        "{result:#}"
    );
}

fn the_newest_result_has_the_newest_fields(suite: &Suite) {
    let node = Node::new(suite);
    let config = node.config("1.1.0");
    let result = node.add(&config);
    assert_shape(&node, &result, false);
    let mtus = result["interfaces"].as_array().unwrap().iter();
    assert!(
        mtus.clone().all(|interface| interface["mtu"] == 1500),
        "{result:#}"
    );
    node.del(&config);
    node.assert_nothing_left();
}

fn the_mtu_is_reported_and_set(suite: &Suite) {
    let node = Node::new(suite);
    let mut config = node.config("1.1.0");
    config["mtu"] = json!(1400);
    let result = node.add(&config);
    let interfaces = result["interfaces"].as_array().unwrap();
    assert_eq!(interfaces.last().unwrap()["mtu"], 1400);
    let link = node.container.ip_json("link show dev eth0").unwrap();
    assert_eq!(link[0]["mtu"], 1400);
    node.del(&config);
}

fn with_result(config: &Value, result: &Value) -> Value {
    let mut config = config.clone();
    config["prevResult"] = result.clone();
    config
}

/// An attached container, and its configuration with the result.
fn attached(suite: &Suite) -> (Node, Value) {
    let node = Node::new(suite);
    let config = node.config("0.4.0");
    let result = node.add(&config);
    let config = with_result(&config, &result);
    silent(&node.run(&node.call(Verb::Check, &config)));
    (node, config)
}

fn check_is_silent_after_add(suite: &Suite) {
    let node = Node::new(suite);
    for version in ["0.4.0", "1.0.0"] {
        let config = node.config(version);
        let config = with_result(&config, &node.add(&config));
        silent(&node.run(&node.call(Verb::Check, &config)));
        node.del(&config);
    }
}

#[track_caller]
fn check_fails(node: &Node, config: &Value) -> String {
    let answer = node.run(&node.call(Verb::Check, config));
    let code = answer.error_code().expect("CHECK must refuse");
    refusal(&answer, code)
}

fn check_finds_a_lost_address(suite: &Suite) {
    let (node, config) = attached(suite);
    node.container.ip("-4 addr flush dev eth0").unwrap();
    check_fails(&node, &config);
}

fn check_finds_a_lost_interface(suite: &Suite) {
    let (node, config) = attached(suite);
    node.container.ip("link del eth0").unwrap();
    check_fails(&node, &config);
}

fn check_finds_a_changed_mac(suite: &Suite) {
    let (node, config) = attached(suite);
    node.container
        .ip("link set eth0 address 02:00:00:00:00:99")
        .unwrap();
    let said = check_fails(&node, &config);
    assert!(said.contains("eth0"), "{said}");
}

fn check_finds_a_lost_route(suite: &Suite) {
    let (node, config) = attached(suite);
    node.container.ip("-6 route del default").unwrap();
    check_fails(&node, &config);
}

fn check_tolerates_what_others_added(suite: &Suite) {
    let (node, config) = attached(suite);
    node.container.ip("addr add 10.99.0.1/24 dev eth0").unwrap();
    node.container
        .ip("route add 10.98.0.0/24 dev eth0")
        .unwrap();
    node.container.ip("link add other type dummy").ok();
    silent(&node.run(&node.call(Verb::Check, &config)));
}

fn check_needs_the_result(suite: &Suite) {
    let node = Node::new(suite);
    let config = node.config("1.0.0");
    node.add(&config);
    refusal(&node.run(&node.call(Verb::Check, &config)), 7);
    node.del(&config);
}

fn check_is_too_new_for_old_configurations(suite: &Suite) {
    let node = Node::new(suite);
    for version in ["0.1.0", "0.2.0", "0.3.0", "0.3.1"] {
        refusal(&node.run(&node.call(Verb::Check, &node.config(version))), 1);
    }
}

fn gc_and_status_are_too_new_for_old_configurations(suite: &Suite) {
    let node = Node::new(suite);
    for version in OLD.iter().chain(&MIDDLE).chain(&["1.0.0"]) {
        for verb in [Verb::Gc, Verb::Status] {
            refusal(&node.run(&node.call(verb, &node.config(version))), 1);
        }
    }
}

fn status_of_a_whole_node_is_silent(suite: &Suite) {
    let node = Node::new(suite);
    let call = node.call(Verb::Status, &node.config("1.1.0"));
    let call = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]
        .iter()
        .fold(call, |call, name| call.without(name));
    silent(&node.run(&call));
    node.assert_nothing_left();
}

fn a_second_add_answers_the_same(suite: &Suite) {
    let node = Node::new(suite);
    for version in ["0.2.0", "0.4.0", "1.1.0"] {
        let config = node.config(version);
        let first = node.add(&config);
        assert_eq!(node.add(&config), first);
        assert_eq!(node.leases(), leased(&first));
        node.del(&config);
        node.assert_nothing_left();
    }
}

/// The addresses of a result of any version, sorted.
fn leased(result: &Value) -> Vec<IpAddr> {
    let old = [&result["ip4"]["ip"], &result["ip6"]["ip"]];
    let ips = result["ips"].as_array().into_iter().flatten();
    let texts = ips.map(|ip| &ip["address"]).chain(old);
    let mut addresses: Vec<IpAddr> = texts
        .filter_map(|text| text.as_str()?.split('/').next()?.parse().ok())
        .collect();
    addresses.sort_unstable();
    addresses
}
