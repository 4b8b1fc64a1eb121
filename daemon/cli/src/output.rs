//! Values as text: tables for people, JSON and YAML for programs.

use std::collections::BTreeMap;

use bulkhead_ipam::SetUsage;
use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde::Serialize;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For people with wide screens: all columns.
    Wide,
    /// For programs.
    Json,
    /// As JSON, for configuration files.
    Yaml,
    /// A drawing; of `policy matrix` alone.
    Svg,
    /// A drawing in a page; of `policy matrix` alone.
    Html,
}

/// How many columns a table has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Width {
    Narrow,
    All,
}

impl Format {
    /// Whether it is one of those that few commands have.
    pub(crate) const fn is_drawing(self) -> bool {
        matches!(self, Self::Svg | Self::Html)
    }

    /// `value` for programs, or what `text` makes of it for people.
    pub(crate) fn render<T: Serialize + ?Sized>(
        self,
        value: &T,
        text: impl FnOnce(Width) -> String,
    ) -> String {
        match self {
            // Who makes drawings has made them before it comes here.
            Self::Table | Self::Svg | Self::Html => text(Width::Narrow),
            Self::Wide => text(Width::All),
            Self::Json => json(value),
            Self::Yaml => yaml(value),
        }
    }
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

/// A table whose columns from the `narrow`-th on are for wide screens.
pub(crate) fn columns(
    headings: &[&str],
    narrow: usize,
    width: Width,
    mut rows: Vec<Vec<String>>,
) -> String {
    let shown = match width {
        Width::Narrow => narrow,
        Width::All => headings.len(),
    };
    for row in &mut rows {
        row.truncate(shown);
    }
    table(&headings[..shown], &rows)
}

/// One item a line, for a cell.
pub(crate) fn lines<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let lines: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    or_dash(Some(lines.join("\n")))
}

/// `key=value`, one a line, for a cell.
pub(crate) fn labels(labels: &BTreeMap<String, String>) -> String {
    lines(labels.iter().map(|(key, value)| format!("{key}={value}")))
}

/// Indented JSON and a line feed.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> String {
    let text = serde_json::to_string_pretty(value);
    text.expect("strings, numbers and lists of them have a JSON form") + "\n"
}

fn yaml<T: Serialize + ?Sized>(value: &T) -> String {
    serde_saphyr::to_string(&value).expect("strings, numbers and lists of them have a YAML form")
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

/// Without control characters, which a terminal would obey; line feeds stay.
pub(crate) fn visible(text: &str) -> String {
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
    fn yaml_says_what_json_says() {
        let value = serde_json::json!([{
            "network": "no", "version": "1.0", "empty": [], "nothing": null,
            "text": "a: b # c\n\u{1b}[31m", "number": 3, "list": ["- x", "~", ""],
        }]);
        assert_eq!(
            Format::Yaml.render(&value, |_| String::new()),
            concat!(
                "- empty: []\n",
                "  list:\n  - \"- x\"\n  - \"~\"\n  - \"\"\n",
                "  network: \"no\"\n",
                "  nothing: null\n",
                "  number: 3\n",
                "  text: \"a: b # c\\n\\e[31m\"\n",
                "  version: \"1.0\"\n",
            )
        );
        let large = Usage {
            set: 0,
            ranges: "fd00::/16".to_owned(),
            size: u128::MAX,
            held: u64::MAX,
            cooling: 0,
            free: 1 << 80,
        };
        assert!(yaml(&large).contains(&format!("size: {}\n", u128::MAX)));
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
