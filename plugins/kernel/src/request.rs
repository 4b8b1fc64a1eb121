//! Operations as rtnetlink requests. Objects are named by index, the one that was observed or
//! created: a stranger's link that took over a name is never hit.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, BorrowedFd};

use bulkhead_model::{
    Family, IfName, InterfaceAddress, LinkGroup, Mac, Mtu, Prefix, ROUTE_PROTOCOL,
};
use bulkhead_plan::{
    BLACKHOLE_PRIORITY, Dad, DontFragment, MAIN_TABLE, MulticastRouter, Neighbour, OnLink,
    PortFlags, Route, Shape, Switch, Vxlan,
};
use netlink_packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL, NLM_F_REPLACE,
    NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, BridgeBooleanOptionFlags, BridgeBooleanOptions,
    BridgeMulticastRouterType, In6AddrGenMode, InfoBridge, InfoBridgePort, InfoData, InfoKind,
    InfoPortData, InfoPortKind, InfoVeth, InfoVxlan, LinkAttribute, LinkExtentMask, LinkFlags,
    LinkInfo, LinkMessage, VxlanDf,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric,
    RouteProtocol, RouteScope, RouteType, RouteVia,
};
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::shape;

/// Fails if the object is there already.
const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;
/// And shows what was created, where the kernel does (6.2).
const NEW_SHOWN: u16 = NEW | NLM_F_ECHO;
const TCA_OPTIONS: u16 = 2;

/// One end of a link to be created.
pub(crate) struct End {
    pub(crate) name: IfName,
    pub(crate) mac: Mac,
}

pub(crate) fn add_bridge(name: IfName, mac: Mac, mtu: Mtu) -> Vec<u8> {
    let mut message = LinkMessage::default();
    message.attributes = named(&End { name, mac }, mtu);
    message
        .attributes
        .push(LinkAttribute::Group(LinkGroup::OWNED.0));
    message
        .attributes
        .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(
            InfoKind::Bridge,
        )]));
    encode(RouteNetlinkMessage::NewLink(message), NEW_SHOWN)
}

pub(crate) fn add_ifb(name: IfName, mac: Mac, mtu: Mtu) -> Vec<u8> {
    let mut message = LinkMessage::default();
    message.attributes = named(&End { name, mac }, mtu);
    message.attributes.extend(one_queue());
    message
        .attributes
        .push(LinkAttribute::Group(LinkGroup::OWNED.0));
    message
        .attributes
        .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Ifb)]));
    encode(RouteNetlinkMessage::NewLink(message), NEW_SHOWN)
}

/// A VXLAN device. What is not said is as the kernel has it: UDP checksums on, over IPv6 needed too; the
/// hop limit of the node's own packets; no FDB entry of the kernel's making, for it has no remote. `netns` is
/// where it goes if that is another namespace than its socket's, which is the one that is asked.
pub(crate) fn add_vxlan(
    end: &End,
    mtu: Mtu,
    vxlan: &Vxlan,
    netns: Option<BorrowedFd<'_>>,
) -> Vec<u8> {
    let mut data = vec![
        InfoVxlan::Id(vxlan.vni),
        InfoVxlan::Port(vxlan.port),
        InfoVxlan::Learning(vxlan.learning),
        InfoVxlan::Df(match vxlan.df {
            DontFragment::Unset => VxlanDf::Unset,
            DontFragment::Set => VxlanDf::Set,
            DontFragment::Inherit => VxlanDf::Inherit,
        }),
    ];
    data.extend(vxlan.local.map(|local| match local {
        IpAddr::V4(v4) => InfoVxlan::Local(v4),
        IpAddr::V6(v6) => InfoVxlan::Local6(v6),
    }));
    data.extend(vxlan.flood.map(|flood| match flood {
        IpAddr::V4(v4) => InfoVxlan::Group(v4),
        IpAddr::V6(v6) => InfoVxlan::Group6(v6),
    }));
    data.extend(vxlan.proxy.then_some(InfoVxlan::Proxy(true)));
    let mut message = LinkMessage::default();
    message.attributes = named(end, mtu);
    message
        .attributes
        .push(LinkAttribute::Group(LinkGroup::OWNED.0));
    message
        .attributes
        .extend(netns.map(|fd| LinkAttribute::NetNsFd(fd.as_raw_fd())));
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Vxlan),
        LinkInfo::Data(InfoData::Vxlan(data)),
    ]));
    encode(RouteNetlinkMessage::NewLink(message), NEW_SHOWN)
}

