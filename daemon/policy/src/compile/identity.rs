//! Identities: all that the classes of a node ask about an address, the same for all addresses that have
//! the same answers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bulkhead_model::{Family, Prefix};

use super::class::{Class, Classes, Target};
use super::digest::Digest;
use super::members::Kinds;
use crate::{NamedPort, Network, Place, Space, World};

/// Which of a list of targets an address is.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Marks(Vec<u64>);

impl Marks {
    pub(super) fn none(of: usize) -> Self {
        Self(vec![0; of.div_ceil(64)])
    }

    pub(super) fn set(&mut self, nth: usize) {
        self.0[nth / 64] |= 1 << (nth % 64);
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }

    /// Whether some mark is in both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        let mut words = self.0.iter().zip(&other.0);
        words.any(|(one, other)| one & other != 0)
    }

    pub(super) fn has(&self, nth: usize) -> bool {
        self.0[nth / 64] & 1 << (nth % 64) != 0
    }

    fn iter(&self) -> impl Iterator<Item = usize> {
        let words = self.0.iter().enumerate();
        words.flat_map(|(nth, word)| {
            let bits = (0..64).filter(move |bit| word & 1 << bit != 0);
            bits.map(move |bit| nth * 64 + bit)
        })
    }
}

/// What is known of some addresses.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Identity {
    pub(super) marks: Marks,
    /// Of the ports that it has names for, those that are asked for.
    pub(super) ports: BTreeSet<NamedPort>,
}

/// The identities of all addresses there are.
#[derive(Debug)]
pub(super) struct Identities<'w> {
    /// Their order is that of the marks.
    pub(super) targets: Vec<Target<'w>>,
    pub(super) all: BTreeMap<Digest, Identity>,
    /// Addresses with another identity than what is around them.
    pub(super) exact: BTreeMap<IpAddr, Digest>,
    /// All others: from the key to the address.
    pub(super) ranges: BTreeMap<IpAddr, (IpAddr, Digest)>,
    /// The identities of ranges, those too that were joined with others.
    pub(super) of_ranges: BTreeSet<Digest>,
    /// Every address of which something is known, also where it is who all around it are.
    pub(super) of_addresses: HashMap<IpAddr, Digest>,
    /// The digest of each target.
    pub(super) digests: Vec<Digest>,
    /// The ports' names that are asked for.
    pub(super) names: BTreeSet<&'w str>,
    pub(super) world_nth: Option<usize>,
    /// Of each range that blocks and pools cut, what its addresses are before anything is known of one.
    pub(super) around: BTreeMap<IpAddr, Around>,
    /// What nodes and gateways are.
    pub(super) nodes: BTreeMap<IpAddr, Marks>,
}

pub(super) fn identities<'w>(world: &'w World, classes: &Classes<'w>) -> Identities<'w> {
    let classes = classes.all.values();
    let targets: BTreeSet<Target> = classes.clone().flat_map(Class::targets).collect();
    let names: BTreeSet<&str> = classes.flat_map(Class::names).collect();
    let targets: Vec<Target> = targets.into_iter().collect();
    let mut search = Search::new(world, targets, names);
    search.ranges();
    search.exact();
    search.found
}

/// What an address is by itself: kinds of endpoints, and what nodes and networks say.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
struct Known<'w> {
    kinds: BTreeSet<usize>,
    ports: BTreeSet<&'w NamedPort>,
    is_endpoint: bool,
    marks: Option<Marks>,
}

struct Search<'w> {
    world: &'w World,
    /// What kinds of endpoints can be, each once.
    kinds: Vec<Marks>,
    /// What is known of addresses.
    known: BTreeMap<IpAddr, Known<'w>>,
    found: Identities<'w>,
}

/// A range of addresses that all blocks and pools hold or do not hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Around {
    pub(super) blocks: Marks,
    pub(super) in_pool: bool,
}

