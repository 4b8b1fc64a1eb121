//! Who and what policies cannot tell apart. Whatever some policies say about one of a class, they say about
//! all of it, so that to ask about one each is to ask about everything there is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bulkhead_model::{Family, NetworkName, Prefix, Protocol};

use crate::matrix::End;
use crate::parts::{Cutter, prefix_between};
use crate::{
    Block, Endpoint, EndpointId, EndpointSelector, NamedPort, NodeName, OwnPrefix, Peer, Place,
    Policy, Port, PortRange, Rule, Space, Traffic, World,
};

/// Ends that are told alike.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Who {
    /// All of them, in order; of addresses outside the one that stands for all.
    pub members: Vec<End>,
    /// Addresses outside: the first and the last of them.
    pub outside: Option<(IpAddr, IpAddr)>,
    /// Where their addresses mean something.
    pub space: Space,
    /// An address of each family of the one that stands for all, in each of the worlds.
    pub addresses: Vec<BTreeMap<Family, IpAddr>>,
}

impl Who {
    /// Whether they are endpoints.
    #[must_use]
    pub fn are_endpoints(&self) -> bool {
        self.members.first().is_some_and(|end| end.id().is_some())
    }

    /// The one endpoint that all of it is.
    fn only(&self) -> Option<&EndpointId> {
        match &self.members[..] {
            [end] => end.id(),
            _ => None,
        }
    }

    /// Whether policies have anything to do with what one of these sends to one of `others`: an end is an
    /// endpoint, and they are not one and the same.
    #[must_use]
    pub fn meets(&self, others: &Self) -> bool {
        let is_alone = self.only().is_some() && self.only() == others.only();
        self.space == others.space && !is_alone && (self.are_endpoints() || others.are_endpoints())
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, last)) = self.outside else {
            let names: Vec<String> = self.members.iter().map(ToString::to_string).collect();
            return f.write_str(&names.join(", "));
        };
        match prefix_between(first, last) {
            Some(prefix) if prefix.is_default() => write!(f, "any {} outside", prefix.family()),
            Some(prefix) => prefix.fmt(f),
            None => write!(f, "{first}-{last}"),
        }
    }
}

/// Traffic that is told alike.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum What {
    /// Ports that follow each other.
    Ports(Protocol, PortRange),
    /// A type of ICMP or `ICMPv6`; `None` for all that nobody speaks of.
    Icmp(Family, Option<(u8, Option<u8>)>),
    /// A protocol without ports; `None` for all that nobody speaks of.
    Other(Option<u8>),
}

impl What {
    /// One that stands for all; `None` in a family that has no such traffic.
    #[must_use]
    pub fn traffic(&self, family: Family) -> Option<Traffic> {
        match *self {
            Self::Ports(protocol, ports) => Some(Traffic::Port {
                protocol,
                port: ports.first(),
            }),
            Self::Icmp(of, kind) => {
                // Experimental types (RFC 4727; RFC 4443 §2.1), which no policy should speak of.
                let (kind, code) = kind.unwrap_or((
                    match of {
                        Family::V4 => 253,
                        Family::V6 => 200,
                    },
                    None,
                ));
                let code = code.unwrap_or(0);
                (of == family).then_some(Traffic::Icmp { kind, code })
            }
            // 253 is for experiments (RFC 3692).
            Self::Other(number) => Some(Traffic::Other(number.unwrap_or(253))),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ports(protocol, ports) if *ports == PortRange::ALL => write!(f, "{protocol}"),
            Self::Ports(protocol, ports) => write!(f, "{ports}/{protocol}"),
            Self::Icmp(family, kind) => {
                f.write_str(match family {
                    Family::V4 => "icmp",
                    Family::V6 => "icmpv6",
                })?;
                match kind {
                    Some((kind, Some(code))) => write!(f, "/{kind}/{code}"),
                    Some((kind, None)) => write!(f, "/{kind}"),
                    None => Ok(()),
                }
            }
            Self::Other(Some(number)) => write!(f, "protocol/{number}"),
            Self::Other(None) => f.write_str("other protocols"),
        }
    }
}

/// Everything that the policies of some worlds can tell apart.
#[derive(Clone, Debug)]
pub struct Classes {
    /// Endpoints, nodes, and addresses outside.
    pub who: Vec<Who>,
    /// Kinds of traffic.
    pub what: Vec<What>,
}

impl Classes {
    /// Of what all of `worlds` speak of; endpoints that are not in all of them are left out.
    #[must_use]
    pub fn of(worlds: &[&World]) -> Self {
        let mut who = endpoints(worlds);
        who.extend(nodes(worlds));
        for family in [Family::V4, Family::V6] {
            who.extend(outside(worlds, family));
        }
        let what = traffic(worlds);
        Self { who, what }
    }
}

pub(crate) fn rules<'w>(worlds: &[&'w World]) -> impl Iterator<Item = &'w Rule> {
    let policies: Vec<&Policy> = worlds
        .iter()
        .flat_map(|world| world.policies.values())
        .collect();
    let both = policies
        .into_iter()
        .flat_map(|policy| [&policy.ingress, &policy.egress]);
    both.flatten().flatten()
}

