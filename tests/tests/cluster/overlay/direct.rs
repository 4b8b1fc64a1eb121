//! Peers on one link, which are sent to as they are.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bulkhead_tests::nodes::{LIMIT, Nodes, addresses};
use netns_fixtures::packet::{Frame, Ipv4, Udp};
use netns_fixtures::{
    Capture, Captured, Container, EchoServer, End, Host, PacketSocket, Ping, Transport, Verb,
    tcp_echo, veth, wait_for,
};
use serde_json::json;

use super::{answers, reaches};

/// Of each node, its link to the others.
const LINK: &str = "lan0";

/// Nodes on one link beside their ways over the router, which knows the way to the link's addresses too.
struct OneLink {
    nodes: Nodes,
    switch: Host,
}

impl OneLink {
    fn start(count: u8) -> Self {
        let nodes = Nodes::start(count);
        let switch = nodes.sandbox.host("switch").unwrap();
        switch.bridge("br0", &[]).unwrap();
        for (nth, node) in (1..=count).zip(&nodes.all) {
            let port = format!("p{nth}");
            veth(
                &End::new(&switch, &port),
                &End::new(&node.host, LINK).address(&format!("203.0.113.{nth}/24")),
            )
            .unwrap();
            switch.ip(&format!("link set {port} master br0")).unwrap();
            nodes
                .outside
                .ip(&format!("route add 203.0.113.{nth}/32 via 192.0.{nth}.2"))
                .unwrap();
        }
        Self { nodes, switch }
    }

    fn container(&self, nth: usize, name: &str) -> (Container, Vec<IpAddr>) {
        let (node, container) = (&self.nodes.all[nth], self.nodes.bare(nth, name));
        let mut network = node.network();
        network["underlay"] = json!(LINK);
        network["directRouting"] = json!(true);
        let result = node.call(Verb::Add, &container, &network).result();
        (container, addresses(&result))
    }

    /// Sends what is for the other's address on the link by the router, or by the link again.
    fn lead_away(&self, away: bool) {
        let verb = if away { "add" } else { "del" };
        for (own, other) in [(1, 2), (2, 1)] {
            let line = format!("route {verb} 203.0.113.{other}/32 via 192.0.{own}.1 dev uplink0");
            self.nodes.all[own - 1].host.ip(&line).unwrap();
        }
    }
}

/// Whether it is an encapsulated packet, over IPv4.
fn is_encapsulated(bytes: &[u8]) -> bool {
    bytes.get(12..14) == Some(&[8, 0])
        && bytes.get(23) == Some(&17)
        && bytes.get(36..38) == Some(&4789_u16.to_be_bytes())
}

/// Whether it is an IPv4 packet from one to the other, as it is.
fn is_plain(seen: &Captured, from: IpAddr, to: IpAddr) -> bool {
    let (IpAddr::V4(from), IpAddr::V4(to)) = (from, to) else {
        return false;
    };
    let bytes = &seen.bytes;
    bytes.get(12..14) == Some(&[8, 0])
        && bytes.get(26..34) == Some(&[from.octets(), to.octets()].concat()[..])
}

#[test]
fn a_peer_on_the_link_is_sent_to_plainly_and_one_that_is_not_any_more_encapsulated() {
    let lan = OneLink::start(2);
    let (from, own) = lan.container(0, "from");
    let (to, at) = lan.container(1, "to");
    reaches(&from, &at);
    let captures = || {
        let hosts = &lan.nodes.all;
        [(LINK, 1), ("uplink0", 1)]
            .map(|(link, nth)| Capture::start(&hosts[nth].host, link).unwrap())
    };
    // On the link: IPv4 as it is, IPv6 encapsulated, since it has no IPv4 next hop.
    let [link, routed] = captures();
    reaches(&from, &at);
    link.expect("a packet as it is", LIMIT, |seen| {
        is_plain(seen, own[0], at[0])
    })
    .unwrap();
    // From the link that was named, and its address.
    link.expect("an encapsulated packet of IPv6", LIMIT, |seen| {
        is_encapsulated(&seen.bytes) && seen.bytes.get(26..30) == Some(&[203, 0, 113, 1])
    })
    .unwrap();
    let waited = Duration::from_millis(200);
    routed
        .none_within("a packet by way of the router", waited, |seen| {
            is_encapsulated(&seen.bytes)
        })
        .unwrap();
    // The whole MTU that was told passes, and the other sees who it is.
    assert!(Ping::new(at[0]).unfragmented(1450).from(&from).unwrap());
    let socket = SocketAddr::new(at[0], 7777);
    let _tcp = EchoServer::start(&to, Transport::Tcp, socket).unwrap();
    assert_eq!(tcp_echo(&from, socket, b"plainly", LIMIT).unwrap(), own[0]);
    // Away from the link, and back.
    for (away, encapsulated) in [(true, true), (false, false)] {
        lan.lead_away(away);
        wait_for("the way to be followed", LIMIT, || {
            let [link, routed] = captures();
            let _ = answers(&from, at[0]);
            let soon = Duration::from_millis(300);
            let plain = link
                .expect("a packet as it is", soon, |seen| {
                    is_plain(seen, own[0], at[0])
                })
                .is_ok();
            let outer = routed
                .expect("an encapsulated packet", soon, |seen| {
                    is_encapsulated(&seen.bytes)
                })
                .is_ok();
            (plain != encapsulated && outer == encapsulated).then_some(())
        });
        reaches(&from, &at);
    }
}

