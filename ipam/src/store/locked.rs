//! Writing: acquire, record, release. One call is one append and one `fdatasync`.

use std::net::IpAddr;
use std::ops::Deref;

use bulkhead_model::{AttachmentId, PortMapping};

use super::batch::{Batch, Place};
use super::checkpoint::Checkpoint;
use super::compact::compacted;
use super::dir::FileLock;
use super::network::NetworkStore;
use super::snapshot::Snapshot;
use super::view::Lookup;
use crate::allocate::{AllocateError, Pick, Refusal, Source, allocate};
use crate::config::{PoolConfig, PoolSource};
use crate::error::{AcquireError, StoreError};
use crate::journal::Journal;
use crate::pool::Pool;
use crate::record::{AttachmentRecord, Draft, Ipam, LeasedAddress, Names};

/// One network's store, locked against every other writer; unlocked when dropped.
#[derive(Debug)]
pub struct LockedStore {
    pub(super) store: NetworkStore,
    pub(super) snapshot: Snapshot,
    journal: Journal,
    _lock: FileLock,
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
        &self.snapshot
    }
}

impl LockedStore {
    pub(super) fn new(
        store: NetworkStore,
        snapshot: Snapshot,
        journal: Journal,
        lock: FileLock,
    ) -> Self {
        Self {
            store,
            snapshot,
            journal,
            _lock: lock,
        }
    }