/// A veth pair. Queue counts are given because the kernel waits two RCU grace periods to find its own
/// (`veth_init_queues`, `drivers/net/veth.c`). `netns` is the interface's namespace if it differs.
pub(crate) fn add_veth(
    port: &End,
    interface: &End,
    mtu: Mtu,
    bridge: Option<u32>,
    netns: Option<BorrowedFd<'_>>,
) -> Vec<u8> {
    let mut peer = LinkMessage::default();
    peer.attributes = named(interface, mtu);
    peer.attributes.extend(one_queue());
    peer.attributes
        .extend(netns.map(|fd| LinkAttribute::NetNsFd(fd.as_raw_fd())));
    let mut message = LinkMessage::default();
    message.attributes = named(port, mtu);
    message.attributes.extend(one_queue());
    message
        .attributes
        .push(LinkAttribute::Group(LinkGroup::OWNED.0));
    message
        .attributes
        .extend(bridge.map(LinkAttribute::Controller));
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    encode(RouteNetlinkMessage::NewLink(message), NEW_SHOWN)
}

fn named(end: &End, mtu: Mtu) -> Vec<LinkAttribute> {
    vec![
        LinkAttribute::IfName(end.name.to_string()),
        LinkAttribute::Address(end.mac.octets().to_vec()),
        LinkAttribute::Mtu(mtu.bytes()),
    ]
}

fn one_queue() -> [LinkAttribute; 2] {
    [LinkAttribute::NumTxQueues(1), LinkAttribute::NumRxQueues(1)]
}

/// A change to an existing link: one attribute.
pub(crate) fn set_link(index: u32, attribute: LinkAttribute) -> Vec<u8> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(attribute);
    encode(RouteNetlinkMessage::SetLink(message), 0)
}

/// A change to one flag of an existing link.
pub(crate) fn set_flag(index: u32, flag: LinkFlags, switch: Switch) -> Vec<u8> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.change_mask = flag;
    if switch == Switch::On {
        message.header.flags = flag;
    }
    encode(RouteNetlinkMessage::SetLink(message), 0)
}

pub(crate) fn no_link_local(index: u32) -> Vec<u8> {
    let inet6 = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
    set_link(index, LinkAttribute::AfSpecUnspec(vec![inet6]))
}

/// Port attributes as a change of the bridge's own data about the link.
pub(crate) fn set_port(index: u32, flags: PortFlags) -> Vec<u8> {
    port_data(
        index,
        vec![
            InfoBridgePort::HairpinMode(flags.hairpin),
            InfoBridgePort::Isolated(flags.isolated),
            InfoBridgePort::Learning(!flags.untaught),
            InfoBridgePort::UnicastFlood(!flags.known_only),
            InfoBridgePort::MulticastRouter(match flags.multicast_router {
                MulticastRouter::Learned => BridgeMulticastRouterType::TempQuery,
                MulticastRouter::Never => BridgeMulticastRouterType::Disabled,
                MulticastRouter::Always => BridgeMulticastRouterType::Permanent,
            }),
            InfoBridgePort::MulticastMaxGroups(flags.max_groups.map_or(0, NonZeroU32::get)),
        ],
    )
}

/// One of them alone.
pub(crate) fn set_groups(index: u32, groups: NonZeroU32) -> Vec<u8> {
    port_data(
        index,
        vec![InfoBridgePort::MulticastMaxGroups(groups.get())],
    )
}

fn port_data(index: u32, attributes: Vec<InfoBridgePort>) -> Vec<u8> {
    let data = InfoPortData::BridgePort(attributes);
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(data),
    ]));
    encode(RouteNetlinkMessage::NewLink(message), 0)
}

