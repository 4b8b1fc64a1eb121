//! The values nftables compares: their types, their bytes and their text.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bulkhead_model::{IfName, Mac};

/// The type of one field of a set key, or of a map's value.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum KeyType {
    /// `ifname`: an interface name, 16 bytes, NUL-padded.
    IfName,
    /// `ether_addr`: 6 bytes.
    EtherAddr,
    /// `ether_type`: 2 bytes, network order.
    EtherType,
    /// `ipv4_addr`: 4 bytes.
    Ipv4Addr,
    /// `ipv6_addr`: 16 bytes.
    Ipv6Addr,
    /// `inet_proto`: 1 byte.
    InetProto,
    /// `inet_service`: a port, 2 bytes, network order.
    InetService,
    /// `mark`: 4 bytes, host order.
    Mark,
    /// `arp_op`: 2 bytes, network order.
    ArpOp,
    /// `icmp_type`: 1 byte.
    IcmpType,
    /// `icmpv6_type`: 1 byte.
    Icmpv6Type,
    /// `nf_proto`: 1 byte.
    NfProto,
    /// `iface_type` (ARPHRD): 2 bytes, host order.
    IfaceType,
    /// `ct_status`: bits of a connection's status, 4 bytes, host order.
    CtStatus,
    /// `fib_addrtype`: what the routing tables make of an address, 4 bytes, host order.
    FibAddrType,
    /// `ct_state`: what a packet is to its connection, 4 bytes, host order.
    CtState,
    /// `boolean`: whether something is there, 4 bytes, host order, as `fib` leaves it.
    Boolean,
    /// `classid`: a packet's priority, 4 bytes, host order.
    ClassId,
    /// An unsigned number of that many bytes, network order. nft declares a plain set of it by
    /// fields of its types (`typeof`), and no map.
    Integer(u8),
}

impl KeyType {
    /// Every type, the integer without a length.
    pub(crate) const ALL: [Self; 19] = [
        Self::IfName,
        Self::EtherAddr,
        Self::EtherType,
        Self::Ipv4Addr,
        Self::Ipv6Addr,
        Self::InetProto,
        Self::InetService,
        Self::Mark,
        Self::ArpOp,
        Self::IcmpType,
        Self::Icmpv6Type,
        Self::NfProto,
        Self::IfaceType,
        Self::CtStatus,
        Self::FibAddrType,
        Self::CtState,
        Self::Boolean,
        Self::ClassId,
        Self::Integer(0),
    ];

    /// Bytes a value has.
    #[must_use]
    pub const fn len(self) -> usize {
        match self {
            Self::IfName | Self::Ipv6Addr => 16,
            Self::EtherAddr => 6,
            Self::EtherType | Self::InetService | Self::ArpOp | Self::IfaceType => 2,
            Self::Ipv4Addr
            | Self::Mark
            | Self::CtStatus
            | Self::FibAddrType
            | Self::CtState
            | Self::Boolean
            | Self::ClassId => 4,
            Self::InetProto | Self::IcmpType | Self::Icmpv6Type | Self::NfProto => 1,
            Self::Integer(len) => len as usize,
        }
    }

    /// Whether values have no bytes: true only of `Integer(0)`.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Bytes a value takes in a concatenation: fields start on 4-byte registers.
    #[must_use]
    pub const fn padded_len(self) -> usize {
        self.len().next_multiple_of(4)
    }

