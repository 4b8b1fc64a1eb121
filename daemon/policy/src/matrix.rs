//! Who can talk to whom: every pair of ends, every kind of traffic, both families.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use bulkhead_model::{Family, ParseError, Protocol};

use crate::parts::{Cutter, Part};
use crate::{
    Decision, EndpointId, Engine, Judgement, Packet, Port, PortRange, Space, Traffic, Undecided,
    World,
};

/// An end of a pair: an endpoint, or an address that is none.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum End {
    /// An endpoint.
    Endpoint(EndpointId),
    /// Some of its addresses, which policies tell from the one that it is asked about by.
    Part(EndpointId, Part),
    /// An address outside.
    Address(IpAddr),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(id) => id.fmt(f),
            Self::Part(id, part) => write!(f, "{id} at {part}"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl End {
    /// The endpoint that it is, or is a part of.
    #[must_use]
    pub const fn id(&self) -> Option<&EndpointId> {
        match self {
            Self::Endpoint(id) | Self::Part(id, _) => Some(id),
            Self::Address(_) => None,
        }
    }

    /// Its address of a family; the lowest if there are several, the first of its prefix if it has no other.
    #[must_use]
    pub fn address(&self, world: &World, family: Family) -> Option<IpAddr> {
        let is_of = |address: &IpAddr| Family::of(*address) == family;
        match self {
            Self::Endpoint(id) => {
                let endpoint = world.endpoints.get(id)?;
                let prefixes = endpoint.prefixes.iter().map(|own| own.first());
                let mut addresses = endpoint.addresses.iter().copied().chain(prefixes);
                addresses.find(is_of)
            }
            Self::Part(_, part) => part.address().filter(is_of),
            Self::Address(address) => Some(*address).filter(is_of),
        }
    }

    /// Where its addresses mean something.
    #[must_use]
    pub fn space(&self, world: &World) -> Space {
        match self {
            Self::Endpoint(id) | Self::Part(id, _) => world.space_of(id),
            Self::Address(_) => Space::Node,
        }
    }
}

/// What is asked about: a kind of traffic, for each pair what it is there.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Probe {
    /// To a port.
    Port(Protocol, u16),
    /// To the port that the destination calls so.
    Named(Protocol, String),
    /// An echo request, of the family that is asked about.
    Echo,
    /// A protocol without ports, by IANA's number.
    Protocol(u8),
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(protocol, port) => write!(f, "{port}/{protocol}"),
            Self::Named(protocol, name) => write!(f, "{name}/{protocol}"),
            Self::Echo => f.write_str("icmp"),
            Self::Protocol(number) => write!(f, "protocol/{number}"),
        }
    }
}

impl FromStr for Probe {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let probe = match text.trim().parse::<Port>()? {
            Port::Range { protocol, ports } if ports == PortRange::one(ports.first()) => {
                Some(Self::Port(protocol, ports.first()))
            }
            Port::Named {
                protocol: Some(protocol),
                name,
            } => Some(Self::Named(protocol, name)),
            Port::Icmp { kind: None, .. } => Some(Self::Echo),
            Port::Protocol(number) => Some(Self::Protocol(number)),
            _ => None,
        };
        probe.ok_or_else(|| ParseError {
            expected: "one port to ask about (such as 80/tcp, http/tcp, icmp or protocol/47)",
            found: text.to_owned(),
        })
    }
}

impl Probe {
    /// What it is on the way to `destination`; `None` where that calls no port so.
    #[must_use]
    pub fn traffic(&self, world: &World, destination: &End, family: Family) -> Option<Traffic> {
        Some(match self {
            Self::Port(protocol, port) => Traffic::Port {
                protocol: *protocol,
                port: *port,
            },
            Self::Named(protocol, name) => {
                let mut ports = world.endpoints.get(destination.id()?)?.ports.iter();
                let named = ports.find(|p| p.name == *name && p.protocol == *protocol)?;
                Traffic::Port {
                    protocol: *protocol,
                    port: named.port,
                }
            }
            // RFC 792; RFC 4443 §4.1.
            Self::Echo => Traffic::Icmp {
                kind: match family {
                    Family::V4 => 8,
                    Family::V6 => 128,
                },
                code: 0,
            },
            Self::Protocol(number) => Traffic::Other(*number),
        })
    }

