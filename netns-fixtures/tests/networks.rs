//! Topologies carry traffic, and what carries it is seen by captures.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use netns_fixtures::packet::{Arp, ArpOp, Frame, Icmpv6, Ipv4, Payload, Udp};
use netns_fixtures::{
    BridgeNetfilter, Capture, CaptureError, Captured, Container, Direction, EchoServer, End,
    Feature, Host, Outside, PacketSocket, Ping, Sandbox, Transport, path_mtu, skip_without,
    tcp_echo, udp_echo, veth,
};

const LIMIT: Duration = Duration::from_secs(40);
const A4: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const B4: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const A6: Ipv6Addr = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 1);
const B6: Ipv6Addr = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 2);
const MAC_A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];

/// Two containers on one wire.
fn wire(sandbox: &Sandbox) -> [Container; 2] {
    let [a, b] = ["a", "b"].map(|name| sandbox.container(name).unwrap());
    let near = End::new(&a, "eth0")
        .address("10.1.0.1/24")
        .address("fd01::1/64")
        .mac("02:00:00:00:00:0a");
    let far = End::new(&b, "eth0")
        .address("10.1.0.2/24")
        .address("fd01::2/64")
        .mtu(1400);
    veth(&near, &far).unwrap();
    [a, b]
}

fn both(v4: Ipv4Addr, v6: Ipv6Addr) -> [IpAddr; 2] {
    [v4.into(), v6.into()]
}

#[test]
fn nodes_reach_each_other_and_the_outside() {
    let sandbox = Sandbox::new();
    let outside = sandbox.outside("outside").unwrap();
    let [one, two] = ["one", "two"].map(|name| sandbox.host(name).unwrap());
    let first = outside.link(&one, 1).unwrap();
    let second = outside.link(&two, 2).unwrap();
    let peers = both(second.node_v4, second.node_v6);
    for to in peers.into_iter().chain(both(Outside::V4, Outside::V6)) {
        assert!(Ping::new(to).from(&one).unwrap(), "{to}");
    }
    assert!(Ping::new(first.node_v6).from(&two).unwrap());
    assert_eq!(outside.sysctl("net/ipv4/ip_forward").unwrap(), "1");
    assert_eq!(one.sysctl("net/ipv4/ip_forward").unwrap(), "0");
}

#[test]
fn a_bridge_forwards_with_and_without_netfilter() {
    skip_without!(Feature::BrNetfilter);
    for setting in BridgeNetfilter::BOTH {
        let sandbox = Sandbox::new();
        let host = sandbox.host("host").unwrap();
        host.set_bridge_netfilter(setting).unwrap();
        host.bridge("br0", &["10.1.0.254/24", "fd01::fe/64"])
            .unwrap();
        let [a, _b] = [("a", 1), ("b", 2)].map(|(name, last)| plug(&sandbox, &host, name, last));
        // The hook sees bridged frames exactly when the setting says so.
        host.nft("add table ip t\nadd chain ip t c { type filter hook forward priority 0; policy drop; }")
            .unwrap();
        let passes = setting == BridgeNetfilter::Off;
        let limit = if passes {
            LIMIT
        } else {
            Duration::from_secs(1)
        };
        let ping = Ping::new(B4).limit(limit);
        assert_eq!(ping.from(&a).unwrap(), passes, "{setting:?}");
        assert!(Ping::new(B6).from(&a).unwrap(), "{setting:?}");
    }
}

fn plug(sandbox: &Sandbox, host: &Host, name: &str, last: u8) -> Container {
    let container = sandbox.container(name).unwrap();
    let inner = End::new(&container, "eth0")
        .address(&format!("10.1.0.{last}/24"))
        .address(&format!("fd01::{last}/64"));
    veth(&End::new(host, name), &inner).unwrap();
    host.ip(&format!("link set dev {name} master br0")).unwrap();
    container
}

#[test]
fn a_ping_to_nowhere_says_no() {
    let sandbox = Sandbox::new();
    let [a, _b] = wire(&sandbox);
    for to in ["10.1.0.77", "fd01::77", "192.0.2.1", "2001:db8::1"] {
        let ping = Ping::new(to.parse::<IpAddr>().unwrap()).limit(Duration::from_secs(1));
        assert!(!ping.from(&a).unwrap(), "{to}");
    }
    let local = a.ip_json("addr show dev eth0").unwrap().to_string();
    assert!(local.contains("fe80::ff:fe00:a"), "{local}");
    let own: IpAddr = "fe80::ff:fe00:a".parse().unwrap();
    assert!(Ping::new(own).via("eth0").from(&a).unwrap());
}

#[test]
fn a_path_s_mtu_is_that_of_its_narrowest_link() {
    let sandbox = Sandbox::new();
    let outside = sandbox.outside("outside").unwrap();
    let [one, two] = ["one", "two"].map(|name| sandbox.host(name).unwrap());
    outside.link(&one, 1).unwrap();
    let second = outside.link(&two, 2).unwrap();
    outside.ip("link set node2 mtu 1380").unwrap();
    two.ip("link set uplink0 mtu 1380").unwrap();
    for to in both(second.node_v4, second.node_v6) {
        assert_eq!(path_mtu(&one, to, 1500).unwrap(), Some(1380), "{to}");
        assert!(Ping::new(to).packet_size(3000).from(&one).unwrap(), "{to}");
    }
}

