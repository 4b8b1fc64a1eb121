//! A port that another program made, and that the filter judges: nothing of it is ours but what is in
//! the table, and what node and container know of each other for good.

use bulkhead_model::IfName;

use crate::{
    Conflict, Guarded, Known, LinkKind, LinkSetting, Neighbour, NeighbourState, Ns, Op, Restore,
    Scope, Space, Unguarded, World, filter, link, segments,
};

/// Appends what judges the port. It is up already, so that what it sent until then was not judged.
pub(crate) fn ensure(world: &World, want: &Guarded, ops: &mut Vec<Op>) -> Result<(), Conflict> {
    let port = want.filter.binding.port;
    let Some(found) = world.space(&Ns::Host).links.get(&port) else {
        return Err(Conflict::NoPort(port));
    };
    filter::ensure(world, &want.filter, ops)?;
    let commands = filter::missing(world, &want.filter);
    if !commands.is_empty() {
        ops.push(filter::commit(commands));
    }
    let groups = want.groups.filter(|_| world.features.group_limit);
    if let Some(groups) = groups.filter(|_| found.bridge.is_some())
        && found.port.max_groups != Some(groups)
    {
        ops.push(Op::SetLink {
            ns: Ns::Host,
            name: port,
            set: LinkSetting::Groups(groups),
        });
    }
    for known in &want.known {
        let space = world.space(&known.ns);
        // The kernel keeps none of a link that is down (`neigh_ifdown`, `net/core/neighbour.c`).
        if space.links.get(&known.link).is_some_and(|link| link.up) {
            link::permanent(space, &known.ns, known.link, &known.neighbours, ops);
        }
    }
    Ok(())
}

pub(crate) fn scope(want: &Guarded) -> Scope {
    let mut scope = Scope::default();
    see(&mut scope, &want.known);
    let want = &want.filter;
    let host = scope.space(&Ns::Host);
    let bindings = || std::iter::once(&want.binding).chain(&want.others);
    host.links.extend(bindings().map(|binding| binding.port));
    host.links
        .extend(bindings().filter_map(|binding| binding.ifb));
    host.tables
        .insert(filter::table_id(), filter::scope(&want.binding));
    let segments = segments::scope(&want.binding);
    host.tables
        .extend(segments.map(|scope| (segments::table_id(), scope)));
    scope
}

fn see(scope: &mut Scope, known: &[Known]) {
    for known in known {
        let space = scope.space(&known.ns);
        space.links.insert(known.link);
        let of_link = known.neighbours.iter();
        space
            .neighbours
            .extend(of_link.map(|neighbour| (known.link, neighbour.address)));
    }
}

/// Appends what takes the port out of the table. It refuses nothing.
pub(crate) fn end(world: &World, want: &Unguarded, ops: &mut Vec<Op>) {
    let host = world.space(&Ns::Host);
    let mut commands = Vec::new();
    filter::filter_commands(host, want.port, want.binding.as_ref(), &mut commands, ops);
    if !commands.is_empty() {
        if still_sends(host, want) {
            ops.push(Op::SetLink {
                ns: Ns::Host,
                name: want.port,
                set: LinkSetting::Down,
            });
        }
        ops.push(filter::commit(commands));
    }
    forget(world, &want.known, ops);
    leave(host, want, ops);
    if want.node_is_empty {
        filter::remove(host, want.port, ops);
    }
}

/// Appends what takes away the entries that are as they were made: an address may be another one's by now.
fn forget(world: &World, known: &[Known], ops: &mut Vec<Op>) {
    for Known {
        ns,
        link,
        neighbours,
    } in known
    {
        let found = &world.space(ns).neighbours;
        for Neighbour { address, mac } in neighbours {
            let made = NeighbourState {
                mac: *mac,
                permanent: true,
            };
            if found.get(&(*link, *address)) == Some(&made) {
                ops.push(Op::DelNeighbour {
                    ns: ns.clone(),
                    link: *link,
                    address: *address,
                });
            }
        }
    }
}

/// Appends what takes away what no other port has in common with this one.
fn leave(host: &Space, want: &Unguarded, ops: &mut Vec<Op>) {
    let goes = if want.last_on_bridge {
        segments::Goes::Now
    } else {
        segments::Goes::NotYet
    };
    let commands = segments::leave(host, bridge(want), goes, &want.restore);
    if !commands.is_empty() {
        ops.push(filter::commit(commands));
    }
    for change in &want.restore {
        match change {
            Restore::Gateway { address } => filter::drop_gateway(host, *address, ops),
            Restore::Block { prefix } => filter::drop_block(host, *prefix, ops),
            _ => {}
        }
    }
}

fn bridge(want: &Unguarded) -> Option<IfName> {
    want.binding.as_ref().and_then(|it| it.around.bridge)
}

/// Whether the port that was guarded is there and up.
fn still_sends(host: &Space, want: &Unguarded) -> bool {
    let link = host.links.get(&want.port);
    let is_veth = |kind: &LinkKind| matches!(kind, LinkKind::Veth { .. });
    link.is_some_and(|link| {
        let same = want.mac.is_some() && link.mac == want.mac;
        !link.is_ours() && link.up && is_veth(&link.kind) && same
    })
}

pub(crate) fn end_scope(want: &Unguarded) -> Scope {
    let mut scope = Scope::default();
    see(&mut scope, &want.known);
    let host = scope.space(&Ns::Host);
    host.links.insert(want.port);
    let table = match &want.binding {
        Some(binding) if !want.node_is_empty => filter::scope(binding),
        _ => filter::whole_scope(want.port),
    };
    host.tables.insert(filter::table_id(), table);
    for change in &want.restore {
        let table = host.tables.entry(filter::table_id()).or_default();
        match change {
            Restore::Gateway { address } => table.extend(filter::gateway_scope(*address)),
            Restore::Block { prefix } => table.extend(filter::block_scope(*prefix)),
            _ => {}
        }
    }
    let mut table = match &want.binding {
        Some(binding) => segments::end_scope(binding),
        None => segments::whole_scope(),
    };
    table.extend(segments::network_scope(bridge(want), &want.restore));
    host.tables.insert(segments::table_id(), table);
    scope
}
