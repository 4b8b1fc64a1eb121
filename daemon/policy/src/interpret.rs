//! What the compiled tables do to a packet, without a kernel: the interpreter of `bulkhead-nft` runs each
//! node's table at the hooks that the packet would pass there.
//!
//! A network whose addresses mean something on it alone is compiled by itself, as it would be in a namespace that
//! it has for itself: there its addresses are like any other's.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bulkhead_model::{Family, IfName, Protocol};
use bulkhead_nft as nft;

use crate::compile::{Cause, Device, Local, OWN_NODE, Ruleset, STRANGER, Said, compile, digest_of};
use crate::{
    Decision, EndpointId, Judgement, NodeName, OwnPrefix, Packet, Place, Space, Traffic, World,
};

/// The tables of all nodes of a world.
#[derive(Clone, Debug)]
pub struct Interpreter {
    /// The nodes, by where addresses mean something.
    spaces: BTreeMap<Space, Nodes>,
}

/// The nodes that share a space.
#[derive(Clone, Debug, Default)]
struct Nodes {
    all: Vec<Node>,
    /// On which of them an address is: on one, where what is known does not contradict itself.
    at: BTreeMap<IpAddr, Vec<usize>>,
    /// The same of prefixes.
    prefixed: BTreeMap<OwnPrefix, Vec<usize>>,
}

/// One node.
#[derive(Clone, Debug)]
struct Node {
    ruleset: Ruleset,
    places: nft::Places,
    /// Who is there, by address, and by prefix.
    devices: BTreeMap<IpAddr, Device>,
    prefixes: BTreeMap<OwnPrefix, Device>,
    own: Vec<IpAddr>,
}

/// The device that leads out of a node.
fn uplink() -> IfName {
    "eth0".parse().expect("a name")
}

impl Local {
    /// The endpoints of `world` on `node`, each on a device of its own that nobody else has. `None` stands for
    /// wherever those are of which no node is known.
    #[must_use]
    pub fn of(world: &World, node: Option<&NodeName>) -> Self {
        let on_node = world.endpoints.iter().filter(|(id, endpoint)| {
            endpoint.node.as_ref() == node
                && endpoint.place == Place::Port
                && world.space_of(id) == Space::Node
        });
        // The same whoever else is there.
        let endpoints: BTreeMap<EndpointId, Device> =
            on_node.map(|(id, _)| (id.clone(), device_of(id))).collect();
        Self {
            devices: endpoints.values().copied().collect(),
            endpoints,
            ..Self::default()
        }
    }
}

/// A device that is an endpoint's alone.
fn device_of(id: &EndpointId) -> Device {
    let name = format!("bhp{:.12}", digest_of(id));
    name.parse().expect("15 characters")
}

impl Interpreter {
    /// Compiles what every node of `world` would hold.
    #[must_use]
    pub fn new(world: &World) -> Self {
        Self::with(world, compile)
    }

    /// As [`Interpreter::new`], by another compiler.
    #[must_use]
    pub fn with(world: &World, compile: impl Fn(&World, &Local) -> Ruleset) -> Self {
        let mut spaces: BTreeSet<Space> = BTreeSet::from([Space::Node]);
        spaces.extend(world.networks.values().map(|network| network.space.clone()));
        let nodes_of = |space: Space| {
            let alone = alone(world, &space);
            let nodes = nodes(&alone, &compile);
            (space, Nodes::of(nodes))
        };
        Self {
            spaces: spaces.into_iter().map(nodes_of).collect(),
        }
    }

    /// The nodes that see the packet, in order, and the packet as they see it.
    fn seen(&self, packet: &Packet) -> (Vec<&Node>, Packet) {
        let nodes = self.spaces.get(&packet.space);
        let nodes = nodes.map(|nodes| nodes.between(packet.source, packet.destination));
        let packet = Packet {
            space: Space::Node,
            ..packet.clone()
        };
        (nodes.unwrap_or_default(), packet)
    }

