//! The veth pair of an attachment: its port on the host and its interface in the container.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bulkhead_model::{IfName, InterfaceAddress, Mtu};

use crate::{
    Advertised, Attached, Conflict, Dad, Interface, Link, LinkKind, LinkSetting, MAIN_TABLE,
    Neighbour, NeighbourState, Ns, OnLink, Op, Place, PortFlags, Route, Shape, Space, Switch,
    Sysctl, World, filter, host_ports, point_to_point,
};

/// The loopback interface's name, in every namespace.
pub(crate) fn lo() -> IfName {
    "lo".parse().expect("two letters")
}

/// Appends what brings the loopback interface up or down; the kernel gives it its addresses.
pub(crate) fn loopback(space: &Space, ns: &Ns, up: Switch, ops: &mut Vec<Op>) {
    let name = lo();
    let set = match up {
        Switch::On => LinkSetting::Up,
        Switch::Off => LinkSetting::Down,
    };
    let found = space.links.get(&name);
    if found.is_some_and(|link| Switch::from(link.up) != up) {
        ops.push(Op::SetLink {
            ns: ns.clone(),
            name,
            set,
        });
    }
}

/// The metric of a default route that was advertised: after `IP6_RT_PRIO_USER` (1024,
/// `linux/ipv6_route.h`), which routes have that name none.
const ADVERTISED_METRIC: &str = "2048";

/// Refuses what stands in the way before anything is changed.
pub(crate) fn refuse(world: &World, want: &Attached) -> Result<(), Conflict> {
    let host = world.space(&Ns::Host);
    if host
        .links
        .get(&want.port.name)
        .is_some_and(|link| !link.is_ours())
    {
        return Err(Conflict::ForeignPort(want.port.name));
    }
    let ifb = want.filter.binding.ifb;
    if let Some(ifb) = ifb.filter(|ifb| host.links.get(ifb).is_some_and(|link| !link.is_ours())) {
        return Err(Conflict::ForeignIfb(ifb));
    }
    let container = world.space(&want.interface.ns);
    if container.links.contains_key(&want.interface.name) && pair(world, want).is_none() {
        return Err(Conflict::InterfaceExists(want.interface.name));
    }
    let v6 = want
        .interface
        .addresses
        .iter()
        .find(|a| a.address().is_ipv6());
    match v6.filter(|_| !container.ipv6) {
        Some(address) => Err(Conflict::NoIpv6(address.address())),
        None => Ok(()),
    }
}

/// Appends the pair: port down, filtered, then up; interface complete, then up.
pub(crate) fn ensure(
    world: &World,
    want: &Attached,
    mtu: Mtu,
    ops: &mut Vec<Op>,
) -> Result<(), Conflict> {
    let found = pair(world, want);
    if found.is_none() {
        create(want, mtu, ops);
    }
    port(found.map(|(port, _)| port), world, want, mtu, ops);
    interface(found.map(|(_, interface)| interface), world, want, mtu, ops)
}

/// What takes away a port of ours whose other end is not in this container: it is left from an
/// earlier one.
pub(crate) fn leftover(world: &World, want: &Attached) -> Vec<Op> {
    let mut ops = Vec::new();
    let host = world.space(&Ns::Host);
    let ours = host.links.get(&want.port.name).is_some_and(Link::is_ours);
    if ours && pair(world, want).is_none() {
        filter::discard(host, want.port.name, &mut ops);
    }
    ops
}

/// Both ends, if they exist and belong to each other.
fn pair<'w>(world: &'w World, want: &Attached) -> Option<(&'w Link, &'w Link)> {
    let port = world
        .space(&Ns::Host)
        .links
        .get(&want.port.name)
        .filter(|port| port.is_ours())?;
    let interface = world
        .space(&want.interface.ns)
        .links
        .get(&want.interface.name)?;
    let other_end = (want.interface.ns.clone(), want.interface.name);
    (port.kind
        == LinkKind::Veth {
            peer: Some(other_end),
        })
    .then_some((port, interface))
}

