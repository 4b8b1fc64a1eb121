//! All that is recorded, for who starts: a daemon rebuilds from it what it holds.

use std::iter;
use std::net::IpAddr;

use bulkhead_model::{Family, NetworkName};

use super::dir::StateDir;
use super::entry::{FreedEntry, IdEntry};
use super::overlay::{Attachment, FreedAt};
use super::snapshot::{Snapshot, freed_of};
use crate::error::{FileError, StoreError};
use crate::journal::Piece;
use crate::record::AttachmentRecord;

/// Something that is recorded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Recorded {
    /// An attachment with its lease.
    Attachment(Box<AttachmentRecord>),
    /// An address that nobody holds since it was freed.
    Freed(FreedAddress),
}

/// An address that nobody holds since it was freed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FreedAddress {
    /// The network whose attachment held it.
    pub network: NetworkName,
    /// Which.
    pub address: IpAddr,
    /// The store's number of the record that freed it.
    pub sequence: u64,
    /// How long ago, in milliseconds; `None` if in another boot, of which nothing is left to cool.
    pub freed_ms_ago: Option<u64>,
}

impl StateDir {
    /// Everything of every network, each network as of one moment, in no order that means anything. A
    /// network that cannot be read is an error among the others.
    ///
    /// # Errors
    /// If the networks cannot be listed.
    pub fn everything(
        &self,
    ) -> Result<impl Iterator<Item = Result<Recorded, StoreError>> + use<'_>, FileError> {
        let networks = self.networks()?.into_iter();
        Ok(networks.flat_map(|name| {
            let recorded = self.everything_of(&name);
            let (recorded, failed) = match recorded {
                Ok(recorded) => (Some(recorded), None),
                Err(error) => (None, Some(Err(error))),
            };
            recorded.into_iter().flatten().chain(failed)
        }))
    }

    fn everything_of(
        &self,
        name: &NetworkName,
    ) -> Result<impl Iterator<Item = Result<Recorded, StoreError>> + use<>, StoreError> {
        let snapshot = self.network(name).read()?;
        let network = name.clone();
        let freed = match &snapshot {
            Some(snapshot) => snapshot.freed_addresses(&network)?,
            None => Vec::new(),
        };
        let pieces = match &snapshot {
            Some(snapshot) => snapshot.pieces()?,
            None => Vec::new(),
        };
        let mut pieces = pieces.into_iter();
        let records = iter::from_fn(move || {
            let snapshot = snapshot.as_ref()?;
            let record = snapshot.parsed(&pieces.next()?);
            Some(record.map(|record| Recorded::Attachment(Box::new(record))))
        });
        Ok(records.chain(freed.into_iter().map(|freed| Ok(Recorded::Freed(freed)))))
    }
}

impl Snapshot {
    /// The record of every attachment, as JSON.
    pub(super) fn pieces(&self) -> Result<Vec<Piece>, StoreError> {
        let mut all = Vec::new();
        if let Some(base) = &self.base {
            let records = Piece::from(base.records()?);
            for entry in base.entries::<IdEntry>(base.meta.ids) {
                let entry = entry?;
                if !self.overlay.attachments.contains(&entry.id) {
                    all.push(base.record_in(&records, &entry)?);
                }
            }
        }
        for (_, now) in self.overlay.attachments.iter() {
            if let Attachment::Live(record) = now {
                all.push(record.clone());
            }
        }
        Ok(all)
    }

    fn freed_addresses(&self, network: &NetworkName) -> Result<Vec<FreedAddress>, StoreError> {
        let now = self.boot.now();
        let seen = |freed: FreedAt| FreedAddress {
            network: network.clone(),
            address: freed.address,
            sequence: freed.sequence,
            freed_ms_ago: (freed.boot == *self.boot.id())
                .then(|| now.since_boot_ms.saturating_sub(freed.since_boot_ms)),
        };
        Ok(self.freed()?.into_iter().map(seen).collect())
    }

    /// Every address known to be freed, the oldest first.
    pub(super) fn freed(&self) -> Result<Vec<FreedAt>, StoreError> {
        let mut freed = Vec::new();
        if let Some(base) = &self.base {
            for entry in base.entries::<FreedEntry>(base.meta.freed) {
                let entry = entry?;
                if !self.overlay.addresses.contains(&entry.address) {
                    freed.push(freed_of(base, &entry)?);
                }
            }
        }
        for family in [Family::V4, Family::V6] {
            let since = self.overlay.freed(family).iter();
            freed.extend(since.map(|freed| FreedAt::clone(freed)));
        }
        freed.sort_unstable_by_key(|freed| (freed.sequence, freed.address));
        Ok(freed)
    }
}
