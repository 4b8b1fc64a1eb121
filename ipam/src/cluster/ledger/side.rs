//! What this node knows of a pool, beside its blocks of it.

use std::collections::BTreeMap;

use bulkhead_model::AttachmentId;

use super::own::CoolDown;
use crate::cluster::geometry::Block;
use crate::cluster::name::{NodeId, PoolName, ReservationName, StickyId};
use crate::cluster::schema::{Labels, PoolRow, PoolState, ReservationRow};

/// A pool as this node sees it.
#[derive(Clone, Debug)]
pub(super) struct PoolSide {
    pub(super) row: PoolRow,
    /// Ordinals of this node's blocks that somebody keeps.
    pub(super) kept: BTreeMap<u64, StickyId>,
    /// Ordinals that a reservation holds: from, to without it.
    reserved: Vec<(u64, u64, ReservationName)>,
    /// Asks that wait for a block, and when they asked last, on the boot's clock.
    pub(super) waiters: BTreeMap<AttachmentId, u64>,
    /// Ordinals that were given out since a moment, on the boot's clock.
    recent: (u64, u64),
    /// Whether an attachment ever needed it: blocks are claimed ahead.
    pub(super) used: bool,
    /// Whether it is no longer in the store, or not as this release understands it.
    pub(super) gone: bool,
    /// Why no block can be had, and until when it is not tried again.
    pub(super) dry: Option<Dry>,
    /// Where it goes on to look for blocks.
    pub(super) search: Search,
}

/// A pool that has no block for this node at the moment.
#[derive(Clone, Debug)]
pub(super) struct Dry {
    pub(super) why: String,
    /// Until then whoever asks is refused at once.
    pub(super) until_ms: u64,
    /// Until then no block is claimed ahead.
    pub(super) rests_until_ms: u64,
}

/// The search for a block of a pool: by windows of its ordinals, in an order of the node's own.
#[derive(Clone, Debug, Default)]
pub(super) struct Search {
    /// Makes each search choose otherwise than the one before.
    pub(super) salt: u64,
    /// Windows that were looked through without finding a whole block.
    pub(super) passed: u64,
    /// Smaller parts that are nobody's, found on the way.
    pub(super) holes: Vec<Block>,
    /// Nodes that were asked for a part since the last one was got.
    pub(super) asked: Vec<NodeId>,
    /// What they said.
    pub(super) said: Vec<String>,
    /// Whether there are no more windows to look through.
    done: bool,
}

impl Search {
    /// Most holes that are remembered.
    const MOST_HOLES: usize = 64;

    /// A window had nothing but these holes; `windows` is how many there are.
    pub(super) fn pass(&mut self, holes: Vec<Block>, windows: u64) {
        self.passed += 1;
        self.done = self.passed >= windows;
        self.holes.extend(holes);
        self.holes.sort_by_key(|hole| hole.bits());
        let surplus = self.holes.len().saturating_sub(Self::MOST_HOLES);
        self.holes.drain(..surplus);
    }

    /// The largest hole, once no whole block was found anywhere.
    pub(super) fn hole(&self) -> Option<Block> {
        self.holes.last().filter(|_| self.done).copied()
    }

    /// The largest hole is used, or is none any more.
    pub(super) fn drop_hole(&mut self) {
        self.holes.pop();
    }

    /// Whether everything was looked through, and nothing is left.
    pub(super) fn is_over(&self) -> bool {
        self.done && self.holes.is_empty()
    }

    /// Begins anew, at other places.
    pub(super) fn restart(&mut self) {
        *self = Self {
            salt: self.salt + 1,
            ..Self::default()
        };
    }
}

impl PoolSide {
    pub(super) fn new(
        pool: &PoolName,
        row: PoolRow,
        reservations: &BTreeMap<ReservationName, ReservationRow>,
    ) -> Self {
        let mut side = Self {
            row,
            kept: BTreeMap::new(),
            reserved: Vec::new(),
            waiters: BTreeMap::new(),
            recent: (0, 0),
            used: false,
            gone: false,
            dry: None,
            search: Search::default(),
        };
        side.set_reservations(pool, reservations);
        side
    }

