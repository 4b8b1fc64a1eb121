//! What waits for a worker: calls first, then chores. Of workers that wait, the last that worked is woken,
//! and no other: its sockets, and what it knows of the ruleset, are the freshest.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

use super::{Call, Chore};

/// Something for a worker to do.
pub(super) enum Work {
    /// A runtime waits for it.
    Call(Box<Call>),
    /// A loop waits for it, or nobody.
    Chore(Chore),
}

/// The queue that all workers take from.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// A work has ended after the queue was closed.
    ended: Condvar,
}

/// Where one worker waits.
pub(super) type Seat = Arc<Condvar>;

#[derive(Default)]
struct Waiting {
    calls: VecDeque<Box<Call>>,
    chores: VecDeque<Chore>,
    /// The workers that wait and that nobody has woken, the last that worked at the end.
    idle: Vec<Seat>,
    is_closed: bool,
    /// Works that a worker has taken and not ended.
    taken: usize,
}

impl Queue {
    /// Adds work; it is given back once the queue is closed.
    pub(super) fn enter(&self, work: Work) -> Result<(), Work> {
        let mut waiting = self.lock();
        if waiting.is_closed {
            return Err(work);
        }
        match work {
            Work::Call(call) => waiting.calls.push_back(call),
            Work::Chore(chore) => waiting.chores.push_back(chore),
        }
        let woken = waiting.idle.pop();
        drop(waiting);
        if let Some(seat) = woken {
            seat.notify_one();
        }
        Ok(())
    }

    /// Waits for work on the worker's own seat; `None` once the queue is closed and empty.
    pub(super) fn take(&self, seat: &Seat) -> Option<Work> {
        let mut waiting = self.lock();
        loop {
            let call = waiting.calls.pop_front().map(Work::Call);
            let work = call.or_else(|| waiting.chores.pop_front().map(Work::Chore));
            if work.is_some() {
                waiting.taken += 1;
                return work;
            }
            if waiting.is_closed {
                return None;
            }
            waiting.idle.push(Arc::clone(seat));
            waiting = seat.wait(waiting).expect("nobody panics with the queue");
            // It may have woken by itself.
            waiting.idle.retain(|idle| !Arc::ptr_eq(idle, seat));
        }
    }

    /// A work that was taken has ended.
    pub(super) fn ended(&self) {
        let mut waiting = self.lock();
        waiting.taken -= 1;
        if waiting.is_closed {
            self.ended.notify_all();
        }
    }

    /// Takes nothing more in, drops the chores, and waits until every call has ended or `until` has come.
    /// How many calls have not ended.
    pub(super) fn close(&self, until: Instant) -> usize {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        waiting.chores.clear();
        for seat in std::mem::take(&mut waiting.idle) {
            seat.notify_one();
        }
        while waiting.taken + waiting.calls.len() > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.ended.wait_timeout(waiting, left);
            waiting = waited.expect("nobody panics with the queue").0;
        }
        waiting.taken + waiting.calls.len()
    }

    /// Workers that wait.
    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.lock().idle.len()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nobody panics with the queue")
    }
}
