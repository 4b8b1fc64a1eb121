//! Values as text: tables for people, JSON for programs.

use bulkhead_ipam::SetUsage;
use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde::Serialize;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum Format {
    /// A table for people.
    #[default]
    Table,
    /// JSON for programs.
    Json,
}

/// Columns under their headings, two spaces apart; a cell with several lines takes several. What a
/// configuration file puts into a cell reaches no terminal as a control sequence.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(headings.iter().copied());
    for row in rows {
        table.add_row(row.iter().map(|cell| visible(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt() + "\n"
}

/// Indented JSON and a line feed.
pub(crate) fn json<T: Serialize>(value: &T) -> String {
    let text = serde_json::to_string_pretty(value);
    text.expect("strings, numbers and lists of them have a JSON form") + "\n"
}

/// `-` for what is not there.
pub(crate) fn or_dash(text: Option<String>) -> String {
    text.filter(|text| !text.is_empty())
        .unwrap_or_else(|| "-".to_owned())
}

/// A number of addresses: exact up to 12 digits, then as the power of two it is nearest to.
pub(crate) fn count(addresses: u128) -> String {
    if addresses < 1_000_000_000_000 {
        return addresses.to_string();
    }
    let floor = addresses.ilog2();
    // The bit below the highest says whether it is nearer to the next power (by the mean).
    let power = floor + u32::from(addresses >> (floor - 1) & 1 == 1);
    format!("~2^{power}")
}

/// How full a range set is, as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Usage {
    pub(crate) set: u32,
    pub(crate) ranges: String,
    pub(crate) size: u128,
    pub(crate) held: u64,
    pub(crate) cooling: u64,
    pub(crate) free: u128,
}

impl From<SetUsage> for Usage {
    fn from(usage: SetUsage) -> Self {
        Self {
            set: usage.set,
            ranges: usage.ranges,
            size: usage.size,
            held: usage.held,
            cooling: usage.cooling,
            free: usage.free,
        }
    }
}

fn visible(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' => c,
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_where_the_text_does() {
        let rows = [
            vec!["blue".to_owned(), "one\ntwo".to_owned()],
            vec!["-".to_owned(), "\u{1b}[31mred".to_owned()],
        ];
        assert_eq!(
            table(&["NETWORK", "NOTE"], &rows),
            "NETWORK  NOTE\nblue     one\n         two\n-        \u{fffd}[31mred\n"
        );
        assert_eq!(table(&["NETWORK", "NOTE"], &[]), "NETWORK  NOTE\n");
    }

    #[test]
    fn large_numbers_are_powers_of_two() {
        assert_eq!(count(253), "253");
        assert_eq!(count(999_999_999_999), "999999999999");
        assert_eq!(count((1 << 64) - 3), "~2^64");
        assert_eq!(count(1 << 64), "~2^64");
        assert_eq!(count(u128::MAX), "~2^128");
    }
}