    /// nft's own number for the type (`enum datatypes`, nftables `include/datatype.h`): the kernel
    /// stores it and nft needs it to print elements.
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::NfProto => 2,
            Self::Integer(_) => 4,
            Self::Ipv4Addr => 7,
            Self::Ipv6Addr => 8,
            Self::EtherAddr => 9,
            Self::EtherType => 10,
            Self::ArpOp => 11,
            Self::InetProto => 12,
            Self::InetService => 13,
            Self::IcmpType => 14,
            Self::Mark => 19,
            Self::IfaceType => 21,
            Self::ClassId => 23,
            Self::CtState => 26,
            Self::CtStatus => 28,
            Self::Icmpv6Type => 29,
            Self::FibAddrType => 38,
            Self::Boolean => 39,
            Self::IfName => 41,
        }
    }

    /// Whether the bytes are in host order (`BYTEORDER_HOST_ENDIAN`, nftables `datatype.c`).
    pub(crate) const fn is_host_order(self) -> bool {
        matches!(
            self,
            Self::IfName
                | Self::Mark
                | Self::EtherAddr
                | Self::IfaceType
                | Self::CtStatus
                | Self::FibAddrType
                | Self::CtState
                | Self::Boolean
                | Self::ClassId
        )
    }

    /// Reads one value; `None` if the length is wrong or the bytes are no value of the type.
    #[must_use]
    pub fn decode(self, bytes: &[u8]) -> Option<Datum> {
        if bytes.len() != self.len() {
            return None;
        }
        let short = || bytes.try_into().map(u16::from_be_bytes).ok();
        Some(match self {
            Self::IfName => {
                let text = std::str::from_utf8(bytes).ok()?;
                Datum::IfName(text.trim_end_matches('\0').parse().ok()?)
            }
            Self::EtherAddr => Datum::EtherAddr(bytes.try_into().ok()?),
            Self::EtherType => Datum::EtherType(short()?),
            Self::Ipv4Addr => Datum::Ipv4Addr(<[u8; 4]>::try_from(bytes).ok()?.into()),
            Self::Ipv6Addr => Datum::Ipv6Addr(<[u8; 16]>::try_from(bytes).ok()?.into()),
            Self::InetProto => Datum::InetProto(bytes[0]),
            Self::InetService => Datum::InetService(short()?),
            Self::Mark => Datum::Mark(u32::from_ne_bytes(bytes.try_into().ok()?)),
            Self::CtStatus => Datum::CtStatus(u32::from_ne_bytes(bytes.try_into().ok()?)),
            Self::FibAddrType => Datum::FibAddrType(u32::from_ne_bytes(bytes.try_into().ok()?)),
            Self::CtState => Datum::CtState(u32::from_ne_bytes(bytes.try_into().ok()?)),
            Self::ClassId => Datum::ClassId(u32::from_ne_bytes(bytes.try_into().ok()?)),
            Self::ArpOp => Datum::ArpOp(short()?),
            Self::IcmpType => Datum::IcmpType(bytes[0]),
            Self::Icmpv6Type => Datum::Icmpv6Type(bytes[0]),
            Self::NfProto => Datum::NfProto(bytes[0]),
            Self::IfaceType => Datum::IfaceType(u16::from_ne_bytes(bytes.try_into().ok()?)),
            Self::Boolean => Datum::Boolean(bytes.iter().any(|byte| *byte != 0)),
            Self::Integer(_) => Datum::Integer(bytes.to_vec()),
        })
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IfName => "ifname",
            Self::EtherAddr => "ether_addr",
            Self::EtherType => "ether_type",
            Self::Ipv4Addr => "ipv4_addr",
            Self::Ipv6Addr => "ipv6_addr",
            Self::InetProto => "inet_proto",
            Self::InetService => "inet_service",
            Self::Mark => "mark",
            Self::ArpOp => "arp_op",
            Self::IcmpType => "icmp_type",
            Self::Icmpv6Type => "icmpv6_type",
            Self::NfProto => "nf_proto",
            Self::IfaceType => "iface_type",
            Self::CtStatus => "ct_status",
            Self::FibAddrType => "fib_addrtype",
            Self::CtState => "ct_state",
            Self::ClassId => "classid",
            Self::Boolean => "boolean",
            Self::Integer(len) => return write!(f, "integer {}", usize::from(*len) * 8),
        })
    }
}

/// One value.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Datum {
    /// An interface name. Its text is loadable unless the name holds a `"`, which nft cannot say.
    IfName(IfName),
    /// Any Ethernet address, group addresses included.
    EtherAddr([u8; 6]),
    /// An Ethernet protocol number (IEEE 802 numbers).
    EtherType(u16),
    /// An IPv4 address.
    Ipv4Addr(Ipv4Addr),
    /// An IPv6 address.
    Ipv6Addr(Ipv6Addr),
    /// An IP protocol number (IANA).
    InetProto(u8),
    /// A transport port.
    InetService(u16),
    /// A packet mark.
    Mark(u32),
    /// An ARP operation (RFC 826).
    ArpOp(u16),
    /// An `ICMPv4` type.
    IcmpType(u8),
    /// An `ICMPv6` type.
    Icmpv6Type(u8),
    /// A netfilter protocol: 2 is IPv4, 10 is IPv6 (`NFPROTO_*`, `linux/netfilter.h`).
    NfProto(u8),
    /// An ARPHRD number (`linux/if_arp.h`); 1 is Ethernet.
    IfaceType(u16),
    /// Bits of a connection's status (`IPS_*`, `linux/netfilter/nf_conntrack_common.h`).
    CtStatus(u32),
    /// A kind of address (`RTN_*`, `linux/rtnetlink.h`).
    FibAddrType(u32),
    /// Bits of what a packet is to its connection (`NF_CT_STATE_BIT`, `net/netfilter/nf_conntrack.h`).
    CtState(u32),
    /// A packet's priority, which queueing disciplines know as a class: major and minor number. Between
    /// two rules a number that the second reads; nft has words of their own for 0 and the highest.
    ClassId(u32),
    /// Whether something is there: `exists` or `missing`.
    Boolean(bool),
    /// A number of that many bytes, most significant first; also raw bytes as they are in the packet.
    Integer(Vec<u8>),
}

