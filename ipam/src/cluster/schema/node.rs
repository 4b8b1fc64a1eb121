//! Nodes, and the store itself.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Labels, Place, Value};
use crate::cluster::name::{Attempt, NodeId, PoolName};

/// `fences/<node>`: what decides whether a node may write. Every transaction of a node compares this
/// row's revision, so that whoever writes it ends every one that is still on its way.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct FenceRow {
    /// The node's name, for people.
    pub name: String,
    /// Rises with every life of the node in the cluster; a row with another epoch is not its own.
    pub epoch: u64,
    /// Whether it may own anything.
    pub state: FenceState,
    /// The process and the occasion that wrote the row last.
    pub session: Attempt,
    /// When this epoch began, in milliseconds since 1970.
    pub registered_at_unix_ms: u64,
    /// Who declared it lost; empty while it is active.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// What was said then.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub statement: String,
    /// When, in milliseconds since 1970.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub lost_at_unix_ms: u64,
}

/// Whether a node may own anything.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FenceState {
    /// Yes.
    #[default]
    Active,
    /// No: an operator said that it is gone.
    Lost,
}

impl Value for FenceRow {
    fn belongs(place: &Place) -> bool {
        matches!(place, Place::Fence(_))
    }
}

/// `nodes/<node>`: what a node says of itself. Decides nothing.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct NodeRow {
    /// Its name.
    pub name: String,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// The daemon's release.
    pub version: String,
    /// Its labels, which pools select nodes by.
    pub labels: Labels,
    /// The boot it runs in.
    pub boot_id: String,
    /// When the daemon started, in milliseconds since 1970.
    pub started_at_unix_ms: u64,
}

impl Value for NodeRow {
    fn belongs(place: &Place) -> bool {
        matches!(place, Place::Node(_))
    }
}

/// `live/<node>`: a sign of life and a hint for borrowers. Never decides who owns what.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct LiveRow {
    /// When it was written, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// The node's share of each pool it has blocks of.
    pub pools: BTreeMap<PoolName, Share>,
}

/// A node's share of a pool, in ordinals.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Share {
    /// That could be given out at once.
    pub free: u64,
    /// Freed, and not yet to be given out again.
    pub cooling: u64,
}

impl Value for LiveRow {
    fn belongs(place: &Place) -> bool {
        matches!(place, Place::Live(_))
    }
}

/// `meta`: which cluster the store is of. Every transaction of a node compares this row's revision too.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct MetaRow {
    /// The cluster's id, made once.
    pub cluster: String,
    /// When, in milliseconds since 1970.
    pub created_at_unix_ms: u64,
    /// Whether nodes may write.
    pub state: MetaState,
    /// Where the rows are being copied to, or have gone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub to: String,
    /// What the store is being filled from.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub from: String,
}

/// Whether nodes may write to a store.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MetaState {
    /// Yes.
    #[default]
    Active,
    /// No: it is filled from another store or from a backup, and not complete.
    Filling,
    /// No: it is being copied to another store.
    Moving,
    /// Never again: its rows are in another store.
    Moved,
}

impl Value for MetaRow {
    fn belongs(place: &Place) -> bool {
        *place == Place::Meta
    }
}

/// `janitor`: who removed old audit rows last.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct JanitorRow {
    /// The node.
    pub node: Option<NodeId>,
    /// When it began, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// What happened before is not kept, in milliseconds since 1970.
    pub before_unix_ms: u64,
}

impl Value for JanitorRow {
    fn belongs(place: &Place) -> bool {
        *place == Place::Janitor
    }
}
