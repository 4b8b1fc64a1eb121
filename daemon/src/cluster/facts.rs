//! What the journals say of addresses of pools, for a ledger that begins.

use std::collections::BTreeMap;

use bulkhead_ipam::cluster::PoolName;
use bulkhead_ipam::cluster::ledger::{EndedLease, FreedFact, LeaseFact, LedgerFile};
use bulkhead_ipam::{AttachmentRecord, Ended as EndedRecord, FreedAddress, Recorded, StateDir};

use super::ClusterError;
use super::leases::ended;

/// Leases that stand, and ordinals that were freed. What is freed is known by its address alone: without
/// the file, which has the pools, nothing of it can cool down, and the store tells what is whose.
pub(super) fn recorded(
    state: &StateDir,
    file: Option<&LedgerFile>,
) -> Result<(Vec<LeaseFact>, Vec<FreedFact>), ClusterError> {
    let mut leases = Vec::new();
    let mut freed: BTreeMap<(PoolName, u64), FreedFact> = BTreeMap::new();
    for recorded in state.everything()? {
        match recorded? {
            Recorded::Attachment(record) => leases.extend(lease(&record)),
            Recorded::Freed(address) => {
                let fact = file.and_then(|file| cooling(file, &address));
                freed.extend(fact.map(|fact| ((fact.pool.clone(), fact.ordinal), fact)));
            }
        }
    }
    let mut freed: Vec<FreedFact> = freed.into_values().collect();
    if let Some(file) = file {
        for ended in state.ended_since(file.audited_until_unix_ms())? {
            freed.extend(unaudited(file, ended?));
        }
    }
    Ok((leases, freed))
}

fn lease(record: &AttachmentRecord) -> Option<LeaseFact> {
    let lease = record.pool.as_ref()?;
    let addresses = record.addresses.iter();
    Some(LeaseFact {
        key: record.key.clone(),
        sequence: record.sequence,
        pool: lease.pool.parse().ok()?,
        ordinal: lease.ordinal,
        addresses: addresses.map(|leased| leased.address.address()).collect(),
        since_unix_ms: record.created_at_unix_ms,
        pod: record.pod.clone(),
        labels: record.labels.clone(),
    })
}

fn cooling(file: &LedgerFile, freed: &FreedAddress) -> Option<FreedFact> {
    let (pool, ordinal) = file.place_of(&freed.network, freed.address)?;
    Some(FreedFact {
        pool,
        ordinal,
        ago_ms: freed.freed_ms_ago,
        lease: None,
    })
}

/// A lease whose end the store's audit may not have.
fn unaudited(file: &LedgerFile, record: EndedRecord) -> Option<FreedFact> {
    let mut addresses = record.addresses.iter();
    let (pool, ordinal) =
        addresses.find_map(|address| file.place_of(&record.key.network, *address))?;
    let lease = EndedLease {
        key: record.key,
        sequence: record.sequence,
        since_unix_ms: record.since_unix_ms,
        at_unix_ms: record.at_unix_ms,
        ended: ended(&record.reason),
        reason: record.reason,
        pod: record.pod,
    };
    Some(FreedFact {
        pool,
        ordinal,
        ago_ms: None,
        lease: Some(lease),
    })
}
