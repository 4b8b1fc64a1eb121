//! What should be. A want claims fields: what it does not mention is nobody's drift.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

use bulkhead_model::{
    Bandwidth, HostAddress, HostPort, IfName, InterfaceAddress, Mac, Mtu, Prefix,
};
use bulkhead_nft as nft;

use crate::{
    Binding, Dad, Ipsec, Ns, OnLink, Overlay, OverlayGone, Plugged, PortFlags, Route, Segment,
    SegmentGone, Switch, Sysctl, Tunnels, Vtep,
};

/// An attachment as it should be: there, or gone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Want {
    /// Everything the attachment needs stands.
    Attached(Box<Attached>),
    /// Nothing of the attachment is left; nor, for a network's last one, of what it shared.
    Detached(Box<Detached>),
    /// Host ports lead to an attachment that stands, and has them from another one.
    HostPorts {
        /// The node's link to it: its bridge, or the port of a link of its own.
        link: Option<IfName>,
        /// What leads to it.
        forwards: Vec<Forward>,
    },
    /// A port that another program made is judged by the filter.
    Guarded(Box<Guarded>),
    /// Nothing of such a port is left in the filter.
    Unguarded(Box<Unguarded>),
    /// A network's overlay stands on this node, and leads to every peer.
    Overlay(Box<Overlay>),
    /// Nothing of it is left.
    NoOverlay(Box<OverlayGone>),
    /// A network's segment stands on this node, and leads to every station of the others.
    Segment(Box<Segment>),
    /// Nothing of it is left.
    NoSegment(Box<SegmentGone>),
    /// A network's VXLAN device stands on this node, whoever it leads to: as far as it is known without the
    /// cluster's store.
    Vtep(Box<Vtep>),
    /// The same of a segment, whose namespace stands.
    Plugged(Box<Plugged>),
    /// The VXLAN ports of the node are open to the known VTEPs alone; without any there is no filter.
    Tunnels(Box<Tunnels>),
    /// The node's encrypted overlays have their states and policies, and there are no others of ours.
    Ipsec(Box<Ipsec>),
    /// The loopback interface of a namespace is up, or down.
    Loopback {
        /// Where.
        ns: Ns,
        /// Up or not.
        up: Switch,
    },
}

/// An attachment that stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attached {
    /// What plays the node's part: the host's namespace, or one that the network has for itself.
    pub node: Ns,
    /// Where its port is plugged.
    pub place: Place,
    /// The host end.
    pub port: Port,
    /// The container end.
    pub interface: Interface,
    /// What the port's filter accepts.
    pub filter: Filter,
    /// Permanent neighbour entries of the node for the container, on [`Attached::node_link`].
    pub neighbours: Vec<Neighbour>,
    /// Sysctls of the node the network needs (forwarding).
    pub sysctls: Vec<(Sysctl, String)>,
    /// The network's address translation, with its fingerprint as comment.
    pub nat: Option<nft::Table>,
    /// Host ports.
    pub host_ports: HostPorts,
    /// How fast the container may receive and send.
    pub bandwidth: Bandwidth,
}

impl Attached {
    /// The node's link to the container: the bridge, or the port where the link is the container's own.
    #[must_use]
    pub const fn node_link(&self) -> IfName {
        match &self.place {
            Place::Bridge(bridge) => bridge.name,
            Place::PointToPoint(_) => self.port.name,
        }
    }
}

/// Where a port is plugged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// Into a bridge, beside others.
    Bridge(Bridge),
    /// Nowhere: the pair is a link between node and container alone, and everything is routed.
    PointToPoint(PointToPoint),
}

impl Place {
    /// The bridge, if there is one.
    #[must_use]
    pub const fn bridge(&self) -> Option<&Bridge> {
        match self {
            Self::Bridge(bridge) => Some(bridge),
            Self::PointToPoint(_) => None,
        }
    }

    /// Whether the node routes 127.0.0.0/8 to it.
    #[must_use]
    pub const fn localnet(&self) -> Localnet {
        match self {
            Self::Bridge(bridge) => bridge.localnet,
            Self::PointToPoint(link) => link.localnet,
        }
    }
}

/// A link between node and container alone (RFC 9898 section 4: isolated in layer 2 and 3). Its port
/// carries what the container calls its gateway; IPv4's needs no address there, since the container's
/// neighbour entry for it is permanent.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PointToPoint {
    /// Addresses of the port; not probed.
    pub gateways: Vec<InterfaceAddress>,
    /// What the node sends there: host routes and prefixes in the main table, whose `link` is the port.
    /// A family without any is off on the port.
    pub routes: Vec<Route>,
    /// Blocks of this node alone, whose addresses nobody else has: what is for one that no attachment
    /// holds ends here, and is looked for nowhere.
    pub blackholes: Vec<Prefix>,
    /// Whether the host reaches the container from 127.0.0.1.
    pub localnet: Localnet,
}

