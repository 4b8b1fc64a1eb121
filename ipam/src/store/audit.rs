//! The audit log: old journals, kept up to a bound, and the present one.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use bulkhead_model::AttachmentKey;

use super::dir::{StateDir, network_dir};
use super::head::{Head, Release, What, payload};
use super::snapshot::Snapshot;
use crate::boot::Now;
use crate::error::{FileError, StoreError};
use crate::journal::{Reader, first_record};
use crate::record::{AttachmentRecord, PodRef};

/// A change of an address's lease.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// The attachment, with its network.
    pub key: AttachmentKey,
    /// Whose container it was, if the runtime said so.
    pub pod: Option<PodRef>,
    /// The lease's sequence.
    pub sequence: u64,
    /// What happened.
    pub change: Change,
}

/// What happened to a lease.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// It was given out.
    Acquired,
    /// It ended, for this reason.
    Released(String),
}

impl Snapshot {
    /// What happened to `address`, oldest first, as far back as the audit log goes; the lease that
    /// holds it now is always there. Addresses that a foreign IPAM gave are in it too.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn history(&self, address: IpAddr) -> Result<Vec<Event>, StoreError> {
        let mut events = Vec::new();
        if let Some(record) = self.holder(address)? {
            events.push(acquired(record));
        }
        // The present journal first: if it is put into the log meanwhile, it is read twice, not never.
        let mut journals = vec![self.dir.join("journal")];
        journals.extend(segments(&self.dir.join("audit"))?);
        for path in journals {
            let Some(reader) = Reader::open(&path)? else {
                continue;
            };
            let tail = reader.tail(first_record())?;
            for (offset, body) in tail.records() {
                let event = event(&body, address);
                let event = event.map_err(|error| StoreError::Damaged {
                    path: path.clone(),
                    offset,
                    what: error.to_string(),
                })?;
                events.extend(event);
            }
        }
        // The journal may be in the log already, and the holder's lease in either.
        let order = |event: &Event| (event.sequence, event.change != Change::Acquired);
        events.sort_by_key(order);
        events.dedup();
        Ok(events)
    }
}

/// A lease that has ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ended {
    /// The attachment, with its network.
    pub key: AttachmentKey,
    /// The lease's sequence.
    pub sequence: u64,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// When it began, in milliseconds since 1970; 0 if the log does not go back so far.
    pub since_unix_ms: u64,
    /// When it ended, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// Why.
    pub reason: String,
    /// Whose container it was, if the runtime said so.
    pub pod: Option<PodRef>,
}

impl StateDir {
    /// The leases that ended after `unix_ms`, in milliseconds since 1970, as far as the audit log goes
    /// back. A network that cannot be read is an error among the others.
    ///
    /// # Errors
    /// If the networks cannot be listed.
    pub fn ended_since(
        &self,
        unix_ms: u64,
    ) -> Result<impl Iterator<Item = Result<Ended, StoreError>> + use<>, FileError> {
        let mut all = Vec::new();
        for name in self.networks()? {
            match ended_in(&network_dir(self.path(), &name), unix_ms) {
                Ok(ended) => all.extend(ended.into_iter().map(Ok)),
                Err(error) => all.push(Err(error)),
            }
        }
        Ok(all.into_iter())
    }
}

fn ended_in(dir: &Path, unix_ms: u64) -> Result<Vec<Ended>, StoreError> {
    let after = UNIX_EPOCH + Duration::from_millis(unix_ms);
    let mut journals = Vec::new();
    for path in segments(&dir.join("audit"))? {
        // What a full journal tells last, it told when it was written last.
        let written = fs::metadata(&path).and_then(|found| found.modified());
        if written.map_err(FileError::at("stat", &path))? >= after {
            journals.push(path);
        }
    }
    journals.push(dir.join("journal"));
    let mut began = BTreeMap::new();
    let mut ended = BTreeMap::new();
    for path in journals {
        let Some(reader) = Reader::open(&path)? else {
            continue;
        };
        for (offset, body) in reader.tail(first_record())?.records() {
            take_in(&body, unix_ms, &mut began, &mut ended).map_err(|error| {
                StoreError::Damaged {
                    path: path.clone(),
                    offset,
                    what: error.to_string(),
                }
            })?;
        }
    }
    // The present journal may be in the log already.
    Ok(ended.into_values().collect())
}

