//! Identities: all that the classes of a node ask about an address, the same for all addresses that have
//! the same answers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::ops::Bound::{Excluded, Included};
use std::sync::Arc;

use super::around::{self, Ranges};
use super::class::{Class, Target};
use super::digest::{Digest, Numbers};
use super::follow::What;
use super::members::{Kind, Kinds};
use super::slots::Slots;
use super::targets::{Marks, News, Targets};
use crate::{Endpoint, EndpointId, NamedPort, OwnPrefix, Place, Space, World};

/// What is known of some addresses.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) marks: Marks,
    /// Of the ports that it has names for, those that are asked for.
    pub(super) ports: BTreeSet<NamedPort>,
    /// How many addresses and ranges have it.
    uses: usize,
}

/// An endpoint.
#[derive(Clone, Debug)]
struct End {
    kind: usize,
    addresses: BTreeSet<IpAddr>,
    prefixes: BTreeSet<OwnPrefix>,
    ports: BTreeSet<NamedPort>,
}

/// Ranges of addresses in prefixes that are an endpoint's as a whole: the last of each, and who that is. There are
/// several in a prefix where a block begins or ends in it, and none reaches into another prefix.
#[derive(Clone, Debug, Default)]
pub(super) struct Delegated(BTreeMap<IpAddr, (IpAddr, Digest)>);

impl Delegated {
    /// Who an address is that is in one of them.
    pub(super) fn of(&self, address: IpAddr) -> Option<Digest> {
        let (_, (last, identity)) = self.0.range(..=address).next_back()?;
        (address <= *last).then_some(*identity)
    }

    fn within(&self, own: OwnPrefix) -> BTreeMap<IpAddr, (IpAddr, Digest)> {
        let within = self.0.range(own.first()..=own.last());
        within.map(|(first, rest)| (*first, *rest)).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (IpAddr, (IpAddr, Digest))> {
        self.0.iter().map(|(first, rest)| (*first, *rest))
    }
}

/// Who every address is, from one world to the next.
#[derive(Clone, Debug, Default)]
pub(super) struct People {
    targets: Targets,
    /// The names of ports that are asked for, and by how many classes.
    names: BTreeMap<String, usize>,
    kinds: Kinds,
    /// What each kind is.
    marks: Vec<Marks>,
    ends: Slots<End>,
    numbers: HashMap<EndpointId, usize>,
    /// Who has a port of a name.
    bearers: HashMap<String, BTreeSet<usize>>,
    holders: BTreeMap<IpAddr, Vec<usize>>,
    /// Who has all addresses of a prefix.
    prefixed: BTreeMap<OwnPrefix, Vec<usize>>,
    /// What nodes and gateways are.
    nodes: BTreeMap<IpAddr, Marks>,
    around: Ranges,
    /// Who whoever is there is, of whom nothing is known.
    of_ranges: BTreeMap<IpAddr, Digest>,
    all: BTreeMap<Digest, Identity>,
    numbered: Numbers,
    /// Identities by the targets that they are.
    by_target: HashMap<usize, BTreeSet<Digest>>,
    with_ports: BTreeSet<Digest>,
    of: HashMap<IpAddr, Digest>,
    delegated: Arc<Delegated>,
    /// Addresses with another identity than what is around them.
    exact: Arc<HashMap<IpAddr, Digest>>,
}

/// Addresses that may be somebody else now.
#[derive(Debug)]
pub(super) enum Touched {
    All,
    These {
        addresses: BTreeSet<IpAddr>,
        /// With all addresses in them.
        prefixes: BTreeSet<OwnPrefix>,
    },
}

impl Touched {
    /// None yet.
    pub(super) const fn none() -> Self {
        Self::These {
            addresses: BTreeSet::new(),
            prefixes: BTreeSet::new(),
        }
    }

    fn add(&mut self, address: IpAddr) {
        if let Self::These { addresses, .. } = self {
            addresses.insert(address);
        }
    }

    fn add_prefix(&mut self, own: OwnPrefix) {
        if let Self::These { prefixes, .. } = self {
            prefixes.insert(own);
        }
    }

