//! What nodes say of themselves, against each other and against the store.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use bulkhead_model::AttachmentKey;

use super::store::Read;
use super::{Evidence, KernelFact, NodeFacts, Rule, Violation, Witness};
use crate::cluster::ledger::LeaseFact;
use crate::cluster::name::{NodeId, PoolName};
use crate::cluster::schema::{LeaseRow, Place};

/// A lease as whoever knows it best says: the node's journal, or the row of a node that was not asked.
pub(super) struct KnownLease<'a> {
    key: &'a AttachmentKey,
    node: &'a NodeId,
    pool: &'a PoolName,
    ordinal: u64,
    addresses: &'a [IpAddr],
    evidence: Evidence,
}

/// Every lease.
pub(super) fn all_leases<'a>(
    read: &'a Read<'_>,
    nodes: &'a BTreeMap<NodeId, NodeFacts>,
) -> Vec<KnownLease<'a>> {
    let journals = nodes.iter().flat_map(|(node, facts)| {
        facts.leases.iter().map(move |lease| KnownLease {
            key: &lease.key,
            node,
            pool: &lease.pool,
            ordinal: lease.ordinal,
            addresses: &lease.addresses,
            evidence: journal(node, lease),
        })
    });
    let others = read
        .leases
        .iter()
        .filter(|(_, row)| !nodes.contains_key(&row.node));
    let others = others.map(|((pool, ordinal), row)| KnownLease {
        key: &row.attachment,
        node: &row.node,
        pool,
        ordinal: *ordinal,
        addresses: &row.addresses,
        evidence: published(read, pool, *ordinal, row),
    });
    journals.chain(others).collect()
}

fn journal(node: &NodeId, lease: &LeaseFact) -> Evidence {
    Evidence {
        witness: Witness::Journal,
        place: format!("node {node}, network {}", lease.key.network),
        says: format!(
            "attachment {} has ordinal {} of pool {}, sequence {}",
            lease.key, lease.ordinal, lease.pool, lease.sequence
        ),
    }
}

fn published(read: &Read<'_>, pool: &PoolName, ordinal: u64, row: &LeaseRow) -> Evidence {
    let place = Place::Lease {
        pool: pool.clone(),
        ordinal,
    };
    let says = format!(
        "attachment {} on node {} has it, sequence {}, epoch {}",
        row.attachment, row.node, row.sequence, row.epoch
    );
    read.evidence(&place, says)
}

/// That no address is two attachments'.
pub(super) fn check_addresses(leases: &[KnownLease<'_>], found: &mut Vec<Violation>) {
    let mut holders: HashMap<IpAddr, &KnownLease<'_>> = HashMap::new();
    for lease in leases {
        for address in lease.addresses {
            let Some(other) = holders.insert(*address, lease) else {
                continue;
            };
            if other.key == lease.key && other.node == lease.node {
                continue;
            }
            found.push(Violation {
                rule: Rule::AddressTwice,
                subject: format!("address {address}"),
                text: format!(
                    "attachments {} on node {} and {} on node {} both have it; delete the one that is not meant",
                    other.key, other.node, lease.key, lease.node
                ),
                evidence: vec![other.evidence.clone(), lease.evidence.clone()],
            });
        }
    }
}

/// That every lease lies in a block of its node, and has its ordinal's addresses.
pub(super) fn check_places(read: &Read<'_>, leases: &[KnownLease<'_>], found: &mut Vec<Violation>) {
    for lease in leases {
        let subject = || format!("attachment {}", lease.key);
        let around = read.around(lease.pool, lease.ordinal);
        if around.is_none_or(|(_, row)| row.node != *lease.node) {
            let owner = around.map(|(block, row)| read.block_evidence(lease.pool, *block, row));
            let owner = owner.unwrap_or_else(|| Evidence {
                witness: Witness::Store,
                place: format!("{}blocks/{}/", read.schema.root(), lease.pool),
                says: format!("ordinal {} is in no block", lease.ordinal),
            });
            found.push(Violation {
                rule: Rule::LeaseOutsideBlock,
                subject: subject(),
                text: format!("it has ordinal {} of pool {}, which is not in a block of its node {}; the node's daemon detaches it when it is next in step with the store", lease.ordinal, lease.pool, lease.node),
                evidence: vec![lease.evidence.clone(), owner],
            });
        }
        let geometry = read.pools.get(lease.pool).map(|row| &row.geometry);
        let expected = geometry.map(|geometry| geometry.addresses(lease.ordinal));
        if expected.as_deref() != Some(lease.addresses) {
            let text = |addresses: &[IpAddr]| {
                let texts: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
                texts.join(", ")
            };
            let pool = read.evidence(
                &Place::Pool(lease.pool.clone()),
                format!(
                    "the ordinal's addresses are {}",
                    text(&expected.unwrap_or_default())
                ),
            );
            found.push(Violation {
                rule: Rule::LeaseAddresses,
                subject: subject(),
                text: format!("its addresses {} are not those of ordinal {} of pool {}; put the pool's prefixes back", text(lease.addresses), lease.ordinal, lease.pool),
                evidence: vec![lease.evidence.clone(), pool],
            });
        }
    }
}