pub(crate) fn blocks<'w>(worlds: &[&'w World]) -> BTreeSet<&'w Block> {
    let peers = rules(worlds).flat_map(|rule| &rule.peers);
    let blocks = peers.filter_map(|peer| match peer {
        Peer::Block(block) => Some(block),
        _ => None,
    });
    blocks.collect()
}

pub(crate) fn selectors<'w>(worlds: &[&'w World]) -> BTreeSet<&'w EndpointSelector> {
    let policies = worlds.iter().flat_map(|world| world.policies.values());
    let subjects = policies.flat_map(|policy| &policy.subject);
    let peers = rules(worlds).flat_map(|rule| &rule.peers);
    let peers = peers.filter_map(|peer| match peer {
        Peer::Endpoints(selector) => Some(selector),
        _ => None,
    });
    subjects.chain(peers).collect()
}

/// All that policies know of an endpoint.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Known {
    selected: Vec<bool>,
    within: Vec<bool>,
    families: Vec<(bool, bool)>,
    ports: BTreeSet<NamedPort>,
    is_unlabelled: bool,
    network: Option<NetworkName>,
    node: Option<NodeName>,
}

fn endpoints(worlds: &[&World]) -> Vec<Who> {
    let Some(first) = worlds.first() else {
        return Vec::new();
    };
    let selectors = selectors(worlds);
    let cutter = Cutter::new(worlds);
    let mut classes: BTreeMap<Vec<Known>, Vec<&EndpointId>> = BTreeMap::new();
    let mut parts = Vec::new();
    for id in first.endpoints.keys() {
        let found: Option<Vec<&Endpoint>> =
            worlds.iter().map(|world| world.endpoints.get(id)).collect();
        let Some(found) = found else {
            continue;
        };
        // Those on their node's network are their node.
        if found.iter().any(|endpoint| endpoint.place == Place::Host) {
            continue;
        }
        let end = End::Endpoint(id.clone());
        let known = worlds.iter().zip(found).map(|(world, endpoint)| {
            let has = |family| {
                let mut addresses = endpoint.addresses.iter();
                addresses.any(|address| Family::of(*address) == family)
                    || (family == Family::V6 && !endpoint.prefixes.is_empty())
            };
            Known {
                selected: selectors
                    .iter()
                    .map(|selector| world.selects(selector, id, endpoint))
                    .collect(),
                within: cutter.of_end(world, &end),
                families: vec![(has(Family::V4), has(Family::V6))],
                ports: endpoint.ports.clone(),
                is_unlabelled: endpoint.labels.is_empty() && endpoint.groups.is_empty(),
                network: id.network.clone(),
                node: endpoint.node.clone(),
            }
        });
        classes.entry(known.collect()).or_default().push(id);
        let of_endpoint = cutter.parts(id).into_iter();
        parts.extend(of_endpoint.map(|part| vec![End::Part(id.clone(), part)]));
    }
    let whole = classes.into_values().map(|ids| {
        let ends = ids.into_iter().cloned().map(End::Endpoint);
        ends.collect()
    });
    let mut who: Vec<Who> = whole
        .chain(parts)
        .map(|members| class(worlds, members))
        .collect();
    who.sort_by(|one, other| one.members.cmp(&other.members));
    who
}

/// Of ends that are told as the first of them.
fn class(worlds: &[&World], members: Vec<End>) -> Who {
    let end = &members[0];
    let addresses = worlds.iter().map(|world| {
        let of = |family| Some((family, end.address(world, family)?));
        [Family::V4, Family::V6]
            .into_iter()
            .filter_map(of)
            .collect()
    });
    Who {
        addresses: addresses.collect(),
        space: end.space(worlds[0]),
        members,
        outside: None,
    }
}

/// Each node is one of its own: for its endpoints it is another than for others.
fn nodes(worlds: &[&World]) -> Vec<Who> {
    let Some(first) = worlds.first() else {
        return Vec::new();
    };
    let addresses: BTreeSet<IpAddr> = first
        .nodes
        .values()
        .flat_map(|node| &node.addresses)
        .copied()
        .collect();
    let one = |address: IpAddr| Who {
        members: vec![End::Address(address)],
        outside: None,
        space: Space::Node,
        addresses: vec![BTreeMap::from([(Family::of(address), address)]); worlds.len()],
    };
    addresses.into_iter().map(one).collect()
}

