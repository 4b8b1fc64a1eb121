//! Host ports: who reaches them and as whom, on which addresses, who has them, and what is left.

mod address;
mod drift;
mod flow;
mod foreign;
mod holder;
mod loopback;
mod many;
mod reach;

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};

use netns_fixtures::{EchoServer, Ns, NsError, Transport, tcp_echo, udp_echo};
use serde_json::{Value, json};

use crate::node::{Attachment, LIMIT, Node, with};

/// A port of the node.
const PORT: u16 = 8080;
/// The container's port it leads to.
const INSIDE: u16 = 80;

/// TCP and UDP: port `number` of every address of the node leads to the container's port `inside`.
fn mapped(number: u16, inside: u16) -> [Value; 2] {
    ["tcp", "udp"]
        .map(|protocol| json!({"protocol": protocol, "hostPort": number, "containerPort": inside}))
}

/// As [`mapped`], on one of the node's addresses alone.
fn mapped_on(address: &str, number: u16, inside: u16) -> [Value; 2] {
    mapped(number, inside).map(|mapping| with(mapping, json!({"hostIP": address})))
}

/// `config` as a runtime passes it on with these port mappings.
fn publishing(config: &Value, mappings: impl IntoIterator<Item = Value>) -> Value {
    let mappings: Vec<_> = mappings.into_iter().collect();
    let runtime = json!({"runtimeConfig": {"portMappings": mappings}});
    with(config.clone(), runtime)
}

/// The node's network with [`PORT`] led to [`INSIDE`].
fn published(node: &Node) -> Value {
    publishing(&node.config(), mapped(PORT, INSIDE))
}

/// Echo servers over TCP and UDP on a port of every address of `ns`.
fn serve(ns: &Ns, port: u16) -> [EchoServer; 2] {
    let any: SocketAddr = format!("[::]:{port}").parse().unwrap();
    [Transport::Tcp, Transport::Udp].map(|transport| EchoServer::start(ns, transport, any).unwrap())
}

/// The node's own addresses on its uplink.
fn uplink(node: &Node) -> [IpAddr; 2] {
    [node.uplink.node_v4.into(), node.uplink.node_v6.into()]
}

/// The outside's addresses there.
fn outsider(node: &Node) -> [IpAddr; 2] {
    [node.uplink.gateway_v4.into(), node.uplink.gateway_v6.into()]
}

#[track_caller]
fn assert_as_added(node: &Node, attachment: &Attachment) {
    let answer = node.check(attachment);
    assert!(answer.succeeded(), "{answer:#?}");
}

fn to(address: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(address.into(), port)
}

/// As whom whoever serves at `server` sees `from`, over TCP and UDP.
#[track_caller]
fn seen_at(server: SocketAddr, from: &Ns) -> IpAddr {
    let large = vec![b'x'; 100_000];
    let tcp = tcp_echo(from, server, &large, LIMIT);
    let tcp = tcp.unwrap_or_else(|error| panic!("TCP to {server}: {error:?}"));
    let udp = udp_echo(from, server, b"who", LIMIT);
    let udp = udp.unwrap_or_else(|error| panic!("UDP to {server}: {error:?}"));
    assert_eq!(tcp, udp, "{server}");
    tcp
}

/// Nobody serves at `server`, and whoever has the address says so at once.
#[track_caller]
fn assert_refused(server: SocketAddr, from: &Ns) {
    let answers = [
        tcp_echo(from, server, b"who", LIMIT),
        udp_echo(from, server, b"who", LIMIT),
    ];
    for answer in answers {
        let refused = matches!(&answer, Err(NsError::System { source, .. })
            if source.kind() == ErrorKind::ConnectionRefused);
        assert!(refused, "{server}: {answer:?}");
    }
}
