//! The checkpoint: the state at some place of a journal, laid out so that opening it reads two
//! pieces and a look-up a few dozen bytes, however many leases there are.
//!
//! ```text
//! header   64 bytes: magic, schema, CRC, the journal's generation, file length, place of meta
//! records  each attachment's JSON, one a line
//! indexes  of 64-byte entries with a CRC each: attachments by id, held addresses, freed addresses,
//!          and for each range the freed ones in the order of their release
//! meta     JSON: the pool, the counts, where the indexes are, each range's cursor
//! ```
//!
//! The file is made beside the old one and renamed over it, so it is always whole; a checksum that
//! does not hold is damage.

use std::fs::File;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::entry::{ENTRY_LEN, Entry, FreedEntry, HeldEntry, IdEntry, IdKey};
use super::overlay::Moved;
use crate::error::{FileError, StoreError};
use crate::journal::crc::crc32c;
use crate::journal::{Piece, offset as long};
use crate::pool::Pool;
use crate::record::BootId;
use crate::span::Span;

pub(crate) const MAGIC: [u8; 8] = *b"bhckpt\r\n";
pub(crate) const SCHEMA: u32 = 1;
pub(crate) const HEADER_LEN: usize = 64;
/// Entries read at once where one after the other is looked at.
const CHUNK: usize = 64;

/// The last part of the file.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Meta {
    pub(crate) pool: Option<Pool>,
    /// Number of the last record that is in here.
    pub(crate) sequence: u64,
    /// Length of the journal up to there, in bytes.
    pub(crate) journal_end: u64,
    pub(crate) boots: Vec<BootId>,
    pub(crate) ids: Section,
    pub(crate) held: Section,
    pub(crate) freed: Section,
    pub(crate) ranges: Vec<RangeState>,
}

/// Entries in the file.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Section {
    pub(crate) offset: u64,
    pub(crate) count: u64,
}

/// Where allocation stands in one range.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct RangeState {
    pub(crate) span: Span,
    /// The next address never given out; `None` at the end.
    pub(crate) cursor: Option<IpAddr>,
    /// Whether freed addresses were dropped from the list.
    #[serde(default)]
    pub(crate) forgotten: bool,
    /// Oldest first.
    pub(crate) freed: Section,
}

impl RangeState {
    pub(crate) const fn stands(&self) -> Moved {
        Moved {
            next: self.cursor,
            forgotten: self.forgotten,
        }
    }
}

/// A checkpoint open for look-ups.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    path: PathBuf,
    file: File,
    /// Of the journal that it holds up to `meta.journal_end`.
    pub(crate) generation: u64,
    pub(crate) meta: Meta,
    read: AtomicU64,
}

