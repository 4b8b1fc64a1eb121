//! Pools: which addresses a network may give out. Made from configuration, recorded in the store.

use std::net::IpAddr;

use bulkhead_model::{Family, InterfaceAddress, Prefix};
use serde::{Deserialize, Serialize};

use crate::span::{self, Span};

/// The addresses of one network: each attachment gets one address of every set.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Pool {
    /// At least one; their subnets do not overlap.
    pub sets: Vec<RangeSet>,
    /// Never given out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<Span>,
    /// How long a freed address is not given out again, in seconds.
    #[serde(default)]
    pub cooldown_secs: u64,
    /// Whether the subnets were chosen by us, not named by the configuration.
    #[serde(default, skip_serializing_if = "is_false")]
    pub automatic: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_false(value: &bool) -> bool {
    !value
}

impl Pool {
    /// Every range of every set, with the set's number.
    pub fn ranges(&self) -> impl Iterator<Item = (u32, &Range)> {
        (0..)
            .zip(&self.sets)
            .flat_map(|(nth, set)| set.ranges.iter().map(move |range| (nth, range)))
    }

    /// This pool and what `more` has in addition; where subnets overlap, those of `more`.
    #[must_use]
    pub fn with(&self, more: &Self) -> Self {
        let mut all = self.clone();
        let replaced = |range: &Range| {
            let mut others = more.ranges().map(|(_, other)| other);
            others.any(|other| other != range && other.subnet.overlaps(range.subnet))
        };
        for set in &mut all.sets {
            set.ranges.retain(|range| !replaced(range));
        }
        all.sets.retain(|set| !set.ranges.is_empty());
        for (_, range) in more.ranges() {
            let family = range.subnet.family();
            match all.sets.iter_mut().find(|set| set.family() == family) {
                Some(set) if set.ranges.contains(range) => {}
                Some(set) => set.ranges.push(range.clone()),
                None => all.sets.push(RangeSet {
                    ranges: vec![range.clone()],
                }),
            }
        }
        all
    }

    /// The range that holds `address`, with its set's number.
    #[must_use]
    pub fn range_of(&self, address: IpAddr) -> Option<(u32, &Range)> {
        self.ranges()
            .find(|(_, range)| range.span.contains(address))
    }

    /// The excluded span that holds `address`.
    #[must_use]
    pub fn excluded(&self, address: IpAddr) -> Option<Span> {
        self.exclude
            .iter()
            .copied()
            .find(|span| span.contains(address))
    }

    /// The subnet whose gateway `address` is: never given out, in whichever range it lies.
    #[must_use]
    pub fn gateway_of(&self, address: IpAddr) -> Option<Prefix> {
        let mut ranges = self.ranges();
        ranges
            .find(|(_, range)| range.gateway == Some(address))
            .map(|(_, range)| range.subnet)
    }

    /// Number of addresses of `set` that can be given out; saturates.
    #[must_use]
    pub fn size(&self, set: &RangeSet) -> u128 {
        let gateways = || {
            self.ranges()
                .filter_map(|(_, range)| range.gateway.map(Span::from))
        };
        let out = |range: &Range| {
            let kept = self.exclude.iter().copied().chain(gateways());
            let kept = span::merged(kept.filter_map(|span| span.intersection(range.span)));
            let kept = kept
                .iter()
                .fold(0_u128, |sum, span| sum.saturating_add(span.size()));
            range.span.size().saturating_sub(kept)
        };
        set.ranges.iter().map(out).fold(0, u128::saturating_add)
    }
}

/// Ranges of one family, used up in order; an attachment gets one address of the set.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RangeSet {
    /// At least one.
    pub ranges: Vec<Range>,
}

impl RangeSet {
    /// The family of all its ranges.
    #[must_use]
    pub fn family(&self) -> Family {
        self.ranges
            .first()
            .map_or(Family::V4, |range| range.subnet.family())
    }
}

/// A span of one subnet.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Range {
    /// The subnet; its length becomes the address's.
    pub subnet: Prefix,
    /// What may be given out, inside the subnet; without the network and broadcast address (IPv4)
    /// and the subnet-router anycast address (IPv6, RFC 4291 §2.6.1), except in subnets of one or
    /// two addresses (RFC 3021, RFC 6164).
    pub span: Span,
    /// The gateway, never given out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
}

impl Range {
    /// All that may be given out of `subnet`, with its first host address as the gateway; a subnet
    /// of one or two addresses has none to spare for a gateway.
    #[must_use]
    pub fn of(subnet: Prefix) -> Self {
        let span = usable(subnet);
        let gateway = (!is_tiny(subnet)).then(|| span.first());
        Self {
            subnet,
            span,
            gateway,
        }
    }

    /// `address` as it stands on the interface; `None` outside the subnet.
    #[must_use]
    pub fn interface_address(&self, address: IpAddr) -> Option<InterfaceAddress> {
        self.subnet
            .contains(address)
            .then(|| InterfaceAddress::new(address, self.subnet.len()))
            .flatten()
    }
}

/// Whether a subnet has only one or two addresses.
pub(crate) fn is_tiny(subnet: Prefix) -> bool {
    subnet.family().bits() - subnet.len() < 2
}

/// The addresses of a subnet that an interface may have.
pub(crate) fn usable(subnet: Prefix) -> Span {
    let all = Span::from(subnet);
    if is_tiny(subnet) {
        return all;
    }
    let last = match subnet.family() {
        Family::V4 => span::to_bits(all.last()) - 1,
        Family::V6 => span::to_bits(all.last()),
    };
    span::next(all.first())
        .zip(span::from_bits(subnet.family(), last))
        .and_then(|(first, last)| Span::new(first, last))
        .expect("a subnet of four addresses or more has two between its ends")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(subnets: &[&[&str]]) -> Pool {
        let range = |text: &&str| Range::of(text.parse().unwrap());
        let set = |subnets: &&[&str]| RangeSet {
            ranges: subnets.iter().map(range).collect(),
        };
        Pool {
            sets: subnets.iter().map(set).collect(),
            ..Pool::default()
        }
    }

    #[test]
    fn a_pool_grows_by_what_it_has_not_yet() {
        let one = pool(&[&["10.1.0.0/24"], &["fd01::/64"]]);
        let both = pool(&[&["10.1.0.0/24", "10.2.0.0/24"], &["fd01::/64"]]);
        assert_eq!(one.with(&one), one);
        assert_eq!(one.with(&pool(&[&["10.2.0.0/24"]])), both);
        assert_eq!(Pool::default().with(&both), both);
    }

    #[test]
    fn a_subnet_that_was_changed_takes_the_place_of_what_it_overlaps() {
        let wide = pool(&[&["10.1.0.0/16"]]);
        assert_eq!(
            pool(&[&["10.1.2.0/24", "10.2.0.0/24"]]).with(&wide),
            pool(&[&["10.2.0.0/24", "10.1.0.0/16"]])
        );
        assert_eq!(pool(&[&["10.1.2.0/24"]]).with(&wide), wide);
    }
}
