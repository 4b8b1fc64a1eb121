//! What a plugin says of its configuration (CNI spec 1.1.0, "Error", and Go's reading of JSON).

use bulkhead_tests::Suite;
use netns_fixtures::{Feature, Verb};
use serde_json::json;

use crate::claims;
use crate::node::{Node, refusal};

claims! {
    both:
        what_is_not_json_does_not_decode,
        an_unsupported_version_is_refused_with_both_sides,
        without_a_version_it_is_the_oldest,
        a_network_needs_a_name,
        an_impossible_network_name_is_refused,
        unknown_keys_are_tolerated;
    ours:;
    bridges:
        keys_are_matched_whatever_their_case;
    our_bridges:
        booleans_may_be_strings,
        a_value_of_the_wrong_type_is_refused_by_its_key,
        what_the_kernel_cannot_do_is_refused_with_key_and_value,
        an_error_speaks_the_version_that_was_asked,
}

fn what_is_not_json_does_not_decode(suite: &Suite) {
    let node = Node::new(suite);
    for input in ["", "{", "not json", "{\"cniVersion\": \"0.4.0\", \"name\":"] {
        let call = node.call(Verb::Add, &json!(null)).stdin(input);
        refusal(&node.run(&call), 6);
    }
    node.assert_nothing_left();
}

fn an_unsupported_version_is_refused_with_both_sides(suite: &Suite) {
    let node = Node::new(suite);
    for version in ["0.0.9", "0.3.2", "1.2.0", "2.0.0"] {
        let said = refusal(&node.run(&node.call(Verb::Add, &node.config(version))), 1);
        assert!(said.contains(version) && said.contains("0.4.0"), "{said}");
    }
    node.assert_nothing_left();
}

fn without_a_version_it_is_the_oldest(suite: &Suite) {
    let node = Node::new(suite);
    let mut config = node.config("0.1.0");
    config.as_object_mut().unwrap().remove("cniVersion");
    let result = node.add(&config);
    assert!(result["ip4"]["ip"].is_string(), "{result:#}");
    node.del(&config);
    node.assert_nothing_left();
}

fn a_network_needs_a_name(suite: &Suite) {
    let node = Node::new(suite);
    let mut config = node.config("0.4.0");
    config["name"] = json!("");
    refusal(&node.run(&node.call(Verb::Add, &config)), 7);
    config.as_object_mut().unwrap().remove("name");
    refusal(&node.run(&node.call(Verb::Add, &config)), 7);
    node.assert_nothing_left();
}

fn an_impossible_network_name_is_refused(suite: &Suite) {
    let node = Node::new(suite);
    for name in ["../up", "a b", "-a", "a/b"] {
        let mut config = node.config("0.4.0");
        config["name"] = json!(name);
        refusal(&node.run(&node.call(Verb::Add, &config)), 7);
    }
    node.assert_nothing_left();
}

fn unknown_keys_are_tolerated(suite: &Suite) {
    let node = Node::new(suite);
    let mut config = node.config("0.4.0");
    config["colour"] = json!({"of": ["the", "wall"]});
    config["cni.dev/future"] = json!(1);
    config["capabilities"] = json!({"portMappings": true});
    config["runtimeConfig"] = json!({"portMappings": []});
    config["ipam"]["note"] = json!(null);
    node.add(&config);
    node.del(&config);
    node.assert_nothing_left();
}

fn keys_are_matched_whatever_their_case(suite: &Suite) {
    let node = Node::new(suite);
    let mut config = node.config("0.4.0");
    let object = config.as_object_mut().unwrap();
    object.remove("isGateway");
    object.remove("bridge");
    object.insert("ISGATEWAY".to_owned(), json!(true));
    object.insert("Bridge".to_owned(), json!("mixedbr"));
    let result = node.add(&config);
    assert_eq!(result["interfaces"][0]["name"], "mixedbr", "{result:#}");
    let addresses = node.host.ip_json("addr show dev mixedbr").unwrap();
    assert!(
        addresses.to_string().contains("10.77.0.1"),
        "no gateway on it: {addresses}"
    );
    node.del(&config);
    node.assert_nothing_left();
}

fn booleans_may_be_strings(suite: &Suite) {
    let node = Node::new(suite);
    let mut config = node.config("0.4.0");
    config["isGateway"] = json!("true");
    config["hairpinMode"] = json!("false");
    node.add(&config);
    let addresses = node.host.ip_json("addr show dev netbr").unwrap();
    assert!(
        addresses.to_string().contains("10.77.0.1"),
        "no gateway on it: {addresses}"
    );
    node.del(&config);
    node.assert_nothing_left();
}

fn a_value_of_the_wrong_type_is_refused_by_its_key(suite: &Suite) {
    let node = Node::new(suite);
    for (key, value) in [
        ("isGateway", json!(1)),
        ("mtu", json!("big")),
        ("bridge", json!([])),
    ] {
        let mut config = node.config("0.4.0");
        config[key] = value;
        let said = refusal(&node.run(&node.call(Verb::Add, &config)), 7);
        assert!(said.contains(key), "{said}");
        let network = format!("network {}: {key}", config["name"].as_str().unwrap());
        assert!(!suite.is_ours() || said.starts_with(&network), "{said}");
    }
    node.assert_nothing_left();
}

fn what_the_kernel_cannot_do_is_refused_with_key_and_value(suite: &Suite) {
    let node = Node::new(suite);
    let mut config = node.config("0.4.0");
    config["vlan"] = json!(117);
    if Feature::BridgeVlanFiltering.is_present().unwrap() {
        node.add(&config);
        node.del(&config);
    } else {
        let said = refusal(&node.run(&node.call(Verb::Add, &config)), 2);
        assert!(said.contains("vlan") && said.contains("117"), "{said}");
    }
    node.assert_nothing_left();
}

fn an_error_speaks_the_version_that_was_asked(suite: &Suite) {
    let node = Node::new(suite);
    for version in ["0.1.0", "0.4.0", "1.1.0"] {
        let mut config = node.config(version);
        config["bridge"] = json!(7);
        let answer = node.run(&node.call(Verb::Add, &config));
        refusal(&answer, 7);
        assert_eq!(answer.json.unwrap()["cniVersion"], version);
    }
}
