//! What this node's journals and its ledger say of leases of pools, for a check.

use std::collections::BTreeSet;

use bulkhead_ipam::cluster::PoolName;
use bulkhead_ipam::cluster::check::{Held, Journal};
use bulkhead_ipam::cluster::ledger::Ledger;
use bulkhead_ipam::{AttachmentRecord, Recorded};

use crate::admin::Admin;

/// Every attachment that is recorded, and what could not be read.
#[derive(Default)]
pub(super) struct Records {
    pub(super) all: Vec<AttachmentRecord>,
    pub(super) unread: Vec<String>,
}

impl Admin {
    /// What is recorded now.
    pub(super) fn records(&self) -> Records {
        let mut records = Records::default();
        let everything = match self.node.state.everything() {
            Ok(everything) => everything,
            Err(error) => {
                records.unread.push(crate::told::chain(&error));
                return records;
            }
        };
        for recorded in everything {
            match recorded {
                Ok(Recorded::Attachment(record)) => records.all.push(*record),
                Ok(Recorded::Freed(_)) => {}
                Err(error) => records.unread.push(crate::told::chain(&error)),
            }
        }
        records
    }

    /// What the store has still to hear of.
    pub(super) fn unpublished(&self) -> BTreeSet<(PoolName, u64)> {
        let cluster = &self.node.cluster;
        cluster.look(Ledger::unpublished_places)
    }

    /// The records' leases as one journal. What changed between two looks at them was on its way to the
    /// store meanwhile, as all that is queued.
    pub(super) fn journal(
        &self,
        before: &Records,
        after: &Records,
        mut queued: BTreeSet<(PoolName, u64)>,
    ) -> Journal {
        let (earlier, held) = (leases(before), leases(after));
        let changed = |here: &[Held], there: &[Held]| {
            let there: BTreeSet<_> = there.iter().map(identity).collect();
            let only = here.iter().filter(|held| !there.contains(&identity(held)));
            let places = only.map(|held| (held.pool.clone(), held.ordinal));
            places.collect::<Vec<_>>()
        };
        queued.extend(changed(&earlier, &held));
        queued.extend(changed(&held, &earlier));
        Journal {
            node: self.node.cluster.node.clone(),
            place: self.node.state.path().display().to_string(),
            held,
            // The ledger may be changing them while the rows are read.
            blocks: None,
            queued,
        }
    }
}

/// The leases of pools.
fn leases(records: &Records) -> Vec<Held> {
    let held = records.all.iter().filter_map(|record| {
        let lease = record.pool.as_ref()?;
        let addresses = record.addresses.iter();
        Some(Held {
            attachment: record.key.clone(),
            pool: lease.pool.parse().ok()?,
            ordinal: lease.ordinal,
            addresses: addresses.map(|leased| leased.address.address()).collect(),
            sequence: record.sequence,
        })
    });
    held.collect()
}

fn identity(held: &Held) -> (&PoolName, u64, u64) {
    (&held.pool, held.ordinal, held.sequence)
}