impl<'w> Search<'w> {
    fn new(world: &'w World, targets: Vec<Target<'w>>, names: BTreeSet<&'w str>) -> Self {
        let (numbers, mut known) = endpoints(world, &names);
        let mut kinds = vec![Marks::none(targets.len()); numbers.len()];
        for (nth, target) in targets.iter().enumerate() {
            if let Target::Endpoints(selector) = target {
                let selected = numbers.selected(selector);
                for kind in selected {
                    kinds[kind].set(nth);
                }
            }
        }
        let kinds = once(kinds, &mut known);
        let world_nth = targets.iter().position(|target| *target == Target::World);
        let mut search = Self {
            world,
            kinds,
            known,
            found: Identities {
                digests: targets.iter().map(Digest::of).collect(),
                names,
                world_nth,
                around: BTreeMap::new(),
                nodes: BTreeMap::new(),
                of_ranges: BTreeSet::new(),
                of_addresses: HashMap::new(),
                targets,
                all: BTreeMap::new(),
                exact: BTreeMap::new(),
                ranges: BTreeMap::new(),
            },
        };
        search.nodes();
        search
    }

    fn networks(&self) -> impl Iterator<Item = &'w Network> + use<'w> {
        let networks = self.world.networks.values();
        networks.filter(|network| network.space == Space::Node)
    }

    /// Nodes' and gateways' addresses. That there is none of them is something that is known too: the world
    /// is what is neither.
    fn nodes(&mut self) {
        let world = self.world;
        let of_nodes = world.nodes.values().flat_map(|node| &node.addresses);
        let gateways: BTreeSet<IpAddr> = self
            .networks()
            .flat_map(|network| &network.gateways)
            .copied()
            .collect();
        let all: BTreeSet<IpAddr> = of_nodes.copied().chain(gateways.iter().copied()).collect();
        for address in all {
            let mut marks = Marks::none(self.found.targets.len());
            let is_gateway = gateways.contains(&address);
            for (nth, target) in self.found.targets.iter().enumerate() {
                let is_it = match target {
                    Target::Node(name) => {
                        let node = name.and_then(|name| world.nodes.get(name));
                        is_gateway || node.is_some_and(|node| node.addresses.contains(&address))
                    }
                    Target::AnyNode => true,
                    Target::Gateway(name) => {
                        let network = world.networks.get(*name);
                        network.is_some_and(|network| network.gateways.contains(&address))
                    }
                    Target::Nodes(labels) => world.nodes.values().any(|node| {
                        labels.selects(&node.labels) && node.addresses.contains(&address)
                    }),
                    Target::Endpoints(_) | Target::Block(_) | Target::World => false,
                };
                if is_it {
                    marks.set(nth);
                }
            }
            self.found.nodes.insert(address, marks.clone());
            self.known.entry(address).or_default().marks = Some(marks);
        }
    }

    /// Cuts all addresses where a block or pool begins or ends.
    fn ranges(&mut self) {
        let mut prefixes: BTreeSet<Prefix> = BTreeSet::new();
        for target in &self.found.targets {
            if let Target::Block(block) = target {
                prefixes.insert(block.prefix);
                prefixes.extend(&block.except);
            }
        }
        let pools: BTreeSet<Prefix> = match self.found.world_nth {
            Some(_) => self
                .networks()
                .flat_map(|network| &network.pools)
                .copied()
                .collect(),
            None => BTreeSet::new(),
        };
        for family in [Family::V4, Family::V6] {
            let of_family = prefixes.iter().chain(&pools);
            let of_family = of_family.filter(|prefix| prefix.family() == family);
            let (lowest, highest) = bounds(family);
            let mut starts = BTreeSet::from([lowest]);
            for prefix in of_family {
                starts.insert(prefix.address());
                starts.extend(after(prefix.last()));
            }
            let ends = starts.iter().skip(1).filter_map(|start| before(*start));
            let ends: Vec<IpAddr> = ends.chain([highest]).collect();
            for (first, last) in starts.into_iter().zip(ends) {
                self.range(first, last, &pools);
            }
        }
    }

    fn range(&mut self, first: IpAddr, last: IpAddr, pools: &BTreeSet<Prefix>) {
        let mut blocks = Marks::none(self.found.targets.len());
        for (nth, target) in self.found.targets.iter().enumerate() {
            if matches!(target, Target::Block(block) if block.contains(first)) {
                blocks.set(nth);
            }
        }
        let in_pool = pools.iter().any(|pool| pool.contains(first));
        let mut marks = blocks.clone();
        if let Some(nth) = self.found.world_nth.filter(|_| !in_pool) {
            marks.set(nth);
        }
        let digest = self.identity(marks, BTreeSet::new());
        self.found.of_ranges.insert(digest);
        let around = Around { blocks, in_pool };
        self.found.around.insert(first, around);
        let before = self.found.ranges.range_mut(..first).next_back();
        match before {
            // The same goes on.
            Some((begun, (end, of))) if *of == digest && after(*end) == Some(first) => {
                debug_assert_eq!(Family::of(*begun), Family::of(first));
                *end = last;
            }
            _ => {
                self.found.ranges.insert(first, (last, digest));
            }
        }
    }

