//! IPv4 (RFC 791) and IPv6 (RFC 8200) packets.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::PacketError;
use super::bytes::{Reader, checksum, length_u16};
use super::transport::Payload;

/// Where a fragment belongs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fragment {
    /// Identification; IPv4 uses the low 16 bits.
    pub id: u32,
    /// Offset in units of 8 bytes, 13 bits.
    pub offset: u16,
    /// Whether more follow.
    pub more: bool,
}

impl Fragment {
    fn is_whole(self) -> bool {
        self.offset == 0 && !self.more
    }
}

/// An IPv4 packet without options.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ipv4 {
    /// Source.
    pub src: Ipv4Addr,
    /// Destination.
    pub dst: Ipv4Addr,
    /// Time to live, in hops.
    pub ttl: u8,
    /// The don't-fragment flag.
    pub dont_fragment: bool,
    /// Identification, offset and more-fragments flag.
    pub fragment: Fragment,
    /// What it carries; `Payload::Other` in a fragment.
    pub payload: Payload,
}

impl Ipv4 {
    /// A whole packet with TTL 64.
    #[must_use]
    pub fn new(src: Ipv4Addr, dst: Ipv4Addr, payload: impl Into<Payload>) -> Self {
        Self {
            src,
            dst,
            ttl: 64,
            dont_fragment: false,
            fragment: Fragment {
                id: 0,
                offset: 0,
                more: false,
            },
            payload: payload.into(),
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let body = self.payload.to_bytes(self.src.into(), self.dst.into());
        let flags = u16::from(self.dont_fragment) << 14
            | u16::from(self.fragment.more) << 13
            | self.fragment.offset & 0x1fff;
        // IPv4's identification is the low half (see `Fragment::id`).
        let [_, _, id_high, id_low] = self.fragment.id.to_be_bytes();
        let mut head = vec![0x45, 0];
        head.extend(length_u16(20 + body.len()).to_be_bytes());
        head.extend([id_high, id_low]);
        head.extend(flags.to_be_bytes());
        head.extend([self.ttl, self.payload.protocol(), 0, 0]);
        head.extend(self.src.octets());
        head.extend(self.dst.octets());
        let sum = checksum(&[&head]).to_be_bytes();
        head[10..12].copy_from_slice(&sum);
        head.extend(body);
        head
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, PacketError> {
        const LAYER: &str = "IPv4";
        let mut reader = Reader::new(LAYER, bytes);
        let first = reader.u8()?;
        let header = usize::from(first & 0xf) * 4;
        if first >> 4 != 4 || header < 20 {
            return Err(reader.field("version and header length", first));
        }
        let short = PacketError::Short { layer: LAYER };
        if checksum(&[bytes.get(..header).ok_or_else(|| short.clone())?]) != 0 {
            return Err(PacketError::Checksum { layer: LAYER });
        }
        reader.u8()?;
        let total = usize::from(reader.u16()?);
        let id = reader.u16()?;
        let flags = reader.u16()?;
        let (ttl, protocol) = (reader.u8()?, reader.u8()?);
        reader.u16()?;
        let src = Ipv4Addr::from(reader.array::<4>()?);
        let dst = Ipv4Addr::from(reader.array::<4>()?);
        let body = bytes.get(header..total).ok_or(short)?;
        let fragment = Fragment {
            id: id.into(),
            offset: flags & 0x1fff,
            more: flags & 0x2000 != 0,
        };
        let payload = if fragment.is_whole() {
            Payload::parse(protocol, body, src.into(), dst.into())?
        } else {
            Payload::other(protocol, body)
        };
        Ok(Self {
            src,
            dst,
            ttl,
            dont_fragment: flags & 0x4000 != 0,
            fragment,
            payload,
        })
    }
}

/// An IPv6 extension header.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Extension {
    /// Hop-by-hop options (0), destination options (60) or routing (43): the bytes after its
    /// length field, padded to a multiple of 8 less 2 when built.
    Options {
        /// The header's number.
        protocol: u8,
        /// Everything after the first two bytes.
        bytes: Vec<u8>,
    },
    /// Fragment (44).
    Fragment(Fragment),
}

impl Extension {
    fn protocol(&self) -> u8 {
        match self {
            Self::Options { protocol, .. } => *protocol,
            Self::Fragment(_) => 44,
        }
    }