    /// What the policies and the endpoints of `world` speak of, in order: every port that has a name, and
    /// the first of every range. Port 80 if they speak of none.
    #[must_use]
    pub fn of_world(world: &World) -> Vec<Self> {
        let named = world
            .endpoints
            .values()
            .flat_map(|endpoint| &endpoint.ports);
        let mut probes: BTreeSet<Self> = named.map(|p| Self::Port(p.protocol, p.port)).collect();
        let policies = world.policies.values();
        let rules = policies
            .flat_map(|p| [&p.ingress, &p.egress])
            .flatten()
            .flatten();
        for port in rules.flat_map(|rule| &rule.ports) {
            match port {
                Port::Range { protocol, ports } => {
                    // Of a whole protocol, whichever: a low one nobody has anything to say about.
                    let port = if *ports == PortRange::ALL {
                        80
                    } else {
                        ports.first()
                    };
                    probes.insert(Self::Port(*protocol, port));
                }
                Port::Icmp { .. } => {
                    probes.insert(Self::Echo);
                }
                Port::Protocol(number) => {
                    probes.insert(Self::Protocol(*number));
                }
                Port::Any | Port::Named { .. } => {}
            }
        }
        if probes.is_empty() {
            probes.insert(Self::Port(Protocol::Tcp, 80));
        }
        probes.into_iter().collect()
    }
}

/// One answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cell {
    /// Its source's place among the ends.
    pub source: usize,
    /// Its destination's place among the ends.
    pub destination: usize,
    /// Its probe's place among the probes.
    pub probe: usize,
    /// Which family.
    pub family: Family,
    /// The ends' addresses.
    pub addresses: (IpAddr, IpAddr),
    /// What was sent; `None` if the destination calls no port so, and nobody can be reached there.
    pub traffic: Option<Traffic>,
    /// What is decided.
    pub judgement: Judgement,
}

impl Cell {
    /// Whether an endpoint speaks to itself, which nobody is asked about: it never leaves the endpoint.
    #[must_use]
    pub const fn is_loopback(&self) -> bool {
        self.source == self.destination
    }
}

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Who can talk to whom.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Matrix {
    /// The ends, sources and destinations both.
    pub ends: Vec<End>,
    /// What was asked about.
    pub probes: Vec<Probe>,
    /// The ends' addresses, by family.
    addresses: Vec<[Option<IpAddr>; 2]>,
    /// What is sent to each end, by probe and family.
    traffic: Vec<Vec<[Option<Traffic>; 2]>>,
    answers: Vec<Answer>,
}

/// What of a [`Cell`] nothing else tells. There are millions of them.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Answer {
    source: u32,
    destination: u32,
    probe: u32,
    family: Family,
    judgement: Judgement,
}

/// A place in a list of which each item was an object in memory.
fn place(nth: usize) -> u32 {
    u32::try_from(nth).expect("fewer than 2^32 ends and probes")
}

/// Asks `engine` about all endpoints of `world`, each by an address and by the parts that policies tell from it, and
/// about `others` as they were one.
///
/// # Errors
/// [`Undecided`] if the engine does not know an answer.
pub fn matrix(
    world: &World,
    engine: &dyn Engine,
    others: &[IpAddr],
    probes: Vec<Probe>,
) -> Result<Matrix, Undecided> {
    let cutter = Cutter::new(&[world]);
    let endpoints = world.endpoints.keys().flat_map(|id| {
        let parts = cutter.parts(id).into_iter();
        let parts = parts.map(|part| End::Part(id.clone(), part));
        std::iter::once(End::Endpoint(id.clone())).chain(parts)
    });
    let outside = others.iter().copied().map(End::Address);
    let ends: Vec<End> = endpoints.chain(outside).collect();
    // Looked up once: there are as many pairs as ends times ends.
    let spaces: Vec<Space> = ends.iter().map(|end| end.space(world)).collect();
    let addresses = ends
        .iter()
        .map(|end| FAMILIES.map(|family| end.address(world, family)));
    let addresses: Vec<[Option<IpAddr>; 2]> = addresses.collect();
    let sent = |probe: &Probe, to: &End| FAMILIES.map(|family| probe.traffic(world, to, family));
    let traffic: Vec<Vec<[Option<Traffic>; 2]>> = ends
        .iter()
        .map(|to| probes.iter().map(|probe| sent(probe, to)).collect())
        .collect();
    let mut answers = Vec::new();
    for (source, from) in ends.iter().enumerate() {
        for (destination, to) in ends.iter().enumerate() {
            let space = &spaces[source];
            // Two addresses outside have nothing to do with us, and what an endpoint sends to another address of its
            // own never leaves it.
            let is_nobodys = from.id() == to.id() && source != destination;
            let is_outside = from.id().is_none() && to.id().is_none();
            if *space != spaces[destination] || is_nobodys || is_outside {
                continue;
            }
            for (nth, traffic) in traffic[destination].iter().enumerate() {
                for (of, family) in FAMILIES.into_iter().enumerate() {
                    let addresses = (addresses[source][of], addresses[destination][of]);
                    let (Some(source_address), Some(destination_address)) = addresses else {
                        continue;
                    };
                    let packet = traffic[of].map(|traffic| Packet {
                        space: space.clone(),
                        source: source_address,
                        destination: destination_address,
                        traffic,
                    });
                    let judgement = match packet {
                        None => Judgement {
                            decision: Decision::Deny,
                            egress: None,
                            ingress: None,
                        },
                        Some(_) if source == destination => Judgement {
                            decision: Decision::Allow,
                            egress: Some(Decision::Allow),
                            ingress: Some(Decision::Allow),
                        },
                        Some(packet) => engine.judge(&packet)?,
                    };
                    answers.push(Answer {
                        source: place(source),
                        destination: place(destination),
                        probe: place(nth),
                        family,
                        judgement,
                    });
                }
            }
        }
    }
    Ok(Matrix {
        ends,
        probes,
        addresses,
        traffic,
        answers,
    })
}

