//! The interpreter and the kernel agree on whose source is translated.

#![allow(
    clippy::disallowed_types,
    reason = "the library is pure, its tests send packets"
)]

mod common;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use bulkhead_nft::{Command, Hook, Packet, Policy, evaluate};
use common::routed::{UDP, packet, topology};
use common::{Nfnl, device, masquerade};
use netns_fixtures::{Ns, Sandbox};

const LIMIT: Duration = Duration::from_secs(40);

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
        let sent = Packet::ip(&packet(UDP, source, SocketAddr::new(target, 4000)))
            .unwrap()
            .arriving_on(device("br0"))
            .leaving_by(device("up0"));
        let model = evaluate(&table, Hook::Postrouting, &sent).unwrap();
        assert_eq!(model.masquerade.is_some(), translated.is_some(), "{target}");
        assert_eq!(model.verdict, Policy::Accept);
        let expected = translated.map_or(source, |address| address.parse().unwrap());
        assert_eq!(source_seen(&inside, &outside, target), expected, "{target}");

        let back = sent.leaving_by(device("br0"));
        let model = evaluate(&table, Hook::Postrouting, &back).unwrap();
        assert_eq!(model.masquerade, None, "within the bridge");
    }
}
