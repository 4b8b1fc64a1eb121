//! Instants as people and programs read them (RFC 3339 §5.6), in UTC.

/// To the second.
pub(crate) fn seconds(unix_ms: u64) -> String {
    format!("{}Z", date_and_time(unix_ms / 1000))
}

/// To the millisecond.
pub(crate) fn millis(unix_ms: u64) -> String {
    format!("{}.{:03}Z", date_and_time(unix_ms / 1000), unix_ms % 1000)
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
        assert_eq!(millis(1_007), "1970-01-01T00:00:01.007Z");
    }
}
