//! A pool's addresses as numbers. One ordinal walks all of its prefixes: the n-th address of each
//! family belongs together, so that a lease has both families or neither. Blocks are aligned spans of
//! ordinals ([`Block`]).
//!
//! Pure: nothing here knows who owns what.

mod block;
mod error;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;

use bulkhead_model::{Family, InterfaceAddress, Prefix};
use serde::{Deserialize, Serialize};

pub use block::Block;
pub use error::GeometryError;

use crate::pool::{Pool, Range, RangeSet, is_tiny, usable};
use crate::record::LeasedAddress;
use crate::span::{self, Span};

/// A pool's prefix of one family.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Subnet {
    /// The prefix.
    pub prefix: Prefix,
    /// The gateway: inside the prefix, never given out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
}

impl Subnet {
    /// The prefix with its first host address as the gateway; one of one or two addresses has none
    /// to spare.
    #[must_use]
    pub fn of(prefix: Prefix) -> Self {
        Self {
            prefix,
            gateway: Range::of(prefix).gateway,
        }
    }

    /// Number of the prefix's addresses, as a logarithm.
    fn bits(self) -> u8 {
        self.prefix.family().bits() - self.prefix.len()
    }

    fn address(self, ordinal: u64) -> Option<IpAddr> {
        let bits = span::to_bits(self.prefix.address()) + u128::from(ordinal);
        span::from_bits(self.prefix.family(), bits).filter(|at| self.prefix.contains(*at))
    }

    fn ordinal(self, address: IpAddr) -> Option<u64> {
        if !self.prefix.contains(address) {
            return None;
        }
        let ordinal = span::to_bits(address) - span::to_bits(self.prefix.address());
        u64::try_from(ordinal).ok()
    }
}

/// What a pool's geometry is made from.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Layout {
    /// The IPv4 prefix.
    pub v4: Option<Subnet>,
    /// The IPv6 prefix.
    pub v6: Option<Subnet>,
    /// Size of the blocks that are claimed from now on, as a logarithm.
    pub block_bits: u8,
    /// Never given out.
    pub reserved: Vec<Span>,
    /// Whether the first ordinal of each block is its node's own, and never given out.
    pub node_addresses: bool,
}

/// A pool's addresses: valid by construction.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Geometry {
    layout: Layout,
    size_bits: u8,
    /// Ordinals that are never given out: in order, apart, the end not included.
    unusable: Vec<(u64, u64)>,
}

/// Why an ordinal is never given out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unusable {
    /// The IPv4 network or broadcast address, or the subnet-router anycast address (RFC 4291 §2.6.1).
    End(IpAddr),
    /// The gateway.
    Gateway(IpAddr),
    /// A reserved span holds it.
    Reserved(Span),
    /// The first of a block: that of the node that has it.
    Node(IpAddr),
    /// The pool does not go so far.
    Outside,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End(address) => write!(f, "{address} is the first or last of its prefix"),
            Self::Gateway(address) => write!(f, "{address} is the gateway"),
            Self::Reserved(span) => write!(f, "the pool reserves {span}"),
            Self::Node(address) => {
                write!(f, "{address} is of the node whose block it is the first of")
            }
            Self::Outside => f.write_str("it is outside the pool"),
        }
    }
}

impl Geometry {
    /// Largest block, as a logarithm: what one node's memory keeps a list of.
    pub const MOST_BLOCK_BITS: u8 = 16;

    /// Checks a layout.
    ///
    /// # Errors
    /// [`GeometryError`], which names the key, the value and what to write.
    pub fn new(layout: Layout) -> Result<Self, GeometryError> {
        error::check(&layout)?;
        let size_bits = subnets(&layout)
            .map(Subnet::bits)
            .fold(Block::MOST_BITS, u8::min);
        let mut geometry = Self {
            layout,
            size_bits,
            unusable: Vec::new(),
        };
        geometry.unusable = geometry.unusable_spans();
        error::check_blocks(&geometry)?;
        Ok(geometry)
    }

    /// What it was made from.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Number of ordinals, as a logarithm: those of the smaller family, at most 40.
    #[must_use]
    pub const fn size_bits(&self) -> u8 {
        self.size_bits
    }

    /// Number of ordinals, also of those that are never given out.
    #[must_use]
    pub const fn size(&self) -> u64 {
        1 << self.size_bits
    }

    /// Size of the blocks that are claimed from now on, as a logarithm.
    #[must_use]
    pub const fn block_bits(&self) -> u8 {
        self.layout.block_bits
    }

