//! Layouts that are none, and what to write instead.

use std::net::IpAddr;

use bulkhead_model::{Family, Prefix};

use super::{Geometry, Layout, Subnet, described, subnets};
use crate::pool::{is_tiny, usable};
use crate::span::Span;

/// Why a layout is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum GeometryError {
    /// There is nothing to give out.
    #[error("no prefix is named: name one of IPv4, one of IPv6, or both")]
    NoPrefix,
    /// A prefix stands under the other family's key.
    #[error("{prefix} is no {expected} prefix; put it under the other family's key")]
    Family {
        /// The prefix.
        prefix: Prefix,
        /// The key's family.
        expected: Family,
    },
    /// `0.0.0.0/0` or `::/0`.
    #[error("{0} is every address there is; name a smaller prefix")]
    Everything(Prefix),
    /// The gateway is another network's.
    #[error("gateway {gateway} is not in {prefix}; name one inside, or none")]
    GatewayOutside {
        /// The gateway.
        gateway: IpAddr,
        /// The prefix.
        prefix: Prefix,
    },
    /// The gateway is the network or broadcast address.
    #[error(
        "gateway {gateway} is the first or last address of {prefix}, which no host has; name another"
    )]
    GatewayAtEnd {
        /// The gateway.
        gateway: IpAddr,
        /// The prefix.
        prefix: Prefix,
    },
    /// A reserved span is another network's.
    #[error(
        "reserved {span} is not inside {prefixes}; reserve addresses of the pool, or remove it"
    )]
    ReservedOutside {
        /// The span.
        span: Span,
        /// The pool's prefixes.
        prefixes: String,
    },
    /// No node could keep the list of such a block.
    #[error(
        "block_bits {bits} is more than {}, which is 65536 addresses a block; choose less",
        Geometry::MOST_BLOCK_BITS
    )]
    BlockTooLarge {
        /// The block's bits.
        bits: u8,
    },
    /// A block does not fit into the pool.
    #[error(
        "a block of {block} addresses (block_bits {bits}) is larger than the pool, which has {size}; choose block_bits {size_bits} or less, or a larger prefix"
    )]
    BlockLargerThanPool {
        /// The block's bits.
        bits: u8,
        /// Its addresses.
        block: u64,
        /// The pool's addresses.
        size: u64,
        /// The pool's bits.
        size_bits: u8,
    },
    /// A block would be its node's address alone.
    #[error(
        "blocks of one address leave nothing beside that of the node; choose larger blocks, or none for nodes"
    )]
    NodeAddressesAlone,
    /// Everything is a gateway or reserved.
    #[error(
        "nothing of {prefixes} is left to give out: all of it is reserved or a gateway; reserve less, or name a larger prefix"
    )]
    NothingLeft {
        /// The pool's prefixes.
        prefixes: String,
    },
}

/// Checks what can be wrong before ordinals are known.
pub(super) fn check(layout: &Layout) -> Result<(), GeometryError> {
    let families = [(layout.v4, Family::V4), (layout.v6, Family::V6)];
    for (subnet, expected) in families {
        if let Some(subnet) = subnet {
            check_subnet(subnet, expected)?;
        }
    }
    if layout.v4.is_none() && layout.v6.is_none() {
        return Err(GeometryError::NoPrefix);
    }
    let inside = |span: &&Span| {
        subnets(layout).any(|subnet| {
            subnet.prefix.contains(span.first()) && subnet.prefix.contains(span.last())
        })
    };
    if let Some(span) = layout.reserved.iter().find(|span| !inside(span)) {
        return Err(GeometryError::ReservedOutside {
            span: *span,
            prefixes: described(layout),
        });
    }
    Ok(())
}

fn check_subnet(subnet: Subnet, expected: Family) -> Result<(), GeometryError> {
    let prefix = subnet.prefix;
    if prefix.family() != expected {
        return Err(GeometryError::Family { prefix, expected });
    }
    if prefix.is_default() {
        return Err(GeometryError::Everything(prefix));
    }
    let Some(gateway) = subnet.gateway else {
        return Ok(());
    };
    if !prefix.contains(gateway) {
        return Err(GeometryError::GatewayOutside { gateway, prefix });
    }
    if !is_tiny(prefix) && !usable(prefix).contains(gateway) {
        return Err(GeometryError::GatewayAtEnd { gateway, prefix });
    }
    Ok(())
}

/// Checks the rest.
pub(super) fn check_blocks(geometry: &Geometry) -> Result<(), GeometryError> {
    let bits = geometry.block_bits();
    if bits > Geometry::MOST_BLOCK_BITS {
        return Err(GeometryError::BlockTooLarge { bits });
    }
    if bits == 0 && geometry.layout().node_addresses {
        return Err(GeometryError::NodeAddressesAlone);
    }
    if bits > geometry.size_bits() {
        return Err(GeometryError::BlockLargerThanPool {
            bits,
            block: 1 << bits,
            size: geometry.size(),
            size_bits: geometry.size_bits(),
        });
    }
    if geometry.usable(geometry.whole()) == 0 {
        return Err(GeometryError::NothingLeft {
            prefixes: geometry.to_string(),
        });
    }
    Ok(())
}
