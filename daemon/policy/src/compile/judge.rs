//! What the table does to a packet, looked up as the table looks it up, and faster than a packet is sent: for
//! whoever has many connections to look at.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use bulkhead_model::Family;

use super::class::Classes;
use super::digest::Digest;
use super::identity::Identities;
use super::local::Ends;
use super::ruling::{OfClass, Outcome, Ruling, Rulings};
use super::spans::{Line, Run};
use crate::{Decision, Direction, Packet, Space, Traffic};

/// All that a node's table knows, without the table.
#[derive(Clone, Debug, Default)]
pub struct Judge {
    known: Arc<Known>,
    /// Addresses that are somebody else than those around them.
    exact: Arc<HashMap<IpAddr, Digest>>,
}

#[derive(Debug, Default)]
struct Known {
    /// The classes of local addresses, as source and as destination.
    ends: HashMap<IpAddr, [Digest; 2]>,
    ranges: BTreeMap<IpAddr, (IpAddr, Digest)>,
    classes: BTreeMap<Digest, OfClass>,
    rulings: BTreeMap<Digest, Arc<Ruling>>,
}

impl Judge {
    pub(super) fn new(
        ends: &Ends<'_>,
        classes: &Classes<'_>,
        identities: Identities<'_>,
        rulings: Rulings,
    ) -> Self {
        let of = |id, direction| classes.of[&(id, direction)];
        let ends = ends.at.iter().map(|((_, address), (id, _))| {
            let both = [of(*id, Direction::Egress), of(*id, Direction::Ingress)];
            (*address, both)
        });
        Self {
            exact: Arc::new(identities.exact.into_iter().collect()),
            known: Arc::new(Known {
                ends: ends.collect(),
                ranges: identities.ranges,
                classes: rulings.of,
                rulings: rulings.all,
            }),
        }
    }

    /// An address is somebody else now, or who all around it are.
    pub(super) fn moves(&mut self, address: IpAddr, identity: Option<Digest>) {
        let exact = Arc::make_mut(&mut self.exact);
        match identity {
            Some(identity) => drop(exact.insert(address, identity)),
            None => drop(exact.remove(&address)),
        }
    }

    /// Whether the node enforces anything for the address.
    #[must_use]
    pub fn is_local(&self, address: IpAddr) -> bool {
        self.known.ends.contains_key(&address)
    }

    /// What becomes of the first packet of a connection on this node.
    #[must_use]
    pub fn decide(&self, packet: &Packet) -> Decision {
        if packet.space != Space::Node || is_discovery(packet) {
            return Decision::Allow;
        }
        let sides = [
            (packet.source, 0, packet.destination),
            (packet.destination, 1, packet.source),
        ];
        let said = sides.into_iter().filter_map(|(end, way, other)| {
            let class = self.known.ends.get(&end)?[way];
            self.outcome(class, other, packet)
        });
        said.fold(Decision::Allow, |all, outcome| all.and(outcome.decision))
    }

    fn outcome(&self, class: Digest, other: IpAddr, packet: &Packet) -> Option<&Outcome> {
        let known = &*self.known;
        let of_class = known.classes.get(&class)?;
        let identity = match self.exact.get(&other) {
            Some(identity) => *identity,
            None => known.ranges.range(..=other).next_back()?.1.1,
        };
        let ruling = of_class.others.get(&identity).unwrap_or(&of_class.default);
        let (line, place) = place(packet);
        let runs = known.rulings.get(ruling)?.of(line);
        let nth = runs.partition_point(|run: &Run<Outcome>| run.last < place);
        runs.get(nth).map(|run| &run.said)
    }
}

fn place(packet: &Packet) -> (Line, u16) {
    match packet.traffic {
        Traffic::Port { protocol, port } => (Line::of(protocol), port),
        Traffic::Icmp { kind, code } => {
            let line = match packet.family() {
                Family::V4 => Line::Icmp4,
                Family::V6 => Line::Icmp6,
            };
            (line, u16::from(kind) << 8 | u16::from(code))
        }
        Traffic::Other(number) => (Line::Other, u16::from(number)),
    }
}

fn is_discovery(packet: &Packet) -> bool {
    matches!(
        packet.traffic,
        Traffic::Icmp {
            kind: 130..=136 | 143,
            ..
        }
    ) && packet.family() == Family::V6
}
