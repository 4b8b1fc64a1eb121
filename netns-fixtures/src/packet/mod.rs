//! Frames as values, built and parsed both ways. Nothing here judges: a frame that no honest host
//! sends (group source MAC, wrong lengths in `Other`, forged options) is built as asked.
//!
//! Checksums and lengths are filled in while building and checked while parsing. A checksum that a
//! sending stack left to its device, as captures on veth show it, is accepted as such.

mod arp;
mod bytes;
mod group;
mod icmpv6;
mod ip;
mod nd_option;
mod split;
mod transport;
mod wrap;

use std::fmt;
use std::net::IpAddr;

pub use arp::{Arp, ArpOp};
pub use group::{igmp_query, igmp3_report, mld_query, mld1_report, mld2_report};
pub use icmpv6::{Advertised, Icmpv6, RouterAdvertisement, solicited_node};
pub use ip::{Extension, Fragment, Ipv4, Ipv6};
pub use nd_option::NdOption;
pub use transport::{Icmp, Payload, Tcp, TcpFlags, Udp};
pub use wrap::{VXLAN_PORT, vxlan};

use bytes::Reader;

/// Six octets of a MAC, unicast or not.
pub type MacOctets = [u8; 6];

/// The broadcast MAC.
pub const BROADCAST: MacOctets = [0xff; 6];

/// Numbers of `if_ether.h`.
mod ethertype {
    pub(super) const IPV4: u16 = 0x0800;
    pub(super) const ARP: u16 = 0x0806;
    pub(super) const VLAN: u16 = 0x8100;
    pub(super) const IPV6: u16 = 0x86dd;
    pub(super) const QINQ: u16 = 0x88a8;
}

/// Why bytes are not the packet that their headers announce.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PacketError {
    /// The bytes end inside a header or before the announced length.
    #[error("{layer}: bytes end too early")]
    Short {
        /// The header.
        layer: &'static str,
    },
    /// A checksum over the bytes is wrong.
    #[error("{layer}: wrong checksum")]
    Checksum {
        /// The header.
        layer: &'static str,
    },
    /// A field has a value that its layer does not define.
    #[error("{layer}: {field} is {value}")]
    Field {
        /// The header.
        layer: &'static str,
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
}

/// An Ethernet frame without its frame check sequence.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    /// Destination MAC.
    pub dst: MacOctets,
    /// Source MAC.
    pub src: MacOctets,
    /// VLAN tags, outermost first.
    pub vlans: Vec<Vlan>,
    /// What the frame carries.
    pub body: Body,
}

/// One VLAN tag.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Vlan {
    /// Tag protocol: 0x8100 (IEEE 802.1Q) or 0x88a8 (802.1ad).
    pub protocol: u16,
    /// Priority, drop eligibility and the 12-bit VLAN id.
    pub tci: u16,
}

/// What a frame carries.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Body {
    /// ARP over Ethernet and IPv4.
    Arp(Arp),
    /// IPv4.
    Ipv4(Ipv4),
    /// IPv6.
    Ipv6(Ipv6),
    /// Any other `EtherType` (or an 802.3 length), with its bytes.
    Other {
        /// `EtherType` or length.
        ethertype: u16,
        /// Everything after it.
        bytes: Vec<u8>,
    },
}

impl Frame {
    /// An untagged frame.
    #[must_use]
    pub fn new(src: MacOctets, dst: MacOctets, body: impl Into<Body>) -> Self {
        Self {
            dst,
            src,
            vlans: Vec::new(),
            body: body.into(),
        }
    }

    /// Adds `tag` inside the tags already there.
    #[must_use]
    pub fn tagged(mut self, tag: Vlan) -> Self {
        self.vlans.push(tag);
        self
    }

