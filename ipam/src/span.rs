//! Addresses as numbers: a span from one address to another, both included. All arithmetic of the
//! crate is here, in 128 bits, so that no prefix is too large to count.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use bulkhead_model::{Family, Prefix};
use serde::{Deserialize, Serialize};

/// The addresses from `first` to `last`, both included, of one family.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "Ends", into = "Ends")]
pub struct Span {
    first: IpAddr,
    last: IpAddr,
}

impl Span {
    /// `None` if the families differ or `last` comes before `first`.
    #[must_use]
    pub fn new(first: IpAddr, last: IpAddr) -> Option<Self> {
        (Family::of(first) == Family::of(last) && first <= last).then_some(Self { first, last })
    }

    /// The first address.
    #[must_use]
    pub const fn first(self) -> IpAddr {
        self.first
    }

    /// The last address.
    #[must_use]
    pub const fn last(self) -> IpAddr {
        self.last
    }

    /// The family of both ends.
    #[must_use]
    pub const fn family(self) -> Family {
        Family::of(self.first)
    }

    /// Whether `address` lies inside; always false across families.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        Family::of(address) == self.family() && self.first <= address && address <= self.last
    }

    /// Whether the two share an address.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.family() == other.family() && self.first <= other.last && other.first <= self.last
    }

    /// The addresses both have.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        if self.family() != other.family() {
            return None;
        }
        Self::new(self.first.max(other.first), self.last.min(other.last))
    }

    /// Number of addresses; all of IPv6 saturates at `u128::MAX`.
    #[must_use]
    pub fn size(self) -> u128 {
        (to_bits(self.last) - to_bits(self.first)).saturating_add(1)
    }
}

impl From<Prefix> for Span {
    fn from(prefix: Prefix) -> Self {
        Self {
            first: prefix.address(),
            last: prefix.last(),
        }
    }
}

impl From<IpAddr> for Span {
    fn from(address: IpAddr) -> Self {
        Self {
            first: address,
            last: address,
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// A text that is neither an address, nor a prefix, nor a span.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{0:?} is not an address, a prefix or a span such as 10.0.0.9, 10.0.0.16/28 or 10.0.0.2-10.0.0.9"
)]
pub struct NotASpan(pub String);

impl FromStr for Span {
    type Err = NotASpan;

    /// An address, a prefix without host bits, or `first-last`.
    fn from_str(text: &str) -> Result<Self, NotASpan> {
        let error = || NotASpan(text.to_owned());
        if let Some((first, last)) = text.split_once('-') {
            let ends = (first.trim().parse(), last.trim().parse());
            let (Ok(first), Ok(last)) = ends else {
                return Err(error());
            };
            return Self::new(first, last).ok_or_else(error);
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(address.into());
        }
        text.parse::<Prefix>().map(Self::from).map_err(|_| error())
    }
}

/// The form in records: two addresses.
#[derive(Deserialize, Serialize)]
struct Ends {
    first: IpAddr,
    last: IpAddr,
}

impl From<Span> for Ends {
    fn from(span: Span) -> Self {
        Self {
            first: span.first,
            last: span.last,
        }
    }
}

impl TryFrom<Ends> for Span {
    type Error = String;

    fn try_from(ends: Ends) -> Result<Self, String> {
        Self::new(ends.first, ends.last)
            .ok_or_else(|| format!("{}-{} is no span of addresses", ends.first, ends.last))
    }
}

/// The spans in order, with those that overlap or touch made one.
#[must_use]
pub(crate) fn merged(spans: impl IntoIterator<Item = Span>) -> Vec<Span> {
    let mut sorted: Vec<Span> = spans.into_iter().collect();
    sorted.sort_unstable();
    let mut out: Vec<Span> = Vec::with_capacity(sorted.len());
    for span in sorted {
        match out.last_mut() {
            Some(previous)
                if previous.overlaps(span) || next(previous.last) == Some(span.first) =>
            {
                previous.last = previous.last.max(span.last);
            }
            _ => out.push(span),
        }
    }
    out
}

/// The address after `address`; `None` after the last of its family.
pub(crate) fn next(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => v4
            .to_bits()
            .checked_add(1)
            .map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(v6) => v6
            .to_bits()
            .checked_add(1)
            .map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}

/// The address as a number.
pub(crate) fn to_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The number as an address of `family`; `None` if it is too wide for IPv4.
pub(crate) fn from_bits(family: Family, bits: u128) -> Option<IpAddr> {
    match family {
        Family::V4 => u32::try_from(bits)
            .ok()
            .map(|bits| Ipv4Addr::from_bits(bits).into()),
        Family::V6 => Some(Ipv6Addr::from_bits(bits).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str) -> Span {
        text.parse().unwrap()
    }

    #[test]
    fn a_span_is_an_address_a_prefix_or_two_ends() {
        assert_eq!(span("10.0.0.9").to_string(), "10.0.0.9");
        assert_eq!(span("10.0.0.16/30").to_string(), "10.0.0.16-10.0.0.19");
        assert_eq!(span("fd00::1-fd00::ff").size(), 255);
        for bad in [
            "",
            "10.0.0.9-10.0.0.1",
            "10.0.0.1-fd00::1",
            "10.0.0.1/24",
            "x",
        ] {
            assert!(bad.parse::<Span>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_largest_prefix_is_counted() {
        assert_eq!(span("fd00::/8").size(), 1 << 120);
        assert_eq!(span("::/0").size(), u128::MAX);
    }

    #[test]
    fn touching_spans_are_one() {
        let all = merged(["10.0.0.4/30", "10.0.0.0/30", "10.0.0.9", "fd00::1"].map(span));
        let texts: Vec<_> = all.iter().map(Span::to_string).collect();
        assert_eq!(texts, ["10.0.0.0-10.0.0.7", "10.0.0.9", "fd00::1"]);
    }
}
