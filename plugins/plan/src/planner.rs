//! The one decision: what leads from the world to the want, and what has to be seen to tell.

use bulkhead_model::Mtu;

use std::borrow::Cow;

use crate::{
    Attached, Conflict, Detached, Neighbour, Ns, OnLink, Op, Place, Plan, Scope, Space, TableScope,
    Want, World, bridge, detached, filter, guarded, host_ports, ipsec, link, nat, overlay,
    point_to_point, segment, segments,
};

/// The operations that make `want` true in `world`, in order: deny before plug, referent before
/// reference, add before delete, up last. Empty if it is true already.
///
/// # Errors
/// [`Conflict`] if something that is not ours stands in the way; nothing has been changed then.
pub fn plan(world: &World, want: &Want) -> Result<Plan, Conflict> {
    match elsewhere(want) {
        Some(ns) => Ok(planned(&world.within(ns), want)?.within(ns)),
        None => planned(world, want),
    }
}

/// The namespace that plays the node's part, if it is not the host's.
fn elsewhere(want: &Want) -> Option<&Ns> {
    let node = match want {
        Want::Attached(want) => &want.node,
        Want::Detached(want) => &want.node,
        _ => return None,
    };
    (*node != Ns::Host).then_some(node)
}

fn planned(world: &World, want: &Want) -> Result<Plan, Conflict> {
    let mut ops = Vec::new();
    match want {
        Want::Attached(want) => {
            let leftover = link::leftover(world, want);
            let cleared = cleared(world, &leftover);
            attached(cleared.as_ref().unwrap_or(world), want, &mut ops)?;
            ops.splice(0..0, leftover);
        }
        Want::Detached(want) => detached::plan(world, want, &mut ops),
        Want::HostPorts { link, forwards } => {
            host_ports::inherit(world.space(&Ns::Host), *link, forwards, &mut ops);
        }
        Want::Guarded(want) => guarded::ensure(world, want, &mut ops)?,
        Want::Unguarded(want) => guarded::end(world, want, &mut ops),
        Want::Overlay(want) => overlay::ensure(world, want, &mut ops)?,
        Want::NoOverlay(want) => overlay::end(world, want, &mut ops),
        Want::Segment(want) => segment::ensure(world, want, &mut ops)?,
        Want::NoSegment(want) => segment::end(world, want, &mut ops),
        Want::Vtep(want) => overlay::stand(world, want, &mut ops)?,
        Want::Plugged(want) => segment::plug(world, want, &mut ops)?,
        Want::Tunnels(want) => overlay::tunnels(world, want, &mut ops)?,
        Want::Ipsec(want) => ipsec::ensure(world, want, &mut ops)?,
        Want::Loopback { ns, up } => link::loopback(world.space(ns), ns, *up, &mut ops),
    }
    Ok(Plan::new(ops))
}

/// What [`plan`] looks at to decide about `want`.
#[must_use]
pub fn scope(want: &Want) -> Scope {
    match elsewhere(want) {
        Some(ns) => seen(want).within(ns),
        None => seen(want),
    }
}

fn seen(want: &Want) -> Scope {
    match want {
        Want::Attached(want) => attached_scope(want),
        Want::Detached(want) => detached_scope(want),
        Want::HostPorts { link, forwards } => {
            let mut scope = Scope::default();
            let host = scope.space(&Ns::Host);
            host_ports::see(host, forwards);
            host.links.extend(*link);
            host.sysctls.extend(link.map(bridge::localnet));
            scope
        }
        Want::Guarded(want) => guarded::scope(want),
        Want::Unguarded(want) => guarded::end_scope(want),
        Want::Overlay(want) => overlay::scope(want),
        Want::NoOverlay(want) => overlay::end_scope(want),
        Want::Segment(want) => segment::scope(want),
        Want::NoSegment(want) => segment::end_scope(want),
        Want::Vtep(want) => overlay::stand_scope(want),
        Want::Plugged(want) => segment::plug_scope(want),
        Want::Tunnels(want) => overlay::tunnels_scope(want),
        Want::Ipsec(_) => ipsec::scope(),
        Want::Loopback { ns, .. } => {
            let mut scope = Scope::default();
            scope.space(ns).links.insert(link::lo());
            scope
        }
    }
}

