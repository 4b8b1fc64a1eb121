//! How long the last endpoints took from their call to their row in the store.

use std::collections::VecDeque;
use std::time::Duration;

/// Endpoints that the shares are of.
const KEPT: usize = 1024;

/// The last ones.
#[derive(Debug, Default)]
pub(super) struct Lags(VecDeque<Duration>);

impl Lags {
    pub(super) fn note(&mut self, lag: Duration) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(lag);
    }

    /// The lag that `percent` of a hundred stay within; `None` before the first.
    pub(super) fn within(&self, percent: usize) -> Option<Duration> {
        let mut all: Vec<Duration> = self.0.iter().copied().collect();
        all.sort_unstable();
        let nth = (all.len() * percent).div_ceil(100);
        all.get(nth.max(1) - 1).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_what_so_many_stay_within() {
        let mut lags = Lags::default();
        assert_eq!(lags.within(99), None);
        for ms in 1..=200 {
            lags.note(Duration::from_millis(ms));
        }
        assert_eq!(lags.within(50), Some(Duration::from_millis(100)));
        assert_eq!(lags.within(99), Some(Duration::from_millis(198)));
        for _ in 0..KEPT {
            lags.note(Duration::from_millis(7));
        }
        assert_eq!(lags.within(99), Some(Duration::from_millis(7)));
    }
}
