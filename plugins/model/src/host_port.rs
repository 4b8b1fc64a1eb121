//! Host ports: what of the node is sent on to a container (CNI conventions, `portMappings`).

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Family;
use crate::address::{ParseError, serde_as_text};

/// A transport protocol that has ports.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Protocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
    /// RFC 9260.
    Sctp,
}

impl Protocol {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// IANA's number (`IPPROTO_*`, `linux/in.h`).
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

impl FromStr for Protocol {
    type Err = ParseError;

    /// Without regard to case, as runtimes write it both ways.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::ALL
            .into_iter()
            .find(|protocol| protocol.to_string().eq_ignore_ascii_case(text))
            .ok_or_else(|| ParseError::new("a protocol (tcp, udp or sctp)", text))
    }
}

serde_as_text!(Protocol);

/// Whether a port may be called so: an IANA service name (RFC 6335 §5.1), in lower case as Kubernetes'
/// `IsValidPortName` wants it.
#[must_use]
pub fn is_port_name(text: &str) -> bool {
    text.len() <= 15
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && text.bytes().any(|b| b.is_ascii_lowercase())
        && !text.contains("--")
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Which of the node's addresses a host port is open on.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum HostAddress {
    /// Every address of both families.
    #[default]
    Any,
    /// Every address of one family: `0.0.0.0` or `::`.
    Every(Family),
    /// One address.
    One(IpAddr),
}

impl HostAddress {
    /// What `address` means as a host port's address: an unspecified one stands for its family, an
    /// IPv4-mapped one (RFC 4291 §2.5.5.2) for the IPv4 address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            address if address.is_unspecified() => Self::Every(Family::of(address)),
            address => Self::One(address),
        }
    }

    /// Whether `address` is among them.
    #[must_use]
    pub fn holds(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Every(family) => Family::of(address) == family,
            Self::One(one) => one == address,
        }
    }

    /// Whether they have addresses of `family`.
    #[must_use]
    pub fn has_family(self, family: Family) -> bool {
        match self {
            Self::Any => true,
            Self::Every(every) => every == family,
            Self::One(one) => Family::of(one) == family,
        }
    }

    /// Whether some address is among both, so that one port cannot be had on each.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        match (self, other) {
            (Self::One(one), other) | (other, Self::One(one)) => other.holds(one),
            (Self::Every(one), other) => other.has_family(one),
            (Self::Any, _) => true,
        }
    }
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.pad("*"),
            Self::Every(Family::V4) => f.pad("0.0.0.0"),
            Self::Every(Family::V6) => f.pad("[::]"),
            Self::One(IpAddr::V6(v6)) => f.pad(&format!("[{v6}]")),
            Self::One(v4) => f.pad(&v4.to_string()),
        }
    }
}

impl FromStr for HostAddress {
    type Err = ParseError;

    /// An address, or nothing (or `*`) for every address. Brackets around IPv6 are read too.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.is_empty() || text == "*" {
            return Ok(Self::Any);
        }
        let inner = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
            .unwrap_or(text);
        let address = inner.parse::<IpAddr>();
        address.map(Self::of).map_err(|_| {
            ParseError::new("an address of the host, or nothing for all of them", text)
        })
    }
}

serde_as_text!(HostAddress);

/// A port of the node. Displays as `tcp 10.0.0.1:8080`, `udp *:53`, `tcp [::]:80`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct HostPort {
    /// The protocol.
    pub protocol: Protocol,
    /// The addresses it is open on.
    #[serde(rename = "hostIP", default)]
    pub address: HostAddress,
    /// Its number.
    #[serde(rename = "hostPort")]
    pub number: NonZeroU16,
}

impl HostPort {
    /// Whether a packet could be meant for both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.protocol == other.protocol
            && self.number == other.number
            && self.address.overlaps(other.address)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}:{}", self.protocol, self.address, self.number)
    }
}

/// A port of the node that is sent on to a port of a container. The JSON is the capability's:
/// `{"protocol": "tcp", "hostIP": "*", "hostPort": 8080, "containerPort": 80}`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct PortMapping {
    /// What of the node.
    #[serde(flatten)]
    pub host: HostPort,
    /// The container's port, of the same protocol.
    #[serde(rename = "containerPort")]
    pub container_port: NonZeroU16,
}

impl fmt::Display for PortMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.host, self.container_port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> HostAddress {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_overlap_as_listening_sockets_do() {
        let overlaps = |one, two| address(one).overlaps(address(two));
        assert!(overlaps("", "10.0.0.1"));
        assert!(overlaps("0.0.0.0", "10.0.0.1"));
        assert!(overlaps("::", ""));
        assert!(overlaps("fd00::1", "fd00::1"));
        assert!(!overlaps("0.0.0.0", "::"));
        assert!(!overlaps("::", "10.0.0.1"));
        assert!(!overlaps("10.0.0.1", "10.0.0.2"));
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address() {
        assert_eq!(address("::ffff:10.0.0.1"), address("10.0.0.1"));
        assert_eq!(address("[fd00::1]").to_string(), "[fd00::1]");
    }

    #[test]
    fn a_mapping_is_recorded_in_the_capability_s_words() {
        let text = r#"{"protocol":"udp","hostIP":"0.0.0.0","hostPort":53,"containerPort":5353}"#;
        let mapping: PortMapping = serde_json::from_str(text).unwrap();
        assert_eq!(mapping.to_string(), "udp 0.0.0.0:53 to 5353");
        assert_eq!(serde_json::to_string(&mapping).unwrap(), text);
        let short: PortMapping =
            serde_json::from_str(r#"{"protocol":"TCP","hostPort":80,"containerPort":80}"#).unwrap();
        assert_eq!(short.host.address, HostAddress::Any);
    }
}
