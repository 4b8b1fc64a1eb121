//! What an IP packet carries: UDP (RFC 768), TCP (RFC 9293), ICMP (RFC 792), `ICMPv6`.

use std::net::IpAddr;

use super::PacketError;
use super::bytes::{Reader, checksum, length_u16, pseudo_header};
use super::icmpv6::Icmpv6;

/// IANA protocol numbers.
mod protocol {
    pub(super) const ICMP: u8 = 1;
    pub(super) const TCP: u8 = 6;
    pub(super) const UDP: u8 = 17;
    pub(super) const ICMPV6: u8 = 58;
}

/// What an IP packet carries.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Payload {
    /// UDP.
    Udp(Udp),
    /// TCP.
    Tcp(Tcp),
    /// ICMP for IPv4.
    Icmp(Icmp),
    /// `ICMPv6`.
    Icmpv6(Icmpv6),
    /// Anything else, and every fragment, as bytes.
    Other {
        /// IANA protocol number.
        protocol: u8,
        /// The bytes after the IP headers.
        bytes: Vec<u8>,
    },
}

/// A UDP datagram.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Udp {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Payload.
    pub data: Vec<u8>,
}

/// The flags of a TCP segment that tests care for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// FIN
    pub const FIN: Self = Self(0x01);
    /// SYN
    pub const SYN: Self = Self(0x02);
    /// RST
    pub const RST: Self = Self(0x04);
    /// ACK
    pub const ACK: Self = Self(0x10);

    /// Whether every flag of `other` is set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A TCP segment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tcp {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Flags.
    pub flags: TcpFlags,
    /// Receive window, in bytes before scaling.
    pub window: u16,
    /// Options as bytes, padded to a multiple of 4 when built (at most 40).
    pub options: Vec<u8>,
    /// Payload.
    pub data: Vec<u8>,
}

impl Tcp {
    /// The first segment of a connection.
    #[must_use]
    pub fn syn(src_port: u16, dst_port: u16) -> Self {
        Self {
            src_port,
            dst_port,
            seq: 1,
            ack: 0,
            flags: TcpFlags::SYN,
            window: 65_535,
            options: Vec::new(),
            data: Vec::new(),
        }
    }
}

/// An ICMP message for IPv4.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Icmp {
    /// Type 8.
    EchoRequest {
        /// Identifier.
        id: u16,
        /// Sequence number.
        seq: u16,
        /// Payload.
        data: Vec<u8>,
    },
    /// Type 0.
    EchoReply {
        /// Identifier.
        id: u16,
        /// Sequence number.
        seq: u16,
        /// Payload.
        data: Vec<u8>,
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

impl Payload {
    /// Bytes under a protocol number.
    #[must_use]
    pub fn other(protocol: u8, bytes: &[u8]) -> Self {
        Self::Other {
            protocol,
            bytes: bytes.to_vec(),
        }
    }

    /// The IANA protocol number.
    #[must_use]
    pub fn protocol(&self) -> u8 {
        match self {
            Self::Udp(_) => protocol::UDP,
            Self::Tcp(_) => protocol::TCP,
            Self::Icmp(_) => protocol::ICMP,
            Self::Icmpv6(_) => protocol::ICMPV6,
            Self::Other { protocol, .. } => *protocol,
        }
    }

    /// The bytes after the IP headers; the addresses enter the checksum.
    #[must_use]
    pub fn to_bytes(&self, src: IpAddr, dst: IpAddr) -> Vec<u8> {
        let (mut bytes, at) = match self {
            Self::Udp(udp) => (udp.to_bytes(), 6),
            Self::Tcp(tcp) => (tcp.to_bytes(), 16),
            Self::Icmp(icmp) => (icmp.to_bytes(), 2),
            Self::Icmpv6(icmp) => (icmp.to_bytes(), 2),
            Self::Other { bytes, .. } => return bytes.clone(),
        };
        let pseudo = match self {
            Self::Icmp(_) => Vec::new(),
            _ => pseudo_header(src, dst, self.protocol(), bytes.len()),
        };
        let sum = match (self, checksum(&[&pseudo, &bytes])) {
            // 0 means "no checksum" in UDP, which IPv6 forbids (RFC 8200 §8.1).
            (Self::Udp(_), 0) => u16::MAX,
            (_, sum) => sum,
        };
        bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    pub(super) fn parse(
        protocol: u8,
        bytes: &[u8],
        src: IpAddr,
        dst: IpAddr,
    ) -> Result<Self, PacketError> {
        let verify = |layer, bytes: &[u8], field: usize| {
            let pseudo = match protocol {
                protocol::ICMP => Vec::new(),
                _ => pseudo_header(src, dst, protocol, bytes.len()),
            };
            // A stack that leaves the sum to its device (veth: for ever) stores the pseudo header's.
            let left_to_device = || {
                let sum = (!checksum(&[&pseudo])).to_be_bytes();
                !pseudo.is_empty() && bytes.get(field..field + 2) == Some(&sum)
            };
            if checksum(&[&pseudo, bytes]) == 0 || left_to_device() {
                Ok(())
            } else {
                Err(PacketError::Checksum { layer })
            }
        };
        Ok(match protocol {
            protocol::UDP => {
                let (udp, length, sum) = Udp::parse(bytes)?;
                if sum != 0 {
                    verify("UDP", &bytes[..length], 6)?;
                }
                Self::Udp(udp)
            }
            protocol::TCP => {
                verify("TCP", bytes, 16)?;
                Self::Tcp(Tcp::parse(bytes)?)
            }
            protocol::ICMP => {
                verify("ICMP", bytes, 2)?;
                Self::Icmp(Icmp::parse(bytes)?)
            }
            protocol::ICMPV6 => {
                verify("ICMPv6", bytes, 2)?;
                Self::Icmpv6(Icmpv6::parse(bytes)?)
            }
            protocol => Self::other(protocol, bytes),
        })
    }
}

impl Udp {
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + self.data.len());
        out.extend(self.src_port.to_be_bytes());
        out.extend(self.dst_port.to_be_bytes());
        out.extend(length_u16(8 + self.data.len()).to_be_bytes());
        out.extend([0, 0]);
        out.extend(&self.data);
        out
    }

    /// The datagram, its length and its checksum field.
    fn parse(bytes: &[u8]) -> Result<(Self, usize, u16), PacketError> {
        let mut reader = Reader::new("UDP", bytes);
        let (src_port, dst_port) = (reader.u16()?, reader.u16()?);
        let length = usize::from(reader.u16()?);
        let sum = reader.u16()?;
        let short = PacketError::Short { layer: "UDP" };
        let data = bytes.get(8..length).ok_or(short)?.to_vec();
        let udp = Self {
            src_port,
            dst_port,
            data,
        };
        Ok((udp, length, sum))
    }
}

