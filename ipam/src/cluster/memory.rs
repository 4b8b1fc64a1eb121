//! A store that lives as long as its process: for simulations and tests.

use std::sync::Arc;

use super::kv::{ClusterStore, Committed, KeyRange, KvError, Listing, Revision, Txn, Watch};
use super::mvcc::Mvcc;
use super::watched::Watched;

/// Rows in memory. Clones share them, as clients of one store do.
#[derive(Clone, Debug)]
pub struct MemoryStore(Arc<Watched>);

impl MemoryStore {
    /// An empty store that remembers about `remembered` changes, twice as many at most.
    #[must_use]
    pub fn new(remembered: usize) -> Self {
        let rows = Mvcc::empty(remembered);
        Self(Arc::new(Watched::new("memory store".to_owned(), rows)))
    }

    /// Forgets the changes up to `revision`: watches that have not seen them end.
    pub fn compact(&self, revision: Revision) {
        self.0.change(|rows| rows.compact(revision));
    }
}

impl ClusterStore for MemoryStore {
    fn range(&self, range: &KeyRange, limit: usize) -> Result<Listing, KvError> {
        Ok(self.0.lock().range(range, limit))
    }

    fn commit(&self, txn: &Txn) -> Result<Committed, KvError> {
        txn.check(&self.0.name)?;
        Ok(self.0.change(|rows| {
            let held = txn.when.iter().all(|compare| rows.holds(compare));
            let revision = if held {
                rows.apply(&txn.writes)
            } else {
                rows.revision()
            };
            Committed { held, revision }
        }))
    }

    fn watch(&self, range: &KeyRange, after: Revision) -> Result<Box<dyn Watch>, KvError> {
        self.0.watch(range, after)
    }

    fn describe(&self) -> String {
        self.0.name.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::super::kv::{Key, Write};
    use super::*;

    #[test]
    fn a_watch_that_waits_is_woken_by_a_change_of_its_range() {
        let store = MemoryStore::new(100);
        let mut watch = store
            .watch(&KeyRange::prefix("a/"), Revision(1))
            .expect("nothing is forgotten");
        let put = |key: &str| Txn {
            writes: vec![Write::Put(Key::new(key).unwrap(), b"x".to_vec())],
            ..Txn::default()
        };
        thread::scope(|scope| {
            let events = scope.spawn(|| watch.next(Duration::from_secs(30)).unwrap());
            store.commit(&put("b/1")).unwrap();
            store.commit(&put("a/1")).unwrap();
            let events = events.join().unwrap();
            assert_eq!(events.len(), 1);
            assert_eq!(events[0].revision, Revision(3));
        });
        assert_eq!(watch.next(Duration::ZERO).unwrap(), []);
    }
}
