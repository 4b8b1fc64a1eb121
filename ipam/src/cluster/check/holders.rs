//! No address has two holders, whoever says so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bulkhead_model::AttachmentKey;

use super::rows::World;
use super::say::{held, joined, kernel, lease};
use super::{Evidence, Facts, Rule, Violation};
use crate::cluster::name::{NodeId, PoolName};

/// Somebody who has addresses, as one witness says.
struct Claim<'a> {
    holder: Holder<'a>,
    node: &'a NodeId,
    says: Says<'a>,
}

#[derive(Eq, Ord, PartialEq, PartialOrd)]
enum Holder<'a> {
    Attachment(&'a NodeId, &'a AttachmentKey),
    /// Somewhere in a kernel, whoever it is.
    Somebody(&'a NodeId, &'a str),
}

enum Says<'a> {
    Row(&'a (PoolName, u64)),
    Journal(usize, usize),
    Kernel(usize, usize),
}

/// The addresses that have two holders.
pub(super) fn check(
    world: &World<'_>,
    facts: &Facts<'_>,
    found: &mut Vec<Violation>,
) -> BTreeSet<IpAddr> {
    let (claims, mut claimed) = claims(world, facts);
    claimed.sort_unstable();
    claimed.dedup();
    let mut conflicts: BTreeMap<Vec<usize>, Vec<IpAddr>> = BTreeMap::new();
    for same in claimed.chunk_by(|a, b| a.0 == b.0) {
        let who: Vec<usize> = same.iter().map(|(_, nth)| *nth).collect();
        let first = &claims[who[0]].holder;
        if who.iter().any(|nth| claims[*nth].holder != *first) {
            conflicts.entry(who).or_default().push(same[0].0);
        }
    }
    for (who, addresses) in &conflicts {
        let who: Vec<&Claim<'_>> = who.iter().map(|nth| &claims[*nth]).collect();
        found.push(violation(world, facts, &who, addresses));
    }
    conflicts.into_values().flatten().collect()
}

type Claims<'a> = (Vec<Claim<'a>>, Vec<(IpAddr, usize)>);

/// A node's journals know better than what it has published: rows are for nodes whose journals are not
/// known.
fn claims<'a>(world: &'a World<'_>, facts: &'a Facts<'_>) -> Claims<'a> {
    let mut claims = Vec::new();
    let mut claimed = Vec::new();
    let mut claim = |claim: Claim<'a>, addresses: &mut dyn Iterator<Item = IpAddr>| {
        claimed.extend(addresses.map(|address| (address, claims.len())));
        claims.push(claim);
    };
    let meant = |pool: &PoolName, ordinal: u64| {
        let row = world.pools.get(pool);
        row.map_or_else(Vec::new, |(_, row)| row.geometry.addresses(ordinal))
    };
    for (place, leased) in &world.leases {
        let row = &leased.row;
        if !world.has_journal(&row.node) {
            let holder = Holder::Attachment(&row.node, &row.attachment);
            let says = Says::Row(place);
            let node = &row.node;
            let mut addresses = row
                .addresses
                .iter()
                .copied()
                .chain(meant(&place.0, place.1));
            claim(Claim { holder, node, says }, &mut addresses);
        }
    }
    for (of, journal) in facts.journals.iter().enumerate() {
        for (nth, held) in journal.held.iter().enumerate() {
            let node = &journal.node;
            let holder = Holder::Attachment(node, &held.attachment);
            let says = Says::Journal(of, nth);
            let mut addresses = held.addresses.iter().copied();
            let mut addresses = addresses.by_ref().chain(meant(&held.pool, held.ordinal));
            claim(Claim { holder, node, says }, &mut addresses);
        }
    }
    for (of, kernel) in facts.kernels.iter().enumerate() {
        for (nth, container) in kernel.containers.iter().enumerate() {
            let node = &kernel.node;
            let holder = match &container.attachment {
                Some(attachment) => Holder::Attachment(node, attachment),
                None => Holder::Somebody(node, &container.place),
            };
            let says = Says::Kernel(of, nth);
            let addresses = container.addresses.iter().flatten().copied();
            let mut pooled = addresses.filter(|address| is_pooled(world, *address));
            claim(Claim { holder, node, says }, &mut pooled);
        }
    }
    (claims, claimed)
}

/// Whether an address is of a pool.
pub(super) fn is_pooled(world: &World<'_>, address: IpAddr) -> bool {
    let mut pools = world.pools.values();
    pools.any(|(_, row)| row.geometry.ordinal(address).is_some())
}

fn violation(
    world: &World<'_>,
    facts: &Facts<'_>,
    who: &[&Claim<'_>],
    addresses: &[IpAddr],
) -> Violation {
    let mut nodes: Vec<NodeId> = who.iter().map(|claim| claim.node.clone()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    let pool = world.pools.iter().find_map(|(pool, (_, row))| {
        let of = row.geometry.ordinal(addresses[0]);
        of.map(|_| pool.clone())
    });
    Violation {
        rule: Rule::AddressTwice,
        subject: joined(addresses),
        text: "it has two holders; delete the container that got it later, on its node".to_owned(),
        evidence: who
            .iter()
            .filter_map(|claim| evidence(world, facts, claim))
            .collect(),
        pool,
        nodes,
    }
}

fn evidence(world: &World<'_>, facts: &Facts<'_>, claim: &Claim<'_>) -> Option<Evidence> {
    Some(match claim.says {
        Says::Row(place) => lease(world, world.leases.get(place)?),
        Says::Journal(of, nth) => {
            let journal = &facts.journals[of];
            held(journal, &journal.held[nth])
        }
        Says::Kernel(of, nth) => kernel(&facts.kernels[of].containers[nth]),
    })
}