    /// All of it, as one block.
    #[must_use]
    pub fn whole(&self) -> Block {
        Block::new(0, self.size_bits).expect("a pool has at most 2^40 ordinals")
    }

    /// The block that is claimed for `ordinal`; `None` outside the pool.
    #[must_use]
    pub fn block_of(&self, ordinal: u64) -> Option<Block> {
        self.whole()
            .contains(ordinal)
            .then(|| Block::around(ordinal, self.block_bits()))
            .flatten()
    }

    /// Its prefixes, IPv4 first.
    pub fn prefixes(&self) -> impl Iterator<Item = Prefix> {
        subnets(&self.layout).map(|subnet| subnet.prefix)
    }

    /// The addresses of an ordinal, IPv4 first; none outside the pool.
    #[must_use]
    pub fn addresses(&self, ordinal: u64) -> Vec<IpAddr> {
        if !self.whole().contains(ordinal) {
            return Vec::new();
        }
        let address = |subnet: Subnet| subnet.address(ordinal);
        subnets(&self.layout).filter_map(address).collect()
    }

    /// The addresses of an ordinal as a lease records them.
    #[must_use]
    pub fn leased(&self, ordinal: u64) -> Vec<LeasedAddress> {
        let leased = |(nth, subnet): (u32, Subnet)| {
            let address = subnet.address(ordinal)?;
            Some(LeasedAddress {
                address: InterfaceAddress::new(address, subnet.prefix.len())?,
                gateway: subnet.gateway,
                range: nth,
            })
        };
        (0..)
            .zip(subnets(&self.layout))
            .filter_map(leased)
            .collect()
    }

    /// The ordinal of an address; `None` outside the pool.
    #[must_use]
    pub fn ordinal(&self, address: IpAddr) -> Option<u64> {
        subnets(&self.layout)
            .find_map(|subnet| subnet.ordinal(address))
            .filter(|ordinal| self.whole().contains(*ordinal))
    }

    /// The addresses of a block: one prefix of each family, IPv4 first.
    #[must_use]
    pub fn prefixes_of(&self, block: Block) -> Vec<Prefix> {
        let prefix = |subnet: Subnet| {
            let len = subnet.prefix.family().bits() - block.bits();
            Prefix::new(subnet.address(block.first())?, len)
        };
        subnets(&self.layout).filter_map(prefix).collect()
    }

    /// The blocks that `span` touches, in ordinals: from, and to without it.
    #[must_use]
    pub fn ordinals_of(&self, span: Span) -> Option<(u64, u64)> {
        let inside = |subnet: Subnet| {
            let common = span.intersection(Span::from(subnet.prefix))?;
            let first = subnet.ordinal(common.first())?.min(self.size());
            let last = subnet.ordinal(common.last()).unwrap_or(u64::MAX);
            let end = last.saturating_add(1).min(self.size());
            (first < end).then_some((first, end))
        };
        subnets(&self.layout).find_map(inside)
    }

    /// The addresses that the node with `block` has itself, IPv4 first: none where the pool keeps none for
    /// nodes, none in a part of a block that another has the first of, and none if one of them is a gateway
    /// or reserved, since somebody else may have that.
    #[must_use]
    pub fn node_addresses(&self, block: Block) -> Vec<IpAddr> {
        let first = block.first();
        let firsts = self.firsts(first, first.saturating_add(1));
        if firsts == 0 {
            return Vec::new();
        }
        let addresses = self.addresses(first);
        let of_others = subnets(&self.layout).filter_map(|subnet| subnet.gateway);
        let of_others = of_others
            .map(Span::from)
            .chain(self.layout.reserved.clone());
        let mut of_others = of_others.filter(|span| addresses.iter().any(|it| span.contains(*it)));
        if of_others.next().is_some() {
            return Vec::new();
        }
        addresses
    }

    /// Why an ordinal is never given out; `None` if it may be.
    #[must_use]
    pub fn unusable(&self, ordinal: u64) -> Option<Unusable> {
        if !self.whole().contains(ordinal) {
            return Some(Unusable::Outside);
        }
        if !self.is_unusable(ordinal) {
            return None;
        }
        let why = |subnet: Subnet| self.unusable_address(subnet, subnet.address(ordinal)?);
        let of_node = || self.addresses(ordinal).first().copied().map(Unusable::Node);
        subnets(&self.layout).find_map(why).or_else(of_node)
    }

    /// Whether an ordinal may be given out.
    #[must_use]
    pub fn is_usable(&self, ordinal: u64) -> bool {
        self.whole().contains(ordinal) && !self.is_unusable(ordinal)
    }

