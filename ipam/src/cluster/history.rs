//! What changed, in order, for as long as it is remembered: a bounded log of events that watches read
//! with cursors. An index by directory keeps a watch of one of them from reading past the changes of
//! all others.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use super::kv::{Event, KeyRange, Revision};

/// The events after `forgotten`, in the order of their revisions.
#[derive(Debug)]
pub(super) struct History {
    events: VecDeque<Event>,
    /// The number of the first event in `events`, counted from the beginning.
    first: u64,
    /// For each directory with events: their numbers, rising.
    by_directory: BTreeMap<String, VecDeque<u64>>,
    forgotten: Revision,
    most: usize,
}

/// A key up to its last slash, with it.
fn directory(key: &str) -> &str {
    &key[..key.rfind('/').map_or(0, |slash| slash + 1)]
}

impl History {
    /// An empty history that begins after `forgotten` and keeps about `most` events.
    pub(super) const fn new(forgotten: Revision, most: usize) -> Self {
        Self {
            events: VecDeque::new(),
            first: 0,
            by_directory: BTreeMap::new(),
            forgotten,
            most,
        }
    }

    /// The revision that the history begins after.
    pub(super) const fn forgotten(&self) -> Revision {
        self.forgotten
    }

    /// Adds the events of one revision, which is higher than every one before. Older revisions are
    /// forgotten, as wholes, so that not more than twice `most` events stay.
    pub(super) fn push(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            let number = self.first + length(&self.events);
            let directory = directory(event.key.as_str());
            match self.by_directory.get_mut(directory) {
                Some(numbers) => numbers.push_back(number),
                None => drop(
                    self.by_directory
                        .insert(directory.to_owned(), VecDeque::from([number])),
                ),
            }
            self.events.push_back(event);
        }
        if self.events.len() > self.most.saturating_mul(2) {
            let newest_to_go = &self.events[self.events.len() - self.most - 1];
            self.forget(newest_to_go.revision);
        }
    }

    /// Forgets every event up to `revision`.
    pub(super) fn forget(&mut self, revision: Revision) {
        let gone = self.events.partition_point(|e| e.revision <= revision);
        self.events.drain(..gone);
        self.first += u64::try_from(gone).expect("a length in memory fits 64 bits");
        let first = self.first;
        self.by_directory.retain(|_, numbers| {
            numbers.drain(..numbers.partition_point(|number| *number < first));
            !numbers.is_empty()
        });
        self.forgotten = self.forgotten.max(revision);
    }

    /// The events of `range` after `after`; `None` if some of those may be forgotten.
    pub(super) fn after(&self, after: Revision, range: &KeyRange) -> Option<Vec<Event>> {
        if after < self.forgotten {
            return None;
        }
        let seen = self.events.partition_point(|e| e.revision <= after);
        let from = self.first + u64::try_from(seen).expect("a length in memory fits 64 bits");
        let mut numbers: Vec<u64> = self.numbers_from(from, range).collect();
        numbers.sort_unstable();
        let event = |number: u64| {
            let nth = usize::try_from(number - self.first).expect("it is in memory");
            &self.events[nth]
        };
        let inside = numbers.into_iter().map(event);
        Some(inside.filter(|e| range.contains(&e.key)).cloned().collect())
    }

    /// The numbers, `from` or higher, of every event in a directory that `range` touches.
    fn numbers_from(&self, from: u64, range: &KeyRange) -> impl Iterator<Item = u64> {
        // A key of the range lies in a directory that is a prefix of it, so it sorts before the key:
        // either a prefix of `range.from` as well, or at `range.from` or after.
        let above = range.from.match_indices('/').map(|(slash, _)| slash + 1);
        let above = std::iter::once(0)
            .chain(above)
            .filter(|end| *end < range.from.len())
            .filter_map(|end| self.by_directory.get(&range.from[..end]));
        let bounds = (
            Bound::Included(range.from.as_str()),
            Bound::Excluded(range.until.as_str()),
        );
        let ordered = range.from < range.until;
        let inside = ordered.then(|| self.by_directory.range::<str, _>(bounds));
        above
            .chain(inside.into_iter().flatten().map(|(_, numbers)| numbers))
            .flat_map(move |numbers| {
                let seen = numbers.partition_point(|number| *number < from);
                numbers.range(seen..).copied()
            })
    }
}

fn length(events: &VecDeque<Event>) -> u64 {
    u64::try_from(events.len()).expect("a length in memory fits 64 bits")
}

#[cfg(test)]
mod tests {
    use super::super::kv::Key;
    use super::*;

    fn event(key: &str, revision: u64) -> Event {
        Event {
            key: Key::new(key).unwrap(),
            row: None,
            revision: Revision(revision),
        }
    }

    fn seen(history: &History, after: u64, from: &str, until: &str) -> Option<Vec<u64>> {
        let range = KeyRange {
            from: from.to_owned(),
            until: until.to_owned(),
        };
        let events = history.after(Revision(after), &range)?;
        Some(events.iter().map(|event| event.revision.0).collect())
    }

    #[test]
    fn the_index_leaves_out_no_event_of_any_range() {
        let keys = [
            "a", "a/", "a/b", "a/b/c", "a/b/d", "a/c", "a0", "b/a", "b/b",
        ];
        let mut history = History::new(Revision(1), 1000);
        for (nth, key) in (2..).zip(keys.iter().cycle().take(30)) {
            history.push([event(key, nth)]);
        }
        let bounds = [
            "", "a", "a/", "a/b", "a/b/", "a/b/c", "a/b/cc", "a/c", "a/~", "a0", "b", "b/", "c",
        ];
        for from in bounds {
            for until in bounds {
                for after in [1, 5, 30] {
                    let inside = |nth: &u64| {
                        let key = keys[usize::try_from(*nth - 2).unwrap() % keys.len()];
                        *nth > after && from <= key && key < until
                    };
                    let expected: Vec<u64> = (2..32).filter(inside).collect();
                    assert_eq!(
                        seen(&history, after, from, until),
                        Some(expected),
                        "{from:?}..{until:?} after {after}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_forgotten_is_forgotten_by_whole_revisions() {
        let mut history = History::new(Revision(1), 4);
        for revision in 2..8 {
            history.push([event("a/x", revision), event("b/x", revision)]);
        }
        let oldest = history.forgotten().0;
        assert!((2..6).contains(&oldest), "{oldest}");
        assert_eq!(seen(&history, oldest - 1, "a", "b"), None);
        let rest: Vec<u64> = (oldest + 1..8).collect();
        assert_eq!(seen(&history, oldest, "a", "b"), Some(rest));
        assert_eq!(history.by_directory.len(), 2);
        history.forget(Revision(7));
        assert_eq!(seen(&history, 7, "a", "c"), Some(vec![]));
        assert!(history.by_directory.is_empty());
    }
}
