//! What happens.

use std::net::IpAddr;

use bulkhead_model::AttachmentKey;
use serde::{Deserialize, Serialize};

use super::rows::{NodeName, PodName};

/// Something that happened, on this node or as the store tells of another.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// When.
    pub at_unix_ms: u64,
    /// What.
    pub kind: EventKind,
    /// On which node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// In which pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The addresses of a lease; the first address of a block.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// Whose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachment: Option<AttachmentKey>,
    /// The pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodName>,
    /// The rest, for people: a block's prefixes, a reason, an error.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// A kind of event.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A lease began.
    Acquired,
    /// A lease ended.
    Released,
    /// A lease ended because its holder is dead.
    Reclaimed,
    /// A node took a block.
    Claimed,
    /// A node gave a block back.
    Returned,
    /// A node gave a part of a block to another.
    Ceded,
    /// A node registered, or started anew.
    NodeUp,
    /// A node was declared lost.
    NodeLost,
    /// A pool was made, changed or removed.
    PoolChanged,
    /// The store serves again, or no more.
    StoreChanged,
    /// The kernel held something otherwise than it should.
    Drift,
    /// That was mended.
    Mended,
    /// The configuration was read anew.
    Reloaded,
    /// Events were lost, because the reader was too slow.
    Missed,
    /// Something went wrong.
    Error,
    /// Of a later release.
    #[serde(other)]
    Other,
}
