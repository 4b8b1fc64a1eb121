//! Pools.

use serde::{Deserialize, Serialize};

use super::selector::{LabelSelector, Labels, NamePattern};
use super::{Place, Value, text};
use crate::cluster::geometry::{Geometry, GeometryError, Layout, Subnet};
use crate::cluster::name::OverlayName;
use crate::record::PodRef;
use crate::span::Span;

/// `pools/<pool>`: addresses, how they are cut into blocks, and for whom they are.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct PoolRow {
    /// Its addresses.
    pub geometry: Geometry,
    /// The largest `block_bits` the pool ever had: no block of it is larger.
    pub largest_bits: u8,
    /// Pools are tried from the highest on.
    pub priority: i32,
    /// The nodes that may claim blocks of it, by their labels.
    pub nodes: LabelSelector,
    /// The namespaces whose pods get its addresses; all, and attachments without a pod, if it is empty.
    pub namespaces: Vec<NamePattern>,
    /// Whether anything of it is given out.
    pub state: PoolState,
    /// How long a freed address is not given out again, at least.
    pub cooldown_secs: u64,
    /// How long it is not given out at most, if it is not confirmed that nothing knows it any more.
    pub cooldown_max_secs: u64,
    /// Whether a node never asks another for a part of a block.
    pub strict: bool,
    /// The one network that has it, if its addresses may be those of other pools too: a segment of its
    /// own over all nodes.
    pub tenant: Option<OverlayName>,
    /// Since when its ordinals are these addresses, in milliseconds since 1970; 0 if there never was
    /// another pool of its name. What was audited before is of that.
    pub laid_out_at_unix_ms: u64,
}

/// Whether anything of a pool is given out.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolState {
    /// Yes.
    #[default]
    Enabled,
    /// Nothing new; idle blocks are given back, also the last one of a node. To be removed.
    Draining,
    /// Nothing new; blocks stay where they are.
    Disabled,
}

impl PoolRow {
    /// Cool-down unless said otherwise: peers that retry what the last holder began have given up.
    pub const COOLDOWN_SECS: u64 = 30;
    /// Longest wait for the confirmation.
    pub const COOLDOWN_MAX_SECS: u64 = 600;
    /// Addresses of a block, as a logarithm.
    pub const BLOCK_BITS: u8 = 6;

    /// An enabled pool for everybody.
    #[must_use]
    pub fn new(geometry: Geometry) -> Self {
        Self {
            largest_bits: geometry.block_bits(),
            geometry,
            priority: 0,
            nodes: LabelSelector::default(),
            namespaces: Vec::new(),
            state: PoolState::Enabled,
            cooldown_secs: Self::COOLDOWN_SECS,
            cooldown_max_secs: Self::COOLDOWN_MAX_SECS,
            strict: false,
            tenant: None,
            laid_out_at_unix_ms: 0,
        }
    }

    /// Whether the two may not have an address in common: they are for the same networks, or for any.
    #[must_use]
    pub fn excludes(&self, other: &Self) -> bool {
        self.tenant == other.tenant
    }

    /// Whether a node with these labels claims blocks of it.
    #[must_use]
    pub fn is_for_node(&self, labels: &Labels) -> bool {
        self.nodes.selects(labels)
    }

    /// Whether an attachment of this pod gets an address of it.
    #[must_use]
    pub fn is_for_pod(&self, pod: Option<&PodRef>) -> bool {
        let meant = |pod: &PodRef| {
            let mut patterns = self.namespaces.iter();
            patterns.any(|pattern| pattern.matches(&pod.namespace))
        };
        self.namespaces.is_empty() || pod.is_some_and(meant)
    }
}

impl Value for PoolRow {
    fn belongs(place: &Place) -> bool {
        matches!(place, Place::Pool(_))
    }
}

#[derive(Deserialize, Serialize)]
struct Wire {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    v4: Option<Subnet>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    v6: Option<Subnet>,
    #[serde(default = "block_bits")]
    block_bits: u8,
    #[serde(default)]
    largest_bits: u8,
    #[serde(default, with = "text::span", skip_serializing_if = "Vec::is_empty")]
    reserved: Vec<Span>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    node_addresses: bool,
    #[serde(default)]
    priority: i32,
    #[serde(default, skip_serializing_if = "LabelSelector::is_everything")]
    nodes: LabelSelector,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    namespaces: Vec<NamePattern>,
    #[serde(default)]
    state: PoolState,
    #[serde(default = "cooldown_secs")]
    cooldown_secs: u64,
    #[serde(default = "cooldown_max_secs")]
    cooldown_max_secs: u64,
    #[serde(default)]
    strict: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<OverlayName>,
    #[serde(default, skip_serializing_if = "super::is_zero")]
    laid_out_at_unix_ms: u64,
}

const fn block_bits() -> u8 {
    PoolRow::BLOCK_BITS
}

const fn cooldown_secs() -> u64 {
    PoolRow::COOLDOWN_SECS
}

const fn cooldown_max_secs() -> u64 {
    PoolRow::COOLDOWN_MAX_SECS
}

impl TryFrom<Wire> for PoolRow {
    type Error = GeometryError;

    fn try_from(wire: Wire) -> Result<Self, GeometryError> {
        let geometry = Geometry::new(Layout {
            v4: wire.v4,
            v6: wire.v6,
            block_bits: wire.block_bits,
            reserved: wire.reserved,
            node_addresses: wire.node_addresses,
        })?;
        Ok(Self {
            largest_bits: wire
                .largest_bits
                .clamp(geometry.block_bits(), Geometry::MOST_BLOCK_BITS),
            geometry,
            priority: wire.priority,
            nodes: wire.nodes,
            namespaces: wire.namespaces,
            state: wire.state,
            cooldown_secs: wire.cooldown_secs,
            cooldown_max_secs: wire.cooldown_max_secs,
            strict: wire.strict,
            tenant: wire.tenant,
            laid_out_at_unix_ms: wire.laid_out_at_unix_ms,
        })
    }
}

impl From<PoolRow> for Wire {
    fn from(row: PoolRow) -> Self {
        let layout = row.geometry.layout();
        Self {
            v4: layout.v4,
            v6: layout.v6,
            block_bits: layout.block_bits,
            largest_bits: row.largest_bits,
            reserved: layout.reserved.clone(),
            node_addresses: layout.node_addresses,
            priority: row.priority,
            nodes: row.nodes,
            namespaces: row.namespaces,
            state: row.state,
            cooldown_secs: row.cooldown_secs,
            cooldown_max_secs: row.cooldown_max_secs,
            strict: row.strict,
            tenant: row.tenant,
            laid_out_at_unix_ms: row.laid_out_at_unix_ms,
        }
    }
}
