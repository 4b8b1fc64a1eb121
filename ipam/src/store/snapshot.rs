//! What is recorded at one moment: the checkpoint, and over it what the journal says since.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bulkhead_model::{AttachmentId, Family};

use super::checkpoint::{Checkpoint, RangeState};
use super::entry::{FreedEntry, IdKey};
use super::head::payload;
use super::overlay::{Attachment, FreedAt, Ground, Moved, Overlay, Use};
use super::view::{Cooling, Lookup};
use crate::allocate::View;
use crate::boot::Boot;
use crate::error::StoreError;
use crate::journal::{Piece, Reader, Tail, first_record};
use crate::pool::Pool;
use crate::record::AttachmentRecord;
use crate::span::Span;

/// What was recorded at one moment. A clone costs little, however much it is.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(super) dir: PathBuf,
    pub(super) boot: Boot,
    pub(super) base: Option<Arc<Checkpoint>>,
    pub(super) overlay: Overlay,
    /// Length of the journal's part that was read.
    journal_bytes: u64,
}

/// How full a range set is. All numbers saturate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SetUsage {
    /// The set's number, from 0.
    pub set: u32,
    /// Its ranges, as text.
    pub ranges: String,
    /// Addresses that can be given out.
    pub size: u128,
    /// Addresses held.
    pub held: u64,
    /// Addresses that cool down.
    pub cooling: u64,
    /// Addresses neither held nor cooling.
    pub free: u128,
}

/// What reading the store has cost so far.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReadCost {
    /// Bytes of the checkpoint.
    pub checkpoint_bytes: u64,
    /// Bytes of the journal.
    pub journal_bytes: u64,
    /// Records of the journal.
    pub journal_records: usize,
}

impl Snapshot {
    pub(super) fn empty(dir: &Path, boot: &Boot, base: Option<Checkpoint>) -> Self {
        let mut overlay = Overlay::default();
        if let Some(base) = &base {
            overlay.sequence = base.meta.sequence;
            overlay.live = base.meta.ids.count;
            overlay.ground = Ground::Checkpoint;
        }
        Self {
            dir: dir.to_owned(),
            boot: boot.clone(),
            base: base.map(Arc::new),
            overlay,
            journal_bytes: 0,
        }
    }

    /// Reads without a lock. The journal is opened first: a checkpoint that appears meanwhile holds
    /// it up to some place, or all of it.
    pub(super) fn read(dir: &Path, boot: &Boot) -> Result<Option<Self>, StoreError> {
        let path = dir.join("journal");
        let reader = Reader::open(&path)?;
        let base = Checkpoint::open(&dir.join("checkpoint"))?;
        let Some(reader) = reader else {
            return match base {
                None => Ok(None),
                Some(_) => Err(no_journal(&path)),
            };
        };
        let mut snapshot = Self::empty(dir, boot, base);
        let covered = snapshot.base.as_ref().map_or(0, |base| base.generation);
        if reader.generation >= covered {
            let start = snapshot.tail_start(reader.generation)?;
            snapshot.take_in(&reader.tail(start)?)?;
        }
        Ok(Some(snapshot))
    }

    /// Where in the journal of this generation the records begin that the checkpoint has not.
    pub(super) fn tail_start(&self, generation: u64) -> Result<u64, StoreError> {
        let refused = |what: String| StoreError::Damaged {
            path: self.dir.join("journal"),
            offset: 0,
            what,
        };
        match &self.base {
            None if generation == 1 => Ok(first_record()),
            None => Err(refused(format!(
                "it is journal {generation}, and the checkpoint is missing"
            ))),
            Some(base) if generation == base.generation => Ok(base.meta.journal_end),
            // A journal is begun when a checkpoint holds all of the one before.
            Some(base) if generation == base.generation + 1 => Ok(first_record()),
            Some(base) => Err(refused(format!(
                "it is journal {generation}, and the checkpoint holds journal {}",
                base.generation
            ))),
        }
    }

    /// Takes in the records of the journal's tail.
    pub(super) fn take_in(&mut self, tail: &Tail) -> Result<(), StoreError> {
        for (offset, body) in tail.records() {
            self.replay(&body).map_err(|what| StoreError::Damaged {
                path: self.dir.join("journal"),
                offset,
                what,
            })?;
        }
        self.journal_bytes += tail.len();
        Ok(())
    }

    /// Takes in records that were made from it.
    pub(super) fn follow(&mut self, records: &[Piece]) {
        for record in records {
            let taken = self.replay(record);
            taken.expect("a record that was just made from the snapshot follows it");
        }
    }

    /// Drops freed addresses beyond `max` of a family that are cool.
    pub(super) fn forget(&mut self, max: usize) {
        let families = [Family::V4, Family::V6];
        if families
            .into_iter()
            .any(|family| self.overlay.freed(family).len() > max)
        {
            let cooling = Cooling::of(self);
            self.overlay
                .forget(max, |freed| cooling.left_ms(freed) == 0);
        }
    }

    fn replay(&mut self, body: &Piece) -> Result<(), String> {
        let base = self.base.as_deref();
        let pool = base.and_then(|base| base.meta.pool.as_ref());
        let stood = |span: Span| match range_state(base, span) {
            Some(state) => state.stands(),
            None => Moved::at_start(span),
        };
        self.overlay.replay(body, pool, stood)
    }

