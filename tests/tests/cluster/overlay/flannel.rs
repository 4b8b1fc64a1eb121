//! What others have got wrong in the same place: docs/vxlan.md has the list, with the test of each.

use std::net::SocketAddr;
use std::thread;

use bulkhead_tests::nodes::{LIMIT, Nodes, addresses};
use netns_fixtures::{Container, EchoServer, Transport, Verb, tcp_echo, wait_for};

use super::reaches;

#[test]
fn what_is_stale_when_a_daemon_starts_goes_and_what_is_missing_comes() {
    let mut nodes = Nodes::start(2);
    let (from, _) = nodes.container(0, "from");
    let (_to, at) = nodes.container(1, "to");
    reaches(&from, &at);
    let device = nodes.all[0].device();
    nodes.all[0].kill();
    let host = &nodes.all[0].host;
    let entries = host.bridge_json(&format!("fdb show dev {device}")).unwrap();
    let peer = entries[0]["mac"].as_str().unwrap().to_owned();
    // As a node that is gone had them.
    let stale = "02:00:00:00:00:77";
    for line in [
        format!("ip neighbour add fe80::77 lladdr {stale} dev {device} nud permanent"),
        format!("bridge fdb append {stale} dev {device} dst 198.51.100.9"),
        format!("ip route add 10.4.250.0/28 via inet6 fe80::77 dev {device} proto 98"),
        format!("ip -6 route add fd00:4::fa0/124 via fe80::77 dev {device} proto 98"),
        format!("bridge fdb delete {peer} dev {device}"),
    ] {
        host.sh(&line).unwrap();
    }
    nodes.all[0].start();
    let host = &nodes.all[0].host;
    wait_for("the stale to go and the missing to come", LIMIT, || {
        let shown = [
            format!("ip neighbour show dev {device}"),
            format!("bridge fdb show dev {device}"),
            "ip route show proto 98".to_owned(),
            "ip -6 route show proto 98".to_owned(),
        ];
        let shown = shown.map(|line| host.sh(&line).unwrap()).concat();
        let is_gone = !shown.contains(stale) && !shown.contains("fe80::77");
        (is_gone && shown.contains(&peer)).then_some(())
    });
    reaches(&from, &at);
}

/// Segments that came with a wrong checksum.
fn wrong_checksums(container: &Container) -> u64 {
    let snmp = container.sh("cat /proc/net/snmp").unwrap();
    let mut tcp = snmp.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (tcp.next().unwrap(), tcp.next().unwrap());
    let mut pairs = names.split(' ').zip(values.split(' '));
    let found = pairs.find(|(name, _)| *name == "InCsumErrors");
    found.unwrap().1.parse().unwrap()
}

#[test]
fn long_transfers_that_are_masqueraded_into_the_tunnel_arrive_whole() {
    let nodes = Nodes::start(2);
    let (from, _) = nodes.container(0, "from");
    let (to, at) = nodes.container(1, "to");
    reaches(&from, &at);
    // As a service's address is translated, with the option that brought it out.
    nodes.all[0]
        .host
        .nft(
            "table inet service {
               chain postrouting {
                 type nat hook postrouting priority 50;
                 oifname \"bhx*\" masquerade fully-random
               }
             }",
        )
        .unwrap();
    let data: Vec<u8> = (0_u32..1 << 20).flat_map(u32::to_be_bytes).collect();
    for address in at {
        let socket = SocketAddr::new(address, 7777);
        let _server = EchoServer::start(&to, Transport::Tcp, socket).unwrap();
        let seen = tcp_echo(&from, socket, &data, LIMIT).unwrap();
        let own = nodes.all[0].host.ip_json("address show").unwrap();
        assert!(own.to_string().contains(&format!("\"{seen}\"")), "{seen}");
    }
    assert_eq!([wrong_checksums(&from), wrong_checksums(&to)], [0, 0]);
}

#[test]
fn a_first_call_that_needs_the_store_is_told_so_and_waits_for_it() {
    let mut nodes = Nodes::start(1);
    let container = nodes.bare(0, "c");
    wait_for("the daemon to hear of the pool", LIMIT, || {
        let node = &nodes.all[0];
        let answer = node.call(Verb::Status, &container, &node.network());
        answer.succeeded().then_some(())
    });
    nodes.etcd.kill(0);
    let status = wait_for("the daemon to notice", LIMIT, || {
        let node = &nodes.all[0];
        let answer = node.call(Verb::Status, &container, &node.network());
        (answer.error_code() == Some(50)).then_some(answer)
    });
    let said = status.json.unwrap_or_default()["msg"].to_string();
    assert!(said.contains("needs the cluster's store: "), "{said}");
    let Nodes { all, etcd, .. } = &mut nodes;
    let node = &all[0];
    let added = thread::scope(|scope| {
        let adding = scope.spawn(|| node.call(Verb::Add, &container, &node.network()));
        etcd.restart(0).unwrap();
        adding.join().unwrap()
    });
    assert_eq!(addresses(&added.result()).len(), 2);
}
