//! One block of this node, in memory: each of its ordinals is free, withheld, cooling or held, and never
//! two of these.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bulkhead_model::AttachmentId;

use crate::cluster::geometry::Block;
use crate::cluster::kv::Revision;
use crate::cluster::name::{Attempt, NodeId};

/// A block that this node owns.
#[derive(Clone, Debug)]
pub(super) struct OwnBlock {
    pub(super) block: Block,
    /// The last change of its row; 0 if it is not known.
    pub(super) row: Revision,
    /// The epoch that its row has.
    pub(super) epoch: u64,
    /// When it was claimed, in milliseconds since 1970.
    pub(super) claimed_at_unix_ms: u64,
    pub(super) attempt: Attempt,
    /// Who ceded it.
    pub(super) lender: Option<NodeId>,
    /// The part that is being given away: nothing of it is given out any more.
    pub(super) leaving: Option<Block>,
    /// What is kept and published in it has not been read, and the file does not have it: nothing of it is
    /// given out yet.
    pub(super) fresh: bool,
    /// Since when nothing of it is held or cooling, on the boot's clock.
    pub(super) idle_since_ms: Option<u64>,
    /// In the order in which they are given out: never used ones first, then the longest free.
    free: VecDeque<Free>,
    withheld: BTreeMap<u64, u64>,
    cooling: VecDeque<Cooling>,
    held: BTreeMap<u64, Held>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    id: AttachmentId,
    /// What it was before, if somebody who asked for it got it before it was cool.
    cooled: Option<Cooling>,
}

#[derive(Clone, Copy, Debug)]
struct Free {
    ordinal: u64,
    /// On the boot's clock; 0 if it was never held, as far as is known.
    freed_at_ms: u64,
}

#[derive(Clone, Copy, Debug)]
struct Cooling {
    ordinal: u64,
    freed_at_ms: u64,
    confirmed: bool,
}

/// What an ordinal is to its block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Slot {
    Free,
    /// Never given out to anybody who does not ask for it: reserved, kept, unusable or leaving.
    Withheld,
    Cooling,
    Held(AttachmentId),
}

/// How long freed ordinals cool.
#[derive(Clone, Copy, Debug)]
pub(super) struct CoolDown {
    pub(super) least_ms: u64,
    pub(super) most_ms: u64,
}

impl CoolDown {
    fn is_over(self, cooling: &Cooling, now_ms: u64) -> bool {
        let since = now_ms.saturating_sub(cooling.freed_at_ms);
        let least = since >= self.least_ms;
        least && (cooling.confirmed || since >= self.most_ms)
    }
}

impl OwnBlock {
    /// A block of which nothing is held; `allowed` says what may be given out to anybody.
    pub(super) fn new(block: Block, allowed: impl Fn(u64) -> bool) -> Self {
        let mut own = Self {
            block,
            row: Revision(0),
            epoch: 0,
            claimed_at_unix_ms: 0,
            attempt: Attempt::default(),
            lender: None,
            leaving: None,
            fresh: false,
            idle_since_ms: None,
            free: VecDeque::new(),
            withheld: BTreeMap::new(),
            cooling: VecDeque::new(),
            held: BTreeMap::new(),
        };
        for ordinal in block.ordinals() {
            own.put(ordinal, 0, allowed(ordinal));
        }
        own
    }

    /// Number of ordinals that could be given out at once.
    pub(super) fn free(&self) -> u64 {
        if self.fresh {
            0
        } else {
            count(self.free.len())
        }
    }

    pub(super) fn held(&self) -> u64 {
        count(self.held.len())
    }

    pub(super) fn cooling(&self) -> u64 {
        count(self.cooling.len())
    }

    pub(super) fn holders(&self) -> impl Iterator<Item = (u64, AttachmentId)> {
        self.held.iter().map(|(ordinal, held)| (*ordinal, held.id))
    }

    /// The ordinals whose cool-down waits for a confirmation.
    pub(super) fn unconfirmed(&self) -> impl Iterator<Item = u64> {
        let waiting = self.cooling.iter().filter(|one| !one.confirmed);
        waiting.map(|one| one.ordinal)
    }

    /// When the ordinal that is given out next was freed; `None` if nothing is free.
    pub(super) fn next_freed_at_ms(&self) -> Option<u64> {
        let front = self.free.front().filter(|_| !self.fresh);
        front.map(|free| free.freed_at_ms)
    }

    /// Whether nothing of it is held or cooling.
    pub(super) fn is_idle(&self) -> bool {
        self.held.is_empty() && self.cooling.is_empty()
    }

