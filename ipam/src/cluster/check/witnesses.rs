//! Journal, store and kernel say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bulkhead_model::AttachmentKey;

use super::holders::is_pooled;
use super::rows::{Owned, World};
use super::say::{self, joined, kernel, lease, ordinal};
use super::{Container, Facts, Held, Journal, Kernel, Port, Rule, Violation};
use crate::cluster::geometry::Block;
use crate::cluster::name::PoolName;

pub(super) fn check(
    world: &World<'_>,
    facts: &Facts<'_>,
    twice: &BTreeSet<IpAddr>,
    found: &mut Vec<Violation>,
) {
    for journal in facts.journals {
        for held in &journal.held {
            found.extend(published(world, journal, held));
        }
        found.extend(recorded(world, journal));
        found.extend(blocks(world, journal));
        let kernels = facts.kernels.iter();
        for kernel in kernels.filter(|kernel| kernel.node == journal.node) {
            attached(world, journal, kernel, found);
            unrecorded(world, journal, kernel, twice, found);
        }
    }
}

fn violation(
    rule: Rule,
    world: &World<'_>,
    journal: &Journal,
    held: &Held,
    text: String,
) -> Violation {
    Violation {
        rule,
        subject: ordinal(world, &held.pool, held.ordinal),
        text,
        evidence: vec![say::held(journal, held)],
        pool: Some(held.pool.clone()),
        nodes: vec![journal.node.clone()],
    }
}

/// What a journal has is in a block of its node, and published.
fn published(world: &World<'_>, journal: &Journal, held: &Held) -> Option<Violation> {
    let place = (held.pool.clone(), held.ordinal);
    let node = &journal.node;
    let name = world.name(node);
    let row = world.leases.get(&place);
    if world.block_of(node, &held.pool, held.ordinal).is_none() {
        // The row tells of it already, if there is one and it is no old one.
        let told = row.is_some_and(|leased| leased.row.node == *node);
        if told && !journal.queued.contains(&place) {
            return None;
        }
        let text = format!(
            "{name} has it on record, and in no block of its own; restart that node's daemon, which detaches what it may not have"
        );
        let mut violation = violation(Rule::LeaseOutsideBlock, world, journal, held, text);
        let blocks = world.blocks_around(&held.pool, held.ordinal);
        violation
            .evidence
            .extend(blocks.map(|owned| say::block(world, owned)));
        return Some(violation);
    }
    if journal.queued.contains(&place) {
        return None;
    }
    let Some(leased) = row else {
        let text = format!(
            "{name} has it on record and has not published it; restart that node's daemon, which compares them"
        );
        return Some(violation(
            Rule::LeaseUnpublished,
            world,
            journal,
            held,
            text,
        ));
    };
    let row = &leased.row;
    let same = row.attachment == held.attachment
        && row.sequence == held.sequence
        && held
            .addresses
            .iter()
            .all(|address| row.addresses.contains(address));
    // Another node's row is told of as one that is not on its record, or as an address that is had twice.
    if same || row.node != *node {
        return None;
    }
    let text = format!(
        "what {name} has on record is published otherwise; restart that node's daemon, which compares them"
    );
    let mut violation = violation(Rule::LeaseDiffers, world, journal, held, text);
    violation.evidence.push(lease(world, leased));
    Some(violation)
}

/// What is published is on record.
fn recorded(world: &World<'_>, journal: &Journal) -> Vec<Violation> {
    let held = journal.held.iter();
    let held: BTreeSet<_> = held.map(|held| (&held.pool, held.ordinal)).collect();
    let extra = world.leases.iter().filter(|(place, leased)| {
        leased.row.node == journal.node
            && !journal.queued.contains(place)
            && !held.contains(&(&place.0, place.1))
    });
    extra
        .map(|(place, leased)| Violation {
            rule: Rule::LeaseUnrecorded,
            subject: ordinal(world, &place.0, place.1),
            text: format!(
                "it is published as leased by {}, which has it not on record; restart that node's daemon, which compares them",
                world.name(&journal.node)
            ),
            evidence: vec![
                lease(world, leased),
                say::journal(journal, "nothing of it".to_owned()),
            ],
            pool: Some(place.0.clone()),
            nodes: vec![journal.node.clone()],
        })
        .collect()
}

