//! Everything a checkpoint holds, taken into memory: for a process that has the store to itself.

use std::sync::Arc;

use super::checkpoint::Checkpoint;
use super::entry::{FreedEntry, HeldEntry, IdEntry};
use super::overlay::Overlay;
use super::snapshot::{Snapshot, freed_of};
use crate::error::StoreError;
use crate::journal::Piece;

impl Snapshot {
    /// The same with all of the checkpoint in memory. To be called before the journal is taken in.
    pub(super) fn in_memory(mut self) -> Result<Self, StoreError> {
        if let Some(base) = self.base.take() {
            self.overlay = whole(&base)?;
        }
        Ok(self)
    }
}

fn whole(base: &Checkpoint) -> Result<Overlay, StoreError> {
    let meta = &base.meta;
    let mut overlay = Overlay::default();
    overlay.pool = meta.pool.clone().map(Arc::new);
    (overlay.sequence, overlay.live) = (meta.sequence, meta.ids.count);
    let records = Piece::from(base.records()?);
    for entry in base.entries::<IdEntry>(meta.ids) {
        let entry = entry?;
        overlay.attach(entry.id, base.record_in(&records, &entry)?);
    }
    for entry in base.entries::<HeldEntry>(meta.held) {
        let entry = entry?;
        overlay.hold(entry.address, entry.id);
    }
    let freed = base.entries::<FreedEntry>(meta.freed);
    let freed = freed.map(|entry| freed_of(base, &entry?));
    let mut freed = freed.collect::<Result<Vec<_>, StoreError>>()?;
    freed.sort_unstable_by_key(|freed| (freed.sequence, freed.address));
    for freed in freed {
        overlay.free(freed);
    }
    for state in &meta.ranges {
        overlay.set_cursor(state.span, state.stands());
    }
    Ok(overlay)
}
