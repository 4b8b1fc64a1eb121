//! The field's newtypes: what a name, an address or an identity is, and nothing about what is done
//! with it. Every other crate may depend on this one; it depends on none of ours and touches no
//! file, clock or socket.

mod address;
mod attachment;
mod bandwidth;
mod host_port;
mod link;
mod overlay;

pub use address::{Family, InterfaceAddress, Mac, ParseError, Prefix};
pub use attachment::{AttachmentId, AttachmentKey, ContainerId, NetworkName};
pub use bandwidth::{Bandwidth, RateLimit};
pub use host_port::{HostAddress, HostPort, PortMapping, Protocol, is_port_name};
pub use link::{IfName, LinkGroup, Mtu, ROUTE_PROTOCOL};
pub use overlay::{Encryption, VXLAN_PORT, Vni};