fn create(want: &Attached, mtu: Mtu, ops: &mut Vec<Op>) {
    ops.push(Op::AddVeth {
        ns: Ns::Host,
        port: want.port.name,
        port_mac: want.port.mac,
        bridge: want.place.bridge().map(|bridge| bridge.name),
        container: want.interface.ns.clone(),
        interface: want.interface.name,
        mac: want.interface.mac,
        mtu,
    });
}

fn port(found: Option<&Link>, world: &World, want: &Attached, mtu: Mtu, ops: &mut Vec<Op>) {
    let (ns, name) = (Ns::Host, want.port.name);
    let set = |set| Op::SetLink {
        ns: ns.clone(),
        name,
        set,
    };
    let bridge = want.place.bridge().map(|bridge| bridge.name);
    if found.is_some_and(|link| link.bridge != bridge) {
        ops.push(set(
            bridge.map_or(LinkSetting::NoBridge, LinkSetting::Bridge)
        ));
    }
    let flags = world.features.possible(want.port.flags);
    if bridge.is_some() && found.map_or(PortFlags::default(), |link| link.port) != flags {
        ops.push(Op::SetPort {
            ns: ns.clone(),
            port: name,
            flags,
        });
    }
    let station = (name, want.interface.mac);
    let told = found.is_some() && world.space(&ns).stations.contains(&station);
    if want.port.is_told && !told {
        ops.push(Op::SetStation {
            ns: ns.clone(),
            port: name,
            mac: want.interface.mac,
        });
    }
    if let Some(link) = found {
        if link.mac != Some(want.port.mac) {
            ops.push(set(LinkSetting::Mac(want.port.mac)));
        }
        if link.mtu != mtu {
            ops.push(set(LinkSetting::Mtu(mtu)));
        }
    }
    if world.space(&ns).ipv6 && found.is_none_or(|link| link.forms_link_local) {
        ops.push(set(LinkSetting::NoLinkLocal));
    }
    if let Place::PointToPoint(link) = &want.place {
        point_to_point::prepare(found, world.space(&ns), want, link, ops);
    }
    let near = bridge.unwrap_or(name);
    permanent(world.space(&ns), &ns, near, &want.neighbours, ops);
    // What the container receives is shaped where the port sends.
    if let Some(limit) = want.bandwidth.ingress {
        let shape = Shape::new(limit, mtu);
        if found.and_then(|link| link.shape) != Some(shape) {
            ops.push(Op::SetShape {
                ns: ns.clone(),
                link: name,
                shape,
            });
        }
    }
    // Fail closed: the filter stands on the port before the port can carry a frame.
    let mut commands = filter::missing(world, &want.filter);
    commands.extend(host_ports::missing(world.space(&ns), &want.host_ports.mine));
    if !commands.is_empty() {
        ops.push(filter::commit(commands));
    }
    if found.is_none_or(|link| !link.up) {
        ops.push(set(LinkSetting::Up));
    }
}

/// Appends the ifb device that shapes what the container sends: complete before anything leads to it.
pub(crate) fn ifb(world: &World, want: &Attached, mtu: Mtu, ops: &mut Vec<Op>) {
    let ns = Ns::Host;
    let (Some(limit), Some(name)) = (want.bandwidth.egress, want.filter.binding.ifb) else {
        return;
    };
    let host = world.space(&ns);
    let found = host.links.get(&name);
    let set = |set| Op::SetLink {
        ns: ns.clone(),
        name,
        set,
    };
    match found {
        None => ops.push(Op::AddIfb {
            ns: ns.clone(),
            name,
            mac: want.port.mac,
            mtu,
        }),
        Some(link) if link.mtu != mtu => ops.push(set(LinkSetting::Mtu(mtu))),
        Some(_) => {}
    }
    let shape = Shape::new(limit, mtu);
    if found.and_then(|link| link.shape) != Some(shape) {
        ops.push(Op::SetShape {
            ns: ns.clone(),
            link: name,
            shape,
        });
    }
    if host.ipv6 && found.is_none_or(|link| link.forms_link_local) {
        ops.push(set(LinkSetting::NoLinkLocal));
    }
    if found.is_none_or(|link| !link.up) {
        ops.push(set(LinkSetting::Up));
    }
}

