//! Worlds by chance, small enough that every kind of packet can be sent in them, and edits of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use bulkhead_model::{Family, Prefix, Protocol};
use bulkhead_policy::{
    Action, Block, Endpoint, EndpointId, EndpointSelector, Entity, Labels, Mode, NamedPort,
    Namespace, Namespaces, Network, Node, NodeName, Origin, OwnPrefix, Packet, Peer, Place, Policy,
    PolicyId, PolicyKind, Port, PortRange, Priority, Requirement, Rule, Selector, Space, Stance,
    Test, Tier, Traffic, World,
};

use crate::dice::Dice;

const NAMESPACES: [&str; 3] = ["x", "y", "z"];
const NETWORKS: [&str; 2] = ["pods", "tight"];
const NODES: [&str; 2] = ["n1", "n2"];
const GROUPS: [&str; 2] = ["web", "db"];
const NAMES: [&str; 2] = ["serve", "dns"];
const PORTS: [u16; 5] = [53, 80, 81, 8080, 9000];

/// What an endpoint may have as a whole. The first is in a pool.
const OWN_PREFIXES: [&str; 2] = ["fd00:0:0:1::/64", "fd00:0:0:2::/64"];

/// Around these, and in them.
const AROUND_PREFIXES: [&str; 5] = [
    "fd00::/62",
    "fd00:0:0:1::/64",
    "fd00:0:0:1::/65",
    "fd00:0:0:1::1:0/112",
    "fd00:0:0:2::7/128",
];

const PREFIXES: [&str; 12] = [
    "0.0.0.0/0",
    "10.0.0.0/24",
    "10.0.0.0/28",
    "10.0.0.4/32",
    "10.0.0.128/25",
    "192.0.2.0/24",
    "203.0.113.0/30",
    "::/0",
    "fd00::/64",
    "fd00::/124",
    "2001:db8::/32",
    "fd00::5/128",
];

pub(crate) fn world(dice: &mut Dice) -> World {
    let mut world = World::default();
    for name in NAMESPACES {
        if dice.percent(80) {
            world.namespaces.insert(name.to_owned(), namespace(dice));
        }
    }
    for (nth, name) in NODES.into_iter().enumerate() {
        world.nodes.insert(NodeName::new(name), node(dice, nth));
    }
    for name in NETWORKS {
        world
            .networks
            .insert(name.parse().unwrap(), network(dice, name));
    }
    for _ in 0..2 + dice.below(5) {
        put_endpoint(dice, &mut world);
    }
    for _ in 0..dice.below(7) {
        put_policy(dice, &mut world);
    }
    world
}

/// One change of a world.
pub(crate) fn edit(dice: &mut Dice, world: &mut World) {
    match dice.below(12) {
        0..=2 => put_endpoint(dice, world),
        3 => {
            let names: Vec<EndpointId> = world.endpoints.keys().cloned().collect();
            if names.len() > 2 {
                world.endpoints.remove(&dice.one(&names));
            }
        }
        4 | 5 => {
            let names: Vec<EndpointId> = world.endpoints.keys().cloned().collect();
            if let Some(endpoint) = (!names.is_empty())
                .then(|| dice.one(&names))
                .and_then(|id| world.endpoints.get_mut(&id))
            {
                endpoint.labels = labels(dice);
            }
        }
        6..=8 => put_policy(dice, world),
        9 => {
            let names: Vec<PolicyId> = world.policies.keys().cloned().collect();
            if !names.is_empty() {
                world.policies.remove(&dice.one(&names));
            }
        }
        10 => {
            let name = dice.one(&NAMESPACES).to_owned();
            if dice.percent(70) {
                world.namespaces.insert(name, namespace(dice));
            } else {
                world.namespaces.remove(&name);
            }
        }
        _ => {
            let nth = dice.below(NODES.len());
            world
                .nodes
                .insert(NodeName::new(NODES[nth]), node(dice, nth));
            if dice.percent(50) {
                let name = dice.one(&NETWORKS);
                world
                    .networks
                    .insert(name.parse().unwrap(), network(dice, name));
            }
        }
    }
}

/// Somebody comes, goes, or is otherwise.
pub(crate) fn move_endpoint(dice: &mut Dice, world: &mut World) {
    if dice.percent(70) {
        put_endpoint(dice, world);
        return;
    }
    let names: Vec<EndpointId> = world.endpoints.keys().cloned().collect();
    if names.len() > 2 {
        world.endpoints.remove(&dice.one(&names));
    }
}

pub(crate) fn namespace(dice: &mut Dice) -> Namespace {
    Namespace {
        labels: labels(dice),
    }
}

