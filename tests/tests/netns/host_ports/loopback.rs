//! What host ports must not open: the host's loopback, and traffic that is for another machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use netns_fixtures::packet::{BROADCAST, Body, Frame, Ipv4, Ipv6, MacOctets, Payload, Tcp, Udp};
use netns_fixtures::{
    BridgeNetfilter, Capture, Captured, Container, End, Ns, Outside, PacketSocket, veth,
};
use serde_json::json;

use super::{INSIDE, PORT, mapped, mapped_on, outsider, published, publishing, seen_at, serve, to};
use crate::claims;
use crate::node::{BRIDGE, GATEWAYS, LIMIT, Node};

claims! {
    what_is_for_another_machine_arrives_there_untouched,
    a_packet_for_nobody_is_not_translated,
    a_broadcast_is_not_translated,
    the_host_s_loopback_is_beyond_containers_and_the_outside,
    a_host_port_on_127_0_0_1_is_beyond_them_too,
}

const OTHER: [&str; 2] = ["192.168.7.2", "fd07::2"];

/// A machine on another link of the node, which routes for it.
fn another_machine(node: &Node) -> Container {
    let machine = node.sandbox.container("machine").unwrap();
    let near = End::new(&node.host, "lan0").address("192.168.7.1/24");
    let far = End::new(&machine, "eth0").address("192.168.7.2/24");
    veth(&near.address("fd07::1/64"), &far.address("fd07::2/64")).unwrap();
    machine
        .ip_batch(&[
            "route add default via 192.168.7.1",
            "route add default via fd07::1",
        ])
        .unwrap();
    let via = node.uplink;
    node.outside
        .ip_batch(&[
            format!("route add 192.168.7.0/24 via {}", via.node_v4),
            format!("route add fd07::/64 via {}", via.node_v6),
        ])
        .unwrap();
    machine
}

/// CVE-2025-67499.
fn what_is_for_another_machine_arrives_there_untouched(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let machine = another_machine(&node);
    let a = node.attach(&published(&node), "a");
    let b = node.attach(&node.config(), "b");
    // Nobody but the machine serves: whoever answers is the machine.
    let _service = serve(&machine, PORT);
    let askers: [(&Ns, [IpAddr; 2]); 4] = [
        (&node.outside, outsider(&node)),
        (&a.container, [a.v4().into(), a.v6().into()]),
        (&b.container, [b.v4().into(), b.v6().into()]),
        (
            &node.host,
            ["192.168.7.1", "fd07::1"].map(|text| text.parse().unwrap()),
        ),
    ];
    for (from, seen) in askers {
        for (address, seen) in OTHER.into_iter().zip(seen) {
            let machine: IpAddr = address.parse().unwrap();
            assert_eq!(seen_at(to(machine, PORT), from), seen);
        }
    }
}

fn datagram(number: u16) -> Udp {
    Udp {
        src_port: 4000,
        dst_port: number,
        data: b"datagram".to_vec(),
    }
}

/// Whether it comes to the container's port behind [`PORT`], or behind the one after it.
fn inside(number: u16) -> impl Fn(&Captured) -> bool {
    move |seen| {
        let body = seen.ok().and_then(Frame::payload);
        match body {
            Some(Payload::Udp(udp)) => udp.dst_port == number,
            Some(Payload::Tcp(tcp)) => tcp.dst_port == number,
            _ => false,
        }
    }
}

/// Host port [`PORT`] leads to [`INSIDE`], and the one after it, for a sentinel, to the one after.
fn two_ports() -> Vec<serde_json::Value> {
    [mapped(PORT, INSIDE), mapped(PORT + 1, INSIDE + 1)].concat()
}

/// Where a stranger can send from: its socket, its MAC and addresses, and the node's MAC there.
struct Stranger {
    socket: PacketSocket,
    mac: MacOctets,
    node: MacOctets,
    v4: Ipv4Addr,
    v6: std::net::Ipv6Addr,
}

fn strangers(node: &Node, container: &crate::node::Attachment) -> [Stranger; 2] {
    let outside = Stranger {
        socket: PacketSocket::open(&node.outside, "node1").unwrap(),
        mac: node.outside.mac("node1").unwrap(),
        node: node.host.mac(Outside::UPLINK).unwrap(),
        v4: node.uplink.gateway_v4,
        v6: node.uplink.gateway_v6,
    };
    let inside = Stranger {
        socket: PacketSocket::open(&container.container, "eth0").unwrap(),
        mac: container.mac(),
        node: node.host.mac(BRIDGE).unwrap(),
        v4: container.v4(),
        v6: container.v6(),
    };
    [outside, inside]
}

fn a_packet_for_nobody_is_not_translated(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let a = node.attach(&publishing(&node.config(), two_ports()), "a");
    let b = node.attach(&node.config(), "b");
    for stranger in strangers(&node, &b) {
        let arrivals = Capture::start(&a.container, "eth0").unwrap();
        let send = |body: Body| {
            let frame = Frame::new(stranger.mac, stranger.node, body);
            stranger.socket.send(&frame).unwrap();
        };
        let v4 = |to, payload: Payload| Ipv4::new(stranger.v4, to, payload).into();
        let v6 = |to, payload: Payload| Ipv6::new(stranger.v6, to, payload).into();
        let nobody = (
            "203.0.113.77".parse().unwrap(),
            "2001:db8:77::77".parse().unwrap(),
        );
        for payload in [datagram(PORT).into(), Tcp::syn(4000, PORT).into()] {
            let payload: Payload = payload;
            send(v4(nobody.0, payload.clone()));
            send(v6(nobody.1, payload));
        }
        send(v4(node.uplink.node_v4, datagram(PORT + 1).into()));
        arrivals
            .none_before(
                "a packet for nobody",
                LIMIT,
                inside(INSIDE),
                inside(INSIDE + 1),
            )
            .unwrap();
    }
}

