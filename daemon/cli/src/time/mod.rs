//! Instants as people and programs read them (RFC 3339 §5.6), in UTC, and as people write them.

mod parse;

use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) use parse::When;

/// To the second.
pub(crate) fn seconds(unix_ms: u64) -> String {
    format!("{}Z", date_and_time(unix_ms / 1000))
}

/// To the millisecond.
pub(crate) fn millis(unix_ms: u64) -> String {
    format!("{}.{:03}Z", date_and_time(unix_ms / 1000), unix_ms % 1000)
}

/// To the second, for the name of a file.
pub(crate) fn compact(unix_ms: u64) -> String {
    seconds(unix_ms).replace(['-', ':'], "")
}

/// The wall clock.
pub(crate) fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // A clock that stands before 1970 has not been set yet.
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// How long ago, roughly: `12 s`, `5 min`, `3 h`, `9 d`.
pub(crate) fn ago(unix_ms: u64, now_unix_ms: u64) -> String {
    span(now_unix_ms.saturating_sub(unix_ms))
}

/// A duration, roughly.
pub(crate) fn span(ms: u64) -> String {
    let secs = ms / 1000;
    match secs {
        0..120 => format!("{secs} s"),
        120..7200 => format!("{} min", secs / 60),
        7200..172_800 => format!("{} h", secs / 3600),
        _ => format!("{} d", secs / 86_400),
    }
}

fn date_and_time(unix_secs: u64) -> String {
    let (year, month, day) = civil(unix_secs / 86_400);
    let (hour, minute, second) = (unix_secs / 3600 % 24, unix_secs / 60 % 60, unix_secs % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

/// Year, month and day of a number of days since 1970-01-01. Counted in years that begin in March,
/// so that the leap day is the last of its year (H. Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let leaps = day_of_era / 1460 + day_of_era / 146_096 - day_of_era / 36_524;
    let year_of_era = (day_of_era - leaps) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let (month, next_year) = if from_march < 10 {
        (from_march + 3, 0)
    } else {
        (from_march - 9, 1)
    };
    (era * 400 + year_of_era + next_year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `date -u -d @<seconds> --iso-8601=seconds` prints them.
    #[test]
    fn instants_are_those_of_date() {
        for (unix_secs, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(seconds(unix_secs * 1000 + 999), text);
        }
        assert_eq!(compact(1_772_352_000_000), "20260301T080000Z");
        assert_eq!(millis(1_007), "1970-01-01T00:00:01.007Z");
    }

    #[test]
    fn a_while_is_told_in_the_unit_that_has_a_few_of_it() {
        for (ms, text) in [
            (0, "0 s"),
            (119_999, "119 s"),
            (120_000, "2 min"),
            (7_200_000, "2 h"),
            (172_800_000, "2 d"),
        ] {
            assert_eq!(span(ms), text);
            assert_eq!(ago(1_000_000, 1_000_000 + ms), text);
        }
        assert_eq!(ago(5_000, 0), "0 s", "another node's clock may be ahead");
    }
}
