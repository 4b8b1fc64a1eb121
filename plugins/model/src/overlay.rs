//! What identifies an overlay.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ParseError;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_has_24_bits() {
        assert_eq!(Vni::new(0), None);
        assert_eq!(Vni::new(1 << 24), None);
        assert_eq!("16777215".parse::<Vni>().unwrap().get(), Vni::MAX);
        assert!("-1".parse::<Vni>().is_err());
    }
}