    /// The frame as it goes on the wire, without padding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = [self.dst, self.src].concat();
        for tag in &self.vlans {
            out.extend(tag.protocol.to_be_bytes());
            out.extend(tag.tci.to_be_bytes());
        }
        let (ethertype, body) = match &self.body {
            Body::Arp(arp) => (ethertype::ARP, arp.to_bytes()),
            Body::Ipv4(ip) => (ethertype::IPV4, ip.to_bytes()),
            Body::Ipv6(ip) => (ethertype::IPV6, ip.to_bytes()),
            Body::Other { ethertype, bytes } => (*ethertype, bytes.clone()),
        };
        out.extend(ethertype.to_be_bytes());
        out.extend(body);
        out
    }

    /// Reads a frame; Ethernet padding after an ARP or IP packet is dropped.
    ///
    /// # Errors
    /// `Short`, `Checksum` or `Field`, naming the layer.
    pub fn parse(bytes: &[u8]) -> Result<Self, PacketError> {
        let mut reader = Reader::new("Ethernet", bytes);
        let (dst, src) = (reader.array()?, reader.array()?);
        let mut vlans = Vec::new();
        let mut ethertype = reader.u16()?;
        while matches!(ethertype, ethertype::VLAN | ethertype::QINQ) {
            vlans.push(Vlan {
                protocol: ethertype,
                tci: reader.u16()?,
            });
            ethertype = reader.u16()?;
        }
        let rest = reader.rest();
        let body = match ethertype {
            ethertype::ARP => Body::Arp(Arp::parse(rest)?),
            ethertype::IPV4 => Body::Ipv4(Ipv4::parse(rest)?),
            ethertype::IPV6 => Body::Ipv6(Ipv6::parse(rest)?),
            ethertype => Body::Other {
                ethertype,
                bytes: rest.to_vec(),
            },
        };
        Ok(Self {
            dst,
            src,
            vlans,
            body,
        })
    }

    /// The ARP message, if the frame carries one.
    #[must_use]
    pub fn arp(&self) -> Option<&Arp> {
        match &self.body {
            Body::Arp(arp) => Some(arp),
            _ => None,
        }
    }

    /// Source and destination of the IP packet, if the frame carries one.
    #[must_use]
    pub fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        match &self.body {
            Body::Ipv4(ip) => Some((ip.src.into(), ip.dst.into())),
            Body::Ipv6(ip) => Some((ip.src.into(), ip.dst.into())),
            _ => None,
        }
    }

    /// What the IP packet carries, if the frame carries one.
    #[must_use]
    pub fn payload(&self) -> Option<&Payload> {
        match &self.body {
            Body::Ipv4(ip) => Some(&ip.payload),
            Body::Ipv6(ip) => Some(&ip.payload),
            _ => None,
        }
    }

    /// The `ICMPv6` message, if the frame carries one.
    #[must_use]
    pub fn icmpv6(&self) -> Option<&Icmpv6> {
        match self.payload()? {
            Payload::Icmpv6(message) => Some(message),
            _ => None,
        }
    }

    /// The UDP datagram, if the frame carries one.
    #[must_use]
    pub fn udp(&self) -> Option<&Udp> {
        match self.payload()? {
            Payload::Udp(datagram) => Some(datagram),
            _ => None,
        }
    }

    /// The TCP segment, if the frame carries one.
    #[must_use]
    pub fn tcp(&self) -> Option<&Tcp> {
        match self.payload()? {
            Payload::Tcp(segment) => Some(segment),
            _ => None,
        }
    }
}

impl From<Arp> for Body {
    fn from(arp: Arp) -> Self {
        Self::Arp(arp)
    }
}

impl From<Ipv4> for Body {
    fn from(ip: Ipv4) -> Self {
        Self::Ipv4(ip)
    }
}

impl From<Ipv6> for Body {
    fn from(ip: Ipv6) -> Self {
        Self::Ipv6(ip)
    }
}

/// One line: MACs, tags, then the body's debug form.
impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {}", mac_text(self.src), mac_text(self.dst))?;
        for tag in &self.vlans {
            write!(f, " vlan {:#06x}/{}", tag.protocol, tag.tci & 0xfff)?;
        }
        write!(f, " {:?}", self.body)
    }
}

/// The MAC that an IP multicast group maps to (RFC 1112 §6.4, RFC 2464 §7).
#[must_use]
pub fn multicast_mac(group: IpAddr) -> MacOctets {
    match group {
        IpAddr::V4(v4) => {
            let [_, b, c, d] = v4.octets();
            [0x01, 0x00, 0x5e, b & 0x7f, c, d]
        }
        IpAddr::V6(v6) => {
            let o = v6.octets();
            [0x33, 0x33, o[12], o[13], o[14], o[15]]
        }
    }
}

/// Octets from `02:00:00:00:00:01`; unlike the model's `Mac`, also a group address or zero.
#[must_use]
pub fn parse_mac(text: &str) -> Option<MacOctets> {
    let octets: Option<Vec<u8>> = text
        .split(':')
        .map(|part| u8::from_str_radix(part, 16).ok())
        .collect();
    octets?.try_into().ok()
}

/// Octets as `02:00:00:00:00:01`.
#[must_use]
pub fn mac_text(mac: MacOctets) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}

#[cfg(test)]
mod tests;
