//! The end of a lease by an operator's word: what the kernel has of it first.

use std::net::IpAddr;
use std::sync::Arc;

use bulkhead_ipam::AttachmentRecord;
use bulkhead_ipam::cluster::StickyId;
use bulkhead_ipam::cluster::operations::{Filter, LeaseListed, WhoError};
use bulkhead_ipam::wire::admin::{PodName, Reason, ReleaseTarget, Reply, RequestError};
use bulkhead_model::AttachmentKey;

use super::refusal::{because, no_name, refused, unanswered};
use crate::admin::{Admin, failed};
use crate::kind;
use crate::loops::{PATIENCE, detach};

impl Admin {
    pub(super) fn release(
        &self,
        target: &ReleaseTarget,
        by: &str,
        reason: &str,
    ) -> Result<Reply, RequestError> {
        let record = match target {
            ReleaseTarget::Address { address } => self.held_here(*address)?,
            ReleaseTarget::Attachment { attachment } => self.attached_here(attachment)?,
            ReleaseTarget::Sticky { pod, network } => return self.let_go(pod, network, by),
        };
        self.end_lease(record, format!("released by {by}: {reason}"))
    }

    /// The attachment of this node that has an address.
    fn held_here(&self, address: IpAddr) -> Result<AttachmentRecord, RequestError> {
        let records = self.records();
        let has = |record: &AttachmentRecord| {
            let mut addresses = record.addresses.iter();
            addresses.any(|leased| leased.address.address() == address)
        };
        let mut found: Vec<_> = records.all.into_iter().filter(has).collect();
        match found.len() {
            0 => Err(self.not_here(address, &records.unread)),
            1 => Ok(found.remove(0)),
            _ => {
                let names: Vec<_> = found.iter().map(|record| record.key.to_string()).collect();
                let text = format!(
                    "{address} is had by attachments {}; name one of them",
                    names.join(" and ")
                );
                Err(because(Reason::Ambiguous, text))
            }
        }
    }

    fn not_here(&self, address: IpAddr, unread: &[String]) -> RequestError {
        if !unread.is_empty() {
            return failed(&unread.join("; "));
        }
        match self.operations().who(address) {
            Ok(known) => {
                let mut holders = known.into_iter().filter_map(|known| known.holder);
                let other = holders.find(|lease| lease.row.node != self.node.cluster.node);
                other.map_or_else(
                    || because(Reason::NotFound, format!("nobody has {address}")),
                    |lease| elsewhere(&lease),
                )
            }
            Err(WhoError::Elsewhere { .. }) => {
                let text = format!("no attachment of this node has {address}, and no pool");
                because(Reason::NotFound, text)
            }
            Err(error) => refused(error.reason(), &error),
        }
    }

    fn attached_here(&self, key: &AttachmentKey) -> Result<AttachmentRecord, RequestError> {
        let known = self.node.state.network(&key.network).read();
        let found = known.and_then(|known| known.map_or(Ok(None), |known| known.find(&key.id())));
        if let Some(record) = found.map_err(|error| failed(&crate::told::chain(&error)))? {
            return Ok(record);
        }
        let of_network = Filter {
            network: Some(key.network.to_string()),
            ..Filter::default()
        };
        let mut published = None;
        let listed = self.operations().leases(&of_network, |page| {
            let mut rows = page.rows.into_iter();
            let its = rows.find(|lease| lease.row.attachment == *key);
            published = published.take().or(its);
        });
        listed.map_err(unanswered)?;
        Err(match published {
            Some(lease) if lease.row.node != self.node.cluster.node => elsewhere(&lease),
            _ => because(Reason::NotFound, format!("there is no attachment {key}")),
        })
    }

    /// Detaches it and ends its lease, if it is still the one that was found.
    fn end_lease(&self, record: AttachmentRecord, reason: String) -> Result<Reply, RequestError> {
        let key = record.key.clone();
        let mut notes = Vec::new();
        if !kind::has_objects(&record) {
            notes.push(format!(
                "another plugin made the interface of attachment {key}: it is there with its addresses until its container ends"
            ));
        }
        let node = Arc::clone(&self.node);
        let released = self.workers.run(move |worker| {
            let alone = node.gate.alone(PATIENCE)?;
            let known = node.state.network(&record.key.network).read();
            let now = known.and_then(|known| known.map_or(Ok(None), |k| k.find(&record.id())));
            let is_same = match now {
                Ok(now) => now.is_some_and(|now| now.sequence == record.sequence),
                Err(error) => return Some(Err(crate::told::failure(error))),
            };
            let done = is_same.then(|| detach(&node, worker, &record, &reason));
            drop(alone);
            Some(done.unwrap_or(Ok(())))
        });
        match released {
            None => Err(failed(&"bulkheadd is stopping")),
            Some(None) => {
                let text = format!(
                    "attachment {key} is not released: calls went on all the time, ask again"
                );
                Err(because(Reason::Unavailable, text))
            }
            Some(Some(Err(error))) => Err(failed(&error)),
            Some(Some(Ok(()))) => Ok(Reply::Done { notes }),
        }
    }

    /// Ends that a name keeps its address while nobody has it.
    fn let_go(&self, pod: &PodName, network: &str, by: &str) -> Result<Reply, RequestError> {
        let part = |text: &str| text.parse().map_err(no_name);
        let sticky = StickyId {
            namespace: part(&pod.namespace)?,
            name: part(&pod.name)?,
            network: part(network)?,
        };
        let operator = self.node.cluster.operator(by);
        let released = self.operations().let_go(&operator, &sticky);
        let owner = released.map_err(|error| refused(error.reason(), &error))?;
        let mut notes = Vec::new();
        match owner {
            Some(owner) if owner != self.node.cluster.node => notes.push(format!(
                "node {owner} has the address in a block, and gives it to others once its daemon compares its blocks with the store: at its next start at the latest"
            )),
            // Read anew, it is known to be nobody's.
            _ => self.node.cluster.tell(|ledger, _| ledger.watch_lost()),
        }
        Ok(Reply::Done { notes })
    }
}

fn elsewhere(lease: &LeaseListed) -> RequestError {
    let text = format!(
        "attachment {} is on node {} ({}); release it there: only its own daemon can detach it",
        lease.row.attachment, lease.name, lease.row.node
    );
    because(Reason::Conflict, text)
}
