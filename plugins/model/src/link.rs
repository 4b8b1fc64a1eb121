//! Links: their names, MTU, and the marks by which ours are recognised.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Family;
use crate::address::{ParseError, serde_as_text};

/// Routes we add carry this protocol number (`rtm_protocol`, `linux/rtnetlink.h`: 5..=254 belong to
/// user space; this one is in no `rt_protos` file we know of).
pub const ROUTE_PROTOCOL: u8 = 98;

/// A network interface name: 1..=15 bytes, none of them `/`, `:` or white space, not `.` or `..`
/// (`dev_valid_name`, `net/core/dev.c`; CNI spec, `CNI_IFNAME`).
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct IfName {
    bytes: [u8; 15],
    len: u8,
}

impl IfName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).expect("only made from a str")
    }

    /// The NUL-padded form the kernel compares (`IFNAMSIZ` = 16).
    #[must_use]
    pub fn padded(&self) -> [u8; 16] {
        let mut out = [0; 16];
        out[..15].copy_from_slice(&self.bytes);
        out
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl FromStr for IfName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad = |c: char| {
            c == '/' || c == ':' || c.is_whitespace() || c == '\0' || c.is_ascii_control()
        };
        if text.is_empty() || text.len() > 15 || text == "." || text == ".." || text.contains(bad) {
            return Err(ParseError::new(
                "an interface name (1 to 15 bytes without '/', ':' or white space)",
                text,
            ));
        }
        let mut bytes = [0; 15];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self {
            bytes,
            len: u8::try_from(text.len()).expect("at most 15"),
        })
    }
}

serde_as_text!(IfName);

/// A link MTU in bytes, 68..=65535 (`ETH_MIN_MTU`, `ETH_MAX_MTU`, `linux/if_ether.h`).
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Mtu(u32);

impl Mtu {
    /// What Ethernet carries by default.
    pub const ETHERNET: Self = Self(1500);

    /// `None` outside 68..=65535.
    #[must_use]
    pub const fn new(bytes: u32) -> Option<Self> {
        if bytes >= 68 && bytes <= 65_535 {
            Some(Self(bytes))
        } else {
            None
        }
    }

    /// Bytes.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        self.0
    }

    /// The smallest MTU a link may have and still carry `family`: 68 (RFC 791) or 1280 (RFC 8200 §5).
    #[must_use]
    pub const fn minimum(family: Family) -> Self {
        match family {
            Family::V4 => Self(68),
            Family::V6 => Self(1280),
        }
    }
}

impl TryFrom<u32> for Mtu {
    type Error = ParseError;

    fn try_from(bytes: u32) -> Result<Self, ParseError> {
        let text = || bytes.to_string();
        Self::new(bytes).ok_or_else(|| ParseError::new("an MTU (68 to 65535 bytes)", &text()))
    }
}

impl From<Mtu> for u32 {
    fn from(mtu: Mtu) -> Self {
        mtu.0
    }
}

impl fmt::Display for Mtu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The link group (`IFLA_GROUP`) that marks a link as ours from the message that creates it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LinkGroup(pub u32);

impl LinkGroup {
    /// A link we created and keep; never deleted by group.
    pub const OWNED: Self = Self(0x6268_0001);
    /// A link that DEL has matched by name and MAC and given up for batch deletion.
    pub const DOOMED: Self = Self(0x6268_0002);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_name_is_what_the_kernel_takes() {
        assert_eq!("eth0".parse::<IfName>().unwrap().to_string(), "eth0");
        for bad in ["", ".", "..", "a/b", "a:b", "a b", "sixteen-bytes-ab"] {
            assert!(bad.parse::<IfName>().is_err(), "{bad:?}");
        }
        assert!("fifteen-bytes-a".parse::<IfName>().is_ok());
    }

    #[test]
    fn an_mtu_is_what_ethernet_links_take() {
        assert_eq!(Mtu::new(67), None);
        assert!(Mtu::new(68).is_some());
        assert_eq!(Mtu::new(65_536), None);
    }
}
