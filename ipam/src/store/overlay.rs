//! What the journal says since the checkpoint, in memory: at most a journal's length of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use super::entry::IdKey;
use super::head::{Head, What, pool_of};
use crate::pool::Pool;
use crate::record::BootId;
use crate::span::{self, Span};

/// Changes since the checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    pub(crate) attachments: BTreeMap<IdKey, Attachment>,
    pub(crate) addresses: BTreeMap<IpAddr, Use>,
    /// In the order of their release; those held again since are still in it.
    pub(crate) freed: Vec<FreedAt>,
    /// Cursors that moved; `None` at the end of the range.
    pub(crate) cursors: BTreeMap<Span, Moved>,
    /// A pool record since the checkpoint.
    pub(crate) pool: Option<Pool>,
    /// Number of the last record.
    pub(crate) sequence: u64,
    /// Attachments now.
    pub(crate) live: u64,
    /// Records since the checkpoint.
    pub(crate) records: usize,
}

/// An attachment that changed since the checkpoint.
#[derive(Debug)]
pub(crate) enum Attachment {
    /// Its record, in the journal's bytes.
    Live(Range<usize>),
    /// Released.
    Gone,
}

/// An address that changed since the checkpoint.
#[derive(Clone, Debug)]
pub(crate) enum Use {
    /// Held by this attachment.
    Held(IdKey),
    /// Freed.
    Freed(FreedAt),
}

/// A release.
#[derive(Clone, Debug)]
pub(crate) struct FreedAt {
    pub(crate) address: IpAddr,
    pub(crate) sequence: u64,
    pub(crate) since_boot_ms: u64,
    pub(crate) boot: BootId,
}

/// A cursor that moved since the checkpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moved {
    /// Where it stands.
    pub(crate) next: Option<IpAddr>,
    /// Whether it went back to the start since the checkpoint.
    pub(crate) lapped: bool,
}

impl Overlay {
    /// Takes in the record whose body is at `at` in the journal's `bytes`. `cursor` is where the
    /// checkpoint's cursor of a range stands.
    pub(crate) fn replay(
        &mut self,
        bytes: &[u8],
        at: &Range<usize>,
        pool: Option<&Pool>,
        cursor: impl Fn(Span) -> Option<IpAddr>,
    ) -> Result<(), String> {
        let (head, payload) = Head::parse(&bytes[at.clone()]).map_err(|e| e.to_string())?;
        if head.n != self.sequence + 1 {
            return Err(format!(
                "record {} stands where {} is due",
                head.n,
                self.sequence + 1
            ));
        }
        let payload = at.start + payload.start..at.start + payload.end;
        match head.op {
            What::Pool => self.pool = Some(pool_of(&bytes[payload]).map_err(|e| e.to_string())?),
            What::Attached => {
                let id = id_of(&head)?;
                for &address in &head.addresses {
                    self.addresses.insert(address, Use::Held(id));
                }
                for &address in &head.moved {
                    let current = self.pool.as_ref().or(pool);
                    if let Some((_, range)) = current.and_then(|pool| pool.range_of(address)) {
                        let span = range.span;
                        self.move_cursor(span, address, cursor(span));
                    }
                }
                self.attachments.insert(id, Attachment::Live(payload));
            }
            What::Released => {
                let id = id_of(&head)?;
                for &address in &head.addresses {
                    let boot = head.boot.as_deref().unwrap_or_default();
                    let freed = FreedAt {
                        address,
                        sequence: head.n,
                        since_boot_ms: head.since_boot_ms,
                        boot: BootId(boot.to_owned()),
                    };
                    self.addresses.insert(address, Use::Freed(freed.clone()));
                    self.freed.push(freed);
                }
                self.attachments.insert(id, Attachment::Gone);
            }
        }
        self.sequence = head.n;
        self.live = head.live;
        self.records += 1;
        Ok(())
    }

    fn move_cursor(&mut self, span: Span, found: IpAddr, base: Option<IpAddr>) {
        let before = self.cursors.get(&span);
        let (stood, lapped) = before.map_or((base, false), |moved| (moved.next, moved.lapped));
        let went_back = stood.is_none_or(|stood| found < stood);
        let next = span::next(found).filter(|next| span.contains(*next));
        let lapped = lapped || went_back;
        self.cursors.insert(span, Moved { next, lapped });
    }
}

fn id_of(head: &Head<'_>) -> Result<IdKey, String> {
    let text = head.id.as_deref().unwrap_or_default();
    IdKey::parse(text).ok_or_else(|| format!("{text:?} is no attachment id"))
}
