//! Instants as people write them: RFC 3339, or how long ago.

use std::str::FromStr;

/// An instant that was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum When {
    /// Milliseconds since 1970.
    At(u64),
    /// Milliseconds before now.
    Ago(u64),
}

/// What is no instant.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{0:?} is no instant: write one as 2026-03-01T08:00:00Z, 2026-03-01 08:00 (UTC), @1772352000, `2 hours ago`, `90m` or `yesterday`"
)]
pub(crate) struct NotAnInstant(String);

impl When {
    /// In milliseconds since 1970.
    pub(crate) fn unix_ms(self, now_unix_ms: u64) -> u64 {
        match self {
            Self::At(unix_ms) => unix_ms,
            Self::Ago(ms) => now_unix_ms.saturating_sub(ms),
        }
    }
}

impl FromStr for When {
    type Err = NotAnInstant;

    fn from_str(text: &str) -> Result<Self, NotAnInstant> {
        let said = text.trim().to_ascii_lowercase();
        let parsed = match said.as_str() {
            "now" => Some(Self::Ago(0)),
            "yesterday" => Some(Self::Ago(DAY)),
            said => ago(said)
                .map(Self::Ago)
                .or_else(|| instant(said).map(Self::At)),
        };
        parsed.ok_or_else(|| NotAnInstant(text.to_owned()))
    }
}

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

const UNITS: [(&[&str], u64); 6] = [
    (&["ms"], 1),
    (&["s", "sec", "secs", "second", "seconds"], SECOND),
    (&["m", "min", "mins", "minute", "minutes"], MINUTE),
    (&["h", "hr", "hrs", "hour", "hours"], HOUR),
    (&["d", "day", "days"], DAY),
    (&["w", "week", "weeks"], 7 * DAY),
];

/// `2 hours ago`, `1h30m`, `-90s`, `an hour ago`: a number and a unit, once or more.
fn ago(text: &str) -> Option<u64> {
    let text = text.strip_suffix("ago").unwrap_or(text);
    let mut rest = text.strip_prefix('-').unwrap_or(text).trim();
    for article in ["an ", "a "] {
        if let Some(unit) = rest.strip_prefix(article) {
            return unit_ms(unit.trim());
        }
    }
    let mut sum = 0_u64;
    let mut is_said = false;
    while !rest.is_empty() {
        let (number, after) = split_at(rest, |c| !c.is_ascii_digit());
        let (unit, after) = split_at(after.trim_start(), |c| !c.is_ascii_alphabetic());
        let ms = number.parse::<u64>().ok()?.checked_mul(unit_ms(unit)?)?;
        sum = sum.checked_add(ms)?;
        rest = after.trim_start_matches([' ', ',']);
        is_said = true;
    }
    is_said.then_some(sum)
}

fn unit_ms(unit: &str) -> Option<u64> {
    let found = UNITS.iter().find(|(names, _)| names.contains(&unit));
    found.map(|(_, ms)| *ms)
}

fn split_at(text: &str, is_end: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(is_end).unwrap_or(text.len()))
}

/// RFC 3339 §5.6, in lower case; a blank for the T, no seconds and no offset (UTC) are allowed.
fn instant(text: &str) -> Option<u64> {
    if let Some(unix_secs) = text.strip_prefix('@') {
        return digits(unix_secs, unix_secs.len())?.checked_mul(SECOND);
    }
    let (date, time) = text.split_once(['t', ' ']).unwrap_or((text, "00:00"));
    let days = days(date)?;
    let at = time.find(['z', '+', '-']).unwrap_or(time.len());
    let (time, offset) = time.split_at(at);
    let local = days * DAY + time_of_day(time.trim_end())?;
    local.checked_add_signed(-offset_ms(offset)?)
}