    /// What becomes of the first packet of a connection on its whole way.
    ///
    /// # Errors
    /// [`nft::Undefined`] if a table is none that a kernel would take.
    pub fn evaluate(&self, packet: &Packet) -> Result<Decision, nft::Undefined> {
        let (nodes, packet) = self.seen(packet);
        let mut decision = Decision::Allow;
        for node in nodes {
            if let Some(evaluation) = node.evaluate(&packet)? {
                decision = decision.and(decision_of(evaluation.verdict));
            }
        }
        Ok(decision)
    }

    /// As [`Interpreter::evaluate`], by what the tables are made of.
    #[must_use]
    pub fn judge(&self, packet: &Packet) -> Decision {
        let (nodes, packet) = self.seen(packet);
        nodes.iter().fold(Decision::Allow, |all, node| {
            all.and(node.ruleset.judge.decide(&packet))
        })
    }

    /// What each end says by itself, as where the other is on another node: where the packet leaves, and
    /// where it arrives. `None` where no endpoint is.
    ///
    /// # Errors
    /// As [`Interpreter::evaluate`].
    pub fn sides(&self, packet: &Packet) -> Result<[Option<Decision>; 2], nft::Undefined> {
        let mut sides = [None; 2];
        let (nodes, packet) = self.seen(packet);
        for node in nodes {
            let device = |end| node.device(end);
            let alone = [
                (device(packet.source), None),
                (None, device(packet.destination)),
            ];
            for (side, ends) in sides.iter_mut().zip(alone) {
                if let Some(evaluation) = node.run(&packet, ends)? {
                    *side = Some(decision_of(evaluation.verdict));
                }
            }
        }
        Ok(sides)
    }

    /// What becomes of it with what each end says by itself: [`Interpreter::evaluate`] and [`Interpreter::sides`] at
    /// once. A node that has one end says of the whole way what it says of that end.
    ///
    /// # Errors
    /// As [`Interpreter::evaluate`].
    pub(crate) fn judgement(&self, packet: &Packet) -> Result<Judgement, nft::Undefined> {
        let (nodes, packet) = self.seen(packet);
        let mut judgement = Judgement {
            decision: Decision::Allow,
            egress: None,
            ingress: None,
        };
        for node in nodes {
            let ends = (node.device(packet.source), node.device(packet.destination));
            let told = |ends| {
                let evaluation = node.run(&packet, ends)?;
                Ok(evaluation.map(|evaluation| decision_of(evaluation.verdict)))
            };
            let whole = told(ends)?;
            let (egress, ingress) = match ends {
                (Some(_), Some(_)) => (told((ends.0, None))?, told((None, ends.1))?),
                (Some(_), None) => (whole, None),
                (None, _) => (None, whole),
            };
            judgement.decision = judgement.decision.and(whole.unwrap_or(Decision::Allow));
            judgement.egress = egress.or(judgement.egress);
            judgement.ingress = ingress.or(judgement.ingress);
        }
        Ok(judgement)
    }

    /// As [`Interpreter::evaluate`], with everything that was said on the way, node by node.
    ///
    /// # Errors
    /// As [`Interpreter::evaluate`].
    pub fn follow(&self, packet: &Packet) -> Result<(Decision, Vec<Said>), nft::Undefined> {
        let mut decision = Decision::Allow;
        let mut said = Vec::new();
        let (nodes, packet) = self.seen(packet);
        for node in nodes {
            if let Some(evaluation) = node.evaluate(&packet)? {
                decision = decision.and(decision_of(evaluation.verdict));
                said.extend(node.ruleset.said(&evaluation).cloned());
            }
        }
        Ok((decision, said))
    }
}

/// The world as it is where addresses mean something: with the endpoints and networks there alone.
fn alone<'w>(world: &'w World, space: &Space) -> Cow<'w, World> {
    if world
        .networks
        .values()
        .all(|network| network.space == Space::Node)
    {
        return Cow::Borrowed(world);
    }
    let mut alone = world.clone();
    alone.endpoints.retain(|id, _| world.space_of(id) == *space);
    alone.networks.retain(|_, network| network.space == *space);
    for network in alone.networks.values_mut() {
        network.space = Space::Node;
    }
    Cow::Owned(alone)
}

