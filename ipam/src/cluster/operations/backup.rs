//! All rows of a cluster as a file: one JSON object a line, the first of which says what the others are.

use std::fmt::Write as _;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Operations, Reason, StoreTrouble};
use crate::cluster::kv::{Key, Row};
use crate::cluster::schema::{MetaRow, MetaState, RowError, SCHEMA, Schema, decode};

/// A row as it is kept outside a store.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct StoredRow {
    /// Its key without a configured prefix: `/bulkhead/v1/pools/default`.
    pub key: String,
    /// Its value, whatever it is.
    pub value: Vec<u8>,
}

/// What the first line says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct BackupHead {
    /// The version of the file's form.
    #[serde(rename = "bulkhead_backup")]
    pub form: u32,
    /// The schema of the rows.
    pub schema: u32,
    /// The cluster's id.
    pub cluster: String,
    /// The store's revision when they were read.
    pub revision: u64,
    /// How many they are.
    pub rows: u64,
    /// SHA-256 of the lines after this one, in hexadecimal.
    pub sha256: String,
}

/// All rows of a cluster, whole and of one revision.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Backup {
    head: BackupHead,
    meta: MetaRow,
    rows: Vec<StoredRow>,
}

/// Why rows are no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// They are of no cluster.
    #[error("there is nothing to keep: no node has registered, so the store is of no cluster yet")]
    NoCluster,
    /// They are not all.
    #[error(
        "the rows are not complete: the store was being filled from {from}; finish that first, or take the backup of that"
    )]
    Incomplete {
        /// Where from.
        from: String,
    },
    /// The store's own row is not understood.
    #[error(transparent)]
    Meta(#[from] RowError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreTrouble),
    /// The file cannot be read or written.
    #[error("the backup cannot be read or written")]
    Io(#[from] io::Error),
    /// The first line is none.
    #[error("line 1 says of no backup: {what}; name a file that `bulkhead store backup` wrote")]
    Head {
        /// What is wrong.
        what: String,
    },
    /// A later release wrote it.
    #[error(
        "the backup has form {form} and schema {schema}, this release reads {} and {SCHEMA}; use the release that wrote it",
        Backup::FORM
    )]
    Newer {
        /// Its form.
        form: u32,
        /// Its schema.
        schema: u32,
    },
    /// A line is no row.
    #[error("line {line} is no row: {what}; the file is damaged, use another backup")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// Two rows have one key.
    #[error("the backup has {key} twice; use another one")]
    Twice {
        /// The key.
        key: String,
    },
    /// Lines are missing or changed.
    #[error(
        "the backup is cut off or was changed: it says {said_rows} rows with SHA-256 {said}, and has {rows} with {found}; use another one"
    )]
    Changed {
        /// Rows as the first line says.
        said_rows: u64,
        /// The digest that the first line says.
        said: String,
        /// Rows that there are.
        rows: u64,
        /// Their digest.
        found: String,
    },
}

impl BackupError {
    /// What kind of reason it is.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::NoCluster | Self::Incomplete { .. } => Reason::Conflict,
            Self::Store(trouble) => trouble.reason(),
            Self::Meta(_) | Self::Io(_) => Reason::Failed,
            Self::Head { .. }
            | Self::Newer { .. }
            | Self::Line { .. }
            | Self::Twice { .. }
            | Self::Changed { .. } => Reason::Invalid,
        }
    }
}

/// A row's line. A value that is no text, which nothing of this project writes, stands in hexadecimal.
#[derive(Deserialize, Serialize)]
struct Line {
    key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
}

impl Backup {
    /// The version of the file's form that this release writes.
    pub const FORM: u32 = 1;
    /// What every key begins with.
    pub const ROOT: &'static str = "/bulkhead/v1/";

    /// Rows that were read at one revision of a store.
    ///
    /// # Errors
    /// [`BackupError`] except of files and the store.
    pub fn of(mut rows: Vec<StoredRow>, revision: u64) -> Result<Self, BackupError> {
        rows.sort_unstable();
        if let Some(pair) = rows.windows(2).find(|pair| pair[0].key == pair[1].key) {
            return Err(BackupError::Twice {
                key: pair[0].key.clone(),
            });
        }
        let meta = meta(&rows)?;
        let head = BackupHead {
            form: Self::FORM,
            schema: SCHEMA,
            cluster: meta.cluster.clone(),
            revision,
            rows: u64::try_from(rows.len()).expect("a length in memory fits 64 bits"),
            sha256: digest(&rows),
        };
        Ok(Self { head, meta, rows })
    }

    /// What the first line says.
    #[must_use]
    pub const fn head(&self) -> &BackupHead {
        &self.head
    }

    /// The rows, by key.
    #[must_use]
    pub fn rows(&self) -> &[StoredRow] {
        &self.rows
    }