/// The bridge learns from no frame to a link-local group.
pub(crate) fn no_link_local_learning(index: u32) -> Vec<u8> {
    let option = BridgeBooleanOptionFlags::NoLinkLocalLearn;
    let options = InfoBridge::MultiBoolOpt(BridgeBooleanOptions {
        value: option,
        mask: option,
    });
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Bridge),
        LinkInfo::Data(InfoData::Bridge(vec![options])),
    ]));
    encode(RouteNetlinkMessage::NewLink(message), 0)
}

pub(crate) fn del_link(index: u32) -> Vec<u8> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    encode(RouteNetlinkMessage::DelLink(message), 0)
}

/// Deletes every link of the group at once (`rtnl_group_dellink`, `net/core/rtnetlink.c`).
pub(crate) fn del_group(group: LinkGroup) -> Vec<u8> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::Group(group.0));
    encode(RouteNetlinkMessage::DelLink(message), 0)
}

/// Puts a token bucket filter at the root, or changes the one there.
pub(crate) fn set_shape(index: u32, shape: &Shape) -> Vec<u8> {
    let options: Vec<u8> = shape::options(shape).concat();
    let mut message = root_qdisc(index);
    message.attributes = vec![
        TcAttribute::Kind(shape::KIND.to_owned()),
        TcAttribute::Other(DefaultNla::new(TCA_OPTIONS, options)),
    ];
    encode(
        RouteNetlinkMessage::NewQueueDiscipline(message),
        NLM_F_CREATE | NLM_F_REPLACE,
    )
}

/// Asks for the qdisc at the root; a default one is not shown. The kernel tells those who listen to
/// queueing disciplines, and who asks only with the echo flag (`qdisc_get_notify`,
/// `net/sched/sch_api.c`).
pub(crate) fn get_root_qdisc(index: u32) -> Vec<u8> {
    encode(
        RouteNetlinkMessage::GetQueueDiscipline(root_qdisc(index)),
        NLM_F_ECHO | NLM_F_ACK,
    )
}

fn root_qdisc(index: u32) -> TcMessage {
    let mut message = TcMessage::with_index(index.cast_signed());
    message.header.parent = TcHandle::ROOT;
    message
}

/// Which links to ask for.
pub(crate) enum Links {
    Named(IfName),
    Indexed(u32),
    PortsOf(u32),
    Vxlans,
    All,
}

pub(crate) fn get_links(which: &Links) -> Vec<u8> {
    let mut message = LinkMessage::default();
    // Statistics are most of a link's answer, and nobody here reads them.
    let mask = LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]);
    message.attributes.push(mask);
    match which {
        Links::Named(name) => message
            .attributes
            .push(LinkAttribute::IfName(name.to_string())),
        Links::Indexed(index) => message.header.index = *index,
        Links::PortsOf(bridge) => message.attributes.push(LinkAttribute::Controller(*bridge)),
        Links::Vxlans => {
            let kind = LinkInfo::Kind(InfoKind::Vxlan);
            message.attributes.push(LinkAttribute::LinkInfo(vec![kind]));
        }
        Links::All => {}
    }
    encode(RouteNetlinkMessage::GetLink(message), 0)
}

pub(crate) fn add_address(
    index: u32,
    address: InterfaceAddress,
    dad: Dad,
    on_link: OnLink,
) -> Vec<u8> {
    let mut message = address_message(index, address);
    if address.address().is_loopback() {
        message.header.scope = AddressScope::Host;
    }
    let mut flags = AddressFlags::empty();
    if dad == Dad::Skip && address.family() == Family::V6 {
        flags |= AddressFlags::Nodad;
    }
    if on_link == OnLink::Nothing {
        flags |= AddressFlags::Noprefixroute;
    }
    if !flags.is_empty() {
        message.attributes.push(AddressAttribute::Flags(flags));
    }
    encode(RouteNetlinkMessage::NewAddress(message), NEW)
}

pub(crate) fn del_address(index: u32, address: InterfaceAddress) -> Vec<u8> {
    encode(
        RouteNetlinkMessage::DelAddress(address_message(index, address)),
        0,
    )
}

fn address_message(index: u32, address: InterfaceAddress) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address.family());
    message.header.prefix_len = address.len();
    message.header.index = index;
    message.attributes = vec![
        AddressAttribute::Local(address.address()),
        AddressAttribute::Address(address.address()),
    ];
    message
}

