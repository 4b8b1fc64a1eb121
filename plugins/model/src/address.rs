//! Addresses: MAC, IP prefix, and an address as it stands on an interface.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A text that does not name what it should: what was expected, what was found and what to write.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{found:?} is not {expected}")]
pub struct ParseError {
    /// The thing expected, with its article and an example.
    pub expected: &'static str,
    /// The text found.
    pub found: String,
}

impl ParseError {
    pub(crate) fn new(expected: &'static str, found: &str) -> Self {
        Self {
            expected,
            found: found.to_owned(),
        }
    }
}

/// An IP address family.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of `address`.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Address width: 32 or 128 bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// A unicast Ethernet MAC address (IEEE 802): never all zero, never with the group bit.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Mac([u8; 6]);

impl Mac {
    /// `None` for a group address or the zero address, which no interface can own.
    #[must_use]
    pub const fn new(octets: [u8; 6]) -> Option<Self> {
        let zero = matches!(octets, [0, 0, 0, 0, 0, 0]);
        if zero || octets[0] & 1 == 1 {
            None
        } else {
            Some(Self(octets))
        }
    }

    /// A locally administered address made from the first six bytes of a digest.
    #[must_use]
    pub(crate) const fn from_digest(digest: &[u8; 32]) -> Self {
        Self([
            digest[0] & 0xfc | 0x02,
            digest[1],
            digest[2],
            digest[3],
            digest[4],
            digest[5],
        ])
    }

    /// The six octets in transmission order.
    #[must_use]
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// The link-local address an interface with this MAC forms (RFC 4291 appendix A, modified EUI-64).
    #[must_use]
    pub const fn link_local(self) -> Ipv6Addr {
        let m = self.0;
        Ipv6Addr::new(
            0xfe80,
            0,
            0,
            0,
            pair_of(m[0] ^ 0x02, m[1]),
            pair_of(m[2], 0xff),
            pair_of(0xfe, m[3]),
            pair_of(m[4], m[5]),
        )
    }
}

const fn pair_of(hi: u8, lo: u8) -> u16 {
    (hi as u16) << 8 | lo as u16
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, octet) in self.0.iter().enumerate() {
            write!(f, "{}{octet:02x}", if nth == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl FromStr for Mac {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || ParseError::new("a unicast MAC address such as 02:00:00:00:00:01", text);
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut octets = [0; 6];
        let mut parts = text.split(separator);
        for octet in &mut octets {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(error)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| error())?;
        }
        if parts.next().is_some() {
            return Err(error());
        }
        Self::new(octets).ok_or_else(error)
    }
}

/// An IP prefix in canonical form: no host bits set (RFC 4632, RFC 4291 §2.3).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Prefix {
    address: IpAddr,
    len: u8,
}

impl Prefix {
    /// `None` if `len` is longer than the address or host bits are set.
    #[must_use]
    pub fn new(address: IpAddr, len: u8) -> Option<Self> {
        (len <= Family::of(address).bits() && network_of(address, len) == address)
            .then_some(Self { address, len })
    }

    /// The first address.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// Prefix length in bits, 0..=32 or 0..=128.
    #[allow(clippy::len_without_is_empty)]
    #[must_use]
    pub const fn len(self) -> u8 {
        self.len
    }

    /// The prefix's family.
    #[must_use]
    pub const fn family(self) -> Family {
        Family::of(self.address)
    }

    /// Whether `address` lies inside; always false across families.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        Family::of(address) == self.family() && network_of(address, self.len) == self.address
    }

    /// Whether the two share an address.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    /// Whether this is `0.0.0.0/0` or `::/0`.
    #[must_use]
    pub const fn is_default(self) -> bool {
        self.len == 0
    }

    /// The last address (for IPv4, the broadcast address of a prefix shorter than 31 bits).
    #[must_use]
    pub fn last(self) -> IpAddr {
        let host = host_mask(self.family(), self.len);
        from_bits(self.family(), to_bits(self.address) | host)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

impl FromStr for Prefix {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        const EXPECTED: &str = "a prefix without host bits such as 10.0.0.0/24 or fd00::/64";
        let (address, len) = split_prefix(text).ok_or_else(|| ParseError::new(EXPECTED, text))?;
        Self::new(address, len).ok_or_else(|| ParseError::new(EXPECTED, text))
    }
}

