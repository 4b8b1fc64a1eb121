//! Who has an address, and who had it.

use std::net::IpAddr;

use bulkhead_ipam::cluster::geometry::Unusable;
use bulkhead_ipam::cluster::ledger::Ledger;
use bulkhead_ipam::cluster::operations::{AddressHistory, Change, ChangeKind as Kind};
use bulkhead_ipam::cluster::schema::Happened;
use bulkhead_ipam::wire::admin::{
    ChangeKind, History, ListedChange, ListedLease, PAGE_ROWS, Reply, RequestError,
};

use super::blocks::Own;
use super::leases::{Deaths, remote};
use super::refusal::refused;
use super::words::{node_name, pod_name};
use crate::admin::{Admin, Replies};

impl Admin {
    pub(super) fn who(&self, address: IpAddr, replies: &Replies) -> Result<Reply, RequestError> {
        let found = self.operations().who(address);
        let found = found.map_err(|error| refused(error.reason(), &error))?;
        let mut pages = Vec::new();
        for found in &found {
            self.left_out(&found.unread);
            pages.extend(self.pages(address, found));
        }
        let last = pages.pop().expect("no pool that has it is an error");
        for page in pages {
            replies.say(Reply::History(Box::new(page)));
        }
        Ok(Reply::History(Box::new(last)))
    }

    /// What one pool knows of it.
    fn pages(&self, address: IpAddr, found: &AddressHistory) -> Vec<History> {
        let block = found.block.as_ref();
        let first = History {
            address,
            pool: found.pool.to_string(),
            ordinal: found.ordinal,
            addresses: found.addresses.clone(),
            kept: found.unusable.map(kept).unwrap_or_default().to_owned(),
            block: block.map(|block| self.block(block, &Own::of(self))),
            holder: self.holder(found),
            changes: Vec::new(),
            since_unix_ms: found.since_unix_ms,
        };
        let changes: Vec<ListedChange> = found.changes.iter().map(change).collect();
        let of = |changes: &[ListedChange]| History {
            changes: changes.to_vec(),
            ..first.clone()
        };
        if changes.is_empty() {
            return vec![first];
        }
        changes.chunks(PAGE_ROWS).map(of).collect()
    }

    /// Who has it: of this node's own ordinals as it is, of others' as it is published.
    fn holder(&self, found: &AddressHistory) -> Option<ListedLease> {
        let own = self.node.cluster.look(Ledger::own_leases);
        let own = own
            .into_iter()
            .find(|lease| lease.pool == found.pool && lease.ordinal == found.ordinal);
        let published = found.holder.as_ref();
        if let Some(own) = own {
            let is_published = published.is_some_and(|published| published.row == own.row);
            return Some(Deaths::of(self).own(&own, is_published));
        }
        published
            .filter(|published| published.row.node != self.node.cluster.node)
            .map(remote)
    }
}

/// Why it is never given out.
const fn kept(unusable: Unusable) -> &'static str {
    match unusable {
        Unusable::End(_) => "end",
        Unusable::Gateway(_) => "gateway",
        Unusable::Reserved(_) => "reserved",
        Unusable::Node(_) => "node",
        Unusable::Outside => "outside",
    }
}

fn change(change: &Change) -> ListedChange {
    ListedChange {
        at_unix_ms: change.at_unix_ms,
        what: match change.what {
            Kind::Acquired => ChangeKind::Acquired,
            Kind::Audited(Happened::Released) => ChangeKind::Released,
            Kind::Audited(Happened::Reclaimed) => ChangeKind::Reclaimed,
            Kind::Audited(Happened::Claimed) => ChangeKind::Claimed,
            Kind::Audited(Happened::Returned) => ChangeKind::Returned,
            Kind::Audited(Happened::Ceded) => ChangeKind::Ceded,
            Kind::Audited(Happened::Lost) => ChangeKind::Lost,
            Kind::Audited(Happened::Unconfirmed | Happened::Unknown) => ChangeKind::Other,
        },
        node: node_name(&change.node, &change.name),
        attachment: change.attachment.clone(),
        pod: change.pod.as_ref().map(pod_name),
        sequence: change.sequence,
        reason: change.reason.clone(),
    }
}