/// A permanent neighbour entry (`NUD_PERMANENT`, `linux/neighbour.h`): never probed, never collected,
/// and moved by no packet.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Neighbour {
    /// Whose.
    pub address: IpAddr,
    /// Where it is.
    pub mac: Mac,
}

/// The host ports of an attachment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HostPorts {
    /// Its own.
    pub mine: Vec<Forward>,
    /// Those of every other live attachment; read only where the table has to be loaded anew.
    pub others: Vec<Forward>,
}

/// A host port, and where it leads.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Forward {
    /// What of the host; one that is open on every address is, of the family of `to`.
    pub host: HostPort,
    /// The container's address and port.
    pub to: SocketAddr,
    /// The attachment's port.
    pub owner: IfName,
}

impl Forward {
    /// Whether a packet to `destination` is meant for this host port.
    #[must_use]
    pub fn covers(&self, destination: SocketAddr) -> bool {
        destination.port() == self.host.number.get()
            && destination.is_ipv4() == self.to.is_ipv4()
            && self.host.address.holds(destination.ip())
    }
}

/// A bridge.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bridge {
    /// Its name, in the host's namespace.
    pub name: IfName,
    /// Its MAC, if we create it.
    pub mac: Mac,
    /// Its MTU, if we create it; claimed on one of ours if given.
    pub mtu: Option<Mtu>,
    /// Gateway addresses it carries; empty for layer 2 only.
    pub gateways: Vec<InterfaceAddress>,
    /// Whether promiscuous mode is asked for.
    pub promiscuous: bool,
    /// Whether the host reaches containers from 127.0.0.1: for host ports there.
    pub localnet: Localnet,
    /// What may be done to a bridge that somebody else made.
    pub foreign: Foreign,
    /// What is done with other IPv4 addresses on one of ours.
    pub other_gateways: OtherGateways,
}

/// Whether a bridge, or a port of its own, routes 127.0.0.0/8 between the host and its containers (`route_localnet`,
/// `ip-sysctl.rst`).
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Localnet {
    /// Nobody asks for it.
    #[default]
    Unclaimed,
    /// Host ports are open there among others: a bridge that is joined is left as it is.
    Served,
    /// A host port is open there alone: a bridge that is joined must do it.
    Required,
}

impl Localnet {
    /// What host ports need.
    #[must_use]
    pub fn needed_by(forwards: &[Forward]) -> Self {
        let needs = |forward: &Forward| match forward.host.address {
            HostAddress::One(address) if address.is_loopback() => Self::Required,
            HostAddress::Any | HostAddress::Every(_) if forward.to.is_ipv4() => Self::Served,
            _ => Self::Unclaimed,
        };
        let mut needed = Self::Unclaimed;
        for forward in forwards {
            needed = needed.max(needs(forward));
        }
        needed
    }
}

/// What may be done to an object that somebody else made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Foreign {
    /// It is used as it is; if it lacks something, that is a conflict.
    Join,
    /// It is brought to the want; what was changed is recorded and undone.
    Adopt,
}

/// What is done with IPv4 addresses on our bridge that the want does not name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OtherGateways {
    /// They may stay if they do not share the gateway's prefix; else that is a conflict.
    Refuse,
    /// They are removed (`forceAddress`).
    Replace,
}

/// The host end of a veth pair.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Port {
    /// Its name.
    pub name: IfName,
    /// Its MAC.
    pub mac: Mac,
    /// Its MTU; `None` takes the bridge's.
    pub mtu: Option<Mtu>,
    /// Its attributes on the bridge.
    pub flags: PortFlags,
    /// The bridge is told that the interface's MAC is behind it, and has nothing to learn.
    pub is_told: bool,
}

/// The container end of a veth pair.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Interface {
    /// The container's namespace.
    pub ns: Ns,
    /// Its name.
    pub name: IfName,
    /// Its MAC.
    pub mac: Mac,
    /// Its MTU, which plugins chained later may have changed; `None` takes the port's.
    pub mtu: Option<Mtu>,
    /// Up, or left down for somebody else to raise.
    pub up: bool,
    /// Its addresses.
    pub addresses: Vec<InterfaceAddress>,
    /// Whether IPv6 addresses are probed.
    pub dad: Dad,
    /// Whether the prefixes of its addresses are on the link.
    pub on_link: OnLink,
    /// Its routes; `link` is the interface.
    pub routes: Vec<Route>,
    /// Its permanent neighbour entries.
    pub neighbours: Vec<Neighbour>,
    /// What it takes from router advertisements.
    pub advertised: Advertised,
}

