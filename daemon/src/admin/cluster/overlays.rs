//! The networks that nodes have together.

use bulkhead_ipam::wire::admin::{Filter, ListedOverlay, PAGE_ROWS, Reply, RequestError};

use super::refusal::unanswered;
use crate::admin::{Admin, Replies};

impl Admin {
    pub(super) fn overlays(
        &self,
        filter: &Filter,
        replies: &Replies,
    ) -> Result<Reply, RequestError> {
        let told = self.node.overlays.told().map_err(unanswered)?;
        let meant = |row: &ListedOverlay| {
            let only = filter.network.as_ref();
            only.is_none_or(|only| *only == row.network)
        };
        let parts = told.into_iter().filter(meant).flat_map(parts);
        let mut last = Vec::new();
        // One in each reply: with its nodes it is as long as a page of other lists.
        for part in parts {
            let rows = std::mem::replace(&mut last, vec![part]);
            if !rows.is_empty() {
                replies.say(Reply::Overlays { rows });
            }
        }
        Ok(Reply::Overlays { rows: last })
    }
}

/// A network in rows of so many nodes that each fits a frame.
fn parts(row: ListedOverlay) -> Vec<ListedOverlay> {
    if row.ends.len() <= PAGE_ROWS {
        return vec![row];
    }
    let part = |ends: &[_]| ListedOverlay {
        ends: ends.to_vec(),
        ..row.clone()
    };
    row.ends.chunks(PAGE_ROWS).map(part).collect()
}
