//! Changes to what is not ours, or a network's alone: the node's forwarding, an uplink's `accept_ra`, an
//! adopted bridge, the blackhole routes of a block, what the guard takes for a block of this node.
//! Each is recorded, with the value found and the network that needs it, before it is made; the
//! last network that needs it puts it back.

use std::collections::BTreeSet;

use bulkhead_ipam::{HostChange, HostChanges, StateDir};
use bulkhead_kernel::Kernel;
use bulkhead_model::NetworkName;
use bulkhead_plan::{
    Attached, Foreign, Link, Localnet, Ns, Place, Restore, Scope, Surroundings, Sysctl, World,
};

use crate::failure::Failure;

const ABSENT: &str = "absent";
const PRESENT: &str = "present";

/// Records what `want` is about to change on objects that are not ours, and that `network` needs
/// what others changed before.
pub(crate) fn claim(
    state: &StateDir,
    network: &NetworkName,
    world: &World,
    want: &Attached,
) -> Result<(), Failure> {
    // What is in a namespace of the network's own goes with that.
    if want.node != Ns::Host {
        return Ok(());
    }
    let changes = changes(world, want);
    if changes.is_empty() {
        return Ok(());
    }
    let mut host = state.host()?;
    for change in &changes {
        host.claim(network, change)?;
    }
    Ok(())
}

fn changes(world: &World, want: &Attached) -> Vec<HostChange> {
    let host = world.space(&Ns::Host);
    let sysctl = |(sysctl, set): &(Sysctl, String)| {
        let before = host.sysctls.get(sysctl)?.clone();
        Some(HostChange {
            key: sysctl.path().to_owned(),
            before,
            set: set.clone(),
        })
    };
    let change = |key| HostChange {
        key,
        before: ABSENT.to_owned(),
        set: PRESENT.to_owned(),
    };
    let mut all: Vec<_> = want.sysctls.iter().filter_map(sysctl).collect();
    // On a bridge that somebody else made, an address of the block may be anybody's.
    let found = want.place.bridge().and_then(|it| host.links.get(&it.name));
    if found.is_none_or(Link::is_ours) {
        let own_blocks = want.filter.binding.around.own_blocks.iter();
        all.extend(own_blocks.map(|block| change(format!("block {block}"))));
        let shares = want.filter.binding.around.shares.iter();
        all.extend(shares.map(|share| change(format!("share {share}"))));
    }
    let gateways = want.filter.binding.around.gateways.iter();
    all.extend(gateways.map(|gateway| change(format!("gateway {gateway}"))));
    let bridge = match &want.place {
        Place::Bridge(bridge) => bridge,
        Place::PointToPoint(link) => {
            let blocks = link.blackholes.iter();
            all.extend(blocks.map(|block| change(format!("blackhole {block}"))));
            return all;
        }
    };
    let adopted = host.links.get(&bridge.name).filter(|link| !link.is_ours());
    if let Some(link) = adopted.filter(|_| bridge.foreign == Foreign::Adopt) {
        for address in &bridge.gateways {
            if !host.addresses.contains_key(&(bridge.name, *address)) {
                all.push(change(format!("address {} {address}", bridge.name)));
            }
        }
        if bridge.localnet != Localnet::Unclaimed {
            let switch = Sysctl::ipv4_conf(bridge.name.as_str(), "route_localnet");
            all.extend(sysctl(&(switch, "1".to_owned())));
        }
        if bridge.promiscuous && !link.promiscuous {
            all.push(change(format!("promiscuous {}", bridge.name)));
        }
    }
    all
}

/// What a network is recorded to have on this node, for the judgement of its ports' destinations.
pub(crate) fn surroundings(changes: &HostChanges, network: &NetworkName) -> Surroundings {
    let mut around = Surroundings::default();
    let all = changes.all();
    let of_network = all.filter(|(_, networks)| networks.contains(network));
    for (change, _) in of_network {
        match restore(change) {
            // A share is recorded with each attachment that has an address of it.
            Some(Restore::Block { prefix }) if change.key.starts_with("block ") => {
                around.own_blocks.insert(prefix);
            }
            Some(Restore::Gateway { address }) => {
                around.gateways.insert(address);
            }
            _ => {}
        }
    }
    around
}

/// What a recorded change means for the planner. A record this release does not know is left to the
/// one that wrote it.
pub(crate) fn restore(change: &HostChange) -> Option<Restore> {
    let mut words = change.key.split(' ');
    match (words.next()?, words.next(), words.next()) {
        ("address", Some(link), Some(address)) => Some(Restore::Address {
            link: link.parse().ok()?,
            address: address.parse().ok()?,
        }),
        ("gateway", Some(address), None) => Some(Restore::Gateway {
            address: address.parse().ok()?,
        }),
        ("block" | "share", Some(prefix), None) => Some(Restore::Block {
            prefix: prefix.parse().ok()?,
        }),
        ("blackhole", Some(block), None) => Some(Restore::Blackhole {
            destination: block.parse().ok()?,
        }),
        ("promiscuous", Some(link), None) => Some(Restore::Promiscuous {
            link: link.parse().ok()?,
        }),
        (path, None, None) => Some(Restore::Sysctl {
            sysctl: Sysctl::recorded(path)?,
            ours: change.set.clone(),
            before: change.before.clone(),
        }),
        _ => None,
    }
}

/// Whether the node is an IPv6 router already.
pub(crate) fn ipv6_forwards(kernel: &mut Kernel) -> Result<bool, Failure> {
    let mut scope = Scope::default();
    scope.space(&Ns::Host).sysctls = BTreeSet::from([Sysctl::ipv6_forwarding()]);
    let world = kernel.observe(&scope)?;
    Ok(world
        .space(&Ns::Host)
        .sysctls
        .values()
        .any(|value| value == "1"))
}
