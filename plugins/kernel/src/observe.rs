//! A scope, read.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use bulkhead_model::{Family, IfName, Prefix, ROUTE_PROTOCOL};
use rustix::io::Errno;

use bulkhead_plan::{
    Link, LinkKind, MAIN_TABLE, Ns, OnLink, Route, Scope, Space, SpaceScope, Stranger, World,
};

use crate::error::{NetlinkError, ObserveError};
use crate::links::{RawLink, group_of};
use crate::local::is_local;
use crate::place::{Kernel, Place, PlaceError};
use crate::request::{
    Links, get_addresses, get_all_routes, get_best_route, get_blackholes, get_links,
    get_main_routes, get_neighbour, get_own_routes, get_root_qdisc,
};
use crate::routes::{
    FAMILIES, PROTOCOL_KERNEL, RawRoute, decode_address, decode_blackhole, decode_neighbour,
    decode_stranger,
};
use crate::{conntrack, ethtool, nftables, overlay, shape, xfrm};

/// A space and, beside it, its links with what only the whole world can resolve.
struct Seen {
    space: Space,
    links: Vec<RawLink>,
}

pub(crate) fn observe(kernel: &mut Kernel, scope: &Scope) -> Result<World, ObserveError> {
    let mut seen = BTreeMap::new();
    for (ns, wanted) in &scope.spaces {
        if !kernel.finds(ns)? {
            continue;
        }
        let place = kernel
            .place(ns)
            .ok_or_else(|| ObserveError::Unknown(ns.clone()))?;
        place.indexes.clear();
        let found = observe_space(place, wanted).map_err(|failed| failed.in_space(ns))?;
        seen.insert(ns.clone(), found);
    }
    resolve_peers(&mut seen, |one, two| kernel.are_one(one, two));
    let named = scope.spaces.keys().filter(|ns| kernel.is_named(ns));
    let named = named.cloned().collect();
    Ok(World {
        features: kernel.features(),
        named,
        spaces: seen
            .into_iter()
            .map(|(ns, seen)| (ns, seen.space))
            .collect(),
    })
}

/// What went wrong in one space.
struct Failed {
    what: &'static str,
    error: SpaceError,
}

enum SpaceError {
    Place(PlaceError),
    Sysctl(String, std::io::Error),
}

impl Failed {
    fn in_space(self, ns: &Ns) -> ObserveError {
        match self.error {
            SpaceError::Place(PlaceError::Entering(source)) => ObserveError::Netns {
                ns: ns.clone(),
                source,
            },
            SpaceError::Place(PlaceError::Netlink(source)) => ObserveError::Netlink {
                what: format!("{} of {ns:?} cannot be read", self.what),
                source,
            },
            SpaceError::Sysctl(sysctl, source) => ObserveError::Sysctl { sysctl, source },
        }
    }
}

/// Names what was being read.
fn reading<E: Into<PlaceError>>(what: &'static str) -> impl Fn(E) -> Failed {
    move |error| Failed {
        what,
        error: SpaceError::Place(error.into()),
    }
}