/// Every link's when `index` is 0.
pub(crate) fn get_addresses(index: u32) -> Vec<u8> {
    let mut message = AddressMessage::default();
    message.header.index = index;
    encode(RouteNetlinkMessage::GetAddress(message), 0)
}

pub(crate) fn add_route(index: u32, route: &Route) -> Vec<u8> {
    encode(
        RouteNetlinkMessage::NewRoute(route_message(index, route)),
        NEW,
    )
}

/// Of IPv6 the kernel replaces one with a next hop by one with a next hop, and all next hops of several
/// (`fib6_add_rt2node`, `net/ipv6/ip6_fib.c`).
pub(crate) fn replace_route(index: u32, route: &Route) -> Vec<u8> {
    encode(
        RouteNetlinkMessage::NewRoute(route_message(index, route)),
        NLM_F_CREATE | NLM_F_REPLACE,
    )
}

pub(crate) fn del_route(index: u32, route: &Route) -> Vec<u8> {
    encode(
        RouteNetlinkMessage::DelRoute(route_message(index, route)),
        0,
    )
}

fn route_message(index: u32, route: &Route) -> RouteMessage {
    let own = route.destination.family();
    let mut message = RouteMessage::default();
    message.header.address_family = family(own);
    message.header.destination_prefix_length = route.destination.len();
    message.header.protocol = RouteProtocol::from(ROUTE_PROTOCOL);
    message.header.kind = RouteType::Unicast;
    message.header.scope = scope(route);
    message.attributes = vec![
        RouteAttribute::Destination(route_address(route.destination.address())),
        RouteAttribute::Oif(index),
    ];
    match u8::try_from(route.table) {
        Ok(table) => message.header.table = table,
        Err(_) => message.attributes.push(RouteAttribute::Table(route.table)),
    }
    message
        .attributes
        .extend(route.gateway.map(|gateway| match gateway {
            IpAddr::V6(via) if own == Family::V4 => RouteAttribute::Via(RouteVia::Inet6(via)),
            gateway => RouteAttribute::Gateway(route_address(gateway)),
        }));
    message
        .attributes
        .extend(route.priority.map(RouteAttribute::Priority));
    let metrics = [
        route.mtu.map(RouteMetric::Mtu),
        route.advmss.map(RouteMetric::Advmss),
    ];
    let metrics: Vec<_> = metrics.into_iter().flatten().collect();
    if !metrics.is_empty() {
        message.attributes.push(RouteAttribute::Metrics(metrics));
    }
    message
}

/// A blackhole route of ours, to be added or removed.
fn blackhole(destination: Prefix) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(destination.family());
    message.header.destination_prefix_length = destination.len();
    message.header.protocol = RouteProtocol::from(ROUTE_PROTOCOL);
    message.header.kind = RouteType::BlackHole;
    message.header.scope = RouteScope::Universe;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.attributes = vec![
        RouteAttribute::Destination(route_address(destination.address())),
        RouteAttribute::Priority(BLACKHOLE_PRIORITY),
    ];
    message
}

pub(crate) fn add_blackhole(destination: Prefix) -> Vec<u8> {
    encode(RouteNetlinkMessage::NewRoute(blackhole(destination)), NEW)
}

pub(crate) fn del_blackhole(destination: Prefix) -> Vec<u8> {
    encode(RouteNetlinkMessage::DelRoute(blackhole(destination)), 0)
}

/// Asks for the blackhole routes of ours. The kernel looks at every route of the table and answers with
/// those (`fn_trie_dump_leaf`, `net/ipv4/fib_trie.c`; `rt6_dump_route`, `net/ipv6/route.c`).
pub(crate) fn get_blackholes(of: Family) -> Vec<u8> {
    let mut message = RouteMessage::default();
    message.header.address_family = family(of);
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::from(ROUTE_PROTOCOL);
    message.header.kind = RouteType::BlackHole;
    message.attributes.push(RouteAttribute::Table(MAIN_TABLE));
    encode(RouteNetlinkMessage::GetRoute(message), 0)
}

