//! Prefixes that are an endpoint's as a whole.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use bulkhead_model::{ParseError, Prefix};

/// A /64 that one endpoint has for itself (RFC 8273): every address of it is the endpoint's. Two of them are the same
/// or have no address in common.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct OwnPrefix(Ipv6Addr);

impl OwnPrefix {
    /// Its length in bits.
    pub const LEN: u8 = 64;

    /// `None` of any other than an IPv6 prefix of 64 bits.
    #[must_use]
    pub fn new(prefix: Prefix) -> Option<Self> {
        match prefix.address() {
            IpAddr::V6(first) if prefix.len() == Self::LEN => Some(Self(first)),
            _ => None,
        }
    }

    /// The one that an address is in, whoever's that is; `None` of IPv4.
    #[must_use]
    pub const fn around(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V6(address) => Some(Self(Ipv6Addr::from_bits(
                address.to_bits() & !(u64::MAX as u128),
            ))),
            IpAddr::V4(_) => None,
        }
    }

    /// Whether the address is in it.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        Self::around(address) == Some(self)
    }

    /// The first address.
    #[must_use]
    pub const fn first(self) -> IpAddr {
        IpAddr::V6(self.0)
    }

    /// The last address.
    #[must_use]
    pub const fn last(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from_bits(self.0.to_bits() | u64::MAX as u128))
    }

    /// As any prefix.
    #[must_use]
    pub fn prefix(self) -> Prefix {
        Prefix::new(self.first(), Self::LEN).expect("no host bits are set")
    }
}

impl fmt::Display for OwnPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.prefix().fmt(f)
    }
}

impl FromStr for OwnPrefix {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let prefix = text.parse().ok();
        prefix.and_then(Self::new).ok_or_else(|| ParseError {
            expected: "an IPv6 prefix of 64 bits without host bits such as fd00:1:2:3::/64",
            found: text.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_the_addresses_between_its_first_and_its_last() {
        let own: OwnPrefix = "fd00:0:0:1::/64".parse().unwrap();
        assert_eq!(own.to_string(), "fd00:0:0:1::/64");
        assert_eq!(own.first().to_string(), "fd00:0:0:1::");
        assert_eq!(own.last().to_string(), "fd00::1:ffff:ffff:ffff:ffff");
        for (address, is_in) in [
            ("fd00:0:0:1::", true),
            ("fd00::1:ffff:ffff:ffff:ffff", true),
            ("fd00:0:0:2::", false),
            ("fd00::ffff:ffff:ffff:ffff", false),
            ("10.0.0.1", false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(own.contains(address), is_in, "{address}");
            assert_eq!(own.prefix().contains(address), is_in, "{address}");
        }
        for other in ["fd00::/63", "fd00::/65", "10.0.0.0/24", "fd00::1/64"] {
            assert!(other.parse::<OwnPrefix>().is_err(), "{other}");
        }
    }
}
