//! `ICMPv6` (RFC 4443) with neighbour discovery (RFC 4861).

use std::net::Ipv6Addr;

use super::bytes::Reader;
use super::nd_option::NdOption;
use super::{Frame, Ipv6, MacOctets, PacketError, multicast_mac};

/// All nodes on the link (RFC 4291 §2.7.1).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// All routers on the link.
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// An `ICMPv6` message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Icmpv6 {
    /// Type 128.
    EchoRequest {
        /// Identifier.
        id: u16,
        /// Sequence number.
        seq: u16,
        /// Payload.
        data: Vec<u8>,
    },
    /// Type 129.
    EchoReply {
        /// Identifier.
        id: u16,
        /// Sequence number.
        seq: u16,
        /// Payload.
        data: Vec<u8>,
    },
    /// Type 133.
    RouterSolicitation {
        /// Options.
        options: Vec<NdOption>,
    },
    /// Type 134.
    RouterAdvertisement(RouterAdvertisement),
    /// Type 135.
    NeighborSolicitation {
        /// The address asked for.
        target: Ipv6Addr,
        /// Options.
        options: Vec<NdOption>,
    },
    /// Type 136.
    NeighborAdvertisement {
        /// Whose MAC is told.
        target: Ipv6Addr,
        /// The three flags.
        flags: Advertised,
        /// Options.
        options: Vec<NdOption>,
    },
    /// Any other type.
    Other {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// Everything after the checksum.
        bytes: Vec<u8>,
    },
}

/// The flags of a neighbour advertisement, in their place in the first octet (RFC 4861 §4.4).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Advertised(pub u8);

impl Advertised {
    /// The sender is a router.
    pub const ROUTER: Self = Self(0x80);
    /// It answers a solicitation.
    pub const SOLICITED: Self = Self(0x40);
    /// It replaces a cached MAC.
    pub const OVERRIDE: Self = Self(0x20);

    /// Whether every flag of `other` is set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for Advertised {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A router advertisement (RFC 4861 §4.2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RouterAdvertisement {
    /// Hop limit for hosts; 0 leaves it to them.
    pub hop_limit: u8,
    /// Managed (0x80), other (0x40), preference (0x18, RFC 4191).
    pub flags: u8,
    /// Router lifetime in seconds; 0 is no default router.
    pub lifetime_secs: u16,
    /// Reachable time in milliseconds.
    pub reachable_ms: u32,
    /// Retransmission timer in milliseconds.
    pub retrans_ms: u32,
    /// Options.
    pub options: Vec<NdOption>,
}

impl Icmpv6 {
    /// A solicitation as a host sends it: to the solicited-node group, with its own MAC.
    #[must_use]
    pub fn solicitation(mac: MacOctets, src: Ipv6Addr, target: Ipv6Addr) -> Frame {
        let options = if src.is_unspecified() {
            // A probe for a duplicate must not carry the option (RFC 4861 §4.3).
            Vec::new()
        } else {
            vec![NdOption::SourceMac(mac)]
        };
        let message = Self::NeighborSolicitation { target, options };
        multicast(mac, src, solicited_node(target), message)
    }

    /// An unsolicited advertisement of `address` to all nodes, overriding.
    #[must_use]
    pub fn unsolicited(mac: MacOctets, address: Ipv6Addr) -> Frame {
        let message = Self::NeighborAdvertisement {
            target: address,
            flags: Advertised::OVERRIDE,
            options: vec![NdOption::TargetMac(mac)],
        };
        multicast(mac, address, ALL_NODES, message)
    }

    /// A router solicitation to all routers.
    #[must_use]
    pub fn router_solicitation(mac: MacOctets, src: Ipv6Addr) -> Frame {
        let options = vec![NdOption::SourceMac(mac)];
        multicast(mac, src, ALL_ROUTERS, Self::RouterSolicitation { options })
    }

    /// A router advertisement to all nodes.
    #[must_use]
    pub fn router_advertisement(
        mac: MacOctets,
        src: Ipv6Addr,
        advertisement: RouterAdvertisement,
    ) -> Frame {
        let message = Self::RouterAdvertisement(advertisement);
        multicast(mac, src, ALL_NODES, message)
    }

