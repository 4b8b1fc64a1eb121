//! The first packet of a connection, as far as policies care.

use std::fmt;
use std::net::IpAddr;

use bulkhead_model::{Family, NetworkName, Protocol};

/// Which addresses are told apart: networks that may overlap have addresses of their own, all others
/// share the node's.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Space {
    /// The node's own.
    #[default]
    Node,
    /// That of one network, which nothing else can be reached from but by translation.
    Network(NetworkName),
}

/// Who sends what to whom, with the ends' real addresses: after the translation of destinations and
/// before that of sources.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Packet {
    /// Where its addresses mean something.
    pub space: Space,
    /// Who sends.
    pub source: IpAddr,
    /// Who is to get it; of the source's family.
    pub destination: IpAddr,
    /// What it is.
    pub traffic: Traffic,
}

/// What a packet carries.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Traffic {
    /// To a port.
    Port {
        /// The protocol.
        protocol: Protocol,
        /// The destination port.
        port: u16,
    },
    /// ICMP or `ICMPv6`, as the packet's family says.
    Icmp {
        /// The type.
        kind: u8,
        /// The code.
        code: u8,
    },
    /// A protocol without ports that we would know of, by IANA's number.
    Other(u8),
}

impl Packet {
    /// The family of both ends.
    #[must_use]
    pub const fn family(&self) -> Family {
        Family::of(self.destination)
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port { protocol, port } => write!(f, "{port}/{protocol}"),
            Self::Icmp { kind, code } => write!(f, "icmp type {kind} code {code}"),
            Self::Other(number) => write!(f, "protocol {number}"),
        }
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} -> {} {}",
            self.source, self.destination, self.traffic
        )
    }
}
