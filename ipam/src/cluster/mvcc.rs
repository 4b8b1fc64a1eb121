//! A store's rows as values: what holds, what a transaction does to them, and which revision that
//! makes. Pure; the backends that keep their rows in memory say where this comes from and when it is
//! durable.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::history::History;
use super::kv::{Compare, Event, Key, KeyRange, Listing, Revision, Row, Write};

/// The revision of a store that nothing was ever written to (etcd's too).
const FIRST: Revision = Revision(1);

/// Rows under keys at one revision, and how they came about.
#[derive(Debug)]
pub(super) struct Mvcc {
    rows: BTreeMap<Key, Row>,
    revision: Revision,
    history: History,
}

impl Mvcc {
    /// These rows at `revision`, without a history; about `remembered` events will be kept.
    pub(super) fn new(rows: BTreeMap<Key, Row>, revision: Revision, remembered: usize) -> Self {
        Self {
            rows,
            revision,
            history: History::new(revision, remembered),
        }
    }

    /// A store that nothing was ever written to.
    pub(super) fn empty(remembered: usize) -> Self {
        Self::new(BTreeMap::new(), FIRST, remembered)
    }

    pub(super) const fn rows(&self) -> &BTreeMap<Key, Row> {
        &self.rows
    }

    pub(super) const fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) const fn history(&self) -> &History {
        &self.history
    }

    /// Forgets the changes up to `revision`, or up to now if that is yet to come.
    pub(super) fn compact(&mut self, revision: Revision) {
        self.history.forget(revision.min(self.revision));
    }

    /// At most `limit` rows of `range`; 0: all.
    pub(super) fn range(&self, range: &KeyRange, limit: usize) -> Listing {
        let limit = if limit == 0 { usize::MAX } else { limit };
        let mut inside = self.inside(range);
        Listing {
            rows: inside.by_ref().take(limit).cloned().collect(),
            revision: self.revision,
            more: inside.next().is_some(),
        }
    }

    fn inside(&self, range: &KeyRange) -> impl Iterator<Item = &Row> {
        let bounds = (
            Bound::Included(range.from.as_str()),
            Bound::Excluded(range.until.as_str()),
        );
        // A range of a BTreeMap whose start is after its end panics.
        (range.from < range.until)
            .then(|| self.rows.range::<str, _>(bounds))
            .into_iter()
            .flatten()
            .map(|(_, row)| row)
    }

    pub(super) fn holds(&self, compare: &Compare) -> bool {
        let modified = |key| self.rows.get(key).map_or(Revision(0), |row| row.modified);
        match compare {
            Compare::Absent(key) => !self.rows.contains_key(key),
            Compare::NoneIn(range) => self.inside(range).next().is_none(),
            Compare::Modified(key, revision) => modified(key) == *revision,
            Compare::Value(key, value) => self.rows.get(key).is_some_and(|row| row.value == *value),
        }
    }

    /// Whether `writes` would make a new revision: the deletion of what is not there does not.
    pub(super) fn changes(&self, writes: &[Write]) -> bool {
        writes.iter().any(|write| match write {
            Write::Put(..) => true,
            Write::Delete(key) => self.rows.contains_key(key),
        })
    }

    /// Writes, in one revision, which it returns.
    pub(super) fn apply(&mut self, writes: &[Write]) -> Revision {
        if !self.changes(writes) {
            return self.revision;
        }
        let revision = Revision(self.revision.0 + 1);
        self.revision = revision;
        let events: Vec<Event> = writes
            .iter()
            .filter_map(|write| self.write(write, revision))
            .collect();
        self.history.push(events);
        revision
    }

    fn write(&mut self, write: &Write, revision: Revision) -> Option<Event> {
        let row = match write {
            Write::Put(key, value) => {
                let before = self.rows.get(key);
                let row = Row {
                    key: key.clone(),
                    value: value.clone(),
                    created: before.map_or(revision, |row| row.created),
                    modified: revision,
                };
                self.rows.insert(key.clone(), row.clone());
                Some(row)
            }
            Write::Delete(key) => {
                self.rows.remove(key)?;
                None
            }
        };
        Some(Event {
            key: write.key().clone(),
            row,
            revision,
        })
    }
}
