//! The leases: others' as they are published, this node's as they are.

use std::collections::BTreeMap;

use bulkhead_ipam::cluster::ledger::{Ledger, OwnLease};
use bulkhead_ipam::cluster::operations::{Filter as Meant, LeaseListed, NodeState};
use bulkhead_ipam::cluster::schema::LeaseRow;
use bulkhead_ipam::cluster::{NodeId, PoolName};
use bulkhead_ipam::wire::admin::{Filter, LeaseState, ListedLease, Reply, RequestError};
use bulkhead_ipam::{LeasedAddress, Snapshot, StaleReason};
use bulkhead_model::{AttachmentKey, NetworkName};

use super::page::Pages;
use super::refusal::unanswered;
use super::words::{node_name, pod_name};
use crate::admin::{Admin, Replies};

type Place = (PoolName, u64);

/// The leases of this node that are still to be said, by place.
struct Own<'a> {
    left: BTreeMap<Place, OwnLease>,
    deaths: Deaths<'a>,
}

/// What the node knows of holders of its own.
pub(super) struct Deaths<'a> {
    admin: &'a Admin,
    known: BTreeMap<NetworkName, Option<Snapshot>>,
}

impl Admin {
    pub(super) fn leases(&self, filter: &Filter, replies: &Replies) -> Result<Reply, RequestError> {
        let meant = self.filter(filter)?;
        let mut own = Own {
            left: self.own_leases(&meant),
            deaths: Deaths::of(self),
        };
        let mut pages = Pages::new(replies, |rows| Reply::Leases { rows });
        let listed = self.operations().leases(&meant, |page| {
            self.left_out(&page.unread);
            for lease in page.rows {
                own.until(&(lease.pool.clone(), lease.ordinal), &mut pages);
                own.published(&lease, &mut pages);
            }
        });
        listed.map_err(unanswered)?;
        own.rest(&mut pages);
        Ok(pages.last())
    }

    fn own_leases(&self, meant: &Meant) -> BTreeMap<Place, OwnLease> {
        let leases = self.node.cluster.look(Ledger::own_leases);
        let meant = leases.into_iter().filter(|lease| is_of(lease, meant));
        meant
            .map(|lease| ((lease.pool.clone(), lease.ordinal), lease))
            .collect()
    }
}

impl Own<'_> {
    /// What comes before a place, and is not published yet.
    fn until(&mut self, place: &Place, pages: &mut Pages<'_, ListedLease>) {
        while let Some(entry) = self.left.first_entry() {
            if entry.key() >= place {
                return;
            }
            let lease = entry.remove();
            pages.push(self.deaths.own(&lease, false));
        }
    }

    fn rest(mut self, pages: &mut Pages<'_, ListedLease>) {
        while let Some((_, lease)) = self.left.pop_first() {
            pages.push(self.deaths.own(&lease, false));
        }
    }

    /// A row of the store: this node's are said as they are, and not at all if they are no more.
    fn published(&mut self, listed: &LeaseListed, pages: &mut Pages<'_, ListedLease>) {
        if let Some(own) = self.left.remove(&(listed.pool.clone(), listed.ordinal)) {
            pages.push(self.deaths.own(&own, own.row == listed.row));
        }
        if listed.row.node != *self.deaths.me() {
            pages.push(remote(listed));
        }
    }
}

impl<'a> Deaths<'a> {
    pub(super) const fn of(admin: &'a Admin) -> Self {
        let known = BTreeMap::new();
        Self { admin, known }
    }

    fn me(&self) -> &NodeId {
        &self.admin.node.cluster.node
    }

    /// A lease of this node.
    pub(super) fn own(&mut self, lease: &OwnLease, published: bool) -> ListedLease {
        let state = self.state(&lease.row.attachment);
        let name = self.admin.node.cluster.name.clone();
        ListedLease {
            published,
            ..listed(
                &lease.pool,
                lease.ordinal,
                &lease.row,
                &name,
                (lease.leased.clone(), lease.is_sticky, state),
            )
        }
    }

    fn state(&mut self, key: &AttachmentKey) -> LeaseState {
        let state = &self.admin.node.state;
        let read = || state.network(&key.network).read().ok().flatten();
        let known = self.known.entry(key.network.clone()).or_insert_with(read);
        let death = known.as_ref().and_then(|known| {
            let record = known.find(&key.id()).ok()??;
            known.death(&record)
        });
        match death {
            Some(StaleReason::OtherBoot) => LeaseState::OtherBoot,
            Some(StaleReason::NetnsGone | StaleReason::NetnsReplaced) => LeaseState::NetnsGone,
            Some(StaleReason::NotListed) | None => LeaseState::Live,
        }
    }
}

/// A lease of another node, as it is published.
pub(super) fn remote(lease: &LeaseListed) -> ListedLease {
    let state = match lease.owner {
        NodeState::Lost => LeaseState::Lost,
        NodeState::Active | NodeState::Unknown => LeaseState::Remote,
    };
    let more = (lease.leased.clone(), lease.sticky, state);
    listed(&lease.pool, lease.ordinal, &lease.row, &lease.name, more)
}

fn listed(
    pool: &PoolName,
    ordinal: u64,
    row: &LeaseRow,
    name: &str,
    (leased, sticky, state): (Vec<LeasedAddress>, bool, LeaseState),
) -> ListedLease {
    ListedLease {
        key: row.attachment.clone(),
        pool: pool.to_string(),
        ordinal,
        addresses: leased.iter().map(|leased| leased.address).collect(),
        node: node_name(&row.node, name),
        epoch: row.epoch,
        sequence: row.sequence,
        pod: row.pod.as_ref().map(pod_name),
        labels: row.labels.clone(),
        since_unix_ms: row.since_unix_ms,
        state,
        published: true,
        sticky,
    }
}

fn is_of(lease: &OwnLease, filter: &Meant) -> bool {
    let is = |wanted: &Option<String>, found: Option<&str>| {
        wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
    };
    let row = &lease.row;
    let pod = row.pod.as_ref();
    filter.node.as_ref().is_none_or(|node| *node == row.node)
        && filter.pool.as_ref().is_none_or(|pool| *pool == lease.pool)
        && is(&filter.network, Some(row.attachment.network.as_str()))
        && is(&filter.namespace, pod.map(|pod| pod.namespace.as_str()))
        && is(&filter.pod, pod.map(|pod| pod.name.as_str()))
}