#[test]
fn echoes_come_back_over_both_transports_and_families() {
    let sandbox = Sandbox::new();
    let [a, b] = wire(&sandbox);
    let large = vec![b'x'; 300_000];
    for (server, client) in both(B4, B6).into_iter().zip(both(A4, A6)) {
        let any = SocketAddr::new(server, 0);
        let tcp = EchoServer::start(&b, Transport::Tcp, any).unwrap();
        let udp = EchoServer::start(&b, Transport::Udp, any).unwrap();
        assert_eq!(tcp_echo(&a, tcp.address(), &large, LIMIT).unwrap(), client);
        assert_eq!(
            udp_echo(&a, udp.address(), b"hello", LIMIT).unwrap(),
            client
        );
        let closed = tcp.address();
        drop(tcp);
        assert!(tcp_echo(&a, closed, b"x", LIMIT).is_err());
        a.ip("link set eth0 down").unwrap();
        let limit = Duration::from_millis(300);
        assert!(udp_echo(&a, udp.address(), b"x", limit).is_err());
        a.ip("link set eth0 up").unwrap();
        a.ip("addr replace fd01::1/64 dev eth0 nodad").unwrap();
    }
}

#[test]
fn a_request_built_here_is_answered_by_the_kernel() {
    let sandbox = Sandbox::new();
    let [a, b] = wire(&sandbox);
    let capture = Capture::start(&a, "eth0").unwrap();
    let socket = capture.socket();
    socket.send(&Arp::request(MAC_A, A4, B4)).unwrap();
    let reply = |frame: &Captured| {
        let arp = frame.ok().and_then(Frame::arp);
        arp.is_some_and(|arp| arp.op == ArpOp::Reply && arp.sender_ip == B4)
    };
    let reply = capture.expect("an ARP reply", LIMIT, reply).unwrap();
    assert_eq!(reply.direction, Direction::In);
    assert_eq!(reply.ok().unwrap().src, b.mac("eth0").unwrap());

    socket.send(&Icmpv6::solicitation(MAC_A, A6, B6)).unwrap();
    let told = |frame: &Captured| {
        matches!(
            frame.ok().and_then(Frame::icmpv6),
            Some(Icmpv6::NeighborAdvertisement { target, .. }) if *target == B6
        )
    };
    capture
        .expect("a neighbour advertisement", LIMIT, told)
        .unwrap();
}

#[test]
fn real_udp_and_tcp_parse_whoever_sums_them() {
    let sandbox = Sandbox::new();
    let [a, b] = wire(&sandbox);
    let capture = Capture::start(&b, "eth0").unwrap();
    for server in both(B4, B6) {
        let any = SocketAddr::new(server, 0);
        let tcp = EchoServer::start(&b, Transport::Tcp, any).unwrap();
        let udp = EchoServer::start(&b, Transport::Udp, any).unwrap();
        udp_echo(&a, udp.address(), b"hello", LIMIT).unwrap();
        tcp_echo(&a, tcp.address(), b"hello", LIMIT).unwrap();
        let port = udp.address().port();
        let asked = |frame: &Captured| {
            let udp = frame.ok().and_then(Frame::udp);
            udp.is_some_and(|udp| udp.dst_port == port && udp.data == b"hello")
        };
        capture.expect("the datagram", LIMIT, asked).unwrap();
        let port = tcp.address().port();
        let sent = |frame: &Captured| {
            let tcp = frame.ok().and_then(Frame::tcp);
            tcp.is_some_and(|tcp| tcp.dst_port == port && tcp.data == b"hello")
        };
        capture.expect("the segment", LIMIT, sent).unwrap();
    }
}

fn datagram(port: u16) -> Frame {
    let udp = Udp {
        src_port: 9,
        dst_port: port,
        data: Vec::new(),
    };
    Frame::new(MAC_A, [0xff; 6], Ipv4::new(A4, B4, udp))
}

fn to_port(port: u16) -> impl Fn(&Captured) -> bool {
    move |frame| {
        let payload = frame.ok().and_then(Frame::payload);
        matches!(payload, Some(Payload::Udp(udp)) if udp.dst_port == port)
    }
}

#[test]
fn what_must_not_come_is_caught_when_it_comes() {
    let sandbox = Sandbox::new();
    let [a, b] = wire(&sandbox);
    let sender = PacketSocket::open(&a, "eth0").unwrap();
    let capture = Capture::start(&b, "eth0").unwrap();
    sender.send(&datagram(1)).unwrap();
    sender.send(&datagram(2)).unwrap();
    capture
        .none_before("port 3", LIMIT, to_port(3), to_port(2))
        .unwrap();
    sender.send(&datagram(1)).unwrap();
    sender.send(&datagram(2)).unwrap();
    let caught = capture.none_before("port 1", LIMIT, to_port(1), to_port(2));
    assert!(
        matches!(caught, Err(CaptureError::Unwanted { .. })),
        "{caught:?}"
    );

    let window = Duration::from_millis(100);
    capture.none_within("port 1", window, to_port(1)).unwrap();
    sender.send(&datagram(1)).unwrap();
    assert!(capture.none_within("port 1", window, to_port(1)).is_err());
}

#[test]
fn a_vain_wait_lists_what_came_instead() {
    let sandbox = Sandbox::new();
    let [a, b] = wire(&sandbox);
    let capture = Capture::start(&b, "eth0").unwrap();
    PacketSocket::open(&a, "eth0")
        .unwrap()
        .send(&datagram(4242))
        .unwrap();
    let missing = capture.expect("port 1", Duration::from_millis(200), to_port(1));
    let text = missing.unwrap_err().to_string();
    assert!(
        text.contains("in vain for port 1") && text.contains("4242"),
        "{text}"
    );
    let absent = PacketSocket::open(&a, "eth7");
    assert!(matches!(absent, Err(CaptureError::NoInterface { .. })));
}
