//! Leases as they are published lie in blocks of their nodes, have the addresses of their ordinals, and
//! no address that is somebody else's or nobody's.

use super::blocks::{Life, ahead, life};
use super::rows::{Leased, World};
use super::say::{block, joined, lease, ordinal, store};
use super::{Rule, Violation};
use crate::cluster::geometry::Unusable;
use crate::cluster::name::PoolName;

pub(super) fn check(world: &World<'_>, found: &mut Vec<Violation>) {
    for (place, leased) in &world.leases {
        // Its node has written it anew already.
        if world.is_queued(&leased.row.node, place) {
            continue;
        }
        let (pool, at) = (&place.0, place.1);
        found
            .extend(of_node(world, pool, at, leased).or_else(|| in_block(world, pool, at, leased)));
        found.extend(addresses(world, pool, at, leased));
        found.extend(reserved(world, pool, at, leased));
    }
}

fn violation(
    rule: Rule,
    world: &World<'_>,
    (pool, at): (&PoolName, u64),
    leased: &Leased<'_>,
    text: String,
) -> Violation {
    Violation {
        rule,
        subject: ordinal(world, pool, at),
        text,
        evidence: vec![lease(world, leased)],
        pool: Some(pool.clone()),
        nodes: vec![leased.row.node.clone()],
    }
}

fn of_node(world: &World<'_>, pool: &PoolName, at: u64, leased: &Leased<'_>) -> Option<Violation> {
    let node = &leased.row.node;
    let owned = world.block_of(node, pool, at);
    let epoch = leased.row.epoch;
    let (rule, text, evidence) = match life(world, node) {
        // The block tells of it already.
        Life::Unknown | Life::Over(_) if owned.is_some() => return None,
        Life::Unknown => (
            Rule::UnknownNode,
            format!("node {node} that leases it never registered; remove the row"),
            None,
        ),
        Life::Over(evidence) => (
            Rule::StaleFence,
            format!(
                "node {} that leases it was declared lost; say so again, so that it is given up",
                world.name(node)
            ),
            Some(evidence),
        ),
        Life::Goes => {
            let (key, fence) = world.fences.get(node)?;
            let behind =
                (epoch < fence.epoch).then(|| store(key, format!("epoch {}", fence.epoch)));
            let evidence = behind.or_else(|| ahead(world, node, epoch))?;
            (
                Rule::StaleFence,
                format!(
                    "it is leased in epoch {epoch} of node {}, which is in epoch {}; the node's daemon publishes it anew when it reaches the store",
                    world.name(node),
                    fence.epoch
                ),
                Some(evidence),
            )
        }
    };
    let mut violation = violation(rule, world, (pool, at), leased, text);
    violation.evidence.extend(evidence);
    violation
        .evidence
        .extend(owned.map(|owned| block(world, owned)));
    Some(violation)
}

fn in_block(world: &World<'_>, pool: &PoolName, at: u64, leased: &Leased<'_>) -> Option<Violation> {
    let node = &leased.row.node;
    if world.block_of(node, pool, at).is_some() {
        return None;
    }
    let others: Vec<_> = world.blocks_around(pool, at).collect();
    let whose = match others.first() {
        Some(owned) => format!("lies in a block of {}", world.name(&owned.row.node)),
        None => "lies in no block".to_owned(),
    };
    let text = format!(
        "it is leased by {} and {whose}; restart that node's daemon, which detaches what it may not have",
        world.name(node)
    );
    let mut violation = violation(Rule::LeaseOutsideBlock, world, (pool, at), leased, text);
    let blocks = others.into_iter().map(|owned| block(world, owned));
    violation.evidence.extend(blocks);
    Some(violation)
}

fn addresses(
    world: &World<'_>,
    pool: &PoolName,
    at: u64,
    leased: &Leased<'_>,
) -> Option<Violation> {
    let (key, row) = world.pools.get(pool)?;
    if !row.geometry.whole().contains(at) {
        return None;
    }
    if let Some(why @ (Unusable::End(_) | Unusable::Gateway(_) | Unusable::Node(_))) =
        row.geometry.unusable(at)
    {
        let text = format!("it is leased, and {why}; delete the container that has it");
        return Some(violation(
            Rule::AddressNeverGiven,
            world,
            (pool, at),
            leased,
            text,
        ));
    }
    let expected = row.geometry.addresses(at);
    if leased.row.addresses == expected {
        return None;
    }
    let text = format!(
        "its row says {}, and ordinal {at} of pool {pool} is {}; delete the container that has it",
        joined(&leased.row.addresses),
        joined(&expected)
    );
    let mut violation = violation(Rule::LeaseAddresses, world, (pool, at), leased, text);
    let prefixes: Vec<String> = row.geometry.prefixes().map(|p| p.to_string()).collect();
    violation.evidence.push(store(key, prefixes.join(" and ")));
    Some(violation)
}

fn reserved(world: &World<'_>, pool: &PoolName, at: u64, leased: &Leased<'_>) -> Option<Violation> {
    let (_, row) = world.pools.get(pool)?;
    let addresses = row.geometry.addresses(at);
    let (key, name, reservation) = world.reservations.iter().find(|(_, _, reservation)| {
        let holds =
            reservation.is_of(pool) && addresses.iter().any(|address| reservation.holds(*address));
        // What was leased before it was reserved stays until it ends.
        holds && leased.row.since_unix_ms >= reservation.at_unix_ms
    })?;
    if reservation.is_for(leased.row.pod.as_ref(), &leased.row.labels) {
        return None;
    }
    let text = format!(
        "it was leased after reservation {name} was made, which is not for its holder; delete the container that has it, or end the reservation"
    );
    let mut violation = violation(Rule::ReservationViolated, world, (pool, at), leased, text);
    let spans: Vec<String> = reservation.spans.iter().map(ToString::to_string).collect();
    let since = reservation.at_unix_ms;
    let says = format!("{} reserved since {since}", spans.join(", "));
    violation.evidence.push(store(key, says));
    Some(violation)
}
