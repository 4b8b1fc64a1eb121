//! What is: the observed part of the kernel, one [`Space`] per namespace. A world holds only what
//! its scope asked for; an object outside the scope is unknown, not absent.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

use bulkhead_model::{IfName, InterfaceAddress, LinkGroup, Mac, Mtu, Prefix};
use bulkhead_nft as nft;

use crate::{IpsecState, Ns, Shape, Stranger, Switch, Sysctl};

/// Everything observed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct World {
    /// What the kernel can do.
    pub features: Features,
    /// One entry for every namespace in the scope; none for a network's own that there is not.
    pub spaces: BTreeMap<Ns, Space>,
    /// Networks' own namespaces that are found at their paths. One that is held open elsewhere and is not
    /// is a space nevertheless.
    pub named: BTreeSet<Ns>,
}

impl World {
    /// The space of `ns`; an empty one if the scope did not name it.
    #[must_use]
    pub fn space(&self, ns: &Ns) -> &Space {
        static EMPTY: Space = Space::new();
        self.spaces.get(ns).unwrap_or(&EMPTY)
    }

    /// The world as it is seen where `ns` plays the node's part.
    pub(crate) fn within(&self, ns: &Ns) -> Self {
        let others = self.spaces.iter();
        let others = others.filter(|(other, _)| **other != Ns::Host && *other != ns);
        let node = [(&Ns::Host, self.space(ns))];
        let spaces = others.chain(node);
        Self {
            features: self.features,
            spaces: spaces
                .map(|(ns, space)| (ns.clone(), space.clone()))
                .collect(),
            named: self.named.clone(),
        }
    }
}

/// What this kernel can do, found by probing, never by version alone.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Features {
    /// A netdev base chain can be bound to a device-name prefix (`NFTA_DEVICE_PREFIX`, 6.17).
    pub device_prefix: bool,
    /// A bridge port limits the multicast groups it joins (`IFLA_BRPORT_MCAST_MAX_GROUPS`, 6.3).
    pub group_limit: bool,
    /// What is in the doomed group goes without being asked for: a reaper of this process takes it.
    pub reaps: bool,
}

impl Features {
    /// What of a port's attributes this kernel has.
    #[must_use]
    pub fn possible(self, flags: PortFlags) -> PortFlags {
        let max_groups = flags.max_groups.filter(|_| self.group_limit);
        PortFlags {
            max_groups,
            ..flags
        }
    }
}

/// One namespace.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Space {
    /// Whether the namespace has IPv6 at all (`/proc/sys/net/ipv6` exists).
    pub ipv6: bool,
    /// Links asked for by name, and the ports of bridges asked for.
    pub links: BTreeMap<IfName, Link>,
    /// Addresses of the links asked for.
    pub addresses: BTreeMap<(IfName, InterfaceAddress), AddressState>,
    /// Unicast routes of the main table, all or to the destinations asked for, without the kernel's own
    /// (`RTPROT_KERNEL`) and without cloned ones.
    pub routes: BTreeSet<Route>,
    /// Of those routes, the ones with our protocol number.
    pub own_routes: BTreeSet<Route>,
    /// Routes of others in the main table to the destinations asked for, the kernel's included.
    pub strangers: BTreeSet<Stranger>,
    /// Destinations of blackhole routes of ours: [`BLACKHOLE_PRIORITY`](crate::BLACKHOLE_PRIORITY), main
    /// table, our protocol number.
    pub blackholes: BTreeSet<Prefix>,
    /// Neighbour entries asked for by key, and all of the links whose were asked for.
    pub neighbours: BTreeMap<(IfName, IpAddr), NeighbourState>,
    /// FDB entries of the VXLAN devices whose were asked for, by device and MAC; all zeros is where goes
    /// what has no entry.
    pub fdb: BTreeMap<(IfName, [u8; 6]), FdbEntry>,
    /// Whether the links asked about leave the checksums of what they send to whoever sends it on
    /// (`NETIF_F_HW_CSUM`, `linux/netdev_features.h`); absent where the kernel does not tell.
    pub tx_checksums: BTreeMap<IfName, Switch>,
    /// What there is of `IPsec`, if it was asked for.
    pub ipsec: IpsecState,
    /// Of the bridge ports and MACs asked about, those that the bridge is told of (`NUD_NOARP`): it sends
    /// frames to the MAC there, and learns nothing else.
    pub stations: BTreeSet<(IfName, Mac)>,
    /// How packets to the addresses asked about leave; absent if they go nowhere, or stay here.
    pub reach: BTreeMap<IpAddr, Reach>,
    /// Of the addresses asked about, those that are the namespace's own.
    pub local: BTreeSet<IpAddr>,
    /// UDP flows to local addresses and the ports asked about.
    pub flows: BTreeSet<Flow>,
    /// Sysctls asked for; absent if the file does not exist.
    pub sysctls: BTreeMap<Sysctl, String>,
    /// Tables asked for; absent if they do not exist.
    pub tables: BTreeMap<nft::TableId, TableState>,
    /// The ruleset's generation when its tables were read (`NFTA_GEN_ID`); `None` if none was.
    pub generation: Option<u32>,
}

