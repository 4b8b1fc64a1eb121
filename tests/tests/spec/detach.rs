//! DEL succeeds on whatever is left, and ADD refuses what is not its own (CNI spec 1.1.0, "DEL",
//! "ADD").

use bulkhead_tests::Suite;
use netns_fixtures::{Snapshot, Verb, wait_for};
use serde_json::json;

use crate::claims;
use crate::node::{LIMIT, Node, refusal, silent};

claims! {
    both:
        del_without_the_result,
        del_twice,
        del_before_add,
        del_of_a_gone_namespace,
        del_of_a_gone_interface,
        an_interface_of_that_name_is_refused,
        a_namespace_that_cannot_be_opened_is_refused;
    ours:
        a_configuration_changed_since_leaves_nothing,
        del_without_a_namespace,
        del_of_a_path_that_is_no_namespace,
        del_leaves_the_other_attachment,
        the_own_namespace_is_refused_before_anything_is_touched,
        two_interfaces_of_one_container;
    bridges:;
    our_bridges:
        the_own_namespace_is_taken_when_the_runtime_insists,
        a_bridge_of_others_is_joined_and_left,
        a_link_of_the_bridges_name_is_refused,
}

fn del_without_the_result(suite: &Suite) {
    let node = Node::new(suite);
    for version in ["0.3.1", "0.4.0", "1.0.0"] {
        let config = node.config(version);
        node.add(&config);
        node.del(&config);
        assert!(!node.is_attached());
    }
    node.assert_nothing_left();
}

fn del_twice(suite: &Suite) {
    let node = Node::new(suite);
    let config = node.config("1.0.0");
    node.add(&config);
    node.del(&config);
    node.del(&config);
    node.assert_nothing_left();
}

fn del_before_add(suite: &Suite) {
    let node = Node::new(suite);
    node.del(&node.config("1.0.0"));
    node.assert_nothing_left();
}

fn del_of_a_gone_namespace(suite: &Suite) {
    let node = Node::new(suite);
    let config = node.config("1.0.0");
    node.add(&config);
    node.sandbox.remove(&node.container).unwrap();
    node.del(&config);
    node.assert_nothing_left();
}

fn del_of_a_gone_interface(suite: &Suite) {
    let node = Node::new(suite);
    let config = node.config("1.0.0");
    node.add(&config);
    node.container.ip("link del eth0").unwrap();
    node.del(&config);
    node.assert_nothing_left();
}

fn del_without_a_namespace(suite: &Suite) {
    let node = Node::new(suite);
    let config = node.config("1.0.0");
    for empty in [true, false] {
        node.add(&config);
        let call = node.call(Verb::Del, &config);
        let call = if empty {
            call.env("CNI_NETNS", "")
        } else {
            call.without("CNI_NETNS")
        };
        silent(&node.run(&call));
        assert!(!node.is_attached());
        node.assert_nothing_left();
    }
}

fn del_of_a_path_that_is_no_namespace(suite: &Suite) {
    let node = Node::new(suite);
    let config = node.config("1.0.0");
    node.add(&config);
    let file = node.state().join("no-namespace");
    std::fs::write(&file, "").unwrap();
    silent(&node.run(&node.call(Verb::Del, &config).netns(&file)));
    assert!(!node.is_attached());
    node.assert_nothing_left();
}

fn del_leaves_the_other_attachment(suite: &Suite) {
    let node = Node::new(suite);
    let config = node.config("1.0.0");
    let other = node.sandbox.container("d").unwrap();
    let of_other = |verb| {
        let call = node.call(verb, &config).container_id("d1");
        call.netns(other.path())
    };
    node.attach(&of_other(Verb::Add));
    let alone = Snapshot::settled(&node.host, LIMIT).unwrap();
    node.add(&config);
    node.del(&config);
    let left = alone.left_in(&node.host, LIMIT).unwrap();
    assert_eq!(left, Vec::<String>::new());
    assert!(other.has_link("eth0").unwrap());
    silent(&node.run(&of_other(Verb::Del)));
    node.assert_nothing_left();
}

fn two_interfaces_of_one_container(suite: &Suite) {
    let node = Node::new(suite);
    let config = node.config("1.0.0");
    node.add(&config);
    let second = |verb| node.call(verb, &config).ifname("eth1");
    node.attach(&second(Verb::Add));
    assert_eq!(node.leases().len(), 4);
    node.del(&config);
    assert!(!node.is_attached() && node.container.has_link("eth1").unwrap());
    assert_eq!(node.leases().len(), 2);
    silent(&node.run(&second(Verb::Del)));
    node.assert_nothing_left();
}

