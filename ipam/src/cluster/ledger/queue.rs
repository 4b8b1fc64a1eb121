//! What the store has still to hear of: leases by their places, and closed chapters.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::lease::Lease;
use super::{Ledger, Tuning};
use crate::boot::Now;
use crate::cluster::kv::{Txn, Write};
use crate::cluster::name::PoolName;
use crate::cluster::schema::{AuditPlace, AuditRow, Happened, Place, encode};

/// What is to be published.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    /// Places whose rows may be others than they should be, and since when, on the boot's clock.
    leases: BTreeMap<(PoolName, u64), u64>,
    audits: VecDeque<Closed>,
    changed_at_ms: u64,
    /// Chapters that were dropped because there were too many.
    pub(super) dropped: u64,
}

#[derive(Clone, Debug)]
struct Closed {
    since_ms: u64,
    place: AuditPlace,
    row: AuditRow,
}

/// A part of the queue that is on its way.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    leases: Vec<((PoolName, u64), u64)>,
    audits: Vec<Closed>,
}

impl Queue {
    /// Chapters that are kept through an outage; the journals have them all.
    const MOST_AUDITS: usize = 50_000;
    /// Writes of a transaction; a sign of life may go along.
    const MOST_WRITES: usize = Txn::MOST_WRITES - 1;
    /// Bytes of a transaction's values: far below [`Txn::MOST_BYTES`], whatever labels there are.
    const MOST_BYTES: usize = Txn::MOST_BYTES / 2;

    pub(super) fn change(&mut self, place: (PoolName, u64), now_ms: u64) {
        self.leases.entry(place).or_insert(now_ms);
        self.changed_at_ms = now_ms;
    }

    pub(super) fn close(&mut self, place: AuditPlace, row: AuditRow, now_ms: u64) {
        self.changed_at_ms = now_ms;
        self.audits.push_back(Closed {
            since_ms: now_ms,
            place,
            row,
        });
        if self.audits.len() > Self::MOST_AUDITS {
            self.audits.pop_front();
            self.dropped += 1;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.leases.len() + self.audits.len()
    }

    /// Since when the oldest waits, on the boot's clock.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        let lease = self.leases.values().min().copied();
        let audit = self.audits.front().map(|closed| closed.since_ms);
        lease.into_iter().chain(audit).min()
    }

    /// When it is to be written: at once if a transaction is full, else once nothing was added for a
    /// moment, so that a burst becomes few transactions, but never late.
    pub(super) fn due_ms(&self, tuning: &Tuning) -> Option<u64> {
        let oldest = self.oldest_ms()?;
        if self.len() >= Self::MOST_WRITES {
            return Some(0);
        }
        let quiet = self.changed_at_ms + tuning.quiet_ms;
        Some(quiet.min(oldest + tuning.publish_within_ms))
    }

    /// Whether anything of the ordinals is still to be published.
    pub(super) fn touches(&self, pool: &PoolName, ordinals: std::ops::Range<u64>) -> bool {
        let mut leases = self.leases.keys();
        let mut audits = self.audits.iter();
        leases.any(|(of, ordinal)| of == pool && ordinals.contains(ordinal))
            || audits.any(|one| one.place.pool == *pool && ordinals.contains(&one.place.ordinal))
    }

    /// Where leases wait to be published.
    pub(super) fn places(&self) -> BTreeSet<(PoolName, u64)> {
        self.leases.keys().cloned().collect()
    }

    /// Forgets the leases of ordinals that are no longer this node's.
    pub(super) fn forget(&mut self, pool: &PoolName, ordinals: &std::ops::Range<u64>) {
        self.leases
            .retain(|(of, ordinal), _| of != pool || !ordinals.contains(ordinal));
    }

    /// Puts back what was not written.
    pub(super) fn put_back(&mut self, batch: Batch) {
        for (place, since) in batch.leases {
            let entry = self.leases.entry(place).or_insert(since);
            *entry = since.min(*entry);
        }
        for closed in batch.audits.into_iter().rev() {
            self.audits.push_front(closed);
        }
    }

