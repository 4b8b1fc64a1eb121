//! `routes`: what the container is to reach through its addresses.

use std::net::IpAddr;

use bulkhead_model::{Family, InterfaceAddress, Prefix};

use super::object::Node;
use super::{KeyError, Route};

/// Every route, in order.
pub(super) fn routes(ipam: &Node<'_>) -> Result<Vec<Route>, KeyError> {
    match ipam.field("routes")? {
        Some(list) => list.list()?.iter().map(route).collect(),
        None => Ok(Vec::new()),
    }
}

fn route(node: &Node<'_>) -> Result<Route, KeyError> {
    let Some(dst_node) = node.field("dst")? else {
        return Err(node.error("a route needs a `dst` such as 0.0.0.0/0"));
    };
    let dst = destination(&dst_node)?;
    let number = |key: &str, max: u32| -> Result<Option<u32>, KeyError> {
        let Some(node) = node.field(key)? else {
            return Ok(None);
        };
        let number = node.number(max.into())?;
        Ok(u32::try_from(number).ok())
    };
    let scope = number("scope", u8::MAX.into())?;
    Ok(Route {
        dst,
        gw: next_hop(node, dst)?,
        mtu: number("mtu", 65_535)?,
        advmss: number("advmss", 65_535)?,
        priority: number("priority", u32::MAX)?,
        table: number("table", u32::MAX)?,
        scope: scope.and_then(|scope| u8::try_from(scope).ok()),
    })
}

fn destination(node: &Node<'_>) -> Result<Prefix, KeyError> {
    let text = node.text()?;
    let address: InterfaceAddress = text.parse().map_err(|_| {
        node.error(format!(
            "{text:?} is not a destination such as 0.0.0.0/0 or fd00::/8"
        ))
    })?;
    let prefix = address.prefix();
    if prefix.address() == address.address() {
        Ok(prefix)
    } else {
        Err(node.error(format!("{text} has host bits set: write {prefix}")))
    }
}

fn next_hop(node: &Node<'_>, dst: Prefix) -> Result<Option<IpAddr>, KeyError> {
    let Some(node) = node.field("gw")? else {
        return Ok(None);
    };
    let text = node.text()?;
    if text.is_empty() {
        return Ok(None);
    }
    let gw: IpAddr = text.parse().map_err(|_| {
        node.error(format!(
            "{text:?} is not an address such as 10.1.0.1 or fd00::1"
        ))
    })?;
    if Family::of(gw) != dst.family() {
        return Err(node.error(format!(
            "next hop {gw} is {}, but the destination {dst} is {}",
            Family::of(gw),
            dst.family()
        )));
    }
    Ok(Some(gw))
}