impl Nodes {
    fn of(all: Vec<Node>) -> Self {
        let mut at: BTreeMap<IpAddr, Vec<usize>> = BTreeMap::new();
        let mut prefixed: BTreeMap<OwnPrefix, Vec<usize>> = BTreeMap::new();
        for (nth, node) in all.iter().enumerate() {
            for address in node.devices.keys() {
                at.entry(*address).or_default().push(nth);
            }
            for own in node.prefixes.keys() {
                prefixed.entry(*own).or_default().push(nth);
            }
        }
        Self { all, at, prefixed }
    }

    /// Those where `source` or `destination` is. On the others the packet passes no hook for which something is said.
    fn between(&self, source: IpAddr, destination: IpAddr) -> Vec<&Node> {
        let on = |address| {
            let around = OwnPrefix::around(address);
            let prefixed = around.and_then(|around| self.prefixed.get(&around));
            let alone = self.at.get(&address);
            alone.into_iter().chain(prefixed).flatten().copied()
        };
        let mut nodes: Vec<usize> = on(source).chain(on(destination)).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes.into_iter().map(|nth| &self.all[nth]).collect()
    }
}

/// Every node of a world, with what is compiled for it.
fn nodes(world: &World, compile: &impl Fn(&World, &Local) -> Ruleset) -> Vec<Node> {
    let mut names: Vec<Option<&NodeName>> = world
        .endpoints
        .values()
        .map(|endpoint| endpoint.node.as_ref())
        .collect();
    names.sort();
    names.dedup();
    let nodes = names.into_iter().map(|name| {
        let local = Local::of(world, name);
        let ruleset = compile(world, &local);
        Node::new(world, name, &local, ruleset)
    });
    nodes.collect()
}

impl Node {
    fn new(world: &World, name: Option<&NodeName>, local: &Local, ruleset: Ruleset) -> Self {
        let (mut devices, mut prefixes) = (BTreeMap::new(), BTreeMap::new());
        for (id, device) in &local.endpoints {
            if let Some(endpoint) = world.endpoints.get(id) {
                let addresses = endpoint.addresses.iter();
                devices.extend(addresses.map(|address| (*address, *device)));
                prefixes.extend(endpoint.prefixes.iter().map(|own| (*own, *device)));
            }
        }
        let node = name.and_then(|name| world.nodes.get(name));
        let networks = world.networks.values();
        let networks = networks.filter(|network| network.space == Space::Node);
        let gateways = networks.flat_map(|network| &network.gateways);
        let own = node
            .into_iter()
            .flat_map(|node| &node.addresses)
            .chain(gateways);
        Self {
            places: nft::Places::of(&ruleset.table),
            ruleset,
            devices,
            prefixes,
            own: own.copied().collect(),
        }
    }

    /// Where an address is on the node.
    fn device(&self, address: IpAddr) -> Option<Device> {
        let around = OwnPrefix::around(address);
        let prefixed = || self.prefixes.get(&around?);
        self.devices.get(&address).or_else(prefixed).copied()
    }

    /// `None` if it passes no hook for which something is said.
    fn evaluate(&self, packet: &Packet) -> Result<Option<nft::Evaluation>, nft::Undefined> {
        let devices = (self.device(packet.source), self.device(packet.destination));
        self.run(packet, devices)
    }

    /// As [`Node::evaluate`], for a packet that comes from, or goes to, those devices; `None` for what is not
    /// on the node.
    fn run(
        &self,
        packet: &Packet,
        ends: (Option<Device>, Option<Device>),
    ) -> Result<Option<nft::Evaluation>, nft::Undefined> {
        let table = (&self.ruleset.table, Some(&self.places));
        run_at(table, packet, ends, |end| self.own.contains(&end))
    }
}

/// What a node's table does to the first packet of a connection that comes from, or goes to, those devices of
/// the node. `is_own` says which addresses are the node's. `None` for what is not on the node.
///
/// # Errors
/// [`nft::Undefined`] if the table is none that a kernel would take.
pub fn run(
    table: &nft::Table,
    packet: &Packet,
    ends: (Option<Device>, Option<Device>),
    is_own: impl Fn(IpAddr) -> bool,
) -> Result<Option<nft::Evaluation>, nft::Undefined> {
    run_at((table, None), packet, ends, is_own)
}

