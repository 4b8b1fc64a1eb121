//! Options of neighbour discovery messages (RFC 4861 §4.6 and its successors).

use std::net::Ipv6Addr;

use super::bytes::Reader;
use super::{MacOctets, PacketError};

/// An option of a neighbour discovery message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NdOption {
    /// Type 1.
    SourceMac(MacOctets),
    /// Type 2.
    TargetMac(MacOctets),
    /// Type 3 (RFC 4861 §4.6.2).
    Prefix {
        /// The prefix.
        prefix: Ipv6Addr,
        /// Its length in bits.
        len: u8,
        /// On-link (0x80), autonomous (0x40).
        flags: u8,
        /// Valid lifetime in seconds.
        valid_secs: u32,
        /// Preferred lifetime in seconds.
        preferred_secs: u32,
    },
    /// Type 5, in bytes.
    Mtu(u32),
    /// Type 14 (RFC 3971 §5.3.2), as RFC 7527 uses it.
    Nonce([u8; 6]),
    /// Type 25 (RFC 8106).
    Rdnss {
        /// Lifetime in seconds.
        lifetime_secs: u32,
        /// The resolvers.
        servers: Vec<Ipv6Addr>,
    },
    /// Any other type: the bytes after its length field, padded to a multiple of 8 less 2.
    Other {
        /// Type.
        kind: u8,
        /// Everything after the first two bytes.
        bytes: Vec<u8>,
    },
}

impl NdOption {
    fn write(&self, out: &mut Vec<u8>) {
        let (kind, bytes) = match self {
            Self::SourceMac(mac) => (1, mac.to_vec()),
            Self::TargetMac(mac) => (2, mac.to_vec()),
            Self::Prefix {
                prefix,
                len,
                flags,
                valid_secs,
                preferred_secs,
            } => {
                let mut bytes = vec![*len, *flags];
                bytes.extend(valid_secs.to_be_bytes());
                bytes.extend(preferred_secs.to_be_bytes());
                bytes.extend([0; 4]);
                bytes.extend(prefix.octets());
                (3, bytes)
            }
            Self::Mtu(mtu) => (5, [[0; 2].as_slice(), &mtu.to_be_bytes()].concat()),
            Self::Nonce(nonce) => (14, nonce.to_vec()),
            Self::Rdnss {
                lifetime_secs,
                servers,
            } => {
                let mut bytes = [[0; 2].as_slice(), &lifetime_secs.to_be_bytes()].concat();
                bytes.extend(servers.iter().flat_map(Ipv6Addr::octets));
                (25, bytes)
            }
            Self::Other { kind, bytes } => (*kind, bytes.clone()),
        };
        let units = (bytes.len() + 2).div_ceil(8);
        out.extend([kind, u8::try_from(units).expect("an option of up to 2 KiB")]);
        out.extend(&bytes);
        out.extend(std::iter::repeat_n(0, units * 8 - 2 - bytes.len()));
    }

    pub(super) fn write_all(options: &[Self], out: &mut Vec<u8>) {
        for option in options {
            option.write(out);
        }
    }

    pub(super) fn parse_all(mut reader: Reader) -> Result<Vec<Self>, PacketError> {
        let mut options = Vec::new();
        while !reader.is_empty() {
            let (kind, units) = (reader.u8()?, reader.u8()?);
            let length = (usize::from(units) * 8)
                .checked_sub(2)
                .ok_or_else(|| reader.field("option length", units))?;
            options.push(Self::parse(kind, reader.take(length)?)?);
        }
        Ok(options)
    }

    fn parse(kind: u8, bytes: &[u8]) -> Result<Self, PacketError> {
        let mut reader = Reader::new("ND option", bytes);
        Ok(match (kind, bytes.len()) {
            (1, 6) => Self::SourceMac(reader.array()?),
            (2, 6) => Self::TargetMac(reader.array()?),
            (3, 30) => {
                let (len, flags) = (reader.u8()?, reader.u8()?);
                let (valid_secs, preferred_secs) = (reader.u32()?, reader.u32()?);
                reader.u32()?;
                Self::Prefix {
                    prefix: reader.array::<16>()?.into(),
                    len,
                    flags,
                    valid_secs,
                    preferred_secs,
                }
            }
            (5, 6) => {
                reader.u16()?;
                Self::Mtu(reader.u32()?)
            }
            (14, 6) => Self::Nonce(reader.array()?),
            (25, length) if length >= 22 && (length - 6) % 16 == 0 => {
                reader.u16()?;
                let lifetime_secs = reader.u32()?;
                let mut servers = Vec::new();
                while !reader.is_empty() {
                    servers.push(reader.array::<16>()?.into());
                }
                Self::Rdnss {
                    lifetime_secs,
                    servers,
                }
            }
            _ => Self::Other {
                kind,
                bytes: bytes.to_vec(),
            },
        })
    }
}