    /// Whether it is one of the five messages of RFC 4861.
    #[must_use]
    pub fn is_discovery(&self) -> bool {
        match self {
            Self::EchoRequest { .. } | Self::EchoReply { .. } => false,
            Self::Other { kind, .. } => (133..=137).contains(kind),
            _ => true,
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![self.kind(), 0, 0, 0];
        match self {
            Self::EchoRequest { id, seq, data } | Self::EchoReply { id, seq, data } => {
                out.extend(id.to_be_bytes());
                out.extend(seq.to_be_bytes());
                out.extend(data);
            }
            Self::RouterSolicitation { options } => {
                out.extend([0; 4]);
                NdOption::write_all(options, &mut out);
            }
            Self::RouterAdvertisement(ra) => ra.write(&mut out),
            Self::NeighborSolicitation { target, options } => {
                out.extend([0; 4]);
                out.extend(target.octets());
                NdOption::write_all(options, &mut out);
            }
            Self::NeighborAdvertisement {
                target,
                flags,
                options,
            } => {
                out.extend([flags.0, 0, 0, 0]);
                out.extend(target.octets());
                NdOption::write_all(options, &mut out);
            }
            Self::Other { code, bytes, .. } => {
                out[1] = *code;
                out.extend(bytes);
            }
        }
        out
    }

    fn kind(&self) -> u8 {
        match self {
            Self::EchoRequest { .. } => 128,
            Self::EchoReply { .. } => 129,
            Self::RouterSolicitation { .. } => 133,
            Self::RouterAdvertisement(_) => 134,
            Self::NeighborSolicitation { .. } => 135,
            Self::NeighborAdvertisement { .. } => 136,
            Self::Other { kind, .. } => *kind,
        }
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, PacketError> {
        let mut reader = Reader::new("ICMPv6", bytes);
        let (kind, code) = (reader.u8()?, reader.u8()?);
        reader.u16()?;
        if code != 0 || !matches!(kind, 128 | 129 | 133..=136) {
            let bytes = reader.rest().to_vec();
            return Ok(Self::Other { kind, code, bytes });
        }
        Ok(match kind {
            128 | 129 => {
                let (id, seq) = (reader.u16()?, reader.u16()?);
                let data = reader.rest().to_vec();
                if kind == 128 {
                    Self::EchoRequest { id, seq, data }
                } else {
                    Self::EchoReply { id, seq, data }
                }
            }
            133 => {
                reader.u32()?;
                let options = NdOption::parse_all(reader)?;
                Self::RouterSolicitation { options }
            }
            134 => Self::RouterAdvertisement(RouterAdvertisement::parse(reader)?),
            _ => {
                let [flags, ..] = reader.array::<4>()?;
                let target = Ipv6Addr::from(reader.array::<16>()?);
                let options = NdOption::parse_all(reader)?;
                if kind == 135 {
                    Self::NeighborSolicitation { target, options }
                } else {
                    let flags = Advertised(flags);
                    Self::NeighborAdvertisement {
                        target,
                        flags,
                        options,
                    }
                }
            }
        })
    }
}

impl RouterAdvertisement {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend([self.hop_limit, self.flags]);
        out.extend(self.lifetime_secs.to_be_bytes());
        out.extend(self.reachable_ms.to_be_bytes());
        out.extend(self.retrans_ms.to_be_bytes());
        NdOption::write_all(&self.options, out);
    }

    fn parse(mut reader: Reader) -> Result<Self, PacketError> {
        Ok(Self {
            hop_limit: reader.u8()?,
            flags: reader.u8()?,
            lifetime_secs: reader.u16()?,
            reachable_ms: reader.u32()?,
            retrans_ms: reader.u32()?,
            options: NdOption::parse_all(reader)?,
        })
    }
}

/// The solicited-node group of `address` (RFC 4291 §2.7.1).
#[must_use]
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | high & 0xff, low)
}

fn multicast(mac: MacOctets, src: Ipv6Addr, group: Ipv6Addr, message: Icmpv6) -> Frame {
    Frame::new(
        mac,
        multicast_mac(group.into()),
        Ipv6::new(src, group, message),
    )
}