    /// Takes in what is reserved of this pool, of all that is.
    pub(super) fn set_reservations(
        &mut self,
        pool: &PoolName,
        all: &BTreeMap<ReservationName, ReservationRow>,
    ) {
        let geometry = &self.row.geometry;
        self.reserved = all
            .iter()
            .filter(|(_, row)| row.is_of(pool))
            .flat_map(|(name, row)| row.spans.iter().map(move |span| (name, *span)))
            .filter_map(|(name, span)| {
                let (from, to) = geometry.ordinals_of(span)?;
                Some((from, to, name.clone()))
            })
            .collect();
    }

    /// Whether an ordinal may be given to anybody.
    pub(super) fn allows(&self, ordinal: u64) -> bool {
        self.row.geometry.is_usable(ordinal)
            && !self.kept.contains_key(&ordinal)
            && self.reservation(ordinal).is_none()
    }

    /// The reservation that holds an ordinal.
    pub(super) fn reservation(&self, ordinal: u64) -> Option<&ReservationName> {
        let mut all = self.reserved.iter();
        all.find(|(from, to, _)| (*from..*to).contains(&ordinal))
            .map(|(_, _, name)| name)
    }

    /// The spans of ordinals that a reservation holds.
    pub(super) fn reserved_by(&self, name: &ReservationName) -> impl Iterator<Item = (u64, u64)> {
        let of = self.reserved.iter().filter(move |(_, _, by)| by == name);
        of.map(|(from, to, _)| (*from, *to))
    }

    /// Whether this node claims blocks of it.
    pub(super) fn is_open(&self, labels: &Labels) -> bool {
        self.row.state == PoolState::Enabled && self.row.is_for_node(labels)
    }

    pub(super) fn cool_down(&self) -> CoolDown {
        CoolDown {
            least_ms: self.row.cooldown_secs.saturating_mul(1000),
            most_ms: self.row.cooldown_max_secs.saturating_mul(1000),
        }
    }

    /// Free ordinals that a node wants to have in reserve: a half of a block.
    pub(super) fn low_water(&self) -> u64 {
        (1_u64 << self.row.geometry.block_bits()).div_ceil(2)
    }

    /// How long a burst is remembered.
    const RECENT_MS: u64 = 10_000;

    /// An ordinal was given out.
    pub(super) fn count_taken(&mut self, now_ms: u64) {
        let (taken, since_ms) = self.recent;
        let fresh = now_ms < since_ms + Self::RECENT_MS;
        self.recent = if fresh {
            (taken + 1, since_ms)
        } else {
            (1, now_ms)
        };
    }

    /// Ordinals that are needed soon: a burst is taken to become three times as long as it was until now.
    pub(super) fn demand(&self, now_ms: u64) -> u64 {
        let (taken, since_ms) = self.recent;
        let fresh = now_ms < since_ms + Self::RECENT_MS;
        let recent = if fresh { taken } else { 0 };
        let waiting = u64::try_from(self.waiters.len()).unwrap_or(u64::MAX);
        self.low_water() + 2 * recent.max(waiting)
    }

    pub(super) fn is_dry(&self, now_ms: u64) -> bool {
        self.dry.as_ref().is_some_and(|dry| now_ms < dry.until_ms)
    }

    pub(super) fn is_resting(&self, now_ms: u64) -> bool {
        self.dry
            .as_ref()
            .is_some_and(|dry| now_ms < dry.rests_until_ms)
    }

    pub(super) fn set_dry(&mut self, dry: Dry) {
        self.search.restart();
        self.dry = Some(dry);
    }
}

/// `default (10.4.0.0/16)`, for people.
pub(super) fn named(name: &PoolName, side: &PoolSide) -> String {
    format!("{name} ({})", side.row.geometry)
}
