//! Waiting for a condition instead of for a time.

use std::thread;
use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Polls `condition` until it yields a value or `limit` has passed; asked at least once, and once
/// more at the deadline. `None` when it never did.
pub fn wait_until<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    let mut pause = FIRST_PAUSE;
    loop {
        let last = Instant::now() >= deadline;
        if let Some(value) = condition() {
            return Some(value);
        }
        if last {
            return None;
        }
        thread::sleep(pause.min(deadline.saturating_duration_since(Instant::now())));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// As [`wait_until`], for tests.
///
/// # Panics
/// When `limit` passes: the message is `what` was awaited and for how long.
#[track_caller]
pub fn wait_for<T>(what: &str, limit: Duration, condition: impl FnMut() -> Option<T>) -> T {
    wait_until(limit, condition).unwrap_or_else(|| panic!("waited {limit:?} in vain for {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_comes_true_ends_the_wait() {
        let mut asked = 0;
        let value = wait_for("the third question", Duration::from_secs(5), || {
            asked += 1;
            (asked == 3).then_some(asked)
        });
        assert_eq!(value, 3);
    }

    #[test]
    #[should_panic(expected = "in vain for rain")]
    fn a_vain_wait_names_what_was_awaited() {
        wait_for("rain", Duration::from_millis(5), || None::<()>);
    }
}
