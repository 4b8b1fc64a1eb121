//! Overlays, and the ends that nodes have of them.

use std::fmt;
use std::net::IpAddr;

use bulkhead_model::{Encryption, Mac, Mtu, Vni};
use serde::{Deserialize, Serialize};

use super::{Place, SealRow, Value};
use crate::cluster::name::{Attempt, NodeId, PoolName};

/// `overlays/<network>`: what nodes have to agree on to have a network together. It is made by the first
/// node that has one of the network's containers and goes with the last.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct OverlayRow {
    /// Its identifier; no other overlay has the same.
    pub vni: Vni,
    /// The UDP port.
    pub port: u16,
    /// How its containers are joined.
    #[serde(default)]
    pub mode: OverlayMode,
    /// Its pools; no other overlay has one of them.
    pub pools: Vec<PoolName>,
    /// How packets between its nodes are protected.
    #[serde(default, skip_serializing_if = "Encryption::is_none")]
    pub encryption: Encryption,
    /// The node that made it.
    pub by: NodeId,
    /// When, in milliseconds since 1970.
    #[serde(default)]
    pub created_at_unix_ms: u64,
}

/// How an overlay's containers are joined.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OverlayMode {
    /// Each has a link of its own, and each block a route.
    #[default]
    Routed,
    /// All are on one segment.
    Bridged,
}

impl fmt::Display for OverlayMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Routed => "routed",
            Self::Bridged => "bridged",
        })
    }
}

impl Value for OverlayRow {
    fn belongs(place: &Place) -> bool {
        matches!(place, Place::Overlay(_))
    }
}

/// `vteps/<network>/<node>`: a node's end of an overlay. It says where the node's blocks are reached, and
/// nothing about whether the node lives: peers keep what they were told until the node or an operator
/// takes it back.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct VtepRow {
    /// The node's name, for people.
    pub name: String,
    /// The node's epoch.
    pub epoch: u64,
    /// Its address in the underlay.
    pub underlay: IpAddr,
    /// Its device's MAC.
    pub mac: Mac,
    /// The MAC of the link that has that address; none if the link has none, or an earlier release wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_mac: Option<Mac>,
    /// Its device's MTU, in bytes.
    pub mtu: Mtu,
    /// How it is keyed, if the overlay is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<SealRow>,
    /// The daemon's release.
    #[serde(default)]
    pub version: String,
    /// When the row was written, by the node's clock, in milliseconds since 1970.
    #[serde(default)]
    pub at_unix_ms: u64,
    /// The attempt that wrote it.
    #[serde(default)]
    pub attempt: Attempt,
}

impl Value for VtepRow {
    fn belongs(place: &Place) -> bool {
        matches!(place, Place::Vtep { .. })
    }
}
