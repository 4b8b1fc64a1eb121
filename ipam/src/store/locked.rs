//! Writing: acquire, record, release. One call is one append and one `fdatasync`, or its share of one.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use bulkhead_model::{AttachmentId, PortMapping};

use super::batch::{Batch, Place};
use super::network::NetworkStore;
use super::own::Own;
use super::snapshot::Snapshot;
use super::view::Lookup;
use super::warm::{Network, Turn};
use crate::allocate::{AllocateError, Pick, Refusal, Source, allocate};
use crate::config::{PoolConfig, PoolSource};
use crate::error::{AcquireError, FileError, StoreError};
use crate::journal::Piece;
use crate::pool::Pool;
use crate::record::{AttachmentRecord, Draft, Ipam, LeasedAddress, Names};

/// One network's store, locked against every other writer; unlocked when dropped.
///
/// Where the directory is open for [`Access::Exclusive`](super::Access), other threads have their turn
/// while a change is made durable. What is read here afterwards is read under the lock again, with what
/// they changed.
#[derive(Debug)]
pub struct LockedStore {
    pub(super) store: NetworkStore,
    hold: Hold,
    is_only: bool,
}

#[derive(Debug)]
enum Hold {
    Alone(Box<Own>),
    Warm(Turn),
}

/// What `acquire` and `record` found or made. Durable when it is returned.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Acquired {
    /// A new record.
    New(AttachmentRecord),
    /// The attachment had a record of another boot or another namespace: the addresses are kept, the
    /// record is new.
    Renewed(AttachmentRecord),
    /// The attachment's record, as it was.
    Existing(AttachmentRecord),
}

impl Acquired {
    /// The record.
    #[must_use]
    pub const fn record(&self) -> &AttachmentRecord {
        let (Self::New(record) | Self::Renewed(record) | Self::Existing(record)) = self;
        record
    }
}

/// What `release` found. Durable when it is returned.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Released {
    /// The record is gone, its addresses cool down.
    Freed(Box<AttachmentRecord>),
    /// There was none.
    Absent,
    /// The attachment has another lease, with this sequence, which stays.
    Superseded(u64),
}

impl Deref for LockedStore {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        match &self.hold {
            Hold::Alone(own) => &own.snapshot,
            Hold::Warm(turn) => turn.snapshot(),
        }
    }
}

impl LockedStore {
    pub(super) fn alone(store: NetworkStore, own: Own) -> Self {
        Self {
            store,
            hold: Hold::Alone(Box::new(own)),
            is_only: false,
        }
    }

    pub(super) fn warm(store: NetworkStore, network: Arc<Network>) -> Self {
        Self {
            store,
            hold: Hold::Warm(Turn::new(network)),
            is_only: false,
        }
    }

    /// Whether the attachment of the last [`LockedStore::acquire`] or [`LockedStore::record`] was the
    /// network's only one at that moment.
    #[must_use]
    pub const fn is_only(&self) -> bool {
        self.is_only
    }

    /// Gives the attachment one address of every range set, those of `config.requested` among them.
    /// An attachment that has a lease keeps it, also if the pool has changed since.
    ///
    /// If a set is exhausted, leases of provably dead attachments (an earlier boot's, or of a
    /// namespace that is gone) are ended, which the audit log says, and it is tried once more.
    ///
    /// # Errors
    /// [`AcquireError`]; the attachment has no new lease then.
    pub fn acquire(&mut self, draft: Draft, config: &PoolConfig) -> Result<Acquired, AcquireError> {
        let decided = self.decide(draft, config);
        self.is_only = self.live_count() == 1;
        // Also a refusal rests on what others have just taken.
        self.settle()?;
        decided
    }

    /// [`LockedStore::acquire`], but for the settling.
    pub(super) fn decide(
        &mut self,
        draft: Draft,
        config: &PoolConfig,
    ) -> Result<Acquired, AcquireError> {
        let pool = self.settled_pool(config)?;
        let existing = self.find(&draft.key.id())?;
        if let Some(kept) = self.kept(existing.as_ref(), &draft, &config.requested)? {
            return Ok(kept);
        }
        let picks = match self.picked(&pool, &config.requested) {
            Err(AcquireError::Refused { refusal, .. })
                if matches!(refusal, Refusal::Exhausted { .. }) && self.bury_dead()? =>
            {
                self.picked(&pool, &config.requested)
            }
            other => other,
        }?;
        let moved = picks.iter().filter(|pick| pick.source == Source::Cursor);
        let moved = moved.map(|pick| pick.leased.address.address()).collect();
        let addresses = picks.into_iter().map(|pick| pick.leased).collect();
        let mut batch = Batch::new(self);
        if let Some(foreign) = &existing {
            batch.release(foreign, "its addresses come from this store now");
        }
        let record = batch.attach(draft, addresses, Ipam::Own, moved, Place::New);
        self.stage(batch);
        Ok(Acquired::New(record))
    }