    /// The attachment's record.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn find(&self, id: &AttachmentId) -> Result<Option<AttachmentRecord>, StoreError> {
        self.record(&IdKey::new(id))
    }

    /// Every attachment, in the order of their ids. Reads them all: for lists and garbage
    /// collection only.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn attachments(&self) -> Result<Vec<AttachmentRecord>, StoreError> {
        let pieces = self.pieces()?;
        let all = pieces.iter().map(|record| self.parsed(record));
        let mut all = all.collect::<Result<Vec<_>, StoreError>>()?;
        all.sort_by_cached_key(|record: &AttachmentRecord| record.id());
        Ok(all)
    }

    /// Number of attachments.
    #[must_use]
    pub fn live_count(&self) -> u64 {
        self.overlay.live
    }

    /// The network's pool as last used.
    #[must_use]
    pub fn pool(&self) -> Option<&Pool> {
        let base = self.base.as_ref();
        let before = || base.and_then(|base| base.meta.pool.as_ref());
        self.overlay.pool.as_deref().or_else(before)
    }

    /// The attachment that holds `address` of this store.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn holder(&self, address: IpAddr) -> Result<Option<AttachmentRecord>, StoreError> {
        let id = match self.overlay.addresses.get(&address) {
            Some(Use::Held(id)) => Some(*id),
            Some(Use::Freed(_)) => None,
            None => match &self.base {
                Some(base) => base.holder(address)?,
                None => None,
            },
        };
        id.map_or(Ok(None), |id| self.record(&id))
    }

    /// How full each range set of the pool is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn usage(&self) -> Result<Vec<SetUsage>, StoreError> {
        let Some(pool) = self.pool() else {
            return Ok(Vec::new());
        };
        let lookup = Lookup::new(self);
        let mut usage = Vec::with_capacity(pool.sets.len());
        for (nth, set) in (0..).zip(&pool.sets) {
            let (mut held, mut cooling) = (0, 0);
            for range in &set.ranges {
                held += lookup.held(range.span)?;
                for freed in lookup.freed(range) {
                    cooling += u64::from(freed?.cooling_ms > 0);
                }
            }
            let texts: Vec<String> = set.ranges.iter().map(|r| r.span.to_string()).collect();
            let size = pool.size(set);
            let in_use = u128::from(held) + u128::from(cooling);
            usage.push(SetUsage {
                set: nth,
                ranges: texts.join(", "),
                size,
                held,
                cooling,
                free: size.saturating_sub(in_use),
            });
        }
        Ok(usage)
    }

    /// What reading the store has cost so far.
    #[must_use]
    pub fn read_cost(&self) -> ReadCost {
        ReadCost {
            checkpoint_bytes: self.base.as_ref().map_or(0, |base| base.bytes_read()),
            journal_bytes: self.journal_bytes,
            journal_records: self.overlay.records,
        }
    }

    pub(super) fn record(&self, id: &IdKey) -> Result<Option<AttachmentRecord>, StoreError> {
        match self.overlay.attachments.get(id) {
            Some(Attachment::Live(record)) => self.parsed(record).map(Some),
            Some(Attachment::Gone) => Ok(None),
            None => match &self.base {
                Some(base) => {
                    let json = base.record(id)?;
                    json.map(|json| self.parsed(&json)).transpose()
                }
                None => Ok(None),
            },
        }
    }

    pub(super) fn range_state(&self, span: Span) -> Option<&RangeState> {
        range_state(self.base.as_deref(), span)
    }

    /// When `address` was last freed, if that is known and nobody holds it.
    pub(super) fn freed_at(&self, address: IpAddr) -> Result<Option<FreedAt>, StoreError> {
        match self.overlay.addresses.get(&address) {
            Some(Use::Held(_)) => Ok(None),
            Some(Use::Freed(freed)) => Ok(Some(FreedAt::clone(freed))),
            None => match &self.base {
                Some(base) => {
                    let entry = base.freed(address)?;
                    entry.map(|entry| freed_of(base, &entry)).transpose()
                }
                None => Ok(None),
            },
        }
    }

    pub(super) fn parsed(&self, json: &[u8]) -> Result<AttachmentRecord, StoreError> {
        payload(json).map_err(|error| StoreError::Damaged {
            path: self.dir.join("journal"),
            offset: 0,
            what: format!("a record of an attachment is not understood: {error}"),
        })
    }
}

pub(super) fn freed_of(base: &Checkpoint, entry: &FreedEntry) -> Result<FreedAt, StoreError> {
    let boot = base
        .boot(entry)
        .ok_or_else(|| base.damaged(0, "a freed address names a boot that is not listed"))?;
    Ok(FreedAt {
        address: entry.address,
        sequence: entry.sequence,
        since_boot_ms: entry.since_boot_ms,
        boot: boot.clone(),
    })
}

pub(super) fn no_journal(path: &Path) -> StoreError {
    StoreError::Damaged {
        path: path.to_owned(),
        offset: 0,
        what: "the journal is missing, and a checkpoint says there was one".to_owned(),
    }
}

fn range_state(base: Option<&Checkpoint>, span: Span) -> Option<&RangeState> {
    base?.meta.ranges.iter().find(|state| state.span == span)
}
