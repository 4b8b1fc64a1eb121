//! What is recorded, in memory: the changes since a checkpoint, or everything if there is none under
//! it. A clone costs a few reference counts.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use bulkhead_model::Family;

use super::entry::IdKey;
use super::freed::FreedList;
use super::head::{Head, What, pool_of};
use super::trie::Trie;
use crate::journal::Piece;
use crate::pool::Pool;
use crate::record::BootId;
use crate::span::{self, Span};

/// What is in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overlay {
    pub(crate) attachments: Trie<IdKey, Attachment>,
    pub(crate) addresses: Trie<IpAddr, Use>,
    freed: ByFamily<FreedList>,
    cursors: BTreeMap<Span, Moved>,
    /// The pool, if a record in here is of it.
    pub(crate) pool: Option<Arc<Pool>>,
    /// Number of the last record.
    pub(crate) sequence: u64,
    /// Attachments now.
    pub(crate) live: u64,
    /// Records taken in.
    pub(crate) records: usize,
    /// What it lies on.
    pub(crate) ground: Ground,
}

/// What an overlay lies on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Ground {
    /// Nothing: what is not in it is not recorded.
    #[default]
    Bare,
    /// A checkpoint: what is not in it may be there.
    Checkpoint,
}

/// Something for each family.
#[derive(Clone, Debug, Default)]
struct ByFamily<T> {
    v4: T,
    v6: T,
}

impl<T> ByFamily<T> {
    const fn of(&self, family: Family) -> &T {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    const fn of_mut(&mut self, family: Family) -> &mut T {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

/// An attachment.
#[derive(Clone, Debug)]
pub(crate) enum Attachment {
    /// Its record, as JSON.
    Live(Piece),
    /// Released since the checkpoint.
    Gone,
}

/// An address that is or was in use.
#[derive(Clone, Debug)]
pub(crate) enum Use {
    /// Held by this attachment.
    Held(IdKey),
    /// Freed.
    Freed(Arc<FreedAt>),
}

/// A release.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct FreedAt {
    pub(crate) address: IpAddr,
    pub(crate) sequence: u64,
    pub(crate) since_boot_ms: u64,
    pub(crate) boot: BootId,
}

/// Where allocation stands in a range.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Moved {
    /// The next address never given out; `None` at the end.
    pub(crate) next: Option<IpAddr>,
    /// Whether freed addresses were dropped from the list since it last went back to the start.
    pub(crate) forgotten: bool,
}

impl Overlay {
    /// Takes in a record. `pool` and `stood` are what the checkpoint below says: the pool, and where
    /// allocation stands in a range.
    pub(crate) fn replay(
        &mut self,
        body: &Piece,
        pool: Option<&Pool>,
        stood: impl Fn(Span) -> Moved,
    ) -> Result<(), String> {
        let (head, payload) = Head::parse(body).map_err(|error| error.to_string())?;
        let due = self.sequence + 1;
        if head.n != due {
            return Err(format!("record {} stands where {due} is due", head.n));
        }
        match head.op {
            What::Pool => {
                let pool = pool_of(&body[payload]).map_err(|error| error.to_string())?;
                self.pool = Some(Arc::new(pool));
            }
            What::Attached => {
                let id = id_of(&head)?;
                for &address in &head.addresses {
                    self.hold(address, id);
                }
                for &address in &head.moved {
                    let current = self.pool.as_deref().or(pool);
                    if let Some((_, range)) = current.and_then(|pool| pool.range_of(address)) {
                        let span = range.span;
                        self.move_cursor(span, address, stood(span));
                    }
                }
                self.attach(id, body.part(payload));
            }
            What::Released => self.release(&head)?,
        }
        self.sequence = head.n;
        self.live = head.live;
        self.records += 1;
        Ok(())
    }

