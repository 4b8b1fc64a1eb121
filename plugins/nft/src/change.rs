//! From one table to another, in as few commands as lead there.

use std::collections::{BTreeMap, BTreeSet};

use crate::datum::Key;
use crate::name::Name;
use crate::prefixes::PrefixSet;
use crate::rule::{Rule, Statement, Verdict};
use crate::set::{Data, Elements, Entry, Set};
use crate::table::{Chain, Table, TableId};
use crate::transaction::Command;

/// The commands that turn `from` into `to`, which is the same table by its name; none if they are equal.
///
/// What is in both is not touched. Elements change one by one and a chain's rules all at once; a table of which
/// the hook of a chain or the kind of a set is another one, or the comment, is replaced whole.
#[must_use]
pub fn change(from: &Table, to: &Table) -> Vec<Command> {
    let change = Change {
        table: &to.id,
        from_sets: by_name(&from.sets, |set| &set.name),
        to_sets: by_name(&to.sets, |set| &set.name),
        from_chains: by_name(&from.chains, |chain| &chain.name),
        to_chains: by_name(&to.chains, |chain| &chain.name),
    };
    if from.comment != to.comment || !change.is_piecewise() {
        return vec![Command::ReplaceTable(to.clone())];
    }
    change.commands()
}

fn by_name<T>(all: &[T], name: impl Fn(&T) -> &Name) -> BTreeMap<&Name, &T> {
    all.iter().map(|one| (name(one), one)).collect()
}

struct Change<'a> {
    table: &'a TableId,
    from_sets: BTreeMap<&'a Name, &'a Set>,
    to_sets: BTreeMap<&'a Name, &'a Set>,
    from_chains: BTreeMap<&'a Name, &'a Chain>,
    to_chains: BTreeMap<&'a Name, &'a Chain>,
}

impl Change<'_> {
    fn is_piecewise(&self) -> bool {
        let chains = self.from_chains.iter().all(|(name, chain)| {
            let other = self.to_chains.get(name);
            // A base chain that goes or comes sees packets, or does not, from one moment to the next.
            other.map_or(chain.base.is_none(), |other| is_of_one_hook(chain, other))
        });
        let bases = self.to_chains.values().filter(|chain| chain.base.is_some());
        let mut bases = bases.map(|chain| self.from_chains.contains_key(&chain.name));
        let sets = self.from_sets.iter().all(|(name, set)| {
            let other = self.to_sets.get(name);
            other.is_none_or(|other| is_of_one_kind(set, other))
        });
        chains && sets && bases.all(|is_there| is_there)
    }

    /// Referent before reference, and what is referred to goes last.
    fn commands(&self) -> Vec<Command> {
        let mut commands = Vec::new();
        let new_sets = || missing(&self.to_sets, &self.from_sets);
        let old_sets = || missing(&self.from_sets, &self.to_sets);
        commands.extend(new_sets().map(|set| self.add_set(set)));
        let new_chains = ordered(missing(&self.to_chains, &self.from_chains));
        commands.extend(new_chains.into_iter().map(|chain| Command::AddChain {
            table: self.table.clone(),
            chain: chain.clone(),
        }));
        let both = || {
            let sets = self.from_sets.iter();
            sets.filter_map(|(name, from)| Some((*name, *from, *self.to_sets.get(name)?)))
        };
        for (name, from, to) in both() {
            let gone = minus(&from.elements, &to.elements);
            commands.extend(self.delete_elements(name, gone));
        }
        for set in old_sets().filter(|set| set.data.is_some()) {
            commands.extend(self.delete_elements(&set.name, set.elements.clone()));
        }
        for set in new_sets() {
            commands.extend(self.add_elements(&set.name, set.elements.clone()));
        }
        for (name, from, to) in both() {
            let new = minus(&to.elements, &from.elements);
            commands.extend(self.add_elements(name, new));
        }
        commands.extend(self.other_rules().map(|chain| Command::SetRules {
            table: self.table.clone(),
            chain: chain.clone(),
        }));
        let old_chains = ordered(missing(&self.from_chains, &self.to_chains));
        commands.extend(old_chains.iter().rev().map(|chain| Command::DeleteChain {
            table: self.table.clone(),
            chain: chain.name.clone(),
        }));
        commands.extend(old_sets().map(|set| Command::DeleteSet {
            table: self.table.clone(),
            set: set.name.clone(),
        }));
        commands
    }

    /// Chains of both that have other rules.
    fn other_rules(&self) -> impl Iterator<Item = &Chain> {
        let both = self.to_chains.iter();
        let other = both.filter(|(name, to)| {
            let from = self.from_chains.get(*name);
            from.is_some_and(|from| from.rules != to.rules)
        });
        other.map(|(_, to)| *to)
    }

    /// Without elements: those may lead to chains that are not there yet.
    fn add_set(&self, set: &Set) -> Command {
        let mut empty = set.clone();
        empty.elements.clear();
        Command::AddSet {
            table: self.table.clone(),
            set: empty,
        }
    }

    fn add_elements(&self, set: &Name, elements: Elements) -> Option<Command> {
        (!elements.is_empty()).then(|| Command::AddElements {
            table: self.table.clone(),
            set: set.clone(),
            elements,
        })
    }

    fn delete_elements(&self, set: &Name, elements: Elements) -> Option<Command> {
        (!elements.is_empty()).then(|| Command::DeleteElements {
            table: self.table.clone(),
            set: set.clone(),
            elements,
        })
    }
}