fn interface(
    found: Option<&Link>,
    world: &World,
    want: &Attached,
    mtu: Mtu,
    ops: &mut Vec<Op>,
) -> Result<(), Conflict> {
    let Interface { ns, name, .. } = &want.interface;
    let space = world.space(ns);
    let set = |set| Op::SetLink {
        ns: ns.clone(),
        name: *name,
        set,
    };
    if found.is_some_and(|link| link.mac != Some(want.interface.mac)) {
        ops.push(set(LinkSetting::Mac(want.interface.mac)));
    }
    // The pair is made with one MTU.
    let standing = found.map_or(mtu, |link| link.mtu);
    let wanted = want.interface.mtu.unwrap_or(mtu);
    if standing != wanted {
        ops.push(set(LinkSetting::Mtu(wanted)));
    }
    sysctls(found, space, want, ops);
    let managed = !want.interface.addresses.is_empty();
    if managed && space.ipv6 && found.is_none_or(|link| link.forms_link_local) {
        ops.push(set(LinkSetting::NoLinkLocal));
    }
    let missing = missing_addresses(found, space, &want.interface);
    for address in &missing {
        let (link, dad) = (*name, want.interface.dad);
        if found.is_some() && space.addresses.contains_key(&(link, *address)) {
            ops.push(Op::DelAddress {
                ns: ns.clone(),
                link,
                address: *address,
            });
        }
        ops.push(Op::AddAddress {
            ns: ns.clone(),
            link,
            address: *address,
            dad,
            on_link: prefix_of(&want.interface, *address),
        });
    }
    let raised = want.interface.up && found.is_none_or(|link| !link.up);
    if raised {
        ops.push(set(LinkSetting::Up));
    }
    routes(space, &want.interface, ops)?;
    if raised {
        ops.push(Op::AwaitForwarding {
            ns: Ns::Host,
            port: want.port.name,
        });
    }
    settle(space, want, &missing, ops);
    // After the announcement, which drops every entry of the interface.
    let announced = ops.iter().any(|op| matches!(op, Op::Announce { .. }));
    let known = if announced { &Space::default() } else { space };
    permanent(known, ns, *name, &want.interface.neighbours, ops);
    Ok(())
}

/// Appends the permanent neighbour entries of a link that are missing, or lead elsewhere.
pub(crate) fn permanent(
    space: &Space,
    ns: &Ns,
    link: IfName,
    wanted: &[Neighbour],
    ops: &mut Vec<Op>,
) {
    for neighbour in wanted {
        let stands = NeighbourState {
            mac: neighbour.mac,
            permanent: true,
        };
        if space.neighbours.get(&(link, neighbour.address)) != Some(&stands) {
            ops.push(Op::SetNeighbour {
                ns: ns.clone(),
                link,
                neighbour: *neighbour,
            });
        }
    }
}

/// Its link-local address' prefix is always on the link: routers are reached by it.
fn prefix_of(want: &Interface, address: InterfaceAddress) -> OnLink {
    if is_link_local(address) {
        OnLink::Prefix
    } else {
        want.on_link
    }
}

/// What has to be written before the link can come up, or an advertisement received in between
/// would give it addresses and routes nobody asked for.
pub(crate) fn interface_sysctls(want: &Attached) -> Vec<(Sysctl, &'static str)> {
    let conf = |leaf| Sysctl::ipv6_conf(want.interface.name.as_str(), leaf);
    let (accept_ra, autoconf) = match want.interface.advertised {
        Advertised::Nothing => ("0", "0"),
        Advertised::Parameters => ("1", "0"),
        Advertised::Addresses => ("1", "1"),
    };
    let mut all = vec![(conf("accept_ra"), accept_ra), (conf("autoconf"), autoconf)];
    if want.interface.advertised != Advertised::Nothing {
        // Beside a route of the same metric the kernel has no place for the advertised one, and reads
        // no further (`ndisc_router_discovery`, `net/ipv6/ndisc.c`).
        all.push((conf("ra_defrtr_metric"), ADVERTISED_METRIC));
    }
    if want.place.bridge().is_none() {
        all.push((conf("accept_redirects"), "0"));
    }
    if want
        .interface
        .addresses
        .iter()
        .any(|address| address.address().is_ipv6())
    {
        all.push((conf("disable_ipv6"), "0"));
        all.push((conf("keep_addr_on_down"), "1"));
    }
    all
}

