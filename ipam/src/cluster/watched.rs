//! Rows in memory that threads share: read at once, changed by one at a time, watched by many.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::kv::{Event, KeyRange, KvError, Revision, Watch};
use super::mvcc::Mvcc;

/// A store's rows and who waits for them to change.
#[derive(Debug)]
pub(super) struct Watched {
    /// What the store is called in errors.
    pub(super) name: String,
    rows: Mutex<Mvcc>,
    changed: Condvar,
}

impl Watched {
    pub(super) const fn new(name: String, rows: Mvcc) -> Self {
        Self {
            name,
            rows: Mutex::new(rows),
            changed: Condvar::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Mvcc> {
        // Whoever changes the rows runs nothing in between that can panic.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the rows and wakes who watches them.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Mvcc) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    fn events(
        &self,
        rows: &Mvcc,
        range: &KeyRange,
        after: Revision,
    ) -> Result<Vec<Event>, KvError> {
        let history = rows.history();
        history
            .after(after, range)
            .ok_or_else(|| KvError::Compacted {
                store: self.name.clone(),
                oldest: history.forgotten(),
            })
    }

    /// A watch on `range` from `after` on.
    pub(super) fn watch(
        self: &Arc<Self>,
        range: &KeyRange,
        after: Revision,
    ) -> Result<Box<dyn Watch>, KvError> {
        // So that a revision that is forgotten already is refused here.
        self.events(&self.lock(), range, after)?;
        Ok(Box::new(Cursor {
            rows: Arc::clone(self),
            range: range.clone(),
            seen: after,
        }))
    }
}

/// A watch: a place in the history.
struct Cursor {
    rows: Arc<Watched>,
    range: KeyRange,
    seen: Revision,
}

impl Watch for Cursor {
    fn next(&mut self, patience: Duration) -> Result<Vec<Event>, KvError> {
        let begun = Instant::now();
        let mut rows = self.rows.lock();
        loop {
            let events = self.rows.events(&rows, &self.range, self.seen)?;
            // One may watch from a revision that is yet to come.
            self.seen = self.seen.max(rows.revision());
            let left = patience.saturating_sub(begun.elapsed());
            if !events.is_empty() || left.is_zero() {
                return Ok(events);
            }
            let changed = &self.rows.changed;
            let waited = changed.wait_timeout(rows, left);
            rows = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
