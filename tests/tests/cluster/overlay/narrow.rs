//! A node whose underlay carries less than the others'.

use std::net::{IpAddr, SocketAddr};

use bulkhead_model::Prefix;
use bulkhead_tests::nodes::{LIMIT, NETWORK, Node, Nodes};
use netns_fixtures::{EchoServer, Outside, Ping, Transport, tcp_echo, udp_echo, wait_for};
use serde_json::Value;

use super::{is_mended, mended, reaches};

/// An underlay of 1500 bytes over IPv4 leaves so many, and one of 1400.
const WIDE: usize = 1450;
const NARROW: usize = 1350;

fn set_below(node: &Node, bytes: usize) {
    let uplink = Outside::UPLINK;
    node.host
        .ip(&format!("link set {uplink} mtu {bytes}"))
        .expect("ip does it");
}

/// The route by that device to the block with that address.
fn led(node: &Node, device: &str, to: IpAddr) -> Value {
    let family = if to.is_ipv6() { "-6" } else { "-4" };
    let routes = node
        .host
        .ip_json(&format!("{family} route show dev {device}"));
    let routes = routes.expect("ip runs");
    let leads = |route: &&Value| {
        let block = route["dst"].as_str().map(str::parse::<Prefix>);
        block.is_some_and(|block| block.is_ok_and(|block| block.contains(to)))
    };
    let led = routes.as_array().expect("routes").iter().find(leads);
    led.cloned().unwrap_or_default()
}

#[test]
fn what_is_too_long_for_another_node_is_told_before_it_leaves() {
    let nodes = Nodes::start(3);
    let (wide, narrow) = (&nodes.all[0], &nodes.all[2]);
    set_below(narrow, 1400);
    let (from, _) = nodes.container(0, "from");
    let (_like, like_at) = nodes.container(1, "like");
    let (to, at) = nodes.container(2, "to");
    reaches(&from, &like_at);
    reaches(&from, &at);
    let device = wide.device();
    let carried = |to| led(wide, &device, to)["metrics"][0]["mtu"].as_u64();
    let say = |carries: Option<u64>| {
        for address in &at {
            wait_for(&format!("a route that carries {carries:?}"), LIMIT, || {
                (carried(*address) == carries).then_some(())
            });
        }
    };
    say(Some(NARROW as u64));
    for address in &like_at {
        assert_eq!(carried(*address), None);
        assert!(Ping::new(*address).unfragmented(WIDE).from(&from).unwrap());
    }
    for address in &at {
        // Nothing that may be cut is lost, and of what may not only what tells its sender.
        let whole = Ping::new(*address).packet_size(WIDE).limit(LIMIT);
        assert!(whole.from(&from).unwrap());
        let whole = Ping::new(*address).packet_size(WIDE).limit(LIMIT).single();
        assert!(whole.from(&from).unwrap());
        assert!(
            Ping::new(*address)
                .unfragmented(NARROW)
                .from(&from)
                .unwrap()
        );
        let socket = SocketAddr::new(*address, 7777);
        let _tcp = EchoServer::start(&to, Transport::Tcp, socket).unwrap();
        let _udp = EchoServer::start(&to, Transport::Udp, socket).unwrap();
        let long: Vec<u8> = (0..100_000_u32).map(|nth| nth.to_be_bytes()[3]).collect();
        tcp_echo(&from, socket, &long, LIMIT).unwrap();
        // As long as the sender's own link carries, without the headers of IPv6 and UDP. It may be told once.
        let long = &long[..WIDE - 48];
        let sent = || udp_echo(&from, socket, long, LIMIT);
        sent().or_else(|_| sent()).unwrap();
    }
    let said = wide.must_say(&["doctor", "overlay", NETWORK]);
    assert!(
        said.contains("n3 has an MTU of 1350, this node 1450"),
        "{said}"
    );
    // Somebody else's word about it does not stay.
    let block = led(wide, &device, at[1]);
    let text = |key: &str| block[key].as_str().expect("a text");
    let (to, by) = (text("dst"), text("gateway"));
    let unsaid = format!("-6 route replace {to} via {by} dev {device} metric 1024 proto 98");
    is_mended(
        &unsaid,
        || wide.host.ip(&unsaid),
        || mended(wide),
        || carried(at[1]) == Some(NARROW as u64),
    );
    say(Some(NARROW as u64));
    // The other's link carries more by now.
    set_below(narrow, 1500);
    say(None);
    let (later, _) = nodes.container(0, "later");
    for address in &at {
        assert!(Ping::new(*address).unfragmented(WIDE).from(&later).unwrap());
    }
}