impl Checkpoint {
    /// `None` if there is none.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, StoreError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FileError::at("open", path)(error).into()),
        };
        let mut checkpoint = Self {
            path: path.to_owned(),
            file,
            generation: 0,
            meta: Meta::default(),
            read: AtomicU64::new(0),
        };
        checkpoint.load()?;
        Ok(Some(checkpoint))
    }

    fn load(&mut self) -> Result<(), StoreError> {
        let header = self.bytes(0, HEADER_LEN)?;
        let long_at = |at: usize| u64::from_be_bytes(array(&header, at));
        let int_at = |at: usize| u32::from_be_bytes(array(&header, at));
        if header[..8] != MAGIC || int_at(12) != crc32c(&[&header[..12], &header[16..]]) {
            return Err(self.damaged(0, "this is not a checkpoint's header"));
        }
        if int_at(8) > SCHEMA {
            return Err(StoreError::Schema {
                path: self.path.clone(),
                found: int_at(8),
                supported: SCHEMA,
            });
        }
        let (length, meta_at, meta_len) = (long_at(24), long_at(32), long_at(40));
        let found = self
            .file
            .metadata()
            .map_err(FileError::at("stat", &self.path))?
            .len();
        if found != length || meta_at.checked_add(meta_len) != Some(length) {
            let what = format!("it is {found} bytes long and should be {length}");
            return Err(self.damaged(found, &what));
        }
        // Not longer than the file, which is there.
        let meta_len = usize::try_from(meta_len).unwrap_or(usize::MAX);
        let meta = self.bytes(meta_at, meta_len)?;
        if crc32c(&[&meta]) != int_at(48) {
            return Err(self.damaged(meta_at, "the description of the indexes fails its checksum"));
        }
        self.generation = long_at(16);
        self.meta = serde_json::from_slice(&meta)
            .map_err(|error| self.damaged(meta_at, &error.to_string()))?;
        Ok(())
    }

    /// The record of an attachment, as JSON.
    pub(crate) fn record(&self, id: &IdKey) -> Result<Option<Vec<u8>>, StoreError> {
        let section = self.meta.ids;
        let at = self.lower_bound::<IdEntry>(section, id)?;
        match self.entry::<IdEntry>(section, at)? {
            Some(entry) if entry.id == *id => {
                let len = usize::try_from(entry.len).unwrap_or(usize::MAX);
                let bytes = self.bytes(entry.offset, len)?;
                self.proved(&entry, &bytes)?;
                Ok(Some(bytes))
            }
            _ => Ok(None),
        }
    }

    /// Every record's bytes, read at once.
    pub(crate) fn records(&self) -> Result<Vec<u8>, StoreError> {
        let end = usize::try_from(self.meta.ids.offset).unwrap_or(usize::MAX);
        self.bytes(long(HEADER_LEN), end.saturating_sub(HEADER_LEN))
    }

    /// The record that `entry` points to, in what `records` read.
    pub(crate) fn record_in(&self, records: &Piece, entry: &IdEntry) -> Result<Piece, StoreError> {
        let start = usize::try_from(entry.offset).ok();
        let start = start.and_then(|start| start.checked_sub(HEADER_LEN));
        let len = usize::try_from(entry.len).unwrap_or(usize::MAX);
        let end = start.and_then(|start| start.checked_add(len));
        let place = start.zip(end).filter(|(_, end)| *end <= records.len());
        let record = place.map_or_else(Piece::default, |(start, end)| records.part(start..end));
        self.proved(entry, &record)?;
        Ok(record)
    }

    fn proved(&self, entry: &IdEntry, bytes: &[u8]) -> Result<(), StoreError> {
        if crc32c(&[bytes]) == entry.record_crc {
            return Ok(());
        }
        let what = format!("the record of attachment {} fails its checksum", entry.id);
        Err(self.damaged(entry.offset, &what))
    }

    /// Who holds `address`.
    pub(crate) fn holder(&self, address: IpAddr) -> Result<Option<IdKey>, StoreError> {
        let found = self.exact::<HeldEntry>(self.meta.held, address)?;
        Ok(found.map(|entry| entry.id))
    }

    /// When `address` was freed, if it is listed.
    pub(crate) fn freed(&self, address: IpAddr) -> Result<Option<FreedEntry>, StoreError> {
        self.exact(self.meta.freed, address)
    }

    /// Number of addresses held inside `span`.
    pub(crate) fn held_in(&self, span: Span) -> Result<u64, StoreError> {
        let held = self.meta.held;
        let from = self.lower_bound::<HeldEntry>(held, &span.first())?;
        let last = self.lower_bound::<HeldEntry>(held, &span.last())?;
        let holds_last = self
            .entry::<HeldEntry>(held, last)?
            .is_some_and(|entry| entry.address == span.last());
        Ok(last - from + u64::from(holds_last))
    }

    /// The entry at place `nth` of a section; `None` behind its end.
    pub(crate) fn entry<E: Entry>(
        &self,
        section: Section,
        nth: u64,
    ) -> Result<Option<E>, StoreError> {
        if nth >= section.count {
            return Ok(None);
        }
        let at = section.offset + nth * long(ENTRY_LEN);
        let mut bytes = [0; ENTRY_LEN];
        self.read_into(at, &mut bytes)?;
        self.decoded(at, &bytes).map(Some)
    }

    fn decoded<E: Entry>(&self, at: u64, bytes: &[u8; ENTRY_LEN]) -> Result<E, StoreError> {
        let crc = u32::from_be_bytes(array(bytes, ENTRY_LEN - 4));
        let whole = crc32c(&[&bytes[..ENTRY_LEN - 4]]) == crc;
        let entry = whole.then(|| E::decode(bytes)).flatten();
        entry.ok_or_else(|| self.damaged(at, "an index entry fails its checksum"))
    }

    /// Every entry of a section, in order, read many at a time.
    pub(crate) fn entries<E: Entry>(
        &self,
        section: Section,
    ) -> impl Iterator<Item = Result<E, StoreError>> + use<'_, E> {
        let chunks = (0..section.count).step_by(CHUNK);
        chunks.flat_map(move |first| {
            let count = (section.count - first).min(long(CHUNK));
            let at = section.offset + first * long(ENTRY_LEN);
            let len = usize::try_from(count).map_or(0, |count| count * ENTRY_LEN);
            let (bytes, failed) = match self.bytes(at, len) {
                Ok(bytes) => (bytes, None),
                Err(error) => (Vec::new(), Some(Err(error))),
            };
            let entries = (0..bytes.len() / ENTRY_LEN).map(move |nth| {
                let entry: [u8; ENTRY_LEN] = array(&bytes, nth * ENTRY_LEN);
                self.decoded(at + long(nth * ENTRY_LEN), &entry)
            });
            entries.chain(failed)
        })
    }

    /// The boot that an entry names.
    pub(crate) fn boot(&self, entry: &FreedEntry) -> Option<&BootId> {
        self.meta.boots.get(usize::try_from(entry.boot).ok()?)
    }

    /// Bytes read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    fn exact<E: Entry<Key = IpAddr>>(
        &self,
        section: Section,
        address: IpAddr,
    ) -> Result<Option<E>, StoreError> {
        let at = self.lower_bound::<E>(section, &address)?;
        let entry = self.entry::<E>(section, at)?;
        Ok(entry.filter(|entry| entry.key() == address))
    }

    /// The first place whose key is not less than `key`.
    fn lower_bound<E: Entry>(&self, section: Section, key: &E::Key) -> Result<u64, StoreError> {
        let (mut low, mut high) = (0, section.count);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.entry::<E>(section, middle)? {
                Some(entry) if entry.key() < *key => low = middle + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    fn bytes(&self, at: u64, len: usize) -> Result<Vec<u8>, StoreError> {
        // A length that came from damaged bytes must not be allocated unseen.
        if len > 1 << 30 {
            return Err(self.damaged(at, "a length is beyond all reason"));
        }
        let mut bytes = vec![0; len];
        self.read_into(at, &mut bytes)?;
        Ok(bytes)
    }

    fn read_into(&self, at: u64, bytes: &mut [u8]) -> Result<(), StoreError> {
        self.read.fetch_add(long(bytes.len()), Ordering::Relaxed);
        match self.file.read_exact_at(bytes, at) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Err(self.damaged(at, "the file ends here"))
            }
            other => Ok(other.map_err(FileError::at("read", &self.path))?),
        }
    }

    pub(crate) fn damaged(&self, offset: u64, what: &str) -> StoreError {
        StoreError::Damaged {
            path: self.path.clone(),
            offset,
            what: what.to_owned(),
        }
    }
}

pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}