    fn release(&mut self, head: &Head<'_>) -> Result<(), String> {
        let id = id_of(head)?;
        for &address in &head.addresses {
            self.free(FreedAt {
                address,
                sequence: head.n,
                since_boot_ms: head.since_boot_ms,
                boot: BootId(head.boot.as_deref().unwrap_or_default().to_owned()),
            });
        }
        match self.ground {
            Ground::Bare => self.attachments.remove(&id),
            Ground::Checkpoint => self.attachments.insert(id, Attachment::Gone),
        };
        Ok(())
    }

    /// Takes in an attachment. What lies on a checkpoint goes soon; what does not is kept in memory of
    /// its own, so that no record keeps a whole journal there.
    pub(crate) fn attach(&mut self, id: IdKey, record: Piece) {
        let record = match self.ground {
            Ground::Bare => record.alone(),
            Ground::Checkpoint => record,
        };
        self.attachments.insert(id, Attachment::Live(record));
    }

    pub(crate) fn hold(&mut self, address: IpAddr, id: IdKey) {
        let before = self.addresses.insert(address, Use::Held(id));
        self.unlist(before);
    }

    /// Takes in a release, which is the latest.
    pub(crate) fn free(&mut self, freed: FreedAt) {
        let (address, freed) = (freed.address, Arc::new(freed));
        let before = self
            .addresses
            .insert(address, Use::Freed(Arc::clone(&freed)));
        self.unlist(before);
        self.freed.of_mut(Family::of(address)).push(freed);
    }

    fn unlist(&mut self, before: Option<Use>) {
        if let Some(Use::Freed(freed)) = before {
            let list = self.freed.of_mut(Family::of(freed.address));
            list.remove(freed.sequence, freed.address);
        }
    }

    /// The freed addresses of a family that nobody holds, the oldest first.
    pub(crate) const fn freed(&self, family: Family) -> &FreedList {
        self.freed.of(family)
    }

    /// Where allocation stands in a range, if something in here says so.
    pub(crate) fn cursor(&self, span: Span) -> Option<&Moved> {
        self.cursors.get(&span)
    }

    pub(crate) fn set_cursor(&mut self, span: Span, stands: Moved) {
        self.cursors.insert(span, stands);
    }

    /// Drops the oldest freed addresses as long as there are more than `max` of a family and they are
    /// `cool`, and remembers of their range that some are not listed.
    pub(crate) fn forget(&mut self, max: usize, cool: impl Fn(&FreedAt) -> bool) {
        for family in [Family::V4, Family::V6] {
            while let Some(freed) = self.oldest_beyond(family, max).filter(|freed| cool(freed)) {
                self.freed
                    .of_mut(family)
                    .remove(freed.sequence, freed.address);
                self.addresses.remove(&freed.address);
                let pool = self.pool.as_deref();
                let Some((_, range)) = pool.and_then(|pool| pool.range_of(freed.address)) else {
                    continue;
                };
                let span = range.span;
                let stood = Moved::at_start(span);
                let stands = self.cursors.entry(span).or_insert(stood);
                stands.forgotten = true;
            }
        }
    }

    fn oldest_beyond(&self, family: Family, max: usize) -> Option<Arc<FreedAt>> {
        let list = self.freed.of(family);
        list.first().filter(|_| list.len() > max).cloned()
    }

    fn move_cursor(&mut self, span: Span, found: IpAddr, stood: Moved) {
        let before = self.cursors.get(&span).copied().unwrap_or(stood);
        let went_back = before.next.is_none_or(|next| found < next);
        self.set_cursor(
            span,
            Moved {
                next: span::next(found).filter(|next| span.contains(*next)),
                forgotten: before.forgotten && !went_back,
            },
        );
    }
}

impl Moved {
    /// Where it stands in a range that nothing was given out of.
    pub(crate) const fn at_start(span: Span) -> Self {
        Self {
            next: Some(span.first()),
            forgotten: false,
        }
    }
}

fn id_of(head: &Head<'_>) -> Result<IdKey, String> {
    let text = head.id.as_deref().unwrap_or_default();
    IdKey::parse(text).ok_or_else(|| format!("{text:?} is no attachment id"))
}