/// The blocks that a node takes for its own are, and no others.
fn blocks(world: &World<'_>, journal: &Journal) -> Vec<Violation> {
    let Some(own) = &journal.blocks else {
        return Vec::new();
    };
    let name = world.name(&journal.node);
    let own: BTreeSet<&(PoolName, Block)> = own.iter().collect();
    let rows = world.blocks.iter();
    let rows = rows.filter(|owned| owned.row.node == journal.node);
    let rows: BTreeMap<(PoolName, Block), &Owned<'_>> = rows
        .map(|owned| ((owned.pool.clone(), owned.block), owned))
        .collect();
    let unknown = rows.iter().filter(|(place, _)| !own.contains(place));
    let unknown = unknown.map(|((pool, _), owned)| Violation {
        rule: Rule::BlockDiffers,
        subject: say::prefixes(world, owned),
        text: format!(
            "it is {name}'s, which does not take it for its own; restart that node's daemon, which compares them"
        ),
        evidence: vec![
            say::block(world, owned),
            say::journal(journal, "nothing of it".to_owned()),
        ],
        pool: Some(pool.clone()),
        nodes: vec![journal.node.clone()],
    });
    let missing = own.iter().filter(|place| !rows.contains_key(place));
    let missing = missing.map(|(pool, block)| Violation {
        rule: Rule::BlockDiffers,
        subject: format!("block {block} of pool {pool}"),
        text: format!(
            "{name} takes it for its own, and the store does not; restart that node's daemon, which compares them"
        ),
        evidence: std::iter::once(say::journal(journal, format!("ordinals {block}")))
            .chain(world.overlapping(pool, *block).map(|owned| say::block(world, owned)))
            .collect(),
        pool: Some(pool.clone()),
        nodes: vec![journal.node.clone()],
    });
    unknown.chain(missing).collect()
}

/// What a journal has is in the kernel.
fn attached(world: &World<'_>, journal: &Journal, kernel: &Kernel, found: &mut Vec<Violation>) {
    let mut containers: BTreeMap<&AttachmentKey, &Container> = BTreeMap::new();
    for container in &kernel.containers {
        if let Some(attachment) = &container.attachment {
            containers.insert(attachment, container);
        }
    }
    for held in &journal.held {
        let container = containers.get(&held.attachment).copied();
        let Some((rule, text)) = lacks(held, container) else {
            continue;
        };
        let mut violation = violation(rule, world, journal, held, text);
        violation.evidence.push(match container {
            Some(container) => say::kernel(container),
            None => super::Evidence {
                source: super::Witness::Kernel,
                place: "namespaces".to_owned(),
                says: format!("nothing of attachment {}", held.attachment),
            },
        });
        found.push(violation);
    }
}

fn lacks(held: &Held, container: Option<&Container>) -> Option<(Rule, String)> {
    let attachment = &held.attachment;
    let Some(container) = container else {
        let text = format!(
            "attachment {attachment} is on record and nowhere in the kernel; collect what is dead, or repair the attachment"
        );
        return Some((Rule::AttachmentMissing, text));
    };
    if container.port == Port::Missing {
        let text = format!("attachment {attachment} has no port; repair the attachment");
        return Some((Rule::PortMissing, text));
    }
    let there = container.addresses.as_ref()?;
    let missing = held.addresses.iter().copied();
    let missing: Vec<IpAddr> = missing.filter(|address| !there.contains(address)).collect();
    (!missing.is_empty()).then(|| {
        let text = format!(
            "attachment {attachment} lacks {}; repair the attachment",
            joined(&missing)
        );
        (Rule::AddressMissing, text)
    })
}

/// What is in the kernel of pools is on record.
fn unrecorded(
    world: &World<'_>,
    journal: &Journal,
    of: &Kernel,
    twice: &BTreeSet<IpAddr>,
    found: &mut Vec<Violation>,
) {
    let mut recorded: BTreeSet<(&AttachmentKey, IpAddr)> = BTreeSet::new();
    for held in &journal.held {
        recorded.extend(
            held.addresses
                .iter()
                .map(|address| (&held.attachment, *address)),
        );
    }
    for container in &of.containers {
        let is_recorded = |address: &IpAddr| {
            let attachment = container.attachment.as_ref();
            attachment.is_some_and(|key| recorded.contains(&(key, *address)))
        };
        let addresses = container.addresses.iter().flatten().copied();
        let extra: Vec<IpAddr> = addresses
            .filter(|address| is_pooled(world, *address))
            .filter(|address| !is_recorded(address) && !twice.contains(address))
            .collect();
        if extra.is_empty() {
            continue;
        }
        found.push(Violation {
            rule: Rule::AddressUnrecorded,
            subject: joined(&extra),
            text: "it is in use and on no record of the node; delete the container that has it"
                .to_owned(),
            evidence: vec![
                kernel(container),
                say::journal(journal, "nothing of it".to_owned()),
            ],
            pool: world
                .pools
                .iter()
                .find(|(_, (_, row))| row.geometry.ordinal(extra[0]).is_some())
                .map(|(pool, _)| pool.clone()),
            nodes: vec![of.node.clone()],
        });
    }
}
