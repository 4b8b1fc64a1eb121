//! Endpoints elsewhere that come and go: an element for each of their addresses, without compiling anything, as
//! long as nobody is somebody that nobody was before.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use bulkhead_nft as nft;
use nft::{Command, Data, Datum, Elements, Entry, Key};

use super::chains::{PEERS4, PEERS6};
use super::class::Target;
use super::digest::Digest;
use super::identity::{Around, Identities, Marks, identity_digest};
use super::judge::Judge;
use super::table::table_id;
use crate::{Endpoint, EndpointId, EndpointSelector, Local, NamedPort, Place, Space, World};

/// What is needed to know who somebody is, from one world to the next.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    local: Local,
    /// The endpoints that are spoken of, by their marks.
    selectors: Vec<(usize, EndpointSelector)>,
    marks: usize,
    digests: Vec<Digest>,
    names: BTreeSet<String>,
    world_nth: Option<usize>,
    around: BTreeMap<IpAddr, Around>,
    ranges: BTreeMap<IpAddr, (IpAddr, Digest)>,
    /// What nodes and gateways are.
    nodes: BTreeMap<IpAddr, Marks>,
    numbers: BTreeMap<Digest, u32>,
    /// Of how many addresses and ranges each identity is.
    uses: HashMap<Digest, usize>,
    /// Who each address is, also where that is who all around it are.
    identities: HashMap<IpAddr, Digest>,
    holders: HashMap<IpAddr, BTreeSet<EndpointId>>,
    addresses: HashMap<EndpointId, BTreeSet<IpAddr>>,
}

/// Addresses that are somebody else now.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Moves(BTreeMap<IpAddr, Option<(Digest, u32)>>);

impl Kept {
    pub(super) fn new(
        world: &World,
        local: &Local,
        identities: &Identities<'_>,
        numbers: BTreeMap<Digest, u32>,
    ) -> Self {
        let mut holders: HashMap<IpAddr, BTreeSet<EndpointId>> = HashMap::new();
        let mut addresses = HashMap::new();
        for (id, endpoint) in &world.endpoints {
            if !is_at_a_port(world, id, endpoint) {
                continue;
            }
            for address in &endpoint.addresses {
                holders.entry(*address).or_default().insert(id.clone());
            }
            addresses.insert(id.clone(), endpoint.addresses.clone());
        }
        let mut uses: HashMap<Digest, usize> = HashMap::new();
        for identity in identities.of_addresses.values() {
            *uses.entry(*identity).or_default() += 1;
        }
        // Every range is somebody, also one that was joined with the one before it.
        for identity in identities.all.keys() {
            let is_range = identities.of_ranges.contains(identity);
            *uses.entry(*identity).or_default() += usize::from(is_range);
        }
        let targets = identities.targets.iter().enumerate();
        let selectors = targets.filter_map(|(nth, target)| match target {
            Target::Endpoints(selector) => Some((nth, (*selector).clone())),
            _ => None,
        });
        Self {
            local: local.clone(),
            selectors: selectors.collect(),
            marks: identities.targets.len(),
            digests: identities.digests.clone(),
            names: identities
                .names
                .iter()
                .map(|&name| name.to_owned())
                .collect(),
            world_nth: identities.world_nth,
            around: identities.around.clone(),
            ranges: identities.ranges.clone(),
            nodes: identities.nodes.clone(),
            numbers,
            uses,
            identities: identities.of_addresses.clone(),
            holders,
            addresses,
        }
    }

    /// Takes in that these endpoints are otherwise; what that moves. `None` if everything is to be compiled: then
    /// this is of no use any more.
    pub(super) fn follow(
        &mut self,
        world: &World,
        local: &Local,
        changed: &BTreeSet<EndpointId>,
    ) -> Option<Moves> {
        if *local != self.local || changed.iter().any(|id| local.endpoints.contains_key(id)) {
            return None;
        }
        let mut touched = BTreeSet::new();
        for id in changed {
            for address in self.addresses.remove(id).unwrap_or_default() {
                touched.insert(address);
                if let Some(holders) = self.holders.get_mut(&address) {
                    holders.remove(id);
                }
            }
            let known = world.endpoints.get(id);
            let Some(endpoint) = known.filter(|known| is_at_a_port(world, id, known)) else {
                continue;
            };
            for address in &endpoint.addresses {
                touched.insert(*address);
                self.holders.entry(*address).or_default().insert(id.clone());
            }
            self.addresses
                .insert(id.clone(), endpoint.addresses.clone());
        }
        let mut moves = BTreeMap::new();
        for address in touched {
            self.settle(world, address, &mut moves)?;
        }
        // An identity that nobody has any more is in no table.
        let is_gone = self.uses.values().any(|uses| *uses == 0);
        (!is_gone).then_some(Moves(moves))
    }

