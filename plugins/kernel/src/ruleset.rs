//! What is known of the ruleset as long as nobody changes it. Every commit in a namespace, by whomever,
//! gives the ruleset another generation (`nf_tables_commit`, `net/netfilter/nf_tables_api.c`): tables,
//! chains, prefixes and elements that were seen in one generation need not be read again in it, nor what a
//! transaction of ours has just put there. Of sets whose elements come and go by themselves, with a
//! timeout or by rules, none is asked about here.
//!
//! Not so what is bound to a device: the kernel takes a chain with its device, in the same generation.
//! And since the kernel counts a moment before it turns to the new generation, what a refusal contradicts
//! is read again.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_model::Prefix;
use bulkhead_nft::observe::SetKind;
use bulkhead_nft::{Command, Elements, Key, Name, TableFamily, TableId, Transaction};

/// Tables and chains as of one generation.
#[derive(Debug, Default)]
pub(crate) struct Known {
    generation: u32,
    tables: BTreeMap<TableId, KnownTable>,
}

/// One table that is ours, or absent.
#[derive(Debug, Default)]
pub(crate) struct KnownTable {
    pub(crate) is_there: bool,
    pub(crate) comment: Option<String>,
    /// The number of rules of each chain that was looked for, if the chain is there.
    pub(crate) chains: BTreeMap<Name, Option<usize>>,
    /// What each set is that was looked for; `None` if it is not there, or none of ours.
    pub(crate) kinds: BTreeMap<Name, Option<SetKind>>,
    /// The whole content of sets of prefixes.
    pub(crate) prefixes: BTreeMap<Name, BTreeSet<Prefix>>,
    /// Elements that are there: those that the last look has found, and what transactions of ours have
    /// added since. No more than one look is about, however long the process stays.
    pub(crate) elements: BTreeMap<Name, BTreeSet<Key>>,
}

impl Known {
    /// What is known in a generation; nothing if it is another one than the last.
    pub(crate) fn in_generation(&mut self, generation: Option<u32>) -> &mut Self {
        if generation != Some(self.generation) {
            self.tables.clear();
        }
        // The kernel counts past 0, so nothing is ever known in it.
        self.generation = generation.unwrap_or(0);
        self
    }

    pub(crate) fn tables(&mut self) -> &mut BTreeMap<TableId, KnownTable> {
        &mut self.tables
    }

    /// Nothing is known any more.
    pub(crate) fn forget(&mut self) {
        self.tables.clear();
    }

    /// A transaction of ours was committed: if the next generation is the one after, nothing else was.
    /// A commit that may have changed nothing has made no generation, and then tells nothing.
    pub(crate) fn committed(&mut self, transaction: &Transaction) {
        if !transaction.0.iter().any(surely_changes) {
            self.tables.clear();
            return;
        }
        self.generation = match self.generation {
            0 => 0,
            before => next(before),
        };
        for command in &transaction.0 {
            match command {
                Command::AddElements {
                    table,
                    set,
                    elements,
                } => self.put(table, set, elements),
                Command::DeleteElements { table, set, .. } => self.forget_elements(table, set),
                Command::AddChain { table, chain } | Command::SetRules { table, chain } => {
                    self.forget_chain(table, &chain.name);
                }
                Command::DeleteChain { table, chain } => self.forget_chain(table, chain),
                Command::AddTable(table) | Command::ReplaceTable(table) => {
                    self.tables.remove(&table.id);
                }
                Command::AddSet { table, set } => self.forget_set(table, &set.name),
                Command::DeleteSet { table, set } => self.forget_set(table, set),
                Command::DeleteTable(id) => {
                    self.tables.remove(id);
                }
            }
        }
    }

    fn put(&mut self, table: &TableId, set: &Name, elements: &Elements) {
        let Some(table) = self.tables.get_mut(table) else {
            return;
        };
        table.prefixes.remove(set);
        if let Elements::Keys(keys) = elements {
            let there = table.elements.entry(set.clone()).or_default();
            there.extend(keys.iter().cloned());
        }
    }

    fn forget_elements(&mut self, table: &TableId, set: &Name) {
        if let Some(table) = self.tables.get_mut(table) {
            table.prefixes.remove(set);
            table.elements.remove(set);
        }
    }

    fn forget_set(&mut self, table: &TableId, set: &Name) {
        self.forget_elements(table, set);
        if let Some(table) = self.tables.get_mut(table) {
            table.kinds.remove(set);
        }
    }

    fn forget_chain(&mut self, table: &TableId, chain: &Name) {
        if let Some(table) = self.tables.get_mut(table) {
            table.chains.remove(chain);
        }
    }
}

/// Whether a chain that was found stays as long as the generation.
pub(crate) fn lasts(table: &TableId, is_base: bool) -> bool {
    !(is_base && table.family == TableFamily::Netdev)
}

/// Elements that are there already change nothing when they are added.
fn surely_changes(command: &Command) -> bool {
    !matches!(command, Command::AddElements { .. })
}

fn next(generation: u32) -> u32 {
    match generation.wrapping_add(1) {
        0 => 1,
        next => next,
    }
}