fn an_interface_of_that_name_is_refused(suite: &Suite) {
    let node = Node::new(suite);
    let config = node.config("1.0.0");
    node.container.ip("link add eth0 type bridge").unwrap();
    let answer = node.run(&node.call(Verb::Add, &config));
    let code = answer.error_code().expect("it must be refused");
    let said = refusal(&answer, code);
    assert!(said.contains("eth0"), "{said}");
    assert!(node.is_attached(), "the stranger is gone");
    assert_eq!(node.leases(), Vec::<std::net::IpAddr>::new());
    node.del(&config);
    if suite.is_ours() {
        assert!(node.is_attached(), "DEL took the stranger");
    }
    node.assert_nothing_left();
}

fn a_namespace_that_cannot_be_opened_is_refused(suite: &Suite) {
    let node = Node::new(suite);
    let config = node.config("1.0.0");
    let gone = "/run/netns/bulkhead-no-such-namespace";
    let answer = node.run(&node.call(Verb::Add, &config).netns(gone));
    let code = answer.error_code().expect("it must be refused");
    let said = refusal(&answer, code);
    assert!(said.contains(gone), "{said}");
    node.assert_nothing_left();
}

fn the_own_namespace_is_refused_before_anything_is_touched(suite: &Suite) {
    let node = Node::new(suite);
    let config = node.config("1.0.0");
    let call = node.call(Verb::Add, &config).netns(node.host.path());
    refusal(&node.run(&call), 8);
    assert!(!node.host.has_link("eth0").unwrap());
    node.assert_nothing_left();
}

fn the_own_namespace_is_taken_when_the_runtime_insists(suite: &Suite) {
    let node = Node::new(suite);
    let mut config = node.config("1.0.0");
    // The gateway would be in the same namespace, and no route leads to oneself.
    config["isGateway"] = json!(false);
    config["ipam"]["routes"] = json!([]);
    let call = |verb, word: &str| {
        let call = node.call(verb, &config).netns(node.host.path());
        call.env("CNI_NETNS_OVERRIDE", word)
    };
    for word in ["1", "true", "TRUE"] {
        node.attach(&call(Verb::Add, word));
        assert!(node.host.has_link("eth0").unwrap());
        silent(&node.run(&call(Verb::Del, word)));
        assert!(!node.host.has_link("eth0").unwrap());
    }
    refusal(&node.run(&call(Verb::Add, "0")), 8);
}

fn a_bridge_of_others_is_joined_and_left(suite: &Suite) {
    let node = Node::new(suite);
    node.host
        .bridge("netbr", &["10.77.0.1/16", "fd77::1/64"])
        .unwrap();
    // With a MAC and a port of its own: else it takes both from whatever joins it.
    node.host
        .ip_batch(&[
            "link set netbr address 02:00:00:00:00:01",
            "link add theirs type veth peer name other",
            "link set theirs master netbr up",
            "link set other up",
        ])
        .unwrap();
    wait_for("the bridge to have a carrier", LIMIT, || {
        let links = node.host.ip_json("link show dev netbr").unwrap();
        (links[0]["operstate"] == "UP").then_some(())
    });
    let theirs = Snapshot::settled(&node.host, LIMIT).unwrap();
    let config = node.config("1.0.0");
    node.add(&config);
    node.del(&config);
    let left = theirs.left_in(&node.host, LIMIT).unwrap();
    assert_eq!(left, Vec::<String>::new());
}

fn a_link_of_the_bridges_name_is_refused(suite: &Suite) {
    let node = Node::new(suite);
    node.host
        .ip("link add netbr type veth peer name theirs")
        .unwrap();
    let theirs = Snapshot::take(&node.host).unwrap();
    let answer = node.run(&node.call(Verb::Add, &node.config("1.0.0")));
    let code = answer.error_code().expect("it must be refused");
    let said = refusal(&answer, code);
    assert!(said.contains("netbr"), "{said}");
    node.del(&node.config("1.0.0"));
    let left = theirs.left_in(&node.host, LIMIT).unwrap();
    assert_eq!(left, Vec::<String>::new());
}

fn a_configuration_changed_since_leaves_nothing(suite: &Suite) {
    let node = Node::new(suite);
    let config = node.config("1.0.0");
    // Another attachment keeps what the network shares, where something could be left.
    let resident = |verb| node.call(verb, &config).ifname("net1");
    node.attach(&resident(Verb::Add));
    let with_resident = Snapshot::settled(&node.host, LIMIT).unwrap();
    let first = node.add(&config);
    let mut changed = config.clone();
    changed["macspoofchk"] = json!(true);
    assert_eq!(node.add(&changed), first);
    node.del(&changed);
    let left = with_resident.left_in(&node.host, LIMIT).unwrap();
    assert_eq!(left, Vec::<String>::new());
    assert!(node.run(&resident(Verb::Del)).succeeded());
    node.assert_nothing_left();
}
