//! A lease as it is printed: the record, or what the cluster says of another node's, and whether its
//! holder can still be alive.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bulkhead_ipam::wire::admin::{self as wire, ListedLease, NodeName, PodName};
use bulkhead_ipam::{AttachmentRecord, Ipam, Snapshot, StaleReason, StoreError, Valid};
use bulkhead_model::{AttachmentId, AttachmentKey, ContainerId, InterfaceAddress};
use serde::Serialize;

use crate::time;

/// One attachment's addresses.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Lease {
    #[serde(flatten)]
    pub(super) key: AttachmentKey,
    /// In the order of the range sets; empty for layer 2 only.
    pub(super) addresses: Vec<InterfaceAddress>,
    pub(super) netns: Option<PathBuf>,
    /// RFC 3339, UTC.
    pub(super) since: String,
    pub(super) state: LeaseState,
    /// Who gave the addresses: `bulkhead`, another IPAM plugin's type, or `none`.
    pub(super) ipam: String,
    /// The plugin that made the attachment; another node's does not say.
    pub(super) kind: Option<String>,
    pub(super) sequence: u64,
    /// `None` for another node's.
    pub(super) state_dir: Option<PathBuf>,
    /// The cluster's pool; `None` for a network with ranges of its own.
    pub(super) pool: Option<String>,
    pub(super) pod: Option<PodName>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) labels: BTreeMap<String, String>,
    /// `None` without a node daemon.
    #[serde(flatten)]
    pub(super) node: Option<NodeName>,
    /// Whether the cluster's store has it; `None` for what is not the cluster's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) published: Option<bool>,
    #[serde(skip)]
    pub(super) since_unix_ms: u64,
}

/// Whether the holder can still be alive.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum LeaseState {
    Live,
    /// The machine was booted since.
    OtherBoot,
    /// The namespace is gone, or its path leads to another one.
    NetnsGone,
    /// On another node, which alone can say.
    Remote,
    /// On a node that was declared lost.
    Lost,
    /// A later release says something else.
    Other,
}

impl LeaseState {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::OtherBoot => "other boot",
            Self::NetnsGone => "netns gone",
            Self::Remote => "other node",
            Self::Lost => "node lost",
            Self::Other => "other",
        }
    }
}

/// The attachments whose holders are provably dead.
#[derive(Debug)]
pub(super) struct Dead(BTreeMap<AttachmentId, LeaseState>);

impl Dead {
    pub(super) fn of(snapshot: &Snapshot) -> Result<Self, StoreError> {
        let dead = snapshot.stale(&Valid::Absent)?;
        let states = dead.into_iter().map(|dead| {
            let state = match dead.reason {
                StaleReason::OtherBoot => LeaseState::OtherBoot,
                // No list was given, so nothing is stale for not being on it.
                StaleReason::NetnsGone | StaleReason::NetnsReplaced | StaleReason::NotListed => {
                    LeaseState::NetnsGone
                }
            };
            (dead.record.id(), state)
        });
        Ok(Self(states.collect()))
    }

    pub(super) fn lease(&self, record: AttachmentRecord, state_dir: &Path) -> Lease {
        let state = self.0.get(&record.id()).copied();
        let addresses = record.addresses.iter().map(|leased| leased.address);
        Lease {
            addresses: addresses.collect(),
            key: record.key,
            netns: record.netns.map(|netns| netns.path),
            since: time::millis(record.created_at_unix_ms),
            since_unix_ms: record.created_at_unix_ms,
            state: state.unwrap_or(LeaseState::Live),
            ipam: match record.ipam {
                Ipam::Own => "bulkhead".to_owned(),
                Ipam::Delegated { plugin } => plugin,
                Ipam::None => "none".to_owned(),
            },
            kind: Some(record.kind),
            sequence: record.sequence,
            state_dir: Some(state_dir.to_owned()),
            pool: record.pool.map(|lease| lease.pool),
            pod: record.pod.map(|pod| PodName {
                namespace: pod.namespace,
                name: pod.name,
            }),
            labels: record.labels,
            node: None,
            published: None,
        }
    }
}

impl From<ListedLease> for Lease {
    fn from(listed: ListedLease) -> Self {
        Self {
            key: listed.key,
            addresses: listed.addresses,
            netns: None,
            since: time::millis(listed.since_unix_ms),
            since_unix_ms: listed.since_unix_ms,
            state: match listed.state {
                wire::LeaseState::Live => LeaseState::Live,
                wire::LeaseState::OtherBoot => LeaseState::OtherBoot,
                wire::LeaseState::NetnsGone => LeaseState::NetnsGone,
                wire::LeaseState::Remote => LeaseState::Remote,
                wire::LeaseState::Lost => LeaseState::Lost,
                wire::LeaseState::Other => LeaseState::Other,
            },
            ipam: "bulkhead".to_owned(),
            kind: None,
            sequence: listed.sequence,
            state_dir: None,
            pool: Some(listed.pool),
            pod: listed.pod,
            labels: listed.labels,
            node: Some(listed.node),
            published: Some(listed.published),
        }
    }
}

/// Runtimes' ids have 64 characters, of which people read and paste the first 12; ids that people
/// make up stay whole.
pub(crate) fn short(id: &ContainerId) -> &str {
    const RUNTIME: usize = 64;
    const SHORT: usize = 12;
    // The alphabet of an id is ASCII.
    let id = id.as_str();
    if id.len() < RUNTIME { id } else { &id[..SHORT] }
}
