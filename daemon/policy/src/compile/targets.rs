//! Whom the classes of a node speak of: each has a number as long as one does.

use std::collections::HashMap;

use super::class::Target;
use super::digest::Digest;
use super::slots::Slots;

/// Which targets an address is: their numbers, in order.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct Marks(Vec<usize>);

impl Marks {
    pub(super) fn set(&mut self, number: usize) {
        if let Err(at) = self.0.binary_search(&number) {
            self.0.insert(at, number);
        }
    }

    pub(super) fn unset(&mut self, number: usize) {
        if let Ok(at) = self.0.binary_search(&number) {
            self.0.remove(at);
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        if self.0.is_empty() {
            self.0.clone_from(&other.0);
            return;
        }
        other.0.iter().for_each(|number| self.set(*number));
    }

    pub(super) fn has(&self, number: usize) -> bool {
        self.0.binary_search(&number).is_ok()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().copied()
    }
}

#[derive(Clone, Debug)]
struct Row {
    target: Target,
    digest: Digest,
    /// How many classes speak of it.
    uses: usize,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Targets {
    rows: Slots<Row>,
    numbers: HashMap<Digest, usize>,
}

/// Targets that classes have begun to speak of, and that none speaks of any more. The numbers of the latter are
/// still theirs.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) new: Vec<usize>,
    pub(super) gone: Vec<usize>,
}

impl News {
    /// Each number, and whether it is a new one.
    pub(super) fn numbers(&self) -> impl Iterator<Item = (usize, bool)> {
        let new = self.new.iter().map(|number| (*number, true));
        new.chain(self.gone.iter().map(|number| (*number, false)))
    }
}

impl Targets {
    /// One class more speaks of it; whether that is the first.
    pub(super) fn acquire(&mut self, digest: Digest, target: &Target) -> (usize, bool) {
        if let Some(number) = self.numbers.get(&digest) {
            if let Some(row) = self.rows.get_mut(*number) {
                row.uses += 1;
            }
            return (*number, false);
        }
        let number = self.rows.put(Row {
            target: target.clone(),
            digest,
            uses: 1,
        });
        self.numbers.insert(digest, number);
        (number, true)
    }

    /// One class less speaks of it; whether that was the last.
    pub(super) fn release(&mut self, number: usize) -> bool {
        let row = self.rows.get_mut(number);
        row.is_some_and(|row| {
            row.uses -= 1;
            row.uses == 0
        })
    }

    /// Gives back the number of a target that nobody speaks of.
    pub(super) fn forget(&mut self, number: usize) {
        if let Some(row) = self.rows.take(number) {
            self.numbers.remove(&row.digest);
        }
    }

    pub(super) fn get(&self, number: usize) -> Option<&Target> {
        self.rows.get(number).map(|row| &row.target)
    }

    /// The number of a target, if a class speaks of it.
    pub(super) fn number(&self, target: Digest) -> Option<usize> {
        let number = self.numbers.get(&target).copied()?;
        let row = self.rows.get(number)?;
        (row.uses > 0).then_some(number)
    }

    pub(super) fn digest(&self, number: usize) -> Option<Digest> {
        self.rows.get(number).map(|row| row.digest)
    }

    /// Those that classes speak of.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Target)> {
        let rows = self.rows.iter().filter(|(_, row)| row.uses > 0);
        rows.map(|(number, row)| (number, &row.target))
    }
}
