//! Who reaches a host port, and as whom the container sees it.

use std::net::IpAddr;

use netns_fixtures::packet::{Frame, Ipv4, Ipv6, Payload};
use netns_fixtures::{
    BridgeNetfilter, Capture, Captured, EchoServer, Outside, PacketSocket, Transport,
};
use serde_json::{Value, json};

use super::{
    INSIDE, PORT, assert_as_added, assert_refused, mapped, outsider, published, publishing,
    seen_at, serve, to, uplink,
};
use crate::claims;
use crate::node::{Attachment, GATEWAYS, LIMIT, Node, with};

claims! {
    the_outside_reaches_a_host_port_and_is_seen_as_itself,
    an_sctp_host_port_leads_to_the_container,
    the_host_reaches_it_by_each_of_its_addresses,
    the_ipv6_loopback_meets_the_host_s_own_sockets,
    a_container_reaches_its_own_host_port,
    a_neighbour_reaches_it,
    containers_of_other_networks_reach_it,
    a_container_of_one_family_is_reached_by_that_one,
}

fn the_outside_reaches_a_host_port_and_is_seen_as_itself(setting: BridgeNetfilter) {
    for keys in [json!({"ipMasq": false}), json!({"ipMasq": true})] {
        let node = Node::new(setting);
        let a = node.attach(&with(published(&node), keys), "a");
        let _service = serve(&a.container, INSIDE);
        for (address, seen) in uplink(&node).into_iter().zip(outsider(&node)) {
            assert_eq!(seen_at(to(address, PORT), &node.outside), seen);
        }
        node.detach(&a);
        for address in uplink(&node) {
            assert_refused(to(address, PORT), &node.outside);
        }
        node.assert_nothing_left();
    }
}

const SCTP: u8 = 132;

/// An INIT (RFC 9260 §3.3.2) alone in its packet, checksum included: netfilter looks at it.
fn sctp_init(source: u16, destination: u16) -> Payload {
    let mut bytes = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    // No verification tag yet; the checksum's place.
    bytes.extend([0; 8]);
    let chunk = [
        1, 0, 0, 20, 0, 0, 0, 7, 0, 0, 255, 255, 0, 1, 0, 1, 0, 0, 0, 9,
    ];
    bytes.extend(chunk);
    let sum = crc32c(&bytes);
    bytes[8..12].copy_from_slice(&sum.to_le_bytes());
    Payload::other(SCTP, &bytes)
}

/// RFC 9260 appendix A.
fn crc32c(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), bit);
    !bytes.iter().fold(!0, byte)
}

/// The kernel may be without SCTP sockets; what it translates needs none.
fn an_sctp_host_port_leads_to_the_container(setting: BridgeNetfilter) {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    let node = Node::new(setting);
    let mapping = json!({"protocol": "SCTP", "hostPort": PORT, "containerPort": INSIDE});
    let a = node.attach(&publishing(&node.config(), [mapping]), "a");
    let sender = PacketSocket::open(&node.outside, "node1").unwrap();
    let near = node.host.mac(Outside::UPLINK).unwrap();
    let far = node.outside.mac("node1").unwrap();
    let init = || sctp_init(5000, PORT);
    let (pair, arrivals) = (node.uplink, Capture::start(&a.container, "eth0").unwrap());
    let v4 = Ipv4::new(pair.gateway_v4, pair.node_v4, init());
    let v6 = Ipv6::new(pair.gateway_v6, pair.node_v6, init());
    for frame in [Frame::new(far, near, v4), Frame::new(far, near, v6)] {
        sender.send(&frame).unwrap();
        let arrived = |seen: &Captured| {
            let body = seen.ok().and_then(Frame::payload);
            matches!(body, Some(Payload::Other { protocol: SCTP, bytes })
                if bytes[2..4] == INSIDE.to_be_bytes())
        };
        let arrived = arrivals.expect("the INIT", LIMIT, arrived).unwrap();
        let (source, _) = arrived.ok().and_then(Frame::addresses).unwrap();
        assert_eq!(Some(source), frame.addresses().map(|(source, _)| source));
    }
    node.detach(&a);
    node.assert_nothing_left();
}

fn the_host_reaches_it_by_each_of_its_addresses(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let a = node.attach(&published(&node), "a");
    let _service = serve(&a.container, INSIDE);
    for loopback in ["127.0.0.1", "127.0.0.2"] {
        let loopback: IpAddr = loopback.parse().unwrap();
        assert_eq!(seen_at(to(loopback, PORT), &node.host), GATEWAYS[0]);
    }
    for address in uplink(&node).into_iter().chain(GATEWAYS) {
        assert_eq!(seen_at(to(address, PORT), &node.host), address);
    }
    node.detach(&a);
    node.assert_nothing_left();
}

