//! What happened to addresses and blocks.

use bulkhead_model::AttachmentKey;
use serde::{Deserialize, Serialize};

use super::{Place, Value};
use crate::cluster::name::NodeId;
use crate::record::PodRef;

/// `audit/<pool>/<ordinal>/<time>-<writer>-<number>`: a closed chapter. A lease that is held is its own
/// row under `leases/`, with the time it began; when it ends, this row has both times, so that one row
/// for each lease answers who had an address when. Blocks are audited under their first ordinal.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AuditRow {
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// What happened.
    pub what: Happened,
    /// To which node.
    pub node: NodeId,
    /// Why, for people: `del`, `gc: ...`, `ceded by n2`.
    #[serde(default)]
    pub reason: String,
    /// Size of the block, as a logarithm, if it happened to a block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<u8>,
    /// The attachment, if it happened to a lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachment: Option<AttachmentKey>,
    /// The lease's sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Its pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodRef>,
    /// When the lease began, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_unix_ms: Option<u64>,
}

/// What happened to a lease or a block.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Happened {
    /// A lease ended because its attachment was deleted or an operator said so.
    Released,
    /// A lease ended because its attachment was found dead.
    Reclaimed,
    /// A lease or a block ended because its node was declared lost.
    Lost,
    /// An address came back into use although nobody confirmed that nothing knows it any more.
    Unconfirmed,
    /// A node took a block that was nobody's.
    Claimed,
    /// A node gave an idle block back.
    Returned,
    /// A node gave a part of a block to another, which is `node`.
    Ceded,
    /// Something that a later release knows.
    #[serde(other)]
    Unknown,
}

impl Value for AuditRow {
    fn belongs(place: &Place) -> bool {
        matches!(place, Place::Audit(_))
    }
}
