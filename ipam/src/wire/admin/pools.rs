//! Pools and reservations.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bulkhead_model::Prefix;
use serde::{Deserialize, Serialize};

use super::rows::PodName;

/// A pool as an operator writes it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolSpec {
    /// Letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// The IPv4 addresses; with `v6` both families or neither are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v4: Option<Prefix>,
    /// The IPv6 addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v6: Option<Prefix>,
    /// One of a family at most, inside its prefix; never given out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<IpAddr>,
    /// A block has 2 to the power of it addresses; none: 6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_bits: Option<u8>,
    /// Labels that a node must have to claim blocks; empty: every node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_labels: BTreeMap<String, String>,
    /// Namespaces whose pods may have addresses; empty: every one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Never given out: addresses, prefixes, or spans `first-last`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reserved: Vec<String>,
    /// Whether the first address of each block is of the node that has it: what the node itself is reached
    /// by, and sends from, in an overlay.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub node_addresses: bool,
    /// The one network that has it, a segment over all nodes: others may have the same addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Of several pools that match, the highest is taken first.
    #[serde(default)]
    pub priority: i32,
    /// The least time that a freed address rests, in seconds; none: 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooldown_secs: Option<u64>,
    /// Whether a node whose blocks are full is refused rather than lent a part of another's.
    #[serde(default)]
    pub strict: bool,
}

/// What becomes different about a pool; what is not given stays.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PoolChange {
    /// For blocks claimed from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_bits: Option<u8>,
    /// All of them anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_labels: Option<BTreeMap<String, String>>,
    /// All of them anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<String>>,
    /// More that is never given out; what is leased there stays.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reserve: Vec<String>,
    /// What is given out again, in the words it was reserved in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreserve: Vec<String>,
    /// See [`PoolSpec::priority`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// See [`PoolSpec::cooldown_secs`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown_secs: Option<u64>,
    /// See [`PoolSpec::strict`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
    /// Another prefix around the present one, or inside it and around every block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub v4: Option<Prefix>,
    /// As `v4`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub v6: Option<Prefix>,
}

/// Whether a pool gives addresses.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PoolState {
    /// It does.
    #[default]
    Enabled,
    /// No new ones; what is leased stays, and idle blocks are given back.
    Draining,
    /// No new ones and no new blocks; what is leased stays.
    Disabled,
    /// Of a later release.
    #[serde(other)]
    Other,
}

/// A pool and what is used of it in the cluster.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedPool {
    /// As it was written, defaults filled in.
    #[serde(flatten)]
    pub spec: PoolSpec,
    /// Whether it gives addresses.
    pub state: PoolState,
    /// What is used.
    pub usage: PoolUsage,
    /// Nodes that have blocks of it.
    #[serde(default)]
    pub nodes: u64,
}

/// What is used of a pool, by the cluster or by one node. Each address of `claimed` is one of held,
/// cooling, reserved and free.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PoolUsage {
    /// The pool's name.
    pub pool: String,
    /// Addresses that could be given out at all: without gateways and what is reserved.
    pub size: u64,
    /// Addresses in blocks.
    pub claimed: u64,
    /// Leased.
    pub held: u64,
    /// Freed, and resting. Of other nodes as they last said.
    pub cooling: u64,
    /// In blocks, and never given out: gateways, reserved ones.
    pub reserved: u64,
    /// In blocks, and free at once.
    pub free: u64,
    /// In blocks ceded by another node.
    pub borrowed: u64,
    /// Leased to what is provably dead, and not yet collected.
    pub leaked: u64,
    /// Blocks of any size.
    pub blocks: u64,
}

/// Addresses kept for somebody, or for nobody.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reservation {
    /// Letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Which pool; none: the one that has the addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Addresses, prefixes, or spans `first-last`; of a dual-stack pool one family says both.
    pub spans: Vec<String>,
    /// For whom; none: for nobody.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub kept_for: Option<ReservedFor>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Whom addresses are kept for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReservedFor {
    /// A pod.
    Pod(PodName),
    /// Every pod that has all of these labels.
    Labels(BTreeMap<String, String>),
}

/// A reservation, and what of it is used.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedReservation {
    /// It.
    #[serde(flatten)]
    pub reservation: Reservation,
    /// Addresses in it.
    #[serde(default)]
    pub size: u64,
    /// Of these, leased.
    #[serde(default)]
    pub held: u64,
}
