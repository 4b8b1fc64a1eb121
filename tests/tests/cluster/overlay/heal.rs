//! What somebody takes away comes back, and what changes below is followed.

use bulkhead_tests::nodes::{LIMIT, NETWORK, Nodes, addresses};
use netns_fixtures::{Ns, Outside, Verb, wait_for};
use serde_json::json;

use super::{answers, is_mended, mended, reaches};

#[test]
fn what_somebody_removes_from_the_kernel_is_put_back_and_counted() {
    let nodes = Nodes::start(2);
    let (from, _) = nodes.container(0, "from");
    let (_to, at) = nodes.container(1, "to");
    reaches(&from, &at);
    let node = &nodes.all[0];
    let device = node.device();
    let block = |family: &str| {
        let routes = node
            .host
            .ip_json(&format!("{family} route show dev {device}"));
        let routes = routes.expect("ip runs");
        let routes = routes.as_array().expect("an array").iter();
        let mut to = routes.filter_map(|route| Some(route["dst"].as_str()?.to_owned()));
        to.find(|to| to.contains('/') && (to.starts_with("10.4.") || to.starts_with("fd00:4:")))
            .expect("a block of the other")
    };
    for damage in [
        format!("link delete {device}"),
        format!("link set {device} down"),
        format!("-4 route delete {}", block("-4")),
        format!("-6 route delete {} dev {device}", block("-6")),
        format!("neighbour flush dev {device} nud permanent"),
        format!("link set {device} mtu 1300"),
        format!("link set {device} address 02:00:00:00:00:99"),
        format!("-6 address flush dev {device}"),
    ] {
        is_mended(
            &damage,
            || node.host.ip(&damage),
            || mended(node),
            || at.iter().all(|at| answers(&from, *at)),
        );
        reaches(&from, &at);
    }
    let before = mended(node);
    let entries = node.host.bridge_json(&format!("fdb show dev {device}"));
    let entries = entries.expect("bridge runs");
    let peer = entries[0]["mac"].as_str().expect("an entry");
    node.host
        .sh(&format!("bridge fdb delete {peer} dev {device}"))
        .expect("bridge does it");
    node.host
        .sh(&format!(
            "bridge fdb append 00:00:00:00:00:00 dev {device} dst 198.51.100.1"
        ))
        .expect("bridge does it");
    wait_for("the forwarding entries to be mended", LIMIT, || {
        let now = node.host.bridge_json(&format!("fdb show dev {device}"));
        let now = now.expect("bridge runs").to_string();
        (now.contains(peer) && !now.contains("00:00:00:00:00:00")).then_some(())
    });
    // It is counted once the kernel has been looked at again.
    wait_for("that to be counted", LIMIT, || {
        (mended(node) > before).then_some(())
    });
    reaches(&from, &at);
}

#[test]
fn a_filter_that_somebody_deletes_is_put_back() {
    let nodes = Nodes::start(2);
    let (_one, _) = nodes.container(0, "one");
    let (_other, _) = nodes.container(1, "other");
    let node = &nodes.all[0];
    let has = || node.host.nft("list table inet bulkhead-overlay").is_ok();
    wait_for("the filter", LIMIT, || has().then_some(()));
    node.host
        .nft("delete table inet bulkhead-overlay")
        .expect("nft does it");
    wait_for("the filter to be put back", LIMIT, || has().then_some(()));
}

#[test]
fn the_underlay_s_mtu_and_address_are_followed() {
    let nodes = Nodes::start(2);
    let (from, _) = nodes.container(0, "from");
    let (node, to) = (&nodes.all[1], nodes.bare(1, "to"));
    let mut network = node.network();
    network["ipam"]["routes"] = json!([{"dst": "198.51.100.0/24", "mtu": 1440}]);
    let mut told = node.call(Verb::Add, &to, &network).result();
    let at = addresses(&told);
    reaches(&from, &at);
    let device = node.device();
    let port = told["interfaces"][0]["name"]
        .as_str()
        .expect("a port")
        .to_owned();
    let uplink = Outside::UPLINK;
    let shows = |ns: &Ns, what: &str| ns.ip_json(what).expect("ip runs")[0].clone();
    // What lives follows too, and what ADD had answered is no drift then.
    for (below, mtu, route) in [(1400, 1350, 1350), (1500, 1450, 1440)] {
        node.host
            .ip(&format!("link set {uplink} mtu {below}"))
            .expect("ip does it");
        wait_for("the device's MTU to follow", LIMIT, || {
            let now = shows(&node.host, &format!("link show {device}"));
            (now["mtu"] == mtu).then_some(())
        });
        wait_for("the container's MTU to follow", LIMIT, || {
            let inside = shows(&to, "link show eth0")["mtu"] == mtu;
            let outside = shows(&node.host, &format!("link show {port}"))["mtu"] == mtu;
            let led = shows(&to, "route show 198.51.100.0/24")["metrics"][0]["mtu"] == route;
            (inside && outside && led).then_some(())
        });
        let again = node.call(Verb::Add, &to, &network).result();
        assert_eq!(again["interfaces"][1]["mtu"], mtu);
        assert_eq!(again["routes"][1]["mtu"], route, "{again}");
        let mut check = network.clone();
        check["prevResult"] = std::mem::replace(&mut told, again);
        let answer = node.call(Verb::Check, &to, &check);
        assert!(answer.succeeded(), "{answer:?}");
    }
    // A new address, and the old one gone: the others hear of it.
    node.host
        .ip_batch(&[
            format!("address delete {}/24 dev {uplink}", node.pair.node_v4),
            format!("address add 192.0.2.77/24 dev {uplink}"),
            format!("route replace default via {}", node.pair.gateway_v4),
        ])
        .expect("ip does it");
    reaches(&from, &at);
    wait_for("the other node to tell the new address", LIMIT, || {
        let told = nodes.all[0].must_say(&["-o", "json", "overlay", "peers", NETWORK]);
        told.contains("192.0.2.77").then_some(())
    });
}
