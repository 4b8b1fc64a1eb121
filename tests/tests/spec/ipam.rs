//! The IPAM plugin by itself, as any main plugin calls it (CNI spec 1.1.0, "Plugin delegation").

use std::net::IpAddr;

use bulkhead_tests::Suite;
use netns_fixtures::Verb;
use serde_json::{Value, json};

use crate::claims;
use crate::node::{Node, refusal, silent};

claims! {
    both:
        it_answers_addresses_and_no_interfaces,
        del_frees_and_may_be_repeated,
        two_attachments_get_two_addresses,
        a_requested_address_is_given,
        an_address_outside_the_ranges_is_refused,
        a_full_range_is_refused,
        a_subnet_with_host_bits_is_refused;
    ours:
        a_taken_address_is_refused_with_its_holder,
        a_second_add_answers_the_same,
        a_pool_of_two_addresses_serves,
        a_freed_address_is_not_the_next_one,
}

fn one_range(node: &Node, subnet: &str, first: &str, last: &str) -> Value {
    let mut config = node.config("1.0.0");
    config["ipam"]["ranges"] = json!([[{"subnet": subnet, "rangeStart": first, "rangeEnd": last}]]);
    config["ipam"]["routes"] = json!([]);
    config
}

#[track_caller]
fn add(node: &Node, config: &Value, id: &str) -> Vec<String> {
    let result = node
        .run(&node.ipam_call(Verb::Add, config).container_id(id))
        .result();
    let ips = result["ips"].as_array().cloned().unwrap_or_default();
    ips.iter()
        .filter_map(|ip| ip["address"].as_str().map(str::to_owned))
        .collect()
}

#[track_caller]
fn del(node: &Node, config: &Value, id: &str) {
    silent(&node.run(&node.ipam_call(Verb::Del, config).container_id(id)));
}

#[track_caller]
fn refused(node: &Node, config: &Value, id: &str) -> String {
    let answer = node.run(&node.ipam_call(Verb::Add, config).container_id(id));
    let code = answer.error_code().expect("it must be refused");
    refusal(&answer, code)
}

fn it_answers_addresses_and_no_interfaces(suite: &Suite) {
    let node = Node::new(suite);
    for (version, family) in [("0.4.0", Some(json!("4"))), ("1.0.0", None)] {
        let config = node.config(version);
        let result = node.run(&node.ipam_call(Verb::Add, &config)).result();
        assert_eq!(result["cniVersion"], version);
        assert!(result.get("interfaces").is_none(), "{result:#}");
        assert!(result["ips"][0].get("interface").is_none(), "{result:#}");
        assert_eq!(result["ips"][0].get("version"), family.as_ref());
        assert_eq!(result["ips"][0]["gateway"], "10.77.0.1");
        assert_eq!(result["ips"][1]["gateway"], "fd77::1");
        assert_eq!(result["routes"].as_array().map(Vec::len), Some(2));
        del(&node, &config, "c1");
    }
    node.assert_nothing_left();
}

fn del_frees_and_may_be_repeated(suite: &Suite) {
    let node = Node::new(suite);
    let config = node.config("1.0.0");
    del(&node, &config, "c1");
    assert_eq!(add(&node, &config, "c1").len(), 2);
    assert_eq!(node.leases().len(), 2);
    for _ in 0..2 {
        del(&node, &config, "c1");
        assert_eq!(node.leases(), Vec::<IpAddr>::new());
    }
}

fn two_attachments_get_two_addresses(suite: &Suite) {
    let node = Node::new(suite);
    let config = node.config("1.0.0");
    let (first, second) = (add(&node, &config, "c1"), add(&node, &config, "c2"));
    assert!(
        first.iter().all(|address| !second.contains(address)),
        "{first:?} {second:?}"
    );
    del(&node, &config, "c1");
    assert_eq!(node.leases().len(), 2);
}

fn a_requested_address_is_given(suite: &Suite) {
    let node = Node::new(suite);
    let mut config = node.config("1.0.0");
    config["runtimeConfig"] = json!({"ips": ["10.77.5.5", "fd77::55/64"]});
    assert_eq!(add(&node, &config, "c1"), ["10.77.5.5/16", "fd77::55/64"]);
}

fn an_address_outside_the_ranges_is_refused(suite: &Suite) {
    let node = Node::new(suite);
    let mut config = node.config("1.0.0");
    config["runtimeConfig"] = json!({"ips": ["192.0.2.1"]});
    let said = refused(&node, &config, "c1");
    assert!(said.contains("192.0.2.1"), "{said}");
    assert_eq!(node.leases(), Vec::<IpAddr>::new());
}

fn a_taken_address_is_refused_with_its_holder(suite: &Suite) {
    let node = Node::new(suite);
    let mut config = node.config("1.0.0");
    config["runtimeConfig"] = json!({"ips": ["10.77.5.5"]});
    add(&node, &config, "holder");
    let said = refused(&node, &config, "c2");
    assert!(
        said.contains("10.77.5.5") && said.contains("holder"),
        "{said}"
    );
    assert_eq!(node.leases().len(), 2);
}

fn a_full_range_is_refused(suite: &Suite) {
    let node = Node::new(suite);
    let config = one_range(&node, "10.77.0.0/24", "10.77.0.9", "10.77.0.10");
    let mut given = [add(&node, &config, "c1"), add(&node, &config, "c2")].concat();
    given.sort_unstable();
    assert_eq!(given, ["10.77.0.10/24", "10.77.0.9/24"]);
    refused(&node, &config, "c3");
    assert_eq!(node.leases().len(), 2);
}

fn a_subnet_with_host_bits_is_refused(suite: &Suite) {
    let node = Node::new(suite);
    let mut config = node.config("1.0.0");
    config["ipam"]["ranges"] = json!([[{"subnet": "10.77.0.7/24"}]]);
    refused(&node, &config, "c1");
}

fn a_second_add_answers_the_same(suite: &Suite) {
    let node = Node::new(suite);
    let config = node.config("1.0.0");
    assert_eq!(add(&node, &config, "c1"), add(&node, &config, "c1"));
    assert_eq!(node.leases().len(), 2);
}

fn a_pool_of_two_addresses_serves(suite: &Suite) {
    let node = Node::new(suite);
    for (subnet, second) in [
        ("10.80.0.0/31", "10.80.0.1/31"),
        ("fd80::/127", "fd80::1/127"),
    ] {
        let mut config = node.config("1.0.0");
        let gateway = subnet.split('/').next();
        config["name"] = json!(format!("pair{}", subnet.len()));
        config["ipam"]["ranges"] = json!([[{"subnet": subnet, "gateway": gateway}]]);
        config["ipam"]["routes"] = json!([]);
        assert_eq!(add(&node, &config, "c1"), [second]);
    }
}

fn a_freed_address_is_not_the_next_one(suite: &Suite) {
    let node = Node::new(suite);
    let config = node.config("1.0.0");
    let first = add(&node, &config, "c1");
    del(&node, &config, "c1");
    let next = add(&node, &config, "c2");
    assert!(
        first.iter().all(|address| !next.contains(address)),
        "{first:?} {next:?}"
    );
}