fn is_of_one_hook(one: &Chain, other: &Chain) -> bool {
    (&one.base, one.part) == (&other.base, other.part)
}

fn is_of_one_kind(one: &Set, other: &Set) -> bool {
    let family = |set: &Set| match &set.elements {
        Elements::Prefixes(prefixes) => Some(prefixes.family()),
        _ => None,
    };
    let kind = |set: &Set| (std::mem::discriminant(&set.elements), family(set));
    kind(one) == kind(other)
        && (&one.key, &one.data, one.timeout, one.part)
            == (&other.key, &other.data, other.timeout, other.part)
}

fn missing<'s, 'a: 's, T>(
    of: &'s BTreeMap<&'a Name, &'a T>,
    from: &'s BTreeMap<&'a Name, &'a T>,
) -> impl Iterator<Item = &'a T> + use<'s, 'a, T> {
    let there = of.iter().filter(|(name, _)| !from.contains_key(*name));
    there.map(|(_, one)| *one)
}

/// Those of `one` that are not the same in `other`, which is of its kind.
fn minus(one: &Elements, other: &Elements) -> Elements {
    match (one, other) {
        (Elements::Keys(one), Elements::Keys(other)) => {
            Elements::Keys(one.difference(other).cloned().collect())
        }
        (Elements::Map(one), Elements::Map(other)) => {
            // Both are in order.
            let mut others = other.iter().peekable();
            let is_new = |(key, entry): &(&Key, &Entry)| {
                while others.next_if(|(other, _)| other < key).is_some() {}
                others.peek() != Some(&(*key, *entry))
            };
            let new = one.iter().filter(is_new);
            Elements::Map(
                new.map(|(key, entry)| (key.clone(), entry.clone()))
                    .collect(),
            )
        }
        (Elements::Limits(one), Elements::Limits(other)) => {
            let new = one
                .iter()
                .filter(|(key, rate)| other.get(*key) != Some(*rate));
            Elements::Limits(new.map(|(key, rate)| (key.clone(), *rate)).collect())
        }
        (Elements::Prefixes(one), Elements::Prefixes(other)) => {
            let others: BTreeSet<_> = other.iter().collect();
            let new = one.iter().filter(|prefix| !others.contains(prefix));
            Elements::Prefixes(PrefixSet::new(one.family(), new))
        }
        (Elements::Ranges(one), Elements::Ranges(other)) => {
            let new = one
                .iter()
                .filter(|(first, rest)| other.get(*first) != Some(*rest));
            Elements::Ranges(new.map(|(first, rest)| (*first, rest.clone())).collect())
        }
        (one, _) => one.clone(),
    }
}

/// The chains with each after those that its rules go to.
fn ordered<'a>(chains: impl Iterator<Item = &'a Chain>) -> Vec<&'a Chain> {
    let all: BTreeMap<&Name, &Chain> = chains.map(|chain| (&chain.name, chain)).collect();
    let mut ordered = Vec::with_capacity(all.len());
    let mut seen = BTreeSet::new();
    // A chain, and whether those it goes to are out already.
    let mut stack: Vec<(&Chain, bool)> = all.values().rev().map(|chain| (*chain, false)).collect();
    while let Some((chain, is_due)) = stack.pop() {
        if is_due {
            ordered.push(chain);
            continue;
        }
        if !seen.insert(&chain.name) {
            continue;
        }
        stack.push((chain, true));
        let targets = chain.rules.iter().flat_map(targets);
        let known = targets.filter_map(|name| all.get(name));
        stack.extend(known.map(|chain| (*chain, false)));
    }
    ordered
}