fn node(dice: &mut Dice, nth: usize) -> Node {
    let all = [["192.0.2.1", "2001:db8::1"], ["192.0.2.2", "2001:db8::2"]];
    let addresses = all[nth].into_iter().filter(|_| dice.percent(90));
    Node {
        addresses: addresses.map(|text| text.parse().unwrap()).collect(),
        labels: labels(dice),
    }
}

fn network(dice: &mut Dice, name: &str) -> Network {
    let is_tight = name == "tight";
    let stance = |dice: &mut Dice| {
        if is_tight && dice.percent(70) {
            Stance::Closed
        } else {
            Stance::Open
        }
    };
    let gateways: &[&str] = if is_tight {
        &["10.0.0.129"]
    } else {
        &["10.0.0.1", "fd00::1"]
    };
    let pools: &[&str] = if is_tight {
        &["10.0.0.128/25"]
    } else {
        &["10.0.0.0/25", "fd00::/63"]
    };
    Network {
        gateways: gateways.iter().map(|text| text.parse().unwrap()).collect(),
        pools: pools.iter().map(|text| text.parse().unwrap()).collect(),
        space: Space::Node,
        ingress: stance(dice),
        egress: stance(dice),
    }
}

pub(crate) fn labels(dice: &mut Dice) -> Labels {
    let mut labels = Labels::default();
    for (key, values) in [("app", ["a", "b"]), ("tier", ["front", "back"])] {
        if dice.percent(60) {
            labels.set(key, dice.one(&values));
        }
    }
    labels
}

fn put_endpoint(dice: &mut Dice, world: &mut World) {
    let mut id = EndpointId::new(dice.one(&NAMESPACES), format!("e{}", dice.below(6)));
    let network = dice.one(&NETWORKS);
    id.network = dice.percent(90).then(|| network.parse().unwrap());
    let node = NodeName::new(dice.one(&NODES));
    let place = if dice.percent(95) {
        Place::Port
    } else {
        Place::Host
    };
    let addresses = match place {
        Place::Host => world.nodes.get(&node).map(|node| node.addresses.clone()),
        Place::Port => Some(free_addresses(dice, world, &id)),
    };
    let endpoint = Endpoint {
        labels: labels(dice),
        groups: GROUPS
            .into_iter()
            .filter(|_| dice.percent(25))
            .map(|name| name.parse().unwrap())
            .collect(),
        addresses: addresses.unwrap_or_default(),
        prefixes: BTreeSet::new(),
        ports: dice.some(3, named_port).into_iter().collect(),
        node: dice.percent(92).then_some(node),
        place,
    };
    world.endpoints.insert(id, endpoint);
}

/// Up to two addresses of each family that nobody else has.
fn free_addresses(dice: &mut Dice, world: &World, id: &EndpointId) -> BTreeSet<IpAddr> {
    let others = world.endpoints.iter().filter(|(other, _)| *other != id);
    let taken: BTreeSet<IpAddr> = others
        .flat_map(|(_, endpoint)| endpoint.addresses.iter().copied())
        .collect();
    let mut addresses = BTreeSet::new();
    for _ in 0..=dice.below(3) {
        let nth = 2 + dice.below(12);
        let text = match dice.below(5) {
            0 | 1 => format!("10.0.0.{nth}"),
            2 => format!("10.0.0.{}", 128 + nth),
            _ => format!("fd00::{nth:x}"),
        };
        let address: IpAddr = text.parse().unwrap();
        if !taken.contains(&address) {
            addresses.insert(address);
        }
    }
    addresses
}

/// An endpoint on a node without anything.
pub(crate) fn bare(node: &NodeName) -> Endpoint {
    Endpoint {
        labels: Labels::default(),
        groups: BTreeSet::new(),
        addresses: BTreeSet::new(),
        prefixes: BTreeSet::new(),
        ports: BTreeSet::new(),
        node: Some(node.clone()),
        place: Place::Port,
    }
}

/// Somebody is given a prefix as a whole, or has one no more, and policies may speak of a part of it.
pub(crate) fn delegate(dice: &mut Dice, world: &mut World) {
    for text in OWN_PREFIXES {
        let own: OwnPrefix = text.parse().unwrap();
        // As it is given out: with an address of it that is told to everybody.
        let first: IpAddr = format!("{}1", own.first()).parse().unwrap();
        for endpoint in world.endpoints.values_mut() {
            endpoint.prefixes.remove(&own);
            endpoint.addresses.remove(&first);
        }
        let on_port = world.endpoints.values_mut();
        let mut on_port: Vec<&mut Endpoint> = on_port
            .filter(|endpoint| endpoint.place == Place::Port)
            .collect();
        if !on_port.is_empty() && dice.percent(75) {
            let nth = dice.below(on_port.len());
            on_port[nth].prefixes.insert(own);
            if dice.percent(70) {
                on_port[nth].addresses.insert(first);
            }
        }
    }
    let rules = world.policies.values_mut().flat_map(|policy| {
        let rules = [&mut policy.ingress, &mut policy.egress];
        rules.into_iter().flatten().flatten()
    });
    for rule in rules {
        if dice.percent(20) {
            let prefix = dice.one(&AROUND_PREFIXES).parse().unwrap();
            rule.peers.push(Peer::Block(Block::whole(prefix)));
        }
    }
}