fn take_in(
    body: &[u8],
    unix_ms: u64,
    began: &mut BTreeMap<u64, u64>,
    ended: &mut BTreeMap<u64, Ended>,
) -> Result<(), serde_json::Error> {
    let (head, rest) = Head::parse(body)?;
    match head.op {
        What::Pool => {}
        What::Attached => {
            let record: AttachmentRecord = payload(&body[rest])?;
            began.insert(record.sequence, record.created_at_unix_ms);
        }
        What::Released => {
            let release: Release = payload(&body[rest])?;
            if release.freed_at_unix_ms > unix_ms {
                let since_unix_ms = began.get(&release.lease).copied().unwrap_or_default();
                let lease = Ended {
                    key: release.key,
                    sequence: release.lease,
                    addresses: release.addresses,
                    since_unix_ms,
                    at_unix_ms: release.freed_at_unix_ms,
                    reason: release.reason,
                    pod: release.pod,
                };
                ended.insert(lease.sequence, lease);
            }
        }
    }
    Ok(())
}

/// How much of the past is kept: journals that are full, each as a whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AuditBounds {
    /// Bytes of each network, the oldest go first.
    pub bytes: u64,
    /// Seconds since the last record of a journal, by the wall clock; `None` for no bound.
    pub age_secs: Option<u64>,
}

impl Default for AuditBounds {
    fn default() -> Self {
        Self {
            bytes: 8 << 20,
            age_secs: None,
        }
    }
}

/// The bounds of a directory's networks, which may change while they are open.
#[derive(Clone, Debug, Default)]
pub(super) struct Retention(Arc<Mutex<AuditBounds>>);

impl Retention {
    pub(super) fn bounds(&self) -> AuditBounds {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, bounds: AuditBounds) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = bounds;
    }
}

/// Removes old journals until the log is within its bounds.
pub(super) fn trim(audit: &Path, bounds: AuditBounds, now: Now) -> Result<(), FileError> {
    let oldest = bounds.age_secs.map(|age| {
        let age_ms = age.saturating_mul(1000);
        UNIX_EPOCH + Duration::from_millis(now.unix_ms.saturating_sub(age_ms))
    });
    let mut total = 0_u64;
    for path in segments(audit)?.iter().rev() {
        let found = fs::metadata(path).map_err(FileError::at("stat", path))?;
        let written = found.modified().map_err(FileError::at("stat", path))?;
        total += found.len();
        if total > bounds.bytes || oldest.is_some_and(|oldest| written < oldest) {
            fs::remove_file(path).map_err(FileError::at("remove", path))?;
        }
    }
    Ok(())
}

/// The old journals, oldest first: their names are their generations.
fn segments(audit: &Path) -> Result<Vec<PathBuf>, FileError> {
    let entries = match fs::read_dir(audit) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FileError::at("list", audit)(error)),
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths: Vec<PathBuf> = paths
        .collect::<Result<_, _>>()
        .map_err(FileError::at("list", audit))?;
    paths.sort_unstable();
    Ok(paths)
}

fn event(body: &[u8], address: IpAddr) -> Result<Option<Event>, serde_json::Error> {
    let (head, rest) = Head::parse(body)?;
    let json = &body[rest];
    match head.op {
        What::Pool => Ok(None),
        What::Attached => {
            let record: AttachmentRecord = payload(json)?;
            let has = record
                .addresses
                .iter()
                .any(|a| a.address.address() == address);
            Ok(has.then(|| acquired(record)))
        }
        What::Released => {
            let release: Release = payload(json)?;
            let has = release.addresses.contains(&address);
            Ok(has.then_some(Event {
                at_unix_ms: release.freed_at_unix_ms,
                key: release.key,
                pod: release.pod,
                sequence: release.lease,
                change: Change::Released(release.reason),
            }))
        }
    }
}

fn acquired(record: AttachmentRecord) -> Event {
    Event {
        at_unix_ms: record.created_at_unix_ms,
        sequence: record.sequence,
        key: record.key,
        pod: record.pod,
        change: Change::Acquired,
    }
}
