//! Pools between an operator's words and their rows.

use std::net::IpAddr;

use bulkhead_ipam::Span;
use bulkhead_ipam::cluster::geometry::{Geometry, Layout, Subnet};
use bulkhead_ipam::cluster::operations::PoolChange;
use bulkhead_ipam::cluster::schema::{LabelSelector, Labels, NamePattern, PoolRow};
use bulkhead_ipam::cluster::{OverlayName, PoolName};
use bulkhead_ipam::wire::admin::{self, PoolSpec, Reason, RequestError};
use bulkhead_model::{Family, Prefix};

use super::refusal::{because, invalid};

/// The row of a new pool.
pub(super) fn row(spec: &PoolSpec) -> Result<PoolRow, RequestError> {
    let mut gateways = spec.gateways.clone();
    let mut subnet = |prefix: Option<Prefix>| prefix.map(|prefix| take(prefix, &mut gateways));
    let layout = Layout {
        v4: subnet(spec.v4),
        v6: subnet(spec.v6),
        block_bits: spec.block_bits.unwrap_or(PoolRow::BLOCK_BITS),
        reserved: spans(&spec.reserved)?,
        node_addresses: spec.node_addresses,
    };
    if let Some(gateway) = gateways.first() {
        let text = format!(
            "gateway {gateway} has no prefix of its family, or there is another one of it; name one for each prefix at most"
        );
        return Err(because(Reason::Invalid, text));
    }
    let new = PoolRow::new(Geometry::new(layout).map_err(|error| invalid(&error))?);
    let cooldown_secs = spec.cooldown_secs.unwrap_or(new.cooldown_secs);
    Ok(PoolRow {
        priority: spec.priority,
        nodes: selector(&spec.node_labels)?,
        namespaces: patterns(&spec.namespaces)?,
        cooldown_secs,
        cooldown_max_secs: new.cooldown_max_secs.max(cooldown_secs),
        strict: spec.strict,
        tenant: spec.tenant.as_deref().map(tenant).transpose()?,
        ..new
    })
}

fn tenant(network: &str) -> Result<OverlayName, RequestError> {
    network.parse().map_err(|error| invalid(&error))
}

/// The prefix with the gateway that is named for its family, which is taken out.
fn take(prefix: Prefix, gateways: &mut Vec<IpAddr>) -> Subnet {
    let same = |gateway: &IpAddr| Family::of(*gateway) == prefix.family();
    let named = gateways.iter().position(same);
    let gateway = named.map(|at| gateways.remove(at));
    let by_default = Subnet::of(prefix);
    Subnet {
        gateway: gateway.or(by_default.gateway),
        ..by_default
    }
}

/// What becomes different.
pub(super) fn change(change: &admin::PoolChange) -> Result<PoolChange, RequestError> {
    let namespaces = change.namespaces.as_deref().map(patterns);
    let nodes = change.node_labels.as_ref().map(selector);
    Ok(PoolChange {
        v4: change.v4,
        v6: change.v6,
        block_bits: change.block_bits,
        nodes: nodes.transpose()?,
        namespaces: namespaces.transpose()?,
        reserve: spans(&change.reserve)?,
        unreserve: spans(&change.unreserve)?,
        priority: change.priority,
        cooldown_secs: change.cooldown_secs,
        strict: change.strict,
        ..PoolChange::default()
    })
}

/// A pool as an operator writes it, every default filled in.
pub(super) fn of(name: &PoolName, row: &PoolRow) -> PoolSpec {
    let layout = row.geometry.layout();
    let subnets = [layout.v4, layout.v6].into_iter().flatten();
    PoolSpec {
        name: name.to_string(),
        v4: layout.v4.map(|subnet| subnet.prefix),
        v6: layout.v6.map(|subnet| subnet.prefix),
        gateways: subnets.filter_map(|subnet| subnet.gateway).collect(),
        block_bits: Some(layout.block_bits),
        node_labels: row.nodes.demanded(),
        namespaces: row.namespaces.iter().map(ToString::to_string).collect(),
        reserved: layout.reserved.iter().map(Span::to_string).collect(),
        node_addresses: layout.node_addresses,
        tenant: row.tenant.as_ref().map(ToString::to_string),
        priority: row.priority,
        cooldown_secs: Some(row.cooldown_secs),
        strict: row.strict,
    }
}

/// Addresses, prefixes and spans.
pub(super) fn spans(texts: &[String]) -> Result<Vec<Span>, RequestError> {
    let span = |text: &String| text.parse().map_err(|error| invalid(&error));
    texts.iter().map(span).collect()
}

fn selector(labels: &Labels) -> Result<LabelSelector, RequestError> {
    LabelSelector::of(labels).map_err(|error| invalid(&error))
}

fn patterns(texts: &[String]) -> Result<Vec<NamePattern>, RequestError> {
    let pattern = |text: &String| text.parse().map_err(|error| invalid(&error));
    texts.iter().map(pattern).collect()
}
