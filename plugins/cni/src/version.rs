//! The protocol versions we speak. All of them, from every plugin: one plugin of a chain that lacks
//! the list's version breaks the whole network.

use std::fmt;
use std::str::FromStr;

use bulkhead_model::ParseError;

/// A CNI specification version; the order is the order of publication.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum CniVersion {
    /// 0.1.0: one address per family.
    V0_1_0,
    /// 0.2.0: the same, with VERSION.
    V0_2_0,
    /// 0.3.0: interfaces, any number of addresses.
    V0_3_0,
    /// 0.3.1: a corrected text of 0.3.0.
    V0_3_1,
    /// 0.4.0: CHECK, prevResult on DEL.
    V0_4_0,
    /// 1.0.0: no address family in results.
    V1_0_0,
    /// 1.1.0: GC, STATUS, link and route attributes in results.
    V1_1_0,
}

impl CniVersion {
    /// Every version, oldest first.
    pub const ALL: [Self; 7] = [
        Self::V0_1_0,
        Self::V0_2_0,
        Self::V0_3_0,
        Self::V0_3_1,
        Self::V0_4_0,
        Self::V1_0_0,
        Self::V1_1_0,
    ];

    /// What a configuration without `cniVersion` speaks.
    pub const DEFAULT: Self = Self::V0_1_0;

    /// The newest version.
    pub const NEWEST: Self = Self::V1_1_0;

    /// As it is written in `cniVersion`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0 => "0.2.0",
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }
}

impl fmt::Display for CniVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for CniVersion {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::ALL
            .into_iter()
            .find(|version| version.as_str() == text)
            .ok_or_else(|| ParseError {
                expected: "a CNI version we speak (0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0)",
                found: text.to_owned(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_publication_and_named_exactly() {
        assert!(CniVersion::ALL.is_sorted());
        for version in CniVersion::ALL {
            assert_eq!(version.to_string().parse(), Ok(version));
        }
        for unknown in ["", "1.0", "1.1", "1.2.0", "v1.0.0", " 1.0.0"] {
            assert!(unknown.parse::<CniVersion>().is_err(), "{unknown:?}");
        }
    }
}