    fn settle(
        &mut self,
        world: &World,
        address: IpAddr,
        moves: &mut BTreeMap<IpAddr, Option<(Digest, u32)>>,
    ) -> Option<()> {
        let held = self
            .holders
            .get(&address)
            .is_some_and(|holders| !holders.is_empty());
        let is_known = held || self.nodes.contains_key(&address);
        let after = is_known.then(|| self.identity(world, address)).flatten();
        if is_known && after.is_none_or(|after| !self.numbers.contains_key(&after)) {
            // Somebody that nobody was before.
            return None;
        }
        let before = match after {
            Some(after) => self.identities.insert(address, after),
            None => self.identities.remove(&address),
        };
        for (identity, by) in [(after, 1), (before, -1)] {
            if let Some(identity) = identity {
                let uses = self.uses.entry(identity).or_default();
                *uses = uses.checked_add_signed(by)?;
            }
        }
        if !held {
            self.holders.remove(&address);
        }
        let (_, (_, around)) = self.ranges.range(..=address).next_back()?;
        let own = |identity: Option<Digest>| identity.filter(|identity| identity != around);
        if own(before) != own(after) {
            let number = own(after).and_then(|own| Some((own, *self.numbers.get(&own)?)));
            moves.insert(address, number);
        }
        Some(())
    }

    fn identity(&self, world: &World, address: IpAddr) -> Option<Digest> {
        let (_, around) = self.around.range(..=address).next_back()?;
        let mut marks = around.blocks.clone();
        if let Some(node) = self.nodes.get(&address) {
            marks.add(node);
        }
        let mut ports: BTreeSet<NamedPort> = BTreeSet::new();
        let holders = self.holders.get(&address).into_iter().flatten();
        let mut is_held = false;
        for (id, endpoint) in holders.filter_map(|id| world.endpoints.get_key_value(id)) {
            is_held = true;
            for (nth, selector) in &self.selectors {
                if !marks.has(*nth) && world.selects(selector, id, endpoint) {
                    marks.set(*nth);
                }
            }
            let asked = endpoint.ports.iter();
            ports.extend(
                asked
                    .filter(|port| self.names.contains(&port.name))
                    .cloned(),
            );
        }
        let is_world = !is_held && !self.nodes.contains_key(&address) && !around.in_pool;
        if let Some(nth) = self.world_nth.filter(|_| is_world) {
            marks.set(nth);
        }
        debug_assert!(self.marks >= self.selectors.len());
        Some(identity_digest(&self.digests, &marks, &ports))
    }
}

fn is_at_a_port(world: &World, id: &EndpointId, endpoint: &Endpoint) -> bool {
    endpoint.place == Place::Port && world.space_of(id) == Space::Node
}

impl Moves {
    /// What is to be committed for `table`, the one before.
    #[must_use]
    pub fn commands(&self, table: &nft::Table) -> Vec<Command> {
        let mut commands = Vec::new();
        for (set, is_six) in [(PEERS4, false), (PEERS6, true)] {
            let of_family = self
                .0
                .iter()
                .filter(|(address, _)| address.is_ipv6() == is_six);
            let known = table.set(&set).map(|set| &set.elements);
            let mut gone = BTreeMap::new();
            let mut new = BTreeMap::new();
            for (address, identity) in of_family {
                let key = Key::from(*address);
                if let Some(Elements::Map(known)) = known
                    && let Some(entry) = known.get(&key)
                {
                    gone.insert(key.clone(), entry.clone());
                }
                if let Some((_, number)) = identity {
                    new.insert(key, entry(*number));
                }
            }
            if !gone.is_empty() {
                commands.push(Command::DeleteElements {
                    table: table_id(),
                    set: set.clone(),
                    elements: Elements::Map(gone),
                });
            }
            if !new.is_empty() {
                commands.push(Command::AddElements {
                    table: table_id(),
                    set,
                    elements: Elements::Map(new),
                });
            }
        }
        commands
    }

    /// Does the same to the table and its judge.
    pub fn apply(&self, table: &mut nft::Table, judge: &mut Judge) {
        for (address, identity) in &self.0 {
            let name = if address.is_ipv6() { PEERS6 } else { PEERS4 };
            let set = table.sets.iter_mut().find(|set| set.name == name);
            if let Some(Elements::Map(known)) = set.map(|set| &mut set.elements) {
                let key = Key::from(*address);
                match identity {
                    Some((_, number)) => drop(known.insert(key, entry(*number))),
                    None => drop(known.remove(&key)),
                }
            }
            judge.moves(*address, identity.map(|(identity, _)| identity));
        }
    }
}

fn entry(number: u32) -> Entry {
    Data::Value(Datum::ClassId(number).into()).into()
}
