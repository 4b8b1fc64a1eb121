//! Peers on one link, which are sent to as they are.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bulkhead_tests::nodes::{LIMIT, Nodes, addresses};
use netns_fixtures::{
    Capture, Captured, Container, EchoServer, End, Host, Ping, Transport, Verb, tcp_echo, veth,
    wait_for,
};
use serde_json::json;

use super::{answers, reaches};

/// Of each node, its link to the others.
const LINK: &str = "lan0";

/// Nodes on one link beside their ways over the router, which knows the way to the link's addresses too.
struct OneLink {
    nodes: Nodes,
    _switch: Host,
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
        Self {
            nodes,
            _switch: switch,
        }
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
    assert!(answers(&from, at[0]) && answers(&from, at[1]));
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
        wait_for("the way to be followed", Duration::from_secs(5), || {
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