fn sysctls(found: Option<&Link>, space: &Space, want: &Attached, ops: &mut Vec<Op>) {
    if !space.ipv6 {
        return;
    }
    for (sysctl, value) in interface_sysctls(want) {
        let stands = found.is_some() && space.sysctls.get(&sysctl).is_some_and(|now| now == value);
        if !stands {
            let (ns, value) = (want.interface.ns.clone(), value.to_owned());
            ops.push(Op::SetSysctl { ns, sysctl, value });
        }
    }
}

fn missing_addresses(
    found: Option<&Link>,
    space: &Space,
    want: &Interface,
) -> Vec<InterfaceAddress> {
    let mut wanted = want.addresses.clone();
    let stands = |address| {
        let state = space.addresses.get(&(want.name, address));
        found.is_some() && state.is_some_and(|state| state.on_link == prefix_of(want, address))
    };
    // One of a MAC it had before a plugin chained later changed that serves as well.
    let mut on_link = space.addresses.keys().filter(|(on, _)| *on == want.name);
    let has_link_local = found.is_some() && on_link.any(|(_, address)| is_link_local(*address));
    if wanted.iter().any(|address| address.address().is_ipv6()) && !has_link_local {
        let link_local = want.mac.link_local().into();
        wanted.push(InterfaceAddress::new(link_local, 64).expect("64 is within 128"));
    }
    wanted.retain(|address| !stands(*address));
    wanted
}

/// `fe80::/10` (RFC 4291 §2.5.6).
fn is_link_local(address: InterfaceAddress) -> bool {
    matches!(address.address(), IpAddr::V6(v6) if v6.is_unicast_link_local())
}

fn routes(space: &Space, want: &Interface, ops: &mut Vec<Op>) -> Result<(), Conflict> {
    let mut taken: BTreeSet<_> = space
        .routes
        .iter()
        .map(|r| (r.destination, r.table, r.priority))
        .collect();
    if !want.up {
        return Ok(());
    }
    for route in on_link(space, want) {
        ops.push(Op::AddRoute {
            ns: want.ns.clone(),
            route,
        });
    }
    for route in &want.routes {
        if space.routes.iter().any(|found| satisfies(found, route)) {
            continue;
        }
        // One that carries more or less is the same one: beside it no other would be taken.
        let mut led = space.routes.iter();
        if let Some(found) = led.find(|found| leads_as(found, route)) {
            let (ns, priority) = (want.ns.clone(), found.priority);
            let route = Route {
                priority,
                ..route.clone()
            };
            ops.push(Op::ReplaceRoute { ns, route });
            continue;
        }
        let priority = choose_priority(&taken, space, route)?;
        taken.insert((route.destination, route.table, Some(priority)));
        let route = Route {
            priority: Some(priority),
            ..route.clone()
        };
        ops.push(Op::AddRoute {
            ns: want.ns.clone(),
            route,
        });
    }
    Ok(())
}

