//! Whether a node can have a network together with others. Pure.

use bulkhead_model::{Family, Mtu};

use super::error::OverlayError;
use super::{End, OverlayAsk};
use crate::cluster::name::{Attempt, NodeId, OverlayName, PoolName};
use crate::cluster::operations::rows::Pools;
use crate::cluster::schema::{OverlayMode, OverlayRow, PoolRow, VtepRow};

/// Most addresses of a pool of a segment, of each family: each node is told of every one before it is
/// anybody's.
const MOST_STATIONS: u64 = 1 << 16;

/// The network's row with what is asked for.
pub(super) fn row(
    ask: &OverlayAsk,
    others: &[(OverlayName, OverlayRow)],
    pools: &Pools,
    name_of: impl Fn(&NodeId) -> String,
) -> Result<OverlayRow, OverlayError> {
    let network = &ask.network;
    if let Some(pool) = ask
        .overlay
        .pools
        .iter()
        .find(|pool| !pools.contains_key(*pool))
    {
        return Err(OverlayError::NoPool {
            network: network.clone(),
            pool: pool.clone(),
        });
    }
    for pool in &ask.overlay.pools {
        if let Some((row, _)) = pools.get(pool) {
            fits(ask, pool, row)?;
        }
    }
    for (other, row) in others.iter().filter(|(other, _)| other != network) {
        if row.vni == ask.overlay.vni {
            return Err(OverlayError::VniTaken {
                network: network.clone(),
                vni: row.vni,
                other: other.clone(),
            });
        }
        let is_encrypted = !(row.encryption.is_none() && ask.overlay.encryption.is_none());
        if is_encrypted && row.port == ask.overlay.port {
            return Err(OverlayError::PortShared {
                network: network.clone(),
                port: row.port,
                other: other.clone(),
            });
        }
        let shared = |pool: &&PoolName| row.pools.contains(pool);
        if let Some(pool) = ask.overlay.pools.iter().find(shared) {
            return Err(OverlayError::PoolTaken {
                network: network.clone(),
                pool: pool.clone(),
                other: other.clone(),
            });
        }
    }
    let Some((_, known)) = others.iter().find(|(other, _)| other == network) else {
        return one_pool(ask, ask.overlay.clone());
    };
    same(ask, known, name_of)?;
    let mut row = known.clone();
    let new = ask.overlay.pools.iter();
    row.pools
        .extend(new.filter(|pool| !known.pools.contains(pool)).cloned());
    one_pool(ask, row)
}

/// A segment has one prefix of each family, and containers of another pool would reach each other by the gateway, which
/// would look for whoever has an address there (RFC 6583 section 5).
fn one_pool(ask: &OverlayAsk, row: OverlayRow) -> Result<OverlayRow, OverlayError> {
    match row.pools.as_slice() {
        [known, .., pool] if row.mode == OverlayMode::Bridged => Err(OverlayError::SecondPool {
            network: ask.network.clone(),
            known: known.clone(),
            pool: pool.clone(),
        }),
        _ => Ok(row),
    }
}

/// Whether a pool can be the network's.
fn fits(ask: &OverlayAsk, name: &PoolName, pool: &PoolRow) -> Result<(), OverlayError> {
    let (network, pool_name) = (ask.network.clone(), name.clone());
    let is_bridged = ask.overlay.mode == OverlayMode::Bridged;
    match &pool.tenant {
        Some(tenant) if *tenant != ask.network => Err(OverlayError::OtherTenant {
            network,
            pool: pool_name,
            tenant: tenant.clone(),
        }),
        Some(_) if !is_bridged => Err(OverlayError::NoSegment {
            network,
            pool: pool_name,
        }),
        _ if is_bridged && pool.geometry.size() > MOST_STATIONS => Err(OverlayError::TooMany {
            network,
            pool: pool_name,
            size: pool.geometry.size(),
            most: MOST_STATIONS,
        }),
        _ => Ok(()),
    }
}

/// Whether what is asked for is what the others have, but for pools.
pub(super) fn same(
    ask: &OverlayAsk,
    known: &OverlayRow,
    name_of: impl Fn(&NodeId) -> String,
) -> Result<(), OverlayError> {
    let differs = |key, asked: String, found: String| {
        Err(OverlayError::Differs {
            network: ask.network.clone(),
            key,
            asked,
            known: found,
            node: name_of(&known.by),
        })
    };
    let asked = &ask.overlay;
    if asked.vni != known.vni {
        return differs("vni", asked.vni.to_string(), known.vni.to_string());
    }
    if asked.mode != known.mode {
        return differs("mode", asked.mode.to_string(), known.mode.to_string());
    }
    if asked.port != known.port {
        return differs("port", asked.port.to_string(), known.port.to_string());
    }
    if asked.encryption != known.encryption {
        let (asked, known) = (asked.encryption, known.encryption);
        return differs("encryption", asked.to_string(), known.to_string());
    }
    Ok(())
}

/// Whether the node's end carries the families of the network's pools.
pub(super) fn carries(
    network: &OverlayName,
    row: &OverlayRow,
    pools: &Pools,
    end: &VtepRow,
) -> Result<(), OverlayError> {
    let needed = Mtu::minimum(Family::V6);
    if end.mtu >= needed {
        return Ok(());
    }
    let mut used = row.pools.iter().filter_map(|pool| pools.get(pool));
    if !used.any(|(pool, _)| pool.geometry.prefixes().any(|it| it.family() == Family::V6)) {
        return Ok(());
    }
    let family = Family::of(end.underlay);
    Err(OverlayError::TooSmall {
        network: network.clone(),
        underlay: end.underlay,
        mtu: end.mtu,
        needed: row.encryption.needed(family, needed.bytes()),
    })
}

/// Whether no other node is reached at the same address, or has the same name.
pub(super) fn alone(
    network: &OverlayName,
    node: &NodeId,
    end: &VtepRow,
    ends: &[End],
) -> Result<(), OverlayError> {
    for other in ends.iter().filter(|other| other.node != *node) {
        if other.row.underlay == end.underlay {
            return Err(OverlayError::AddressTaken {
                network: network.clone(),
                underlay: end.underlay,
                node: end.name.clone(),
                other: other.row.name.clone(),
            });
        }
        if other.row.name == end.name {
            return Err(OverlayError::NameTaken {
                network: network.clone(),
                name: end.name.clone(),
                underlay: other.row.underlay,
            });
        }
    }
    Ok(())
}

/// Whether two rows of one node say the same, whenever they were written.
pub(super) fn says_the_same(one: &VtepRow, other: &VtepRow) -> bool {
    let timeless = |row: &VtepRow| VtepRow {
        at_unix_ms: 0,
        attempt: Attempt::default(),
        ..row.clone()
    };
    timeless(one) == timeless(other)
}
