//! Records made to be appended together.

use std::net::IpAddr;

use super::head::{Head, Release};
use super::snapshot::Snapshot;
use super::stale::StaleReason;
use crate::boot::Now;
use crate::pool::Pool;
use crate::record::{AttachmentRecord, BootId, Draft, Ipam, LeasedAddress};

/// Records made to be appended together, numbered from the snapshot's last one on.
pub(super) struct Batch {
    pub(super) records: Vec<Vec<u8>>,
    boot: BootId,
    now: Now,
    sequence: u64,
    live: u64,
}

impl Batch {
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        Self {
            records: Vec::new(),
            boot: snapshot.boot.id().clone(),
            now: snapshot.boot.now(),
            sequence: snapshot.overlay.sequence,
            live: snapshot.overlay.live,
        }
    }

    pub(super) fn pool(&mut self, pool: &Pool) {
        self.sequence += 1;
        let head = Head {
            live: self.live,
            ..Head::pool(self.sequence)
        };
        self.records.push(head.with(pool));
    }

    /// An attachment that has no record, or whose record this one takes the place of.
    pub(super) fn attach(
        &mut self,
        draft: Draft,
        addresses: Vec<LeasedAddress>,
        ipam: Ipam,
        moved: Vec<IpAddr>,
        place: Place,
    ) -> AttachmentRecord {
        self.sequence += 1;
        self.live += u64::from(place == Place::New);
        let record = AttachmentRecord {
            key: draft.key,
            sequence: self.sequence,
            boot_id: self.boot.clone(),
            created_at_unix_ms: self.now.unix_ms,
            kind: draft.kind,
            netns: draft.netns,
            names: draft.names,
            config_digest: draft.config_digest,
            addresses,
            ipam,
            pod: draft.pod,
            labels: draft.labels,
            ports: draft.ports,
            pool: draft.pool,
        };
        let head = Head {
            live: self.live,
            ..Head::attached(&record, own(&record), moved)
        };
        self.records.push(head.with(&record));
        record
    }

    pub(super) fn release(&mut self, record: &AttachmentRecord, reason: &str) {
        let boot = self.boot.clone();
        self.end(record, reason, self.now.since_boot_ms, &boot);
    }

    /// A dead attachment's release: what an earlier boot held has nothing left to cool.
    pub(super) fn bury(&mut self, record: &AttachmentRecord, reason: StaleReason) {
        let text = format!("reclaimed, the pool being exhausted: {reason}");
        match reason {
            StaleReason::OtherBoot => self.end(record, &text, 0, &record.boot_id),
            StaleReason::NetnsGone | StaleReason::NetnsReplaced | StaleReason::NotListed => {
                self.release(record, &text);
            }
        }
    }

    fn end(&mut self, record: &AttachmentRecord, reason: &str, since_boot_ms: u64, boot: &BootId) {
        self.sequence += 1;
        self.live -= 1;
        let addresses = record.addresses.iter().map(|held| held.address.address());
        let release = Release {
            key: record.key.clone(),
            lease: record.sequence,
            freed_at_unix_ms: self.now.unix_ms,
            addresses: addresses.collect(),
            reason: reason.to_owned(),
            pod: record.pod.clone(),
        };
        let head = Head {
            live: self.live,
            ..Head::released(record, own(record), self.sequence, since_boot_ms, boot)
        };
        self.records.push(head.with(&release));
    }
}

/// Whether a record is the attachment's only one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// It has none, or one that the same batch ends.
    New,
    /// It takes the place of another.
    Renewed,
}

/// The addresses that are this store's to give: only those are indexed.
fn own(record: &AttachmentRecord) -> Vec<IpAddr> {
    match record.ipam {
        Ipam::Own => record
            .addresses
            .iter()
            .map(|held| held.address.address())
            .collect(),
        Ipam::Delegated { .. } | Ipam::None => Vec::new(),
    }
}