    fn write(&self, next: u8, out: &mut Vec<u8>) {
        match self {
            Self::Options { bytes, .. } => {
                let units = (bytes.len() + 2).div_ceil(8).max(1);
                let length = u8::try_from(units - 1).expect("an extension header of up to 2 KiB");
                out.extend([next, length]);
                out.extend(bytes);
                out.extend(std::iter::repeat_n(0, units * 8 - 2 - bytes.len()));
            }
            Self::Fragment(fragment) => {
                let flags = fragment.offset << 3 | u16::from(fragment.more);
                out.extend([next, 0]);
                out.extend(flags.to_be_bytes());
                out.extend(fragment.id.to_be_bytes());
            }
        }
    }

    /// The header and the number of the next one.
    fn read(protocol: u8, reader: &mut Reader) -> Result<(Self, u8), PacketError> {
        let (next, length) = (reader.u8()?, reader.u8()?);
        if protocol == 44 {
            let flags = reader.u16()?;
            let fragment = Fragment {
                offset: flags >> 3,
                more: flags & 1 == 1,
                id: reader.u32()?,
            };
            return Ok((Self::Fragment(fragment), next));
        }
        let bytes = reader.take(usize::from(length) * 8 + 6)?.to_vec();
        Ok((Self::Options { protocol, bytes }, next))
    }
}

/// An IPv6 packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ipv6 {
    /// Source.
    pub src: Ipv6Addr,
    /// Destination.
    pub dst: Ipv6Addr,
    /// Hop limit; neighbour discovery demands 255 (RFC 4861 §7.1).
    pub hop_limit: u8,
    /// Extension headers, outermost first.
    pub extensions: Vec<Extension>,
    /// What it carries; `Payload::Other` in a fragment.
    pub payload: Payload,
}

impl Ipv6 {
    /// A packet with hop limit 64, or 255 if it carries neighbour discovery.
    #[must_use]
    pub fn new(src: Ipv6Addr, dst: Ipv6Addr, payload: impl Into<Payload>) -> Self {
        let payload = payload.into();
        let discovery = matches!(&payload, Payload::Icmpv6(message) if message.is_discovery());
        Self {
            src,
            dst,
            hop_limit: if discovery { 255 } else { 64 },
            extensions: Vec::new(),
            payload,
        }
    }

    /// Adds an extension header inside those already there.
    #[must_use]
    pub fn extended(mut self, extension: Extension) -> Self {
        self.extensions.push(extension);
        self
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let last = self.payload.protocol();
        let numbers: Vec<u8> = self.extensions.iter().map(Extension::protocol).collect();
        let mut body = Vec::new();
        for (nth, extension) in self.extensions.iter().enumerate() {
            extension.write(numbers.get(nth + 1).copied().unwrap_or(last), &mut body);
        }
        body.extend(self.payload.to_bytes(self.src.into(), self.dst.into()));
        let mut out = vec![0x60, 0, 0, 0];
        out.extend(length_u16(body.len()).to_be_bytes());
        out.extend([numbers.first().copied().unwrap_or(last), self.hop_limit]);
        out.extend(self.src.octets());
        out.extend(self.dst.octets());
        out.extend(body);
        out
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, PacketError> {
        const LAYER: &str = "IPv6";
        let mut reader = Reader::new(LAYER, bytes);
        let first = reader.u32()?;
        if first >> 28 != 6 {
            return Err(reader.field("version", first >> 28));
        }
        let length = usize::from(reader.u16()?);
        let (mut next, hop_limit) = (reader.u8()?, reader.u8()?);
        let src = Ipv6Addr::from(reader.array::<16>()?);
        let dst = Ipv6Addr::from(reader.array::<16>()?);
        let mut reader = Reader::new(LAYER, reader.take(length)?);
        let mut extensions = Vec::new();
        let mut whole = true;
        while whole && matches!(next, 0 | 43 | 44 | 60) {
            let (extension, after) = Extension::read(next, &mut reader)?;
            whole = !matches!(&extension, Extension::Fragment(f) if !f.is_whole());
            extensions.push(extension);
            next = after;
        }
        let payload = if whole {
            Payload::parse(next, reader.rest(), src.into(), dst.into())?
        } else {
            Payload::other(next, reader.rest())
        };
        Ok(Self {
            src,
            dst,
            hop_limit,
            extensions,
            payload,
        })
    }
}