impl Datum {
    /// A connection whose destination was translated (`IPS_DST_NAT`).
    pub const DST_NAT: Self = Self::CtStatus(1 << 5);
    /// A packet of a connection that both ends have sent packets of (`IP_CT_ESTABLISHED`).
    pub const ESTABLISHED: Self = Self::CtState(1 << 1);
    /// A packet about another connection, such as an ICMP error (`IP_CT_RELATED`).
    pub const RELATED: Self = Self::CtState(1 << 2);
    /// The first packet of a connection, or another before there was an answer (`IP_CT_NEW`).
    pub const NEW: Self = Self::CtState(1 << 3);
    /// An address of this host (`RTN_LOCAL`).
    pub const LOCAL: Self = Self::FibAddrType(2);

    /// The value's type.
    #[must_use]
    pub fn kind(&self) -> KeyType {
        match self {
            Self::IfName(_) => KeyType::IfName,
            Self::EtherAddr(_) => KeyType::EtherAddr,
            Self::EtherType(_) => KeyType::EtherType,
            Self::Ipv4Addr(_) => KeyType::Ipv4Addr,
            Self::Ipv6Addr(_) => KeyType::Ipv6Addr,
            Self::InetProto(_) => KeyType::InetProto,
            Self::InetService(_) => KeyType::InetService,
            Self::Mark(_) => KeyType::Mark,
            Self::ArpOp(_) => KeyType::ArpOp,
            Self::IcmpType(_) => KeyType::IcmpType,
            Self::Icmpv6Type(_) => KeyType::Icmpv6Type,
            Self::NfProto(_) => KeyType::NfProto,
            Self::IfaceType(_) => KeyType::IfaceType,
            Self::CtStatus(_) => KeyType::CtStatus,
            Self::FibAddrType(_) => KeyType::FibAddrType,
            Self::CtState(_) => KeyType::CtState,
            Self::ClassId(_) => KeyType::ClassId,
            Self::Boolean(_) => KeyType::Boolean,
            // NFT_DATA_VALUE_MAXLEN is 64: a longer number fits no register and is refused there.
            Self::Integer(bytes) => KeyType::Integer(u8::try_from(bytes.len()).unwrap_or(u8::MAX)),
        }
    }

    /// The bytes the kernel compares, unpadded.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::IfName(name) => name.padded().to_vec(),
            Self::EtherAddr(octets) => octets.to_vec(),
            Self::EtherType(n) | Self::InetService(n) | Self::ArpOp(n) => n.to_be_bytes().to_vec(),
            Self::Ipv4Addr(address) => address.octets().to_vec(),
            Self::Ipv6Addr(address) => address.octets().to_vec(),
            Self::InetProto(n) | Self::IcmpType(n) | Self::Icmpv6Type(n) | Self::NfProto(n) => {
                vec![*n]
            }
            Self::Mark(n)
            | Self::CtStatus(n)
            | Self::FibAddrType(n)
            | Self::CtState(n)
            | Self::ClassId(n) => n.to_ne_bytes().to_vec(),
            Self::IfaceType(n) => n.to_ne_bytes().to_vec(),
            Self::Boolean(is) => u32::from(*is).to_ne_bytes().to_vec(),
            Self::Integer(bytes) => bytes.clone(),
        }
    }
}

impl From<IfName> for Datum {
    fn from(name: IfName) -> Self {
        Self::IfName(name)
    }
}

impl From<Mac> for Datum {
    fn from(mac: Mac) -> Self {
        Self::EtherAddr(mac.octets())
    }
}

impl From<IpAddr> for Datum {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::Ipv4Addr(v4),
            IpAddr::V6(v6) => Self::Ipv6Addr(v6),
        }
    }
}

impl<const N: usize> From<[u8; N]> for Datum {
    fn from(bytes: [u8; N]) -> Self {
        Self::Integer(bytes.to_vec())
    }
}