    fn exact(&mut self) {
        // What is the same of many addresses is found once.
        let mut seen: HashMap<(Known<'w>, IpAddr), Digest> = HashMap::new();
        for (address, known) in std::mem::take(&mut self.known) {
            let (first, around) = {
                let found = self.found.around.range(..=address).next_back();
                found.expect("ranges leave nothing out")
            };
            let key = (known, *first);
            let digest = if let Some(digest) = seen.get(&key) {
                *digest
            } else {
                let around = around.clone();
                let digest = self.of_known(&key.0, &around);
                seen.insert(key, digest);
                digest
            };
            let (_, (_, of_range)) = {
                let found = self.found.ranges.range(..=address).next_back();
                found.expect("ranges leave nothing out")
            };
            self.found.of_addresses.insert(address, digest);
            if *of_range != digest {
                self.found.exact.insert(address, digest);
            }
        }
    }

    fn of_known(&mut self, known: &Known<'w>, around: &Around) -> Digest {
        let mut marks = around.blocks.clone();
        for kind in &known.kinds {
            marks.add(&self.kinds[*kind]);
        }
        if let Some(more) = &known.marks {
            marks.add(more);
        }
        let is_world = !known.is_endpoint && known.marks.is_none() && !around.in_pool;
        if let Some(nth) = self.found.world_nth.filter(|_| is_world) {
            marks.set(nth);
        }
        self.identity(marks, known.ports.iter().copied().cloned().collect())
    }

    fn identity(&mut self, marks: Marks, ports: BTreeSet<NamedPort>) -> Digest {
        let digest = identity_digest(&self.found.digests, &marks, &ports);
        self.found.all.insert(digest, Identity { marks, ports });
        digest
    }
}

/// What somebody is called who is these of the targets, and has these ports.
pub(super) fn identity_digest(
    targets: &[Digest],
    marks: &Marks,
    ports: &BTreeSet<NamedPort>,
) -> Digest {
    let of_targets = marks.iter().map(|nth| targets[nth]);
    Digest::of_all(of_targets.chain([Digest::of(ports)]))
}

/// Kinds that nobody tells apart here are one, and one that nobody speaks of is none.
fn once(kinds: Vec<Marks>, known: &mut BTreeMap<IpAddr, Known<'_>>) -> Vec<Marks> {
    let mut numbers: HashMap<Marks, usize> = HashMap::new();
    let mut all = Vec::new();
    let of_kind: Vec<Option<usize>> = kinds
        .into_iter()
        .map(|marks| {
            marks.iter().next()?;
            Some(*numbers.entry(marks).or_insert_with_key(|marks| {
                all.push(marks.clone());
                all.len() - 1
            }))
        })
        .collect();
    for known in known.values_mut() {
        let kinds = known.kinds.iter();
        known.kinds = kinds.filter_map(|kind| of_kind[*kind]).collect();
    }
    all
}

/// Endpoints' addresses, and the kinds of endpoints.
fn endpoints<'w>(
    world: &'w World,
    names: &BTreeSet<&'w str>,
) -> (Kinds<'w>, BTreeMap<IpAddr, Known<'w>>) {
    let mut kinds = Kinds::new(world);
    let mut known: BTreeMap<IpAddr, Known> = BTreeMap::new();
    for (id, endpoint) in &world.endpoints {
        if endpoint.place != Place::Port || world.space_of(id) != Space::Node {
            continue;
        }
        let kind = kinds.number(id, endpoint);
        for address in &endpoint.addresses {
            let known = known.entry(*address).or_default();
            known.is_endpoint = true;
            known.kinds.insert(kind);
            let asked = endpoint.ports.iter();
            known
                .ports
                .extend(asked.filter(|port| names.contains(port.name.as_str())));
        }
    }
    (kinds, known)
}

const fn bounds(family: Family) -> (IpAddr, IpAddr) {
    match family {
        Family::V4 => (
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V4(Ipv4Addr::BROADCAST),
        ),
        Family::V6 => (
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)),
        ),
    }
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
