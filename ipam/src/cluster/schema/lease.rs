//! Leases, and what is kept for somebody who has none at the moment.

use std::net::IpAddr;

use bulkhead_model::AttachmentKey;
use serde::{Deserialize, Serialize};

use super::selector::{LabelSelector, Labels};
use super::{Place, Value, text};
use crate::cluster::name::{Attempt, NodeId, PoolName, StickyId};
use crate::record::PodRef;
use crate::span::Span;

/// `leases/<pool>/<ordinal>`: who holds the ordinal's addresses. The truth is in the owner's journal;
/// this is published behind it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LeaseRow {
    /// The attachment.
    pub attachment: AttachmentKey,
    /// Its node.
    pub node: NodeId,
    /// The node's epoch.
    pub epoch: u64,
    /// The lease's sequence in its network's journal.
    pub sequence: u64,
    /// Its addresses, IPv4 first.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Its pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodRef>,
    /// The pod's labels.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// When it was given out, in milliseconds since 1970.
    #[serde(default)]
    pub since_unix_ms: u64,
}

impl Value for LeaseRow {
    fn belongs(place: &Place) -> bool {
        matches!(place, Place::Lease { .. })
    }
}

/// `sticky/<namespace>/<name>/<network>`: the ordinal that an identity keeps.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct StickyRow {
    /// The pool.
    pub pool: PoolName,
    /// The ordinal.
    pub ordinal: u64,
    /// Who has it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<StickyHolder>,
    /// The attempt that wrote the row.
    #[serde(default)]
    pub attempt: Attempt,
    /// When, in milliseconds since 1970.
    #[serde(default)]
    pub changed_at_unix_ms: u64,
}

/// Who has a sticky address.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct StickyHolder {
    /// The node.
    pub node: NodeId,
    /// Its epoch.
    pub epoch: u64,
    /// The attachment.
    pub attachment: AttachmentKey,
}

impl Value for StickyRow {
    fn belongs(place: &Place) -> bool {
        matches!(place, Place::Sticky(_))
    }
}

/// `kept/<pool>/<ordinal>`: the same seen from the ordinal, so that whoever owns the block gives it to
/// nobody else.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct KeptRow {
    /// For whom.
    pub sticky: StickyId,
}

impl Value for KeptRow {
    fn belongs(place: &Place) -> bool {
        matches!(place, Place::Kept { .. })
    }
}

/// `reservations/<name>`: addresses for somebody, or for nobody.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ReservationRow {
    /// Of which pool; if it is missing, of each that has the addresses. Pools of tenants may have the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
    /// The addresses.
    #[serde(default, with = "text::span")]
    pub spans: Vec<Span>,
    /// For whom; nobody if it is missing.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub beneficiary: Option<Beneficiary>,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Who made it.
    #[serde(default)]
    pub by: String,
    /// When, in milliseconds since 1970.
    #[serde(default)]
    pub at_unix_ms: u64,
}

/// Whom addresses are reserved for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Beneficiary {
    /// One pod.
    Pod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Pods with these labels.
    Labels(LabelSelector),
}

impl ReservationRow {
    /// Whether it holds `address`.
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        self.spans.iter().any(|span| span.contains(address))
    }

    /// Whether it is about addresses of that pool.
    #[must_use]
    pub fn is_of(&self, pool: &PoolName) -> bool {
        self.pool.as_ref().is_none_or(|own| own == pool)
    }

    /// Whether its addresses are for such an attachment.
    #[must_use]
    pub fn is_for(&self, pod: Option<&PodRef>, labels: &Labels) -> bool {
        match &self.beneficiary {
            None => false,
            Some(Beneficiary::Pod { namespace, name }) => {
                pod.is_some_and(|pod| pod.namespace == *namespace && pod.name == *name)
            }
            // A selector of everything would be no reservation.
            Some(Beneficiary::Labels(selector)) => {
                !selector.is_everything() && selector.selects(labels)
            }
        }
    }
}

impl Value for ReservationRow {
    fn belongs(place: &Place) -> bool {
        matches!(place, Place::Reservation(_))
    }
}
