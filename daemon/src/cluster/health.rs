//! How the store has answered lately, for whoever asks.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bulkhead_ipam::cluster::KvError;
use bulkhead_ipam::wire::admin::Condition;

use crate::clock::unix_ms;

/// Answers that the median is of.
const KEPT: usize = 32;

/// What is remembered.
#[derive(Debug)]
pub(crate) struct Health(Mutex<Seen>);

/// How the store is.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) condition: Condition,
    /// Why not, or not fully.
    pub(crate) why: Option<String>,
    pub(crate) since_unix_ms: u64,
    pub(crate) answered_at_unix_ms: Option<u64>,
    times: VecDeque<Duration>,
}

impl Health {
    pub(super) fn new(since_unix_ms: u64) -> Self {
        Self(Mutex::new(Seen {
            condition: Condition::Unknown,
            why: None,
            since_unix_ms,
            answered_at_unix_ms: None,
            times: VecDeque::new(),
        }))
    }

    /// Notes an answer, or that there was none.
    pub(super) fn answered(&self, took: Duration, error: Option<&KvError>) {
        let condition = match error {
            None | Some(KvError::Compacted { .. }) => Condition::Healthy,
            Some(KvError::Unavailable { .. } | KvError::Ambiguous { .. }) => Condition::Unreachable,
            Some(KvError::Refused { .. }) => Condition::Denied,
        };
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = unix_ms();
        if seen.condition != condition {
            match error {
                None => tracing::info!("the cluster's store serves"),
                Some(error) => tracing::warn!(%error, "the cluster's store does not serve"),
            }
            (seen.condition, seen.since_unix_ms) = (condition, now);
        }
        seen.why = error.map(ToString::to_string);
        if condition == Condition::Healthy {
            seen.answered_at_unix_ms = Some(now);
            seen.times.push_back(took);
            if seen.times.len() > KEPT {
                seen.times.pop_front();
            }
        }
    }

    pub(crate) fn seen(&self) -> Seen {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Seen {
    /// Whether the store serves this node, or has not been asked yet.
    pub(crate) fn serves(&self) -> bool {
        self.condition == Condition::Healthy
    }

    /// The median of the last answers.
    pub(crate) fn latency(&self) -> Option<Duration> {
        let mut times: Vec<_> = self.times.iter().copied().collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    }
}