/// Addresses of nobody, cut where any block or pool begins or ends.
fn outside(worlds: &[&World], family: Family) -> Vec<Who> {
    let mut cuts: BTreeSet<u128> = BTreeSet::from([0]);
    let pools = worlds.iter().flat_map(|world| world.networks.values());
    let pools: Vec<Prefix> = pools.flat_map(|network| &network.pools).copied().collect();
    let blocks = blocks(worlds);
    let prefixes = blocks
        .iter()
        .flat_map(|block| block.except.iter().chain([&block.prefix]));
    for prefix in prefixes
        .chain(&pools)
        .filter(|prefix| prefix.family() == family)
    {
        cuts.insert(bits(prefix.address()));
        cuts.extend(bits(prefix.last()).checked_add(1));
    }
    let end = match family {
        Family::V4 => u128::from(u32::MAX),
        Family::V6 => u128::MAX,
    };
    let taken: BTreeSet<u128> = worlds
        .iter()
        .flat_map(|world| ours(world, family))
        .collect();
    let starts: Vec<u128> = cuts.into_iter().filter(|cut| *cut <= end).collect();
    let ends = starts.iter().skip(1).map(|next| next - 1).chain([end]);
    let spans: Vec<(u128, u128)> = starts.iter().copied().zip(ends).collect();
    let delegated: BTreeSet<OwnPrefix> = worlds
        .iter()
        .flat_map(|world| world.endpoints.values())
        .filter(|_| family == Family::V6)
        .flat_map(|endpoint| endpoint.prefixes.iter().copied())
        .collect();
    // Nobody's, from `first` on; there is somebody in the way as often as there is somebody.
    let free_from = |first: u128, last: u128| {
        let mut at = first;
        loop {
            let around = OwnPrefix::around(address(family, at));
            let next = match around.filter(|around| delegated.contains(around)) {
                Some(own) => bits(own.last()).checked_add(1),
                None if taken.contains(&at) => at.checked_add(1),
                None => return Some(at),
            };
            at = next.filter(|next| *next <= last)?;
        }
    };
    // The middle of a span is less likely than its ends to mean something by itself.
    let free = |(first, last): (u128, u128)| {
        let middle = first + (last - first) / 2;
        free_from(middle, last).or_else(|| free_from(first, middle))
    };
    let one = |(first, last)| {
        let address = address(family, free((first, last))?);
        Some(Who {
            members: vec![End::Address(address)],
            outside: Some((self::address(family, first), self::address(family, last))),
            space: Space::Node,
            addresses: vec![BTreeMap::from([(family, address)]); worlds.len()],
        })
    };
    spans.into_iter().filter_map(one).collect()
}

/// Addresses of endpoints, nodes and gateways.
fn ours(world: &World, family: Family) -> BTreeSet<u128> {
    let endpoints = world
        .endpoints
        .values()
        .flat_map(|endpoint| &endpoint.addresses);
    let nodes = world.nodes.values().flat_map(|node| &node.addresses);
    let gateways = world
        .networks
        .values()
        .flat_map(|network| &network.gateways);
    let all = endpoints.chain(nodes).chain(gateways);
    all.filter(|address| Family::of(**address) == family)
        .map(|address| bits(*address))
        .collect()
}

fn traffic(worlds: &[&World]) -> Vec<What> {
    let mut cuts: BTreeMap<Protocol, BTreeSet<u16>> = BTreeMap::new();
    let mut icmp: BTreeSet<(Family, (u8, Option<u8>))> = BTreeSet::new();
    let mut other: BTreeSet<u8> = BTreeSet::new();
    for port in rules(worlds).flat_map(|rule| &rule.ports) {
        match port {
            Port::Range { protocol, ports } => cut(&mut cuts, *protocol, *ports),
            Port::Icmp {
                family,
                kind: Some(kind),
                code,
            } => {
                icmp.insert((*family, (*kind, *code)));
                // The rest of the type, if only a code is spoken of.
                if code.is_some() {
                    icmp.insert((*family, (*kind, Some(u8::MAX))));
                }
            }
            Port::Protocol(number) => {
                other.insert(*number);
            }
            Port::Any | Port::Named { .. } | Port::Icmp { .. } => {}
        }
    }
    let endpoints = worlds.iter().flat_map(|world| world.endpoints.values());
    for named in endpoints.flat_map(|endpoint| &endpoint.ports) {
        cut(&mut cuts, named.protocol, PortRange::one(named.port));
    }
    let mut what = Vec::new();
    for protocol in Protocol::ALL {
        let cuts = cuts.entry(protocol).or_default();
        cuts.insert(0);
        let starts: Vec<u16> = cuts.iter().copied().collect();
        let ends = starts.iter().skip(1).map(|next| next - 1).chain([u16::MAX]);
        let ranges = starts.iter().copied().zip(ends);
        what.extend(
            ranges.filter_map(|(first, last)| {
                Some(What::Ports(protocol, PortRange::new(first, last)?))
            }),
        );
    }
    for family in [Family::V4, Family::V6] {
        what.push(What::Icmp(family, None));
    }
    what.extend(
        icmp.into_iter()
            .map(|(family, kind)| What::Icmp(family, Some(kind))),
    );
    what.push(What::Other(None));
    what.extend(other.into_iter().map(|number| What::Other(Some(number))));
    what
}

fn cut(cuts: &mut BTreeMap<Protocol, BTreeSet<u16>>, protocol: Protocol, ports: PortRange) {
    let cuts = cuts.entry(protocol).or_default();
    cuts.insert(ports.first());
    cuts.extend(ports.last().checked_add(1));
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn address(family: Family, bits: u128) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or(u32::MAX)).into(),
        Family::V6 => Ipv6Addr::from_bits(bits).into(),
    }
}
