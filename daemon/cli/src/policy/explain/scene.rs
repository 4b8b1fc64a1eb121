//! One packet, and everything that is known of its way.

use std::net::IpAddr;

use bulkhead_attach::own_prefixes;
use bulkhead_attach::policies::device;
use bulkhead_ipam::AttachmentRecord;
use bulkhead_ipam::wire::admin::{
    Circumstances, Leads, ListedEnd, ListedOverlay, SeenAttachment, SeenLink, SeenWay,
};
use bulkhead_model::{Family, IfName, PortMapping};
use bulkhead_policy::matrix::{End, Probe};
use bulkhead_policy::{
    Endpoint, EndpointId, Matcher, NodeName, Packet, Question, Traffic, Verdict, World,
};

/// A question, before and after the node has translated its destination.
#[derive(Debug)]
pub(super) struct Asked {
    /// As it was asked.
    pub(super) posed: Question,
    /// As policies judge it.
    pub(super) real: Question,
    /// The host port that led there.
    pub(super) port: Option<PortMapping>,
}

impl Asked {
    pub(super) fn of(world: &World, question: Question, seen: Option<&Circumstances>) -> Self {
        let found = seen.and_then(|seen| {
            let ports = seen.attachments.iter().flat_map(|one| {
                let ports = one.record.names.host_ports.iter();
                ports.map(|mapping| (mapping, id_of(one)))
            });
            question.translated(ports, |address| is_own(world, seen, address))
        });
        match found {
            Some((real, port)) => Self {
                port: Some(*port),
                posed: question,
                real,
            },
            None => Self {
                real: question.clone(),
                posed: question,
                port: None,
            },
        }
    }
}

/// Whether an address is the asked node's own.
fn is_own(world: &World, seen: &Circumstances, address: IpAddr) -> bool {
    let own = world.nodes.get(&NodeName::new(seen.node.name.clone()));
    let mut gateways = world
        .networks
        .values()
        .flat_map(|network| &network.gateways);
    own.is_some_and(|node| node.addresses.contains(&address))
        || gateways.any(|gateway| *gateway == address)
        || seen
            .ways
            .iter()
            .any(|way| way.to.contains(address) && way.leads == Leads::Here)
}

/// Whether an attachment with a lease has the address: it may have all of a prefix.
fn is_of(record: &AttachmentRecord, address: IpAddr) -> bool {
    let leased = record.addresses.iter().map(|leased| &leased.address);
    let prefixes = own_prefixes(&record.names, leased.clone());
    let mut leased = leased.map(|leased| leased.address());
    leased.any(|leased| leased == address) || prefixes.iter().any(|own| own.contains(address))
}

/// One packet.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) world: &'a World,
    pub(super) asked: &'a Asked,
    pub(super) packet: Packet,
    pub(super) verdict: Verdict,
    pub(super) seen: Option<&'a Circumstances>,
}

impl<'a> Scene<'a> {
    /// `None` if the ends have no addresses of the family, or no such port.
    pub(super) fn of(
        world: &'a World,
        asked: &'a Asked,
        seen: Option<&'a Circumstances>,
        family: Family,
    ) -> Option<Self> {
        // What is sent to an address is of its family, whoever it is sent on to.
        if let End::Address(to) = asked.posed.destination
            && Family::of(to) != family
        {
            return None;
        }
        let packet = asked.real.packet(world, family)?;
        Some(Self {
            verdict: Matcher::new(world).evaluate(&packet),
            world,
            asked,
            packet,
            seen,
        })
    }

    /// The packet before the node translates its destination.
    pub(super) fn as_sent(&self) -> Packet {
        let mut packet = self.packet.clone();
        if let (End::Address(to), Probe::Port(protocol, port)) =
            (&self.asked.posed.destination, &self.asked.posed.probe)
        {
            packet.destination = *to;
            packet.traffic = Traffic::Port {
                protocol: *protocol,
                port: *port,
            };
        }
        packet
    }

    /// Whether an endpoint speaks to itself.
    pub(super) fn is_to_itself(&self) -> bool {
        self.asked.real.source == self.asked.real.destination
    }