/// Asks for the route that a packet to the address would take, as it stands in its table.
pub(crate) fn get_best_route(to: IpAddr) -> Vec<u8> {
    let mut message = route_to(to);
    message.header.flags = RouteFlags::FibMatch;
    encode(RouteNetlinkMessage::GetRoute(message), 0)
}

/// `ip route` defaults likewise: universe with a gateway, link without; IPv6 knows no scopes.
fn scope(route: &Route) -> RouteScope {
    match route.scope {
        Some(scope) => RouteScope::from(scope),
        None if route.gateway.is_none() && route.destination.family() == Family::V4 => {
            RouteScope::Link
        }
        None => RouteScope::Universe,
    }
}

pub(crate) fn get_main_routes(of: Family) -> Vec<u8> {
    let mut message = RouteMessage::default();
    message.header.address_family = family(of);
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.kind = RouteType::Unicast;
    message.attributes.push(RouteAttribute::Table(MAIN_TABLE));
    encode(RouteNetlinkMessage::GetRoute(message), 0)
}

/// Every route of the main table, of whatever kind.
pub(crate) fn get_all_routes(of: Family) -> Vec<u8> {
    let mut message = RouteMessage::default();
    message.header.address_family = family(of);
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.attributes.push(RouteAttribute::Table(MAIN_TABLE));
    encode(RouteNetlinkMessage::GetRoute(message), 0)
}

/// The same, only those with our protocol number: the kernel looks at every route and answers with these.
pub(crate) fn get_own_routes(of: Family) -> Vec<u8> {
    let mut message = RouteMessage::default();
    message.header.address_family = family(of);
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::from(ROUTE_PROTOCOL);
    message.header.kind = RouteType::Unicast;
    message.attributes.push(RouteAttribute::Table(MAIN_TABLE));
    encode(RouteNetlinkMessage::GetRoute(message), 0)
}

/// Asks which way a packet to the address would go.
pub(crate) fn get_route(to: IpAddr) -> Vec<u8> {
    encode(RouteNetlinkMessage::GetRoute(route_to(to)), 0)
}

/// The same of a packet that comes in from an address by a link.
pub(crate) fn get_route_in(to: IpAddr, from: IpAddr, by: u32) -> Vec<u8> {
    let mut message = route_to(to);
    message.header.source_prefix_length = Family::of(from).bits();
    message.attributes.extend([
        RouteAttribute::Source(route_address(from)),
        RouteAttribute::Iif(by),
    ]);
    encode(RouteNetlinkMessage::GetRoute(message), 0)
}

fn route_to(to: IpAddr) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(Family::of(to));
    message.header.destination_prefix_length = Family::of(to).bits();
    message
        .attributes
        .push(RouteAttribute::Destination(route_address(to)));
    message
}

/// Makes a neighbour entry permanent, whatever there is.
pub(crate) fn set_neighbour(index: u32, entry: Neighbour) -> Vec<u8> {
    let mut message = neighbour(index, entry.address);
    message.header.state = NeighbourState::Permanent;
    message
        .attributes
        .push(NeighbourAttribute::LinkLayerAddress(
            entry.mac.octets().to_vec(),
        ));
    encode(
        RouteNetlinkMessage::NewNeighbour(message),
        NLM_F_CREATE | NLM_F_REPLACE,
    )
}

pub(crate) fn del_neighbour(index: u32, address: IpAddr) -> Vec<u8> {
    encode(
        RouteNetlinkMessage::DelNeighbour(neighbour(index, address)),
        0,
    )
}

/// Whether it is one of [`del_neighbour`] or [`del_fdb`], or of [`del_route`] or [`del_blackhole`].
pub(crate) fn deletes(request: &[u8]) -> Option<Deletes> {
    /// `linux/rtnetlink.h`.
    const RTM_DELROUTE: u16 = 25;
    const RTM_DELNEIGH: u16 = 29;
    /// Where `rtm_type` is, behind the netlink header, and its value for a destination.
    const TYPE: usize = 16 + 7;
    const RTN_UNICAST: u8 = 1;
    match u16::from_ne_bytes(request.get(4..6)?.try_into().ok()?) {
        RTM_DELNEIGH => Some(Deletes::Neighbour),
        RTM_DELROUTE if request.get(TYPE) == Some(&RTN_UNICAST) => Some(Deletes::Route),
        _ => None,
    }
}