    /// The store's own row.
    pub(super) const fn meta(&self) -> &MetaRow {
        &self.meta
    }

    /// What a store that is filled from it says: the beginning of its digest.
    pub(super) fn label(&self) -> String {
        format!("backup {}", &self.head.sha256[..16])
    }

    /// Writes it.
    ///
    /// # Errors
    /// As the writer.
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        let mut head = serde_json::to_vec(&self.head).expect("a head is a struct of plain values");
        head.push(b'\n');
        to.write_all(&head)?;
        for row in &self.rows {
            to.write_all(&line(row))?;
        }
        to.flush()
    }

    /// Reads it, and checks that it is whole.
    ///
    /// # Errors
    /// [`BackupError`] except of the store.
    pub fn read(from: &mut dyn BufRead) -> Result<Self, BackupError> {
        let mut text = Vec::new();
        from.read_until(b'\n', &mut text)?;
        let head: BackupHead =
            serde_json::from_slice(&text).map_err(|error| BackupError::Head {
                what: error.to_string(),
            })?;
        if head.form > Self::FORM || head.schema > SCHEMA {
            return Err(BackupError::Newer {
                form: head.form,
                schema: head.schema,
            });
        }
        let mut rows = Vec::new();
        for nth in 2.. {
            text.clear();
            if from.read_until(b'\n', &mut text)? == 0 {
                break;
            }
            let row = parse(&text).map_err(|what| BackupError::Line { line: nth, what })?;
            rows.push(row);
        }
        let read = Self::of(rows, head.revision)?;
        if (read.head.rows, &read.head.sha256) != (head.rows, &head.sha256) {
            return Err(BackupError::Changed {
                said_rows: head.rows,
                said: head.sha256,
                rows: read.head.rows,
                found: read.head.sha256,
            });
        }
        Ok(read)
    }
}

impl Operations<'_> {
    /// Every row, as they are at one revision.
    ///
    /// # Errors
    /// [`BackupError`] except of files.
    pub fn backup(&self) -> Result<Backup, BackupError> {
        let listing = self
            .store
            .range(&self.schema.everything(), 0)
            .map_err(StoreTrouble::from)?;
        let rows = listing.rows.into_iter().map(|row| stored(self.schema, row));
        Backup::of(rows.collect(), listing.revision.0)
    }
}

/// A row without a configured prefix.
pub(super) fn stored(schema: &Schema, row: Row) -> StoredRow {
    let path = row.key.as_str().strip_prefix(schema.root());
    StoredRow {
        key: format!("{}{}", Backup::ROOT, path.unwrap_or_default()),
        value: row.value,
    }
}

/// The key of a row in a store.
pub(super) fn key(schema: &Schema, row: &StoredRow) -> Option<Key> {
    let path = row.key.strip_prefix(Backup::ROOT)?;
    Key::new(format!("{}{path}", schema.root()))
}

fn meta(rows: &[StoredRow]) -> Result<MetaRow, BackupError> {
    let key = format!("{}meta", Backup::ROOT);
    let row = rows.iter().find(|row| row.key == key);
    let row = row.ok_or(BackupError::NoCluster)?;
    let key = Key::new(key).expect("it is short and plain");
    let meta: MetaRow = decode(&key, &row.value)?;
    match meta.state {
        MetaState::Filling => Err(BackupError::Incomplete { from: meta.from }),
        MetaState::Active | MetaState::Moving | MetaState::Moved => Ok(meta),
    }
}

fn digest(rows: &[StoredRow]) -> String {
    let mut digest = Sha256::new();
    for row in rows {
        digest.update(line(row));
    }
    hex(&digest.finalize())
}

fn line(row: &StoredRow) -> Vec<u8> {
    let text = String::from_utf8(row.value.clone());
    let line = Line {
        key: row.key.clone(),
        hex: text.is_err().then(|| hex(&row.value)),
        value: text.ok(),
    };
    let mut line = serde_json::to_vec(&line).expect("a line is a struct of texts");
    line.push(b'\n');
    line
}

fn parse(text: &[u8]) -> Result<StoredRow, String> {
    let line: Line = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let value = match (line.value, line.hex) {
        (Some(value), None) => value.into_bytes(),
        (None, Some(hex)) => unhex(&hex).ok_or("hex is not hexadecimal")?,
        _ => return Err("it has not one of value and hex".to_owned()),
    };
    let row = StoredRow {
        key: line.key,
        value,
    };
    match key(&Schema::default(), &row) {
        Some(_) => Ok(row),
        None => Err(format!("{:?} is no key below {}", row.key, Backup::ROOT)),
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a string takes everything");
    }
    text
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|c| u8::try_from(c.to_digit(16)?).ok())
        .collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    Some(
        digits
            .chunks(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect(),
    )
}
