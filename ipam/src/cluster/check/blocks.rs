//! Blocks lie in their pools, apart, and are of nodes that live.

use super::rows::{Owned, World};
use super::say::{block, prefixes, store};
use super::{Evidence, Rule, Violation};
use crate::cluster::name::NodeId;
use crate::cluster::schema::FenceState;

/// How a node stands to a row of its own.
pub(super) enum Life {
    /// The row may be.
    Goes,
    /// No fence is known.
    Unknown,
    /// It has ended, or has not begun; what the fence says.
    Over(Evidence),
}

pub(super) fn check(world: &World<'_>, found: &mut Vec<Violation>) {
    for owned in &world.blocks {
        found.extend(of_pool(world, owned));
        found.extend(of_node(world, owned));
    }
    found.extend(overlaps(world));
}

fn violation(rule: Rule, world: &World<'_>, owned: &Owned<'_>, text: String) -> Violation {
    Violation {
        rule,
        subject: prefixes(world, owned),
        text,
        evidence: vec![block(world, owned)],
        pool: Some(owned.pool.clone()),
        nodes: vec![owned.row.node.clone()],
    }
}

fn of_pool(world: &World<'_>, owned: &Owned<'_>) -> Option<Violation> {
    let pool = &owned.pool;
    let Some((key, row)) = world.pools.get(pool) else {
        let text = format!(
            "there is no pool {pool} that it could be a part of; put the pool's row back, or say that the node is lost"
        );
        return Some(violation(Rule::BlockOutsidePool, world, owned, text));
    };
    if !row.geometry.whole().covers(owned.block) {
        let size = row.geometry.size();
        let text = format!(
            "it ends at ordinal {}, and pool {pool} has {size}; make the pool as large as it was",
            owned.block.end() - 1
        );
        let mut violation = violation(Rule::BlockOutsidePool, world, owned, text);
        violation
            .evidence
            .push(store(key, format!("{size} ordinals")));
        return Some(violation);
    }
    if owned.block.bits() > row.largest_bits {
        let largest = row.largest_bits;
        let text = format!(
            "it has 2^{} ordinals, and pool {pool} says that it never had blocks of more than 2^{largest}; raise block_bits of the pool once",
            owned.block.bits()
        );
        let mut violation = violation(Rule::BlockTooLarge, world, owned, text);
        violation
            .evidence
            .push(store(key, format!("largest_bits {largest}")));
        return Some(violation);
    }
    None
}

fn of_node(world: &World<'_>, owned: &Owned<'_>) -> Option<Violation> {
    let node = &owned.row.node;
    match life(world, node) {
        Life::Unknown => {
            let text =
                format!("node {node} that it is of never registered; put the node's fence back");
            Some(violation(Rule::UnknownNode, world, owned, text))
        }
        Life::Over(evidence) => {
            let text = format!(
                "node {} that it is of was declared lost; say so again, so that it is given up",
                world.name(node)
            );
            let mut violation = violation(Rule::StaleFence, world, owned, text);
            violation.evidence.push(evidence);
            Some(violation)
        }
        // A node that comes back before everything was given up goes on with blocks of an earlier epoch.
        Life::Goes => ahead(world, node, owned.row.epoch).map(|evidence| {
            let text = format!(
                "it is of epoch {} of node {}, which that has not reached; put the node's fence back as it was",
                owned.row.epoch,
                world.name(node)
            );
            let mut violation = violation(Rule::StaleFence, world, owned, text);
            violation.evidence.push(evidence);
            violation
        }),
    }
}

/// Whether rows of a node may be.
pub(super) fn life(world: &World<'_>, node: &NodeId) -> Life {
    match world.fences.get(node) {
        None => Life::Unknown,
        Some((key, fence)) if fence.state == FenceState::Lost => Life::Over(store(
            key,
            format!("lost in epoch {}, by {}", fence.epoch, fence.by),
        )),
        Some(_) => Life::Goes,
    }
}

/// What the fence says if an epoch has not begun yet.
pub(super) fn ahead(world: &World<'_>, node: &NodeId, epoch: u64) -> Option<Evidence> {
    let (key, fence) = world.fences.get(node)?;
    (epoch > fence.epoch).then(|| store(key, format!("epoch {}", fence.epoch)))
}

/// Blocks in their order overlap only with the one that reaches furthest before them.
fn overlaps(world: &World<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut furthest: Option<&Owned<'_>> = None;
    for owned in &world.blocks {
        let before = furthest.filter(|before| before.pool == owned.pool);
        if let Some(before) = before.filter(|before| before.block.overlaps(owned.block)) {
            found.push(Violation {
                rule: Rule::BlocksOverlap,
                subject: prefixes(world, owned),
                text: format!(
                    "{} of {} and {} of {} have ordinals in common; say that one of the nodes is lost once it is switched off",
                    prefixes(world, before),
                    world.name(&before.row.node),
                    prefixes(world, owned),
                    world.name(&owned.row.node)
                ),
                evidence: vec![block(world, before), block(world, owned)],
                pool: Some(owned.pool.clone()),
                nodes: vec![before.row.node.clone(), owned.row.node.clone()],
            });
        }
        if before.is_none_or(|before| before.block.end() < owned.block.end()) {
            furthest = Some(owned);
        }
    }
    found
}