/// The routes to the prefixes of the interface's addresses, where somebody flushed what the kernel had
/// made: no other route leads anywhere without them.
fn on_link(space: &Space, want: &Interface) -> impl Iterator<Item = Route> {
    let claimed = |address| want.addresses.contains(&address) || is_link_local(address);
    let of_link = space.addresses.iter();
    let of_link = of_link.filter(|((on, address), _)| *on == want.name && claimed(*address));
    let unrouted = of_link.filter(|(_, state)| state.unrouted);
    let prefixes: BTreeSet<_> = unrouted.map(|((_, address), _)| address.prefix()).collect();
    let link = want.name;
    prefixes.into_iter().map(move |destination| {
        // IP6_RT_PRIO_ADDRCONF (linux/ipv6_route.h), and none for IPv4, as the kernel's.
        let priority = if destination.address().is_ipv6() {
            256
        } else {
            0
        };
        Route {
            destination,
            gateway: None,
            link,
            priority: Some(priority),
            table: MAIN_TABLE,
            scope: None,
            mtu: None,
            advmss: None,
        }
    })
}

/// Whether an observed route is the wanted one; what the want leaves open is not compared.
pub(crate) fn satisfies(found: &Route, want: &Route) -> bool {
    leads_as(found, want) && left_open(found.mtu, want.mtu) && left_open(found.advmss, want.advmss)
}

fn left_open(found: Option<u32>, want: Option<u32>) -> bool {
    want.is_none() || found == want
}

/// The same but for what it carries.
fn leads_as(found: &Route, want: &Route) -> bool {
    found.destination == want.destination
        && found.gateway == want.gateway
        && found.link == want.link
        && found.table == want.table
        && left_open(found.priority, want.priority)
        && (want.scope.is_none() || found.address_is_v6() || found.scope == want.scope)
}

/// The kernel's default metric, or the next free one where another link already has a route to the
/// same destination: the first attachment of a container keeps its default route.
fn choose_priority(
    taken: &BTreeSet<(bulkhead_model::Prefix, u32, Option<u32>)>,
    space: &Space,
    route: &Route,
) -> Result<u32, Conflict> {
    let is_taken = |priority| taken.contains(&(route.destination, route.table, Some(priority)));
    match route.priority {
        Some(priority) if is_taken(priority) => Err(Conflict::RouteTaken {
            destination: route.destination,
            priority,
            link: holder(space, route, priority).unwrap_or(route.link),
        }),
        Some(priority) => Ok(priority),
        None => {
            // IP6_RT_PRIO_USER (linux/ipv6_route.h) is what the kernel makes of 0 for IPv6.
            let first = if route.address_is_v6() { 1024 } else { 0 };
            Ok((first..u32::MAX)
                .find(|priority| !is_taken(*priority))
                .unwrap_or(u32::MAX))
        }
    }
}

fn holder(space: &Space, route: &Route, priority: u32) -> Option<IfName> {
    let same = |found: &&Route| {
        found.destination == route.destination
            && found.table == route.table
            && found.priority == Some(priority)
    };
    space.routes.iter().find(same).map(|found| found.link)
}

/// No address is tentative in an answer, and the segment learns who holds the new ones.
fn settle(space: &Space, attached: &Attached, missing: &[InterfaceAddress], ops: &mut Vec<Op>) {
    let want = &attached.interface;
    if !want.up {
        return;
    }
    // An address that the kernel formed for a layer 2 network is nobody's answer.
    let tentative = want.addresses.iter().any(|address| {
        let found = space.addresses.get(&(want.name, *address));
        found.is_some_and(|state| state.tentative)
    });
    let probed = want.dad == Dad::Probe && missing.iter().any(|a| a.address().is_ipv6());
    if tentative || probed {
        ops.push(Op::AwaitAddresses {
            ns: want.ns.clone(),
            link: want.name,
        });
    }
    // Over a link of its own the node knows without.
    if attached.place.bridge().is_none() {
        return;
    }
    let announced: Vec<_> = missing
        .iter()
        .map(|a| a.address())
        .filter(|a| want.addresses.iter().any(|w| w.address() == *a))
        .collect();
    if !announced.is_empty() {
        let (interface, mac) = (want.name, want.mac);
        ops.push(Op::Announce {
            ns: want.ns.clone(),
            interface,
            mac,
            addresses: announced,
        });
    }
}

impl Route {
    fn address_is_v6(&self) -> bool {
        self.destination.address().is_ipv6()
    }
}