fn observe_space(place: &mut Place, wanted: &SpaceScope) -> Result<Seen, Failed> {
    let mut seen = Seen {
        space: Space::default(),
        links: Vec::new(),
    };
    seen.links = observe_links(place, wanted).map_err(reading("links"))?;
    for link in &seen.links {
        seen.space
            .links
            .insert(link.name, resolved(link, &seen.links));
    }
    observe_files(place, wanted, &mut seen)?;
    name_bridges(place, &mut seen).map_err(reading("bridges"))?;
    observe_shapes(place, wanted, &mut seen).map_err(reading("queueing disciplines"))?;
    observe_addresses(place, wanted, &mut seen).map_err(reading("addresses"))?;
    observe_neighbours(place, wanted, &mut seen.space).map_err(reading("neighbours"))?;
    if wanted.routes {
        observe_routes(place, &mut seen).map_err(reading("routes"))?;
    }
    if !wanted.strangers.is_empty() {
        observe_all_routes(place, &wanted.strangers, &mut seen).map_err(reading("routes"))?;
    } else if wanted.own_routes && !wanted.routes {
        observe_own_routes(place, &mut seen).map_err(reading("routes"))?;
    }
    overlay::observe(place, wanted, &mut seen.space).map_err(reading("VXLAN devices' entries"))?;
    ethtool::observe(place, wanted, &mut seen.space).map_err(reading("offloads"))?;
    if wanted.ipsec {
        seen.space.ipsec = xfrm::observe(place).map_err(reading("IPsec"))?;
    }
    for destination in &wanted.routes_to {
        observe_route_to(place, *destination, &mut seen).map_err(reading("routes"))?;
    }
    if wanted.blackholes {
        seen.space.blackholes = blackholes(place).map_err(reading("routes"))?;
    }
    for address in &wanted.local {
        if is_local(place, *address).map_err(reading("local addresses"))? {
            seen.space.local.insert(*address);
        }
    }
    if !wanted.flows.is_empty() {
        let flows = conntrack::observe(place, &wanted.flows);
        seen.space.flows = flows.map_err(reading("flows"))?;
    }
    if !wanted.tables.is_empty() {
        let ruleset = nftables::observe(place, &wanted.tables).map_err(reading("nftables"))?;
        seen.space.tables = ruleset.tables;
        seen.space.generation = ruleset.generation;
    }
    Ok(seen)
}

/// The sysctls: of a link as the kernel shows them with it, which costs no walk of a path.
fn observe_files(place: &mut Place, wanted: &SpaceScope, seen: &mut Seen) -> Result<(), Failed> {
    let failed = |name: &str, error| Failed {
        what: "sysctls",
        error: SpaceError::Sysctl(name.to_owned(), error),
    };
    let (space, links) = (&mut seen.space, &seen.links);
    space.ipv6 = place.has_ipv6().map_err(|error| failed("net", error))?;
    let is_gone = |link: &IfName| wanted.links.contains(link) && !space.links.contains_key(link);
    let of_links = wanted.sysctls.iter();
    for sysctl in of_links.filter(|sysctl| !sysctl.link().is_some_and(|link| is_gone(&link))) {
        let of = sysctl.link();
        let of = of.and_then(|name| links.iter().find(|link| link.name == name));
        if let Some(value) = of.and_then(|link| link.setting(sysctl)) {
            space.sysctls.insert(sysctl.clone(), value.to_string());
            continue;
        }
        let value = place.read_sysctl(sysctl);
        if let Some(value) = value.map_err(|error| failed(sysctl.path(), error))? {
            space.sysctls.insert(sysctl.clone(), value);
        }
    }
    Ok(())
}

/// The links asked for, each once.
fn observe_links(place: &mut Place, wanted: &SpaceScope) -> Result<Vec<RawLink>, PlaceError> {
    let mut found = BTreeMap::new();
    for name in wanted.links.iter().chain(&wanted.ports_of) {
        if let Some(link) = place.link(*name)? {
            found.insert(link.index, link);
        }
    }
    for bridge in &wanted.ports_of {
        if let Some(index) = place.indexes.get(bridge).copied() {
            let ports = list_links(place, &Links::PortsOf(index), |_| true)?;
            found.extend(ports.into_iter().map(|port| (port.index, port)));
        }
    }
    if wanted.owned_links {
        use bulkhead_model::LinkGroup;
        let ours = |body: &[u8]| matches!(group_of(body), LinkGroup::OWNED | LinkGroup::DOOMED);
        let owned = list_links(place, &Links::All, ours)?;
        found.extend(owned.into_iter().map(|link| (link.index, link)));
    }
    if wanted.vxlans {
        let vxlans = list_links(place, &Links::Vxlans, |_| true)?;
        found.extend(vxlans.into_iter().map(|link| (link.index, link)));
    }
    for link in found.values() {
        place.indexes.insert(link.name, link.index);
    }
    Ok(found.into_values().collect())
}

