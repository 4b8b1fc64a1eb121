//! Parts of what an endpoint has that policies tell from the address it is asked about by: of a prefix that is its own
//! as a whole, and of several addresses.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bulkhead_model::{Family, Prefix};

use crate::classes::blocks;
use crate::matrix::End;
use crate::{Block, EndpointId, World};

/// Addresses of one endpoint and one family that are told alike, and otherwise than the one it is asked about by.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Part(Vec<(IpAddr, IpAddr)>);

impl Part {
    /// One that stands for all.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.0.first().map(|(first, _)| *first)
    }

    /// Whether an address is one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let mut spans = self.0.iter();
        spans.any(|(first, last)| {
            (*first..=*last).contains(&address) && Family::of(*first) == Family::of(address)
        })
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, (first, last)) in self.0.iter().enumerate() {
            f.write_str(if nth == 0 { "" } else { " and " })?;
            match prefix_between(*first, *last) {
                _ if first == last => first.fmt(f)?,
                Some(prefix) => prefix.fmt(f)?,
                None => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

/// What cuts what endpoints have: the blocks of some worlds.
pub(crate) struct Cutter<'w> {
    worlds: Vec<&'w World>,
    blocks: BTreeSet<&'w Block>,
    /// Where a block or an exception of one begins, and behind where it ends.
    cuts: BTreeSet<IpAddr>,
}

impl<'w> Cutter<'w> {
    pub(crate) fn new(worlds: &[&'w World]) -> Self {
        let blocks = blocks(worlds);
        let prefixes = blocks
            .iter()
            .flat_map(|block| block.except.iter().chain([&block.prefix]));
        let cuts = prefixes.flat_map(|prefix| [Some(prefix.address()), behind(prefix.last())]);
        Self {
            worlds: worlds.to_vec(),
            cuts: cuts.flatten().collect(),
            blocks,
        }
    }

    /// Which blocks have the address: all that is asked of it by itself.
    fn within(&self, address: IpAddr) -> Vec<bool> {
        let blocks = self.blocks.iter();
        blocks.map(|block| block.contains(address)).collect()
    }

    /// The same of the addresses that an endpoint is asked about by.
    pub(crate) fn of_end(&self, world: &World, end: &End) -> Vec<bool> {
        let addresses = [Family::V4, Family::V6].map(|family| end.address(world, family));
        let addresses = addresses.into_iter().flatten();
        addresses.flat_map(|address| self.within(address)).collect()
    }

    /// The parts of what an endpoint has in all of the worlds.
    pub(crate) fn parts(&self, id: &EndpointId) -> Vec<Part> {
        if self.blocks.is_empty() {
            return Vec::new();
        }
        let end = End::Endpoint(id.clone());
        let asked = |family| {
            let worlds = self.worlds.iter();
            let addresses = worlds.filter_map(|world| end.address(world, family));
            let asked: BTreeSet<Vec<bool>> =
                addresses.map(|address| self.within(address)).collect();
            asked
        };
        let asked = [asked(Family::V4), asked(Family::V6)];
        let mut parts: Vec<(Vec<bool>, Part)> = Vec::new();
        for (first, last) in self.spans(id) {
            let within = self.within(first);
            let asked = &asked[usize::from(first.is_ipv6())];
            if asked.iter().all(|known| *known == within) {
                continue;
            }
            let is_same = |(known, part): &&mut (Vec<bool>, Part)| {
                let family = part.address().map(Family::of);
                *known == within && family == Some(Family::of(first))
            };
            match parts.iter_mut().find(is_same) {
                Some((_, part)) => part.0.push((first, last)),
                None => parts.push((within, Part(vec![(first, last)]))),
            }
        }
        parts.into_iter().map(|(_, part)| part).collect()
    }

    /// Everything the endpoint has in all worlds, cut where blocks are.
    fn spans(&self, id: &EndpointId) -> Vec<(IpAddr, IpAddr)> {
        let known = self.worlds.iter().map(|world| world.endpoints.get(id));
        let Some(known) = known.collect::<Option<Vec<_>>>() else {
            return Vec::new();
        };
        let Some((one, others)) = known.split_first() else {
            return Vec::new();
        };
        let prefixes = one.prefixes.iter();
        let prefixes =
            prefixes.filter(|own| others.iter().all(|other| other.prefixes.contains(own)));
        let mut spans = Vec::new();
        for own in prefixes {
            let mut first = own.first();
            let inside = self.cuts.range(own.first()..=own.last());
            for cut in inside.filter(|cut| **cut != own.first()) {
                spans.extend(before(*cut).map(|last| (first, last)));
                first = *cut;
            }
            spans.push((first, own.last()));
        }
        // What is in a prefix of its own is part of that.
        let addresses = one.addresses.iter().copied();
        let alone: Vec<IpAddr> = addresses
            .filter(|address| others.iter().all(|other| other.holds(*address)))
            .filter(|address| !one.prefixes.iter().any(|own| own.contains(*address)))
            .collect();
        spans.extend(alone.into_iter().map(|address| (address, address)));
        spans
    }
}

fn behind(address: IpAddr) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits().checked_add(1)?).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits().checked_add(1)?).into(),
    })
}

fn before(address: IpAddr) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits().checked_sub(1)?).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits().checked_sub(1)?).into(),
    })
}

/// The prefix that has exactly these addresses.
pub(crate) fn prefix_between(first: IpAddr, last: IpAddr) -> Option<Prefix> {
    let mut lengths = 0..=Family::of(first).bits();
    lengths.find_map(|len| Prefix::new(first, len).filter(|prefix| prefix.last() == last))
}
