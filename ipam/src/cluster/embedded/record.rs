//! What the files hold: one JSON object a record. A value is a string, since values are text; bytes that
//! are none are written in hexadecimal.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::super::kv::{Key, Revision, Row, Write};

/// A transaction that was carried out.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Change<'a> {
    pub(super) revision: u64,
    #[serde(borrow)]
    writes: Vec<Step<'a>>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
enum Step<'a> {
    Put {
        #[serde(borrow)]
        put: Cow<'a, str>,
        #[serde(borrow)]
        value: Value<'a>,
    },
    Delete {
        #[serde(borrow)]
        delete: Cow<'a, str>,
    },
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
enum Value<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Bytes { hex: String },
}

/// A row of the snapshot.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Saved<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    created: u64,
    modified: u64,
    #[serde(borrow)]
    value: Value<'a>,
}

/// The snapshot's first record: what follows it.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Saving {
    pub(super) revision: u64,
    pub(super) rows: usize,
}

impl<'a> Change<'a> {
    pub(super) fn new(revision: Revision, writes: &'a [Write]) -> Self {
        let step = |write: &'a Write| match write {
            Write::Put(key, value) => Step::Put {
                put: key.as_str().into(),
                value: Value::of(value),
            },
            Write::Delete(key) => Step::Delete {
                delete: key.as_str().into(),
            },
        };
        Self {
            revision: revision.0,
            writes: writes.iter().map(step).collect(),
        }
    }

    /// What it wrote; `None` if no release of ours wrote it so.
    pub(super) fn writes(&self) -> Option<Vec<Write>> {
        let write = |step: &Step<'_>| match step {
            Step::Put { put, value } => Some(Write::Put(key(put)?, value.bytes()?)),
            Step::Delete { delete } => Some(Write::Delete(key(delete)?)),
        };
        self.writes.iter().map(write).collect()
    }
}

impl<'a> Saved<'a> {
    pub(super) fn new(row: &'a Row) -> Self {
        Self {
            key: row.key.as_str().into(),
            created: row.created.0,
            modified: row.modified.0,
            value: Value::of(&row.value),
        }
    }

    /// `None` as [`Change::writes`].
    pub(super) fn row(&self) -> Option<Row> {
        Some(Row {
            key: key(&self.key)?,
            value: self.value.bytes()?,
            created: Revision(self.created),
            modified: Revision(self.modified),
        })
    }
}

fn key(text: &str) -> Option<Key> {
    Key::new(text)
}

impl<'a> Value<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.into()),
            Err(_) => Self::Bytes {
                hex: bytes.iter().fold(String::new(), |mut hex, byte| {
                    let _ = write!(hex, "{byte:02x}");
                    hex
                }),
            },
        }
    }

    fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Text(text) => Some(text.as_bytes().to_vec()),
            Self::Bytes { hex } => hex.as_bytes().chunks(2).map(byte).collect(),
        }
    }
}

fn byte(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits).ok()?;
    let plain = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    plain.then(|| u8::from_str_radix(digits, 16).ok())?
}
