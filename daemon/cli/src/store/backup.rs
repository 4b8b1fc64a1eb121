//! A backup: a line of JSON that says what it is, a line for each row, and a line that says how many there
//! were, so that a file that was cut off is no backup.

use std::io::{self, BufRead};

use bulkhead_ipam::wire::admin::StoredRow;
use serde::{Deserialize, Serialize};

/// The layout of the file.
const SCHEMA: u32 = 1;

/// Every row of a store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Backup {
    /// The store's revision at which it was taken.
    pub(super) revision: u64,
    /// RFC 3339, UTC.
    pub(super) taken_at: String,
    pub(super) rows: Vec<StoredRow>,
}

/// What is no backup.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    #[error("cannot be read")]
    Read(#[source] io::Error),
    #[error("line {number} is none of a backup: {why}")]
    Line { number: usize, why: String },
    #[error("the backup has layout {found}, this release reads {SCHEMA}; use the later release")]
    Schema { found: u32 },
    #[error(
        "the backup ends after {found} rows without its last line: it was cut off, take another one"
    )]
    CutOff { found: usize },
    #[error("the backup says it has {said} rows and has {found}: it was changed, take another one")]
    Count { said: usize, found: usize },
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    bulkhead_backup: u32,
    revision: u64,
    taken_at: String,
}

#[derive(Deserialize, Serialize)]
struct Foot {
    rows: usize,
}

/// A line after the first.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Row(StoredRow),
    Foot(Foot),
}

impl Backup {
    pub(super) fn text(&self) -> String {
        let head = Head {
            bulkhead_backup: SCHEMA,
            revision: self.revision,
            taken_at: self.taken_at.clone(),
        };
        let foot = Foot {
            rows: self.rows.len(),
        };
        let rows = self.rows.iter().map(line);
        let lines = [line(&head)].into_iter().chain(rows).chain([line(&foot)]);
        lines.collect()
    }

    pub(super) fn read(input: impl BufRead) -> Result<Self, BackupError> {
        let mut lines = (1..).zip(input.lines());
        let malformed = |number, error: serde_json::Error| BackupError::Line {
            number,
            why: error.to_string(),
        };
        let (number, first) = lines.next().unwrap_or((1, Ok(String::new())));
        let first = first.map_err(BackupError::Read)?;
        let head: Head = serde_json::from_str(&first).map_err(|error| malformed(number, error))?;
        if head.bulkhead_backup != SCHEMA {
            return Err(BackupError::Schema {
                found: head.bulkhead_backup,
            });
        }
        let mut rows = Vec::new();
        for (number, text) in lines {
            let text = text.map_err(BackupError::Read)?;
            match serde_json::from_str(&text).map_err(|error| malformed(number, error))? {
                Line::Row(row) => rows.push(row),
                Line::Foot(foot) if foot.rows == rows.len() => {
                    return Ok(Self {
                        revision: head.revision,
                        taken_at: head.taken_at,
                        rows,
                    });
                }
                Line::Foot(foot) => {
                    return Err(BackupError::Count {
                        said: foot.rows,
                        found: rows.len(),
                    });
                }
            }
        }
        Err(BackupError::CutOff { found: rows.len() })
    }
}

fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings and numbers have a JSON form") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup() -> Backup {
        let row = |key: &str, value: &str| StoredRow {
            key: key.to_owned(),
            value: value.to_owned(),
        };
        Backup {
            revision: 812,
            taken_at: "2026-03-01T08:00:00.000Z".to_owned(),
            rows: vec![
                row("/bulkhead/v1/meta", "{\"schema\":1}"),
                row("/bulkhead/v1/pools/default", "{\"note\":\"a\\nb\"}"),
            ],
        }
    }

    fn refused(text: &str) -> String {
        Backup::read(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_backup_is_lines_of_json() {
        assert_eq!(
            backup().text(),
            r#"{"bulkheadBackup":1,"revision":812,"takenAt":"2026-03-01T08:00:00.000Z"}
{"key":"/bulkhead/v1/meta","value":"{\"schema\":1}"}
{"key":"/bulkhead/v1/pools/default","value":"{\"note\":\"a\\nb\"}"}
{"rows":2}
"#
        );
        assert_eq!(Backup::read(backup().text().as_bytes()).unwrap(), backup());
    }

    #[test]
    fn every_strict_prefix_is_refused() {
        let text = backup().text();
        // The last line feed alone may be missing.
        for end in 0..text.len() - 1 {
            assert!(Backup::read(&text.as_bytes()[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn what_is_no_backup_says_in_which_line() {
        let text = backup().text();
        assert!(refused("").starts_with("line 1 is none of a backup: "));
        assert!(refused("{\"rows\":2}").starts_with("line 1 is none of a backup: "));
        assert_eq!(
            refused(&text.replace("Backup\":1", "Backup\":2")),
            "the backup has layout 2, this release reads 1; use the later release"
        );
        let without = text.lines().filter(|line| !line.contains("/meta"));
        let without: Vec<_> = without.collect();
        assert_eq!(
            refused(&without.join("\n")),
            "the backup says it has 2 rows and has 1: it was changed, take another one"
        );
        assert!(
            refused(&text.replace("{\"key\":\"/bulkhead/v1/meta\"", "{")).starts_with("line 2 is")
        );
        let cut: Vec<_> = text.lines().take(2).collect();
        assert_eq!(
            refused(&cut.join("\n")),
            "the backup ends after 1 rows without its last line: it was cut off, take another one"
        );
    }
}