    /// Records an attachment whose addresses, if any, come from elsewhere.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is recorded then.
    pub fn record(
        &mut self,
        draft: Draft,
        addresses: Vec<LeasedAddress>,
        ipam: Ipam,
    ) -> Result<Acquired, StoreError> {
        let acquired = if let Some(existing) = self.find(&draft.key.id())? {
            self.keep(&existing, draft, addresses, ipam)
        } else {
            let mut batch = Batch::new(self);
            let record = batch.attach(draft, addresses, ipam, Vec::new(), Place::New);
            self.stage(batch);
            Acquired::New(record)
        };
        self.is_only = self.live_count() == 1;
        self.settle()?;
        Ok(acquired)
    }

    /// Records that an attachment keeps the addresses it has from this store or from the cluster's pools,
    /// `requested` among them; `None` if it has none.
    ///
    /// # Errors
    /// [`AcquireError`]; nothing is recorded then.
    pub fn keep_own(
        &mut self,
        draft: &Draft,
        requested: &[IpAddr],
    ) -> Result<Option<Acquired>, AcquireError> {
        let existing = self.find(&draft.key.id())?;
        let kept = self.kept(existing.as_ref(), draft, requested);
        self.is_only = self.live_count() == 1;
        self.settle()?;
        kept
    }

    fn kept(
        &mut self,
        existing: Option<&AttachmentRecord>,
        draft: &Draft,
        requested: &[IpAddr],
    ) -> Result<Option<Acquired>, AcquireError> {
        let Some(existing) = existing.filter(|existing| existing.ipam == Ipam::Own) else {
            return Ok(None);
        };
        let addresses = kept_addresses(existing, requested)?;
        let draft = Draft {
            pool: existing.pool.clone(),
            ..draft.clone()
        };
        Ok(Some(self.keep(existing, draft, addresses, Ipam::Own)))
    }

    /// Records that attachments of the network may have addresses of `pool` too, which is not this
    /// store's to give out: its subnets are the network's. Durable with the next change.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is recorded then.
    pub fn describe(&mut self, pool: &Pool) -> Result<(), StoreError> {
        let known = self.pool().cloned().unwrap_or_default();
        self.set_pool(&known.with(pool))
    }

    /// Records other host ports for an attachment that has a record; its lease goes on under a new
    /// sequence. `None` if there is no such record.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is recorded then.
    pub fn set_host_ports(
        &mut self,
        id: &AttachmentId,
        host_ports: Vec<PortMapping>,
    ) -> Result<Option<AttachmentRecord>, StoreError> {
        self.rename(id, |names| names.host_ports = host_ports)
    }

    /// Records anything else among the names of an attachment that has a record, as
    /// [`LockedStore::set_host_ports`].
    ///
    /// # Errors
    /// As it.
    pub fn set_other_names(
        &mut self,
        id: &AttachmentId,
        other: BTreeMap<String, String>,
    ) -> Result<Option<AttachmentRecord>, StoreError> {
        self.rename(id, |names| names.other = other)
    }

    fn rename(
        &mut self,
        id: &AttachmentId,
        change: impl FnOnce(&mut Names),
    ) -> Result<Option<AttachmentRecord>, StoreError> {
        let Some(record) = self.find(id)? else {
            self.settle()?;
            return Ok(None);
        };
        let mut names = record.names;
        change(&mut names);
        let draft = Draft {
            key: record.key,
            kind: record.kind,
            netns: record.netns,
            names,
            config_digest: record.config_digest,
            pod: record.pod,
            labels: record.labels,
            ports: record.ports,
            pool: record.pool,
        };
        let mut batch = Batch::new(self);
        let place = Place::Renewed;
        let record = batch.attach(draft, record.addresses, record.ipam, Vec::new(), place);
        self.stage(batch);
        self.settle()?;
        Ok(Some(record))
    }

    /// Ends the lease that carries `sequence`; `reason` goes into the audit log (`del`, `gc: ...`).
    ///
    /// # Errors
    /// [`StoreError`]; nothing is released then.
    pub fn release(
        &mut self,
        id: &AttachmentId,
        sequence: u64,
        reason: &str,
    ) -> Result<Released, StoreError> {
        let released = self.end(id, sequence, reason)?;
        self.settle()?;
        Ok(released)
    }

    /// [`LockedStore::release`], but for the settling.
    pub(super) fn end(
        &mut self,
        id: &AttachmentId,
        sequence: u64,
        reason: &str,
    ) -> Result<Released, StoreError> {
        let record = match self.find(id)? {
            None => return Ok(Released::Absent),
            Some(record) if record.sequence != sequence => {
                return Ok(Released::Superseded(record.sequence));
            }
            Some(record) => record,
        };
        let mut batch = Batch::new(self);
        batch.release(&record, reason);
        self.stage(batch);
        Ok(Released::Freed(Box::new(record)))
    }

