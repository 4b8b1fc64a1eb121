//! The plan to nothing: mute, unplug, forget, and for the last one take down what was shared.

use bulkhead_model::{IfName, LinkGroup};

use crate::{
    Detached, Features, Guard, Link, LinkKind, LinkSetting, NeighbourState, NetworkGone, Ns, Op,
    Restore, Space, Switch, World, bridge, filter, host_ports, segments,
};

/// Appends what removes every trace. It refuses nothing: what is not ours is passed over.
pub(crate) fn plan(world: &World, want: &Detached, ops: &mut Vec<Op>) {
    let host = world.space(&Ns::Host);
    filter::unbind(host, want, ops);
    for name in [want.port, want.ifb] {
        let stands = |link: &Link| link.is_ours() && !goes(link, world.features);
        if host.links.get(&name).is_some_and(stands) {
            ops.push(Op::DelLink { ns: Ns::Host, name });
        }
    }
    host_ports::cut(host, want, ops);
    for (link, address) in &want.neighbours {
        let found = host.neighbours.get(&(*link, *address));
        if found.is_some_and(|found| !is_another_s(*found, want)) {
            ops.push(Op::DelNeighbour {
                ns: Ns::Host,
                link: *link,
                address: *address,
            });
        }
    }
    if let Some(gone) = &want.network {
        network(world, want, gone, ops);
    }
}

/// Whether somebody else set a neighbour entry for good: another attachment of the same address.
fn is_another_s(found: NeighbourState, want: &Detached) -> bool {
    let guard = want.binding.as_ref().map(|binding| &binding.guard);
    let known = matches!(guard, Some(Guard::On(identity)) if !identity.macs.contains(&found.mac));
    found.permanent && known
}

/// Whether a link needs no deletion.
fn goes(link: &Link, features: Features) -> bool {
    features.reaps && link.group == LinkGroup::DOOMED
}

fn network(world: &World, want: &Detached, gone: &NetworkGone, ops: &mut Vec<Op>) {
    let host = world.space(&Ns::Host);
    for table in &gone.tables {
        if host.tables.get(table).is_some_and(filter::is_ours) {
            filter::delete_table(host, table.clone(), ops);
        }
    }
    let mut bridge_goes = segments::Goes::Now;
    if let Some(bridge) = gone.bridge {
        let keeps = |(name, link): (&IfName, &Link)| {
            *name != want.port && link.bridge == Some(bridge) && !goes(link, world.features)
        };
        let empty = !host.links.iter().any(keeps);
        if !empty {
            bridge_goes = segments::Goes::NotYet;
        }
        let ours = host
            .links
            .get(&bridge)
            .is_some_and(|l| l.is_ours() && l.kind == LinkKind::Bridge);
        if ours && empty {
            ops.push(Op::DelLink {
                ns: Ns::Host,
                name: bridge,
            });
        } else if ours && bridge::routes_localnet(host, bridge) {
            // Somebody's port keeps it; what guards 127.0.0.0/8 from it may go.
            ops.push(bridge::route_localnet(bridge, Switch::Off));
        }
    }
    let commands = segments::leave(host, gone.bridge, bridge_goes, &gone.restore);
    if !commands.is_empty() {
        ops.push(filter::commit(commands));
    }
    for change in &gone.restore {
        restore(host, change, ops);
    }
    if gone.node_is_empty {
        filter::remove(host, want.port, ops);
        host_ports::remove(host, want, ops);
    }
}

/// Puts back what is still as we set it; what somebody changed since is theirs.
fn restore(host: &Space, change: &Restore, ops: &mut Vec<Op>) {
    match change {
        Restore::Sysctl {
            sysctl,
            ours,
            before,
        } => {
            if host.sysctls.get(sysctl) == Some(ours) && ours != before {
                let (ns, sysctl, value) = (Ns::Host, sysctl.clone(), before.clone());
                ops.push(Op::SetSysctl { ns, sysctl, value });
            }
        }
        Restore::Address { link, address } => {
            if host.addresses.contains_key(&(*link, *address)) {
                ops.push(Op::DelAddress {
                    ns: Ns::Host,
                    link: *link,
                    address: *address,
                });
            }
        }
        Restore::Blackhole { destination } => {
            if host.blackholes.contains(destination) {
                ops.push(Op::DelBlackhole {
                    ns: Ns::Host,
                    destination: *destination,
                });
            }
        }
        Restore::Gateway { address } => filter::drop_gateway(host, *address, ops),
        Restore::Block { prefix } => filter::drop_block(host, *prefix, ops),
        Restore::Promiscuous { link } => {
            if host.links.get(link).is_some_and(|found| found.promiscuous) {
                let set = LinkSetting::Promiscuous(Switch::Off);
                ops.push(Op::SetLink {
                    ns: Ns::Host,
                    name: *link,
                    set,
                });
            }
        }
    }
}