    /// The latest time of the chapters of a batch, which is written: everything up to there is.
    pub(super) fn written_until(&self, batch: &Batch) -> Option<u64> {
        let last = batch.audits.iter().map(|one| one.row.at_unix_ms).max()?;
        let waiting = self.audits.iter().map(|one| one.row.at_unix_ms).min();
        Some(waiting.map_or(last, |waiting| last.min(waiting.saturating_sub(1))))
    }
}

impl Batch {
    /// Where the leases are.
    pub(super) fn places(&self) -> impl Iterator<Item = (PoolName, u64)> {
        self.leases.iter().map(|(place, _)| place.clone())
    }

    /// Since when the oldest of it waits, on the boot's clock.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        let leases = self.leases.iter().map(|(_, since)| *since);
        let audits = self.audits.iter().map(|closed| closed.since_ms);
        leases.chain(audits).min()
    }
}

impl Ledger {
    /// The next writes, and what they are made of.
    pub(super) fn next_batch(&mut self) -> (Vec<Write>, Batch) {
        let mut writes = Vec::new();
        let mut bytes = 0;
        let mut batch = Batch::default();
        let full = |writes: &Vec<Write>, bytes| {
            writes.len() >= Queue::MOST_WRITES || bytes >= Queue::MOST_BYTES
        };
        while !full(&writes, bytes) {
            let Some((place, since)) = self.queue.leases.pop_first() else {
                break;
            };
            let write = self.lease_write(&place);
            bytes += weight(&write);
            writes.push(write);
            batch.leases.push((place, since));
        }
        while !full(&writes, bytes) {
            let Some(closed) = self.queue.audits.pop_front() else {
                break;
            };
            let key = self.schema.key(&Place::Audit(closed.place.clone()));
            let write = Write::Put(key, encode(&closed.row));
            bytes += weight(&write);
            writes.push(write);
            batch.audits.push(closed);
        }
        (writes, batch)
    }

    fn lease_write(&self, (pool, ordinal): &(PoolName, u64)) -> Write {
        let key = self.schema.key(&Place::Lease {
            pool: pool.clone(),
            ordinal: *ordinal,
        });
        match self.lease_row(pool, *ordinal) {
            Some(row) => Write::Put(key, encode(&row)),
            None => Write::Delete(key),
        }
    }

    /// A lease ended: its row goes, and its chapter is written.
    pub(super) fn close_chapter(
        &mut self,
        lease: &Lease,
        (sequence, since_unix_ms): (u64, u64),
        what: Happened,
        reason: &str,
        now: Now,
    ) {
        let place = (lease.pool.clone(), lease.ordinal);
        self.queue.change(place, now.since_boot_ms);
        let place = AuditPlace {
            pool: lease.pool.clone(),
            ordinal: lease.ordinal,
            at_unix_ms: now.unix_ms,
            writer: self.node.short().to_owned(),
            // The lease's own number, so that a chapter that is written twice is one row.
            nth: sequence,
        };
        let row = AuditRow {
            at_unix_ms: now.unix_ms,
            what,
            node: self.node.clone(),
            reason: reason.to_owned(),
            bits: None,
            attachment: Some(lease.key.clone()),
            sequence: Some(sequence),
            pod: lease.pod.clone(),
            since_unix_ms: Some(since_unix_ms),
        };
        self.queue.close(place, row, now.since_boot_ms);
    }
}

impl Ledger {
    /// An ordinal is used again although nobody said that nothing knows it any more.
    pub(super) fn note_unconfirmed(&mut self, pool: &PoolName, ordinal: u64, now: Now) {
        self.attempts += 1;
        let place = AuditPlace {
            pool: pool.clone(),
            ordinal,
            at_unix_ms: now.unix_ms,
            writer: self.node.short().to_owned(),
            nth: self.attempts,
        };
        let row = AuditRow {
            at_unix_ms: now.unix_ms,
            what: Happened::Unconfirmed,
            node: self.node.clone(),
            reason: "its cool-down ended without a confirmation".to_owned(),
            bits: None,
            attachment: None,
            sequence: None,
            pod: None,
            since_unix_ms: None,
        };
        self.queue.close(place, row, now.since_boot_ms);
    }
}

fn weight(write: &Write) -> usize {
    match write {
        Write::Put(key, value) => key.as_str().len() + value.len(),
        Write::Delete(key) => key.as_str().len(),
    }
}
