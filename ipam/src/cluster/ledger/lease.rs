//! What attachments hold, from the pick to the release.

use std::net::IpAddr;

use bulkhead_model::{AttachmentId, AttachmentKey};

use super::Ledger;
use super::own::Slot;
use crate::boot::Now;
use crate::cluster::name::{PoolName, StickyId};
use crate::cluster::schema::{Happened, Labels, LeaseRow};
use crate::record::PodRef;

/// What an attachment holds.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    pub(super) key: AttachmentKey,
    pub(super) pool: PoolName,
    pub(super) ordinal: u64,
    pub(super) state: LeaseState,
    pub(super) pod: Option<PodRef>,
    pub(super) labels: Labels,
}

/// Whether its record is durable.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum LeaseState {
    /// Picked, and not told before the store says that it may be.
    Hidden,
    Picked,
    Settled {
        sequence: u64,
        since_unix_ms: u64,
    },
}

/// An attachment whose address is no longer this node's: it must be detached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Evicted {
    /// The attachment.
    pub key: AttachmentKey,
    /// The sequence of its record.
    pub sequence: u64,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Why, for people.
    pub reason: String,
}

/// An evicted attachment, and what it has until it is detached: nobody gets that from this node before,
/// even if the block comes back.
#[derive(Clone, Debug)]
pub(super) struct Ousted {
    pub(super) told: Evicted,
    pub(super) pool: PoolName,
    pub(super) ordinal: u64,
}

/// Why a lease ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// Its attachment was deleted, or an operator said so.
    Released,
    /// Its attachment was found dead.
    Reclaimed,
}

impl Ledger {
    /// The attachment's record is durable, with this sequence. Also for a record that is renewed.
    /// False if the attachment holds nothing: its record is to be ended.
    pub fn settle(&mut self, key: &AttachmentKey, sequence: u64, now: Now) -> bool {
        let Some(lease) = self.leases.get_mut(&key.id()) else {
            return false;
        };
        let since_unix_ms = match lease.state {
            LeaseState::Hidden | LeaseState::Picked => now.unix_ms,
            LeaseState::Settled { since_unix_ms, .. } => since_unix_ms,
        };
        let settled = LeaseState::Settled {
            sequence,
            since_unix_ms,
        };
        if lease.state != settled {
            lease.state = settled;
            let place = (lease.pool.clone(), lease.ordinal);
            self.queue.change(place, now.since_boot_ms);
        }
        true
    }

    /// Nothing was recorded for the attachment, and nothing will be: what was picked is free again, and
    /// the ask is over.
    pub fn abandon(&mut self, key: &AttachmentKey, now: Now) {
        let id = key.id();
        self.wants.remove(&id);
        for side in self.pools.values_mut() {
            side.waiters.remove(&id);
        }
        let state = self.leases.get(&id).map(|lease| lease.state);
        if !matches!(state, Some(LeaseState::Hidden | LeaseState::Picked)) {
            return;
        }
        let lease = self.leases.remove(&id).expect("it was just found");
        let allowed = self.allows(&lease.pool, lease.ordinal);
        if let Some(own) = self.own.around_mut(&lease.pool, lease.ordinal) {
            own.put_back(lease.ordinal, now.since_boot_ms, allowed);
        }
        self.let_go_of_sticky(&lease, now);
    }

    /// The attachment's record with this sequence has ended, durably. A release that carries another
    /// sequence is late and frees nothing: false.
    pub fn released(
        &mut self,
        key: &AttachmentKey,
        sequence: u64,
        ended: Ended,
        reason: &str,
        now: Now,
    ) -> bool {
        if self.forget_stray(key, sequence, now) {
            return true;
        }
        let id = key.id();
        let state = self.leases.get(&id).map(|lease| lease.state);
        let Some(LeaseState::Settled {
            sequence: held,
            since_unix_ms,
        }) = state
        else {
            return false;
        };
        if held != sequence {
            return false;
        }
        let lease = self.leases.remove(&id).expect("it was just found");
        if let Some(own) = self.own.around_mut(&lease.pool, lease.ordinal) {
            own.cool(lease.ordinal, now.since_boot_ms);
        }
        let what = match ended {
            Ended::Released => Happened::Released,
            Ended::Reclaimed => Happened::Reclaimed,
        };
        self.close_chapter(&lease, (sequence, since_unix_ms), what, reason, now);
        self.let_go_of_sticky(&lease, now);
        true
    }

    /// Attachments that must be detached, because their addresses are no longer this node's. Each is
    /// released when that is done.
    pub fn evicted(&self) -> impl Iterator<Item = &Evicted> {
        self.evicted.values().map(|ousted| &ousted.told)
    }