impl Space {
    const fn new() -> Self {
        Self {
            ipv6: false,
            links: BTreeMap::new(),
            addresses: BTreeMap::new(),
            routes: BTreeSet::new(),
            own_routes: BTreeSet::new(),
            strangers: BTreeSet::new(),
            blackholes: BTreeSet::new(),
            neighbours: BTreeMap::new(),
            fdb: BTreeMap::new(),
            tx_checksums: BTreeMap::new(),
            ipsec: IpsecState {
                states: BTreeMap::new(),
                policies: BTreeMap::new(),
            },
            stations: BTreeSet::new(),
            reach: BTreeMap::new(),
            local: BTreeSet::new(),
            flows: BTreeSet::new(),
            sysctls: BTreeMap::new(),
            tables: BTreeMap::new(),
            generation: None,
        }
    }
}

/// The generation after one more commit: never 0, with which a transaction says that any will do
/// (`nf_tables_commit`, `nf_tables_valid_genid`, `net/netfilter/nf_tables_api.c`).
pub(crate) const fn next_generation(read: u32) -> u32 {
    match read.wrapping_add(1) {
        0 => 1,
        next => next,
    }
}

/// One link.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the kernel's flags, each on its own"
)]
pub struct Link {
    /// What made it.
    pub kind: LinkKind,
    /// Its MAC; `None` for a link that has none or a group address.
    pub mac: Option<Mac>,
    /// Its MTU.
    pub mtu: Mtu,
    /// `IFF_UP`.
    pub up: bool,
    /// `IFF_PROMISC` as set by an administrator.
    pub promiscuous: bool,
    /// `IFLA_GROUP`.
    pub group: LinkGroup,
    /// The bridge it is a port of.
    pub bridge: Option<IfName>,
    /// Its attributes as a bridge port; default unless it is one.
    pub port: PortFlags,
    /// Whether the kernel makes a link-local address when the link comes up
    /// (`IFLA_INET6_ADDR_GEN_MODE` is not `none`).
    pub forms_link_local: bool,
    /// Whether it is a bridge that learns from frames to 01:80:c2:00:00:00-0f, which it does not forward
    /// (`BR_BOOLOPT_NO_LL_LEARN` is off, `linux/if_bridge.h`).
    pub learns_link_local: bool,
    /// Its root queueing discipline, if that is a token bucket filter.
    pub shape: Option<Shape>,
}

impl Link {
    /// Whether we made it.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.group == LinkGroup::OWNED || self.group == LinkGroup::DOOMED
    }
}

/// What a link is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LinkKind {
    /// A Linux bridge.
    Bridge,
    /// One end of a veth pair, with the other end if that is in the scope too.
    Veth {
        /// Namespace and name of the other end.
        peer: Option<(Ns, IfName)>,
    },
    /// A VXLAN device.
    Vxlan(Vxlan),
    /// Anything else, by `IFLA_INFO_KIND`; empty for a physical device.
    Other(String),
}

/// A VXLAN device (`IFLA_VXLAN_*`, `linux/if_link.h`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Vxlan {
    /// The network's identifier; 0 for a device that takes it from each packet.
    pub vni: u32,
    /// The UDP port.
    pub port: u16,
    /// The address it sends from and listens on the family of.
    pub local: Option<IpAddr>,
    /// Where frames go whose MAC has no FDB entry: one remote address, or a group.
    pub flood: Option<IpAddr>,
    /// Whether it makes FDB entries of what it receives.
    pub learning: bool,
    /// What of IPv4's don't-fragment bit is set on the packets it sends.
    pub df: DontFragment,
    /// Whether it answers who has an address from its neighbour entries, and sends no such question on
    /// (`VXLAN_F_PROXY`).
    pub proxy: bool,
}

impl Vxlan {
    /// Whether the kernel has both at a time (`vxlan_vni_in_use`, `drivers/net/vxlan/vxlan_core.c`).
    #[must_use]
    pub fn excludes(&self, other: &Self) -> bool {
        let is_ipv6 = |it: &Self| {
            it.local
                .or(it.flood)
                .is_some_and(|address| address.is_ipv6())
        };
        self.vni == other.vni && self.port == other.port && is_ipv6(self) == is_ipv6(other)
    }
}

/// The don't-fragment bit of packets that a tunnel sends over IPv4 (`enum ifla_vxlan_df`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum DontFragment {
    /// Off: the underlay fragments what does not fit.
    #[default]
    Unset,
    /// On: what does not fit comes back as an error, to whoever sent it.
    Set,
    /// As in the packet inside.
    Inherit,
}

