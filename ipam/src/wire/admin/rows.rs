//! Nodes, blocks, leases and ports: the rows of lists.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bulkhead_model::{AttachmentKey, IfName, InterfaceAddress, Prefix};
use serde::{Deserialize, Serialize};

/// Which node.
#[derive(Clone, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct NodeName {
    /// 32 hexadecimal digits, made once.
    #[serde(rename = "nodeId")]
    pub id: String,
    /// What people call it; the id if the cluster does not know.
    #[serde(rename = "node")]
    pub name: String,
}

/// Which pod, as Kubernetes names it.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct PodName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A node of the cluster.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedNode {
    /// Id and name.
    #[serde(flatten)]
    pub name: NodeName,
    /// What its fence says.
    pub state: NodeState,
    /// Its fence.
    pub epoch: u64,
    /// Its own addresses.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// The release of its daemon.
    #[serde(default)]
    pub version: String,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// When its daemon started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at_unix_ms: Option<u64>,
    /// When it last said that it lives. Says nothing about who owns what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_at_unix_ms: Option<u64>,
    /// Blocks it owns.
    #[serde(default)]
    pub blocks: u64,
    /// Addresses in them.
    #[serde(default)]
    pub claimed: u64,
    /// Leases it published.
    #[serde(default)]
    pub held: u64,
    /// Who declared it lost, and why; empty if nobody did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub statement: String,
}

/// What a node's fence says.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeState {
    /// It may own blocks.
    Active,
    /// An operator declared it dead: it owns nothing until it registers anew.
    Lost,
    /// It has no fence yet, or one of a later release.
    #[serde(other)]
    Unknown,
}

/// What became of a statement that a node is dead.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LostReport {
    /// The node.
    #[serde(flatten)]
    pub name: NodeName,
    /// The epoch that it is fenced out of: its writes with this one are void.
    pub fenced_epoch: u64,
    /// Blocks given up.
    pub blocks: u64,
    /// Leases ended.
    pub leases: u64,
}

/// A block.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedBlock {
    /// The pool.
    pub pool: String,
    /// The ordinal of its first address.
    pub first: u64,
    /// It has 2 to the power of it addresses.
    pub bits: u8,
    /// The same as prefixes, one of each family the pool has.
    #[serde(default)]
    pub prefixes: Vec<Prefix>,
    /// Who owns it.
    #[serde(flatten)]
    pub node: NodeName,
    /// The owner's fence when it claimed it.
    pub epoch: u64,
    /// When.
    #[serde(default)]
    pub claimed_at_unix_ms: u64,
    /// What state it is in.
    pub state: BlockState,
    /// How it came to its owner, if it was not claimed: `ceded by b7f3…`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// Addresses leased.
    #[serde(default)]
    pub held: u64,
    /// Addresses freed and resting; none: only the owner knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooling: Option<u64>,
    /// Addresses never given out.
    #[serde(default)]
    pub reserved: u64,
}

/// What state a block is in.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlockState {
    /// Its owner gives addresses of it.
    Active,
    /// Its owner gives it back.
    Returning,
    /// Its owner was declared lost, and it is about to be given up.
    Lost,
    /// Of a later release.
    #[serde(other)]
    Other,
}

/// A lease.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedLease {
    /// Whose.
    #[serde(flatten)]
    pub key: AttachmentKey,
    /// Of which pool.
    pub pool: String,
    /// Which of its addresses.
    pub ordinal: u64,
    /// The same as addresses, one of each family.
    pub addresses: Vec<InterfaceAddress>,
    /// Where it is attached.
    #[serde(flatten)]
    pub node: NodeName,
    /// That node's fence.
    #[serde(default)]
    pub epoch: u64,
    /// The number of the record that made it: rises.
    pub sequence: u64,
    /// The pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodName>,
    /// The pod's labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Since when.
    pub since_unix_ms: u64,
    /// What is known of its holder.
    pub state: LeaseState,
    /// Whether the store has it as it is here.
    #[serde(default)]
    pub published: bool,
    /// Whether it comes back to the same name.
    #[serde(default)]
    pub sticky: bool,
}

/// What is known of a lease's holder.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeaseState {
    /// It is on this node, and nothing says that it is dead.
    Live,
    /// Made before this node booted.
    OtherBoot,
    /// On this node, and its namespace is gone.
    NetnsGone,
    /// On another node, which alone can say.
    Remote,
    /// Its node was declared lost.
    Lost,
    /// Of a later release.
    #[serde(other)]
    Other,
}

/// What went through an attachment's port, from the container's side, since the port was made.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedEndpoint {
    /// The attachment.
    #[serde(flatten)]
    pub key: AttachmentKey,
    /// The pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodName>,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its port.
    pub port: IfName,
    /// Packets it received.
    pub received_packets: u64,
    /// Bytes it received.
    pub received_bytes: u64,
    /// Packets it sent.
    pub sent_packets: u64,
    /// Bytes it sent.
    pub sent_bytes: u64,
    /// Packets for it that were dropped at the port.
    #[serde(default)]
    pub received_dropped: u64,
    /// Packets of it that were dropped at the port, those that its filter refused among them.
    #[serde(default)]
    pub sent_dropped: u64,
}
