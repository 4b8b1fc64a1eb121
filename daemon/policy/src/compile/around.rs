//! Ranges of addresses, cut where a block or a pool begins or ends: what an address is before anything is known
//! of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bulkhead_model::{Family, Prefix};

use super::class::Target;
use super::targets::{Marks, Targets};
use crate::{Space, World};

/// A range of addresses that all blocks and pools hold or do not hold.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct Around {
    /// The blocks that hold it.
    pub(super) blocks: Marks,
    /// What is nobody's there, if that is spoken of.
    pub(super) world: Option<usize>,
}

impl Around {
    /// What an address is of which nothing is known.
    pub(super) fn marks(&self) -> Marks {
        let mut marks = self.blocks.clone();
        if let Some(world) = self.world {
            marks.set(world);
        }
        marks
    }
}

/// All addresses there are, by the first of each range.
pub(super) type Ranges = BTreeMap<IpAddr, Around>;

pub(super) fn ranges(world: &World, targets: &Targets) -> Ranges {
    let blocks = targets.iter().filter_map(|(number, target)| match target {
        Target::Block(block) => Some((number, block)),
        _ => None,
    });
    let blocks: Vec<_> = blocks.collect();
    let mut all = targets.iter();
    let world_number = all.find(|(_, target)| **target == Target::World);
    let world_number = world_number.map(|(number, _)| number);
    let networks = world.networks.values().filter(|_| world_number.is_some());
    let networks = networks.filter(|network| network.space == Space::Node);
    let pools: BTreeSet<Prefix> = networks
        .flat_map(|network| &network.pools)
        .copied()
        .collect();
    let mut ranges: Ranges = BTreeMap::new();
    let excepted = blocks.iter().flat_map(|(_, block)| &block.except);
    let prefixes = blocks.iter().map(|(_, block)| &block.prefix);
    let starts = prefixes
        .chain(excepted)
        .chain(&pools)
        .flat_map(|prefix| [Some(prefix.address()), after(prefix.last())]);
    for start in starts.flatten().chain(LOWEST) {
        let around = Around {
            blocks: Marks::default(),
            world: world_number,
        };
        ranges.insert(start, around);
    }
    for (number, block) in &blocks {
        let inside = ranges.range_mut(block.prefix.address()..=block.prefix.last());
        for (_, around) in inside.filter(|(first, _)| block.contains(**first)) {
            around.blocks.set(*number);
        }
    }
    for pool in &pools {
        let inside = ranges.range_mut(pool.address()..=pool.last());
        inside.for_each(|(_, around)| around.world = None);
    }
    ranges
}

/// What an address lies in.
pub(super) fn around(ranges: &Ranges, address: IpAddr) -> Option<(&IpAddr, &Around)> {
    ranges.range(..=address).next_back()
}

/// First and last address of each range in which something is otherwise.
pub(super) fn differences(one: &Ranges, other: &Ranges) -> Vec<(IpAddr, IpAddr)> {
    let starts: BTreeSet<IpAddr> = one.keys().chain(other.keys()).copied().collect();
    let is_other = |start: &IpAddr| {
        let at = |ranges| around(ranges, *start).map(|(_, around)| around);
        at(one) != at(other)
    };
    let ends = starts.iter().skip(1).map(|next| last_before(*next));
    let ends: Vec<IpAddr> = ends.chain([HIGHEST[1]]).collect();
    let ranges = starts.into_iter().zip(ends);
    ranges.filter(|(start, _)| is_other(start)).collect()
}

/// What precedes the first address of a range.
pub(super) fn last_before(first: IpAddr) -> IpAddr {
    before(first).unwrap_or(HIGHEST[0])
}

/// The first address of each family.
const LOWEST: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    IpAddr::V6(Ipv6Addr::UNSPECIFIED),
];

/// The last address of each family.
pub(super) const HIGHEST: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::BROADCAST),
    IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)),
];

/// Whether one range ends where the other begins, in the same family.
pub(super) fn meet(last: IpAddr, first: IpAddr) -> bool {
    Family::of(last) == Family::of(first) && after(last) == Some(first)
}

fn after(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => Some(Ipv4Addr::from_bits(v4.to_bits().checked_add(1)?).into()),
        IpAddr::V6(v6) => Some(Ipv6Addr::from_bits(v6.to_bits().checked_add(1)?).into()),
    }
}

fn before(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => Some(Ipv4Addr::from_bits(v4.to_bits().checked_sub(1)?).into()),
        IpAddr::V6(v6) => Some(Ipv6Addr::from_bits(v6.to_bits().checked_sub(1)?).into()),
    }
}
