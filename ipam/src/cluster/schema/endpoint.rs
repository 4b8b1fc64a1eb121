//! Endpoints as other nodes' policies see them, and how far each node has come in applying all of it.

use std::net::IpAddr;

use bulkhead_model::{AttachmentKey, Prefix};
use serde::{Deserialize, Serialize};

use super::selector::Labels;
use super::{Place, Value};
use crate::record::PodRef;

/// `endpoints/<network>/<node>/<attachment id>`: an attachment as policies see it. The truth is in the
/// node's journal; this is published behind the ADD. A row whose epoch is not its node's is void.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct EndpointRow {
    /// The attachment.
    pub attachment: AttachmentKey,
    /// The node's epoch.
    pub epoch: u64,
    /// The attachment's sequence in its network's journal.
    pub sequence: u64,
    /// Its addresses, IPv4 first.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Prefixes that are its own, whole (RFC 8273).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<Prefix>,
    /// Its pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodRef>,
    /// Its labels.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Its ports that have names, as far as the runtime tells them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortName>,
    /// When it was attached, in milliseconds since 1970.
    #[serde(default)]
    pub since_unix_ms: u64,
}

/// A port that an endpoint has a name for.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct PortName {
    /// The name.
    pub name: String,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// Its number.
    pub port: u16,
}

impl Value for EndpointRow {
    fn belongs(place: &Place) -> bool {
        matches!(place, Place::Endpoint { .. })
    }
}

/// `applied/<node>`: what a node's kernel enforces. Whoever waits for a change to stand everywhere reads
/// these, and so does the cool-down of addresses.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct AppliedRow {
    /// The node's epoch.
    pub epoch: u64,
    /// The revision of the policies that it enforces.
    pub revision: u64,
    /// Every change of policies and endpoints up to this revision of the store is enforced.
    pub store_revision: u64,
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// What it cannot enforce, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}

impl Value for AppliedRow {
    fn belongs(place: &Place) -> bool {
        matches!(place, Place::Applied(_))
    }
}
