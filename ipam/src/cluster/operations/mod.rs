//! What operators do to a cluster's store: each operation reads, decides, and writes in transactions that
//! compare what was read, so that two operators, or an operator and a node, cannot undo each other
//! unknowingly.

mod audit;
mod backup;
mod error;
mod listing;
mod lost;
mod migrate;
mod pools;
mod reserve;
mod restore;
#[cfg(test)]
mod tests;
mod who;

pub use audit::{Pruned, Retention};
pub use backup::{BackupHeader, StoredRow};
pub use error::OperationError;
pub use listing::{Filter, ListedBlock, ListedLease, ListedNode, ListedPool};
pub use lost::{LostNode, LostReport};
pub use migrate::{Migrated, migrate, resume_source};
pub use pools::{PoolChange, Prefixes};
pub use reserve::{Reserved, Standing};
pub use restore::Restored;
pub use who::{Chapter, History, Holder};

use super::kv::{
    ClusterStore, Compare, Key, KeyRange, KvError, Listing, Revision, Row, Txn, Write,
};
use super::name::Attempt;
use super::schema::{MetaRow, MetaState, Place, Schema, Value, decode, encode};

/// Somebody who operates on a store.
#[derive(Clone, Copy)]
pub struct Operator<'a> {
    /// The store.
    pub store: &'a dyn ClusterStore,
    /// Where its rows are.
    pub schema: &'a Schema,
    /// Who, for the audit.
    pub by: &'a str,
    /// A name of this operation that no other has.
    pub session: &'a str,
    /// The time, in milliseconds since 1970.
    pub now_unix_ms: u64,
}

/// What an operation comes to after it has read.
enum Plan<T> {
    /// It is done already, or there is nothing to do.
    Done(T),
    /// This is to be written.
    Commit(Txn, T),
}

/// How often an operation is tried that somebody else was faster with.
const TRIES: usize = 16;

impl Operator<'_> {
    /// Reads and writes until nobody else was faster. A plan is made anew for every try; what an answer
    /// that did not come has written, it finds done.
    fn settle<T>(
        &self,
        what: &str,
        plan: impl Fn() -> Result<Plan<T>, OperationError>,
    ) -> Result<T, OperationError> {
        let mut last = None;
        for _ in 0..TRIES {
            let (txn, value) = match plan()? {
                Plan::Done(value) => return Ok(value),
                Plan::Commit(txn, value) => (txn, value),
            };
            match self.store.commit(&txn) {
                Ok(committed) if committed.held => return Ok(value),
                Ok(_) => {}
                Err(error @ KvError::Ambiguous { .. }) => last = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        Err(last.map_or_else(
            || OperationError::Contended {
                what: what.to_owned(),
            },
            OperationError::from,
        ))
    }

    /// A transaction that compares that the store may be written to. The first operation ever makes the
    /// cluster.
    fn guarded(&self) -> Result<Txn, OperationError> {
        let key = self.schema.key(&Place::Meta);
        let Some((revision, meta)) = self.one::<MetaRow>(&Place::Meta)? else {
            let row = MetaRow {
                cluster: self.session.to_owned(),
                created_at_unix_ms: self.now_unix_ms,
                ..MetaRow::default()
            };
            return Ok(Txn {
                when: vec![Compare::Absent(key.clone())],
                writes: vec![Write::Put(key, encode(&row))],
            });
        };
        if meta.state != MetaState::Active {
            return Err(OperationError::NotActive {
                store: self.store.describe(),
                state: state_text(&meta),
            });
        }
        Ok(Txn {
            when: vec![Compare::Modified(key, revision)],
            writes: Vec::new(),
        })
    }

    /// The value at a place, with its last change.
    fn one<T: Value>(&self, place: &Place) -> Result<Option<(Revision, T)>, OperationError> {
        let listing = self.range(&KeyRange::one(&self.schema.key(place)))?;
        let row = listing.rows.first();
        let read = row.map(|row| Ok((row.modified, decode(&row.key, &row.value)?)));
        read.transpose()
    }

    fn range(&self, range: &KeyRange) -> Result<Listing, OperationError> {
        Ok(self.store.range(range, 0)?)
    }

    /// Every value of a range. A row that is not understood is an error.
    fn all<T: Value>(&self, range: &KeyRange) -> Result<Vec<(Place, T, Row)>, OperationError> {
        let rows = self.range(range)?.rows.into_iter();
        rows.map(|row| {
            let (place, value) = self.schema.read(&row)?;
            Ok((place, value, row))
        })
        .collect()
    }

    fn key(&self, place: &Place) -> Key {
        self.schema.key(place)
    }

    fn attempt(&self, nth: usize) -> Attempt {
        Attempt(format!("{}-{nth}", self.session))
    }
}

fn state_text(meta: &MetaRow) -> String {
    match meta.state {
        MetaState::Active => "in use".to_owned(),
        MetaState::Filling => "being filled from a backup or another store".to_owned(),
        MetaState::Moving => format!("being copied to {}", meta.to),
        MetaState::Moved => format!("left: its rows are in {}", meta.to),
    }
}
