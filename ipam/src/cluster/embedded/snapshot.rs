//! The snapshot: in the journal's framing, one record that says how many follow, then a row each.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde_json as json;

use super::super::kv::{Key, Revision, Row};
use super::super::mvcc::Mvcc;
use super::record::{Saved, Saving};
use super::{EmbeddedError, damaged};
use crate::error::{FileError, StoreError};
use crate::journal::frame::{self, FrameError};
use crate::journal::offset;

/// Rows by their keys, and the store's revision with them.
type Rows = (BTreeMap<Key, Row>, Revision);

pub(super) fn encode(rows: &Mvcc, generation: u64) -> Vec<u8> {
    let mut bytes = frame::header(generation);
    let first = Saving {
        revision: rows.revision().0,
        rows: rows.rows().len(),
    };
    frame::push(
        &mut bytes,
        &[json::to_vec(&first).expect("numbers are JSON")],
    );
    for row in rows.rows().values() {
        let row = json::to_vec(&Saved::new(row)).expect("a row is JSON");
        frame::push(&mut bytes, &[row]);
    }
    bytes
}

/// `None` if there is no snapshot yet.
pub(super) fn read(path: &Path) -> Result<Option<Rows>, EmbeddedError> {
    match fs::read(path) {
        Ok(bytes) => decode(path, &bytes).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::at("read", path)(error).into()),
    }
}

fn decode(path: &Path, bytes: &[u8]) -> Result<Rows, EmbeddedError> {
    let refused = |error| match error {
        FrameError::Damaged(at, what) => damaged(path, offset(at), &what),
        FrameError::Schema(found) => EmbeddedError::Store(StoreError::Schema {
            path: path.to_owned(),
            found,
            supported: frame::SCHEMA,
        }),
    };
    frame::generation(bytes).map_err(refused)?;
    let records = &bytes[frame::HEADER_LEN..];
    let parsed = frame::parse(records, frame::HEADER_LEN).map_err(refused)?;
    let in_file = |at: usize| offset(frame::HEADER_LEN + at);
    let ends = |what: &str| damaged(path, in_file(parsed.good_len), what);
    let (first, rest) = parsed
        .bodies
        .split_first()
        .ok_or_else(|| ends("it ends without a row"))?;
    let saving: Saving = json::from_slice(&records[first.clone()]).map_err(|error| {
        damaged(
            path,
            in_file(first.start),
            &format!("no beginning: {error}"),
        )
    })?;
    if parsed.good_len < records.len() || rest.len() != saving.rows {
        return Err(ends(&format!("{} rows of {}", rest.len(), saving.rows)));
    }
    let mut rows = BTreeMap::new();
    for at in rest {
        let saved: Result<Saved<'_>, _> = json::from_slice(&records[at.clone()]);
        let row = saved.ok().and_then(|saved| saved.row());
        let row = row.ok_or_else(|| damaged(path, in_file(at.start), "no row"))?;
        rows.insert(row.key.clone(), row);
    }
    Ok((rows, Revision(saving.revision)))
}
