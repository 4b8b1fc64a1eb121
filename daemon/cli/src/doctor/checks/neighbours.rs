//! Room in the kernel's neighbour tables, which are one for all namespaces of the node.

use bulkhead_attach::{Gateway, GuardSwitch, guard_of};
use bulkhead_ipam::{AttachmentRecord, Pool};
use bulkhead_model::{Family, NetworkName};

use crate::doctor::finding::{Finding, Id};
use crate::doctor::node::{Node, Table, command};

/// The node's entry for the container, and the container's for the gateway.
const ENTRIES_EACH: u64 = 2;
/// Ports of one bridge (`BR_MAX_PORTS`, `net/bridge/br_private.h`).
const PORTS_MAX: u64 = 1024;

pub(super) fn check(node: &Node) -> Vec<Finding> {
    let families = || [Family::V4, Family::V6].into_iter();
    let limits = families().filter_map(|family| limit(node, family));
    let tables = families().filter_map(|family| fill(node, family));
    limits.chain(tables).collect()
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
    let path = |nth| path(family, nth);
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
    Some(raised(
        finding.of(networks).why(OVERFLOW),
        family,
        most.saturating_mul(2),
    ))
}

/// How full the table is, and whether it ever was: whatever fills it. What the guard keeps there for good
/// does not count (`neigh_alloc`, `net/core/neighbour.c`).
fn fill(node: &Node, family: Family) -> Option<Finding> {
    const FEW_LEFT: u64 = 80;
    const FULL: u64 = 95;
    let hard = node.sysctls.number(&path(family, 3))?;
    let table: Table = match family {
        Family::V4 => node.neighbours.v4?,
        Family::V6 => node.neighbours.v6?,
    };
    let permanent = permanent(node, family);
    let counted = table.entries.saturating_sub(permanent);
    let percent = counted
        .saturating_mul(100)
        .checked_div(hard)
        .unwrap_or_default();
    let version = version(family);
    let seen = format!(
        "the {version} neighbour table has {counted} entries besides {} permanent ones of ours, {} is {hard}; it has refused {} since the machine started",
        permanent.min(table.entries),
        path(family, 3),
        table.refused
    );
    let finding = if percent >= FULL {
        Finding::problem(Id::NeighbourTable, seen)
    } else if percent >= FEW_LEFT || table.refused > 0 {
        Finding::warn(Id::NeighbourTable, seen)
    } else {
        return Some(Finding::ok(Id::NeighbourTable, seen));
    };
    let networks = node.networks.iter().map(|network| &network.name);
    Some(
        raised(finding.of(networks).why(OVERFLOW), family, hard.saturating_mul(2)).help(format!(
            "or see who fills it: ip {} neigh show nud all, in the namespaces of the containers too",
            if family == Family::V6 { "-6" } else { "-4" }
        )),
    )
}

const OVERFLOW: &str = "one table serves all namespaces of the node: past gc_thresh2 entries are thrown out after 5 seconds, past gc_thresh3 packets to new neighbours are dropped (\"neighbour table overflow\" in the kernel's log)";

/// What a node's and a container's entries for each other take, where they are permanent: of guarded
/// ports.
fn permanent(node: &Node, family: Family) -> u64 {
    let linked = node.linked.iter().flat_map(|linked| &linked.live);
    let bridged = node.networks.iter().flat_map(|network| &network.live);
    let guarded = bridged.filter(|record| guard_of(&record.names).switch == GuardSwitch::On);
    let behind = node.guarded.iter();
    let behind = behind.filter(|record| Gateway::of_names(&record.names).is_some());
    let has = |record: &&AttachmentRecord| {
        let mut held = record.addresses.iter();
        held.any(|leased| leased.address.family() == family)
    };
    let count = linked.chain(guarded).chain(behind).filter(has).count();
    u64::try_from(count)
        .unwrap_or(u64::MAX)
        .saturating_mul(ENTRIES_EACH)
}

/// With the commands that make room for `entries`.
fn raised(finding: Finding, family: Family, entries: u64) -> Finding {
    let enough = entries.next_power_of_two();
    let set = |nth, value: u64| command(&path(family, nth), &value.to_string());
    finding
        .help(set(3, enough))
        .help(format!("and {}", set(2, enough / 2)))
        .help(format!("and {}", set(1, enough / 4)))
        .help("and for the next boot: bulkhead install --sysctl")
}

fn path(family: Family, nth: u8) -> String {
    format!("net/{}/neigh/default/gc_thresh{nth}", version(family))
}

const fn version(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}