    /// Gives the attachment one address of every range set, those of `config.requested` among them.
    /// An attachment that has a lease keeps it, also if the pool has changed since.
    ///
    /// If a set is exhausted, leases of provably dead attachments (an earlier boot's, or of a
    /// namespace that is gone) are ended, which the audit log says, and it is tried once more.
    ///
    /// # Errors
    /// [`AcquireError`]; the attachment has no new lease then.
    pub fn acquire(
        &mut self,
        mut draft: Draft,
        config: &PoolConfig,
    ) -> Result<Acquired, AcquireError> {
        let pool = self.settled_pool(config)?;
        let existing = self.snapshot.find(&draft.key.id())?;
        if let Some(existing) = &existing
            && existing.ipam == Ipam::Own
        {
            let addresses = kept_addresses(existing, &config.requested)?;
            draft.pool.clone_from(&existing.pool);
            return Ok(self.keep(existing, draft, addresses, Ipam::Own)?);
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
        let mut batch = Batch::new(&self.snapshot);
        if let Some(foreign) = &existing {
            batch.release(foreign, "its addresses come from this store now");
        }
        let record = batch.attach(draft, addresses, Ipam::Own, moved, Place::New);
        self.commit(&batch)?;
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
        if let Some(existing) = self.snapshot.find(&draft.key.id())? {
            return self.keep(&existing, draft, addresses, ipam);
        }
        let mut batch = Batch::new(&self.snapshot);
        let record = batch.attach(draft, addresses, ipam, Vec::new(), Place::New);
        self.commit(&batch)?;
        Ok(Acquired::New(record))
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
        let Some(record) = self.snapshot.find(id)? else {
            return Ok(None);
        };
        let draft = Draft {
            key: record.key,
            kind: record.kind,
            netns: record.netns,
            names: Names {
                host_ports,
                ..record.names
            },
            config_digest: record.config_digest,
            pod: record.pod,
            pool: record.pool,
        };
        let mut batch = Batch::new(&self.snapshot);
        let place = Place::Renewed;
        let record = batch.attach(draft, record.addresses, record.ipam, Vec::new(), place);
        self.commit(&batch)?;
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
        let Some(record) = self.snapshot.find(id)? else {
            return Ok(Released::Absent);
        };
        if record.sequence != sequence {
            return Ok(Released::Superseded(record.sequence));
        }
        let mut batch = Batch::new(&self.snapshot);
        batch.release(&record, reason);
        self.commit(&batch)?;
        Ok(Released::Freed(Box::new(record)))
    }

    /// The existing record if nothing about it changed, else a new one in its place.
    fn keep(
        &mut self,
        existing: &AttachmentRecord,
        draft: Draft,
        addresses: Vec<LeasedAddress>,
        ipam: Ipam,
    ) -> Result<Acquired, StoreError> {
        let same_source =
            existing.ipam == ipam && existing.addresses == addresses && existing.pool == draft.pool;
        let same_life = existing.boot_id == *self.snapshot.boot.id()
            && existing.netns == draft.netns
            && existing.kind == draft.kind;
        if same_source && same_life {
            return Ok(Acquired::Existing(existing.clone()));
        }
        let mut batch = Batch::new(&self.snapshot);
        let mut place = Place::Renewed;
        if !same_source {
            batch.release(
                existing,
                "the attachment was made anew with other addresses",
            );
            place = Place::New;
        }
        let record = batch.attach(draft, addresses, ipam, Vec::new(), place);
        self.commit(&batch)?;
        Ok(Acquired::Renewed(record))
    }

    fn picked(&self, pool: &Pool, wanted: &[IpAddr]) -> Result<Vec<Pick>, AcquireError> {
        allocate(&Lookup::new(&self.snapshot), pool, wanted).map_err(|error| match error {
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
        let mut batch = Batch::new(&self.snapshot);
        let mut all = self.snapshot.attachments()?;
        all.sort_unstable_by_key(|record| record.sequence);
        for record in all {
            let reason = self.snapshot.death(&record);
            if let Some(reason) = reason.filter(|_| record.ipam == Ipam::Own) {
                batch.bury(&record, reason);
            }
        }
        let any = !batch.records.is_empty();
        if any {
            self.commit(&batch)?;
        }
        Ok(any)
    }

    /// The pool to use, recorded if it differs from the last one. Leases outside the new one stay.
    fn settled_pool(&mut self, config: &PoolConfig) -> Result<Pool, AcquireError> {
        let pool = match &config.source {
            PoolSource::Named(pool) => pool.clone(),
            PoolSource::Automatic(automatic) => {
                let chosen = self.snapshot.pool().filter(|pool| pool.automatic);
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
        if self.snapshot.pool() != Some(pool) {
            let mut batch = Batch::new(&self.snapshot);
            batch.pool(pool);
            self.commit(&batch)?;
        }
        // A checkpoint lists freed addresses by range, and the ranges are others now.
        let regroup = self.snapshot.overlay.pool.is_some() && self.snapshot.base.is_some();
        if regroup { self.checkpoint() } else { Ok(()) }
    }

    /// Many leases in one append and a checkpoint: for tests that need a full store.
    #[cfg(test)]
    pub(super) fn fill(&mut self, config: &PoolConfig, leases: u32, draft: fn(&str) -> Draft) {
        for nth in 0..leases {
            if nth == 0 {
                self.settled_pool(config).expect("a named pool");
            }
            let pool = self.snapshot.pool().expect("it is settled").clone();
            let picks = self.picked(&pool, &[]).expect("there is room");
            let addresses: Vec<_> = picks.into_iter().map(|pick| pick.leased).collect();
            let moved = addresses
                .iter()
                .map(|held| held.address.address())
                .collect();
            let mut batch = Batch::new(&self.snapshot);
            batch.attach(
                draft(&format!("f{nth}")),
                addresses,
                Ipam::Own,
                moved,
                Place::New,
            );
            self.journal
                .append_unsynced(&batch.records)
                .expect("there is disk");
            self.snapshot
                .take_in(self.journal.tail())
                .expect("it was just made");
        }
        self.checkpoint().expect("there is disk");
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.journal.append(&batch.records)?;
        self.snapshot.take_in(self.journal.tail())?;
        if self.snapshot.overlay.records >= self.store.limits.tail_records {
            // What was to be recorded is durable: a checkpoint that cannot be made now (a full disk)
            // is made by a later call, and must not turn this one into a failure.
            let _ = self.checkpoint();
        }
        Ok(())
    }

    /// Makes a checkpoint, and begins a new journal if this one is long.
    fn checkpoint(&mut self) -> Result<(), StoreError> {
        let limits = self.store.limits;
        let generation = self.journal.generation();
        let place = (generation, self.journal.end());
        let bytes = compacted(&self.snapshot, place, limits.freed)?;
        self.store.put_checkpoint(&bytes)?;
        let base = Checkpoint::open(&self.store.dir.join("checkpoint"))?;
        self.snapshot = Snapshot::empty(&self.store.dir, &self.store.boot, base);
        self.journal.forget_tail();
        if self.journal.end() > limits.journal_bytes {
            // From here on, whatever fails, another journal may stand in this one's place.
            self.journal.close();
            self.journal = self.store.next_journal(generation)?;
        }
        Ok(())
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