/// The chains that a rule itself goes to; those in named maps come and go as elements.
fn targets(rule: &Rule) -> Vec<&Name> {
    let of = |verdict: &'_ Verdict| matches!(verdict, Verdict::Jump(_) | Verdict::Goto(_));
    let mut verdicts = Vec::new();
    for statement in &rule.statements {
        match statement {
            Statement::Verdict(verdict) => verdicts.push(verdict),
            Statement::Vmap { entries, .. } => verdicts.extend(entries.values()),
            _ => {}
        }
    }
    let named = verdicts.into_iter().filter(|verdict| of(verdict));
    named
        .filter_map(|verdict| match verdict {
            Verdict::Jump(name) | Verdict::Goto(name) => Some(name),
            _ => None,
        })
        .collect()
}

/// What a table would be after `commands`; for whoever wants to know without a kernel.
///
/// # Errors
/// The name of what the kernel would refuse: what is to be made and is there, or is to go and is not.
pub fn changed(table: &Table, commands: &[Command]) -> Result<Table, Name> {
    let mut table = table.clone();
    for command in commands {
        run(&mut table, command)?;
    }
    table.sets.sort_by(|one, other| one.name.cmp(&other.name));
    table.chains.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(table)
}

/// Does to a table, whose sets and chains are in the order of their names, what a kernel did that has taken
/// `commands`.
pub fn follow(table: &mut Table, commands: &[Command]) {
    let (mut new, mut gone) = (Vec::new(), BTreeSet::new());
    for command in commands {
        match command {
            Command::AddChain { chain, .. } => new.push(chain.clone()),
            Command::SetRules { chain, .. } => {
                let found = table
                    .chains
                    .binary_search_by(|one| one.name.cmp(&chain.name));
                if let Ok(at) = found {
                    table.chains[at].rules.clone_from(&chain.rules);
                }
            }
            Command::DeleteChain { chain, .. } => drop(gone.insert(chain)),
            Command::AddSet { set, .. } => {
                if let Err(at) = place(table, &set.name) {
                    table.sets.insert(at, set.clone());
                }
            }
            Command::DeleteSet { set, .. } => {
                if let Ok(at) = place(table, set) {
                    table.sets.remove(at);
                }
            }
            Command::AddElements { set, elements, .. } => {
                if let Ok(at) = place(table, set) {
                    add(&mut table.sets[at].elements, elements);
                }
            }
            Command::DeleteElements { set, elements, .. } => {
                if let Ok(at) = place(table, set) {
                    delete(&mut table.sets[at].elements, elements);
                }
            }
            Command::AddTable(whole) | Command::ReplaceTable(whole) => *table = whole.clone(),
            Command::DeleteTable(id) => *table = Table::new(id.clone()),
        }
    }
    if !gone.is_empty() {
        table.chains.retain(|chain| !gone.contains(&chain.name));
    }
    if !new.is_empty() {
        table.chains.extend(new);
        table.chains.sort_by(|one, other| one.name.cmp(&other.name));
    }
}

fn place(table: &Table, set: &Name) -> Result<usize, usize> {
    table.sets.binary_search_by(|one| one.name.cmp(set))
}