/// The world without what is left of an earlier container; `None` if nothing is.
fn cleared(world: &World, ops: &[Op]) -> Option<World> {
    if ops.is_empty() {
        return None;
    }
    let mut cleared = world.clone();
    let left = cleared.apply(&Plan::new(ops.to_vec()));
    left.expect("it was observed");
    Some(cleared)
}

fn attached(world: &World, want: &Attached, ops: &mut Vec<Op>) -> Result<(), Conflict> {
    let host = world.space(&Ns::Host);
    let want = &*where_others_may_be(host, want);
    link::refuse(world, want)?;
    if let Place::PointToPoint(link) = &want.place {
        point_to_point::refuse(host, link)?;
    }
    host_ports::refuse(host, want)?;
    let of_place = || match &want.place {
        Place::Bridge(bridge) => bridge::mtu(host, bridge),
        Place::PointToPoint(_) => Mtu::ETHERNET,
    };
    let mtu = want.port.mtu.unwrap_or_else(of_place);
    link::ifb(world, want, mtu, ops);
    filter::ensure(world, &want.filter, ops)?;
    host_ports::ensure(world, want, ops)?;
    // Forwarding before any gateway address: switched on right after, the kernel can join the
    // subnet-router anycast group twice and leave it once (`dev_forward_change`, addrconf.c).
    for (sysctl, value) in &want.sysctls {
        if host.sysctls.get(sysctl).is_some_and(|now| now != value) {
            let (ns, sysctl, value) = (Ns::Host, sysctl.clone(), value.clone());
            ops.push(Op::SetSysctl { ns, sysctl, value });
        }
    }
    match &want.place {
        Place::Bridge(bridge) => bridge::ensure(host, bridge, ops)?,
        Place::PointToPoint(link) => point_to_point::blackholes(host, link, ops),
    }
    nat::ensure(world, want, ops)?;
    forget_neighbours(host, want, ops);
    link::ensure(world, want, mtu, ops)?;
    if let Place::PointToPoint(link) = &want.place {
        point_to_point::routes(host, link, ops);
    }
    host_ports::redirect(host, &want.host_ports.mine, ops);
    Ok(())
}

/// A bridge that stands has the MAC it was made with, by another network maybe. On one that somebody else
/// made, an address of our block that no port of ours has may be theirs.
fn where_others_may_be<'w>(host: &Space, want: &'w Attached) -> Cow<'w, Attached> {
    let Place::Bridge(bridge) = &want.place else {
        return Cow::Borrowed(want);
    };
    let Some(found) = host.links.get(&bridge.name) else {
        return Cow::Borrowed(want);
    };
    let others = want.interface.neighbours.iter();
    let is_another = |gateway: &Neighbour| found.mac.is_some_and(|mac| mac != gateway.mac);
    let joined = !found.is_ours();
    let around = &want.filter.binding.around;
    let assumes = joined && !(around.own_blocks.is_empty() && around.shares.is_empty());
    if !assumes && !others.clone().any(is_another) {
        return Cow::Borrowed(want);
    }
    let mut want = want.clone();
    if joined {
        want.filter.binding.around.own_blocks.clear();
        want.filter.binding.around.shares.clear();
        // A MAC that is not ours may change.
        if want.interface.on_link == OnLink::Prefix {
            want.interface.neighbours.clear();
        }
    }
    for gateway in &mut want.interface.neighbours {
        gateway.mac = found.mac.unwrap_or(gateway.mac);
    }
    Cow::Owned(want)
}

/// What the host believes about an address' former holder would send its packets astray.
fn forget_neighbours(host: &Space, want: &Attached, ops: &mut Vec<Op>) {
    let link = want.node_link();
    let kept = |address| want.neighbours.iter().any(|kept| kept.address == address);
    let addresses = want.interface.addresses.iter();
    for address in addresses
        .map(|address| address.address())
        .filter(|address| !kept(*address))
    {
        let believed = host.neighbours.get(&(link, address));
        if believed.is_some_and(|believed| believed.mac != want.interface.mac) {
            ops.push(Op::DelNeighbour {
                ns: Ns::Host,
                link,
                address,
            });
        }
    }
}