/// What a request deletes that may be gone already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Deletes {
    Neighbour,
    Route,
}

/// Makes a permanent FDB entry of a device's own, in place of the one to another remote.
pub(crate) fn set_fdb(index: u32, mac: Mac, remote: IpAddr) -> Vec<u8> {
    let mut message = fdb(index, mac.octets());
    message.header.state = NeighbourState::Permanent;
    let remote = NeighbourAttribute::Destination(neighbour_address(remote));
    message.attributes.push(remote);
    encode(
        RouteNetlinkMessage::NewNeighbour(message),
        NLM_F_CREATE | NLM_F_REPLACE,
    )
}

/// Adds one more remote to those of what has no entry.
pub(crate) fn add_flood(index: u32, remote: IpAddr) -> Vec<u8> {
    let mut message = fdb(index, [0; 6]);
    message.header.state = NeighbourState::Permanent;
    let remote = NeighbourAttribute::Destination(neighbour_address(remote));
    message.attributes.push(remote);
    encode(
        RouteNetlinkMessage::NewNeighbour(message),
        NLM_F_CREATE | NLM_F_APPEND,
    )
}

/// Tells a bridge that a MAC is behind its port. Static is `NUD_NOARP` here: a permanent entry would be of
/// the bridge itself (`fdb_add_entry`, `net/bridge/br_fdb.c`).
pub(crate) fn set_station(index: u32, mac: Mac) -> Vec<u8> {
    let mut message = fdb(index, mac.octets());
    message.header.flags = NeighbourFlags::Controller;
    message.header.state = NeighbourState::Noarp;
    encode(
        RouteNetlinkMessage::NewNeighbour(message),
        NLM_F_CREATE | NLM_F_REPLACE,
    )
}

/// Asks a bridge what it knows of a MAC behind its port.
pub(crate) fn get_station(index: u32, mac: Mac) -> Vec<u8> {
    let mut message = fdb(index, mac.octets());
    message.header.flags = NeighbourFlags::Controller;
    encode(RouteNetlinkMessage::GetNeighbour(message), 0)
}

/// Without a remote it is about all of them (`__vxlan_fdb_delete`, `drivers/net/vxlan/vxlan_core.c`).
pub(crate) fn del_fdb(index: u32, mac: [u8; 6]) -> Vec<u8> {
    encode(RouteNetlinkMessage::DelNeighbour(fdb(index, mac)), 0)
}

fn fdb(index: u32, mac: [u8; 6]) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = index;
    message.header.flags = NeighbourFlags::Own;
    message.attributes = vec![NeighbourAttribute::LinkLayerAddress(mac.to_vec())];
    message
}

/// Asks for the FDB of a device.
pub(crate) fn get_fdb(index: u32) -> Vec<u8> {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = index;
    encode(RouteNetlinkMessage::GetNeighbour(message), 0)
}

/// Asks for the neighbour entries on a link, of both families.
pub(crate) fn get_neighbours(index: u32) -> Vec<u8> {
    let mut message = NeighbourMessage::default();
    message.attributes = vec![NeighbourAttribute::IfIndex(index)];
    encode(RouteNetlinkMessage::GetNeighbour(message), 0)
}

pub(crate) fn get_neighbour(index: u32, address: IpAddr) -> Vec<u8> {
    encode(
        RouteNetlinkMessage::GetNeighbour(neighbour(index, address)),
        0,
    )
}

fn neighbour(index: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(Family::of(address));
    message.header.ifindex = index;
    let address = NeighbourAttribute::Destination(neighbour_address(address));
    message.attributes.push(address);
    message
}

fn neighbour_address(address: IpAddr) -> NeighbourAddress {
    match address {
        IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
        IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
    }
}

fn family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

fn route_address(address: IpAddr) -> RouteAddress {
    match address {
        IpAddr::V4(v4) => RouteAddress::Inet(v4),
        IpAddr::V6(v6) => RouteAddress::Inet6(v6),
    }
}

/// A request with its own flags; what every request has is added when it is sent.
fn encode(message: RouteNetlinkMessage, flags: u16) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len().next_multiple_of(4)];
    packet.serialize(&mut bytes);
    bytes
}