fn run(table: &mut Table, command: &Command) -> Result<(), Name> {
    match command {
        Command::AddTable(whole) | Command::ReplaceTable(whole) => *table = whole.clone(),
        Command::AddSet { set, .. } => {
            if table.set(&set.name).is_some() {
                return Err(set.name.clone());
            }
            table.sets.push(set.clone());
        }
        Command::DeleteSet { set, .. } => {
            table.set(set).ok_or_else(|| set.clone())?;
            table.sets.retain(|one| one.name != *set);
        }
        Command::AddChain { chain, .. } => {
            if table.chain(&chain.name).is_some() {
                return Err(chain.name.clone());
            }
            lead_somewhere(table, chain)?;
            table.chains.push(chain.clone());
        }
        Command::SetRules { chain, .. } => {
            lead_somewhere(table, chain)?;
            let mut chains = table.chains.iter_mut();
            let found = chains.find(|one| one.name == chain.name);
            let found = found.ok_or_else(|| chain.name.clone())?;
            found.rules.clone_from(&chain.rules);
        }
        Command::DeleteChain { chain, .. } => {
            table.chain(chain).ok_or_else(|| chain.clone())?;
            table.chains.retain(|one| one.name != *chain);
            let rules = table.chains.iter().flat_map(|one| &one.rules);
            let leads = rules.flat_map(targets).any(|name| name == chain);
            if leads || table.sets.iter().any(|set| leads_to(set, chain)) {
                return Err(chain.clone());
            }
        }
        Command::AddElements { set, elements, .. } => {
            let found = table.sets.iter_mut().find(|one| one.name == *set);
            let found = found.ok_or_else(|| set.clone())?;
            add(&mut found.elements, elements).ok_or_else(|| set.clone())?;
        }
        Command::DeleteElements { set, elements, .. } => {
            let found = table.sets.iter_mut().find(|one| one.name == *set);
            let found = found.ok_or_else(|| set.clone())?;
            delete(&mut found.elements, elements).ok_or_else(|| set.clone())?;
        }
        Command::DeleteTable(id) => *table = Table::new(id.clone()),
    }
    Ok(())
}

/// Whether everything that the chain's rules go to is there; what is not, if not.
fn lead_somewhere(table: &Table, chain: &Chain) -> Result<(), Name> {
    let mut targets = chain.rules.iter().flat_map(targets);
    match targets.find(|name| table.chain(name).is_none()) {
        Some(name) => Err(name.clone()),
        None => Ok(()),
    }
}

fn leads_to(set: &Set, chain: &Name) -> bool {
    let Elements::Map(map) = &set.elements else {
        return false;
    };
    map.values().any(|entry| {
        matches!(&entry.data, Data::Verdict(Verdict::Jump(name) | Verdict::Goto(name)) if name == chain)
    })
}

/// `None` where the kernel would refuse.
fn add(to: &mut Elements, new: &Elements) -> Option<()> {
    match (to, new) {
        (Elements::Keys(to), Elements::Keys(new)) => to.extend(new.iter().cloned()),
        (Elements::Map(to), Elements::Map(new)) => {
            for (key, entry) in new {
                let before = to.insert(key.clone(), entry.clone());
                before
                    .is_none_or(|before| before.data == entry.data)
                    .then_some(())?;
            }
        }
        (Elements::Limits(to), Elements::Limits(new)) => to.extend(new.clone()),
        (Elements::Prefixes(to), Elements::Prefixes(new)) => {
            *to = PrefixSet::new(to.family(), to.iter().chain(new.iter()).collect::<Vec<_>>());
        }
        (Elements::Ranges(to), Elements::Ranges(new)) => {
            for (first, rest) in new {
                let before = to.range(..=rest.0).next_back();
                before
                    .is_none_or(|(_, (last, _))| last < first)
                    .then_some(())?;
                to.insert(*first, rest.clone());
            }
        }
        _ => return None,
    }
    Some(())
}

fn delete(from: &mut Elements, gone: &Elements) -> Option<()> {
    let all;
    match (from, gone) {
        (Elements::Keys(from), Elements::Keys(gone)) => {
            all = gone.iter().filter(|key| from.remove(key)).count() == gone.len();
        }
        (Elements::Map(from), Elements::Map(gone)) => {
            let found = gone.keys().filter(|key| from.remove(key).is_some());
            all = found.count() == gone.len();
        }
        (Elements::Limits(from), Elements::Limits(gone)) => {
            let found = gone.keys().filter(|key| from.remove(key).is_some());
            all = found.count() == gone.len();
        }
        (Elements::Prefixes(from), Elements::Prefixes(gone)) => {
            let gone: BTreeSet<_> = gone.iter().collect();
            let left: Vec<_> = from.iter().filter(|one| !gone.contains(one)).collect();
            all = left.len() + gone.len() == from.iter().count();
            *from = PrefixSet::new(from.family(), left);
        }
        (Elements::Ranges(from), Elements::Ranges(gone)) => {
            let found = gone.iter();
            let found = found.filter(|(first, rest)| from.remove(first).as_ref() == Some(rest));
            all = found.count() == gone.len();
        }
        _ => return None,
    }
    all.then_some(())
}
