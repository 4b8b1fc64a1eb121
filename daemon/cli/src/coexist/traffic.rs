//! Which ways of a network's packets a foreign firewall closes.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bulkhead_kernel::DefaultRoute;
use bulkhead_model::{Family, IfName};
use bulkhead_nft::foreign::{Connection, Dropped, Packet, Ruleset, TableName};

use super::firewall::is_ours;
use super::network::{Bridged, HostPorts, Routed};

/// A way that packets of a network take through the node's forward hook.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Way {
    /// From a container to the outside.
    Out,
    /// Answers from the outside.
    Answers,
    /// From the outside to a host port, or an answer to that.
    HostPort,
    /// Between containers of the network, while bridged frames pass iptables.
    Bridged,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Out => "what its containers send to the outside",
            Self::Answers => "answers from the outside",
            Self::HostPort => "connections to its host ports",
            Self::Bridged => "frames between its containers",
        })
    }
}

/// What the node has that decides about ways.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    /// By family.
    pub(crate) uplinks: BTreeMap<Family, IfName>,
    /// Families in which bridged frames pass the forward hook (`bridge-nf-call-*`).
    pub(crate) bridged: Vec<Family>,
}

/// A base chain that closes ways of one family.
#[derive(Clone, Debug)]
pub(crate) struct Hindrance {
    pub(crate) family: Family,
    /// One of the drops; the others are in the same base chain.
    pub(crate) dropped: Dropped,
    /// Sorted.
    pub(crate) ways: Vec<Way>,
}

impl Surroundings {
    pub(crate) fn read(routes: &[DefaultRoute]) -> Self {
        let families = [
            (Family::V4, "/proc/sys/net/bridge/bridge-nf-call-iptables"),
            (Family::V6, "/proc/sys/net/bridge/bridge-nf-call-ip6tables"),
        ];
        let is_on = |path: &str| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "1");
        let bridged = families.into_iter().filter(|(_, path)| is_on(path));
        let mut uplinks = BTreeMap::new();
        for route in routes {
            uplinks.entry(route.family).or_insert(route.link);
        }
        Self {
            uplinks,
            bridged: bridged.map(|(family, _)| family).collect(),
        }
    }
}

/// Every base chain that closes a way of the network, by family and in the order in which packets
/// enter them.
pub(crate) fn hindrances(
    rules: &Ruleset,
    network: &Bridged,
    around: &Surroundings,
) -> Vec<Hindrance> {
    let mut found: BTreeMap<(Family, TableName, String), Hindrance> = BTreeMap::new();
    for family in &network.families {
        for (way, packet) in packets(network, *family, around) {
            for dropped in rules.drops(&packet, is_ours) {
                let key = (*family, dropped.table.clone(), dropped.base.clone());
                let hindrance = found.entry(key).or_insert(Hindrance {
                    family: *family,
                    dropped,
                    ways: Vec::new(),
                });
                if hindrance.ways.last() != Some(&way) {
                    hindrance.ways.push(way);
                }
            }
        }
    }
    found.into_values().collect()
}

/// A packet for each way; in the order of the ways.
fn packets(network: &Bridged, family: Family, around: &Surroundings) -> Vec<(Way, Packet)> {
    let bridge = network.bridge;
    let packet = |input, output, connection, destination| Packet {
        family,
        input,
        output,
        source: None,
        destination,
        connection,
    };
    let mut packets = Vec::new();
    if let (Routed::Yes, Some(uplink)) = (network.routed, around.uplinks.get(&family)) {
        let uplink = *uplink;
        let far = Some(far(family));
        packets.push((Way::Out, packet(bridge, uplink, Connection::New, far)));
        packets.push((
            Way::Answers,
            packet(uplink, bridge, Connection::Reply, None),
        ));
        if network.host_ports == HostPorts::Declared {
            let asked = packet(uplink, bridge, Connection::Translated, None);
            packets.push((Way::HostPort, asked));
            let answer = packet(bridge, uplink, Connection::Reply, far);
            packets.push((Way::HostPort, answer));
        }
    }
    if around.bridged.contains(&family) {
        let between = packet(bridge, bridge, Connection::New, None);
        packets.push((Way::Bridged, between));
    }
    packets
}

/// An address somewhere on the Internet: rules about private destinations do not mean it.
fn far(family: Family) -> IpAddr {
    match family {
        // RFC 5737, RFC 3849.
        Family::V4 => Ipv4Addr::new(203, 0, 113, 1).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    }
}