/// Days from 1970-01-01 (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms",
/// `days_from_civil`): years begin in March, so that the leap day is the last of its year.
fn days(date: &str) -> Option<u64> {
    let mut parts = date.split('-');
    let year = digits(parts.next()?, 4)?;
    let month = digits(parts.next()?, 2)?;
    let day = digits(parts.next()?, 2)?;
    let is_date = parts.next().is_none() && year >= 1970 && (1..=12).contains(&month);
    if !is_date || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let from_march = (month + 9) % 12;
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

fn days_in(year: u64, month: u64) -> u64 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn time_of_day(time: &str) -> Option<u64> {
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = time.split(':');
    let hour = digits(parts.next()?, 2)?;
    let minute = digits(parts.next()?, 2)?;
    let second = parts.next().map_or(Some(0), |text| digits(text, 2))?;
    // A leap second is the first of the next minute.
    let is_time = parts.next().is_none() && hour < 24 && minute < 60 && second <= 60;
    if !is_time || fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let millis: u64 = format!("{fraction:0<3}")[..3].parse().ok()?;
    Some(hour * HOUR + minute * MINUTE + second * SECOND + millis)
}

/// `z`, nothing, or `+01:00`.
fn offset_ms(offset: &str) -> Option<i64> {
    if ["", "z"].contains(&offset) {
        return Some(0);
    }
    let (sign, offset) = offset.split_at(1);
    let (hours, minutes) = offset.split_once(':')?;
    let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
    if hours >= 24 || minutes >= 60 {
        return None;
    }
    let ms = i64::try_from(hours * HOUR + minutes * MINUTE).ok()?;
    Some(if sign == "-" { -ms } else { ms })
}

fn digits(text: &str, length: usize) -> Option<u64> {
    let plain = text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::millis;

    #[test]
    fn how_long_ago_is_said_as_people_say_it() {
        for (text, ms) in [
            ("now", 0),
            ("2 hours ago", 2 * HOUR),
            ("2h", 2 * HOUR),
            ("-2h", 2 * HOUR),
            ("1h30m ago", 90 * MINUTE),
            ("1 day, 3 hours ago", 27 * HOUR),
            ("90 Seconds Ago", 90 * SECOND),
            ("an hour ago", HOUR),
            ("a week ago", 7 * DAY),
            ("250ms", 250),
            ("yesterday", DAY),
            (" 5 min ", 5 * MINUTE),
        ] {
            assert_eq!(text.parse(), Ok(When::Ago(ms)), "{text}");
        }
        assert_eq!(When::Ago(HOUR).unix_ms(HOUR + 7), 7);
        assert_eq!(When::Ago(HOUR).unix_ms(0), 0);
    }

    /// As `date -u -d <text> +%s` has them.
    #[test]
    fn instants_are_rfc_3339() {
        for (text, unix_ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-03-01T08:00:00Z", 1_772_352_000_000),
            ("2026-03-01t09:30:00.25+01:30", 1_772_352_000_250),
            ("2026-03-01T03:00:00-05:00", 1_772_352_000_000),
            ("2026-03-01 08:00", 1_772_352_000_000),
            ("2026-03-01", 1_772_323_200_000),
            ("2000-02-29T23:59:60Z", 951_868_800_000),
            ("2024-02-29T00:00:00.1234567Z", 1_709_164_800_123),
            ("@1772352000", 1_772_352_000_000),
        ] {
            assert_eq!(text.parse(), Ok(When::At(unix_ms)), "{text}");
        }
        assert_eq!(When::At(5).unix_ms(0), 5);
    }

    #[test]
    fn what_is_printed_is_read_again() {
        for unix_ms in (0..4_102_444_800_000).step_by(86_399_999_877) {
            assert_eq!(millis(unix_ms).parse(), Ok(When::At(unix_ms)));
        }
    }

    #[test]
    fn what_is_no_instant_is_refused_with_examples() {
        for text in [
            "",
            "soon",
            "2",
            "2 fortnights ago",
            "ago",
            "-",
            "2h 3",
            "99999999999999999999 s",
            "99999999999999999 w",
            "2026-02-29T00:00:00Z",
            "2026-13-01",
            "2026-00-01",
            "2026-01-32",
            "1969-12-31",
            "2026-3-1",
            "2026-03-01T24:00:00Z",
            "2026-03-01T08:00:00+25:00",
            "2026-03-01T08:00:00+0100",
            "2026-03-01T08:00:00.Z",
            "1970-01-01T00:00:00+01:00",
            "2026-03-01T08",
            "@",
            "@x",
            "@99999999999999999999",
        ] {
            let refused = text.parse::<When>();
            assert_eq!(refused, Err(NotAnInstant(text.to_owned())), "{text}");
        }
        assert!(
            NotAnInstant("soon".to_owned())
                .to_string()
                .starts_with("\"soon\" is no instant: write one as 2026-03-01T08:00:00Z")
        );
    }
}