    /// Number of ordinals of `block` that may be given out.
    #[must_use]
    pub fn usable(&self, block: Block) -> u64 {
        let end = block.end().min(self.size());
        let size = end.saturating_sub(block.first());
        let common = |&(from, to): &(u64, u64)| {
            let (from, to) = (from.max(block.first()), to.min(end));
            to.saturating_sub(from) - self.firsts(from, to)
        };
        let kept = self.unusable.iter().map(common).sum::<u64>();
        size - kept - self.firsts(block.first(), end)
    }

    /// Prefixes that both pools have addresses of.
    #[must_use]
    pub fn overlap(&self, other: &Self) -> Option<(Prefix, Prefix)> {
        self.prefixes()
            .flat_map(|ours| other.prefixes().map(move |theirs| (ours, theirs)))
            .find(|(ours, theirs)| ours.overlaps(*theirs))
    }

    /// Whether every ordinal that both have has the same addresses in both.
    #[must_use]
    pub fn is_based_as(&self, other: &Self) -> bool {
        let base = |subnet: Option<Subnet>| subnet.map(|subnet| subnet.prefix.address());
        let (one, other) = (&self.layout, &other.layout);
        base(one.v4) == base(other.v4) && base(one.v6) == base(other.v6)
    }

    /// The pool as a network's store records it, for people and for reading its addresses.
    #[must_use]
    pub fn described(&self, cooldown_secs: u64) -> Pool {
        let set = |subnet: Subnet| RangeSet {
            ranges: vec![Range {
                subnet: subnet.prefix,
                span: usable(subnet.prefix),
                gateway: subnet.gateway,
                prefix_len: None,
            }],
        };
        Pool {
            sets: subnets(&self.layout).map(set).collect(),
            exclude: self.layout.reserved.clone(),
            cooldown_secs,
            automatic: false,
        }
    }

    /// Number of ordinals from `from` on, without `to`, that are of nodes.
    fn firsts(&self, from: u64, to: u64) -> u64 {
        if !self.layout.node_addresses || from >= to {
            return 0;
        }
        let size = 1 << self.layout.block_bits;
        to.div_ceil(size) - from.div_ceil(size)
    }

    fn is_unusable(&self, ordinal: u64) -> bool {
        if self.firsts(ordinal, ordinal.saturating_add(1)) > 0 {
            return true;
        }
        let before = self.unusable.partition_point(|(_, to)| *to <= ordinal);
        let span = self.unusable.get(before);
        span.is_some_and(|(from, _)| *from <= ordinal)
    }

    fn unusable_address(&self, subnet: Subnet, address: IpAddr) -> Option<Unusable> {
        if subnet.gateway == Some(address) {
            return Some(Unusable::Gateway(address));
        }
        if !usable(subnet.prefix).contains(address) {
            return Some(Unusable::End(address));
        }
        let mut reserved = self.layout.reserved.iter();
        let span = reserved.find(|span| span.contains(address))?;
        Some(Unusable::Reserved(*span))
    }

    fn unusable_spans(&self) -> Vec<(u64, u64)> {
        let mut kept: Vec<Span> = self.layout.reserved.clone();
        for subnet in subnets(&self.layout) {
            kept.extend(subnet.gateway.map(Span::from));
            if is_tiny(subnet.prefix) {
                continue;
            }
            kept.push(subnet.prefix.address().into());
            if subnet.prefix.family() == Family::V4 {
                kept.push(subnet.prefix.last().into());
            }
        }
        let mut spans: Vec<(u64, u64)> = kept
            .into_iter()
            .filter_map(|span| self.ordinals_of(span))
            .collect();
        spans.sort_unstable();
        let mut apart: Vec<(u64, u64)> = Vec::with_capacity(spans.len());
        for (from, to) in spans {
            match apart.last_mut() {
                Some((_, end)) if from <= *end => *end = to.max(*end),
                _ => apart.push((from, to)),
            }
        }
        apart
    }
}

impl fmt::Display for Geometry {
    /// Its prefixes: `10.4.0.0/16 and fd00:4::/64`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&described(&self.layout))
    }
}

fn described(layout: &Layout) -> String {
    let texts: Vec<String> = subnets(layout).map(|s| s.prefix.to_string()).collect();
    texts.join(" and ")
}

fn subnets(layout: &Layout) -> impl Iterator<Item = Subnet> {
    layout.v4.into_iter().chain(layout.v6)
}
