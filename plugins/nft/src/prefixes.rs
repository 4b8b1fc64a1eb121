//! Prefixes as an interval set can hold them: none inside another.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bulkhead_model::{Family, Prefix};

/// Prefixes of one family with none inside another, which is what an interval set can hold.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct PrefixSet {
    family: Family,
    prefixes: BTreeSet<Prefix>,
}

impl PrefixSet {
    /// The prefixes of `family` among `prefixes`, without those that lie inside another.
    pub fn new(family: Family, prefixes: impl IntoIterator<Item = Prefix>) -> Self {
        let all: BTreeSet<Prefix> = prefixes
            .into_iter()
            .filter(|prefix| prefix.family() == family)
            .collect();
        let covered = |one: &Prefix| {
            all.iter()
                .any(|other| other != one && other.len() <= one.len() && other.overlaps(*one))
        };
        let prefixes = all.iter().filter(|one| !covered(one)).copied().collect();
        Self { family, prefixes }
    }

    /// The family of all of them.
    #[must_use]
    pub const fn family(&self) -> Family {
        self.family
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = Prefix> {
        self.prefixes.iter().copied()
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.prefixes.is_empty()
    }

    /// The family's default prefix.
    pub(crate) fn everything(&self) -> Prefix {
        let unspecified = match self.family {
            Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Prefix::new(unspecified, 0).expect("the unspecified address has no host bits")
    }

    /// Whether the address with these bytes is inside one of the prefixes.
    pub(crate) fn holds(&self, address: &[u8]) -> bool {
        self.prefixes
            .iter()
            .any(|prefix| prefix_holds(*prefix, address))
    }
}

/// Whether the address with these bytes lies in `prefix`; false for a wrong length.
pub(crate) fn prefix_holds(prefix: Prefix, bytes: &[u8]) -> bool {
    address(bytes).is_some_and(|address| prefix.contains(address))
}

/// The address with these 4 or 16 bytes.
pub(crate) fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// The address after the prefix's last, if there is one.
pub(crate) fn after(prefix: Prefix) -> Option<IpAddr> {
    following(prefix.last())
}

/// The address after `last`, if there is one.
pub(crate) fn following(last: IpAddr) -> Option<IpAddr> {
    match last {
        IpAddr::V4(last) => Some(Ipv4Addr::from_bits(last.to_bits().checked_add(1)?).into()),
        IpAddr::V6(last) => Some(Ipv6Addr::from_bits(last.to_bits().checked_add(1)?).into()),
    }
}

/// The address before `first`, if there is one.
pub(crate) fn preceding(first: IpAddr) -> Option<IpAddr> {
    match first {
        IpAddr::V4(first) => Some(Ipv4Addr::from_bits(first.to_bits().checked_sub(1)?).into()),
        IpAddr::V6(first) => Some(Ipv6Addr::from_bits(first.to_bits().checked_sub(1)?).into()),
    }
}

/// The last address of a family.
pub(crate) fn last_of(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::BROADCAST.into(),
        Family::V6 => Ipv6Addr::from_bits(u128::MAX).into(),
    }
}

impl fmt::Display for PrefixSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::text::joined(f, &self.prefixes, ", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_inside_another_and_one_of_the_other_family_are_left_out() {
        let all = ["10.0.0.0/8", "10.1.0.0/16", "fd00::/8", "10.0.0.0/8"];
        let set = PrefixSet::new(Family::V4, all.map(|p| p.parse().unwrap()));
        assert_eq!(set.to_string(), "10.0.0.0/8");
        assert!(set.holds(&[10, 200, 0, 1]) && !set.holds(&[11, 0, 0, 1]) && !set.holds(&[10]));
    }
}
