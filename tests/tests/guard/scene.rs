//! Who is where: the addresses that attacks are made of.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netns_fixtures::packet::MacOctets;

use crate::ground::Segment;

/// One station and its addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Station {
    pub(crate) mac: MacOctets,
    pub(crate) v4: Ipv4Addr,
    pub(crate) v6: Ipv6Addr,
    pub(crate) lla: Ipv6Addr,
}

impl Station {
    pub(crate) fn addresses(&self) -> [IpAddr; 3] {
        [self.v4.into(), self.v6.into(), self.lla.into()]
    }
}

/// Everybody as the attacker knows them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    /// The attacker, by the lease of its port.
    pub(crate) me: Station,
    pub(crate) victims: [Station; 2],
    /// The gateway as containers see it.
    pub(crate) gateway: Station,
    /// The MAC of the attacker's port.
    pub(crate) port_mac: MacOctets,
    /// The node's own addresses towards the outside: its VTEP.
    pub(crate) node: (Ipv4Addr, Ipv6Addr),
    /// The MACs on the link between the node and the outside.
    pub(crate) uplink_mac: MacOctets,
    pub(crate) upstream_mac: MacOctets,
    /// The other node's.
    pub(crate) remote: (Ipv4Addr, Ipv6Addr),
    /// A host beyond the nodes.
    pub(crate) upstream: (Ipv4Addr, Ipv6Addr),
    pub(crate) segment: Segment,
}

/// A MAC that nobody holds.
pub(crate) const EVIL: MacOctets = [0x02, 0xba, 0xd0, 0xba, 0xd0, 0x01];
pub(crate) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
pub(crate) const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// What the victim or the node takes into use while an attack on that runs.
pub(crate) const CANDIDATE: Ipv6Addr = Ipv6Addr::new(0xfd66, 0, 0, 0, 0, 0, 0xdad, 1);

impl Scene {
    /// The MAC that a packet to victim `nth` is sent to.
    pub(crate) fn towards(&self, nth: usize) -> MacOctets {
        match self.segment {
            Segment::Shared => self.victims[nth].mac,
            Segment::Routed => self.gateway.mac,
        }
    }

    pub(crate) fn v1(&self) -> Station {
        self.victims[0]
    }

    pub(crate) fn v2(&self) -> Station {
        self.victims[1]
    }
}

/// An address of the pool that nobody holds, one of 500 and for IPv4 of 150.
pub(crate) fn nobody6(nth: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd66, 0, 0, 0, 0, 0, 0xdead, nth)
}

pub(crate) fn nobody4(nth: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 66, 0, 100 + nth % 150)
}
