//! Ranges: host-local's `ranges`, its older keys beside them, the runtime's, and what they must not
//! contradict.

use std::net::IpAddr;

use bulkhead_model::{Family, InterfaceAddress, Prefix};
use serde_json::Value;

use super::KeyError;
use super::object::Node;
use crate::pool::{Range, RangeSet, is_tiny, usable};
use crate::span::{NotASpan, Span};

/// A range and where it was named.
struct Named<'a> {
    node: Node<'a>,
    range: Range,
}

/// Every range set: the runtime's first, then the older keys' one, then `ranges`.
pub(super) fn sets(ipam: &Node<'_>, runtime: Option<&Value>) -> Result<Vec<RangeSet>, KeyError> {
    let mut nodes: Vec<Vec<Node<'_>>> = Vec::new();
    if let Some(runtime) = runtime.filter(|value| !value.is_null()) {
        nodes.extend(lists(&Node::root("runtimeConfig.ipRanges", runtime))?);
    }
    if ipam.field("subnet")?.is_some() {
        nodes.push(vec![ipam.clone()]);
    } else {
        for key in ["rangeStart", "rangeEnd", "gateway"] {
            if let Some(lonely) = ipam.field(key)? {
                return Err(lonely.error("there is no `subnet` beside it: name one"));
            }
        }
    }
    if let Some(ranges) = ipam.field("ranges")? {
        nodes.extend(lists(&ranges)?);
    }
    let named = nodes.into_iter().map(set).collect::<Result<Vec<_>, _>>()?;
    refuse_overlap(&named)?;
    let plain = |set: Vec<Named<'_>>| RangeSet {
        ranges: set.into_iter().map(|named| named.range).collect(),
    };
    Ok(named.into_iter().map(plain).collect())
}

/// `[[range, ...], ...]`.
fn lists<'a>(sets: &Node<'a>) -> Result<Vec<Vec<Node<'a>>>, KeyError> {
    sets.list()?.iter().map(Node::list).collect()
}

fn set(nodes: Vec<Node<'_>>) -> Result<Vec<Named<'_>>, KeyError> {
    let mut set: Vec<Named<'_>> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let range = range(&node)?;
        if let Some(first) = set.first()
            && first.range.subnet.family() != range.subnet.family()
        {
            return Err(node.error(format!(
                "{} is {}, but {} of the same set is {}: give each family a set of its own",
                range.subnet,
                range.subnet.family(),
                first.range.subnet,
                first.range.subnet.family()
            )));
        }
        set.push(Named { node, range });
    }
    Ok(set)
}

fn range(node: &Node<'_>) -> Result<Range, KeyError> {
    let Some(subnet_node) = node.field("subnet")? else {
        return Err(node.error("a range needs a `subnet` such as 10.1.0.0/24"));
    };
    let subnet = subnet(&subnet_node)?;
    let all = usable(subnet);
    let end = |key: &str, default: IpAddr| -> Result<IpAddr, KeyError> {
        let Some(node) = node.field(key)? else {
            return Ok(default);
        };
        let address: IpAddr = address(&node)?;
        if subnet.contains(address) {
            // A network or broadcast address named as an end is not given out either.
            Ok(address.clamp(all.first(), all.last()))
        } else {
            Err(node.error(format!("{address} is outside the subnet {subnet}")))
        }
    };
    let (first, last) = (
        end("rangeStart", all.first())?,
        end("rangeEnd", all.last())?,
    );
    let span = Span::new(first, last).ok_or_else(|| {
        node.error(format!(
            "rangeStart {first} comes after rangeEnd {last}: swap them"
        ))
    })?;
    let range = Range {
        subnet,
        span,
        gateway: gateway(node, subnet)?,
        prefix_len: None,
    };
    if range.gateway.map(Span::from) == Some(span) {
        return Err(node.error(format!(
            "the range {span} holds nothing but the gateway: widen it or name another gateway"
        )));
    }
    Ok(range)
}