    /// All that an endpoint has.
    fn add_end(&mut self, end: &End) {
        end.addresses.iter().for_each(|address| self.add(*address));
        end.prefixes.iter().for_each(|own| self.add_prefix(*own));
    }
}

/// Who has come and gone.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// By address: who it was, and who it is, other than those around it.
    pub(super) moved: BTreeMap<IpAddr, [Option<Digest>; 2]>,
    /// By the first of a range in a prefix: its last, and who it was, and is.
    pub(super) ranges: BTreeMap<IpAddr, [Option<(IpAddr, Digest)>; 2]>,
    pub(super) born: BTreeSet<Digest>,
    /// With the numbers that they had. They are known until [`People::bury`].
    pub(super) died: BTreeMap<Digest, u32>,
}

impl People {
    pub(super) fn exact(&self) -> &Arc<HashMap<IpAddr, Digest>> {
        &self.exact
    }

    pub(super) const fn delegated(&self) -> &Arc<Delegated> {
        &self.delegated
    }

    /// Whether anybody has a prefix as a whole.
    pub(super) fn has_prefixes(&self) -> bool {
        !self.prefixed.is_empty()
    }

    /// The number of an identity that there is, or was before these moves.
    pub(super) fn numbered(&self, identity: Digest, moves: &Moves) -> u32 {
        let died = moves.died.get(&identity).copied();
        let number = died.or_else(|| self.numbered.get(identity));
        number.expect("every identity has a number")
    }

    pub(super) fn get(&self, identity: Digest) -> Option<&Identity> {
        self.all.get(&identity)
    }