/// An address as an interface carries it: host bits and the length of its on-link prefix.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct InterfaceAddress {
    address: IpAddr,
    len: u8,
}

impl InterfaceAddress {
    /// `None` if `len` is longer than the address.
    #[must_use]
    pub const fn new(address: IpAddr, len: u8) -> Option<Self> {
        if len <= Family::of(address).bits() {
            Some(Self { address, len })
        } else {
            None
        }
    }

    /// An address with nothing else in its prefix.
    #[must_use]
    pub const fn alone(address: IpAddr) -> Self {
        Self {
            address,
            len: Family::of(address).bits(),
        }
    }

    /// The address alone.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// On-link prefix length in bits.
    #[allow(clippy::len_without_is_empty)]
    #[must_use]
    pub const fn len(self) -> u8 {
        self.len
    }

    /// The address' family.
    #[must_use]
    pub const fn family(self) -> Family {
        Family::of(self.address)
    }

    /// The on-link prefix.
    #[must_use]
    pub fn prefix(self) -> Prefix {
        Prefix {
            address: network_of(self.address, self.len),
            len: self.len,
        }
    }
}

impl fmt::Display for InterfaceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

impl FromStr for InterfaceAddress {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        split_prefix(text)
            .and_then(|(address, len)| Self::new(address, len))
            .ok_or_else(|| {
                ParseError::new("an address with prefix length such as 10.0.0.5/24", text)
            })
    }
}

fn split_prefix(text: &str) -> Option<(IpAddr, u8)> {
    let (address, len) = text.split_once('/')?;
    // `u8::from_str` accepts a leading `+`, which no prefix length has.
    let digits = len.bytes().all(|b| b.is_ascii_digit());
    Some((address.parse().ok()?, len.parse().ok().filter(|_| digits)?))
}

fn host_mask(family: Family, len: u8) -> u128 {
    let host_bits = u32::from(family.bits() - len);
    if host_bits == 128 {
        u128::MAX
    } else {
        (1 << host_bits) - 1
    }
}

fn network_of(address: IpAddr, len: u8) -> IpAddr {
    let family = Family::of(address);
    from_bits(family, to_bits(address) & !host_mask(family, len))
}

fn to_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn from_bits(family: Family, bits: u128) -> IpAddr {
    match family {
        // The upper bits are zero for an IPv4 value; truncation takes the address.
        #[allow(clippy::cast_possible_truncation)]
        Family::V4 => Ipv4Addr::from_bits(bits as u32).into(),
        Family::V6 => Ipv6Addr::from_bits(bits).into(),
    }
}

macro_rules! serde_as_text {
    ($($type:ty),+) => {$(
        impl ::serde::Serialize for $type {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $type {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as ::serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(::serde::de::Error::custom)
            }
        }
    )+};
}
pub(crate) use serde_as_text;

serde_as_text!(Mac, Prefix, InterfaceAddress);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_with_host_bits_is_refused() {
        assert!("10.0.0.1/24".parse::<Prefix>().is_err());
        assert!("fd00::1/64".parse::<Prefix>().is_err());
        assert_eq!(
            "10.0.0.0/24".parse::<Prefix>().unwrap().to_string(),
            "10.0.0.0/24"
        );
    }

    #[test]
    fn a_prefix_knows_its_last_address() {
        let last = |text: &str| text.parse::<Prefix>().unwrap().last().to_string();
        assert_eq!(last("10.0.0.0/24"), "10.0.0.255");
        assert_eq!(last("0.0.0.0/0"), "255.255.255.255");
        assert_eq!(last("fd00::/126"), "fd00::3");
        assert_eq!(last("::/0"), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    }

    #[test]
    fn a_group_or_zero_mac_is_refused() {
        for text in [
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
            "02:00:00:00:00",
            "2:0:0:0:0:1",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_link_local_address_is_modified_eui64() {
        let mac: Mac = "00:11:22:33:44:55".parse().unwrap();
        assert_eq!(mac.link_local().to_string(), "fe80::211:22ff:fe33:4455");
    }

    #[test]
    fn a_signed_prefix_length_is_refused() {
        assert!("10.0.0.0/+8".parse::<Prefix>().is_err());
    }
}