/// Drops of packets from the pool that came in by a link.
fn misrouted(nodes: &Nodes, link: &str) -> u64 {
    let listed = "nft list set inet bulkhead-overlay drops-misrouted";
    let listed = nodes.all[0].host.sh(listed).unwrap();
    let of_link = format!("\"{link}\" counter packets ");
    let counted = listed.split_once(&of_link).map(|(_, rest)| rest);
    let counted = counted.and_then(|rest| rest.split(' ').next());
    counted.map_or(0, |count| count.parse().unwrap())
}

#[test]
fn an_address_of_a_block_is_believed_of_its_owner_on_the_link_and_of_nobody_else() {
    let lan = OneLink::start(3);
    let nodes = &lan.nodes;
    let (victim, own) = lan.container(0, "victim");
    let (peer, at) = lan.container(1, "peer");
    let (other, _) = lan.container(2, "other");
    for from in [&peer, &other] {
        reaches(from, &own);
    }
    let (IpAddr::V4(source), IpAddr::V4(target)) = (at[0], own[0]) else {
        unreachable!("IPv4 comes first");
    };
    // Until the filter knows who is near.
    wait_for("both peers to be known by their MACs", LIMIT, || {
        let near = nodes.all[0]
            .host
            .sh("nft list set inet bulkhead-overlay near");
        (near.unwrap().matches(LINK).count() == 2).then_some(())
    });
    // Whoever looks for himself finds the same.
    let said = nodes.all[0].say(&["doctor", "overlay", "--all"]).unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("every other node answers (2)"), "{said}");
    assert!(!said.contains("overlay-filter"), "{said}");
    // What a peer sent before that was dropped too.
    let before = [LINK, "uplink0"].map(|link| misrouted(nodes, link));
    let capture = Capture::start(&victim, "eth0").unwrap();
    let lie = |to: [u8; 6], from: [u8; 6]| {
        let udp = Udp {
            src_port: 9,
            dst_port: 9,
            data: b"not from there".to_vec(),
        };
        Frame::new(from, to, Ipv4::new(source, target, udp))
    };
    let is_lie = |seen: &Captured| seen.bytes.ends_with(b"not from there");
    // Somebody else on the link, and somebody by way of another link.
    let (stranger, towards) = ([2, 0, 0, 0, 9, 9], nodes.all[0].host.mac(LINK).unwrap());
    let on_link = PacketSocket::open(&lan.switch, "br0").unwrap();
    on_link.send(&lie(towards, stranger)).unwrap();
    let by_router = PacketSocket::open(&nodes.outside, "node1").unwrap();
    let uplink = nodes.all[0].host.mac("uplink0").unwrap();
    by_router.send(&lie(uplink, stranger)).unwrap();
    for (link, before) in [LINK, "uplink0"].into_iter().zip(before) {
        wait_for("the lie to be counted", LIMIT, || {
            (misrouted(nodes, link) == before + 1).then_some(())
        });
    }
    // Another peer, which has a block of its own.
    let another = nodes.all[2].host.mac(LINK).unwrap();
    on_link.send(&lie(towards, another)).unwrap();
    wait_for("the other peer's lie to be counted", LIMIT, || {
        (misrouted(nodes, LINK) == before[0] + 2).then_some(())
    });
    let waited = Duration::from_millis(100);
    capture.none_within("a lie", waited, is_lie).unwrap();
    // The same from the peer's own MAC is the peer's.
    let near = nodes.all[1].host.mac(LINK).unwrap();
    on_link.send(&lie(towards, near)).unwrap();
    capture.expect("the peer's packet", LIMIT, is_lie).unwrap();
    for from in [&peer, &other] {
        reaches(from, &own[..1]);
    }
}
