//! Filling a store with the rows of another one, or of a backup. While its own row says that it is being
//! filled, nobody else writes to it; rows are created, never changed; what is there with another value
//! stops it. So it can be done again, at any point, and never mixes two clusters.

use std::collections::BTreeMap;

use super::backup::{StoredRow, key, stored};
use super::commit::ROUNDS;
use super::lost::{Progress, Watcher};
use super::names::listed;
use super::{Operations, StoreTrouble};
use crate::cluster::kv::{Compare, Key, KeyRange, KvError, Revision, Txn, Write};
use crate::cluster::schema::{MetaRow, MetaState, Place, Schema, encode};

/// Bytes of a transaction's rows.
const MOST_BYTES: usize = Txn::MOST_BYTES / 2;

/// What a store has of some rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Comparison {
    /// Rows that are not there.
    pub(super) missing: Vec<StoredRow>,
    /// Rows that are there.
    pub(super) same: u64,
    /// Keys that are there with another value.
    pub(super) differing: Vec<String>,
    /// Keys that are there and are not among the rows.
    pub(super) extra: Vec<String>,
    /// Keys that are there with another value, and decide nothing.
    pub(super) left: Vec<String>,
}

impl Comparison {
    /// What stands in the way, in words; `None` if nothing does.
    pub(super) fn obstacle(&self) -> Option<String> {
        let texts = |keys: &[String]| listed(keys.iter().cloned());
        match (self.differing.is_empty(), self.extra.is_empty()) {
            (true, true) => None,
            (false, true) => Some(format!("{} with another value", texts(&self.differing))),
            (true, false) => Some(format!("{}, which is not among them", texts(&self.extra))),
            (false, false) => Some(format!(
                "{} with another value, and {}, which is not among them",
                texts(&self.differing),
                texts(&self.extra)
            )),
        }
    }
}

/// Why rows could not be put into a store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum FillTrouble {
    Store(StoreTrouble),
    /// What the store has that stands in the way.
    Obstacle(String),
}

impl From<StoreTrouble> for FillTrouble {
    fn from(trouble: StoreTrouble) -> Self {
        Self::Store(trouble)
    }
}

impl From<KvError> for FillTrouble {
    fn from(error: KvError) -> Self {
        Self::Store(error.into())
    }
}

impl Operations<'_> {
    /// The store's own row.
    pub(super) fn meta(&self) -> Result<(Option<MetaRow>, Revision), StoreTrouble> {
        self.one(&Place::Meta)
    }

    /// Writes the store's own row over what was read; whether it was so still.
    pub(super) fn set_meta(
        &self,
        revision: Revision,
        meta: &MetaRow,
        when: Option<Compare>,
    ) -> Result<bool, KvError> {
        let key = self.schema.key(&Place::Meta);
        let mut txn = Txn {
            when: vec![Compare::Modified(key.clone(), revision)],
            writes: vec![Write::Put(key.clone(), encode(meta))],
        };
        txn.when.extend(when);
        Ok(self.settle(&txn, &key)? == super::commit::Settled::Made)
    }

    /// Every row but the store's own, without the prefix.
    pub(super) fn all_stored(&self) -> Result<Vec<StoredRow>, KvError> {
        let meta = self.schema.key(&Place::Meta);
        let rows = self.all(&self.schema.everything())?;
        let rows = rows.into_iter().filter(|row| row.key != meta);
        Ok(rows.map(|row| stored(self.schema, row)).collect())
    }

    /// What the store has of `rows`, its own row aside.
    pub(super) fn compare(&self, rows: &[StoredRow]) -> Result<Comparison, KvError> {
        let there = self.all_stored()?;
        Ok(compare(rows, &there))
    }

    /// Creates rows in a store that is being filled, and counts them.
    pub(super) fn fill(
        &self,
        rows: &[StoredRow],
        written: &mut u64,
        watcher: Watcher<'_>,
    ) -> Result<(), FillTrouble> {
        for some in chunks(rows) {
            *written += self.fill_some(some)?;
            watcher(Progress {
                what: "rows written",
                done: *written,
                total: Some(count(rows)),
            });
        }
        Ok(())
    }

    /// What is there of the rows, if nothing is in the way.
    pub(super) fn checked(&self, rows: &[StoredRow]) -> Result<Comparison, FillTrouble> {
        let found = self.compare(rows)?;
        match found.obstacle() {
            Some(obstacle) => Err(FillTrouble::Obstacle(obstacle)),
            None => Ok(found),
        }
    }

    /// Fills the store with all of the rows that are not there, and looks whether they are.
    pub(super) fn fill_all(
        &self,
        rows: &[StoredRow],
        written: &mut u64,
        watcher: Watcher<'_>,
    ) -> Result<Comparison, FillTrouble> {
        let before = self.checked(rows)?;
        self.fill(&before.missing, written, watcher)?;
        let after = self.checked(rows)?;
        if after.missing.is_empty() {
            return Ok(Comparison {
                same: before.same,
                ..after
            });
        }
        let missing: Vec<String> = after.missing.into_iter().map(|row| row.key).collect();
        let missing = listed(missing.into_iter());
        Err(FillTrouble::Obstacle(format!(
            "no {missing} any more, which was written"
        )))
    }

    fn fill_some(&self, rows: &[StoredRow]) -> Result<u64, FillTrouble> {
        let mut rest = rows.to_vec();
        let mut unanswered = None;
        for _ in 0..ROUNDS {
            let Some((first, last)) = ends(self.schema, &rest) else {
                break;
            };
            let txn = self.creation(&rest)?;
            match self.store.commit(&txn) {
                Ok(committed) if committed.held => return Ok(count(rows)),
                Ok(_) => {}
                Err(error @ KvError::Ambiguous { .. }) => unanswered = Some(error),
                Err(error) => return Err(error.into()),
            }
            let range = KeyRange {
                from: first.to_string(),
                until: format!("{last}\0"),
            };
            let there = self.all(&range)?.into_iter();
            let there: Vec<StoredRow> = there.map(|row| stored(self.schema, row)).collect();
            let found = compare(&rest, &there);
            if !found.differing.is_empty() {
                let obstacle = found.obstacle().unwrap_or_default();
                return Err(FillTrouble::Obstacle(obstacle));
            }
            rest = found.missing;
        }
        match unanswered {
            _ if rest.is_empty() => Ok(count(rows)),
            Some(error) => Err(error.into()),
            None => Err(self.contended().into()),
        }
    }

    /// That rows which are not there are created, while the store is being filled.
    fn creation(&self, rows: &[StoredRow]) -> Result<Txn, FillTrouble> {
        let (meta, revision) = self.meta()?;
        if meta.is_none_or(|meta| meta.state != MetaState::Filling) {
            return Err(self.contended().into());
        }
        let own = self.schema.key(&Place::Meta);
        let mut txn = Txn {
            when: vec![Compare::Modified(own, revision)],
            writes: Vec::new(),
        };
        for row in rows {
            let key = key(self.schema, row).ok_or_else(|| {
                FillTrouble::Obstacle(format!("no room for a key as long as {}", row.key))
            })?;
            txn.when.push(Compare::Absent(key.clone()));
            txn.writes.push(Write::Put(key, row.value.clone()));
        }
        Ok(txn)
    }
}