fn named_port(dice: &mut Dice) -> NamedPort {
    NamedPort {
        name: dice.one(&NAMES).to_owned(),
        protocol: dice.one(&Protocol::ALL),
        port: dice.one(&PORTS),
    }
}

pub(crate) fn put_policy(dice: &mut Dice, world: &mut World) {
    let priority = Priority::new(u16::try_from(dice.below(3)).unwrap()).unwrap();
    let (tier, kind) = match dice.below(5) {
        0 => (Tier::Admin(priority), PolicyKind::ClusterNetworkPolicy),
        1 => (Tier::Baseline(priority), PolicyKind::ClusterNetworkPolicy),
        _ => (Tier::Middle, PolicyKind::NetworkPolicy),
    };
    let id = PolicyId {
        kind,
        namespace: (tier == Tier::Middle).then(|| dice.one(&NAMESPACES).to_owned()),
        name: format!("p{}", dice.below(4)),
    };
    let direction = |dice: &mut Dice| {
        dice.percent(65)
            .then(|| dice.some(3, |dice| rule(dice, tier)))
    };
    let ingress = direction(dice);
    let egress = direction(dice);
    let policy = Policy {
        tier,
        subject: (0..=dice.below(2)).map(|_| selector(dice)).collect(),
        ingress,
        egress,
        mode: if dice.percent(20) {
            Mode::Audit
        } else {
            Mode::Enforce
        },
        origin: Origin::default(),
        unread: Vec::new(),
    };
    world.policies.insert(id, policy);
}

fn selector(dice: &mut Dice) -> EndpointSelector {
    match dice.below(8) {
        0 => EndpointSelector::Group(dice.one(&GROUPS).parse().unwrap()),
        1 => EndpointSelector::Network(dice.one(&NETWORKS).parse().unwrap()),
        _ => EndpointSelector::Labelled {
            namespaces: if dice.percent(40) {
                Namespaces::Named(dice.one(&NAMESPACES).to_owned())
            } else {
                Namespaces::Selected(label_selector(dice))
            },
            labels: label_selector(dice),
        },
    }
}

fn label_selector(dice: &mut Dice) -> Selector {
    dice.some(2, requirement).into_iter().collect()
}

fn requirement(dice: &mut Dice) -> Requirement {
    let (key, values) = dice.one(&[
        ("app", ["a", "b"]),
        ("tier", ["front", "back"]),
        ("kubernetes.io/metadata.name", ["x", "y"]),
    ]);
    let values = || values.iter().map(|&value| value.to_owned());
    let test = match dice.below(6) {
        0 => Test::Exists,
        1 => Test::DoesNotExist,
        2 => Test::NotIn(values().take(1 + dice.below(2)).collect()),
        3 => Test::In(values().collect()),
        _ => Test::In(values().skip(dice.below(2)).take(1).collect()),
    };
    Requirement {
        key: key.to_owned(),
        test,
    }
}

fn rule(dice: &mut Dice, tier: Tier) -> Rule {
    let action = match tier {
        Tier::Middle => Action::Allow,
        _ => dice.one(&[Action::Allow, Action::Deny, Action::Pass]),
    };
    let peers = if dice.percent(12) {
        vec![Peer::Any]
    } else {
        dice.some(3, peer)
    };
    let ports = if dice.percent(25) {
        vec![Port::Any]
    } else {
        dice.some(3, port)
    };
    Rule {
        action,
        peers,
        ports,
        name: None,
        line: None,
        unread: Vec::new(),
    }
}

fn peer(dice: &mut Dice) -> Peer {
    match dice.below(10) {
        0 => Peer::Entity(dice.one(&Entity::ALL)),
        1 => Peer::Nodes(label_selector(dice)),
        2..=4 => Peer::Block(block(dice)),
        _ => Peer::Endpoints(selector(dice)),
    }
}

fn block(dice: &mut Dice) -> Block {
    let prefix: Prefix = dice.one(&PREFIXES).parse().unwrap();
    let inside = |other: &Prefix| other.len() > prefix.len() && prefix.overlaps(*other);
    let inside: Vec<Prefix> = PREFIXES
        .iter()
        .map(|text| text.parse().unwrap())
        .filter(inside)
        .collect();
    let except = match inside.as_slice() {
        [] => Vec::new(),
        some => dice.some(2, |dice| dice.one(some)),
    };
    Block {
        prefix,
        except: except.into_iter().collect(),
    }
}

