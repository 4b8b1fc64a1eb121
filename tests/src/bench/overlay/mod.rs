//! Node to node: ours with guard and filter, a VXLAN that somebody configured by hand as flannel does, and
//! veth routing with no encapsulation, all over the same routed underlay, taking turns.

mod by_hand;
mod converge;
mod exchange;
mod monitor;

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use netns_fixtures::Ns;

use super::sample::Sample;
use crate::nodes::{LIMIT, Nodes};
pub use converge::{AtPeers, Converged, Converging, converge};

use by_hand::ByHand;
use exchange::{Exchange, stream};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Paths {
    /// How often each takes its turn.
    pub rounds: usize,
    /// How long a stream lasts in each.
    pub stream: Duration,
    /// Requests and answers of one byte in each.
    pub exchanges: usize,
}

/// What was measured of one way from node to node.
#[derive(Clone, Debug)]
pub struct Path {
    /// Which.
    pub name: &'static str,
    /// What a packet may have on it, in bytes.
    pub mtu: u32,
    /// Bits a second of one TCP stream, of each round.
    pub throughput: Vec<f64>,
    /// From a request of one byte over TCP to its answer.
    pub latency: Sample,
}

/// A way, and what goes over it.
struct Way {
    path: Path,
    client: Ns,
    server: Ns,
    address: IpAddr,
}

/// Measures all three.
///
/// # Errors
/// When the system refuses namespaces or sockets.
///
/// # Panics
/// When a node or a container does not come up.
pub fn paths(effort: &Paths) -> io::Result<Vec<Path>> {
    let nodes = Nodes::start(2);
    let (client, _) = nodes.container(0, "client");
    let (server, at) = nodes.container(1, "server");
    let routed = ByHand::routed(&nodes.sandbox).map_err(io::Error::other)?;
    let tunnelled = ByHand::tunnelled(&nodes.sandbox).map_err(io::Error::other)?;
    let mut ways = vec![
        Way::new(
            "veth routing",
            routed.mtu,
            &routed.client,
            &routed.server,
            routed.address,
        ),
        Way::new(
            "VXLAN by hand",
            tunnelled.mtu,
            &tunnelled.client,
            &tunnelled.server,
            tunnelled.address,
        ),
        Way::new("bulkhead-vxlan", 1450, &client, &server, at[0]),
    ];
    eprintln!("node to node");
    for nth in 0..effort.rounds {
        let first = nth % ways.len();
        ways.rotate_left(first);
        for way in &mut ways {
            way.take_turn(effort)?;
        }
        ways.rotate_right(first);
    }
    Ok(ways.into_iter().map(|way| way.path).collect())
}

impl Way {
    fn new(name: &'static str, mtu: u32, client: &Ns, server: &Ns, address: IpAddr) -> Self {
        Self {
            path: Path {
                name,
                mtu,
                throughput: Vec::new(),
                latency: Sample::default(),
            },
            client: client.clone(),
            server: server.clone(),
            address,
        }
    }

    fn take_turn(&mut self, effort: &Paths) -> io::Result<()> {
        let bits = stream(&self.client, &self.server, self.address, effort.stream)?;
        self.path.throughput.push(bits);
        let exchange = Exchange::open(&self.client, &self.server, self.address, LIMIT)?;
        for latency in exchange.repeat(effort.exchanges)? {
            self.path.latency.push(latency);
        }
        Ok(())
    }
}
