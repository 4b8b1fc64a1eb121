//! The store's rows, out of it and back into it.

use std::sync::{Mutex, PoisonError};

use bulkhead_ipam::cluster::operations::{Backup, BackupError, StoredRow as Kept};
use bulkhead_ipam::wire::admin::{
    PAGE_ROWS, Reason, Reply, RequestError, RestoreReport, StoredRow,
};

use super::refusal::{because, refused};
use super::words::tell;
use crate::admin::{Admin, Replies};

/// Rows that were handed in, by key, until the last ones come: they are put back together or not at
/// all. A page that does not go on behind the one before is the first of another attempt.
#[derive(Default)]
pub(in crate::admin) struct Restoring(Mutex<Vec<Kept>>);

/// Most bytes of a page's rows, far below a frame's bound however they are escaped.
const PAGE_BYTES: usize = 2 << 20;

impl Restoring {
    /// More rows; all of them, if these are the last.
    fn take(&self, rows: Vec<StoredRow>, last: bool) -> Option<Vec<Kept>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = rows.first().map(|row| &row.key);
        if begins
            .zip(all.last())
            .is_some_and(|(first, last)| *first <= last.key)
        {
            all.clear();
        }
        all.extend(rows.into_iter().map(|row| Kept {
            key: row.key,
            value: row.value.into_bytes(),
        }));
        last.then(|| std::mem::take(&mut *all))
    }
}

impl Admin {
    pub(super) fn store_export(&self, replies: &Replies) -> Result<Reply, RequestError> {
        let backup = self.operations().backup().map_err(no_backup)?;
        let revision = backup.head().revision;
        let mut page = Vec::new();
        let mut bytes = 0;
        for row in backup.rows() {
            let row = stored(row)?;
            let length = row.key.len() + row.value.len();
            if bytes + length > PAGE_BYTES || page.len() == PAGE_ROWS {
                let rows = std::mem::take(&mut page);
                replies.say(Reply::Stored { revision, rows });
                bytes = 0;
            }
            bytes += length;
            page.push(row);
        }
        Ok(Reply::Stored {
            revision,
            rows: page,
        })
    }

    pub(super) fn store_restore(
        &self,
        rows: Vec<StoredRow>,
        last: bool,
        replies: &Replies,
    ) -> Result<Reply, RequestError> {
        let Some(rows) = self.restoring.take(rows, last) else {
            return Ok(Reply::Restored(RestoreReport::default()));
        };
        let backup = Backup::of(rows, 0).map_err(no_backup)?;
        let restored = self.operations().restore(&backup, &mut tell(replies));
        let restored = restored.map_err(|error| refused(error.reason(), &error))?;
        // What the node has and what is there now are compared at once.
        self.node.cluster.tell(|ledger, _| ledger.watch_lost());
        tracing::warn!(
            written = restored.written,
            same = restored.same,
            left = restored.left.len(),
            "a backup was put back into the cluster's store"
        );
        Ok(Reply::Restored(RestoreReport {
            written: restored.written,
            same: restored.same,
            differing: restored.left,
        }))
    }
}

fn stored(row: &Kept) -> Result<StoredRow, RequestError> {
    let Ok(value) = String::from_utf8(row.value.clone()) else {
        let text = format!(
            "row {} is no text, and nothing of this project wrote it; remove it, or stop bulkheadd and use `bulkhead store backup --offline`",
            row.key
        );
        return Err(because(Reason::Failed, text));
    };
    let key = row.key.clone();
    Ok(StoredRow { key, value })
}

#[allow(clippy::needless_pass_by_value)] // for `map_err`
fn no_backup(error: BackupError) -> RequestError {
    refused(error.reason(), &error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_abandoned_attempt_handed_in_is_not_put_back_with_the_next() {
        let page = |keys: &[&str]| {
            let row = |key: &&str| StoredRow {
                key: (*key).to_owned(),
                value: String::new(),
            };
            keys.iter().map(row).collect::<Vec<_>>()
        };
        let restoring = Restoring::default();
        assert!(restoring.take(page(&["a", "b"]), false).is_none());
        assert!(restoring.take(page(&["a", "c"]), false).is_none());
        let all = restoring.take(page(&["d"]), true).unwrap();
        let keys: Vec<_> = all.iter().map(|row| row.key.as_str()).collect();
        assert_eq!(keys, ["a", "c", "d"]);
        assert!(restoring.take(Vec::new(), true).unwrap().is_empty());
    }
}
