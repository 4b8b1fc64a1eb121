//! What transactions do to the tables of a namespace.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_model::Prefix;
use bulkhead_nft as nft;

use super::Refusal;
use crate::TableState;

pub(super) type Tables = BTreeMap<nft::TableId, TableState>;

pub(super) fn run_on_set(tables: &mut Tables, command: &nft::Command) -> Result<(), Refusal> {
    let done = match command {
        nft::Command::AddSet { table, set } => {
            tables.get_mut(table).map(|table| table.add_set(set))
        }
        nft::Command::DeleteSet { table, set } => {
            let table = tables.get_mut(table);
            table.and_then(|table| table.delete_set(set).then_some(()))
        }
        _ => Some(()),
    };
    done.ok_or(Refusal::Missing)
}

pub(super) fn run_on_chain(
    chains: &mut BTreeMap<nft::Name, usize>,
    command: &nft::Command,
) -> Result<(), Refusal> {
    match command {
        nft::Command::AddChain { chain, .. } => {
            match chains.insert(chain.name.clone(), chain.rules.len()) {
                Some(_) => Err(Refusal::Exists),
                None => Ok(()),
            }
        }
        nft::Command::SetRules { chain, .. } => {
            let found = chains.get_mut(&chain.name).ok_or(Refusal::Missing)?;
            *found = chain.rules.len();
            Ok(())
        }
        nft::Command::DeleteChain { chain, .. } => {
            chains.remove(chain).map(drop).ok_or(Refusal::Missing)
        }
        _ => Ok(()),
    }
}

pub(super) fn run_command(tables: &mut Tables, command: &nft::Command) -> Result<(), Refusal> {
    let missing = |ok: bool| if ok { Ok(()) } else { Err(Refusal::Missing) };
    match command {
        nft::Command::AddTable(table) if tables.contains_key(&table.id) => Err(Refusal::Exists),
        nft::Command::AddTable(table) | nft::Command::ReplaceTable(table) => {
            tables.insert(table.id.clone(), TableState::of(table));
            Ok(())
        }
        nft::Command::AddElements {
            table,
            set,
            elements: nft::Elements::Map(map),
        } => {
            let table = tables.get_mut(table).ok_or(Refusal::Missing)?;
            table.add_entries(set, map)
        }
        nft::Command::AddElements {
            table,
            set,
            elements: nft::Elements::Prefixes(prefixes),
        } => {
            let table = tables.get_mut(table).ok_or(Refusal::Missing)?;
            table.add_prefixes(set, prefixes)
        }
        nft::Command::DeleteElements {
            table,
            set,
            elements: nft::Elements::Prefixes(prefixes),
        } => {
            let table = tables.get_mut(table).ok_or(Refusal::Missing)?;
            let held = table.prefixes.entry(set.clone()).or_default();
            prefixes
                .iter()
                .try_for_each(|prefix| missing(held.remove(&prefix)))
        }
        nft::Command::AddElements {
            table,
            set,
            elements: nft::Elements::Ranges(ranges),
        } => {
            let table = tables.get_mut(table).ok_or(Refusal::Missing)?;
            table.add_ranges(set, ranges)
        }
        nft::Command::DeleteElements {
            table,
            set,
            elements: nft::Elements::Ranges(ranges),
        } => {
            let table = tables.get_mut(table).ok_or(Refusal::Missing)?;
            let held = table.ranges.entry(set.clone()).or_default();
            let mut gone = ranges.iter();
            gone.try_for_each(|(first, rest)| missing(held.remove(first).as_ref() == Some(rest)))
        }
        nft::Command::AddElements {
            table,
            set,
            elements,
        } => {
            let table = tables.get_mut(table).ok_or(Refusal::Missing)?;
            table
                .elements
                .entry(set.clone())
                .or_default()
                .extend(keys(elements));
            Ok(())
        }
        nft::Command::DeleteElements {
            table,
            set,
            elements,
        } => {
            let table = tables.get_mut(table).ok_or(Refusal::Missing)?;
            if let Some(found) = table.maps.get_mut(set) {
                return keys(elements)
                    .iter()
                    .try_for_each(|key| missing(found.remove(key).is_some()));
            }
            let found = table.elements.entry(set.clone()).or_default();
            keys(elements)
                .iter()
                .try_for_each(|key| missing(found.remove(key)))
        }
        nft::Command::AddChain { table, .. }
        | nft::Command::SetRules { table, .. }
        | nft::Command::DeleteChain { table, .. } => {
            let table = tables.get_mut(table).ok_or(Refusal::Missing)?;
            run_on_chain(&mut table.chains, command)
        }
        nft::Command::AddSet { .. } | nft::Command::DeleteSet { .. } => run_on_set(tables, command),
        nft::Command::DeleteTable(table) => missing(tables.remove(table).is_some()),
    }
}

