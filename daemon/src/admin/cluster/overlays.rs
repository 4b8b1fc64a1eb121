//! The networks that nodes have together.

use bulkhead_ipam::wire::admin::{Filter, ListedOverlay, PAGE_ROWS, Reply, RequestError};

use super::refusal::{invalid, no_name, refused, unanswered};
use crate::admin::{Admin, Replies, failed};
use crate::overlay::new_secret;
use bulkhead_ipam::cluster::OverlayName;

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

impl Admin {
    pub(super) fn overlay_differs(&self, network: &str) -> Result<Reply, RequestError> {
        let network = network.parse().map_err(|error| invalid(&error))?;
        let lines = self.node.overlays.differs_now(&network);
        let lines = lines.map_err(|error| failed(&error))?;
        Ok(Reply::OverlayDiffers { lines })
    }

    pub(super) fn overlay_rekey(&self, network: &str) -> Result<Reply, RequestError> {
        let network: OverlayName = network.parse().map_err(no_name)?;
        let secret = new_secret();
        let rekeyed = self
            .operations()
            .rekey_overlay(&self.somebody(), &network, &secret);
        let epoch = rekeyed.map_err(|error| refused(error.reason(), &error))?;
        tracing::info!(%network, epoch, "the network has a new key");
        let note = format!(
            "network {network}: epoch {epoch} of its keys; each node is sent to by it once it has it"
        );
        Ok(Reply::Done { notes: vec![note] })
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
