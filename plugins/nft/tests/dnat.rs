//! The interpreter and the kernel agree on whose destination is translated, and to what.

#![allow(
    clippy::disallowed_types,
    reason = "the library is pure, its tests send packets"
)]

mod common;

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use bulkhead_nft::{Command, Hook, Packet, Policy, Table, evaluate};
use common::routed::{TCP, UDP, destination, host_ports, packet, topology};
use common::{Nfnl, device};
use netns_fixtures::{Ns, Sandbox, wait_for};

const LIMIT: Duration = Duration::from_secs(40);
/// The router's addresses on br0: the source of what was sent on.
const OWN: [&str; 2] = ["10.0.0.1", "fd00:1::1"];

/// Sockets that take whatever comes to a port of a namespace.
struct Servers<'n> {
    udp: Vec<(&'n Ns, u16, UdpSocket)>,
    tcp: Vec<(&'n Ns, u16, TcpListener)>,
}

/// Where something came out, and its source.
#[derive(Debug, Eq, PartialEq)]
struct Arrival {
    ns: String,
    port: u16,
    source: IpAddr,
}

impl<'n> Servers<'n> {
    fn listen(at: impl IntoIterator<Item = (&'n Ns, u16)>) -> Self {
        let (mut udp, mut tcp) = (Vec::new(), Vec::new());
        for (ns, port) in at {
            let any = ("::", port);
            let bind = || {
                (
                    UdpSocket::bind(any).unwrap(),
                    TcpListener::bind(any).unwrap(),
                )
            };
            let (datagrams, streams) = ns.enter(bind).unwrap();
            datagrams.set_nonblocking(true).unwrap();
            streams.set_nonblocking(true).unwrap();
            udp.push((ns, port, datagrams));
            tcp.push((ns, port, streams));
        }
        Self { udp, tcp }
    }

    fn arrival(&self, protocol: u8, from: &Ns, target: SocketAddr) -> Arrival {
        let arrival = |ns: &Ns, port: &u16, source: SocketAddr| Arrival {
            ns: ns.name().to_owned(),
            port: *port,
            source: source.ip().to_canonical(),
        };
        if protocol == TCP {
            let connect = || TcpStream::connect_timeout(&target, LIMIT).unwrap();
            let _stream = from.enter(connect).unwrap();
            return wait_for("the connection", LIMIT, || {
                self.tcp
                    .iter()
                    .find_map(|(ns, port, socket)| Some(arrival(ns, port, socket.accept().ok()?.1)))
            });
        }
        let any = if target.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let client = from.enter(|| UdpSocket::bind(any).unwrap()).unwrap();
        client.send_to(b"who", target).unwrap();
        wait_for("the datagram", LIMIT, || {
            self.udp.iter().find_map(|(ns, port, socket)| {
                Some(arrival(ns, port, socket.recv_from(&mut [0; 8]).ok()?.1))
            })
        })
    }
}

/// Whether the kernel's routing tables would call it local.
fn is_of_router(address: IpAddr) -> bool {
    !["10.0.0.2", "fd00:1::2"].contains(&address.to_string().as_str())
}

/// Where the model sends it on to, after having checked what it does to its source there.
fn model(table: &Table, hook: Hook, protocol: u8, target: SocketAddr) -> Option<SocketAddr> {
    let source: IpAddr = match target {
        SocketAddr::V4(_) => "192.0.2.2".parse().unwrap(),
        SocketAddr::V6(_) => "2001:db8::2".parse().unwrap(),
    };
    let mut sent = Packet::ip(&packet(protocol, source, target)).unwrap();
    if is_of_router(target.ip()) {
        sent = sent.for_host();
    }
    let found = evaluate(table, hook, &sent).unwrap();
    assert_eq!(found.verdict, Policy::Accept);
    let to = found.destination.map(|key| {
        let inside: IpAddr = if target.is_ipv4() {
            "10.0.0.2"
        } else {
            "fd00:1::2"
        }
        .parse()
        .unwrap();
        let ports = [80, 81].into_iter();
        let mut known = ports.map(|port| SocketAddr::new(inside, port));
        let is = |to: &SocketAddr| destination(to.ip(), to.port()) == key;
        known.find(is).unwrap()
    });
    let mut leaving = Packet::ip(&packet(protocol, source, to.unwrap_or(target)))
        .unwrap()
        .leaving_by(device("br0"));
    if to.is_some() {
        leaving = leaving.translated();
    }
    let left = evaluate(table, Hook::Postrouting, &leaving).unwrap();
    assert_eq!(left.masquerade.is_some(), to.is_some(), "{target}");
    to
}

#[test]
fn only_what_is_for_the_host_is_sent_on_and_by_the_first_map_that_has_it() {
    let sandbox = Sandbox::new();
    let [inside, router, outside] = ["in", "r", "out"].map(|name| sandbox.ns(name).unwrap());
    topology(&inside, &router, &outside);
    router
        .ip_batch(&[
            "addr add 192.0.2.3/24 dev up0",
            "addr add 2001:db8::3/64 dev up0 nodad",
            "link set lo up",
        ])
        .unwrap();
    router
        .set_sysctl("net/ipv4/conf/br0/route_localnet", "1")
        .unwrap();
    let table = host_ports();
    Nfnl::open(&router)
        .commit(&[Command::ReplaceTable(table.clone())])
        .unwrap();
    let inner = [80, 81, 8080, 8081].map(|port| (&inside, port));
    let servers = Servers::listen(inner.into_iter().chain([(&router, 8080), (&router, 8081)]));

    for (from, protocol, target, expected) in [
        // By address before on every address, and by protocol.
        (&outside, UDP, "192.0.2.1:8080", Some("10.0.0.2:80")),
        (&outside, UDP, "192.0.2.3:8080", Some("10.0.0.2:81")),
        (&outside, TCP, "192.0.2.1:8080", Some("10.0.0.2:80")),
        (&outside, UDP, "[2001:db8::1]:8080", Some("[fd00:1::2]:80")),
        (&outside, TCP, "[2001:db8::1]:8080", Some("[fd00:1::2]:81")),
        (&outside, UDP, "[2001:db8::3]:8081", Some("[fd00:1::2]:81")),
        // Found in no map, or in the other family's only.
        (&outside, TCP, "192.0.2.1:8081", None),
        (&outside, UDP, "192.0.2.1:8081", None),
        (&outside, UDP, "[2001:db8::3]:8080", None),
        // Not for the host.
        (&outside, UDP, "10.0.0.2:8080", None),
        (&outside, TCP, "10.0.0.2:8080", None),
        (&outside, UDP, "[fd00:1::2]:8081", None),
        (&outside, TCP, "[fd00:1::2]:8080", None),
        // From the host itself.
        (&router, UDP, "192.0.2.1:8080", Some("10.0.0.2:80")),
        (&router, UDP, "127.0.0.1:8080", Some("10.0.0.2:81")),
        (&router, TCP, "127.0.0.1:8080", Some("10.0.0.2:80")),
        (&router, TCP, "[2001:db8::3]:8080", Some("[fd00:1::2]:81")),
        (&router, UDP, "[::1]:8081", None),
        (&router, UDP, "10.0.0.2:8080", None),
        // From the network itself.
        (&inside, UDP, "10.0.0.1:8080", Some("10.0.0.2:81")),
        (&inside, TCP, "[fd00:1::1]:8080", Some("[fd00:1::2]:81")),
    ] {
        let target: SocketAddr = target.parse().unwrap();
        let expected: Option<SocketAddr> = expected.map(|text| text.parse().unwrap());
        let hook = if from.name() == router.name() {
            Hook::Output
        } else {
            Hook::Prerouting
        };
        let case = format!("{} {protocol} {target}", from.name());
        assert_eq!(model(&table, hook, protocol, target), expected, "{case}");

        let arrival = servers.arrival(protocol, from, target);
        let at = expected.unwrap_or(target);
        let ns = if is_of_router(at.ip()) {
            &router
        } else {
            &inside
        };
        assert_eq!(
            (arrival.ns.as_str(), arrival.port),
            (ns.name(), at.port()),
            "{case}"
        );
        if from.name() != router.name() {
            let source = arrival.source.to_string();
            let translated = OWN.contains(&source.as_str());
            assert_eq!(translated, expected.is_some(), "{case} from {source}");
        }
    }
}
