//! Containers with a whole prefix each.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};

use bulkhead_kernel::{Deletion, Kernel};
use netns_fixtures::wait_for;
use serde_json::{Value, json};

use crate::common::{LIMIT, Node};
use crate::{
    Flood, PORT, Pod, QUICK, apply, bound, came, deletion_from, flooded, network, question,
    verified,
};

/// A network whose containers have a whole /64 each.
fn prefixes(node: &Node, app: &str) -> Value {
    let mut config = network(node, app, "bulkhead-ipv6");
    config["name"] = json!("wide");
    config["prefixPerContainer"] = json!(true);
    config["ipam"]["ranges"] = json!([[{"subnet": "fd00:2::/48"}]]);
    config
}

/// Nobody reaches wide servers but who may, and the quiet ones reach nobody.
const WIDE: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: wide, name: servers}
spec:
  podSelector: {matchLabels: {app: server}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: friend}}}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: wide, name: quiet}
spec:
  podSelector: {matchLabels: {app: quiet}}
  policyTypes: [Egress]
";

/// Half of a prefix may reach friends, and nobody else.
fn half_of(address: IpAddr) -> String {
    let prefix = of_prefix(address)[0].to_string().replace("::7", "::/65");
    format!(
        "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{namespace: wide, name: half}}
spec:
  podSelector: {{matchLabels: {{app: friend}}}}
  ingress:
  - from: [{{ipBlock: {{cidr: '{prefix}'}}}}]
"
    )
}

/// Addresses of the prefix that an address is in, two of each half.
fn of_prefix(address: IpAddr) -> [IpAddr; 4] {
    let IpAddr::V6(address) = address else {
        panic!("{address} is in no prefix");
    };
    let first = address.to_bits() & !u128::from(u64::MAX);
    [0x7, 0x0123_4567_89ab_cdef, 1 << 63, u64::MAX]
        .map(|low| Ipv6Addr::from_bits(first | u128::from(low)).into())
}

/// How many of them come that are sent from each of the one's addresses to each of the other's.
fn crossed(from: &Pod, to: &Pod, receiver: &UdpSocket) -> usize {
    let question = question();
    let send = || {
        for source in of_prefix(from.addresses[0]) {
            let socket = bound(source);
            for address in of_prefix(to.addresses[0]) {
                let _ = socket.send_to(&question, SocketAddr::new(address, PORT));
            }
        }
    };
    from.container.enter(send).unwrap();
    came(receiver, question)
}

#[test]
fn a_container_with_a_prefix_is_fenced_at_each_of_its_addresses() {
    let node = Node::start(QUICK);
    apply(&node, WIDE);
    let pod = |app: &str| {
        let pod = Pod::add_to(&node, app, prefixes(&node, app));
        for address in of_prefix(pod.addresses[0]) {
            let line = format!("addr add {address}/128 dev eth0 nodad");
            pod.container.ip(&line).unwrap();
        }
        pod
    };
    let [friend, server, stranger, quiet] = ["friend", "server", "stranger", "quiet"].map(pod);
    let (receiver, friends) = (server.listens(), friend.listens());
    let all = of_prefix(server.addresses[0]).len().pow(2);
    wait_for(
        "a friend to be let in from and to everywhere",
        LIMIT,
        || (crossed(&friend, &server, &receiver) == all).then_some(()),
    );
    wait_for("what nobody fences to go on", LIMIT, || {
        (crossed(&stranger, &friend, &friends) == all).then_some(())
    });
    assert_eq!(crossed(&stranger, &server, &receiver), 0);
    assert_eq!(crossed(&quiet, &friend, &friends), 0);
    // A block may have a part of it.
    apply(&node, &half_of(stranger.addresses[0]));
    wait_for("half of a prefix to be let in", LIMIT, || {
        (crossed(&stranger, &friend, &friends) == all / 2).then_some(())
    });
    assert_eq!(verified(&node).differences, [""; 0]);
    node.ask(&deletion_from("wide", "half"));
    wait_for("all of it to be let in again", LIMIT, || {
        (crossed(&stranger, &friend, &friends) == all).then_some(())
    });
    assert_eq!(verified(&node).differences, [""; 0]);
    // From the first packet on: whatever prefix it is given, and whoever's it takes.
    let targets = of_prefix(server.addresses[0]).map(|address| SocketAddr::new(address, PORT));
    let container = node.container("hostile");
    let mut sent = 0;
    for _ in 0..4 {
        let mut hostile = Pod {
            container: container.clone(),
            config: prefixes(&node, "hostile"),
            addresses: Vec::new(),
        };
        let from = (4..8).map(|nth| format!("fd00:2:0:{nth}::77").parse().unwrap());
        let flood = Flood::from(&container, from.collect(), targets.into());
        hostile.attach(&node);
        flood.goes_on(30);
        hostile.del(&node);
        sent += flood.end();
        assert_eq!(flooded(&receiver), 0);
    }
    assert!(sent > 100, "{sent} packets left the container");
    // Nothing of a prefix is left once it is released, and whoever has it next is somebody else.
    let listing = || node.host.sh("nft list table inet bulkhead-policy").unwrap();
    let prefix = server.addresses[0].to_string().replace("::1", ":");
    assert!(listing().contains(&prefix));
    let tracked = |pod: &Pod| {
        let addresses = BTreeSet::from(of_prefix(pod.addresses[0]));
        let look = || Kernel::new(Deletion::Blocking).tracked(&addresses);
        node.host.enter(look).unwrap().unwrap()
    };
    wait_for("connections of the server's", LIMIT, || {
        (crossed(&friend, &server, &receiver) == all && !tracked(&server).is_empty()).then_some(())
    });
    server.del(&node);
    assert!(!listing().contains(&prefix), "{}", listing());
    let next = Pod::add_to(&node, "next", {
        let mut config = prefixes(&node, "other");
        config["capabilities"] = json!({"ips": true});
        config["runtimeConfig"] = json!({"ips": [server.addresses[0]]});
        config
    });
    assert_eq!(next.addresses, server.addresses);
    assert!(tracked(&next).is_empty(), "they were the server's");
    let line = format!(
        "addr add {}/128 dev eth0 nodad",
        of_prefix(next.addresses[0])[0]
    );
    next.container.ip(&line).unwrap();
    let receiver = next.listens();
    let at = SocketAddr::new(of_prefix(next.addresses[0])[0], PORT);
    wait_for("the next one to be open to everybody", LIMIT, || {
        stranger.reaches(at, &receiver).then_some(())
    });
    for pod in [&friend, &stranger, &quiet, &next] {
        pod.del(&node);
    }
    let tables = node.host.sh("nft list tables").unwrap();
    assert!(!tables.contains("bulkhead-policy"), "{tables}");
}
