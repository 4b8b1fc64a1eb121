//! The interpreter and the kernel agree on whose source is translated.

#![allow(
    clippy::disallowed_types,
    reason = "the library is pure, its tests send packets"
)]

mod common;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use bulkhead_nft::{Command, Hook, Packet, Policy, evaluate};
use common::{Nfnl, device, masquerade};
use netns_fixtures::{Ns, Sandbox};

const LIMIT: Duration = Duration::from_secs(10);

fn configure(ns: &Ns, lines: &[&str]) {
    ns.ip_batch(lines).unwrap();
}

/// inside (10.0.0.2) - br0 router up0 - outside (192.0.2.2, and excluded 10.9.0.2)
fn topology(inside: &Ns, router: &Ns, outside: &Ns) {
    for (port, far) in [("br0", inside), ("up0", outside)] {
        router
            .ip(&format!(
                "link add {port} type veth peer name eth0 netns {}",
                far.name()
            ))
            .unwrap();
    }
    for family in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        router.set_sysctl(family, "1").unwrap();
    }
    configure(
        router,
        &[
            "addr add 10.0.0.1/24 dev br0",
            "addr add fd00:1::1/64 dev br0 nodad",
            "addr add 192.0.2.1/24 dev up0",
            "addr add 2001:db8::1/64 dev up0 nodad",
            "link set br0 up",
            "link set up0 up",
            "route add 10.9.0.0/16 dev up0",
            "route add fd00:9::/64 dev up0",
        ],
    );
    configure(
        inside,
        &[
            "addr add 10.0.0.2/24 dev eth0",
            "addr add fd00:1::2/64 dev eth0 nodad",
            "link set eth0 up",
            "route add default via 10.0.0.1",
            "route add default via fd00:1::1",
        ],
    );
    configure(
        outside,
        &[
            "addr add 192.0.2.2/24 dev eth0",
            "addr add 10.9.0.2/16 dev eth0",
            "addr add 2001:db8::2/64 dev eth0 nodad",
            "addr add fd00:9::2/64 dev eth0 nodad",
            "link set eth0 up",
            "route add 10.0.0.0/24 via 192.0.2.1",
            "route add fd00:1::/64 via 2001:db8::1",
        ],
    );
}

/// The source address with which a datagram from `inside` arrives at `target`.
fn source_seen(inside: &Ns, outside: &Ns, target: IpAddr) -> IpAddr {
    let bind = || {
        let socket = UdpSocket::bind(SocketAddr::new(target, 4000)).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket
    };
    let server = outside.enter(bind).unwrap();
    let any = if target.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let client = inside.enter(|| UdpSocket::bind(any).unwrap()).unwrap();
    client.send_to(b"who", (target, 4000)).unwrap();
    server.recv_from(&mut [0; 8]).unwrap().1.ip()
}

/// A datagram's IP header.
fn datagram(source: IpAddr, target: IpAddr) -> Vec<u8> {
    let mut bytes = match source {
        IpAddr::V4(_) => vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0],
        IpAddr::V6(_) => vec![0x60, 0, 0, 0, 0, 8, 17, 64],
    };
    for address in [source, target] {
        match address {
            IpAddr::V4(v4) => bytes.extend(v4.octets()),
            IpAddr::V6(v6) => bytes.extend(v6.octets()),
        }
    }
    bytes.extend([0; 8]);
    bytes
}

#[test]
fn only_what_leaves_the_network_for_elsewhere_is_masqueraded() {
    let sandbox = Sandbox::new();
    let [inside, router, outside] = ["in", "r", "out"].map(|name| sandbox.ns(name).unwrap());
    topology(&inside, &router, &outside);
    let table = masquerade(
        "br0",
        &["10.0.0.0/24", "fd00:1::/64"],
        &["10.9.0.0/16", "fd00:9::/64"],
    );
    Nfnl::open(&router)
        .commit(&[Command::ReplaceTable(table.clone())])
        .unwrap();
    for (source, target, translated) in [
        ("10.0.0.2", "192.0.2.2", Some("192.0.2.1")),
        ("10.0.0.2", "10.9.0.2", None),
        ("fd00:1::2", "2001:db8::2", Some("2001:db8::1")),
        ("fd00:1::2", "fd00:9::2", None),
    ] {
        let (source, target) = (source.parse().unwrap(), target.parse().unwrap());
        let packet = Packet::ip(&datagram(source, target))
            .unwrap()
            .arriving_on(device("br0"))
            .leaving_by(device("up0"));
        let model = evaluate(&table, Hook::Postrouting, &packet).unwrap();
        assert_eq!(model.masquerade.is_some(), translated.is_some(), "{target}");
        assert_eq!(model.verdict, Policy::Accept);
        let expected = translated.map_or(source, |address| address.parse().unwrap());
        assert_eq!(source_seen(&inside, &outside, target), expected, "{target}");

        let back = packet.leaving_by(device("br0"));
        let model = evaluate(&table, Hook::Postrouting, &back).unwrap();
        assert_eq!(model.masquerade, None, "within the bridge");
    }
}
