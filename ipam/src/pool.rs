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
        self.excludes(address.into())
    }

    /// The excluded span that holds an address of `span`.
    #[must_use]
    pub fn excludes(&self, span: Span) -> Option<Span> {
        self.exclude
            .iter()
            .copied()
            .find(|excluded| excluded.overlaps(span))
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
            let whole = |span: Span| {
                let (first, last) = (range.given(span.first()), range.given(span.last()));
                Span::new(first.first(), last.last())
            };
            let all = whole(range.span).unwrap_or(range.span);
            let kept = kept.filter_map(|span| span.intersection(all).and_then(whole));
            let addresses = |sum: u128, span: &Span| sum.saturating_add(span.size());
            let kept = span::merged(kept).iter().fold(0_u128, addresses);
            all.size().saturating_sub(kept) / range.given(range.span.first()).size()
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
    /// Length of the prefix that an attachment gets whole (RFC 8273), known by its first host address;
    /// `None` where it gets one address of the subnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_len: Option<u8>,
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
            prefix_len: None,
        }
    }

    /// The same range, a prefix of `len` bits for each attachment; no address of it is a gateway's.
    /// `None` if no whole prefix lies in its span, or only one: then there is none to choose.
    #[must_use]
    pub fn of_prefixes(&self, len: u8) -> Option<Self> {
        let mut range = Self {
            gateway: None,
            prefix_len: Some(len),
            ..self.clone()
        };
        // The span leaves out the first address of the subnet: the first prefix is whole all the same.
        let all = usable(self.subnet);
        let start = if self.span.first() == all.first() {
            self.subnet.address()
        } else {
            self.span.first()
        };
        let one = u128::MAX >> len.min(127);
        let end = span::to_bits(self.span.last()).checked_add(1);
        let first = span::to_bits(start).checked_add(one)? & !one;
        let last = match end {
            Some(end) => (end & !one).checked_sub(one + 1)?,
            None => !one,
        };
        let named = |prefix: u128| span::from_bits(self.subnet.family(), prefix + 1);
        range.span = Span::new(named(first)?, named(last)?)?;
        (first < last).then_some(range)
    }

    /// What an attachment gets with `address`: that alone, or the prefix it lies in.
    #[must_use]
    pub fn given(&self, address: IpAddr) -> Span {
        let prefix = self
            .prefix_len
            .and_then(|len| InterfaceAddress::new(address, len));
        prefix.map_or(address.into(), |prefix| prefix.prefix().into())
    }

    /// The address by which what [`Range::given`] tells is known.
    #[must_use]
    pub fn named(&self, address: IpAddr) -> IpAddr {
        match self.prefix_len {
            None => address,
            Some(_) => span::next(self.given(address).first()).unwrap_or(address),
        }
    }

    /// The first such address that is not before `address`; `None` past the last of the family.
    pub(crate) fn at_or_after(&self, address: IpAddr) -> Option<IpAddr> {
        let named = self.named(address);
        if address <= named {
            return Some(named);
        }
        span::next(self.given(address).last()).map(|next| self.named(next))
    }

    /// `address` as it stands on the interface, with the length of the subnet or of the prefix that is
    /// given; `None` outside the subnet.
    #[must_use]
    pub fn interface_address(&self, address: IpAddr) -> Option<InterfaceAddress> {
        self.subnet
            .contains(address)
            .then(|| InterfaceAddress::new(address, self.prefix_len.unwrap_or(self.subnet.len())))
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
    fn a_range_of_prefixes_holds_whole_ones() {
        let of = |text: &str| {
            let range = Range::of(text.parse().unwrap());
            range.of_prefixes(64).map(|range| range.span.to_string())
        };
        let both = "2001:db8::1-2001:db8:0:1::1";
        assert_eq!(of("2001:db8::/63").as_deref(), Some(both));
        assert_eq!(
            of("2001:db8::/48").as_deref(),
            Some("2001:db8::1-2001:db8:0:ffff::1")
        );
        for small in ["2001:db8::/64", "2001:db8::/96", "2001:db8::1/128", "::/64"] {
            assert_eq!(of(small), None, "{small}");
        }
        // What begins or ends within a prefix leaves that one out.
        let range = Range {
            span: "2001:db8:0:1::9-2001:db8:0:4::9".parse().unwrap(),
            ..Range::of("2001:db8::/48".parse().unwrap())
        };
        let range = range.of_prefixes(64).unwrap();
        assert_eq!(range.span.to_string(), "2001:db8:0:2::1-2001:db8:0:3::1");
        let address = "2001:db8:0:2:7::7".parse().unwrap();
        assert_eq!(range.named(address).to_string(), "2001:db8:0:2::1");
        let after = range.at_or_after(address).unwrap();
        assert_eq!(after.to_string(), "2001:db8:0:3::1");
        let given = range.interface_address(after).unwrap();
        assert_eq!(given.prefix().to_string(), "2001:db8:0:3::/64");
    }

    #[test]
    fn prefixes_are_counted_without_those_that_are_partly_excluded() {
        let mut pool = pool(&[&["2001:db8::/60"]]);
        pool.sets[0].ranges[0] = pool.sets[0].ranges[0].of_prefixes(64).unwrap();
        assert_eq!(pool.size(&pool.sets[0]), 16);
        pool.exclude = ["2001:db8:0:3::5", "2001:db8:0:4::-2001:db8:0:5::"]
            .map(|text| text.parse().unwrap())
            .into();
        assert_eq!(pool.size(&pool.sets[0]), 13);
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