fn list_links(
    place: &mut Place,
    which: &Links,
    keep: impl Fn(&[u8]) -> bool,
) -> Result<Vec<RawLink>, PlaceError> {
    let answer = place.route()?.list(&get_links(which))?;
    let kept = answer.iter().filter(|message| keep(&message.body));
    Ok(kept
        .filter_map(|message| RawLink::decode(&message.body))
        .collect())
}

/// The link as the world shows it, its bridge and its other end as far as `siblings` know them.
fn resolved(link: &RawLink, siblings: &[RawLink]) -> Link {
    let bridge = siblings
        .iter()
        .find(|other| Some(other.index) == link.bridge);
    Link {
        kind: match (link.kind.as_str(), link.vxlan) {
            ("bridge", _) => LinkKind::Bridge,
            ("veth", _) => LinkKind::Veth { peer: None },
            (_, Some(vxlan)) => LinkKind::Vxlan(vxlan),
            (other, None) => LinkKind::Other(other.to_owned()),
        },
        mac: link.mac,
        mtu: link.mtu,
        up: link.up,
        promiscuous: link.promiscuous,
        group: link.group,
        bridge: bridge.map(|bridge| bridge.name),
        port: link.port,
        forms_link_local: link.forms_link_local,
        learns_link_local: link.learns_link_local,
        shape: None,
    }
}

/// Asks for the bridges that are in the scope only as somebody's master.
fn name_bridges(place: &mut Place, seen: &mut Seen) -> Result<(), PlaceError> {
    let mut names = BTreeMap::new();
    for link in &seen.links {
        let Some(bridge) = link.bridge else { continue };
        let Some(shown) = seen.space.links.get_mut(&link.name) else {
            continue;
        };
        if shown.bridge.is_none() {
            shown.bridge = match names.entry(bridge) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => *new.insert(place.name_of(bridge)?),
            };
        }
    }
    Ok(())
}

/// The token bucket filters of the links asked for by name.
fn observe_shapes(
    place: &mut Place,
    wanted: &SpaceScope,
    seen: &mut Seen,
) -> Result<(), PlaceError> {
    let shaped = seen.links.iter().filter(|link| link.shaped);
    for link in shaped.filter(|link| wanted.links.contains(&link.name)) {
        let shape = match place.route()?.get(get_root_qdisc(link.index)) {
            // Replaced since the link was asked for.
            Err(NetlinkError::Refused(_)) => None,
            answer => answer?.and_then(|message| shape::decode(&message.body)),
        };
        if let Some(shown) = seen.space.links.get_mut(&link.name) {
            shown.shape = shape;
        }
    }
    Ok(())
}

fn observe_addresses(
    place: &mut Place,
    wanted: &SpaceScope,
    seen: &mut Seen,
) -> Result<(), PlaceError> {
    for link in &seen.links {
        if !wanted.links.contains(&link.name) {
            continue;
        }
        let answer = match place.route()?.list(&get_addresses(link.index)) {
            // Gone since it was asked for: its addresses went with it.
            Err(NetlinkError::Refused(refusal)) if refusal.is_stale() => Vec::new(),
            answer => answer?,
        };
        for message in answer {
            if let Some((address, state)) = decode_address(&message.body) {
                seen.space
                    .addresses
                    .insert((link.name, address), state.into());
            }
        }
    }
    Ok(())
}

fn observe_neighbours(
    place: &mut Place,
    wanted: &SpaceScope,
    space: &mut Space,
) -> Result<(), PlaceError> {
    for (link, address) in &wanted.neighbours {
        // One of those that were just asked for is not there, or known by now.
        if !wanted.links.contains(link) && !place.indexes.contains_key(link) {
            place.link(*link)?;
        }
        let Some(index) = place.indexes.get(link).copied() else {
            continue;
        };
        let answer = place.route()?.get(get_neighbour(index, *address))?;
        if let Some(found) = answer.and_then(|message| decode_neighbour(&message.body)) {
            space.neighbours.insert((*link, *address), found);
        }
    }
    Ok(())
}

