//! `auto`: a pool that we choose. A key of our own, so it is read strictly.

use bulkhead_model::{Family, Prefix};

use super::object::Node;
use super::{Automatic, AutomaticV6, KeyError};

/// Where IPv4 subnets are looked for, in this order (RFC 1918). The upper half of 10/8 first: the
/// lower half is where people number by hand.
const IPV4: [&str; 3] = ["10.128.0.0/9", "172.16.0.0/12", "192.168.0.0/16"];
/// Addresses for 253 attachments.
const IPV4_LEN: u8 = 24;

/// `None` if it is not asked for. What does not belong to `auto` is left at its default.
pub(super) fn parse(ipam: &Node<'_>) -> Result<Option<Automatic>, KeyError> {
    let Some(node) = ipam.field("auto")? else {
        return Ok(None);
    };
    let automatic = match node.switch() {
        Some(false) => return Ok(None),
        Some(true) => plain(),
        None => Automatic {
            ipv4: ipv4(&node)?,
            ipv4_len: ipv4_len(&node)?,
            ipv6: ipv6(&node)?,
            ..plain()
        },
    };
    if automatic.ipv4.is_empty() && automatic.ipv6 == AutomaticV6::Off {
        return Err(node.error("both families are off: leave one on"));
    }
    if let Some(parent) = automatic
        .ipv4
        .iter()
        .find(|parent| parent.len() > automatic.ipv4_len)
    {
        return Err(node.error(format!(
            "a /{} does not fit into {parent}: raise `ipv4Length` or widen `ipv4`",
            automatic.ipv4_len
        )));
    }
    Ok(Some(automatic))
}

fn plain() -> Automatic {
    let parents = IPV4
        .iter()
        .map(|text| text.parse().expect("three prefixes of RFC 1918"));
    Automatic {
        ipv4: parents.collect(),
        ipv4_len: IPV4_LEN,
        ipv6: AutomaticV6::UniqueLocal,
        exclude: Vec::new(),
        cooldown_secs: 0,
    }
}

fn ipv4(auto: &Node<'_>) -> Result<Vec<Prefix>, KeyError> {
    let Some(node) = auto.field("ipv4")? else {
        return Ok(plain().ipv4);
    };
    match node.switch() {
        Some(true) => Ok(plain().ipv4),
        Some(false) => Ok(Vec::new()),
        None => Ok(vec![parent(&node, Family::V4, 30)?]),
    }
}

/// A /31 would leave no gateway.
fn ipv4_len(auto: &Node<'_>) -> Result<u8, KeyError> {
    let Some(node) = auto.field("ipv4Length")? else {
        return Ok(IPV4_LEN);
    };
    let len = node.number(30)?;
    Ok(u8::try_from(len).expect("at most 30"))
}

fn ipv6(auto: &Node<'_>) -> Result<AutomaticV6, KeyError> {
    let Some(node) = auto.field("ipv6")? else {
        return Ok(AutomaticV6::UniqueLocal);
    };
    match node.switch() {
        Some(true) => Ok(AutomaticV6::UniqueLocal),
        Some(false) => Ok(AutomaticV6::Off),
        None => parent(&node, Family::V6, 64).map(AutomaticV6::Inside),
    }
}

fn parent(node: &Node<'_>, family: Family, max_len: u8) -> Result<Prefix, KeyError> {
    let prefix: Prefix = node.parse()?;
    if prefix.family() != family {
        return Err(node.error(format!(
            "{prefix} is {}, expected {family}",
            prefix.family()
        )));
    }
    if prefix.len() > max_len || prefix.is_default() {
        return Err(node.error(format!("{prefix}: expected a length from 1 to {max_len}")));
    }
    Ok(prefix)
}
