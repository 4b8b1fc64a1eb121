//! What the table does to a packet, looked up as the table looks it up, and faster than a packet is sent: for
//! whoever has many connections to look at.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use bulkhead_model::Family;

use super::digest::Digest;
use super::identity::Delegated;
use super::own::Both;
use super::ruling::{OfClass, Ruling, Word};
use super::spans::{Line, Run};
use crate::{Decision, OwnPrefix, Packet, Space, Traffic};

/// All that a node's table knows, without the table.
#[derive(Clone, Debug, Default)]
pub struct Judge(Arc<Known>);

#[derive(Debug, Default)]
pub(super) struct Known {
    /// The classes of local addresses, as source and as destination.
    pub(super) ends: HashMap<IpAddr, Both>,
    /// The same of prefixes that are an endpoint's as a whole.
    pub(super) prefixed: HashMap<OwnPrefix, Both>,
    /// Addresses that are somebody else than those around them.
    pub(super) exact: Arc<HashMap<IpAddr, Digest>>,
    /// What is in such prefixes, anywhere.
    pub(super) delegated: Arc<Delegated>,
    pub(super) ranges: BTreeMap<IpAddr, (IpAddr, Digest)>,
    pub(super) classes: BTreeMap<Digest, Arc<OfClass>>,
    pub(super) rulings: BTreeMap<Digest, Arc<Ruling>>,
}

impl Judge {
    pub(super) fn new(known: Known) -> Self {
        Self(Arc::new(known))
    }

    /// Whether the node enforces anything for the address.
    #[must_use]
    pub fn is_local(&self, address: IpAddr) -> bool {
        self.end(address).is_some()
    }

    fn end(&self, address: IpAddr) -> Option<&Both> {
        let around = || OwnPrefix::around(address);
        let prefixed = || self.0.prefixed.get(&around()?);
        self.0.ends.get(&address).or_else(prefixed)
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
            let class = self.end(end)?[way];
            self.word(class, other, packet)
        });
        said.fold(Decision::Allow, |all, word| all.and(word.decision))
    }

    fn word(&self, class: Digest, other: IpAddr, packet: &Packet) -> Option<Word> {
        let known = &*self.0;
        let of_class = known.classes.get(&class)?;
        let identity = match known.exact.get(&other) {
            Some(identity) => *identity,
            None => match known.delegated.of(other) {
                Some(identity) => identity,
                None => known.ranges.range(..=other).next_back()?.1.1,
            },
        };
        let ruling = of_class.others.get(&identity).unwrap_or(&of_class.default);
        let (line, place) = place(packet);
        let runs = known.rulings.get(ruling)?.lines.of(line);
        let nth = runs.partition_point(|run: &Run<Word>| run.last < place);
        runs.get(nth).map(|run| run.said)
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
