//! Stores that lose answers, fail, or let somebody else go first.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::cluster::MemoryStore;
use crate::cluster::kv::{
    ClusterStore, Committed, KeyRange, KvError, Listing, Revision, Txn, Watch,
};

/// What happens to a transaction.
pub(in crate::cluster) enum Fate {
    /// It is made and answered.
    Well,
    /// It is made, and the answer is lost.
    MadeUnanswered,
    /// It is not made, and the answer is lost.
    LostUnanswered,
    /// The answer is lost, and it is made when the next one has been.
    Late,
    /// The store cannot be reached.
    Unreachable,
    /// Somebody does this first.
    After(Box<dyn FnOnce(&MemoryStore) + Send>),
    /// It is made, the answer is lost, and somebody does this before it is read back.
    MadeThen(Box<dyn FnOnce(&MemoryStore) + Send>),
}

impl Fate {
    /// Every way of an answer to be lost.
    pub(in crate::cluster) fn unanswered() -> [Self; 3] {
        [Self::MadeUnanswered, Self::LostUnanswered, Self::Late]
    }
}

/// A store whose transactions have fates, in order; those after them go well.
pub(in crate::cluster) struct Fated {
    pub(in crate::cluster) store: MemoryStore,
    fates: Mutex<VecDeque<Fate>>,
    late: Mutex<Option<Txn>>,
    commits: AtomicUsize,
}

impl Fated {
    pub(in crate::cluster) fn new(
        store: &MemoryStore,
        fates: impl IntoIterator<Item = Fate>,
    ) -> Self {
        Self {
            store: store.clone(),
            fates: Mutex::new(fates.into_iter().collect()),
            late: Mutex::new(None),
            commits: AtomicUsize::new(0),
        }
    }

    /// A store whose nth transaction, counted from 0, has a fate.
    pub(in crate::cluster) fn at(store: &MemoryStore, nth: usize, fate: Fate) -> Self {
        let fates = (0..nth).map(|_| Fate::Well).chain([fate]);
        Self::new(store, fates)
    }

    /// Transactions so far.
    pub(in crate::cluster) fn commits(&self) -> usize {
        self.commits.load(Ordering::Relaxed)
    }

    fn ambiguous(&self) -> KvError {
        KvError::Ambiguous {
            store: self.describe(),
            why: "no answer within 5 s".to_owned(),
        }
    }
}

impl ClusterStore for Fated {
    fn range(&self, range: &KeyRange, limit: usize) -> Result<Listing, KvError> {
        self.store.range(range, limit)
    }

    fn commit(&self, txn: &Txn) -> Result<Committed, KvError> {
        txn.check(&self.describe())?;
        self.commits.fetch_add(1, Ordering::Relaxed);
        let fate = self.fates.lock().unwrap().pop_front();
        let committed = match fate.unwrap_or(Fate::Well) {
            Fate::Well => self.store.commit(txn),
            Fate::MadeUnanswered => {
                self.store.commit(txn)?;
                Err(self.ambiguous())
            }
            Fate::LostUnanswered => Err(self.ambiguous()),
            Fate::Late => {
                *self.late.lock().unwrap() = Some(txn.clone());
                return Err(self.ambiguous());
            }
            Fate::Unreachable => Err(KvError::Unavailable {
                store: self.describe(),
                why: "connection refused".to_owned(),
            }),
            Fate::After(first) => {
                first(&self.store);
                self.store.commit(txn)
            }
            Fate::MadeThen(then) => {
                self.store.commit(txn)?;
                then(&self.store);
                Err(self.ambiguous())
            }
        };
        if let Some(late) = self.late.lock().unwrap().take() {
            self.store.commit(&late)?;
        }
        committed
    }

    fn watch(&self, range: &KeyRange, after: Revision) -> Result<Box<dyn Watch>, KvError> {
        self.store.watch(range, after)
    }

    fn describe(&self) -> String {
        self.store.describe()
    }
}
