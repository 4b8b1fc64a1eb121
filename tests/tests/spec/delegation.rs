//! A bridge over an IPAM plugin that is not its own (CNI spec 1.1.0, "Plugin delegation").

use std::net::IpAddr;

use bulkhead_tests::Suite;
use netns_fixtures::Verb;
use serde_json::{Value, json};

use crate::claims;
use crate::node::{NETWORK, Node, refusal};

claims! {
    both:
        host_local_gives_and_takes_back,
        our_ipam_serves_any_bridge,
        static_gives_what_it_is_told,
        a_failed_add_gives_the_lease_back,
        an_exhausted_delegate_is_quoted,
        an_ipam_plugin_that_is_not_there_is_named;
    ours:
        del_reaches_the_delegate_without_a_namespace;
    bridges:;
    our_bridges:
        without_ipam_it_is_a_link_and_no_more,
}

fn over_host_local(suite: &Suite) -> (Node, Value) {
    let node = Node::new(&suite.with_ipam("host-local"));
    let mut config = node.config("1.0.0");
    config["ipam"]["dataDir"] = json!(node.state().join("host-local"));
    (node, config)
}

/// host-local's own records: a file per address.
fn host_local_leases(node: &Node) -> Vec<IpAddr> {
    let dir = node.state().join("host-local").join(NETWORK);
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn host_local_gives_and_takes_back(suite: &Suite) {
    let (node, config) = over_host_local(suite);
    let result = node.add(&config);
    assert_eq!(result["ips"][0]["address"], suite.address("10.77.0.2", 16));
    assert_eq!(result["ips"][1]["address"], suite.address("fd77::2", 64));
    assert_eq!(host_local_leases(&node).len(), 2);
    let addresses = node
        .container
        .ip_json("addr show dev eth0")
        .unwrap()
        .to_string();
    assert!(addresses.contains("10.77.0.2") && addresses.contains("fd77::2"));
    node.del(&config);
    assert_eq!(host_local_leases(&node), Vec::<IpAddr>::new());
    node.assert_nothing_left();
}

fn our_ipam_serves_any_bridge(suite: &Suite) {
    let node = Node::new(&suite.with_ipam("bulkhead-ipam"));
    let config = node.config("1.0.0");
    let call = |verb| {
        let path = format!("{}:{}", Suite::ours().cni_path(), suite.cni_path());
        node.call(verb, &config).cni_path(&path)
    };
    let result = node.attach(&call(Verb::Add));
    assert_eq!(result["ips"][0]["address"], suite.address("10.77.0.2", 16));
    assert_eq!(result["ips"][1]["address"], suite.address("fd77::2", 64));
    let mut with_result = config.clone();
    with_result["prevResult"] = result;
    let check = node.run(&call(Verb::Check).stdin(&with_result));
    assert!(check.succeeded(), "{check:?}");
    assert_eq!(Suite::ours().leases(NETWORK, &node.state()).len(), 2);
    assert!(node.run(&call(Verb::Del)).succeeded());
    assert_eq!(
        Suite::ours().leases(NETWORK, &node.state()),
        Vec::<IpAddr>::new()
    );
}

fn static_gives_what_it_is_told(suite: &Suite) {
    let node = Node::new(&suite.with_ipam("static"));
    let mut config = node.config("1.0.0");
    config["ipam"] = json!({
        "type": "static",
        "addresses": [{"address": "10.77.3.3/16", "gateway": "10.77.0.1"}],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dns": {"nameservers": ["10.77.0.1"]},
    });
    let result = node.add(&config);
    assert_eq!(result["ips"][0]["address"], suite.address("10.77.3.3", 16));
    if suite.is_ours() {
        // The reference puts the network's own `dns` in its place, also when there is none.
        assert_eq!(result["dns"]["nameservers"][0], "10.77.0.1");
    }
    let routes = node.container.ip_json("route show default").unwrap();
    let gateway = suite.gateways()[0];
    assert_eq!(routes[0]["gateway"], gateway, "{routes:#}");
    node.del(&config);
    node.assert_nothing_left();
}

fn a_failed_add_gives_the_lease_back(suite: &Suite) {
    let (node, mut config) = over_host_local(suite);
    // No such neighbour: the kernel refuses the route when the lease is already taken.
    config["ipam"]["routes"] = json!([{"dst": "192.0.2.0/24", "gw": "203.0.113.1"}]);
    let answer = node.run(&node.call(Verb::Add, &config));
    let code = answer.error_code().expect("it must be refused");
    refusal(&answer, code);
    assert_eq!(host_local_leases(&node), Vec::<IpAddr>::new());
    // The reference leaves the interface to the runtime's DEL.
    assert!(!(suite.is_ours() && node.is_attached()));
    node.assert_nothing_left();
}

fn an_exhausted_delegate_is_quoted(suite: &Suite) {
    let (node, mut config) = over_host_local(suite);
    let range = json!({
        "subnet": "10.77.0.0/16", "rangeStart": "10.77.0.9", "rangeEnd": "10.77.0.9",
    });
    config["ipam"]["ranges"] = json!([[range]]);
    node.add(&config);
    let other = node.sandbox.container("d").unwrap();
    let call = node.call(Verb::Add, &config).container_id("d1");
    let answer = node.run(&call.netns(other.path()));
    let code = answer.error_code().expect("it must be refused");
    let said = refusal(&answer, code);
    assert!(said.contains("no IP addresses available"), "{said}");
    assert!(!(suite.is_ours() && other.has_link("eth0").unwrap()));
    node.del(&config);
    node.assert_nothing_left();
}

fn an_ipam_plugin_that_is_not_there_is_named(suite: &Suite) {
    let node = Node::new(&suite.with_ipam("no-such-ipam"));
    let answer = node.run(&node.call(Verb::Add, &node.config("1.0.0")));
    let code = answer.error_code().expect("it must be refused");
    let said = refusal(&answer, code);
    assert!(said.contains("no-such-ipam"), "{said}");
    node.assert_nothing_left();
}

fn del_reaches_the_delegate_without_a_namespace(suite: &Suite) {
    let (node, config) = over_host_local(suite);
    node.add(&config);
    let answer = node.run(&node.call(Verb::Del, &config).without("CNI_NETNS"));
    assert!(answer.succeeded(), "{answer:#?}");
    assert_eq!(host_local_leases(&node), Vec::<IpAddr>::new());
    node.assert_nothing_left();
}

fn without_ipam_it_is_a_link_and_no_more(suite: &Suite) {
    let node = Node::new(suite);
    for ipam in [Some(json!({})), None] {
        let mut config = node.config("1.0.0");
        config.as_object_mut().unwrap().remove("ipam");
        config["isGateway"] = json!(false);
        if let Some(ipam) = ipam {
            config["ipam"] = ipam;
        }
        let result = node.add(&config);
        assert!(
            result.get("ips").is_none_or(|ips| ips == &json!([])),
            "{result:#}"
        );
        let links = node.container.ip_json("-4 addr show dev eth0").unwrap();
        assert!(!links.to_string().contains("10.77"), "{links}");
        config["prevResult"] = result;
        let check = node.run(&node.call(Verb::Check, &config));
        assert!(check.succeeded(), "{check:#?}");
        node.del(&config);
        node.assert_nothing_left();
    }
}
