//! How often a port is answered.

use std::time::{Duration, Instant};

/// So many at once.
const BURST: u32 = 5;
/// One more after this long.
const EVERY: Duration = Duration::from_secs(1);

/// What is left of a port's share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    left: u32,
    /// Up to when it was filled up.
    filled_at: Instant,
}

impl Budget {
    /// All of it.
    pub(super) fn full(now: Instant) -> Self {
        Self {
            left: BURST,
            filled_at: now,
        }
    }

    /// Takes one; whether there was one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.filled_at).as_secs();
        let more = u32::try_from(since / EVERY.as_secs()).unwrap_or(BURST);
        self.filled_at += EVERY * more.min(BURST);
        self.left = (self.left + more.min(BURST)).min(BURST);
        if self.left == BURST {
            self.filled_at = now;
        }
        let has_one = self.left > 0;
        self.left -= u32::from(has_one);
        has_one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_one_a_second() {
        let start = Instant::now();
        let mut budget = Budget::full(start);
        let takes = |budget: &mut Budget, ms: u64| budget.take(start + Duration::from_millis(ms));
        for _ in 0..5 {
            assert!(takes(&mut budget, 0));
        }
        assert!(!takes(&mut budget, 0));
        assert!(!takes(&mut budget, 900));
        assert!(takes(&mut budget, 1100));
        assert!(!takes(&mut budget, 1900));
        assert!(takes(&mut budget, 2100));
        for _ in 0..5 {
            assert!(takes(&mut budget, 60_000), "what was not taken is saved up");
        }
        assert!(!takes(&mut budget, 60_000), "but no more than a burst");
    }
}
