//! Transactions of which it is known, in the end, whether they were made.

use super::{Operations, Operator, StoreTrouble};
use crate::cluster::kv::{Compare, Key, KvError, Revision, Txn, Write};
use crate::cluster::schema::{ChangeRow, MetaRow, Place, encode};

/// How often a transaction whose answer did not come is tried.
const TRIES: usize = 5;
/// How often a decision is made anew because somebody else was faster.
pub(super) const ROUNDS: usize = 16;

/// What became of a transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Settled {
    /// It is made.
    Made,
    /// It is not, and never will be.
    Not,
    /// Its answer did not come, and somebody changed the pivot after it or instead of it.
    Overtaken,
}

/// Whether a change may have been made by an earlier round whose answer did not come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Earlier {
    Nothing,
    Perhaps,
}

/// What is to be done about a change.
pub(super) enum Decision<T> {
    /// Nothing: it stands.
    Stands(T),
    /// This.
    Write(Draft, T),
}

/// A change of pools or reservations.
#[derive(Default)]
pub(super) struct Draft {
    /// For people.
    pub(super) what: String,
    pub(super) when: Vec<Compare>,
    pub(super) writes: Vec<Write>,
}

impl Operations<'_> {
    /// Runs a transaction that compares the revision of `pivot` and writes it, with a value that nobody
    /// else writes. Tried again, it is made once at most: the pivot's revision is another one then.
    pub(super) fn settle(&self, txn: &Txn, pivot: &Key) -> Result<Settled, KvError> {
        let mut unanswered = None;
        for _ in 0..TRIES {
            match self.store.commit(txn) {
                Ok(committed) if committed.held => return Ok(Settled::Made),
                Ok(_) if unanswered.is_none() => return Ok(Settled::Not),
                // The conditions hold no more: an earlier try was made, or somebody was faster.
                Ok(_) => return Ok(self.read_back(txn, pivot)?.unwrap_or(Settled::Overtaken)),
                Err(error @ KvError::Ambiguous { .. }) => unanswered = Some(error),
                Err(error) => return Err(error),
            }
            if let Some(settled) = self.read_back(txn, pivot)? {
                return Ok(settled);
            }
        }
        Err(unanswered.expect("only a transaction without an answer is tried again"))
    }

    /// What became of a transaction without an answer; `None` if its pivot is as it was.
    fn read_back(&self, txn: &Txn, pivot: &Key) -> Result<Option<Settled>, KvError> {
        let now = self.row(pivot)?;
        let revision = now.as_ref().map_or(Revision(0), |row| row.modified);
        let write = txn.writes.iter().find(|write| write.key() == pivot);
        let made = match (write.expect("the pivot is written"), &now) {
            (Write::Put(_, value), Some(row)) => row.value == *value,
            // Whoever deleted it.
            _ => false,
        };
        let untouched = txn
            .when
            .contains(&Compare::Modified(pivot.clone(), revision));
        Ok(match (made, untouched) {
            (true, _) => Some(Settled::Made),
            (false, true) => None,
            (false, false) => Some(Settled::Overtaken),
        })
    }

    /// The condition that the store is open, as it is now. A store that no node has written to yet is.
    pub(super) fn open(&self) -> Result<Compare, StoreTrouble> {
        let (meta, revision) = self.one::<MetaRow>(&Place::Meta)?;
        let closed = meta.and_then(|meta| StoreTrouble::closed(&self.store.describe(), &meta));
        match closed {
            Some(trouble) => Err(trouble),
            None => Ok(Compare::Modified(self.schema.key(&Place::Meta), revision)),
        }
    }

    /// Makes a change of pools or reservations: `decide` reads what it needs, and is asked again
    /// whenever another change was made meanwhile.
    pub(super) fn change<T, E: From<StoreTrouble>>(
        &self,
        operator: &Operator,
        mut decide: impl FnMut(Earlier) -> Result<Decision<T>, E>,
    ) -> Result<T, E> {
        let pivot = self.schema.key(&Place::Change);
        let mut earlier = Earlier::Nothing;
        for _ in 0..ROUNDS {
            let open = self.open()?;
            // Before anything that the decision rests on.
            let last = self.row(&pivot).map_err(StoreTrouble::from)?;
            let revision = last.map_or(Revision(0), |row| row.modified);
            let (draft, result) = match decide(earlier)? {
                Decision::Stands(result) => return Ok(result),
                Decision::Write(draft, result) => (draft, result),
            };
            let mut txn = Txn {
                when: draft.when,
                writes: draft.writes,
            };
            txn.when
                .extend([open, Compare::Modified(pivot.clone(), revision)]);
            let row = ChangeRow {
                attempt: operator.attempt.clone(),
                by: operator.by.clone(),
                at_unix_ms: operator.at_unix_ms,
                what: draft.what,
            };
            txn.writes.push(Write::Put(pivot.clone(), encode(&row)));
            match self.settle(&txn, &pivot).map_err(StoreTrouble::from)? {
                Settled::Made => return Ok(result),
                Settled::Not => {}
                Settled::Overtaken => earlier = Earlier::Perhaps,
            }
        }
        Err(self.contended().into())
    }

    pub(super) fn contended(&self) -> StoreTrouble {
        StoreTrouble::Contended {
            store: self.store.describe(),
            rounds: ROUNDS,
        }
    }
}
