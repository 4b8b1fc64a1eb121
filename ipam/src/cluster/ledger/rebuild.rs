//! A ledger at the start of a process: from its file, the journals' leases and what they freed.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bulkhead_model::AttachmentKey;

use super::file::LedgerFile;
use super::lease::{Evicted, Lease, LeaseState};
use super::link::Need;
use super::own::{OwnBlock, Slot};
use super::side::PoolSide;
use super::{Ended, Identity, Ledger, Tuning};
use crate::boot::Now;
use crate::cluster::name::PoolName;
use crate::cluster::schema::{Happened, Labels, Schema};
use crate::record::PodRef;

/// A lease that a journal has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LeaseFact {
    /// The attachment.
    pub key: AttachmentKey,
    /// The record's sequence.
    pub sequence: u64,
    /// The pool.
    pub pool: PoolName,
    /// The ordinal.
    pub ordinal: u64,
    /// Its addresses as recorded.
    pub addresses: Vec<IpAddr>,
    /// When it was recorded, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// Its pod.
    pub pod: Option<PodRef>,
    /// The pod's labels, as far as they are known.
    pub labels: Labels,
}

/// An ordinal that a journal says was freed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FreedFact {
    /// The pool.
    pub pool: PoolName,
    /// The ordinal.
    pub ordinal: u64,
    /// How long ago, in milliseconds, if that was in this boot. A cool-down of an earlier boot begins
    /// anew.
    pub ago_ms: Option<u64>,
    /// The lease that ended, for the audit.
    pub lease: Option<EndedLease>,
}

/// A lease that has ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EndedLease {
    /// The attachment.
    pub key: AttachmentKey,
    /// The record's sequence.
    pub sequence: u64,
    /// When it was recorded, in milliseconds since 1970; 0 if that is not known any more.
    pub since_unix_ms: u64,
    /// When it ended, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// In which way.
    pub ended: Ended,
    /// Why.
    pub reason: String,
    /// Its pod.
    pub pod: Option<PodRef>,
}

impl Ledger {
    /// The ledger of a node whose process begins. Without a file it has no blocks, until the store was
    /// read.
    pub fn rebuild(
        who: Identity,
        schema: Schema,
        tuning: Tuning,
        file: Option<LedgerFile>,
        leases: impl IntoIterator<Item = LeaseFact>,
        freed: impl IntoIterator<Item = FreedFact>,
        now: Now,
    ) -> Self {
        let mut ledger = Self::empty(who, schema, tuning, now);
        match file {
            Some(file) => ledger.take_in_file(file),
            None => ledger.link.need(Need::Adopt),
        }
        for fact in leases {
            if let Some(stray) = ledger.place_fact(fact) {
                ledger.strays.push(stray);
            }
        }
        for fact in freed {
            ledger.recall(&fact, now);
        }
        ledger
    }

    fn take_in_file(&mut self, file: LedgerFile) {
        self.link.cluster = file.cluster;
        self.link.epoch = file.epoch;
        self.link.compared_epoch = file.epoch;
        self.reservations = file.reservations;
        self.claiming = file.claiming;
        self.asking = file.asking;
        self.audited_until_unix_ms = file.audited_until_unix_ms;
        let sides = file.pools.into_iter().map(|(name, row)| {
            let side = PoolSide::new(&name, row, &self.reservations);
            (name, side)
        });
        self.pools = sides.collect::<BTreeMap<_, _>>();
        for kept in file.kept {
            if let Some(side) = self.pools.get_mut(&kept.pool) {
                side.kept.insert(kept.ordinal, kept.sticky);
            }
        }
        for saved in file.blocks {
            let side = self.pools.get_mut(&saved.pool);
            let side = side.expect("the file has the pool of each of its blocks");
            side.used = true;
            let mut own = OwnBlock::new(saved.block.0, |at| side.allows(at));
            own.epoch = saved.epoch;
            own.claimed_at_unix_ms = saved.claimed_at_unix_ms;
            own.attempt = saved.attempt;
            own.lender = saved.lender;
            own.leaving = saved.leaving.map(|span| span.0);
            own.sort_out(|at| side.allows(at));
            self.own.insert(&saved.pool, own);
        }
    }

    /// Makes a recorded lease a held ordinal, and returns it if it is in no block of this node. One whose
    /// ordinal another attachment holds is evicted.
    pub(super) fn place_fact(&mut self, fact: LeaseFact) -> Option<LeaseFact> {
        let id = fact.key.id();
        let Some(own) = self.own.around_mut(&fact.pool, fact.ordinal) else {
            return Some(fact);
        };
        if let Slot::Held(_) = own.slot(fact.ordinal) {
            let holder = self.holder(&fact.pool, fact.ordinal);
            let holder = holder.map(ToString::to_string).unwrap_or_default();
            let told = Evicted {
                key: fact.key,
                sequence: fact.sequence,
                addresses: fact.addresses,
                reason: format!("attachment {holder} is recorded with the same address"),
            };
            self.evict(told, fact.pool, fact.ordinal);
            return None;
        }
        own.hold_recorded(fact.ordinal, id);
        let lease = Lease {
            key: fact.key,
            pool: fact.pool,
            ordinal: fact.ordinal,
            state: LeaseState::Settled {
                sequence: fact.sequence,
                since_unix_ms: fact.since_unix_ms,
            },
            pod: fact.pod,
            labels: fact.labels,
        };
        self.insert_lease(id, lease);
        None
    }

    /// Lets an ordinal cool on that was freed before this process began, and audits what was not yet.
    fn recall(&mut self, fact: &FreedFact, now: Now) {
        let freed_at = now.since_boot_ms.saturating_sub(fact.ago_ms.unwrap_or(0));
        if let Some(own) = self.own.around_mut(&fact.pool, fact.ordinal) {
            own.recall_cooling(fact.ordinal, freed_at);
        }
        let Some(ended) = &fact.lease else {
            return;
        };
        if ended.at_unix_ms <= self.audited_until_unix_ms {
            return;
        }
        let lease = Lease {
            key: ended.key.clone(),
            pool: fact.pool.clone(),
            ordinal: fact.ordinal,
            state: LeaseState::Picked,
            pod: ended.pod.clone(),
            labels: Labels::new(),
        };
        let what = match ended.ended {
            Ended::Released => Happened::Released,
            Ended::Reclaimed => Happened::Reclaimed,
        };
        let at = Now {
            unix_ms: ended.at_unix_ms,
            ..now
        };
        let times = (ended.sequence, ended.since_unix_ms);
        self.close_chapter(&lease, times, what, &ended.reason, at);
    }
}
