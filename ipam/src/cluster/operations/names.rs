//! Nodes, blocks and leases in the words of a text for people.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::rows::{Leased, Owned};
use super::{Operations, StoreTrouble};
use crate::cluster::geometry::{Block, Geometry};
use crate::cluster::name::NodeId;
use crate::cluster::schema::{FenceRow, LeaseRow, Place};

/// Most things that a text names one by one.
const NAMED: usize = 5;

/// What nodes are called.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeNames(BTreeMap<NodeId, String>);

impl NodeNames {
    /// A node's name; its id if it has none.
    pub(super) fn of<'a>(&'a self, node: &'a NodeId) -> &'a str {
        match self.0.get(node) {
            Some(name) if !name.is_empty() => name,
            _ => node.as_str(),
        }
    }
}

impl Operations<'_> {
    /// The names of all nodes that ever registered. A fence that is not understood has none.
    pub(super) fn node_names(&self) -> Result<NodeNames, StoreTrouble> {
        let rows = self.all(&self.schema.kind("fences"))?;
        let named = rows.iter().filter_map(|row| {
            let (place, fence) = self.schema.read::<FenceRow>(row).ok()?;
            match place {
                Place::Fence(node) => Some((node, fence.name)),
                _ => None,
            }
        });
        Ok(NodeNames(named.collect()))
    }
}

/// A list in a text: the first few, then how many more.
pub(super) fn listed(texts: impl ExactSizeIterator<Item = String>) -> String {
    let more = texts.len().saturating_sub(NAMED);
    let mut named: Vec<String> = texts.take(NAMED).collect();
    if more > 0 {
        named.push(format!("{more} more"));
    }
    match named.pop() {
        None => String::new(),
        Some(last) if named.is_empty() => last,
        Some(last) => format!("{} and {last}", named.join(", ")),
    }
}

/// Addresses of one ordinal: `10.4.0.9 and fd00:4::9`.
pub(super) fn addresses(addresses: &[IpAddr]) -> String {
    listed(addresses.iter().map(IpAddr::to_string))
}

/// The prefixes of a block.
pub(super) fn block(geometry: &Geometry, block: Block) -> String {
    let prefixes = geometry.prefixes_of(block);
    if prefixes.is_empty() {
        return format!("ordinals {block}");
    }
    listed(prefixes.iter().map(ToString::to_string))
}

/// Who holds a lease: its pod, else its attachment.
pub(super) fn holder(lease: &LeaseRow) -> String {
    match &lease.pod {
        Some(pod) => format!("{}/{}", pod.namespace, pod.name),
        None => format!("attachment {}", lease.attachment),
    }
}

/// Blocks in a text: `block 10.4.0.64/26 of n1`.
pub(super) fn blocks(geometry: &Geometry, owned: &[&Owned], names: &NodeNames) -> String {
    listed(owned.iter().map(|owned| {
        let prefixes = block(geometry, owned.block);
        format!("block {prefixes} of {}", names.of(&owned.row.node))
    }))
}

/// Leases in a text: `10.4.0.65 of team-a/web-0 on n1`.
pub(super) fn leases(leases: &[&Leased], names: &NodeNames) -> String {
    listed(leases.iter().map(|lease| one_lease(lease, names)))
}

/// A lease in a text.
pub(super) fn one_lease(lease: &Leased, names: &NodeNames) -> String {
    let row = &lease.row;
    let on = names.of(&row.node);
    format!("{} of {} on {on}", addresses(&row.addresses), holder(row))
}