/// What an FDB entry of a VXLAN device says of a MAC.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FdbEntry {
    /// Where frames to it are sent, to each.
    pub remotes: BTreeSet<IpAddr>,
    /// Whether it is permanent, and of the device's own port and network.
    pub plain: bool,
}

/// How packets to an address leave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reach {
    /// By which link.
    pub link: IfName,
    /// To which next hop; `None` if the address is on the link itself.
    pub gateway: Option<IpAddr>,
}

/// Attributes of a bridge port (`IFLA_BRPORT_*`, `linux/if_link.h`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the kernel's flags, each on its own"
)]
pub struct PortFlags {
    /// A frame may leave by the port it came in by (`IFLA_BRPORT_MODE`).
    pub hairpin: bool,
    /// No frame passes between two isolated ports (`IFLA_BRPORT_ISOLATED`).
    pub isolated: bool,
    /// The bridge learns no MAC from what comes in by it (`IFLA_BRPORT_LEARNING` is off).
    pub untaught: bool,
    /// Frames to a MAC that nobody is known to have do not leave by it (`IFLA_BRPORT_UNICAST_FLOOD` is
    /// off).
    pub known_only: bool,
    /// Whether what it hears makes it a port to multicast routers (`IFLA_BRPORT_MULTICAST_ROUTER`).
    pub multicast_router: MulticastRouter,
    /// How many multicast groups may be joined through it (`IFLA_BRPORT_MCAST_MAX_GROUPS`); `None` for
    /// any number. A kernel before 6.3 has no such limit.
    pub max_groups: Option<NonZeroU32>,
}

/// Whether a port leads to multicast routers, which get every group's frames.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum MulticastRouter {
    /// If a query or a router's hello was heard there (`MDB_RTR_TYPE_TEMP_QUERY`).
    #[default]
    Learned,
    /// Never (`MDB_RTR_TYPE_DISABLED`).
    Never,
    /// Always (`MDB_RTR_TYPE_PERM`).
    Always,
}

/// How a neighbour entry stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NeighbourState {
    /// The MAC it leads to.
    pub mac: Mac,
    /// `NUD_PERMANENT`.
    pub permanent: bool,
}

/// How an address stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct AddressState {
    /// Duplicate address detection has not finished, or found a duplicate.
    pub tentative: bool,
    /// Its link is up and the main table has no route to its prefix on it, which the kernel makes with
    /// the address: somebody removed it. Known where routes are asked for.
    pub unrouted: bool,
    /// Whether the kernel made a route to its prefix with it (`IFA_F_NOPREFIXROUTE` is off).
    pub on_link: OnLink,
}

/// Whether the prefix of an address is on its link.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnLink {
    /// It is: the kernel makes a route to it with the address.
    #[default]
    Prefix,
    /// The address alone is (`IFA_F_NOPREFIXROUTE`, `linux/if_addr.h`).
    Nothing,
}

/// A unicast route.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Route {
    /// Destination.
    pub destination: Prefix,
    /// Next hop; `None` for a destination on the link itself.
    pub gateway: Option<IpAddr>,
    /// Outgoing link.
    pub link: IfName,
    /// `RTA_PRIORITY`. In a want, `None` leaves the choice to the planner; observed, always `Some`.
    pub priority: Option<u32>,
    /// `RTA_TABLE`; 254 is main.
    pub table: u32,
    /// `rtm_scope`; `None` in a want: global with a gateway, link without.
    pub scope: Option<u8>,
    /// `RTAX_MTU`.
    pub mtu: Option<u32>,
    /// `RTAX_ADVMSS`.
    pub advmss: Option<u32>,
}

/// A tracked UDP flow, as the first packet made it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Flow {
    /// Who sends.
    pub source: SocketAddr,
    /// Whom it is sent to.
    pub destination: SocketAddr,
    /// Who answers: the destination, or what it is translated to.
    pub answerer: SocketAddr,
}

/// An nftables table, as far as it was asked for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TableState {
    /// The table's comment, where we keep schema and fingerprint.
    pub comment: Option<String>,
    /// Rules per chain.
    pub chains: BTreeMap<nft::Name, usize>,
    /// Elements present, of those asked for, per set.
    pub elements: BTreeMap<nft::Name, BTreeSet<nft::Key>>,
    /// Prefixes present, per set of prefixes that was asked for whole.
    pub prefixes: BTreeMap<nft::Name, BTreeSet<Prefix>>,
    /// Ranges present, per map of ranges that was asked for whole.
    pub ranges: BTreeMap<nft::Name, nft::FoundRanges>,
    /// Entries present, of those asked for, per map.
    pub maps: BTreeMap<nft::Name, BTreeMap<nft::Key, nft::FoundEntry>>,
}