fn subnet(node: &Node<'_>) -> Result<Prefix, KeyError> {
    let text = node.text()?;
    let interface: InterfaceAddress = text
        .parse()
        .map_err(|_| node.error(format!("{text:?} is not a subnet such as 10.1.0.0/24")))?;
    let prefix = interface.prefix();
    if prefix.address() == interface.address() {
        Ok(prefix)
    } else {
        Err(node.error(format!("{text} has host bits set: write {prefix}")))
    }
}

fn gateway(node: &Node<'_>, subnet: Prefix) -> Result<Option<IpAddr>, KeyError> {
    let Some(node) = node.field("gateway")? else {
        return Ok(Range::of(subnet).gateway);
    };
    let gateway: IpAddr = address(&node)?;
    let link_local = matches!(gateway, IpAddr::V6(v6) if v6.is_unicast_link_local());
    if link_local && subnet.family() == Family::V6 {
        return Ok(Some(gateway));
    }
    if !subnet.contains(gateway) {
        return Err(node.error(format!("gateway {gateway} is outside the subnet {subnet}")));
    }
    if !usable(subnet).contains(gateway) {
        let kind = match (subnet.family(), gateway == subnet.address()) {
            (Family::V4, true) => "network address",
            (Family::V4, false) => "broadcast address",
            (Family::V6, _) => "subnet-router anycast address",
        };
        return Err(node.error(format!(
            "gateway {gateway} is the {kind} of {subnet}: name a host address, such as {}",
            usable(subnet).first()
        )));
    }
    if is_tiny(subnet) && subnet.len() == subnet.family().bits() {
        return Err(node.error(format!(
            "gateway {gateway} is the only address of {subnet}: leave it out or widen the subnet"
        )));
    }
    Ok(Some(gateway))
}

fn address(node: &Node<'_>) -> Result<IpAddr, KeyError> {
    let text = node.text()?;
    text.parse().map(unmapped).map_err(|_| {
        node.error(format!(
            "{text:?} is not an address such as 10.1.0.5 or fd00::5"
        ))
    })
}

/// Ranges may share a subnet, but no address: else one could be given out twice.
fn refuse_overlap(sets: &[Vec<Named<'_>>]) -> Result<(), KeyError> {
    let all: Vec<&Named<'_>> = sets.iter().flatten().collect();
    for (nth, later) in all.iter().enumerate() {
        for earlier in &all[..nth] {
            if earlier.range.span.overlaps(later.range.span) {
                return Err(later.node.error(format!(
                    "{} overlaps {} of {}: give each range its own addresses",
                    later.range.span, earlier.range.span, earlier.node.key
                )));
            }
        }
    }
    Ok(())
}

/// `exclude`: addresses, prefixes and spans, with the path to each.
pub(super) fn exclude(ipam: &Node<'_>) -> Result<Vec<(String, Span)>, KeyError> {
    let Some(list) = ipam.field("exclude")? else {
        return Ok(Vec::new());
    };
    let span = |node: &Node<'_>| {
        let text = node.text()?;
        let span = span_of(text).map_err(|error| node.error(error))?;
        Ok((node.key.clone(), span))
    };
    list.list()?.iter().map(span).collect()
}

/// A prefix with host bits is refused with the prefix that was meant.
fn span_of(text: &str) -> Result<Span, String> {
    if let Ok(interface) = text.parse::<InterfaceAddress>()
        && interface.prefix().address() != interface.address()
    {
        return Err(format!(
            "{text} has host bits set: write {}",
            interface.prefix()
        ));
    }
    text.parse().map_err(|error: NotASpan| error.to_string())
}

/// The address an option such as `ips` asks for, with or without prefix length.
pub(super) fn requested(text: &str) -> Option<IpAddr> {
    let interface = || text.parse().ok().map(InterfaceAddress::address);
    text.parse().ok().or_else(interface).map(unmapped)
}

/// Go writes IPv4 in either form.
fn unmapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}
