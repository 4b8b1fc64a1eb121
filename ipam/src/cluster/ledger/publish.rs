//! Publishing: what changed in memory and is durable in the journals becomes rows, behind the answers.

use super::Ledger;
use super::lane::{Answer, Call, Fault, Flow, Job};
use super::link::Need;
use super::queue::Batch;
use crate::boot::Now;
use crate::cluster::kv::{Compare, Txn};
use crate::cluster::name::PoolName;
use crate::cluster::schema::Place;

/// Rows are being written.
#[derive(Clone, Debug)]
pub(super) struct Publish(Batch);

impl Ledger {
    /// A transaction that nothing of is done unless this node may write.
    pub(super) fn guarded(&self) -> Txn {
        let fence = Place::Fence(self.node.clone());
        Txn {
            when: vec![
                Compare::Modified(self.schema.key(&Place::Meta), self.link.meta),
                Compare::Modified(self.schema.key(&fence), self.link.fence),
            ],
            writes: Vec::new(),
        }
    }

    pub(super) fn start_publish(&mut self, now: Now) -> Flow {
        let due = self.queue.due_ms(&self.tuning);
        if due.is_none_or(|due| now.since_boot_ms < due) {
            return Flow::End;
        }
        let (mut writes, batch) = self.next_batch();
        writes.extend(self.beat_along(now));
        let txn = Txn {
            writes,
            ..self.guarded()
        };
        Flow::then(Publish(batch), Call::Commit(txn))
    }
}

impl Ledger {
    /// Where leases are being published now.
    pub(super) fn publishing(&self) -> impl Iterator<Item = (PoolName, u64)> {
        let batch = match self.lane.job() {
            Some(Job::Publish(publish)) => Some(&publish.0),
            _ => None,
        };
        batch.into_iter().flat_map(Batch::places)
    }
}

impl Publish {
    pub(super) fn answered(self, ledger: &mut Ledger, answer: Answer, now: Now) -> Flow {
        if !answer.committed().held {
            ledger.queue.put_back(self.0);
            ledger.link.need(Need::Look);
            return Flow::End;
        }
        ledger.counters.publications += 1;
        if let Some(oldest) = self.0.oldest_ms() {
            ledger.counters.lag_ms = now.since_boot_ms.saturating_sub(oldest);
        }
        if let Some(until) = ledger.queue.written_until(&self.0) {
            ledger.audited_until_unix_ms = ledger.audited_until_unix_ms.max(until);
        }
        Flow::End
    }

    /// It is written again: the rows are what memory says, however often they are put.
    pub(super) fn interrupted(self, ledger: &mut Ledger, _: Fault, _: Now) {
        ledger.queue.put_back(self.0);
    }
}
