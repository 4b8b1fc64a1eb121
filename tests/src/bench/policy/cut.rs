//! What it takes until connections are cut that are no longer allowed, among many that are.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bulkhead_kernel::{Connection, Deletion, Kernel};
use bulkhead_model::Protocol;
use bulkhead_policy::compile::Judge;
use bulkhead_policy::{Decision, Packet, Peer, Port, PortRange, Space, Traffic, World, compile};

use super::Layout;
use super::road::Road;
use super::worlds::{Size, address, allow, endpoint, local, policy, policy_id, selector};

/// Destination ports that each socket sends to.
const PORTS: u16 = 64_000;

/// One cutting.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    /// How many connections there were.
    pub(crate) there: usize,
    /// How many were no longer allowed.
    pub(crate) forbidden: usize,
    /// Until it was known which they are.
    pub(crate) judged: Duration,
    /// Until all of them were gone.
    pub(crate) took: Duration,
}

/// Cuts some of so many connections, then all others.
pub(super) fn cuts(connections: u32) -> io::Result<Vec<Cut>> {
    eprintln!("{connections} connections to cut");
    let none = Size {
        endpoints: 0,
        policies: 0,
    };
    let road = Road::new(Layout::Tracked, none)?;
    road.node
        .set_sysctl("net/netfilter/nf_conntrack_udp_timeout", "600")
        .map_err(io::Error::other)?;
    let fill = || fill(connections);
    road.client.enter(fill).map_err(io::Error::other)??;
    let few = judge(Some(PORTS - 256));
    let cuts = [few, judge(None)].map(|judge| {
        let cut = || cut(&judge);
        road.node.enter(cut).map_err(io::Error::other)?
    });
    cuts.into_iter().collect()
}

/// A datagram for each connection.
fn fill(connections: u32) -> io::Result<()> {
    let mut left = connections;
    while left > 0 {
        let socket = UdpSocket::bind((address(0), 0))?;
        let count = left.min(u32::from(PORTS));
        for port in (1..=PORTS).take(usize::try_from(count).expect("thousands")) {
            // Nobody listens, which may be told.
            socket
                .send_to(&[], SocketAddr::new(address(1).into(), port))
                .ok();
        }
        left -= count;
    }
    Ok(())
}

/// Allows datagrams to ports up to this one.
fn judge(last: Option<u16>) -> Judge {
    let ports = last.and_then(|last| PortRange::new(1, last));
    let ports = ports.map(|ports| Port::Range {
        protocol: Protocol::Udp,
        ports,
    });
    let rule = allow(vec![Peer::Any], ports.into_iter().collect());
    let mut world = World::default();
    world.endpoints.extend((0..2).map(|nth| endpoint(nth, 2)));
    let id = policy_id("bench", "some".to_owned());
    let one = policy(selector(1), Some(vec![rule]), None);
    world.policies.insert(id, one);
    compile(&world, &local(2)).judge
}

fn cut(judge: &Judge) -> io::Result<Cut> {
    let mut kernel = Kernel::new(Deletion::Blocking);
    let began = Instant::now();
    let mut there = 0;
    let is_ours = |source, destination| {
        there += 1;
        judge.is_local(source) || judge.is_local(destination)
    };
    let mut connections = kernel.connections(is_ours).map_err(io::Error::other)?;
    connections.retain(|connection| judge.decide(&packet_of(connection)) == Decision::Deny);
    let judged = began.elapsed();
    let refusals = kernel.forget(&connections).map_err(io::Error::other)?;
    Ok(Cut {
        there,
        forbidden: connections.len() - refusals.len(),
        judged,
        took: began.elapsed(),
    })
}

fn packet_of(connection: &Connection) -> Packet {
    Packet {
        space: Space::Node,
        source: connection.source,
        destination: connection.destination,
        traffic: Traffic::Port {
            protocol: Protocol::Udp,
            port: connection.port,
        },
    }
}
