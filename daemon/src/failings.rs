//! The last things that went wrong, for whoever asks how the daemon is.

use std::sync::Mutex;

use bulkhead_ipam::wire::admin::Failing;

use crate::clock::unix_ms;

/// How many are kept.
const MOST: usize = 20;

/// What went wrong, newest first; the same thing is kept once.
#[derive(Debug, Default)]
pub(crate) struct Failings(Mutex<Vec<Failing>>);

impl Failings {
    /// Notes that something went wrong just now.
    pub(crate) fn note(&self, text: String) {
        let mut kept = self.0.lock().expect("nobody panics while noting");
        let known = kept.iter().position(|failing| failing.text == text);
        let mut failing = known.map_or_else(
            || Failing {
                at_unix_ms: 0,
                times: 0,
                text,
            },
            |at| kept.remove(at),
        );
        failing.at_unix_ms = unix_ms();
        failing.times += 1;
        kept.insert(0, failing);
        kept.truncate(MOST);
    }

    /// All that are kept.
    pub(crate) fn all(&self) -> Vec<Failing> {
        self.0.lock().expect("nobody panics while noting").clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_thing_is_kept_once_and_comes_first() {
        let failings = Failings::default();
        for nth in 0..30 {
            failings.note(format!("{nth}"));
        }
        failings.note("15".to_owned());
        let all = failings.all();
        assert_eq!(all.len(), MOST);
        assert_eq!((all[0].text.as_str(), all[0].times), ("15", 2));
        assert_eq!(all[1].text, "29");
    }
}