    /// The ordinals that cool down and wait to be confirmed, with their addresses.
    #[must_use]
    pub fn unconfirmed(&self) -> Vec<(PoolName, u64, Vec<IpAddr>)> {
        let all = self.own.all().flat_map(|(pool, own)| {
            let waiting = own.unconfirmed();
            waiting.map(move |ordinal| (pool.clone(), ordinal, self.addresses(pool, ordinal)))
        });
        all.collect()
    }

    /// Nothing of this node knows the ordinal's addresses any more: no connection, no set.
    pub fn confirm_cooled(&mut self, pool: &PoolName, ordinal: u64) {
        if let Some(own) = self.own.around_mut(pool, ordinal) {
            own.confirm(ordinal);
        }
    }

    /// How many attachments of a pool the collector thinks dead.
    pub fn set_leaked(&mut self, pool: &PoolName, leaked: u64) {
        self.leaked.insert(pool.clone(), leaked);
    }

    /// What is to be published of an ordinal: its row, or none.
    pub(super) fn lease_row(&self, pool: &PoolName, ordinal: u64) -> Option<LeaseRow> {
        let Slot::Held(id) = self.own.around(pool, ordinal)?.slot(ordinal) else {
            return None;
        };
        let lease = self.leases.get(&id)?;
        let LeaseState::Settled {
            sequence,
            since_unix_ms,
        } = lease.state
        else {
            return None;
        };
        Some(LeaseRow {
            attachment: lease.key.clone(),
            node: self.node.clone(),
            epoch: self.link.epoch,
            sequence,
            addresses: self.addresses(pool, ordinal),
            pod: lease.pod.clone(),
            labels: lease.labels.clone(),
            since_unix_ms,
        })
    }

    pub(super) fn addresses(&self, pool: &PoolName, ordinal: u64) -> Vec<IpAddr> {
        let side = self.pools.get(pool);
        side.map(|side| side.row.geometry.addresses(ordinal))
            .unwrap_or_default()
    }

    pub(super) fn allows(&self, pool: &PoolName, ordinal: u64) -> bool {
        self.pools
            .get(pool)
            .is_some_and(|side| side.allows(ordinal))
    }

    /// Who keeps the ordinal, if that is the holder of this lease.
    pub(super) fn sticky_of(&self, lease: &Lease) -> Option<StickyId> {
        let kept = self.pools.get(&lease.pool)?.kept.get(&lease.ordinal)?;
        let own = StickyId::of(lease.pod.as_ref()?, &lease.key).ok()?;
        (own == *kept).then_some(own)
    }

    /// Who has an ordinal of this node's, also if it is being detached.
    pub(super) fn holder(&self, pool: &PoolName, ordinal: u64) -> Option<&AttachmentKey> {
        let Slot::Held(id) = self.own.around(pool, ordinal)?.slot(ordinal) else {
            return None;
        };
        let mut evicted = self.evicted.keys();
        let lease = self.leases.get(&id).map(|lease| &lease.key);
        lease.or_else(|| evicted.find(|key| key.id() == id))
    }

    /// Whether the release is of an attachment that holds nothing of this node any more.
    fn forget_stray(&mut self, key: &AttachmentKey, sequence: u64, now: Now) -> bool {
        let ousted = self.evicted.get(key);
        if ousted.is_some_and(|one| one.told.sequence == sequence) {
            let ousted = self.evicted.remove(key).expect("it was just found");
            self.cool_ousted(key, &ousted, now);
            return true;
        }
        let before = self.strays.len();
        self.strays
            .retain(|stray| stray.key != *key || stray.sequence != sequence);
        self.strays.len() < before
    }

    /// What an evicted attachment had cools, if its block has come back meanwhile.
    fn cool_ousted(&mut self, key: &AttachmentKey, ousted: &Ousted, now: Now) {
        let (pool, ordinal) = (&ousted.pool, ousted.ordinal);
        let own = self.own.around_mut(pool, ordinal);
        let Some(own) = own.filter(|own| own.slot(ordinal) == Slot::Held(key.id())) else {
            return;
        };
        own.cool(ordinal, now.since_boot_ms);
        if let Some(sticky) = self.pools[pool].kept.get(&ordinal) {
            self.letting_go.insert(sticky.clone(), now.since_boot_ms);
        }
    }

    pub(super) fn insert_lease(&mut self, id: AttachmentId, lease: Lease) {
        let before = self.leases.insert(id, lease);
        debug_assert!(before.is_none(), "an attachment holds one ordinal");
    }
}