fn port(dice: &mut Dice) -> Port {
    let protocol = dice.one(&Protocol::ALL);
    match dice.below(10) {
        0 => Port::Icmp {
            family: dice.one(&[Family::V4, Family::V6]),
            kind: Some(dice.one(&[1, 8, 128, 135])),
            code: dice.percent(40).then(|| dice.one(&[0, 4])),
        },
        1 => Port::Icmp {
            family: dice.one(&[Family::V4, Family::V6]),
            kind: None,
            code: None,
        },
        2 => Port::Protocol(dice.one(&[47, 50])),
        3 | 4 => Port::Named {
            protocol: dice.percent(70).then_some(protocol),
            name: dice.one(&NAMES).to_owned(),
        },
        5 => {
            let (first, last) = dice.one(&[(0, 65535), (80, 81), (53, 8080), (9000, 65535)]);
            let ports = PortRange::new(first, last).unwrap();
            Port::Range { protocol, ports }
        }
        _ => Port::Range {
            protocol,
            ports: PortRange::one(dice.one(&PORTS)),
        },
    }
}

/// One address of each kind that anything in the world can tell apart.
pub(crate) fn addresses(world: &World) -> BTreeSet<IpAddr> {
    let endpoints = world
        .endpoints
        .values()
        .flat_map(|endpoint| &endpoint.addresses);
    let nodes = world.nodes.values().flat_map(|node| &node.addresses);
    let gateways = world
        .networks
        .values()
        .flat_map(|network| &network.gateways);
    let prefixes = world.endpoints.values();
    let prefixes = prefixes.flat_map(|endpoint| &endpoint.prefixes);
    let prefixes: Vec<IpAddr> = prefixes.map(|own| own.first()).collect();
    let within = prefixes.iter().flat_map(|first| match first {
        IpAddr::V6(first) => [7, 0x1_0007, 1 << 63, u64::MAX]
            .map(|low| Ipv6Addr::from_bits(first.to_bits() | u128::from(low)).into())
            .to_vec(),
        IpAddr::V4(_) => Vec::new(),
    });
    let elsewhere = (!prefixes.is_empty()).then(|| "fd00:0:0:3::9".parse().unwrap());
    let known = endpoints.chain(nodes).chain(gateways).copied();
    let known = known.chain(within).chain(elsewhere);
    let edges = [
        "10.0.0.20",
        "10.0.0.200",
        "203.0.113.3",
        "203.0.113.4",
        "198.51.100.7",
        "fd00::20",
        "2001:db8::77",
        "2001:db9::1",
    ];
    known
        .chain(edges.map(|text| text.parse().unwrap()))
        .collect()
}

/// One of each kind of traffic.
pub(crate) fn traffic() -> Vec<Traffic> {
    let mut all = Vec::new();
    for protocol in Protocol::ALL {
        for port in [0, 52, 53, 54, 79, 80, 81, 82, 8080, 8081, 8999, 9000, 65535] {
            all.push(Traffic::Port { protocol, port });
        }
    }
    for kind in [0, 1, 8, 128, 130, 135, 137, 143] {
        for code in [0, 4] {
            all.push(Traffic::Icmp { kind, code });
        }
    }
    all.extend([Traffic::Other(47), Traffic::Other(50), Traffic::Other(2)]);
    all
}

/// Every packet of a world that has an endpoint at one end.
pub(crate) fn packets(world: &World) -> impl Iterator<Item = Packet> {
    let addresses = addresses(world);
    let ends: BTreeMap<IpAddr, bool> = addresses
        .iter()
        .map(|address| {
            let mut endpoints = world.endpoints.values();
            let is_end =
                endpoints.any(|endpoint| endpoint.place == Place::Port && endpoint.holds(*address));
            (*address, is_end)
        })
        .collect();
    let pairs: Vec<(IpAddr, IpAddr)> = ends
        .iter()
        .flat_map(|(source, is_end)| {
            let others = ends.iter().filter(move |(other, is_other)| {
                source != *other && source.is_ipv6() == other.is_ipv6() && (*is_end || **is_other)
            });
            others
                .map(|(destination, _)| (*source, *destination))
                .collect::<Vec<_>>()
        })
        .collect();
    let traffic = traffic();
    pairs.into_iter().flat_map(move |(source, destination)| {
        let traffic = traffic.clone();
        traffic.into_iter().map(move |traffic| Packet {
            space: Space::Node,
            source,
            destination,
            traffic,
        })
    })
}
