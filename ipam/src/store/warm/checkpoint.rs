//! Checkpoints of a network in memory: made from a snapshot by a thread of their own, while the store
//! goes on.

use std::sync::Arc;
use std::thread;

use super::super::compact::compacted;
use super::super::network::Limits;
use super::super::snapshot::Snapshot;
use super::desk::{Desk, Network, waited};
use super::locked;
use crate::error::StoreError;
use crate::journal::Journal;

/// What checkpoints there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    /// The last record that the last one has, or that failed to be in one: the next is due by count
    /// from there.
    sequence: u64,
    /// Whether one is being made.
    pub(super) is_busy: bool,
}

impl Kept {
    /// Of a store that was just opened: records that were replayed are in no checkpoint.
    pub(super) fn at_open(snapshot: &Snapshot) -> Self {
        let replayed = u64::try_from(snapshot.overlay.records).unwrap_or(u64::MAX);
        Self {
            sequence: snapshot.overlay.sequence.saturating_sub(replayed),
            is_busy: false,
        }
    }
}

/// A checkpoint to be made.
#[derive(Debug)]
pub(super) struct Job {
    snapshot: Snapshot,
    /// Generation and length of the journal that it holds.
    place: (u64, u64),
    #[cfg(test)]
    disk: crate::journal::Disk,
}

impl Desk {
    /// The checkpoint that is due now, if one is. Its length is the store's, so the larger the store,
    /// the more changes are waited for.
    pub(super) fn due(&self, limits: &Limits, journal: &Journal) -> Option<Job> {
        let overlay = &self.durable.overlay;
        let records = overlay.sequence - self.kept.sequence;
        let enough = u64::try_from(limits.tail_records).unwrap_or(u64::MAX);
        let due = records >= enough.max(overlay.live / 2);
        (due && !self.kept.is_busy).then(|| Job {
            snapshot: self.durable.clone(),
            place: (journal.generation(), journal.end()),
            #[cfg(test)]
            disk: journal.disk.clone(),
        })
    }
}

impl Network {
    pub(super) fn begin_checkpoint(self: &Arc<Self>, desk: &mut Desk, job: Job) {
        desk.kept = Kept {
            sequence: job.snapshot.overlay.sequence,
            is_busy: true,
        };
        let network = Arc::clone(self);
        let thread = thread::Builder::new().name("checkpoint".to_owned());
        let started = thread.spawn(move || {
            // What is recorded is durable without it. One that cannot be made (a full disk) is due
            // again after as many records.
            let _ = network.checkpoint(&job);
            network.end_checkpoint();
        });
        desk.kept.is_busy = started.is_ok();
    }

    fn end_checkpoint(&self) {
        locked(&self.desk).kept.is_busy = false;
        self.settled.notify_all();
    }

    fn checkpoint(&self, job: &Job) -> Result<(), StoreError> {
        let limits = &self.store.limits;
        #[cfg(test)]
        job.disk
            .asked(crate::journal::Step::Checkpoint)
            .expect("a test lets it pass");
        let bytes = compacted(&job.snapshot, job.place, limits.freed)?;
        self.store.put_checkpoint(&bytes)?;
        if job.place.1 <= limits.journal_bytes {
            return Ok(());
        }
        let mut journal = self.take_journal();
        let begun = self.next_journal(&mut journal, job.place.1);
        locked(&self.desk).journal = Some(journal);
        begun
    }

    /// Waits until nobody writes; nobody does while the caller has it.
    fn take_journal(&self) -> Journal {
        let mut desk = locked(&self.desk);
        loop {
            match desk.journal.take() {
                Some(journal) => return journal,
                None => desk = waited(&self.settled, desk),
            }
        }
    }

    fn next_journal(&self, journal: &mut Journal, held: u64) -> Result<(), StoreError> {
        let since: Vec<_> = journal
            .tail(held)?
            .records()
            .map(|(_, body)| body)
            .collect();
        Ok(self.store.next_journal(journal, &since)?)
    }

    /// Waits until no checkpoint is being made.
    #[cfg(test)]
    pub(in super::super) fn rest(&self) {
        let mut desk = locked(&self.desk);
        while desk.kept.is_busy {
            desk = waited(&self.settled, desk);
        }
    }
}