impl fmt::Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IfName(name) => match name.as_str().strip_suffix('*') {
                // A bare star at the end would be a wildcard.
                Some(stem) => write!(f, "\"{stem}\\*\""),
                None => write!(f, "\"{name}\""),
            },
            Self::EtherAddr(octets) => {
                crate::text::joined(f, octets.map(|octet| format!("{octet:02x}")), ":")
            }
            Self::EtherType(0x0800) => f.write_str("ip"),
            Self::EtherType(0x0806) => f.write_str("arp"),
            Self::EtherType(0x86dd) => f.write_str("ip6"),
            Self::EtherType(n) => write!(f, "0x{n:04x}"),
            Self::Ipv4Addr(address) => address.fmt(f),
            Self::Ipv6Addr(address) => address.fmt(f),
            Self::InetProto(1) => f.write_str("icmp"),
            Self::InetProto(6) => f.write_str("tcp"),
            Self::InetProto(17) => f.write_str("udp"),
            Self::InetProto(58) => f.write_str("ipv6-icmp"),
            Self::InetProto(132) => f.write_str("sctp"),
            Self::NfProto(2) => f.write_str("ipv4"),
            Self::NfProto(10) => f.write_str("ipv6"),
            Self::InetProto(n) | Self::IcmpType(n) | Self::Icmpv6Type(n) | Self::NfProto(n) => {
                n.fmt(f)
            }
            Self::InetService(n) | Self::ArpOp(n) | Self::IfaceType(n) => n.fmt(f),
            Self::CtStatus(0x20) => f.write_str("dnat"),
            Self::FibAddrType(2) => f.write_str("local"),
            Self::CtState(2) => f.write_str("established"),
            Self::CtState(4) => f.write_str("related"),
            Self::CtState(8) => f.write_str("new"),
            Self::CtStatus(n) | Self::FibAddrType(n) | Self::CtState(n) => n.fmt(f),
            Self::ClassId(0) => f.write_str("none"),
            Self::ClassId(u32::MAX) => f.write_str("root"),
            Self::ClassId(n) => write!(f, "{:x}:{:x}", n >> 16, n & 0xffff),
            Self::Mark(n) => write!(f, "0x{n:08x}"),
            Self::Boolean(true) => f.write_str("exists"),
            Self::Boolean(false) => f.write_str("missing"),
            Self::Integer(bytes) => {
                f.write_str("0x")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

/// What a set is keyed by: one value, or a concatenation (`a . b`).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key(Vec<Datum>);

impl Key {
    /// The concatenation of `parts`, in order.
    pub fn new(parts: impl IntoIterator<Item = Datum>) -> Self {
        Self(parts.into_iter().collect())
    }

    /// The values, in order.
    #[must_use]
    pub fn parts(&self) -> &[Datum] {
        &self.0
    }

    /// The types, in order.
    #[must_use]
    pub fn kinds(&self) -> Vec<KeyType> {
        self.0.iter().map(Datum::kind).collect()
    }

    /// The bytes the kernel stores: a single value as it is, each part of a concatenation padded to
    /// whole registers.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        if let [only] = self.0.as_slice() {
            return only.bytes();
        }
        let mut out = Vec::new();
        for part in &self.0 {
            out.extend(part.bytes());
            out.resize(out.len().next_multiple_of(4), 0);
        }
        out
    }

    /// Reads a key of the given types from the bytes the kernel stores.
    #[must_use]
    pub fn decode(kinds: &[KeyType], bytes: &[u8]) -> Option<Self> {
        if let [only] = kinds {
            return Some(Self(vec![only.decode(bytes.get(..only.len())?)?]));
        }
        let mut rest = bytes;
        let mut parts = Vec::with_capacity(kinds.len());
        for kind in kinds {
            parts.push(kind.decode(rest.get(..kind.len())?)?);
            rest = rest.get(kind.padded_len()..)?;
        }
        rest.is_empty().then_some(Self(parts))
    }
}

impl<D: Into<Datum>> From<D> for Key {
    fn from(only: D) -> Self {
        Self(vec![only.into()])
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::text::joined(f, &self.0, " . ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_concatenation_is_padded_to_registers_and_reads_back() {
        let key = Key::new([
            Datum::IfName("v0".parse().unwrap()),
            Datum::EtherAddr([2, 0, 0, 0, 0, 1]),
        ]);
        let bytes = key.bytes();
        assert_eq!(bytes.len(), 24);
        assert_eq!(&bytes[..3], b"v0\0");
        assert_eq!(&bytes[16..], [2, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(Key::decode(&key.kinds(), &bytes), Some(key.clone()));
        assert_eq!(key.to_string(), r#""v0" . 02:00:00:00:00:01"#);
        assert_eq!(Key::decode(&[KeyType::IfName], &bytes[..15]), None);
    }

    #[test]
    fn a_star_at_the_end_of_a_name_is_no_wildcard() {
        assert_eq!(Datum::IfName("a*".parse().unwrap()).to_string(), r#""a\*""#);
    }
}