impl TableState {
    pub(super) fn add_entries(
        &mut self,
        set: &nft::Name,
        new: &BTreeMap<nft::Key, nft::Entry>,
    ) -> Result<(), Refusal> {
        let found = self.maps.entry(set.clone()).or_default();
        new.iter().try_for_each(|(key, entry)| {
            let entry = as_found(entry);
            match found.get(key) {
                Some(other) if other.data != entry.data => Err(Refusal::Exists),
                Some(_) => Ok(()),
                None => {
                    found.insert(key.clone(), entry);
                    Ok(())
                }
            }
        })
    }

    pub(super) fn add_prefixes(
        &mut self,
        set: &nft::Name,
        new: &nft::PrefixSet,
    ) -> Result<(), Refusal> {
        let held = self.prefixes.entry(set.clone()).or_default();
        new.iter().try_for_each(|prefix| {
            let clashes = |other: &Prefix| *other != prefix && other.overlaps(prefix);
            if held.iter().any(clashes) {
                return Err(Refusal::Exists);
            }
            held.insert(prefix);
            Ok(())
        })
    }

    pub(super) fn add_ranges(
        &mut self,
        set: &nft::Name,
        new: &nft::FoundRanges,
    ) -> Result<(), Refusal> {
        let held = self.ranges.entry(set.clone()).or_default();
        new.iter().try_for_each(|(first, rest)| {
            let before = held.range(..=rest.0).next_back();
            if before.is_some_and(|(_, (last, _))| last >= first) {
                return Err(Refusal::Exists);
            }
            held.insert(*first, rest.clone());
            Ok(())
        })
    }

    pub(super) fn add_set(&mut self, set: &nft::Set) {
        let family = nft::TableFamily::Inet;
        let name = set.name.clone();
        let mut alone = nft::Table::new(nft::TableId { family, name });
        alone.sets.push(set.clone());
        let alone = Self::of(&alone);
        self.elements.extend(alone.elements);
        self.prefixes.extend(alone.prefixes);
        self.ranges.extend(alone.ranges);
        self.maps.extend(alone.maps);
    }

    /// Whether it was there.
    pub(super) fn delete_set(&mut self, set: &nft::Name) -> bool {
        let exact = self.elements.remove(set).is_some();
        let prefixes = self.prefixes.remove(set).is_some();
        let ranges = self.ranges.remove(set).is_some();
        self.maps.remove(set).is_some() || exact || prefixes || ranges
    }

    /// What an observer of everything would see of `table`.
    pub(super) fn of(table: &nft::Table) -> Self {
        let sets = table.sets.iter().filter_map(|set| match &set.elements {
            nft::Elements::Map(_) | nft::Elements::Prefixes(_) | nft::Elements::Ranges(_) => None,
            exact => Some((set.name.clone(), keys(exact))),
        });
        let prefixes = table.sets.iter().filter_map(|set| match &set.elements {
            nft::Elements::Prefixes(prefixes) => {
                Some((set.name.clone(), prefixes.iter().collect()))
            }
            _ => None,
        });
        let ranges = table.sets.iter().filter_map(|set| match &set.elements {
            nft::Elements::Ranges(ranges) => Some((set.name.clone(), ranges.clone())),
            _ => None,
        });
        let maps = table.sets.iter().filter_map(|set| match &set.elements {
            nft::Elements::Map(map) => {
                let found = map
                    .iter()
                    .map(|(key, entry)| (key.clone(), as_found(entry)));
                Some((set.name.clone(), found.collect()))
            }
            _ => None,
        });
        let chains = table
            .chains
            .iter()
            .map(|chain| (chain.name.clone(), chain.rules.len()));
        let comment = table
            .comment
            .as_ref()
            .map(|comment| comment.as_str().to_owned());
        Self {
            comment,
            chains: chains.collect(),
            elements: sets.collect(),
            prefixes: prefixes.collect(),
            ranges: ranges.collect(),
            maps: maps.collect(),
        }
    }
}

pub(super) fn as_found(entry: &nft::Entry) -> nft::FoundEntry {
    nft::FoundEntry {
        data: Some(entry.data.clone()),
        comment: entry.comment.as_ref().map(|text| text.as_str().to_owned()),
    }
}

pub(super) fn keys(elements: &nft::Elements) -> BTreeSet<nft::Key> {
    match elements {
        nft::Elements::Keys(keys) => keys.clone(),
        nft::Elements::Map(map) => map.keys().cloned().collect(),
        nft::Elements::Limits(limits) => limits.keys().cloned().collect(),
        nft::Elements::Prefixes(_) | nft::Elements::Ranges(_) => BTreeSet::new(),
    }
}