/// That a node's journals and its rows say the same, but for what it is about to write.
pub(super) fn check_published(
    read: &Read<'_>,
    node: &NodeId,
    facts: &NodeFacts,
    found: &mut Vec<Violation>,
) {
    let waits: HashSet<(&PoolName, u64)> = facts.unpublished.iter().map(|(p, o)| (p, *o)).collect();
    let mut held: HashSet<(&PoolName, u64)> = HashSet::new();
    for lease in &facts.leases {
        let place = (&lease.pool, lease.ordinal);
        held.insert(place);
        let row = read.leases.get(&(lease.pool.clone(), lease.ordinal));
        let same = row.is_some_and(|row| {
            row.attachment == lease.key && row.node == *node && row.sequence == lease.sequence
        });
        if same || waits.contains(&place) {
            continue;
        }
        let says = row.map(|row| published(read, &lease.pool, lease.ordinal, row));
        let says = says.unwrap_or_else(|| {
            let place = Place::Lease {
                pool: lease.pool.clone(),
                ordinal: lease.ordinal,
            };
            read.evidence(&place, "there is no row".to_owned())
        });
        found.push(Violation {
            rule: Rule::Unpublished,
            subject: format!("attachment {}", lease.key),
            text: format!("the store does not say what the journal of node {node} does; restart the node's daemon, which makes them the same"),
            evidence: vec![journal(node, lease), says],
        });
    }
    let own = read.leases.iter().filter(|(_, row)| row.node == *node);
    for ((pool, ordinal), row) in own {
        if held.contains(&(pool, *ordinal)) || waits.contains(&(pool, *ordinal)) {
            continue;
        }
        let journal = Evidence {
            witness: Witness::Journal,
            place: format!("node {node}"),
            says: "no attachment has it".to_owned(),
        };
        found.push(Violation {
            rule: Rule::PublishedUnheld,
            subject: format!("attachment {}", row.attachment),
            text: format!("the store says that it has ordinal {ordinal} of pool {pool}, and the journal of node {node} does not; restart the node's daemon, which makes them the same"),
            evidence: vec![published(read, pool, *ordinal, row), journal],
        });
    }
}

/// That a node's ledger has the blocks that the store says it has.
pub(super) fn check_ledger(
    read: &Read<'_>,
    node: &NodeId,
    facts: &NodeFacts,
    found: &mut Vec<Violation>,
) {
    let Some(blocks) = &facts.blocks else {
        return;
    };
    let says = |says: &str| Evidence {
        witness: Witness::Ledger,
        place: format!("node {node}"),
        says: says.to_owned(),
    };
    let known: HashSet<(&PoolName, u64, u8)> = blocks
        .iter()
        .map(|(pool, block)| (pool, block.first(), block.bits()))
        .collect();
    let mut rows = HashSet::new();
    for ((pool, first), (block, row)) in &read.blocks {
        if row.node != *node {
            continue;
        }
        rows.insert((pool, *first, block.bits()));
        if !known.contains(&(pool, *first, block.bits())) {
            found.push(Violation {
                rule: Rule::BlockUnknown,
                subject: read.subject(pool, *block),
                text: format!("node {node} does not know that it has it, so nobody uses it; restart the node's daemon without its ledger's file"),
                evidence: vec![read.block_evidence(pool, *block, row), says("it is not among its blocks")],
            });
        }
    }
    for (pool, block) in blocks {
        if !rows.contains(&(pool, block.first(), block.bits())) {
            found.push(Violation {
                rule: Rule::BlockUnknown,
                subject: read.subject(pool, *block),
                text: format!("node {node} thinks that it has it, and the store does not say so; its daemon finds out when it is next in step with the store"),
                evidence: vec![says("it is among its blocks")],
            });
        }
    }
}

/// That the kernel has the addresses of the journals, and of the pools no others.
pub(super) fn check_kernel(
    read: &Read<'_>,
    node: &NodeId,
    facts: &NodeFacts,
    found: &mut Vec<Violation>,
) {
    let Some(kernel) = &facts.kernel else {
        return;
    };
    let seen: HashMap<IpAddr, &KernelFact> = kernel
        .iter()
        .flat_map(|fact| fact.addresses.iter().map(move |address| (*address, fact)))
        .collect();
    let mut recorded = HashSet::new();
    for lease in &facts.leases {
        recorded.extend(lease.addresses.iter().copied());
        let missing = lease
            .addresses
            .iter()
            .find(|address| !seen.contains_key(*address));
        if let Some(address) = missing {
            let kernel = Evidence {
                witness: Witness::Kernel,
                place: format!("node {node}"),
                says: format!("no interface has {address}"),
            };
            found.push(Violation {
                rule: Rule::NotInKernel,
                subject: format!("attachment {}", lease.key),
                text: format!("its address {address} is on no interface of node {node}; if its container is dead, `bulkhead ipam gc` ends it, else `bulkhead repair` mends it"),
                evidence: vec![journal(node, lease), kernel],
            });
        }
    }
    let of_pools = |address: &IpAddr| {
        let mut pools = read.pools.values();
        pools.any(|row| {
            row.geometry
                .ordinal(*address)
                .is_some_and(|at| row.geometry.is_usable(at))
        })
    };
    for (address, fact) in seen {
        if recorded.contains(&address) || !of_pools(&address) {
            continue;
        }
        let whose = fact
            .attachment
            .as_ref()
            .map(|key| format!(" of attachment {key}"));
        found.push(Violation {
            rule: Rule::KernelUnrecorded,
            subject: format!("address {address}"),
            text: format!("it is in the kernel of node {node} and in none of its journals; remove it from {} there", fact.place),
            evidence: vec![Evidence {
                witness: Witness::Kernel,
                place: format!("node {node}, {}", fact.place),
                says: format!("it is there{}", whose.unwrap_or_default()),
            }],
        });
    }
}
