//! How a daemon is.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::policies::IdentityStatus;
use super::pools::PoolUsage;
use super::rows::{NodeName, NodeState};

/// A node daemon, and all it depends on.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The process.
    pub daemon: DaemonStatus,
    /// What the cluster knows the node as.
    pub node: NodeStatus,
    /// What nodes agree in.
    pub store: StoreStatus,
    /// What of this node the store has not heard of yet.
    #[serde(default)]
    pub publish: PublishStatus,
    /// What of its endpoints the store knows, and which policies the node knows.
    #[serde(default)]
    pub identities: IdentityStatus,
    /// Detachments made while the daemon was down.
    #[serde(default)]
    pub spool: SpoolStatus,
    /// What the kernel held otherwise than it should.
    #[serde(default)]
    pub drift: DriftStatus,
    /// This node's share of each pool it has blocks of: its blocks are all there is of `size`.
    #[serde(default)]
    pub pools: Vec<PoolUsage>,
    /// Attachments recorded on the node, with addresses of pools or not.
    #[serde(default)]
    pub attachments: u64,
    /// Deletions of kernel objects that are under way.
    #[serde(default)]
    pub reaping: u64,
    /// The last things that went wrong, newest first, equal ones told once; at most 20.
    #[serde(default)]
    pub errors: Vec<Failing>,
}

/// The process.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DaemonStatus {
    /// Its release: `0.1.0`.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started to serve.
    pub started_at_unix_ms: u64,
    /// Its clock now.
    pub now_unix_ms: u64,
    /// Where it listens.
    pub socket: PathBuf,
    /// Its state directory.
    pub state_dir: PathBuf,
    /// Its configuration file; none if it runs without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<PathBuf>,
    /// When that was last read with success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_read_at_unix_ms: Option<u64>,
    /// Newest version of the frame it speaks.
    pub wire: u16,
    /// Oldest version of the frame it speaks.
    pub wire_oldest: u16,
    /// Memory it occupies (`VmRSS`), in KiB.
    #[serde(default)]
    pub resident_kib: u64,
    /// Whether ADDs are served; what keeps it from that is among the errors.
    pub ready: bool,
    /// CNI calls served since it started.
    #[serde(default)]
    pub calls: u64,
    /// Of these, answered with an error.
    #[serde(default)]
    pub calls_failed: u64,
}

/// What the cluster knows the node as.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Id and name.
    #[serde(flatten)]
    pub name: NodeName,
    /// Its fence; 0 before it is registered.
    pub epoch: u64,
    /// What its fence says.
    pub state: NodeState,
    /// Its own addresses.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Blocks it holds.
    #[serde(default)]
    pub blocks: u64,
}

/// What nodes agree in.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreStatus {
    /// Which backend.
    pub kind: StoreKind,
    /// For people: `etcd https://10.0.0.1:2379`.
    pub description: String,
    /// Whether it serves this node.
    pub condition: Condition,
    /// Why not, or not fully.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Since when the condition is what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_unix_ms: Option<u64>,
    /// The last answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_at_unix_ms: Option<u64>,
    /// The cluster's id, made once with the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The schema of its rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<u32>,
    /// The highest revision seen.
    #[serde(default)]
    pub revision: u64,
    /// The median of the last transactions, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<u64>,
    /// How far the watch is behind the store when last compared, in revisions.
    #[serde(default)]
    pub watch_behind: u64,
    /// When the client certificate, or the authority it trusts, whichever comes first, expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_expires_at_unix_ms: Option<u64>,
    /// Every place it can be reached at; none for the embedded one.
    #[serde(default)]
    pub endpoints: Vec<EndpointHealth>,
}

/// A backend.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreKind {
    /// Files of this node.
    Embedded,
    /// etcd.
    Etcd,
    /// Of a later release.
    #[serde(other)]
    Other,
}

/// Whether something serves.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Yes.
    Healthy,
    /// Yes, but part of it does not.
    Degraded,
    /// It does not answer. What the node has goes on.
    Unreachable,
    /// It refuses this node: credentials, a certificate, permissions, space.
    Denied,
    /// Not known yet, or of a later release.
    #[serde(other)]
    Unknown,
}

/// One etcd member as this node sees it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointHealth {
    /// Where: `https://10.0.0.1:2379`.
    pub url: String,
    /// How it is.
    pub condition: Condition,
    /// The last error of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The last answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_at_unix_ms: Option<u64>,
    /// The median of its last answers, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<u64>,
    /// Whether requests go there now.
    #[serde(default)]
    pub in_use: bool,
    /// Its release, if it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What of this node the store has not heard of yet.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PublishStatus {
    /// Rows that wait to be written.
    pub waiting: u64,
    /// How long the oldest of them has waited, in milliseconds; 0 if none waits.
    pub lag_ms: u64,
    /// Whether this node's rows were compared with the store since it was last reached.
    pub exact: bool,
}

/// Detachments made while the daemon was down.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SpoolStatus {
    /// Tombstones that wait to be taken in.
    pub waiting: u64,
    /// Taken in since the daemon started.
    pub consumed: u64,
}

/// What the kernel held otherwise than it should.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DriftStatus {
    /// Attachments looked at since the daemon started, each time counted.
    pub examined: u64,
    /// Of these, not as they should be.
    pub found: u64,
    /// Of these, mended.
    pub mended: u64,
    /// The last time one was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found_at_unix_ms: Option<u64>,
    /// The last time all were looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at_unix_ms: Option<u64>,
}

/// Something that went wrong.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failing {
    /// The last time.
    pub at_unix_ms: u64,
    /// How often since the daemon started.
    #[serde(default)]
    pub times: u64,
    /// Object, cause and remedy.
    pub text: String,
}

/// How far something is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// What is being done: `leases released`, `rows copied`.
    pub what: String,
    /// How many are.
    pub done: u64,
    /// Of how many, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}
