//! One attachment is made what it should be, at an operator's word.

use std::sync::Arc;

use bulkhead_ipam::wire::admin::{Reason, RepairReport, RepairState, Reply, RequestError};
use bulkhead_model::AttachmentKey;

use super::{Admin, failed};
use crate::loops::{Verdict, mend};

impl Admin {
    pub(super) fn repair(&self, key: &AttachmentKey) -> Result<Reply, RequestError> {
        self.node.overlays.go_over(&key.network);
        let (node, its_key) = (Arc::clone(&self.node), key.clone());
        let verdict = self.workers.run(move |_| mend(&node, &its_key));
        let verdict = verdict.ok_or_else(|| failed(&"bulkheadd is stopping"))?;
        let (state, plan) = match verdict.map_err(|error| failed(&error))? {
            Verdict::Sound => (RepairState::Sound, Vec::new()),
            Verdict::Mended(plan) => (RepairState::Repaired, plan),
            Verdict::Gone => (RepairState::Gone, Vec::new()),
            Verdict::Dead => (RepairState::Dead, Vec::new()),
            Verdict::Busy => {
                return Err(RequestError {
                    code: Reason::Unavailable,
                    text: format!(
                        "attachment {key} is not repaired: calls went on all the time, ask again"
                    ),
                });
            }
            Verdict::Unknown => {
                let text = format!(
                    "attachment {key} is not repaired: its ADD was not made through this daemon, or another plugin made the interface; use `bulkhead check --repair` while bulkheadd is stopped"
                );
                return Err(RequestError {
                    code: Reason::NotFound,
                    text,
                });
            }
        };
        Ok(Reply::Repair(RepairReport { state, plan }))
    }
}
