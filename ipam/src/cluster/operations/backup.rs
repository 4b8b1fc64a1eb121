//! A backup: every row that is worth keeping, as JSON lines that begin with a header.

use serde::{Deserialize, Serialize};

use super::{OperationError, Operator};
use crate::cluster::kv::Key;
use crate::cluster::schema::{MetaRow, Place, SCHEMA};

/// The first line.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct BackupHeader {
    /// What it is: `backup`.
    pub bulkhead: String,
    /// The rows' schema.
    pub schema: u32,
    /// The cluster's id.
    pub cluster: String,
    /// The store's revision that all rows are of.
    pub revision: u64,
    /// How many rows follow.
    pub rows: u64,
    /// When it was made, in milliseconds since 1970.
    pub at_unix_ms: u64,
}

/// A line: a row.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct StoredRow {
    /// Its key below the root: `pools/default`.
    pub key: String,
    /// Its value, as it stands in the store.
    pub value: String,
}

impl Operator<'_> {
    /// The header, and every row but signs of life, as they are at one revision.
    ///
    /// # Errors
    /// Those of the store; `Row` if a value is no text.
    pub fn backup(&self) -> Result<(BackupHeader, Vec<StoredRow>), OperationError> {
        let listing = self.range(&self.schema.everything())?;
        let mut rows = Vec::with_capacity(listing.rows.len());
        for row in &listing.rows {
            if matches!(self.schema.place(&row.key), Some(Place::Live(_))) {
                continue;
            }
            let damaged = |_| crate::cluster::schema::RowError::Damaged {
                key: row.key.to_string(),
                what: "it is no text".to_owned(),
            };
            let value = String::from_utf8(row.value.clone()).map_err(damaged)?;
            rows.push(StoredRow {
                key: self.below(&row.key),
                value,
            });
        }
        let meta = self.one::<MetaRow>(&Place::Meta)?;
        let header = BackupHeader {
            bulkhead: "backup".to_owned(),
            schema: SCHEMA,
            cluster: meta.map(|(_, meta)| meta.cluster).unwrap_or_default(),
            revision: listing.revision.0,
            rows: rows.len() as u64,
            at_unix_ms: self.now_unix_ms,
        };
        Ok((header, rows))
    }

    /// A key without what every key begins with.
    pub(super) fn below(&self, key: &Key) -> String {
        let text = key.as_str();
        text.strip_prefix(self.schema.root())
            .unwrap_or(text)
            .to_owned()
    }

    /// A key from what is below the root.
    pub(super) fn above(&self, key: &str) -> Option<Key> {
        let key = Key::new(format!("{}{key}", self.schema.root()))?;
        self.schema.place(&key).map(|_| key)
    }
}

impl BackupHeader {
    /// Reads a backup's lines.
    ///
    /// # Errors
    /// `Backup` with the line that is none, or that is missing.
    pub fn read(text: &str) -> Result<(Self, Vec<StoredRow>), OperationError> {
        let wrong = |line: usize, what: String| OperationError::Backup { line, what };
        let mut lines = (1..).zip(text.lines());
        let (_, first) = lines
            .next()
            .ok_or_else(|| wrong(1, "it is empty".to_owned()))?;
        let header: Self =
            serde_json::from_str(first).map_err(|error| wrong(1, error.to_string()))?;
        if header.bulkhead != "backup" || header.schema > SCHEMA {
            let what = format!(
                "{} of schema {} is no backup that this release reads, whose schema is {SCHEMA}",
                header.bulkhead, header.schema
            );
            return Err(wrong(1, what));
        }
        let mut rows = Vec::new();
        for (line, text) in lines {
            let row = serde_json::from_str(text);
            rows.push(row.map_err(|error| wrong(line, error.to_string()))?);
        }
        if rows.len() as u64 != header.rows {
            let what = format!(
                "{} rows were to follow the header, and {} do",
                header.rows,
                rows.len()
            );
            return Err(wrong(rows.len() + 2, what));
        }
        Ok((header, rows))
    }

    /// The lines of a backup.
    #[must_use]
    pub fn write(&self, rows: &[StoredRow]) -> String {
        let line = |value: serde_json::Result<String>| value.expect("it has text keys") + "\n";
        let rows = rows.iter().map(|row| line(serde_json::to_string(row)));
        std::iter::once(line(serde_json::to_string(self)))
            .chain(rows)
            .collect()
    }
}