/// A part of a matrix that answers the same for several probes and families.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sheet {
    /// Which probes and families, in order.
    pub of: Vec<(usize, Family)>,
    /// By source, then destination: what is decided; `None` where nothing was asked.
    pub decisions: Vec<Vec<Option<Decision>>>,
}

impl Matrix {
    /// The answers, by source, destination, probe and family. None for pairs that have no addresses of a
    /// common family, or whose addresses are of different spaces.
    pub fn cells(&self) -> impl Iterator<Item = Cell> {
        self.answers.iter().filter_map(|answer| self.cell(answer))
    }

    fn cell(&self, answer: &Answer) -> Option<Cell> {
        let nth = |nth| usize::try_from(nth).ok();
        let source = nth(answer.source)?;
        let destination = nth(answer.destination)?;
        let probe = nth(answer.probe)?;
        let of = FAMILIES.iter().position(|of| *of == answer.family)?;
        Some(Cell {
            source,
            destination,
            probe,
            family: answer.family,
            addresses: (
                self.addresses[source][of]?,
                self.addresses[destination][of]?,
            ),
            traffic: self.traffic[destination][probe][of],
            judgement: answer.judgement,
        })
    }

    /// How many cells there are.
    #[must_use]
    pub const fn asked(&self) -> usize {
        self.answers.len()
    }

    /// How many cells are allowed.
    #[must_use]
    pub fn allowed(&self) -> usize {
        let decisions = self.answers.iter().map(|answer| answer.judgement.decision);
        decisions
            .filter(|decision| *decision == Decision::Allow)
            .count()
    }

    /// The answers as grids, each for all probes and families that answer alike.
    #[must_use]
    pub fn sheets(&self) -> Vec<Sheet> {
        let mut sheets: Vec<Sheet> = Vec::new();
        for probe in 0..self.probes.len() {
            for family in FAMILIES {
                let decisions = self.grid(probe, family);
                if decisions.iter().flatten().all(Option::is_none) {
                    continue;
                }
                match sheets.iter_mut().find(|sheet| sheet.decisions == decisions) {
                    Some(sheet) => sheet.of.push((probe, family)),
                    None => sheets.push(Sheet {
                        of: vec![(probe, family)],
                        decisions,
                    }),
                }
            }
        }
        sheets
    }

    fn grid(&self, probe: usize, family: Family) -> Vec<Vec<Option<Decision>>> {
        let mut grid = vec![vec![None; self.ends.len()]; self.ends.len()];
        let cells = self.cells();
        for cell in cells.filter(|cell| cell.probe == probe && cell.family == family) {
            grid[cell.source][cell.destination] = Some(cell.judgement.decision);
        }
        grid
    }

    /// The heading of a sheet: `80/tcp, 81/udp, IPv4 and IPv6`.
    #[must_use]
    pub fn heading(&self, sheet: &Sheet) -> String {
        let of_both = |probe: usize| {
            let families = sheet.of.iter().filter(|(of, _)| *of == probe);
            families.count() == 2
        };
        let mut said = Vec::new();
        for (which, suffix) in [
            (None, ""),
            (Some(Family::V4), " IPv4"),
            (Some(Family::V6), " IPv6"),
        ] {
            for (probe, family) in &sheet.of {
                let is_said = match which {
                    None => of_both(*probe) && *family == Family::V4,
                    Some(which) => !of_both(*probe) && *family == which,
                };
                if is_said {
                    said.push(format!("{}{suffix}", self.probes[*probe]));
                }
            }
        }
        said.join(", ")
    }
}
