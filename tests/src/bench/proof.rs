//! Proof, before anything is timed, that a contestant does what it is timed at.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use netns_fixtures::{EchoServer, Ns, Outside, Pair, Sandbox, Transport, tcp_echo, udp_echo};

use super::asked::Mapping;
use super::contestant::Contestant;
use super::rounds::in_node;

const LIMIT: Duration = Duration::from_secs(5);

/// A connection through a host port that goes on while calls are timed: a node whose connection
/// tracking has nothing to look at is none that runs containers.
pub(super) struct Connection {
    _ends: [TcpStream; 2],
}

impl Connection {
    pub(super) fn new(
        outside: &Outside,
        listener: &TcpListener,
        port: SocketAddr,
    ) -> io::Result<Self> {
        let connect = || TcpStream::connect_timeout(&port, LIMIT);
        let client = outside.enter(connect).map_err(io::Error::other)??;
        let (server, _) = listener.accept()?;
        Ok(Self {
            _ends: [client, server],
        })
    }
}

/// The nodes' links to the outside, and a connection over each.
pub struct Proven {
    _connections: Vec<Connection>,
    _sandbox: Sandbox,
}

/// Attaches the first slot of each of `contestants` once: its two host ports answer from outside,
/// over IPv4 and IPv6, and a limit stands in each direction. Nothing of it is left by its DEL. Their
/// first residents are attached and asked for the same.
///
/// # Panics
/// When one of them does not hold.
#[must_use]
pub fn prove_ports_and_limits(contestants: &[&dyn Contestant]) -> Proven {
    let sandbox = Sandbox::new();
    let outside = sandbox
        .outside("outside")
        .expect("root may make namespaces");
    let connections = contestants.iter().zip(1..).map(|(contestant, nth)| {
        let host = &contestant.field().host;
        let pair = outside
            .link(host, nth)
            .expect("a fresh node takes an uplink");
        prove(*contestant, &outside, &pair);
        through_resident(*contestant, &outside, &pair)
            .unwrap_or_else(|error| panic!("{}: {error}", contestant.name()))
    });
    Proven {
        _connections: connections.collect(),
        _sandbox: sandbox,
    }
}

fn through_resident(
    contestant: &dyn Contestant,
    outside: &Outside,
    pair: &Pair,
) -> io::Result<Connection> {
    let resident = &contestant.field().residents[0];
    let [mapping, _] = Mapping::of_slot(resident.nth);
    let listen = || TcpListener::bind((Ipv4Addr::UNSPECIFIED, mapping.container_port));
    let listener = resident
        .container
        .enter(listen)
        .map_err(io::Error::other)??;
    Connection::new(outside, &listener, (pair.node_v4, mapping.host_port).into())
}

fn prove(contestant: &dyn Contestant, outside: &Outside, pair: &Pair) {
    let field = contestant.field();
    let slot = &field.timed[0];
    let name = contestant.name();
    let before = limits(&field.host);
    in_node(contestant, || contestant.add(slot));
    for mapping in Mapping::of_slot(slot.nth) {
        let inside = format!("[::]:{}", mapping.container_port);
        let inside = inside.parse().expect("an address");
        let _server = EchoServer::start(&slot.container, mapping.transport, inside)
            .expect("nothing else listens in a fresh container");
        for node in [IpAddr::from(pair.node_v4), pair.node_v6.into()] {
            let port = SocketAddr::new(node, mapping.host_port);
            let answer = match mapping.transport {
                Transport::Tcp => tcp_echo(outside, port, b"there?", LIMIT),
                Transport::Udp => udp_echo(outside, port, b"there?", LIMIT),
            };
            answer.unwrap_or_else(|error| panic!("{name}: {port}: {error:?}"));
        }
    }
    assert_eq!(limits(&field.host), before + 2, "{name}: limits");
    in_node(contestant, || contestant.del(slot));
    contestant.drain();
    assert_eq!(limits(&field.host), before, "{name}: limits after DEL");
}

/// How many token bucket filters stand in a namespace.
fn limits(ns: &Ns) -> usize {
    let disciplines = ns.sh("tc qdisc show").expect("iproute2 is installed");
    disciplines
        .lines()
        .filter(|line| line.starts_with("qdisc tbf "))
        .count()
}