fn run_at(
    (table, places): (&nft::Table, Option<&nft::Places>),
    packet: &Packet,
    ends: (Option<Device>, Option<Device>),
    is_own: impl Fn(IpAddr) -> bool,
) -> Result<Option<nft::Evaluation>, nft::Undefined> {
    let (hook, iif, oif) = match ends {
        (None, None) => return Ok(None),
        (None, Some(to)) if is_own(packet.source) => (nft::Hook::Output, None, Some(to)),
        (Some(from), None) if is_own(packet.destination) => (nft::Hook::Input, Some(from), None),
        (from, to) => (
            nft::Hook::Forward,
            Some(from.unwrap_or_else(uplink)),
            Some(to.unwrap_or_else(uplink)),
        ),
    };
    let mut seen = nft::Packet::ip(&bytes(packet)).expect("it has a header of its family");
    if let Some(iif) = iif {
        seen = seen.arriving_on(iif);
    }
    if let Some(oif) = oif {
        seen = seen.leaving_by(oif);
    }
    let evaluation = match places {
        Some(places) => nft::evaluate_at(table, places, hook, &seen),
        None => nft::evaluate(table, hook, &seen),
    };
    evaluation.map(Some)
}

/// What was said of a packet on its way through a table, in order, in words. `outcomes` is what its verdicts
/// stand for.
#[must_use]
pub fn said(outcomes: &BTreeMap<String, Said>, evaluation: &nft::Evaluation) -> Vec<String> {
    let mut chains: Vec<&str> = evaluation
        .trail
        .iter()
        .map(|step| step.chain.as_str())
        .collect();
    chains.dedup();
    let said = chains.into_iter().filter_map(|chain| {
        if chain == STRANGER.as_str() {
            return Some("deny: an address that is not known on its device".to_owned());
        }
        if chain == OWN_NODE.as_str() {
            return Some("allow: own-node".to_owned());
        }
        let said = outcomes.get(chain.strip_prefix(VERDICT)?)?;
        let cause = match &said.outcome.cause {
            // As people count.
            Cause::Rule { policy, rule } => format!("rule {} of {policy}", rule + 1),
            other => other.to_string(),
        };
        Some(format!("{} {}: {cause}", said.direction, said.decision()))
    });
    said.collect()
}

/// What the name of a verdict's chain begins with.
const VERDICT: &str = "verdict-";

const fn decision_of(verdict: nft::Policy) -> Decision {
    match verdict {
        nft::Policy::Accept => Decision::Allow,
        nft::Policy::Drop => Decision::Deny,
    }
}

/// The packet as it would be sent, without a checksum.
#[must_use]
pub fn bytes(packet: &Packet) -> Vec<u8> {
    let (protocol, transport) = match packet.traffic {
        Traffic::Port { protocol, port } => {
            let mut header = vec![0x9c, 0x40];
            header.extend(port.to_be_bytes());
            header.resize(if protocol == Protocol::Tcp { 20 } else { 12 }, 0);
            (protocol.number(), header)
        }
        Traffic::Icmp { kind, code } => {
            let protocol = match packet.family() {
                Family::V4 => 1,
                Family::V6 => 58,
            };
            (protocol, vec![kind, code, 0, 0, 0, 0, 0, 0])
        }
        Traffic::Other(number) => (number, vec![0; 8]),
    };
    let length = u16::try_from(transport.len()).expect("a few bytes");
    let mut bytes = match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = vec![0x45, 0];
            header.extend((length + 20).to_be_bytes());
            header.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
            header.extend(source.octets());
            header.extend(destination.octets());
            header
        }
        (source, destination) => {
            let octets = |address| match address {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                IpAddr::V6(v6) => v6.octets(),
            };
            let mut header = vec![0x60, 0, 0, 0];
            header.extend(length.to_be_bytes());
            header.extend([protocol, 64]);
            header.extend(octets(source));
            header.extend(octets(destination));
            header
        }
    };
    bytes.extend(transport);
    bytes
}