fn the_ipv6_loopback_meets_the_host_s_own_sockets(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let a = node.attach(&published(&node), "a");
    let _service = serve(&a.container, INSIDE);
    let loopback: IpAddr = "::1".parse().unwrap();
    assert_refused(to(loopback, PORT), &node.host);
    let own = [Transport::Tcp, Transport::Udp]
        .map(|transport| EchoServer::start(&node.host, transport, to(loopback, PORT)).unwrap());
    assert_eq!(seen_at(own[0].address(), &node.host), loopback);
    assert_as_added(&node, &a);
}

/// Every way a packet can return by the bridge it came from. With `br_netfilter` a translated frame
/// stays on the bridge, and the kernel (6.9 and later) forgets the connection of one that is taken up
/// because the bridge is promiscuous: a container of such a bridge does not reach itself then.
fn reflections(setting: BridgeNetfilter) -> Vec<Value> {
    let promiscuous = (setting == BridgeNetfilter::Off).then(|| json!({"promiscMode": true}));
    let others = [
        json!({}),
        json!({"hairpinMode": true, "ipMasq": true, "macspoofchk": true}),
    ];
    others.into_iter().chain(promiscuous).collect()
}

fn a_container_reaches_its_own_host_port(setting: BridgeNetfilter) {
    for keys in reflections(setting) {
        let node = Node::new(setting);
        let a = node.attach(&with(published(&node), keys), "a");
        let _service = serve(&a.container, INSIDE);
        for addresses in [uplink(&node), GATEWAYS] {
            for (address, gateway) in addresses.into_iter().zip(GATEWAYS) {
                assert_eq!(seen_at(to(address, PORT), &a.container), gateway);
            }
        }
        node.detach(&a);
        node.assert_nothing_left();
    }
}

/// A container with a host port and its neighbour, both with these keys.
#[track_caller]
fn assert_neighbour_reaches(setting: BridgeNetfilter, keys: Value) {
    let node = Node::new(setting);
    let config = with(node.config(), keys);
    let a = node.attach(&publishing(&config, mapped(PORT, INSIDE)), "a");
    let b = node.attach(&config, "b");
    let _service = serve(&a.container, INSIDE);
    for addresses in [uplink(&node), GATEWAYS] {
        for (address, gateway) in addresses.into_iter().zip(GATEWAYS) {
            assert_eq!(seen_at(to(address, PORT), &b.container), gateway);
        }
    }
}

fn a_neighbour_reaches_it(setting: BridgeNetfilter) {
    for keys in reflections(setting) {
        assert_neighbour_reaches(setting, keys);
    }
}

/// With `br_netfilter` the translated frame would stay on the bridge, where isolation stops it.
#[test]
fn an_isolated_neighbour_reaches_it_through_the_host() {
    assert_neighbour_reaches(BridgeNetfilter::Off, json!({"portIsolation": true}));
}

fn containers_of_other_networks_reach_it(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let a = node.attach(&published(&node), "a");
    let _service = serve(&a.container, INSIDE);
    let green = node.network("green", "br-green", "10.2.0.0/24", "fd02::/64");
    let own_gateways = ["10.2.0.1", "fd02::1"].map(|text| text.parse::<IpAddr>().unwrap());
    let asked = [uplink(&node), GATEWAYS, own_gateways];
    let reach = |b: &Attachment, seen: [IpAddr; 2]| {
        for (address, seen) in asked.into_iter().flat_map(|two| two.into_iter().zip(seen)) {
            assert_eq!(seen_at(to(address, PORT), &b.container), seen, "{address}");
        }
    };
    let b = node.attach(&green, "b");
    reach(&b, [b.v4().into(), b.v6().into()]);
    node.detach(&b);
    let b = node.attach(&with(green, json!({"ipMasq": true})), "c");
    // Masqueraded behind the bridge it leaves by.
    reach(&b, GATEWAYS);
    node.detach(&b);
    node.detach(&a);
    node.assert_nothing_left();
}

fn a_container_of_one_family_is_reached_by_that_one(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let ranges = json!({"v4": [[{"subnet": "10.1.0.0/24"}]], "v6": [[{"subnet": "fd01::/64"}]]});
    for (nth, family) in ["v4", "v6"].into_iter().enumerate() {
        let mut config = published(&node);
        config["ipam"]["ranges"] = ranges[family].clone();
        config["name"] = json!(family);
        let a = node.attach(&config, family);
        let _service = serve(&a.container, INSIDE);
        let [mine, other] = [nth, 1 - nth].map(|nth| to(uplink(&node)[nth], PORT));
        seen_at(mine, &node.outside);
        assert_refused(other, &node.outside);
        assert_as_added(&node, &a);
        node.detach(&a);
    }
    node.assert_nothing_left();
}
