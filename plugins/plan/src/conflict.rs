//! What a plan refuses: an object that is in the way and not ours to change.

use std::net::IpAddr;

use bulkhead_model::{IfName, InterfaceAddress, Mtu, Prefix};
use bulkhead_nft as nft;

/// Why no plan leads from the world to the want. Nothing has been changed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Conflict {
    /// A link of the port's name exists and does not carry our group.
    #[error(
        "link {0} on the host has the name of our port and was not made by bulkhead: rename or delete it"
    )]
    ForeignPort(IfName),
    /// The container already has an interface of that name, and it is not this attachment's.
    #[error(
        "interface {0} exists in the container and is not this attachment's: delete it or use another interface name"
    )]
    InterfaceExists(IfName),
    /// The bridge's name belongs to a link of another kind.
    #[error("link {name} is a {kind}, not a bridge: name another bridge")]
    NotABridge {
        /// The link.
        name: IfName,
        /// Its kind.
        kind: String,
    },
    /// A bridge we did not make lacks a gateway address.
    #[error(
        "bridge {bridge} was not made by bulkhead and lacks address {address}: add it, or set \"adopt\": true"
    )]
    ForeignBridgeLacks {
        /// The bridge.
        bridge: IfName,
        /// The gateway address.
        address: InterfaceAddress,
    },
    /// A bridge we did not make is down.
    #[error("bridge {0} was not made by bulkhead and is down: set it up, or set \"adopt\": true")]
    ForeignBridgeDown(IfName),
    /// A port with a lower MTU would lower the MTU of a bridge we did not make.
    #[error(
        "bridge {bridge} was not made by bulkhead and has MTU {found}, which a port with {mtu} may lower: leave \"mtu\" out, or set \"adopt\": true"
    )]
    ForeignBridgeMtu {
        /// The bridge.
        bridge: IfName,
        /// Its MTU.
        found: Mtu,
        /// The MTU asked for.
        mtu: Mtu,
    },
    /// A bridge we did not make is not promiscuous.
    #[error(
        "bridge {0} was not made by bulkhead and is not promiscuous: set it so, or set \"adopt\": true"
    )]
    ForeignBridgeNotPromiscuous(IfName),
    /// The bridge carries another address of the gateway's prefix.
    #[error(
        "bridge {bridge} already has address {found}, which overlaps gateway {wanted}: remove it, or set \"forceAddress\": true"
    )]
    OtherGateway {
        /// The bridge.
        bridge: IfName,
        /// The address it has.
        found: InterfaceAddress,
        /// The address it should have.
        wanted: InterfaceAddress,
    },
    /// A table of our name exists without our comment.
    #[error("nftables table {0} was not made by bulkhead: rename or delete it")]
    ForeignTable(nft::TableId),
    /// IPv6 is asked for and the namespace has none.
    #[error("address {0} needs IPv6, which this kernel or namespace has switched off")]
    NoIpv6(IpAddr),
    /// A route with exactly this destination and metric exists on another link.
    #[error(
        "a route to {destination} with metric {priority} exists on {link}: give this one another priority"
    )]
    RouteTaken {
        /// Where to.
        destination: Prefix,
        /// The metric.
        priority: u32,
        /// The link it uses.
        link: IfName,
    },
    /// Filtering by prefix was asked for and the kernel cannot.
    #[error(
        "this kernel cannot bind a chain to a device prefix (6.17 and later can): set \"portFilter\" to \"auto\" or \"perPort\""
    )]
    NoDevicePrefix,
}
