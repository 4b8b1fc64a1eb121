//! What is found out: who had an address, what is wrong, what is dead, what was mended.

use std::net::IpAddr;
use std::path::PathBuf;

use bulkhead_model::{AttachmentKey, InterfaceAddress};
use serde::{Deserialize, Serialize};

use super::rows::{ListedBlock, ListedLease, NodeName, PodName};

/// Who has an address, and who had it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// It.
    pub address: IpAddr,
    /// Its pool.
    pub pool: String,
    /// Which of the pool's.
    pub ordinal: u64,
    /// Every address of the same ordinal, one of each family.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Why it is never given out: `gateway`, `reserved`; empty if it can be.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kept: String,
    /// The block it lies in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<ListedBlock>,
    /// Who has it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<ListedLease>,
    /// Every change that is kept, oldest first.
    #[serde(default)]
    pub changes: Vec<ListedChange>,
    /// Changes before this are not kept; 0: all are.
    #[serde(default)]
    pub since_unix_ms: u64,
}

/// A change of an address or of its block.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedChange {
    /// When, by the clock of the node that did it.
    pub at_unix_ms: u64,
    /// What.
    pub what: ChangeKind,
    /// Which node did it.
    #[serde(flatten)]
    pub node: NodeName,
    /// For whom; none for a block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachment: Option<AttachmentKey>,
    /// The pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodName>,
    /// The lease's sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// A kind of change.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// A lease began.
    Acquired,
    /// A lease ended by DEL or an operator.
    Released,
    /// A lease ended because its holder is dead.
    Reclaimed,
    /// A block got an owner.
    Claimed,
    /// A block was given back.
    Returned,
    /// A part of a block went to another node.
    Ceded,
    /// A block or lease ended because its node was declared lost.
    Lost,
    /// Of a later release.
    #[serde(other)]
    Other,
}

/// What a check found.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CheckReport {
    /// What is not as it must be.
    pub violations: Vec<Violation>,
    /// What could not be compared, and why.
    pub unread: Vec<String>,
    /// The store's revision that was compared.
    pub revision: u64,
    /// Pools compared.
    pub pools: u64,
    /// Blocks compared.
    pub blocks: u64,
    /// Leases compared.
    pub leases: u64,
    /// This node's attachments compared with its journals and the kernel.
    pub attachments: u64,
}

/// Something that must not be.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Violation {
    /// Which rule, in words joined by dashes; never given another meaning: `address-twice`.
    pub rule: String,
    /// The object: an address, a block, a lease.
    pub subject: String,
    /// What is wrong, and what to do.
    pub text: String,
    /// Who says what.
    #[serde(default)]
    pub evidence: Vec<Evidence>,
}

/// What one witness says of it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// Who.
    pub source: Witness,
    /// Where: a key of the store, a file, a kernel object.
    #[serde(default)]
    pub place: String,
    /// What it says.
    pub says: String,
}

/// A witness.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Witness {
    /// This node's journals.
    Journal,
    /// The cluster's store.
    Store,
    /// The kernel.
    Kernel,
    /// Of a later release.
    #[serde(other)]
    Other,
}

/// A dead attachment.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedDead {
    /// It.
    #[serde(flatten)]
    pub key: AttachmentKey,
    /// Its addresses.
    #[serde(default)]
    pub addresses: Vec<InterfaceAddress>,
    /// Its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<PathBuf>,
    /// The pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodName>,
    /// Why it must be dead.
    pub reason: String,
    /// What became of it.
    pub state: GcState,
    /// Why it could not be removed; empty if it could.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// What became of a dead attachment.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GcState {
    /// It is gone.
    Removed,
    /// It would be removed.
    Found,
    /// Seen dead once; removed when it is seen so again.
    Suspected,
    /// It could not be removed.
    Failed,
    /// Of a later release.
    #[serde(other)]
    Other,
}

/// What became of a repair.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RepairReport {
    /// What was the case.
    pub state: RepairState,
    /// What was done, as `ip`, `tc`, `nft` and `sysctl` lines.
    #[serde(default)]
    pub plan: Vec<String>,
}

/// What was the case with an attachment that was to be repaired.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RepairState {
    /// It was as it should be.
    Sound,
    /// It was not, and is now.
    Repaired,
    /// It is recorded no more.
    Gone,
    /// Its container is dead.
    Dead,
    /// Of a later release.
    #[serde(other)]
    Other,
}