    /// Who an end is: by name, or by its address.
    pub(super) fn endpoint(
        &self,
        end: &End,
        address: IpAddr,
    ) -> Option<(&'a EndpointId, &'a Endpoint)> {
        match end {
            End::Endpoint(id) | End::Part(id, _) => self.world.endpoints.get_key_value(id),
            End::Address(_) => {
                let holders = self.world.endpoints_at(&self.packet.space, address);
                holders.into_iter().next()
            }
        }
    }

    pub(super) fn source(&self) -> Option<(&'a EndpointId, &'a Endpoint)> {
        self.endpoint(&self.asked.real.source, self.packet.source)
    }

    pub(super) fn destination(&self) -> Option<(&'a EndpointId, &'a Endpoint)> {
        self.endpoint(&self.asked.real.destination, self.packet.destination)
    }

    /// The node whose view it is.
    pub(super) fn here(&self) -> Option<&'a str> {
        self.seen.map(|seen| seen.node.name.as_str())
    }

    pub(super) fn is_here(&self, endpoint: &Endpoint) -> bool {
        let node = endpoint.node.as_ref().map(NodeName::as_str);
        node.is_some() && node == self.here()
    }

    /// Whether an address is the asked node's own.
    pub(super) fn is_own(&self, address: IpAddr) -> bool {
        self.seen
            .is_some_and(|seen| is_own(self.world, seen, address))
    }

    /// The node that has an address itself.
    pub(super) fn node_at(&self, address: IpAddr) -> Option<&'a NodeName> {
        let mut nodes = self.world.nodes.iter();
        let node = nodes.find(|(_, node)| node.addresses.contains(&address));
        node.map(|(name, _)| name)
    }

    /// The attachment of an endpoint on the asked node; of several the one with the address.
    pub(super) fn attachment(
        &self,
        id: &EndpointId,
        address: IpAddr,
    ) -> Option<&'a SeenAttachment> {
        let mut all = self.seen?.attachments.iter();
        all.find(|one| id_of(one) == *id && is_of(&one.record, address))
    }

    pub(super) fn link(&self, name: IfName) -> Option<&'a SeenLink> {
        let mut links = self.seen?.links.iter();
        links.find(|link| link.name == name)
    }

    /// `, MTU 1450`, where it is known.
    pub(super) fn mtu_of(&self, name: IfName) -> String {
        self.link(name)
            .map_or_else(String::new, |link| format!(", MTU {}", link.mtu))
    }

    /// Where the node's routes lead to.
    pub(super) fn way(&self, to: IpAddr) -> Option<&'a SeenWay> {
        let ways = self.seen?.ways.iter().filter(|way| way.to.contains(to));
        ways.max_by_key(|way| way.to.len())
    }

    /// The network of several nodes that an address is on.
    pub(super) fn overlay(&self, to: IpAddr) -> Option<&'a ListedOverlay> {
        let network = self.source().and_then(|(id, _)| id.network.as_ref());
        let holds = |overlay: &&ListedOverlay| {
            let mut prefixes = overlay.prefixes.iter();
            prefixes.any(|prefix| prefix.contains(to))
        };
        let all = &self.seen?.overlays;
        let of_it = |overlay: &&ListedOverlay| {
            network.is_some_and(|network| network.as_str() == overlay.network)
        };
        // Two networks may have the same addresses: the sender's own is meant.
        let mut of_sender = all.iter().filter(holds).filter(of_it);
        of_sender.next().or_else(|| all.iter().find(holds))
    }
}

/// The node whose block of a network has the address.
pub(super) fn end_of(overlay: &ListedOverlay, to: IpAddr) -> Option<&ListedEnd> {
    let mut ends = overlay.ends.iter();
    ends.find(|end| end.blocks.iter().any(|block| block.contains(to)))
}

/// The endpoint that an attachment is.
pub(super) fn id_of(seen: &SeenAttachment) -> EndpointId {
    let name = &seen.endpoint;
    EndpointId {
        namespace: name.namespace.clone(),
        name: name.name.clone(),
        network: name.network.as_ref().and_then(|name| name.parse().ok()),
    }
}

/// Whether policies are enforced for an attachment.
pub(super) fn is_policed(seen: &SeenAttachment) -> bool {
    device(&seen.record.names).is_some()
}
