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

/// An IPv4 packet.
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
    /// Options as bytes, padded to a multiple of 4 when built (at most 40).
    pub options: Vec<u8>,
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
            options: Vec::new(),
            payload: payload.into(),
        }
    }

    /// The packet from its first header byte.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let body = self.payload.to_bytes(self.src.into(), self.dst.into());
        let header = 20 + self.options.len().next_multiple_of(4);
        let words = u8::try_from(header / 4).expect("at most 40 bytes of IPv4 options");
        let flags = u16::from(self.dont_fragment) << 14
            | u16::from(self.fragment.more) << 13
            | self.fragment.offset & 0x1fff;
        // IPv4's identification is the low half (see `Fragment::id`).
        let [_, _, id_high, id_low] = self.fragment.id.to_be_bytes();
        let mut head = vec![0x40 | words, 0];
        head.extend(length_u16(header + body.len()).to_be_bytes());
        head.extend([id_high, id_low]);
        head.extend(flags.to_be_bytes());
        head.extend([self.ttl, self.payload.protocol(), 0, 0]);
        head.extend(self.src.octets());
        head.extend(self.dst.octets());
        head.extend(&self.options);
        head.resize(header, 0);
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
        let options = reader.take(header - 20)?.to_vec();
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
            options,
            payload,
        })
    }
}

/// An IPv6 extension header.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Extension {
    /// Hop-by-hop options (0), destination options (60), routing (43), mobility (135), HIP (139) or
    /// shim6 (140): the bytes after its length field, padded to a multiple of 8 less 2 when built.
    Options {
        /// The header's number.
        protocol: u8,
        /// Everything after the first two bytes.
        bytes: Vec<u8>,
    },
    /// Fragment (44).
    Fragment(Fragment),
    /// Authentication (51, RFC 4302 §2): the bytes after its length field, padded to a multiple of 8
    /// less 2 and at least 10 when built.
    Authentication {
        /// Everything after the first two bytes.
        bytes: Vec<u8>,
    },
}

impl Extension {
    /// Hop-by-hop options that hold nothing but a router alert for multicast listener discovery
    /// (RFC 2711 §2.1), as RFC 3810 §5 demands it.
    #[must_use]
    pub fn router_alert() -> Self {
        Self::Options {
            protocol: 0,
            bytes: vec![5, 2, 0, 0, 1, 0],
        }
    }

    /// A routing header (RFC 8200 §4.4) of this type, with its segments still to go and what
    /// follows that octet.
    #[must_use]
    pub fn routing(kind: u8, segments_left: u8, rest: &[u8]) -> Self {
        let mut bytes = vec![kind, segments_left];
        bytes.extend(rest);
        Self::Options {
            protocol: 43,
            bytes,
        }
    }

    pub(super) fn protocol(&self) -> u8 {
        match self {
            Self::Options { protocol, .. } => *protocol,
            Self::Fragment(_) => 44,
            Self::Authentication { .. } => 51,
        }
    }

    pub(super) fn write(&self, next: u8, out: &mut Vec<u8>) {
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
            Self::Authentication { bytes } => {
                let length = (bytes.len() + 2).next_multiple_of(8).max(16);
                // In words of 4 bytes less 2 (RFC 4302 §2.2).
                let words = u8::try_from(length / 4 - 2).expect("a header of up to 1 KiB");
                out.extend([next, words]);
                out.extend(bytes);
                out.extend(std::iter::repeat_n(0, length - 2 - bytes.len()));
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
        if protocol == 51 {
            let bytes = reader.take(usize::from(length) * 4 + 6)?.to_vec();
            return Ok((Self::Authentication { bytes }, next));
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

    /// The packet from its first header byte. With a fragment header the payload is taken as it is
    /// for the fragment's, so only [`Payload::Other`] makes sense under one that is not whole.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let last = self.payload.protocol();
        let numbers: Vec<u8> = self.extensions.iter().map(Extension::protocol).collect();
        let body = chain(&self.extensions, last, &self.payload_bytes());
        let mut out = vec![0x60, 0, 0, 0];
        out.extend(length_u16(body.len()).to_be_bytes());
        out.extend([numbers.first().copied().unwrap_or(last), self.hop_limit]);
        out.extend(self.src.octets());
        out.extend(self.dst.octets());
        out.extend(body);
        out
    }

    pub(super) fn payload_bytes(&self) -> Vec<u8> {
        self.payload.to_bytes(self.src.into(), self.dst.into())
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
        while whole && matches!(next, 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140) {
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

/// Extension headers, each naming the next, the last naming `last`, and then `payload`.
pub(super) fn chain(extensions: &[Extension], last: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (nth, extension) in extensions.iter().enumerate() {
        let next = extensions.get(nth + 1).map_or(last, Extension::protocol);
        extension.write(next, &mut out);
    }
    out.extend(payload);
    out
}
