//! What identifies an overlay.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Family, ParseError};

/// The UDP port of VXLAN (RFC 7348 section 8).
pub const VXLAN_PORT: u16 = 4789;

const EXPECTED: &str = "a VXLAN network identifier (1 to 16777215)";

/// A VXLAN network identifier (RFC 7348 section 5): 24 bits. 0 is left out, since a device that
/// collects metadata has it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Vni(u32);

impl Vni {
    /// The highest.
    pub const MAX: u32 = (1 << 24) - 1;

    /// `None` outside 1..=16777215.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        if number >= 1 && number <= Self::MAX {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Vni {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let number = text.parse().ok().and_then(Self::new);
        number.ok_or_else(|| ParseError::new(EXPECTED, text))
    }
}

impl TryFrom<u32> for Vni {
    type Error = ParseError;

    fn try_from(number: u32) -> Result<Self, ParseError> {
        Self::new(number).ok_or_else(|| ParseError::new(EXPECTED, &number.to_string()))
    }
}

impl From<Vni> for u32 {
    fn from(vni: Vni) -> Self {
        vni.0
    }
}

/// How packets between the nodes of an overlay are protected.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Encryption {
    /// Not at all: as VXLAN leaves them.
    #[default]
    None,
    /// By the kernel: ESP in transport mode (RFC 4303) with AES-256-GCM (RFC 4106).
    Ipsec,
}

/// UDP (8), VXLAN (8) and the inner Ethernet header (14) (RFC 7348 section 5); an MTU counts no outer one.
const VXLAN_HEADERS: u32 = 30;
/// SPI and sequence number (RFC 4303 section 2), and the part of the nonce that is sent (RFC 4106 section
/// 3.1).
const ESP_HEADERS: u32 = 16;
/// Length of the padding and next header, which end at a multiple of four bytes (RFC 4303 section 2.4).
const ESP_TRAILER: u32 = 2;
/// What proves the packet: the longest that RFC 4106 section 3.2 has.
const ESP_PROOF: u32 = 16;

impl Encryption {
    /// Whether there is none.
    #[must_use]
    #[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
    pub const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// What an underlay of that family and MTU leaves for a packet inside; `None` for nothing.
    #[must_use]
    pub const fn left(self, family: Family, mtu: u32) -> Option<u32> {
        let around = match self {
            Self::None => ip_header(family),
            Self::Ipsec => ip_header(family) + ESP_HEADERS + ESP_PROOF,
        };
        let Some(payload) = mtu.checked_sub(around) else {
            return None;
        };
        let payload = match self {
            Self::None => Some(payload),
            Self::Ipsec => (payload / 4 * 4).checked_sub(ESP_TRAILER),
        };
        match payload {
            Some(payload) => payload.checked_sub(VXLAN_HEADERS),
            None => None,
        }
    }

    /// The least MTU of an underlay of that family that carries packets of `inner` bytes.
    #[must_use]
    pub const fn needed(self, family: Family, inner: u32) -> u32 {
        let payload = inner + VXLAN_HEADERS;
        match self {
            Self::None => ip_header(family) + payload,
            Self::Ipsec => {
                let sealed = (payload + ESP_TRAILER).next_multiple_of(4);
                ip_header(family) + ESP_HEADERS + sealed + ESP_PROOF
            }
        }
    }
}

/// Without options (RFC 791 section 3.1, RFC 8200 section 3).
const fn ip_header(family: Family) -> u32 {
    match family {
        Family::V4 => 20,
        Family::V6 => 40,
    }
}

impl fmt::Display for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Ipsec => "ipsec",
        })
    }
}

impl FromStr for Encryption {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "none" => Ok(Self::None),
            "ipsec" => Ok(Self::Ipsec),
            _ => Err(ParseError::new("\"none\" or \"ipsec\"", text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_the_most_that_fits() {
        for (encryption, family, mtu, left) in [
            (Encryption::None, Family::V4, 1500, 1450),
            (Encryption::None, Family::V6, 1500, 1430),
            (Encryption::Ipsec, Family::V4, 1500, 1416),
            (Encryption::Ipsec, Family::V6, 1500, 1396),
            (Encryption::Ipsec, Family::V4, 9000, 8916),
        ] {
            assert_eq!(encryption.left(family, mtu), Some(left));
        }
        for encryption in [Encryption::None, Encryption::Ipsec] {
            for family in [Family::V4, Family::V6] {
                for mtu in 200..1600 {
                    let left = encryption.left(family, mtu).unwrap();
                    assert!(encryption.needed(family, left) <= mtu);
                    assert!(encryption.needed(family, left + 1) > mtu);
                }
                assert_eq!(encryption.left(family, 49), None);
            }
        }
    }

    #[test]
    fn an_identifier_has_24_bits() {
        assert_eq!(Vni::new(0), None);
        assert_eq!(Vni::new(1 << 24), None);
        assert_eq!("16777215".parse::<Vni>().unwrap().get(), Vni::MAX);
        assert!("-1".parse::<Vni>().is_err());
    }
}
