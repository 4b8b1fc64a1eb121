//! What may become of a pool. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bulkhead_model::{Family, Prefix};

use super::PoolChange;
use super::error::{Overlap, PoolAddError, PoolRemoveError, PoolSetError};
use crate::cluster::geometry::{Geometry, GeometryError, Layout, Subnet, Unusable};
use crate::cluster::name::PoolName;
use crate::cluster::operations::names::{self, NodeNames};
use crate::cluster::operations::rows::{Leased, Owned, Pools};
use crate::cluster::schema::{PoolRow, PoolState};

/// What is in use of a pool.
#[derive(Clone, Debug, Default)]
pub(super) struct Used {
    pub(super) blocks: Vec<Owned>,
    pub(super) leases: Vec<Leased>,
    pub(super) names: NodeNames,
}

/// What a change rests on, beside the pool's own row.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Rule {
    NoBlocks,
    NoLeases,
    NoBlocksFrom(u64),
    /// The one block that a smaller pool may be a part of: nobody claims it, and its owner leaves it.
    FirstBlockAsIs,
}

/// A pool's new form.
#[derive(Debug)]
pub(super) struct Changed {
    pub(super) row: PoolRow,
    pub(super) when: Vec<Rule>,
    pub(super) notes: Vec<String>,
    /// Whether its ordinals are other addresses than before.
    pub(super) moved: bool,
}

/// Whether a pool may be added.
pub(super) fn add(name: &PoolName, row: &PoolRow, pools: &Pools) -> Result<(), PoolAddError> {
    if let Some((there, _)) = pools.get(name) {
        return Err(PoolAddError::Taken {
            pool: name.clone(),
            prefixes: prefixes(&there.geometry),
        });
    }
    Ok(no_overlap(name, row, &row.geometry, pools)?)
}

/// What a pool becomes.
pub(super) fn set(
    name: &PoolName,
    before: &PoolRow,
    change: &PoolChange,
    used: &Used,
    pools: &Pools,
) -> Result<Changed, PoolSetError> {
    let geometry = Geometry::new(layout(name, before, change)?);
    let geometry = geometry.map_err(|source: GeometryError| PoolSetError::Geometry {
        pool: name.clone(),
        source: Box::new(source),
    })?;
    no_overlap(name, before, &geometry, pools)?;
    let moved = bases(&before.geometry) != bases(&geometry);
    let when = if moved {
        may_move(name, before, &geometry, used)?
    } else {
        may_cut(name, before, &geometry, used)?
    };
    let cooldown_secs = change.cooldown_secs.unwrap_or(before.cooldown_secs);
    let cooldown_max_secs = change.cooldown_max_secs.unwrap_or(before.cooldown_max_secs);
    let row = PoolRow {
        largest_bits: before.largest_bits.max(geometry.block_bits()),
        geometry,
        priority: change.priority.unwrap_or(before.priority),
        nodes: change.nodes.clone().unwrap_or(before.nodes.clone()),
        namespaces: change
            .namespaces
            .clone()
            .unwrap_or(before.namespaces.clone()),
        state: change.state.unwrap_or(before.state),
        cooldown_secs,
        cooldown_max_secs: cooldown_max_secs.max(cooldown_secs),
        strict: change.strict.unwrap_or(before.strict),
        tenant: before.tenant.clone(),
        laid_out_at_unix_ms: before.laid_out_at_unix_ms,
    };
    let notes = notes(name, before, &row, used);
    Ok(Changed {
        row,
        when,
        notes,
        moved,
    })
}

/// Whether a pool may be removed.
pub(super) fn remove(name: &PoolName, row: &PoolRow, used: &Used) -> Result<(), PoolRemoveError> {
    match held(&row.geometry, used, |_| true, |_| true) {
        None => Ok(()),
        Some(held) => Err(PoolRemoveError::InUse {
            pool: name.clone(),
            held,
        }),
    }
}

/// The names of the pools that there are.
pub(super) fn known(pools: &Pools) -> String {
    if pools.is_empty() {
        return "none".to_owned();
    }
    let names: Vec<&str> = pools.keys().map(PoolName::as_str).collect();
    names.join(", ")
}

fn prefixes(geometry: &Geometry) -> String {
    let texts: Vec<String> = geometry
        .prefixes()
        .map(|prefix| prefix.to_string())
        .collect();
    names::listed(texts.into_iter())
}

fn bases(geometry: &Geometry) -> Vec<IpAddr> {
    geometry.prefixes().map(Prefix::address).collect()
}

/// No other pool has the addresses, but for those of other tenants: theirs are on segments of their own.
fn no_overlap(
    name: &PoolName,
    row: &PoolRow,
    geometry: &Geometry,
    pools: &Pools,
) -> Result<(), Box<Overlap>> {
    for (other, (there, _)) in pools {
        if other == name || !row.excludes(there) {
            continue;
        }
        if let Some((ours, theirs)) = geometry.overlap(&there.geometry) {
            return Err(Box::new(Overlap {
                pool: name.clone(),
                ours,
                other: other.clone(),
                theirs,
            }));
        }
    }
    Ok(())
}

