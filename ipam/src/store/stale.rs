//! Which attachments should not be there any more, and why. Only this network's on this node are
//! ever judged: the store holds no others.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;

use bulkhead_model::{ContainerId, IfName};

use super::snapshot::Snapshot;
use crate::boot::Boot;
use crate::error::StoreError;
use crate::record::{AttachmentRecord, Netns};

/// The attachments that the runtime says are alive (GC, `cni.dev/valid-attachments`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Valid<'a> {
    /// These, and no other of the network on this node.
    Listed(&'a [(ContainerId, IfName)]),
    /// The runtime did not say: only what is provably dead is stale.
    Absent,
}

/// An attachment that should not be there any more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stale {
    /// Its record.
    pub record: AttachmentRecord,
    /// Why.
    pub reason: StaleReason,
}

/// Why an attachment is stale. `Display` is what the audit log says.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StaleReason {
    /// The runtime does not list it.
    #[error("not listed by the runtime")]
    NotListed,
    /// Nothing is at the path of its namespace.
    #[error("its network namespace is gone")]
    NetnsGone,
    /// Something else is at the path of its namespace.
    #[error("its network namespace is gone, the path leads to another one")]
    NetnsReplaced,
    /// It was made before the machine booted.
    #[error("made before the machine booted")]
    OtherBoot,
}

impl Snapshot {
    /// Whether an attachment was made since the machine booted.
    #[must_use]
    pub fn is_of_this_boot(&self, record: &AttachmentRecord) -> bool {
        record.boot_id == *self.boot.id()
    }

    /// Attachments that garbage collection would detach, with the reason. Reads them all. What the
    /// runtime lists is never stale.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn stale(&self, valid: &Valid<'_>) -> Result<Vec<Stale>, StoreError> {
        let listed: Option<HashSet<(&ContainerId, &IfName)>> = match valid {
            Valid::Listed(list) => Some(list.iter().map(|(id, name)| (id, name)).collect()),
            Valid::Absent => None,
        };
        let mut stale = Vec::new();
        for record in self.attachments()? {
            let dead = self.death(&record);
            let reason = match &listed {
                Some(list) if list.contains(&(&record.key.container, &record.key.interface)) => {
                    None
                }
                Some(_) => Some(dead.unwrap_or(StaleReason::NotListed)),
                None => dead,
            };
            stale.extend(reason.map(|reason| Stale { record, reason }));
        }
        Ok(stale)
    }

    /// Why an attachment cannot be alive whatever the runtime says; `None` if it may be.
    #[must_use]
    pub fn death(&self, record: &AttachmentRecord) -> Option<StaleReason> {
        death(record, &self.boot)
    }
}

/// Why what is recorded cannot be alive in this boot.
pub(crate) fn death(record: &AttachmentRecord, boot: &Boot) -> Option<StaleReason> {
    if record.boot_id != *boot.id() {
        return Some(StaleReason::OtherBoot);
    }
    gone(record.netns.as_ref()?)
}

/// Why the path no longer leads to the namespace. A path that cannot be looked at proves nothing.
fn gone(netns: &Netns) -> Option<StaleReason> {
    match fs::metadata(&netns.path) {
        Ok(found) => {
            let differs = |recorded: Option<u64>, found| recorded.is_some_and(|was| was != found);
            let replaced = differs(netns.device, found.dev()) || differs(netns.inode, found.ino());
            replaced.then_some(StaleReason::NetnsReplaced)
        }
        Err(error) => (error.kind() == ErrorKind::NotFound).then_some(StaleReason::NetnsGone),
    }
}
