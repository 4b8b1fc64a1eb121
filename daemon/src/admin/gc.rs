//! What dead containers of this node left: said, or ended. An operator's word is the second observation.

use std::sync::Arc;

use bulkhead_ipam::AttachmentRecord;
use bulkhead_ipam::wire::admin::{
    Filter, GcState, ListedDead, PodName, Progress, Reply, RequestError,
};

use super::{Admin, Replies, failed};
use crate::loops::{Dead, dead, reclaim};

impl Admin {
    pub(super) fn gc(
        &self,
        dry_run: bool,
        filter: &Filter,
        replies: &Replies,
    ) -> Result<Reply, RequestError> {
        let (mut found, failures) = dead(&self.node);
        if found.is_empty() && !failures.is_empty() {
            return Err(failed(&failures.join("; ")));
        }
        found.retain(|dead| is_of(&dead.record, filter));
        let total = found.len() as u64;
        let rows = found.into_iter().enumerate().map(|(done, dead)| {
            let row = listed(&dead);
            if dry_run {
                return row;
            }
            replies.say(Reply::Progress(Progress {
                what: "attachments removed".to_owned(),
                done: done as u64,
                total: Some(total),
            }));
            self.end(dead, row)
        });
        Ok(Reply::Gc {
            rows: rows.collect(),
        })
    }

    fn end(&self, dead: Dead, row: ListedDead) -> ListedDead {
        let node = Arc::clone(&self.node);
        let reclaimed = self
            .workers
            .run(move |worker| reclaim(&node, worker, &dead, "operator"));
        let (state, error) = match reclaimed {
            Some(Ok(true)) => (GcState::Removed, String::new()),
            Some(Ok(false)) => (
                GcState::Suspected,
                "calls went on all the time, or it lives again; ask again".to_owned(),
            ),
            Some(Err(error)) => (GcState::Failed, error.to_string()),
            None => (GcState::Failed, "bulkheadd is stopping".to_owned()),
        };
        ListedDead {
            state,
            error,
            ..row
        }
    }
}

fn listed(dead: &Dead) -> ListedDead {
    let record = &dead.record;
    ListedDead {
        key: record.key.clone(),
        addresses: record
            .addresses
            .iter()
            .map(|leased| leased.address)
            .collect(),
        netns: record.netns.as_ref().map(|netns| netns.path.clone()),
        pod: pod(record),
        reason: dead.evidence.clone(),
        state: GcState::Found,
        error: String::new(),
    }
}

/// Whose container it is.
pub(super) fn pod(record: &AttachmentRecord) -> Option<PodName> {
    let pod = record.pod.as_ref()?;
    Some(PodName {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
    })
}

/// Whether a filter lets an attachment of this node pass.
pub(super) fn is_of(record: &AttachmentRecord, filter: &Filter) -> bool {
    let is = |wanted: &Option<String>, found: Option<&str>| {
        wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
    };
    let pod = record.pod.as_ref();
    is(&filter.network, Some(record.key.network.as_str()))
        && is(
            &filter.pool,
            record.pool.as_ref().map(|lease| lease.pool.as_str()),
        )
        && is(&filter.namespace, pod.map(|pod| pod.namespace.as_str()))
        && is(&filter.pod, pod.map(|pod| pod.name.as_str()))
}