fn attached_scope(want: &Attached) -> Scope {
    let mut scope = Scope::default();
    let host = scope.space(&Ns::Host);
    let link = want.node_link();
    host.links.extend([link, want.port.name]);
    let told = want.port.is_told;
    host.stations
        .extend(told.then_some((want.port.name, want.interface.mac)));
    host.links
        .extend(want.filter.others.iter().map(|other| other.port));
    let bindings = std::iter::once(&want.filter.binding).chain(&want.filter.others);
    host.links
        .extend(bindings.filter_map(|binding| binding.ifb));
    host.sysctls
        .extend(want.sysctls.iter().map(|(sysctl, _)| sysctl.clone()));
    let addresses = want
        .interface
        .addresses
        .iter()
        .map(|address| address.address());
    let kept = want.neighbours.iter().map(|kept| kept.address);
    host.neighbours
        .extend(addresses.chain(kept).map(|address| (link, address)));
    match &want.place {
        Place::Bridge(bridge) => bridge::see(host, bridge),
        Place::PointToPoint(own) => point_to_point::see(host, want.port.name, own),
    }
    host.tables
        .insert(filter::table_id(), filter::scope(&want.filter.binding));
    let segments = segments::scope(&want.filter.binding);
    host.tables
        .extend(segments.map(|scope| (segments::table_id(), scope)));
    if let Some(table) = &want.nat {
        host.tables.insert(table.id.clone(), nat::scope(table));
    }
    host_ports::see(host, &want.host_ports.mine);
    let container = scope.space(&want.interface.ns);
    container.links.insert(want.interface.name);
    container.routes = true;
    let inside = want.interface.name;
    let kept = want.interface.neighbours.iter();
    container
        .neighbours
        .extend(kept.map(|kept| (inside, kept.address)));
    let sysctls = link::interface_sysctls(want);
    container
        .sysctls
        .extend(sysctls.into_iter().map(|(sysctl, _)| sysctl));
    scope
}

fn detached_scope(want: &Detached) -> Scope {
    let mut scope = Scope::default();
    let host = scope.space(&Ns::Host);
    host.links.insert(want.port);
    host.neighbours.extend(want.neighbours.iter().copied());
    host.links.insert(want.ifb);
    let last = want.network.as_ref().is_some_and(|gone| gone.node_is_empty);
    let forwards = want.host_ports.as_deref().filter(|_| !last);
    if forwards != Some(&[]) {
        let (id, table) = (host_ports::table_id(), host_ports::scope(forwards));
        host.tables.insert(id, table);
    }
    let flows = want.host_ports.as_deref().map(host_ports::flows);
    host.flows.extend(flows.into_iter().flatten());
    let table = match &want.binding {
        Some(binding) if !last => filter::scope(binding),
        _ => filter::whole_scope(want.port),
    };
    host.tables.insert(filter::table_id(), table);
    let segments = match &want.binding {
        Some(binding) => segments::end_scope(binding),
        None => segments::whole_scope(),
    };
    host.tables.insert(segments::table_id(), segments);
    let Some(gone) = &want.network else {
        return scope;
    };
    let shared = segments::network_scope(gone.bridge, &gone.restore);
    host.tables
        .entry(segments::table_id())
        .or_default()
        .extend(shared);
    host.links.extend(gone.bridge);
    host.ports_of.extend(gone.bridge);
    host.sysctls.extend(gone.bridge.map(bridge::localnet));
    for table in &gone.tables {
        host.tables.insert(table.clone(), TableScope::default());
    }
    for change in &gone.restore {
        match change {
            crate::Restore::Sysctl { sysctl, .. } => {
                host.sysctls.insert(sysctl.clone());
            }
            crate::Restore::Blackhole { .. } => host.blackholes = true,
            crate::Restore::Gateway { address } => {
                let table = host.tables.entry(filter::table_id()).or_default();
                table.extend(filter::gateway_scope(*address));
            }
            crate::Restore::Block { prefix } => {
                let table = host.tables.entry(filter::table_id()).or_default();
                table.extend(filter::block_scope(*prefix));
            }
            crate::Restore::Address { link, .. } | crate::Restore::Promiscuous { link } => {
                host.links.insert(*link);
            }
        }
    }
    scope
}
