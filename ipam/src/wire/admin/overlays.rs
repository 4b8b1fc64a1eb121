//! Networks that nodes have together.

use std::net::IpAddr;

use bulkhead_model::{Encryption, IfName, Mac, Mtu, Prefix, Vni};
use serde::{Deserialize, Serialize};

use super::{NodeName, NodeState};

/// Such a network.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedOverlay {
    /// The network.
    pub network: String,
    /// Its identifier.
    pub vni: Vni,
    /// The UDP port.
    pub port: u16,
    /// How its containers are joined: `routed`, or `bridged`.
    pub mode: String,
    /// Its pools.
    pub pools: Vec<String>,
    /// How packets between its nodes are protected.
    #[serde(default)]
    pub encryption: Encryption,
    /// The latest epoch of its keys, if it is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_epoch: Option<u64>,
    /// Their prefixes.
    #[serde(default)]
    pub prefixes: Vec<Prefix>,
    /// The nodes that have it, by name.
    #[serde(default)]
    pub ends: Vec<ListedEnd>,
    /// The asked node's own end; none if it has no attachment of the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub here: Option<OwnEnd>,
}

/// A node's end of a network, as it tells the others.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedEnd {
    /// Id and name.
    #[serde(flatten)]
    pub name: NodeName,
    /// What the node's fence says.
    pub state: NodeState,
    /// Where it is reached.
    pub underlay: IpAddr,
    /// The MAC of its device.
    pub mac: Mac,
    /// The MAC of the link that it is reached by, if it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_mac: Option<Mac>,
    /// Its device's MTU, in bytes.
    pub mtu: Mtu,
    /// The epoch of the network's keys that it says that it receives by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_epoch: Option<u64>,
    /// The release of its daemon.
    #[serde(default)]
    pub version: String,
    /// When it said so, by its own clock.
    #[serde(default)]
    pub at_unix_ms: u64,
    /// When it last said that it lives, by its own clock. Says nothing about who is sent to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_at_unix_ms: Option<u64>,
    /// The prefixes of its blocks.
    #[serde(default)]
    pub blocks: Vec<Prefix>,
    /// Attachments of the node, on any network, as published.
    #[serde(default)]
    pub held: u64,
    /// Routes of others on the asked node that packets to its blocks take instead of ours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub obstacles: Vec<Obstacle>,
}

/// A route that somebody else made on the asked node, and that stands where one of ours should.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Obstacle {
    /// As `ip route` shows it.
    pub route: String,
    /// The line that removes it, or shows what it goes with.
    pub removal: String,
}

/// The asked node's own end.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "what is and what is asked for, each on its own"
)]
#[serde(rename_all = "camelCase")]
pub struct OwnEnd {
    /// Id and name.
    #[serde(flatten)]
    pub name: NodeName,
    /// Its device.
    pub device: IfName,
    /// The node's part of the segment, if the network is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<OwnSegment>,
    /// Its address in the underlay.
    pub local: IpAddr,
    /// Its device's MTU, in bytes.
    pub mtu: Mtu,
    /// The node's own addresses in the network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// Whether peers on a link of the node's are sent to without encapsulation.
    #[serde(default)]
    pub direct_routing: bool,
    /// Whether TCP connections over the device are told what their way carries.
    #[serde(default)]
    pub mss_clamp: bool,
    /// Whether the device leaves checksums to the links below.
    #[serde(default = "yes")]
    pub tx_checksum: bool,
    /// Whether the kernel had everything of it when it was looked at last.
    pub stands: bool,
    /// What keeps it from that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// How often something was found otherwise than it had been left, since the daemon started.
    #[serde(default)]
    pub mended: u64,
    /// Whether the store was read since the daemon started: without that, what stands is not changed.
    #[serde(default)]
    pub store_read: bool,
    /// The others are as the store said at this time, which the node remembers; none if it was read since
    /// the daemon started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of_unix_ms: Option<u64>,
    /// How it is encrypted, if it is and its keys were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<OwnSeal>,
}

/// How the asked node's end of an encrypted network is keyed. No key is told.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnSeal {
    /// The latest epoch of the network's keys.
    pub epoch: u64,
    /// The other nodes, by id.
    #[serde(default)]
    pub peers: Vec<SealedPeer>,
}

/// What there is for another node.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SealedPeer {
    /// Id and name.
    #[serde(flatten)]
    pub name: NodeName,
    /// The epoch that it is sent to by.
    pub sent_by_epoch: u64,
    /// How many states it may send by: one for each epoch.
    pub inbound: usize,
}

const fn yes() -> bool {
    true
}

/// The asked node's part of a network's segment.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnSegment {
    /// The path of the namespace that the network has for itself.
    pub netns: String,
    /// Whether what is for everybody or a group is sent to every node.
    #[serde(default)]
    pub replication: bool,
}
