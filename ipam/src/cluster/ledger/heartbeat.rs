//! Signs of life. Nobody decides anything by them, but who borrows asks the node with the most free
//! addresses first.

use std::collections::BTreeMap;

use super::Ledger;
use super::lane::{Answer, Call, Fault, Flow};
use super::link::Need;
use crate::boot::Now;
use crate::cluster::kv::Write;
use crate::cluster::name::PoolName;
use crate::cluster::schema::{LiveRow, Place, Share, encode};

/// A sign of life is being written.
#[derive(Clone, Debug)]
pub(super) struct Heartbeat;

impl Ledger {
    pub(super) fn start_heartbeat(&mut self, now: Now) -> Flow {
        if now.since_boot_ms < self.beat_at_ms {
            return Flow::End;
        }
        let mut txn = self.guarded();
        txn.writes.push(self.beat(now));
        Flow::then(Heartbeat, Call::Commit(txn))
    }

    /// A sign of life for a transaction that is sent anyway, if the last one is not quite new.
    pub(super) fn beat_along(&mut self, now: Now) -> Option<Write> {
        let early = self.beat_at_ms.saturating_sub(self.tuning.beat_ms / 2);
        (now.since_boot_ms >= early).then(|| self.beat(now))
    }

    fn beat(&mut self, now: Now) -> Write {
        // Spread, so that thousands of nodes that start together do not write together for ever.
        let spread = self.mix("beat", now.since_boot_ms) % (self.tuning.beat_ms / 4 + 1);
        self.beat_at_ms = now.since_boot_ms + self.tuning.beat_ms - spread;
        let mut pools: BTreeMap<PoolName, Share> = BTreeMap::new();
        for (pool, own) in self.own.all() {
            let share = pools.entry(pool.clone()).or_default();
            share.free += own.free();
            share.cooling += own.cooling();
        }
        let row = LiveRow {
            at_unix_ms: now.unix_ms,
            pools,
        };
        let key = self.schema.key(&Place::Live(self.node.clone()));
        Write::Put(key, encode(&row))
    }
}

impl Heartbeat {
    #[allow(clippy::unused_self)] // as every job
    pub(super) fn answered(self, ledger: &mut Ledger, answer: Answer, _: Now) -> Flow {
        if !answer.committed().held {
            ledger.link.need(Need::Look);
        }
        Flow::End
    }

    #[allow(clippy::unused_self)] // as every job
    pub(super) fn interrupted(self, _: &mut Ledger, _: Fault, _: Now) {}
}
