//! What outlives a process: the ledger's file, and the journals.

use std::collections::BTreeMap;

use bulkhead_ipam::cluster::PoolName;
use bulkhead_ipam::cluster::ledger::{EndedLease, FreedFact, LeaseFact};
use bulkhead_model::AttachmentKey;

#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) file: Option<Vec<u8>>,
    /// A replacement that is under way: a crash leaves either.
    pub(crate) replacing: Option<Vec<u8>>,
    pub(crate) records: BTreeMap<AttachmentKey, LeaseFact>,
    freed: Vec<Freed>,
    sequence: u64,
}

#[derive(Debug)]
struct Freed {
    pool: PoolName,
    ordinal: u64,
    at_ms: u64,
    boot: u64,
    lease: EndedLease,
}

impl Disk {
    /// Freed ordinals that the journals remember.
    const REMEMBERED: usize = 4_000;

    pub(crate) fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    pub(crate) fn free(&mut self, fact: &LeaseFact, at_ms: u64, boot: u64, lease: EndedLease) {
        self.records.remove(&fact.key);
        self.freed.push(Freed {
            pool: fact.pool.clone(),
            ordinal: fact.ordinal,
            at_ms,
            boot,
            lease,
        });
        let surplus = self.freed.len().saturating_sub(Self::REMEMBERED);
        self.freed.drain(..surplus);
    }

    /// What is told to a process that begins.
    pub(crate) fn freed(&self, now_ms: u64, boot: u64) -> Vec<FreedFact> {
        let recent = self.freed.iter().filter(|one| now_ms - one.at_ms < 900_000);
        recent
            .map(|one| FreedFact {
                pool: one.pool.clone(),
                ordinal: one.ordinal,
                ago_ms: (one.boot == boot).then(|| now_ms - one.at_ms),
                lease: Some(one.lease.clone()),
            })
            .collect()
    }
}