fn observe_routes(place: &mut Place, seen: &mut Seen) -> Result<(), PlaceError> {
    let mut names = names(&seen.links);
    let routes = main_routes(place)?;
    let up = seen.links.iter().filter(|link| link.up);
    let up: BTreeMap<IfName, u32> = up.map(|link| (link.name, link.index)).collect();
    for ((on, address), state) in &mut seen.space.addresses {
        let prefix = address.prefix();
        let leads = |route: &RawRoute| {
            Some(&route.link) == up.get(on)
                && route.destination == prefix
                && route.gateway.is_none()
        };
        let is_whole = prefix.len() == prefix.family().bits();
        let expected = up.contains_key(on) && !is_whole && state.on_link == OnLink::Prefix;
        state.unrouted = expected && !routes.iter().any(leads);
    }
    show_routes(place, routes, &mut names, &mut seen.space)
}

/// The same, without those of others; of one with several next hops the first link, which no route of
/// ours has in common with it.
fn observe_own_routes(place: &mut Place, seen: &mut Seen) -> Result<(), PlaceError> {
    let mut names = names(&seen.links);
    let routes = own_routes(place)?;
    show_routes(place, routes, &mut names, &mut seen.space)
}

/// Ours, and those of others to `wanted` destinations: in one look, between which nothing changes.
fn observe_all_routes(
    place: &mut Place,
    wanted: &BTreeSet<Prefix>,
    seen: &mut Seen,
) -> Result<(), PlaceError> {
    let mut names = names(&seen.links);
    let mut own = Vec::new();
    let mut strangers = Vec::new();
    for message in listed_routes(place, get_all_routes)? {
        match decode_stranger(&message) {
            Some((route, link)) if wanted.contains(&route.destination) => {
                strangers.push((route, link));
            }
            Some(_) => {}
            None => own.extend(RawRoute::decode_any(&message)),
        }
    }
    own.retain(|route| route.protocol == ROUTE_PROTOCOL);
    show_routes(place, own, &mut names, &mut seen.space)?;
    for (route, index) in strangers {
        let link = match index {
            Some(index) => name(place, index, &mut names)?,
            None => None,
        };
        seen.space.strangers.insert(Stranger { link, ..route });
    }
    Ok(())
}

type Names = BTreeMap<u32, Option<IfName>>;

fn name(place: &mut Place, index: u32, names: &mut Names) -> Result<Option<IfName>, PlaceError> {
    Ok(match names.entry(index) {
        Entry::Occupied(known) => *known.get(),
        Entry::Vacant(new) => *new.insert(place.name_of(index)?),
    })
}

fn names(links: &[RawLink]) -> Names {
    let known = links.iter();
    known.map(|link| (link.index, Some(link.name))).collect()
}

fn show_routes(
    place: &mut Place,
    routes: Vec<RawRoute>,
    names: &mut Names,
    space: &mut Space,
) -> Result<(), PlaceError> {
    for route in routes {
        if route.protocol == PROTOCOL_KERNEL {
            continue;
        }
        // A route whose link is gone by now is gone too.
        let Some(link) = name(place, route.link, names)? else {
            continue;
        };
        show(space, over(link, &route), route.protocol);
    }
    Ok(())
}

fn show(space: &mut Space, route: Route, protocol: u8) {
    if protocol == ROUTE_PROTOCOL && route.table == MAIN_TABLE {
        space.own_routes.insert(route.clone());
    }
    space.routes.insert(route);
}

fn over(link: IfName, route: &RawRoute) -> Route {
    Route {
        destination: route.destination,
        gateway: route.gateway,
        link,
        priority: Some(route.priority),
        table: route.table,
        scope: Some(route.scope),
        mtu: route.mtu,
        advmss: route.advmss,
    }
}

