//! Room in the kernel's neighbour tables, which are one for all namespaces of the node.

use bulkhead_ipam::Pool;
use bulkhead_model::{Family, NetworkName};

use crate::doctor::finding::{Finding, Id};
use crate::doctor::node::{Node, command};

/// The node's entry for the container, and the container's for the gateway.
const ENTRIES_EACH: u64 = 2;
/// Ports of one bridge (`BR_MAX_PORTS`, `net/bridge/br_private.h`).
const PORTS_MAX: u64 = 1024;

pub(super) fn check(node: &Node) -> Vec<Finding> {
    [Family::V4, Family::V6]
        .into_iter()
        .filter_map(|family| limit(node, family))
        .collect()
}

/// What the networks with a family have, and could have.
struct Use<'a> {
    networks: Vec<&'a NetworkName>,
    attachments: u64,
    room: u64,
}

impl<'a> Use<'a> {
    fn of(node: &'a Node, family: Family) -> Self {
        let mut found = Self {
            networks: Vec::new(),
            attachments: 0,
            room: 0,
        };
        for network in &node.networks {
            if network.families.contains(&family) {
                found.networks.push(&network.name);
                found.attachments += u64::try_from(network.live.len()).unwrap_or(u64::MAX);
                found.room += network.pool.as_ref().map_or(0, |pool| room(pool, family));
            }
        }
        found
    }
}

/// The addresses of the smallest set, since each attachment takes one of every set.
fn room(pool: &Pool, family: Family) -> u64 {
    let sets = pool.sets.iter().filter(|set| set.family() == family);
    let smallest = sets.map(|set| pool.size(set)).min().unwrap_or_default();
    u64::try_from(smallest).unwrap_or(u64::MAX).min(PORTS_MAX)
}

fn limit(node: &Node, family: Family) -> Option<Finding> {
    let version = match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    let path = |nth: u8| format!("net/{version}/neigh/default/gc_thresh{nth}");
    // Only the node's own namespace has them.
    let soft = node.sysctls.number(&path(2))?;
    let hard = node.sysctls.number(&path(3))?;
    let Use {
        networks,
        attachments,
        room,
    } = Use::of(node, family);
    let entries = attachments.saturating_mul(ENTRIES_EACH);
    let seen = format!(
        "{attachments} attachments ({room} fit into the pools) take {entries} entries; {} is {hard}",
        path(3)
    );
    if entries <= soft {
        return Some(Finding::ok(Id::NeighbourLimit, seen));
    }
    let finding = if entries > hard {
        Finding::problem(Id::NeighbourLimit, seen)
    } else {
        Finding::warn(Id::NeighbourLimit, seen)
    };
    let most = entries.max(room.saturating_mul(ENTRIES_EACH));
    let enough = most.saturating_mul(2).next_power_of_two();
    let set = |nth, value: u64| command(&path(nth), &value.to_string());
    Some(
        finding
            .of(networks)
            .why("one table serves all namespaces of the node: past gc_thresh2 entries are thrown out after 5 seconds, past gc_thresh3 packets to new neighbours are dropped (\"neighbour table overflow\" in the kernel's log)")
            .help(set(3, enough))
            .help(format!("and {}", set(2, enough / 2)))
            .help(format!("and {}", set(1, enough / 4))),
    )
}