impl Tcp {
    fn to_bytes(&self) -> Vec<u8> {
        let padded = self.options.len().next_multiple_of(4);
        let words = u8::try_from(5 + padded / 4).expect("at most 40 bytes of TCP options");
        let mut out = Vec::new();
        out.extend(self.src_port.to_be_bytes());
        out.extend(self.dst_port.to_be_bytes());
        out.extend(self.seq.to_be_bytes());
        out.extend(self.ack.to_be_bytes());
        out.extend([words << 4, self.flags.0]);
        out.extend(self.window.to_be_bytes());
        out.extend([0; 4]);
        out.extend(&self.options);
        out.resize(20 + padded, 0);
        out.extend(&self.data);
        out
    }

    fn parse(bytes: &[u8]) -> Result<Self, PacketError> {
        let mut reader = Reader::new("TCP", bytes);
        let (src_port, dst_port) = (reader.u16()?, reader.u16()?);
        let (seq, ack) = (reader.u32()?, reader.u32()?);
        let offset = reader.u8()?;
        let flags = TcpFlags(reader.u8()?);
        let window = reader.u16()?;
        reader.u32()?;
        let options = (usize::from(offset >> 4) * 4)
            .checked_sub(20)
            .ok_or_else(|| reader.field("data offset", offset >> 4))?;
        Ok(Self {
            src_port,
            dst_port,
            seq,
            ack,
            flags,
            window,
            options: reader.take(options)?.to_vec(),
            data: reader.rest().to_vec(),
        })
    }
}

impl Icmp {
    fn to_bytes(&self) -> Vec<u8> {
        let echo = |kind, id: u16, seq: u16, data: &[u8]| {
            let mut out = vec![kind, 0, 0, 0];
            out.extend(id.to_be_bytes());
            out.extend(seq.to_be_bytes());
            out.extend(data);
            out
        };
        match self {
            Self::EchoRequest { id, seq, data } => echo(8, *id, *seq, data),
            Self::EchoReply { id, seq, data } => echo(0, *id, *seq, data),
            Self::Other { kind, code, bytes } => {
                let mut out = vec![*kind, *code, 0, 0];
                out.extend(bytes);
                out
            }
        }
    }

    fn parse(bytes: &[u8]) -> Result<Self, PacketError> {
        let mut reader = Reader::new("ICMP", bytes);
        let (kind, code) = (reader.u8()?, reader.u8()?);
        reader.u16()?;
        if !matches!((kind, code), (0 | 8, 0)) {
            let bytes = reader.rest().to_vec();
            return Ok(Self::Other { kind, code, bytes });
        }
        let (id, seq) = (reader.u16()?, reader.u16()?);
        let data = reader.rest().to_vec();
        Ok(if kind == 8 {
            Self::EchoRequest { id, seq, data }
        } else {
            Self::EchoReply { id, seq, data }
        })
    }
}

macro_rules! payload_from {
    ($($type:ident),+) => {$(
        impl From<$type> for Payload {
            fn from(inner: $type) -> Self {
                Self::$type(inner)
            }
        }
    )+};
}

payload_from!(Udp, Tcp, Icmp, Icmpv6);