fn layout(name: &PoolName, before: &PoolRow, change: &PoolChange) -> Result<Layout, PoolSetError> {
    let mut layout = before.geometry.layout().clone();
    let families = [
        (&mut layout.v4, change.v4, Family::V4),
        (&mut layout.v6, change.v6, Family::V6),
    ];
    for (subnet, prefix, family) in families {
        if let Some(prefix) = prefix {
            *subnet = Some(subnet_of(*subnet, prefix, family));
        }
    }
    let block_bits = change.block_bits.unwrap_or(layout.block_bits);
    if layout.node_addresses && block_bits != layout.block_bits {
        return Err(PoolSetError::NodeAddresses { pool: name.clone() });
    }
    layout.block_bits = block_bits;
    for span in &change.unreserve {
        let at = layout.reserved.iter().position(|kept| kept == span);
        let at = at.ok_or_else(|| PoolSetError::NotReserved {
            pool: name.clone(),
            span: *span,
            reserved: reserved(before.geometry.layout()),
        })?;
        layout.reserved.remove(at);
    }
    for span in &change.reserve {
        if !layout.reserved.contains(span) {
            layout.reserved.push(*span);
        }
    }
    Ok(layout)
}

/// The new subnet of a family, with the present gateway as far as it is inside.
fn subnet_of(before: Option<Subnet>, prefix: Prefix, family: Family) -> Subnet {
    let Some(before) = before else {
        return Subnet::of(prefix);
    };
    let inside = |gateway: &IpAddr| prefix.family() == family && prefix.contains(*gateway);
    match before.gateway {
        Some(gateway) if !inside(&gateway) => Subnet::of(prefix),
        gateway => Subnet { prefix, gateway },
    }
}

fn reserved(layout: &Layout) -> String {
    if layout.reserved.is_empty() {
        return "nothing".to_owned();
    }
    let spans: Vec<String> = layout.reserved.iter().map(ToString::to_string).collect();
    spans.join(", ")
}

/// Ordinals become other addresses: only if nothing stands on them, nor will.
fn may_move(
    name: &PoolName,
    before: &PoolRow,
    after: &Geometry,
    used: &Used,
) -> Result<Vec<Rule>, PoolSetError> {
    match held(&before.geometry, used, |_| true, |_| true) {
        None => Ok(vec![Rule::NoBlocks, Rule::NoLeases]),
        Some(held) => Err(PoolSetError::Moves {
            pool: name.clone(),
            from: prefixes(&before.geometry),
            to: prefixes(after),
            held,
        }),
    }
}

/// Ordinals stay what they are, but there may be fewer.
fn may_cut(
    name: &PoolName,
    before: &PoolRow,
    after: &Geometry,
    used: &Used,
) -> Result<Vec<Rule>, PoolSetError> {
    // Reserving is not cutting: what is leased there stays.
    let lost = |ordinal| {
        matches!(
            after.unusable(ordinal),
            Some(Unusable::Outside | Unusable::End(_) | Unusable::Gateway(_))
        )
    };
    let cut_lease =
        |lease: &Leased| lost(lease.ordinal) && before.geometry.is_usable(lease.ordinal);
    let cut_block = |owned: &Owned| owned.block.end() > after.size();
    if let Some(held) = held(&before.geometry, used, cut_block, cut_lease) {
        return Err(PoolSetError::Cuts {
            pool: name.clone(),
            from: prefixes(&before.geometry),
            to: prefixes(after),
            held,
        });
    }
    let mut when = Vec::new();
    if after.size() < before.geometry.size() {
        when.push(Rule::NoBlocksFrom(after.size()));
        if before.largest_bits > after.size_bits() {
            when.push(Rule::FirstBlockAsIs);
        }
    }
    Ok(when)
}

/// The blocks and leases in use that are meant, in words; `None` if there are none.
fn held(
    geometry: &Geometry,
    used: &Used,
    block: impl Fn(&Owned) -> bool,
    lease: impl Fn(&Leased) -> bool,
) -> Option<String> {
    let blocks: Vec<&Owned> = used.blocks.iter().filter(|owned| block(owned)).collect();
    let leases: Vec<&Leased> = used.leases.iter().filter(|leased| lease(leased)).collect();
    let named_blocks = names::blocks(geometry, &blocks, &used.names);
    let named_leases = names::leases(&leases, &used.names);
    match (blocks.is_empty(), leases.is_empty()) {
        (true, true) => None,
        (false, true) => Some(named_blocks),
        (true, false) => Some(format!("lease {named_leases}")),
        (false, false) => Some(format!("{named_blocks}, with lease {named_leases}")),
    }
}

fn notes(name: &PoolName, before: &PoolRow, after: &PoolRow, used: &Used) -> Vec<String> {
    let mut notes = Vec::new();
    let kept = |lease: &&Leased| {
        before.geometry.is_usable(lease.ordinal) && !after.geometry.is_usable(lease.ordinal)
    };
    let standing: Vec<&Leased> = used.leases.iter().filter(kept).collect();
    if !standing.is_empty() {
        let named = names::leases(&standing, &used.names);
        notes.push(format!(
            "leased where it is reserved now, and stays: {named}"
        ));
    }
    let (was, is) = (before.geometry.block_bits(), after.geometry.block_bits());
    if was != is {
        notes.push(format!(
            "blocks that are claimed from now on have {} addresses; those there are keep their size",
            1_u64 << is
        ));
    }
    if after.state != before.state && after.state != PoolState::Enabled && !used.blocks.is_empty() {
        let owners: BTreeSet<_> = used.blocks.iter().map(|owned| &owned.row.node).collect();
        let what = match after.state {
            PoolState::Draining => "are given back as their leases end",
            _ => "stay, and nothing new is given out of them",
        };
        let (blocks, owners) = (used.blocks.len(), owners.len());
        notes.push(format!(
            "pool {name} has {blocks} blocks on {owners} nodes; they {what}"
        ));
    }
    notes
}