    /// Those of the living that are one of `targets`, or have ports with names.
    pub(super) fn asked<'p>(
        &'p self,
        targets: impl Iterator<Item = usize> + 'p,
        asks_names: bool,
    ) -> impl Iterator<Item = Digest> + 'p {
        let of = targets.filter_map(|number| self.by_target.get(&number));
        let named = asks_names.then_some(&self.with_ports);
        let all = of.chain(named).flatten().copied();
        all.filter(|identity| self.get(*identity).is_some_and(|known| known.uses > 0))
    }

    /// All addresses of which nothing is known: first, last, and who they are.
    pub(super) fn ranges(&self) -> BTreeMap<IpAddr, (IpAddr, Digest)> {
        let mut ranges: BTreeMap<IpAddr, (IpAddr, Digest)> = BTreeMap::new();
        let lasts = self.of_ranges.keys().skip(1);
        let lasts = lasts.map(|next| around::last_before(*next));
        let lasts = lasts.chain([around::HIGHEST[1]]);
        for ((first, identity), last) in self.of_ranges.iter().zip(lasts) {
            match ranges.last_entry() {
                // The same goes on.
                Some(mut before)
                    if before.get().1 == *identity && around::meet(before.get().0, *first) =>
                {
                    before.get_mut().0 = last;
                }
                _ => drop(ranges.insert(*first, (last, *identity))),
            }
        }
        ranges
    }

    /// Takes in endpoints and namespaces that are otherwise.
    pub(super) fn take_in(&mut self, world: &World, what: What<'_>, touched: &mut Touched) {
        match what {
            What::Everything => {
                for (id, endpoint) in &world.endpoints {
                    self.join(world, id, endpoint, touched);
                }
            }
            What::These(changes) => {
                for namespace in &changes.namespaces {
                    for kind in self.kinds.relabel(world, namespace) {
                        self.marks[kind] = self.marks_of(kind);
                        self.touch_kind(kind, touched);
                    }
                }
                for id in &changes.endpoints {
                    self.leave(id, touched);
                    if let Some(endpoint) = world.endpoints.get(id) {
                        self.join(world, id, endpoint, touched);
                    }
                }
            }
        }
    }

    fn join(&mut self, world: &World, id: &EndpointId, endpoint: &Endpoint, touched: &mut Touched) {
        if endpoint.place != Place::Port || world.space_of(id) != Space::Node {
            return;
        }
        let (kind, is_new) = self.kinds.number(world, Kind::of(id, endpoint));
        if is_new {
            let marks = self.marks_of(kind);
            self.marks
                .resize(self.marks.len().max(kind + 1), Marks::default());
            self.marks[kind] = marks;
        }
        let number = self.ends.put(End {
            kind,
            addresses: endpoint.addresses.clone(),
            prefixes: endpoint.prefixes.clone(),
            ports: endpoint.ports.clone(),
        });
        self.kinds.join(kind, number);
        for port in &endpoint.ports {
            let bearers = self.bearers.entry(port.name.clone()).or_default();
            bearers.insert(number);
        }
        for address in &endpoint.addresses {
            self.holders.entry(*address).or_default().push(number);
            touched.add(*address);
        }
        for own in &endpoint.prefixes {
            self.prefixed.entry(*own).or_default().push(number);
            touched.add_prefix(*own);
        }
        self.numbers.insert(id.clone(), number);
    }

    fn leave(&mut self, id: &EndpointId, touched: &mut Touched) {
        let Some(number) = self.numbers.remove(id) else {
            return;
        };
        let Some(end) = self.ends.take(number) else {
            return;
        };
        self.kinds.leave(end.kind, number);
        for port in &end.ports {
            if let Some(bearers) = self.bearers.get_mut(&port.name) {
                bearers.remove(&number);
                if bearers.is_empty() {
                    self.bearers.remove(&port.name);
                }
            }
        }
        for address in &end.addresses {
            if let Some(holders) = self.holders.get_mut(address) {
                holders.retain(|holder| *holder != number);
                if holders.is_empty() {
                    self.holders.remove(address);
                }
            }
        }
        for own in &end.prefixes {
            if let Some(holders) = self.prefixed.get_mut(own) {
                holders.retain(|holder| *holder != number);
                if holders.is_empty() {
                    self.prefixed.remove(own);
                }
            }
        }
        touched.add_end(&end);
    }

    fn marks_of(&self, kind: usize) -> Marks {
        let mut marks = Marks::default();
        for (number, target) in self.targets.iter() {
            if let Target::Endpoints(selector) = target
                && self.kinds.is_selected(selector, kind)
            {
                marks.set(number);
            }
        }
        marks
    }

    fn touch_kind(&self, kind: usize, touched: &mut Touched) {
        if let Touched::These { .. } = touched {
            let ends = self.kinds.members(kind);
            let ends = ends.filter_map(|number| self.ends.get(number));
            ends.for_each(|end| touched.add_end(end));
        }
    }

    /// A class asks from now on; the numbers of its targets.
    pub(super) fn begin(&mut self, class: &Class, news: &mut News, touched: &mut Touched) {
        for (digest, target) in class.targets() {
            let (number, is_new) = self.targets.acquire(digest, target);
            if is_new {
                news.new.push(number);
            }
        }
        for name in class.names() {
            if let Some(asking) = self.names.get_mut(name) {
                *asking += 1;
            } else {
                self.names.insert(name.to_owned(), 1);
                self.touch_bearers(name, touched);
            }
        }
    }

    /// A class asks no more.
    pub(super) fn end(&mut self, class: &Class, news: &mut News, touched: &mut Touched) {
        for target in class.targets().into_keys() {
            if let Some(number) = self.targets.number(target)
                && self.targets.release(number)
            {
                news.gone.push(number);
            }
        }
        for name in class.names() {
            if let Some(asking) = self.names.get_mut(name) {
                *asking -= 1;
                if *asking == 0 {
                    self.names.remove(name);
                    self.touch_bearers(name, touched);
                }
            }
        }
    }

    /// The number of a target.
    pub(super) fn number(&self, target: Digest) -> Option<usize> {
        self.targets.number(target)
    }

    fn touch_bearers(&self, name: &str, touched: &mut Touched) {
        let bearers = self.bearers.get(name).into_iter().flatten();
        let ends = bearers.filter_map(|number| self.ends.get(*number));
        ends.for_each(|end| touched.add_end(end));
    }

    /// Asks everybody who those are that are spoken of now; whether ranges are cut otherwise.
    pub(super) fn ask(
        &mut self,
        world: &World,
        what: What<'_>,
        news: &News,
        touched: &mut Touched,
    ) -> bool {
        let mut cuts = matches!(what, What::Everything);
        let mut nodes = what.is_about_nodes();
        for (number, is_new) in news.numbers() {
            let Some(target) = self.targets.get(number) else {
                continue;
            };
            match target {
                Target::Endpoints(selector) => {
                    for kind in self.kinds.selected(selector) {
                        if is_new {
                            self.marks[kind].set(number);
                        } else {
                            self.marks[kind].unset(number);
                        }
                        self.touch_kind(kind, touched);
                    }
                }
                Target::Block(_) | Target::World => cuts = true,
                Target::Node(_) | Target::AnyNode | Target::Gateway(_) | Target::Nodes(_) => {
                    nodes = true;
                }
            }
        }
        if nodes {
            self.ask_nodes(world, touched);
        }
        if cuts {
            self.cut(world, touched);
        }
        cuts
    }

    /// Nodes' and gateways' addresses. That there is none of them is something that is known too: the world
    /// is what is neither.
    fn ask_nodes(&mut self, world: &World, touched: &mut Touched) {
        let networks = world.networks.values();
        let networks = networks.filter(|network| network.space == Space::Node);
        let gateways: BTreeSet<IpAddr> = networks
            .flat_map(|network| &network.gateways)
            .copied()
            .collect();
        let of_nodes = world.nodes.values().flat_map(|node| &node.addresses);
        let all = of_nodes.chain(&gateways);
        let mut nodes: BTreeMap<IpAddr, Marks> =
            all.map(|address| (*address, Marks::default())).collect();
        let mut mark = |number: usize, addresses: &BTreeSet<IpAddr>| {
            for address in addresses {
                if let Some(marks) = nodes.get_mut(address) {
                    marks.set(number);
                }
            }
        };
        for (number, target) in self.targets.iter() {
            match target {
                Target::Node(name) => {
                    mark(number, &gateways);
                    let node = name.as_ref().and_then(|name| world.nodes.get(name));
                    if let Some(node) = node {
                        mark(number, &node.addresses);
                    }
                }
                Target::AnyNode => {
                    mark(number, &gateways);
                    let nodes = world.nodes.values();
                    nodes.for_each(|node| mark(number, &node.addresses));
                }
                Target::Gateway(name) => {
                    if let Some(network) = world.networks.get(name) {
                        mark(number, &network.gateways);
                    }
                }
                Target::Nodes(labels) => {
                    let nodes = world.nodes.values();
                    let selected = nodes.filter(|node| labels.selects(&node.labels));
                    selected.for_each(|node| mark(number, &node.addresses));
                }
                Target::Endpoints(_) | Target::Block(_) | Target::World => {}
            }
        }
        let addresses = nodes.keys().chain(self.nodes.keys());
        for address in addresses.filter(|address| nodes.get(*address) != self.nodes.get(*address)) {
            touched.add(*address);
        }
        self.nodes = nodes;
    }

    fn cut(&mut self, world: &World, touched: &mut Touched) {
        let ranges = around::ranges(world, &self.targets);
        if let Touched::These { .. } = touched {
            for (first, last) in around::differences(&self.around, &ranges) {
                let held = self.holders.range(first..=last).map(|(address, _)| address);
                let nodes = self.nodes.range(first..=last).map(|(address, _)| address);
                held.chain(nodes).for_each(|address| touched.add(*address));
                if let (Some(from), Some(to)) = (OwnPrefix::around(first), OwnPrefix::around(last))
                {
                    let prefixed = self.prefixed.range(from..=to);
                    prefixed.for_each(|(own, _)| touched.add_prefix(*own));
                }
            }
        }
        self.around = ranges;
    }

    /// Says of all who may be somebody else who they are. `None` if somebody else would get another number, so that
    /// everything is to be made anew.
    pub(super) fn settle(
        &mut self,
        what: What<'_>,
        touched: &Touched,
        ranges: bool,
    ) -> Option<Moves> {
        let mut moves = Moves::default();
        let mut left = Vec::new();
        if ranges {
            self.settle_ranges(&mut moves, &mut left);
        }
        let (addresses, prefixes) = match touched {
            Touched::All => {
                let held = self.holders.keys().chain(self.nodes.keys());
                (
                    held.copied().collect(),
                    self.prefixed.keys().copied().collect(),
                )
            }
            Touched::These {
                addresses,
                prefixes,
            } => {
                let mut addresses = addresses.clone();
                for own in prefixes {
                    let within = own.first()..=own.last();
                    let held = self.holders.range(within.clone());
                    addresses.extend(held.map(|(address, _)| *address));
                    let nodes = self.nodes.range(within);
                    addresses.extend(nodes.map(|(address, _)| *address));
                }
                (addresses, prefixes.clone())
            }
        };
        // What is the same of many addresses is found once.
        let mut seen: HashMap<Known, Digest> = HashMap::new();
        for own in prefixes {
            self.settle_prefix(own, &mut moves, &mut left);
        }
        for address in addresses {
            self.settle_one(address, &mut seen, &mut moves, &mut left);
        }
        let is_dead = |identity: &Digest| self.all.get(identity).is_some_and(|it| it.uses == 0);
        let died: BTreeSet<Digest> = left.into_iter().filter(is_dead).collect();
        match what {
            What::Everything => self.numbered = Numbers::of(self.all.keys().copied()),
            What::These(_) => {
                for identity in died {
                    let number = self.numbered.get(identity)?;
                    moves.died.insert(identity, number);
                    self.numbered.remove(identity)?;
                }
                for born in &moves.born {
                    self.numbered.add(*born)?;
                }
            }
        }
        Some(moves)
    }

    fn settle_ranges(&mut self, moves: &mut Moves, left: &mut Vec<Digest>) {
        let before = std::mem::take(&mut self.of_ranges);
        let firsts: Vec<(IpAddr, Marks)> = self
            .around
            .iter()
            .map(|(first, around)| (*first, around.marks()))
            .collect();
        for (first, marks) in firsts {
            let identity = self.know(marks, BTreeSet::new(), moves);
            self.use_once(identity);
            self.of_ranges.insert(first, identity);
        }
        for identity in before.into_values() {
            self.drop_once(identity, left);
        }
    }

    /// Who the addresses of a prefix are that are not known by themselves.
    fn settle_prefix(&mut self, own: OwnPrefix, moves: &mut Moves, left: &mut Vec<Digest>) {
        let before = self.delegated.within(own);
        let mut now: BTreeMap<IpAddr, (IpAddr, Digest)> = BTreeMap::new();
        if self.prefixed.contains_key(&own) {
            let cuts = self
                .around
                .range((Excluded(own.first()), Included(own.last())));
            let cuts: Vec<IpAddr> = cuts.map(|(first, _)| *first).collect();
            let lasts = cuts.iter().map(|next| around::last_before(*next));
            let lasts: Vec<IpAddr> = lasts.chain([own.last()]).collect();
            for (first, last) in [own.first()].into_iter().chain(cuts).zip(lasts) {
                let known = self.known_of(first, &[], None);
                let identity = self.identify(&known, moves);
                match now.last_entry() {
                    // The same goes on.
                    Some(mut range) if range.get().1 == identity => range.get_mut().0 = last,
                    _ => drop(now.insert(first, (last, identity))),
                }
            }
        }
        for (_, identity) in now.values() {
            self.use_once(*identity);
        }
        for (_, identity) in before.values() {
            self.drop_once(*identity, left);
        }
        if before == now {
            return;
        }
        let delegated = Arc::make_mut(&mut self.delegated);
        for first in before.keys() {
            delegated.0.remove(first);
        }
        delegated.0.extend(&now);
        for first in before.keys().chain(now.keys()) {
            let sides = [before.get(first).copied(), now.get(first).copied()];
            if sides[0] != sides[1] {
                moves.ranges.insert(*first, sides);
            }
        }
    }

    fn settle_one(
        &mut self,
        address: IpAddr,
        seen: &mut HashMap<Known, Digest>,
        moves: &mut Moves,
        left: &mut Vec<Digest>,
    ) {
        let known = self.known(address);
        let after = known.map(|known| {
            if let Some(identity) = seen.get(&known) {
                return *identity;
            }
            let identity = self.identify(&known, moves);
            seen.insert(known, identity);
            identity
        });
        if let Some(identity) = after {
            self.use_once(identity);
        }
        let before = match after {
            Some(after) => self.of.insert(address, after),
            None => self.of.remove(&address),
        };
        if let Some(identity) = before {
            self.drop_once(identity, left);
        }
        let of_range = || Some(*self.of_ranges.range(..=address).next_back()?.1);
        let of_range = self.delegated.of(address).or_else(of_range);
        let own = after.filter(|after| of_range != Some(*after));
        let before = self.exact.get(&address).copied();
        if before != own {
            let exact = Arc::make_mut(&mut self.exact);
            match own {
                Some(own) => drop(exact.insert(address, own)),
                None => drop(exact.remove(&address)),
            }
            moves.moved.insert(address, [before, own]);
        }
    }

    /// What is known of an address itself.
    fn known(&self, address: IpAddr) -> Option<Known> {
        let holders = self.holders.get(&address);
        let node = self.nodes.get(&address);
        if holders.is_none() && node.is_none() {
            return None;
        }
        let holders = holders.map_or(&[][..], Vec::as_slice);
        Some(self.known_of(address, holders, node))
    }

    /// What an address is that these have, and that may be in a prefix.
    fn known_of(&self, address: IpAddr, alone: &[usize], node: Option<&Marks>) -> Known {
        let around = OwnPrefix::around(address);
        let prefixed = around.and_then(|around| self.prefixed.get(&around));
        let prefixed = prefixed.into_iter().flatten();
        let prefixed = prefixed.filter(|number| !alone.contains(number));
        let mut known = Known {
            kinds: Vec::new(),
            ports: BTreeSet::new(),
            node: node.cloned(),
            first: around::around(&self.around, address).map(|(first, _)| *first),
        };
        let holders = alone.iter().chain(prefixed);
        for end in holders.filter_map(|number| self.ends.get(*number)) {
            known.kinds.push(end.kind);
            let ports = end.ports.iter();
            let asked = ports.filter(|port| self.names.contains_key(&port.name));
            known.ports.extend(asked.cloned());
        }
        known.kinds.sort_unstable();
        known
    }

    fn identify(&mut self, known: &Known, moves: &mut Moves) -> Digest {
        let around = known.first.and_then(|first| self.around.get(&first));
        let mut marks = around
            .map(|around| around.blocks.clone())
            .unwrap_or_default();
        for kind in &known.kinds {
            marks.add(&self.marks[*kind]);
        }
        if let Some(node) = &known.node {
            marks.add(node);
        }
        self.know(marks, known.ports.clone(), moves)
    }

    /// Who somebody is that is these of the targets and has these ports.
    fn know(&mut self, marks: Marks, ports: BTreeSet<NamedPort>, moves: &mut Moves) -> Digest {
        let digests = marks
            .iter()
            .filter_map(|number| self.targets.digest(number));
        let mut digests: Vec<Digest> = digests.collect();
        // Numbers are one node's, and of one world after the other.
        digests.sort_unstable();
        let digest = Digest::of_all(digests.into_iter().chain([Digest::of(&ports)]));
        if !self.all.contains_key(&digest) {
            moves.born.insert(digest);
            for number in marks.iter() {
                self.by_target.entry(number).or_default().insert(digest);
            }
            if !ports.is_empty() {
                self.with_ports.insert(digest);
            }
            let identity = Identity {
                marks,
                ports,
                uses: 0,
            };
            self.all.insert(digest, identity);
        }
        digest
    }

    fn use_once(&mut self, identity: Digest) {
        if let Some(identity) = self.all.get_mut(&identity) {
            identity.uses += 1;
        }
    }

    fn drop_once(&mut self, identity: Digest, left: &mut Vec<Digest>) {
        if let Some(known) = self.all.get_mut(&identity) {
            known.uses -= 1;
            if known.uses == 0 {
                left.push(identity);
            }
        }
    }

    /// Forgets identities that nobody has, and targets that nobody speaks of.
    pub(super) fn bury(&mut self, moves: &Moves, news: &News) {
        for digest in moves.died.keys() {
            let Some(identity) = self.all.remove(digest) else {
                continue;
            };
            for number in identity.marks.iter() {
                if let Some(with) = self.by_target.get_mut(&number) {
                    with.remove(digest);
                    if with.is_empty() {
                        self.by_target.remove(&number);
                    }
                }
            }
            self.with_ports.remove(digest);
        }
        for number in &news.gone {
            self.targets.forget(*number);
        }
        for kind in self.kinds.sweep() {
            self.marks[kind] = Marks::default();
        }
    }
}

/// What an address is by itself, and what it lies in.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Known {
    kinds: Vec<usize>,
    ports: BTreeSet<NamedPort>,
    node: Option<Marks>,
    first: Option<IpAddr>,
}