/// What an interface takes from router advertisements. What it is given by us stands beside it.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Advertised {
    /// Nothing: they are not accepted.
    #[default]
    Nothing,
    /// MTU, resolvers, and a default route that is used once the other one is gone.
    Parameters,
    /// The same, and addresses of the prefix that is announced (RFC 4862).
    Addresses,
}

/// The filter on ports: the base that the whole first-hop guard stands on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Filter {
    /// This attachment's binding.
    pub binding: Binding,
    /// The bindings of every other live port; read only where the table has to be loaded anew, so
    /// that no live port falls silent.
    pub others: Vec<Binding>,
    /// How the chain is bound to ports.
    pub hook: Hook,
}

/// A port of another program's that is judged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Guarded {
    /// What it is judged by.
    pub filter: Filter,
    /// How many multicast groups it may join, if it is a bridge's.
    pub groups: Option<NonZeroU32>,
    /// Who is where for good, on the node's side of its link and on the container's.
    pub known: Vec<Known>,
}

/// Permanent neighbour entries of a link that another program made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Known {
    /// Where the link is.
    pub ns: Ns,
    /// The link.
    pub link: IfName,
    /// Who is where.
    pub neighbours: Vec<Neighbour>,
}

/// How the filter is bound to ports.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hook {
    /// By prefix where the kernel can, by port elsewhere; a table that stands decides.
    Auto,
    /// One base chain for every present and future port.
    Prefix,
    /// One small base chain for each port.
    PerPort,
}

/// An attachment that is gone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Detached {
    /// What plays the node's part, as in [`Attached`].
    pub node: Ns,
    /// The port; deleted only if it is ours.
    pub port: IfName,
    /// The MAC its filter accepted, if any is known; without one the whole set is searched.
    pub binding: Option<Binding>,
    /// The ifb device of its egress; deleted only if it is there and ours.
    pub ifb: IfName,
    /// Its host ports, if they are known; without a record the whole maps are searched for it.
    pub host_ports: Option<Vec<Forward>>,
    /// Neighbour entries on the host to forget: the attachment's addresses, on its bridge.
    pub neighbours: Vec<(IfName, IpAddr)>,
    /// What goes with the network's last attachment.
    pub network: Option<NetworkGone>,
}

/// A port of another program's that is judged no more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unguarded {
    /// The port.
    pub port: IfName,
    /// The MAC it had when it was guarded. While a veth of its name still has that, it is taken down
    /// first: what is judged no more sends nothing. Whoever made it is about to delete it.
    pub mac: Option<Mac>,
    /// What it could send; without it the whole sets are searched.
    pub binding: Option<Binding>,
    /// What [`Guarded::known`] was.
    pub known: Vec<Known>,
    /// Gateways and blocks that nobody else on the node has named.
    pub restore: Vec<Restore>,
    /// Whether no other port on its bridge is guarded, so that nothing is known of the bridge any more.
    pub last_on_bridge: bool,
    /// Whether no attachment of any network is left, so that the filter goes too.
    pub node_is_empty: bool,
}

/// What goes with a network's last attachment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NetworkGone {
    /// The bridge: deleted if ours and without ports.
    pub bridge: Option<IfName>,
    /// Tables of the network.
    pub tables: Vec<nft::TableId>,
    /// What we changed on the node and on adopted links, to be put back.
    pub restore: Vec<Restore>,
    /// Whether no attachment of any network is left, so that the filter goes too.
    pub node_is_empty: bool,
}

/// A change of ours to an object that is not ours, to be undone.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Restore {
    /// Put `before` back if the value is still `ours`.
    Sysctl {
        /// Which.
        sysctl: Sysctl,
        /// The value we set.
        ours: String,
        /// The value found.
        before: String,
    },
    /// Remove an address from an adopted bridge.
    Address {
        /// The bridge.
        link: IfName,
        /// Which.
        address: InterfaceAddress,
    },
    /// Put promiscuous mode off again.
    Promiscuous {
        /// The bridge.
        link: IfName,
    },
    /// Make an address the node's no more for the guard: it was a gateway.
    Gateway {
        /// Which.
        address: IpAddr,
    },
    /// Make a block nobody's for the guard, which drops what goes to its addresses that no port holds.
    Block {
        /// Which.
        prefix: Prefix,
    },
    /// Remove a blackhole route.
    Blackhole {
        /// Of which block.
        destination: Prefix,
    },
}