fn a_broadcast_is_not_translated(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let a = node.attach(&publishing(&node.config(), two_ports()), "a");
    let b = node.attach(&node.config(), "b");
    for (stranger, broadcast) in strangers(&node, &b)
        .into_iter()
        .zip(["192.0.1.255", "10.1.0.255"])
    {
        let arrivals = Capture::start(&a.container, "eth0").unwrap();
        for group in [broadcast, "255.255.255.255", "224.0.0.1"] {
            let packet = Ipv4::new(stranger.v4, group.parse().unwrap(), datagram(PORT));
            let frame = Frame::new(stranger.mac, BROADCAST, packet);
            stranger.socket.send(&frame).unwrap();
        }
        let packet = Ipv4::new(stranger.v4, node.uplink.node_v4, datagram(PORT + 1));
        let frame = Frame::new(stranger.mac, stranger.node, packet);
        stranger.socket.send(&frame).unwrap();
        arrivals
            .none_before("a broadcast", LIMIT, inside(INSIDE), inside(INSIDE + 1))
            .unwrap();
    }
}

/// A service of the host's own, and what is the first to come to it.
struct Own(UdpSocket);

impl Own {
    fn on(host: &Ns, address: SocketAddr) -> Self {
        let socket = host.enter(|| UdpSocket::bind(address)).unwrap().unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        Self(socket)
    }

    fn next(&self) -> Vec<u8> {
        let mut buffer = [0; 100];
        let (length, _) = self.0.recv_from(&mut buffer).unwrap();
        buffer[..length].to_vec()
    }
}

/// Every way to claim to be the host or to mean its loopback: source and destination.
fn martians(stranger: &Stranger, own: Ipv4Addr) -> [(Ipv4Addr, Ipv4Addr); 3] {
    let loopback = Ipv4Addr::LOCALHOST;
    [
        (stranger.v4, loopback),
        (Ipv4Addr::new(127, 0, 0, 5), own),
        (loopback, loopback),
    ]
}

fn the_host_s_loopback_is_beyond_containers_and_the_outside(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let _a = node.attach(&published(&node), "a");
    // The guard would keep them out before.
    let b = node.attach(&node.config_with(json!({"guard": false})), "b");
    let switch = format!("net/ipv4/conf/{BRIDGE}/route_localnet");
    assert_eq!(node.host.sysctl(&switch).unwrap(), "1");
    let any = Own::on(&node.host, "0.0.0.0:9000".parse().unwrap());
    let IpAddr::V4(gateway) = GATEWAYS[0] else {
        panic!("the first is IPv4");
    };
    let [outside, inside] = strangers(&node, &b);
    let send = |stranger: &Stranger, own| {
        for (source, destination) in martians(stranger, own) {
            let frame = Frame::new(
                stranger.mac,
                stranger.node,
                Ipv4::new(source, destination, datagram(9000)),
            );
            stranger.socket.send(&frame).unwrap();
        }
    };
    for (stranger, own) in [(&outside, node.uplink.node_v4), (&inside, gateway)] {
        send(stranger, own);
        // What comes the honest way after them is the first to arrive.
        let sentinel = Udp {
            data: b"sentinel".to_vec(),
            ..datagram(9000)
        };
        let frame = Frame::new(
            stranger.mac,
            stranger.node,
            Ipv4::new(stranger.v4, own, sentinel),
        );
        stranger.socket.send(&frame).unwrap();
        assert_eq!(any.next(), b"sentinel");
    }
    // The bridge would have routed them to it: it is the rule that keeps them out.
    node.host
        .nft("flush chain inet bulkhead-ports martians")
        .unwrap();
    send(&inside, gateway);
    assert_eq!(any.next(), b"datagram");
}

fn a_host_port_on_127_0_0_1_is_beyond_them_too(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let loopback = mapped_on("127.0.0.1", PORT, INSIDE);
    let mappings = [loopback, mapped(PORT + 1, INSIDE + 1)].concat();
    let a = node.attach(&publishing(&node.config(), mappings), "a");
    let b = node.attach(&node.config(), "b");
    for stranger in strangers(&node, &b) {
        let arrivals = Capture::start(&a.container, "eth0").unwrap();
        for (source, destination) in martians(&stranger, node.uplink.node_v4) {
            let packet = Ipv4::new(source, destination, datagram(PORT));
            let frame = Frame::new(stranger.mac, stranger.node, packet);
            stranger.socket.send(&frame).unwrap();
        }
        let packet = Ipv4::new(stranger.v4, node.uplink.node_v4, datagram(PORT + 1));
        let frame = Frame::new(stranger.mac, stranger.node, packet);
        stranger.socket.send(&frame).unwrap();
        arrivals
            .none_before(
                "a packet to 127.0.0.1",
                LIMIT,
                inside(INSIDE),
                inside(INSIDE + 1),
            )
            .unwrap();
    }
}
