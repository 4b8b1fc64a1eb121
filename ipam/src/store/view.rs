//! The store as allocation sees it, at one instant.

use std::net::IpAddr;

use bulkhead_model::AttachmentKey;

use super::checkpoint::RangeState;
use super::entry::FreedEntry;
use super::overlay::{FreedAt, Moved, Use};
use super::snapshot::{Snapshot, freed_of};
use crate::allocate::{Cursor, Freed, Slot, View};
use crate::boot::Now;
use crate::error::StoreError;
use crate::pool::Range;
use crate::record::BootId;
use crate::span::Span;

/// A snapshot at an instant.
pub(super) struct Lookup<'a> {
    snapshot: &'a Snapshot,
    cooling: Cooling,
}

/// What cools down at an instant.
pub(super) struct Cooling {
    now: Now,
    boot: BootId,
    cooldown_ms: u64,
}

impl Cooling {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let secs = snapshot.pool().map_or(0, |pool| pool.cooldown_secs);
        Self {
            now: snapshot.boot.now(),
            boot: snapshot.boot.id().clone(),
            cooldown_ms: secs.saturating_mul(1000),
        }
    }

    /// Milliseconds until an address freed then is cool. What another boot freed has nothing left
    /// in this kernel to cool.
    pub(super) fn left_ms(&self, freed: &FreedAt) -> u64 {
        if freed.boot != self.boot {
            return 0;
        }
        let cool_at = freed.since_boot_ms.saturating_add(self.cooldown_ms);
        cool_at.saturating_sub(self.now.since_boot_ms)
    }
}

impl<'a> Lookup<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        Self {
            snapshot,
            cooling: Cooling::of(snapshot),
        }
    }

    /// Whether an address freed then may be given out.
    pub(super) fn is_cool(&self, freed: &FreedAt) -> bool {
        self.cooling.left_ms(freed) == 0
    }

    /// Whether freed addresses of the range were dropped from its list since its last lap.
    pub(super) fn has_forgotten(&self, span: Span) -> bool {
        self.stands(span).forgotten
    }

    fn stands(&self, span: Span) -> Moved {
        let moved = self.snapshot.overlay.cursor(span).copied();
        let before = || self.snapshot.range_state(span).map(RangeState::stands);
        moved.or_else(before).unwrap_or(Moved::at_start(span))
    }

    fn freed_before(&self, range: &Range) -> impl Iterator<Item = Result<Freed, StoreError>> {
        let base = self.snapshot.base.as_ref();
        let listed = self.snapshot.range_state(range.span).zip(base);
        listed.into_iter().flat_map(move |(state, base)| {
            base.entries::<FreedEntry>(state.freed)
                .filter_map(move |entry| {
                    let freed = entry.and_then(|entry| freed_of(base, &entry));
                    let freed = match freed {
                        Ok(freed) => freed,
                        Err(error) => return Some(Err(error)),
                    };
                    let changed = self.snapshot.overlay.addresses.contains(&freed.address);
                    (!changed).then(|| Ok(self.seen(&freed)))
                })
        })
    }

    fn freed_since(&self, range: &Range) -> impl Iterator<Item = Freed> {
        let span = range.span;
        let freed = self.snapshot.overlay.freed(span.family()).iter();
        let inside = freed.filter(move |freed| span.contains(freed.address));
        inside.map(|freed| self.seen(freed))
    }

    fn seen(&self, freed: &FreedAt) -> Freed {
        Freed {
            address: freed.address,
            cooling_ms: self.cooling.left_ms(freed),
        }
    }
}

impl View for Lookup<'_> {
    type Error = StoreError;

    fn slot(&self, address: IpAddr) -> Result<Slot, StoreError> {
        let snapshot = self.snapshot;
        let held = match (snapshot.overlay.addresses.get(&address), &snapshot.base) {
            (Some(Use::Held(_)), _) => true,
            (None, Some(base)) => base.holder(address)?.is_some(),
            _ => false,
        };
        if held {
            return Ok(Slot::Held);
        }
        Ok(match snapshot.freed_at(address)? {
            Some(freed) => Slot::Freed {
                cooling_ms: self.cooling.left_ms(&freed),
            },
            None => Slot::Unused,
        })
    }

    fn holder(&self, address: IpAddr) -> Result<Option<AttachmentKey>, StoreError> {
        Ok(self.snapshot.holder(address)?.map(|record| record.key))
    }

    fn cursor(&self, range: &Range) -> Cursor {
        let stands = self.stands(range.span);
        match stands.next {
            Some(next) => Cursor::At(next),
            None => Cursor::End {
                forgotten: stands.forgotten,
            },
        }
    }

    fn freed<'a>(
        &'a self,
        range: &'a Range,
    ) -> Box<dyn Iterator<Item = Result<Freed, StoreError>> + 'a> {
        Box::new(
            self.freed_before(range)
                .chain(self.freed_since(range).map(Ok)),
        )
    }

    fn held(&self, span: Span) -> Result<u64, StoreError> {
        let base = self.snapshot.base.as_ref();
        let mut held = base.map_or(Ok(0), |base| base.held_in(span))?;
        let changed = &self.snapshot.overlay.addresses;
        for (address, now) in changed.range(span.first()..=span.last()) {
            let before = base.map_or(Ok(None), |base| base.holder(*address))?;
            match (before, now) {
                (None, Use::Held(_)) => held += 1,
                (Some(_), Use::Freed(_)) => held -= 1,
                _ => {}
            }
        }
        Ok(held)
    }
}
