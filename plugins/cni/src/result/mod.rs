//! What ADD made, in the shape of 1.1.0; older versions are read into it and written from it.

mod decode;
mod encode;

pub use encode::ConvertError;

use std::net::IpAddr;

use bulkhead_model::{InterfaceAddress, Mac, Prefix};

/// The result of ADD, and prevResult.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CniResult {
    /// Links, on the host and in the container. IPAM plugins leave it empty.
    pub interfaces: Vec<Interface>,
    /// Addresses.
    pub ips: Vec<Ip>,
    /// Routes in the container.
    pub routes: Vec<Route>,
    /// Resolver settings.
    pub dns: Dns,
}

/// One link. The texts are kept as found: a chained plugin returns what others wrote.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Interface {
    /// Link name.
    pub name: String,
    /// Link-layer address; [`Interface::unicast_mac`] reads it.
    pub mac: Option<String>,
    /// Bytes (1.1.0).
    pub mtu: Option<u32>,
    /// Path of the namespace the link is in; `None` on the host.
    pub sandbox: Option<String>,
    /// Path of a vhost-user socket (1.1.0).
    pub socket_path: Option<String>,
    /// PCI address of a device (1.1.0).
    pub pci_id: Option<String>,
}

impl Interface {
    /// The MAC, if there is one an Ethernet link can own; loopback's zero address is none.
    #[must_use]
    pub fn unicast_mac(&self) -> Option<Mac> {
        self.mac.as_deref()?.parse().ok()
    }
}

/// One address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ip {
    /// Address and on-link prefix length.
    pub address: InterfaceAddress,
    /// The default gateway of its subnet.
    pub gateway: Option<IpAddr>,
    /// Index into [`CniResult::interfaces`]. IPAM plugins leave it out.
    pub interface: Option<usize>,
}

/// One route.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// Destination.
    pub dst: Prefix,
    /// Next hop; `None` means the gateway of the family's address.
    pub gw: Option<IpAddr>,
    /// Path MTU in bytes (1.1.0).
    pub mtu: Option<u32>,
    /// TCP maximum segment size to advertise, in bytes (1.1.0).
    pub advmss: Option<u32>,
    /// Metric, lower wins (1.1.0).
    pub priority: Option<u32>,
    /// Routing table (1.1.0).
    pub table: Option<u32>,
    /// Scope as in `rtnetlink(7)`: 0 global, 253 link, 254 host (1.1.0).
    pub scope: Option<u8>,
}

impl Route {
    /// A route with no attributes.
    #[must_use]
    pub const fn new(dst: Prefix, gw: Option<IpAddr>) -> Self {
        Self {
            dst,
            gw,
            mtu: None,
            advmss: None,
            priority: None,
            table: None,
            scope: None,
        }
    }
}

/// Resolver settings, as texts: CNI passes them on and never acts on them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Dns {
    /// Servers' addresses, first asked first.
    pub nameservers: Vec<String>,
    /// The local domain.
    pub domain: Option<String>,
    /// Search domains.
    pub search: Vec<String>,
    /// Options as in `resolv.conf(5)`.
    pub options: Vec<String>,
}

impl Dns {
    /// Whether nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