/// What is there of some rows. Pure.
fn compare(rows: &[StoredRow], there: &[StoredRow]) -> Comparison {
    let mut found = Comparison::default();
    let mut there: BTreeMap<&str, &[u8]> = there
        .iter()
        .map(|row| (row.key.as_str(), row.value.as_slice()))
        .collect();
    for row in rows.iter().filter(|row| !is_own(&row.key)) {
        match there.remove(row.key.as_str()) {
            None => found.missing.push(row.clone()),
            Some(value) if value == row.value => found.same += 1,
            Some(_) if tells(&row.key) => found.left.push(row.key.clone()),
            Some(_) => found.differing.push(row.key.clone()),
        }
    }
    let extra = there.into_keys().filter(|key| !is_own(key) && !tells(key));
    found.extra = extra.map(str::to_owned).collect();
    found
}

fn place(key: &str) -> Option<Place> {
    Schema::default().place(&Key::new(key)?)
}

fn is_own(key: &str) -> bool {
    place(key) == Some(Place::Meta)
}

/// Whether a row says something and decides nothing: whoever it is of writes it anew.
fn tells(key: &str) -> bool {
    matches!(
        place(key),
        Some(
            Place::Node(_)
                | Place::Live(_)
                | Place::Endpoint { .. }
                | Place::Applied(_)
                | Place::Janitor
                | Place::Change
        )
    )
}

fn ends(schema: &Schema, rows: &[StoredRow]) -> Option<(Key, Key)> {
    Some((key(schema, rows.first()?)?, key(schema, rows.last()?)?))
}

fn count(rows: &[StoredRow]) -> u64 {
    u64::try_from(rows.len()).expect("a length in memory fits 64 bits")
}

/// Rows in order, in as few parts as fit a transaction.
fn chunks(rows: &[StoredRow]) -> Vec<&[StoredRow]> {
    // One condition is about the store itself.
    let most = Txn::MOST_WRITES - 1;
    let mut parts = Vec::new();
    let mut rest = rows;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = rest.iter().take(most).take_while(|row| {
            bytes += 2 * (row.key.len() + Schema::LONGEST_PREFIX) + row.value.len();
            bytes <= MOST_BYTES
        });
        let (part, after) = rest.split_at(fits.count().max(1));
        parts.push(part);
        rest = after;
    }
    parts
}
