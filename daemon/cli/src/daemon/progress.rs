//! How far something is: one line on standard error, written over and over, for a person who waits
//! longer than a second.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use bulkhead_ipam::wire::admin::Progress;

const AT_ONCE: Duration = Duration::from_secs(1);
/// What changes faster cannot be read.
const AGAIN: Duration = Duration::from_millis(100);

/// Back to the line's beginning, and all of it cleared (ECMA-48, EL).
const CLEAR: &str = "\r\u{1b}[K";

/// The line. It is cleared when dropped.
#[derive(Debug)]
pub(crate) struct Bar {
    is_watched: bool,
    due: Instant,
    is_shown: bool,
}

impl Bar {
    /// Shown after a second, if somebody watches.
    pub(crate) fn new() -> Self {
        Self {
            is_watched: io::stderr().is_terminal(),
            due: Instant::now() + AT_ONCE,
            is_shown: false,
        }
    }

    pub(crate) fn show(&mut self, progress: &Progress) {
        let now = Instant::now();
        if !self.is_watched || now < self.due {
            return;
        }
        self.due = now + AGAIN;
        self.is_shown = true;
        // Who cannot be told how far it is misses nothing else.
        let _ = write!(io::stderr(), "{CLEAR}{}", line(progress));
    }

    /// Makes room for something else.
    pub(crate) fn clear(&mut self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "{CLEAR}");
            self.is_shown = false;
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.clear();
    }
}

fn line(progress: &Progress) -> String {
    let Progress { what, done, total } = progress;
    let what: String = what.chars().filter(|c| !c.is_control()).collect();
    match total {
        Some(total) if *total > 0 => {
            let percent = u128::from(*done) * 100 / u128::from(*total);
            format!("{what}: {done} of {total} ({percent} %)")
        }
        _ => format!("{what}: {done}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is() {
        let mut progress = Progress {
            what: "rows copied\u{1b}".to_owned(),
            done: 120,
            total: Some(480),
        };
        assert_eq!(line(&progress), "rows copied: 120 of 480 (25 %)");
        progress.total = Some(0);
        assert_eq!(line(&progress), "rows copied: 120");
        progress.total = None;
        assert_eq!(line(&progress), "rows copied: 120");
    }
}
