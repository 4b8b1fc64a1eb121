//! Node to node: ours with guard and filter, and with policies too; a VXLAN that somebody configured by hand as
//! flannel does, alone and with what flannel sets up beside it; and veth routing with no encapsulation, all over
//! the same routed underlay, taking turns.

mod by_hand;
mod converge;
mod exchange;
mod monitor;

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use netns_fixtures::{Container, Ns, NsError, Verb};
use serde_json::{Value, json};

use super::sample::Sample;
use crate::nodes::{LIMIT, Nodes, addresses};
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

/// Our nodes with a container on each.
struct Ours {
    nodes: Nodes,
    client: Container,
    server: Container,
    address: IpAddr,
}

impl Ours {
    fn start(keys: &Value) -> Self {
        let nodes = Nodes::start(2);
        let attach = |nth: usize, name: &str| {
            let (node, container) = (&nodes.all[nth], nodes.bare(nth, name));
            let mut network = node.network();
            for (key, value) in keys.as_object().into_iter().flatten() {
                network[key] = value.clone();
            }
            let result = node.call(Verb::Add, &container, &network).result();
            let addresses = addresses(&result);
            (container, addresses[0])
        };
        let (client, _) = attach(0, "client");
        let (server, address) = attach(1, "server");
        Self {
            nodes,
            client,
            server,
            address,
        }
    }

    fn way(&self, name: &'static str) -> Way {
        Way::new(name, 1450, &self.client, &self.server, self.address)
    }
}

/// Measures all of them.
///
/// # Errors
/// When the system refuses namespaces or sockets.
///
/// # Panics
/// When a node or a container does not come up.
pub fn paths(effort: &Paths) -> io::Result<Vec<Path>> {
    let ours = Ours::start(&json!({}));
    let untracked = Ours::start(&json!({"ipMasq": false, "capabilities": {}}));
    let policed = Ours::start(&json!({"policy": true}));
    let sandbox = &ours.nodes.sandbox;
    let by_hand = |name, made: Result<ByHand, NsError>| {
        let made = made.map_err(io::Error::other)?;
        let way = Way::new(name, made.mtu, &made.client, &made.server, made.address);
        Ok::<_, io::Error>((made, way))
    };
    let (_routed, routed) = by_hand("veth routing", ByHand::routed(sandbox))?;
    let (_tunnelled, tunnelled) = by_hand("VXLAN by hand", ByHand::tunnelled(sandbox))?;
    let (_flannel, flannel) = by_hand("what flannel sets up", ByHand::flannel(sandbox))?;
    let mut ways = vec![
        routed,
        tunnelled,
        untracked.way("bulkhead-vxlan, nothing translated"),
        flannel,
        ours.way("bulkhead-vxlan"),
        policed.way("bulkhead-vxlan, `policy` on"),
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