    /// The existing record if nothing about it changed, else a new one in its place.
    fn keep(
        &mut self,
        existing: &AttachmentRecord,
        draft: Draft,
        addresses: Vec<LeasedAddress>,
        ipam: Ipam,
    ) -> Acquired {
        let same_source =
            existing.ipam == ipam && existing.addresses == addresses && existing.pool == draft.pool;
        let same_life = existing.boot_id == *self.boot.id()
            && existing.netns == draft.netns
            && existing.kind == draft.kind
            && existing.labels == draft.labels
            && existing.ports == draft.ports;
        if same_source && same_life {
            return Acquired::Existing(existing.clone());
        }
        let mut batch = Batch::new(self);
        let mut place = Place::Renewed;
        if !same_source {
            batch.release(
                existing,
                "the attachment was made anew with other addresses",
            );
            place = Place::New;
        }
        let record = batch.attach(draft, addresses, ipam, Vec::new(), place);
        self.stage(batch);
        Acquired::Renewed(record)
    }

    fn picked(&self, pool: &Pool, wanted: &[IpAddr]) -> Result<Vec<Pick>, AcquireError> {
        allocate(&Lookup::new(self), pool, wanted).map_err(|error| match error {
            AllocateError::Refused(refusal) => AcquireError::Refused {
                network: self.store.name.clone(),
                refusal,
            },
            AllocateError::View(error) => error.into(),
        })
    }

    /// Ends the leases of dead attachments; whether there were any. Their kernel objects went with
    /// the boot or the namespace.
    fn bury_dead(&mut self) -> Result<bool, StoreError> {
        let mut batch = Batch::new(self);
        let mut all = self.attachments()?;
        all.sort_unstable_by_key(|record| record.sequence);
        for record in all {
            let reason = self.death(&record);
            if let Some(reason) =
                reason.filter(|_| record.ipam == Ipam::Own && record.pool.is_none())
            {
                batch.bury(&record, reason);
            }
        }
        let any = !batch.records.is_empty();
        self.stage(batch);
        Ok(any)
    }

    /// The pool to use, recorded if it differs from the last one. Leases outside the new one stay.
    fn settled_pool(&mut self, config: &PoolConfig) -> Result<Pool, AcquireError> {
        let pool = match &config.source {
            PoolSource::Named(pool) => pool.clone(),
            PoolSource::Automatic(automatic) => {
                let chosen = self.pool().filter(|pool| pool.automatic);
                let mut chosen = chosen
                    .cloned()
                    .ok_or_else(|| AcquireError::NoPool(self.store.name.clone()))?;
                chosen.exclude.clone_from(&automatic.exclude);
                chosen.cooldown_secs = automatic.cooldown_secs;
                chosen
            }
        };
        self.set_pool(&pool)?;
        Ok(pool)
    }

    pub(super) fn set_pool(&mut self, pool: &Pool) -> Result<(), StoreError> {
        if self.pool() != Some(pool) {
            let mut batch = Batch::new(self);
            batch.pool(pool);
            self.stage(batch);
        }
        // A checkpoint lists freed addresses by range, and the ranges are others now.
        if let Hold::Alone(own) = &mut self.hold
            && own.snapshot.overlay.pool.is_some()
            && own.snapshot.base.is_some()
        {
            own.settle(&self.store)?;
            own.checkpoint(&self.store)?;
        }
        Ok(())
    }

    /// Many leases in one append and a checkpoint: for tests that need a full store.
    #[cfg(test)]
    pub(super) fn fill(&mut self, config: &PoolConfig, leases: u32, draft: fn(&str) -> Draft) {
        for nth in 0..leases {
            let drafted = draft(&format!("f{nth}"));
            self.decide(drafted, config).expect("there is room");
        }
        self.settle().expect("there is disk");
        if let Hold::Alone(own) = &mut self.hold {
            own.checkpoint(&self.store).expect("there is disk");
        }
    }

    /// Adds records to what the next settling makes durable; they can be seen here at once.
    fn stage(&mut self, batch: Batch) {
        let records: Vec<_> = batch.records.into_iter().map(Piece::from).collect();
        match &mut self.hold {
            Hold::Alone(own) => own.stage(records),
            Hold::Warm(turn) => turn.stage(records),
        }
    }

    /// Returns once what was staged, and what else was seen here, is durable. After an error nothing of
    /// what was staged is recorded.
    pub(super) fn settle(&mut self) -> Result<(), FileError> {
        match &mut self.hold {
            Hold::Alone(own) => own.settle(&self.store),
            Hold::Warm(turn) => turn.settle(),
        }
    }
}

/// The lease's addresses, if they are what is asked for now.
fn kept_addresses(
    existing: &AttachmentRecord,
    wanted: &[IpAddr],
) -> Result<Vec<LeasedAddress>, AcquireError> {
    let holds = |wanted: &&IpAddr| {
        let mut held = existing.addresses.iter();
        held.any(|held| held.address.address() == **wanted)
    };
    if let Some(requested) = wanted.iter().find(|wanted| !holds(wanted)) {
        let held = existing
            .addresses
            .iter()
            .map(|held| held.address.address().to_string());
        return Err(AcquireError::Contradicts {
            key: existing.key.clone(),
            recorded: held.collect::<Vec<_>>().join(", "),
            requested: *requested,
        });
    }
    Ok(existing.addresses.clone())
}