/// The route of the main table to exactly that destination, if that is the one a packet would take.
fn observe_route_to(
    place: &mut Place,
    destination: Prefix,
    seen: &mut Seen,
) -> Result<(), PlaceError> {
    let answer = match place.route()?.get(get_best_route(destination.address())) {
        // None, or one that refuses.
        Err(NetlinkError::Refused(_)) => None,
        answer => answer?,
    };
    let route = answer.and_then(|message| RawRoute::decode(&message.body));
    let exact = |route: &RawRoute| {
        route.destination == destination
            && route.table == MAIN_TABLE
            && route.protocol != PROTOCOL_KERNEL
    };
    let Some(route) = route.filter(exact) else {
        return Ok(());
    };
    let known = seen.links.iter().find(|link| link.index == route.link);
    let link = match known {
        Some(link) => Some(link.name),
        None => place.name_of(route.link)?,
    };
    if let Some(link) = link {
        show(&mut seen.space, over(link, &route), route.protocol);
    }
    Ok(())
}

/// Destinations of the blackhole routes of ours.
fn blackholes(place: &mut Place) -> Result<BTreeSet<Prefix>, PlaceError> {
    let mut found = BTreeSet::new();
    for family in FAMILIES {
        let answer = match place.route()?.list(&get_blackholes(family)) {
            Err(error) if error.errno().is_some_and(is_empty) => continue,
            answer => answer?,
        };
        let ours = answer.iter().filter_map(|m| decode_blackhole(&m.body));
        found.extend(ours);
    }
    Ok(found)
}

/// Unicast routes of the main table, the kernel's own included.
pub(crate) fn main_routes(place: &mut Place) -> Result<Vec<RawRoute>, PlaceError> {
    let listed = listed_routes(place, get_main_routes)?;
    Ok(listed
        .iter()
        .filter_map(|body| RawRoute::decode(body))
        .collect())
}

fn own_routes(place: &mut Place) -> Result<Vec<RawRoute>, PlaceError> {
    let listed = listed_routes(place, get_own_routes)?;
    Ok(listed
        .iter()
        .filter_map(|body| RawRoute::decode_any(body))
        .collect())
}

fn listed_routes(
    place: &mut Place,
    request: fn(Family) -> Vec<u8>,
) -> Result<Vec<Vec<u8>>, PlaceError> {
    let mut routes = Vec::new();
    for family in FAMILIES {
        let answer = match place.route()?.list(&request(family)) {
            // A namespace without any route has no table; a kernel without IPv6 no family.
            Err(error) if error.errno().is_some_and(is_empty) => continue,
            answer => answer?,
        };
        routes.extend(answer.into_iter().map(|message| message.body));
    }
    Ok(routes)
}

fn is_empty(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::OPNOTSUPP | Errno::AFNOSUPPORT)
}

/// The two ends of a pair name each other's index; where both are in the world they are told so.
/// `are_one` tells whether two roles are played by one namespace.
fn resolve_peers(seen: &mut BTreeMap<Ns, Seen>, are_one: impl Fn(&Ns, &Ns) -> bool) {
    let ends: Vec<(Ns, RawLink)> = seen
        .iter()
        .flat_map(|(ns, seen)| seen.links.iter().map(|link| (ns.clone(), link.clone())))
        .filter(|(_, link)| link.kind == "veth")
        .collect();
    let paired = |(one_ns, one): &(Ns, RawLink), (two_ns, two): &(Ns, RawLink)| {
        one.related == Some(two.index)
            && two.related == Some(one.index)
            && one.related_elsewhere == two.related_elsewhere
            && one.related_elsewhere != are_one(one_ns, two_ns)
            && (one.related_elsewhere || one.index != two.index)
    };
    for end in &ends {
        let Some((ns, peer)) = ends.iter().find(|other| paired(end, other)) else {
            continue;
        };
        let shown = seen
            .get_mut(&end.0)
            .and_then(|seen| seen.space.links.get_mut(&end.1.name));
        if let Some(link) = shown {
            link.kind = LinkKind::Veth {
                peer: Some((ns.clone(), peer.name)),
            };
        }
    }
}
