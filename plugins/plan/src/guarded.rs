//! A port that another program made, and that the filter judges: nothing of it is ours but what is in
//! the table.

use crate::{
    Conflict, Filter, LinkKind, LinkSetting, Ns, Op, Scope, Space, Unguarded, World, filter,
};

/// Appends what judges the port. It is up already, so that what it sent until then was not judged.
pub(crate) fn ensure(world: &World, want: &Filter, ops: &mut Vec<Op>) -> Result<(), Conflict> {
    let port = want.binding.port;
    if !world.space(&Ns::Host).links.contains_key(&port) {
        return Err(Conflict::NoPort(port));
    }
    filter::ensure(world, want, ops)?;
    let commands = filter::missing(world, want);
    if !commands.is_empty() {
        ops.push(filter::commit(commands));
    }
    Ok(())
}

pub(crate) fn scope(want: &Filter) -> Scope {
    let mut scope = Scope::default();
    let host = scope.space(&Ns::Host);
    let bindings = || std::iter::once(&want.binding).chain(&want.others);
    host.links.extend(bindings().map(|binding| binding.port));
    host.links
        .extend(bindings().filter_map(|binding| binding.ifb));
    host.tables
        .insert(filter::table_id(), filter::scope(&want.binding));
    scope
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
    if want.node_is_empty {
        filter::remove(host, want.port, ops);
    }
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
    let host = scope.space(&Ns::Host);
    host.links.insert(want.port);
    let table = match &want.binding {
        Some(binding) if !want.node_is_empty => filter::scope(binding),
        _ => filter::whole_scope(want.port),
    };
    host.tables.insert(filter::table_id(), table);
    scope
}