    pub(super) fn slot(&self, ordinal: u64) -> Slot {
        if let Some(held) = self.held.get(&ordinal) {
            return Slot::Held(held.id);
        }
        if self.withheld.contains_key(&ordinal) {
            return Slot::Withheld;
        }
        let cools = self.cooling.iter().any(|one| one.ordinal == ordinal);
        if cools { Slot::Cooling } else { Slot::Free }
    }

    /// Gives out the ordinal that was free for the longest time.
    pub(super) fn take(&mut self, id: AttachmentId) -> Option<u64> {
        if self.fresh {
            return None;
        }
        let free = self.free.pop_front()?;
        self.hold(free.ordinal, id, None);
        Some(free.ordinal)
    }

    /// Gives out an ordinal that is asked for; false if it is held, or leaves.
    pub(super) fn take_one(&mut self, ordinal: u64, id: AttachmentId) -> bool {
        let leaves = self.leaving.is_some_and(|part| part.contains(ordinal));
        if self.fresh || leaves || self.held.contains_key(&ordinal) || !self.block.contains(ordinal)
        {
            return false;
        }
        self.hold_recorded(ordinal, id);
        true
    }

    /// Holds an ordinal that is recorded, whatever else was thought of it.
    pub(super) fn hold_recorded(&mut self, ordinal: u64, id: AttachmentId) {
        let cooled = self.cooling.iter().find(|one| one.ordinal == ordinal);
        let cooled = cooled.copied();
        self.free.retain(|free| free.ordinal != ordinal);
        self.cooling.retain(|one| one.ordinal != ordinal);
        self.withheld.remove(&ordinal);
        self.hold(ordinal, id, cooled);
    }

    fn hold(&mut self, ordinal: u64, id: AttachmentId, cooled: Option<Cooling>) {
        self.idle_since_ms = None;
        let before = self.held.insert(ordinal, Held { id, cooled });
        debug_assert!(before.is_none(), "only what is not held is given out");
    }

    /// Takes an ordinal back that was picked and never used.
    pub(super) fn put_back(&mut self, ordinal: u64, now_ms: u64, allowed: bool) {
        match self.held.remove(&ordinal) {
            Some(Held {
                cooled: Some(cooled),
                ..
            }) => self.cooling.push_back(cooled),
            Some(_) => self.put(ordinal, now_ms, allowed),
            None => {}
        }
    }

    /// Lets an ordinal cool that was held; from `freed_at_ms` on, on the boot's clock.
    pub(super) fn cool(&mut self, ordinal: u64, freed_at_ms: u64) {
        if self.held.remove(&ordinal).is_some() {
            self.cooling.push_back(Cooling {
                ordinal,
                freed_at_ms,
                confirmed: false,
            });
        }
    }

    /// Lets an ordinal cool that was held before this process began; the last time counts.
    pub(super) fn recall_cooling(&mut self, ordinal: u64, freed_at_ms: u64) {
        if let Some(one) = self.cooling.iter_mut().find(|one| one.ordinal == ordinal) {
            one.freed_at_ms = one.freed_at_ms.max(freed_at_ms);
            return;
        }
        let before = self.free.len() + self.withheld.len();
        self.free.retain(|free| free.ordinal != ordinal);
        self.withheld.remove(&ordinal);
        if self.free.len() + self.withheld.len() < before {
            self.cooling.push_back(Cooling {
                ordinal,
                freed_at_ms,
                confirmed: false,
            });
        }
    }

    /// Nothing knows the ordinal any more.
    pub(super) fn confirm(&mut self, ordinal: u64) {
        for one in &mut self.cooling {
            one.confirmed |= one.ordinal == ordinal;
        }
    }

    /// Lets what has cooled be given out again. Returns the ordinals that nobody confirmed.
    pub(super) fn ripen(
        &mut self,
        cool_down: CoolDown,
        now_ms: u64,
        allowed: impl Fn(u64) -> bool,
    ) -> Vec<u64> {
        let cooling = std::mem::take(&mut self.cooling);
        let (over, still): (Vec<_>, Vec<_>) = cooling
            .into_iter()
            .partition(|one| cool_down.is_over(one, now_ms));
        self.cooling = still.into();
        for one in &over {
            self.put(one.ordinal, one.freed_at_ms, allowed(one.ordinal));
        }
        let unconfirmed = over.iter().filter(|one| !one.confirmed);
        unconfirmed.map(|one| one.ordinal).collect()
    }

