//! What a plan refuses: an object that is in the way and not ours to change.

use std::net::IpAddr;

use bulkhead_model::{IfName, InterfaceAddress, Mtu, Prefix, Vni};
use bulkhead_nft as nft;

use crate::PolicyKey;

/// Why no plan leads from the world to the want. Nothing has been changed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Conflict {
    /// A link of the port's name exists and does not carry our group.
    #[error(
        "link {0} on the host has the name of our port and was not made by bulkhead: rename or delete it"
    )]
    ForeignPort(IfName),
    /// The port of another plugin that is to be guarded does not exist.
    #[error("port {0} is gone from the host, with what it was to be guarded for: run ADD again")]
    NoPort(IfName),
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
    /// A host port is asked for on an address that the host does not have.
    #[error(
        "address {0} of portMappings is not on this host: leave \"hostIP\" out, or add the address first"
    )]
    NoHostAddress(IpAddr),
    /// The host has no address on the container's segment.
    #[error(
        "portMappings: the host does not reach {address}, bridge {bridge} has no address of its subnet: set \"isGateway\": true, or give the bridge an address"
    )]
    HostOffLink {
        /// The bridge.
        bridge: IfName,
        /// The container's address.
        address: IpAddr,
    },
    /// A host port on 127.0.0.1 is asked for behind a bridge that we did not make and that does not
    /// route it.
    #[error(
        "bridge {bridge} was not made by bulkhead and does not route 127.0.0.0/8, which a host port there needs: set net.ipv4.conf.{bridge}.route_localnet to 1, or set \"adopt\": true"
    )]
    ForeignBridgeNotLocalnet {
        /// The bridge.
        bridge: IfName,
    },
    /// A link of the ifb device's name exists and does not carry our group.
    #[error(
        "link {0} on the host has the name of our ifb device and was not made by bulkhead: rename or delete it"
    )]
    ForeignIfb(IfName),
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
    /// The address of a link of its own is routed elsewhere already.
    #[error(
        "the node routes {destination} to {link}, and it was leased for a link of its own: remove the route, or exclude the address from the network's ranges"
    )]
    AddressRouted {
        /// What was leased.
        destination: Prefix,
        /// Where it is routed to.
        link: IfName,
    },
    /// A link of the VXLAN device's name exists and does not carry our group.
    #[error(
        "link {0} on the host has the name of the network's VXLAN device and was not made by bulkhead: rename or delete it"
    )]
    ForeignVtep(IfName),
    /// The kernel has one device for each identifier and port.
    #[error(
        "link {other} on the host has VXLAN network identifier {vni} on UDP port {port}, which {device} is to have: delete it, or give the network another \"vni\" or \"port\""
    )]
    VniTaken {
        /// What is to be made.
        device: IfName,
        /// The identifier.
        vni: Vni,
        /// The UDP port.
        port: u16,
        /// What has them.
        other: IfName,
    },
    /// The next hop of a route over the device is an IPv6 address, whatever is routed.
    #[error(
        "VXLAN device {0} needs IPv6, which this kernel or namespace has switched off, for its next hops, of IPv4 too: boot without ipv6.disable=1"
    )]
    OverlayWithoutIpv6(IfName),
    /// A policy of `IPsec` with the very selector of ours says something else.
    #[error(
        "an IPsec policy of another program says something else of the packets of an encrypted network ({0}): delete it with `ip xfrm policy delete {0}`, or give the network another \"port\""
    )]
    ForeignPolicy(PolicyKey),
    /// A state of `IPsec` that is not ours, or of another peer, has the index.
    #[error(
        "IPsec state {spi:#x} to {destination} is of another program or another node: another one will be chosen"
    )]
    SpiTaken {
        /// To whom.
        destination: IpAddr,
        /// The index.
        spi: u32,
    },
    /// Filtering by prefix was asked for and the kernel cannot.
    #[error(
        "this kernel cannot bind a chain to a device prefix (6.17 and later can): set \"portFilter\" to \"auto\" or \"perPort\""
    )]
    NoDevicePrefix,
}