    /// When the next ordinal has cooled, on the boot's clock, if nothing is confirmed until then.
    pub(super) fn ripe_at_ms(&self, cool_down: CoolDown) -> Option<u64> {
        let ripe = |one: &Cooling| {
            let wait = if one.confirmed {
                cool_down.least_ms
            } else {
                cool_down.most_ms.max(cool_down.least_ms)
            };
            one.freed_at_ms.saturating_add(wait)
        };
        self.cooling.iter().map(ripe).min()
    }

    /// Sorts free and withheld ordinals anew, because something else is allowed now.
    pub(super) fn sort_out(&mut self, allowed: impl Fn(u64) -> bool) {
        let mut all: Vec<Free> = self.free.drain(..).collect();
        let withheld = std::mem::take(&mut self.withheld).into_iter();
        all.extend(withheld.map(|(ordinal, freed_at_ms)| Free {
            ordinal,
            freed_at_ms,
        }));
        all.sort_by_key(|free| (free.freed_at_ms, free.ordinal));
        for free in all {
            self.put(free.ordinal, free.freed_at_ms, allowed(free.ordinal));
        }
    }

    fn put(&mut self, ordinal: u64, freed_at_ms: u64, allowed: bool) {
        if allowed && self.leaving.is_none_or(|part| !part.contains(ordinal)) {
            self.free.push_back(Free {
                ordinal,
                freed_at_ms,
            });
        } else {
            self.withheld.insert(ordinal, freed_at_ms);
        }
    }

    /// The largest part of at most 2^`most_bits` ordinals of which nothing is held or cooling, and whose
    /// free ordinals are at least one and at most `most_free`.
    pub(super) fn idle_part(&self, most_bits: u8, most_free: u64) -> Option<Block> {
        let taken: BTreeSet<u64> = self
            .held
            .keys()
            .copied()
            .chain(self.cooling.iter().map(|one| one.ordinal))
            .collect();
        let free: BTreeSet<u64> = self.free.iter().map(|free| free.ordinal).collect();
        let mut sizes = (0..=most_bits.min(self.block.bits())).rev();
        sizes.find_map(|bits| {
            let firsts = self.block.ordinals().step_by(1 << bits);
            let parts = firsts.filter_map(|first| Block::new(first, bits));
            parts
                .filter(|part| taken.range(part.ordinals()).next().is_none())
                .find(|part| {
                    let free = count(free.range(part.ordinals()).count());
                    (1..=most_free).contains(&free)
                })
        })
    }

    /// A part of it, with everything that is known of its ordinals.
    pub(super) fn part(&self, part: Block) -> Self {
        let mut piece = Self {
            row: self.row,
            epoch: self.epoch,
            claimed_at_unix_ms: self.claimed_at_unix_ms,
            attempt: self.attempt.clone(),
            lender: self.lender.clone(),
            fresh: self.fresh,
            ..Self::new(part, |_| false)
        };
        piece.inherit(self);
        piece
    }

    /// Takes over what another block says of the ordinals that are in both.
    pub(super) fn inherit(&mut self, other: &Self) {
        let block = self.block;
        let known = |ordinal: u64| block.contains(ordinal) && other.block.contains(ordinal);
        self.free.retain(|free| !known(free.ordinal));
        self.withheld.retain(|ordinal, _| !known(*ordinal));
        self.free
            .extend(filtered(&other.free, |free| known(free.ordinal)));
        self.free
            .make_contiguous()
            .sort_by_key(|free| (free.freed_at_ms, free.ordinal));
        self.withheld.extend(inside(&other.withheld, block));
        let cooling = filtered(&other.cooling, |one| known(one.ordinal));
        self.cooling.extend(cooling);
        self.held.extend(inside(&other.held, block));
        self.leaving = self
            .leaving
            .or(other.leaving.filter(|part| block.covers(*part)));
        self.idle_since_ms = None;
    }
}

fn filtered<T: Copy>(all: &VecDeque<T>, keep: impl Fn(&T) -> bool) -> VecDeque<T> {
    all.iter().filter(|one| keep(one)).copied().collect()
}

fn inside<T: Copy>(all: &BTreeMap<u64, T>, part: Block) -> BTreeMap<u64, T> {
    let range = all.range(part.ordinals());
    range.map(|(ordinal, value)| (*ordinal, *value)).collect()
}

fn count(length: usize) -> u64 {
    u64::try_from(length).expect("a length in memory fits 64 bits")
}
