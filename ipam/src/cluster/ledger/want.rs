//! Asks for one particular ordinal, which may be anywhere: found, and then taken, claimed, or asked of
//! its block's owner.

use std::collections::BTreeSet;

use bulkhead_model::AttachmentId;

use super::Ledger;
use super::ask::{Acquire, PoolAsk, Waiting};
use super::candidates::Windows;
use super::lane::{Answer, Call, Fault, Flow};
use super::link::Need;
use super::recast::FoundBlock;
use super::refusal::PoolRefusal;
use crate::boot::Now;
use crate::cluster::geometry::Block;
use crate::cluster::kv::{KeyRange, Listing};
use crate::cluster::name::{PoolName, ReservationName, StickyId};
use crate::cluster::schema::{KeptRow, LeaseRow, Place, decode};

/// An ask that this node's blocks do not satisfy by themselves.
#[derive(Clone, Debug)]
pub(super) struct Want {
    pub(super) ask: PoolAsk,
    pub(super) goal: Goal,
    /// The ordinal that it is to be, once that is known.
    pub(super) target: Option<(PoolName, u64)>,
    /// Ordinals of a reservation that could not be had.
    tried: BTreeSet<u64>,
    /// Not before, on the boot's clock.
    pub(super) again_ms: u64,
    /// When it was asked for last.
    pub(super) polled_ms: u64,
    pub(super) refused: Option<PoolRefusal>,
}

/// What is wanted.
#[derive(Clone, Debug)]
pub(super) enum Goal {
    /// This ordinal.
    One { pool: PoolName, ordinal: u64 },
    /// Any ordinal of a reservation.
    Reserved {
        pool: PoolName,
        reservation: ReservationName,
    },
    /// The ordinal that an identity keeps; any of these pools if it has none yet.
    Sticky {
        sticky: StickyId,
        pools: Vec<PoolName>,
    },
}

impl Want {
    /// Most ordinals of a reservation that are tried for one ask.
    const MOST_TRIED: usize = 16;

    /// It is not to be had; another one of a reservation may be.
    pub(super) fn refuse(&mut self, refusal: PoolRefusal) {
        if let (Goal::Reserved { .. }, Some((_, ordinal))) = (&self.goal, &self.target)
            && self.tried.len() < Self::MOST_TRIED
        {
            self.tried.insert(*ordinal);
            self.target = None;
            return;
        }
        self.refused = Some(refusal);
    }
}

impl Ledger {
    /// How long an ask is remembered that nobody asks about, in milliseconds.
    const FORGOTTEN_MS: u64 = 60_000;

    /// Sends for what is not at hand.
    pub(super) fn want(
        &mut self,
        ask: &PoolAsk,
        goal: Goal,
        now: Now,
    ) -> Result<Acquire, PoolRefusal> {
        let what = match &goal {
            Goal::One { pool, ordinal } => {
                format!(
                    "address {}, which is not in this node's blocks,",
                    self.address(pool, *ordinal)
                )
            }
            Goal::Reserved { reservation, .. } => {
                format!("an address of reservation {reservation}")
            }
            Goal::Sticky { sticky, .. } => format!("the address of {sticky}"),
        };
        if let Some(why) = self.link.down_why()
            && !self.link.is_hopeful(now.since_boot_ms)
        {
            let why = why.to_owned();
            return Err(PoolRefusal::NeedsStore { what, why });
        }
        let target = match &goal {
            Goal::One { pool, ordinal } => Some((pool.clone(), *ordinal)),
            _ => None,
        };
        let want = Want {
            ask: ask.clone(),
            goal,
            target,
            tried: BTreeSet::new(),
            again_ms: 0,
            polled_ms: now.since_boot_ms,
            refused: None,
        };
        self.wants.insert(ask.key.id(), want);
        Ok(Acquire::Wait(Waiting::Address(what)))
    }

    /// What became of an ask that was sent for.
    pub(super) fn wanted_already(
        &mut self,
        ask: &PoolAsk,
        id: AttachmentId,
        now: Now,
    ) -> Option<Result<Acquire, PoolRefusal>> {
        let want = self.wants.get_mut(&id)?;
        want.polled_ms = now.since_boot_ms;
        if let Some(refusal) = want.refused.take() {
            self.wants.remove(&id);
            return Some(Err(refusal));
        }
        if want.ask != *ask || !self.link.is_hopeful(now.since_boot_ms) {
            // Asked anew, it is judged anew.
            self.wants.remove(&id);
            return None;
        }
        let what = format!("what attachment {} asks for", ask.key);
        Some(Ok(Acquire::Wait(Waiting::Address(what))))
    }

    /// Forgets asks that nobody asks about any more.
    pub(super) fn forget_old_asks(&mut self, now: Now) {
        let old = |polled: u64| now.since_boot_ms >= polled + Self::FORGOTTEN_MS;
        self.wants.retain(|_, want| !old(want.polled_ms));
        for side in self.pools.values_mut() {
            side.waiters.retain(|_, polled| !old(*polled));
        }
    }

    /// Asks that were sent for and are not answered. A change is news for whoever waits.
    #[must_use]
    pub fn open_asks(&self) -> usize {
        let open = self.wants.values().filter(|want| want.refused.is_none());
        open.count()
    }

    pub(super) fn want_due_ms(&self) -> Option<u64> {
        let open = self.wants.values().filter(|want| want.refused.is_none());
        open.map(|want| want.again_ms).min()
    }

    /// The first want that is due, of those that `meant` says.
    pub(super) fn due_want(&self, now: Now, meant: impl Fn(&Want) -> bool) -> Option<AttachmentId> {
        let due = |want: &Want| want.refused.is_none() && now.since_boot_ms >= want.again_ms;
        let mut wants = self.wants.iter();
        wants
            .find(|(_, want)| due(want) && meant(want))
            .map(|(id, _)| *id)
    }
}

/// An ordinal is being looked for.
#[derive(Clone, Debug)]
pub(super) struct Locate {
    id: AttachmentId,
    step: Step,
}

#[derive(Clone, Debug)]
enum Step {
    /// Which ordinals of a reservation are leased is read.
    Choose { spans: Vec<(u64, u64)> },
    /// Who has the ordinal is read.
    Look { pool: PoolName, ordinal: u64 },
}

impl Ledger {
    /// Ordinals of a reservation that are looked at in one go.
    const MOST_CHOICE: u64 = 1024;

    pub(super) fn start_locate(&mut self, now: Now) -> Flow {
        let meant = |want: &Want| match (&want.goal, &want.target) {
            (Goal::Sticky { .. }, Some((pool, ordinal))) => {
                self.own.around(pool, *ordinal).is_none()
            }
            (Goal::Sticky { .. }, None) => false,
            _ => true,
        };
        let Some(id) = self.due_want(now, meant) else {
            return Flow::End;
        };
        let retry = now.since_boot_ms + self.tuning.retry_ms;
        let want = self.wants.get_mut(&id).expect("it was just found");
        want.again_ms = retry;
        match (want.target.clone(), want.goal.clone()) {
            (Some((pool, ordinal)), _) => self.locate(id, pool, ordinal),
            (None, Goal::Reserved { pool, reservation }) => {
                self.choose_reserved(id, &pool, &reservation)
            }
            (None, _) => Flow::End,
        }
    }

    fn choose_reserved(
        &mut self,
        id: AttachmentId,
        pool: &PoolName,
        reservation: &ReservationName,
    ) -> Flow {
        let side = &self.pools[pool];
        let spans: Vec<_> = side
            .reserved_by(reservation)
            .map(|(from, to)| (from, to.min(from + Self::MOST_CHOICE)))
            .collect();
        let ranges = spans
            .iter()
            .map(|(from, to)| self.schema.between("leases", pool, *from, *to));
        let call = Call::Read(ranges.collect());
        let step = Step::Choose { spans };
        Flow::then(Locate { id, step }, call)
    }

    fn locate(&mut self, id: AttachmentId, pool: PoolName, ordinal: u64) -> Flow {
        if self.own.around(&pool, ordinal).is_some() {
            self.take_wanted(id, &pool, ordinal);
            return Flow::End;
        }
        let asked = |one: &super::borrow::Asking| one.pool == pool && one.ordinal == Some(ordinal);
        if self.asking.iter().any(asked) {
            return Flow::End;
        }
        let row = &self.pools[&pool].row;
        let one = Block::one(ordinal).expect("it is an ordinal of the pool");
        let window = Windows::of(&row.geometry, row.largest_bits).around(one);
        let at = |place| KeyRange::one(&self.schema.key(&place));
        let ranges = vec![
            at(Place::Lease {
                pool: pool.clone(),
                ordinal,
            }),
            at(Place::Kept {
                pool: pool.clone(),
                ordinal,
            }),
            self.schema.within("blocks", &pool, window),
        ];
        let step = Step::Look { pool, ordinal };
        Flow::then(Locate { id, step }, Call::Read(ranges))
    }

    /// Picks what is asked for by itself and is this node's by now. A pod's own ordinal has a row to be
    /// written first, which is due.
    pub(super) fn take_all_wanted(&mut self) {
        let mut at_hand = Vec::new();
        for (id, want) in &mut self.wants {
            let Some((pool, ordinal)) = want.target.clone() else {
                continue;
            };
            if want.refused.is_some() || self.own.around(&pool, ordinal).is_none() {
                continue;
            }
            match want.goal {
                Goal::Sticky { .. } => want.again_ms = 0,
                _ => at_hand.push((*id, pool, ordinal)),
            }
        }
        for (id, pool, ordinal) in at_hand {
            self.take_wanted(id, &pool, ordinal);
        }
    }

    /// Picks the ordinal that is this node's now.
    fn take_wanted(&mut self, id: AttachmentId, pool: &PoolName, ordinal: u64) {
        let Some(ask) = self.wants.get(&id).map(|want| want.ask.clone()) else {
            return;
        };
        let fits = self
            .may_have(&ask, pool, ordinal)
            .and_then(|()| self.check_free(pool, ordinal));
        match fits {
            Ok(()) if self.take_one(pool, &ask, ordinal) => drop(self.wants.remove(&id)),
            Ok(()) => {}
            Err(refusal) => self.refuse_want(&id, refusal),
        }
    }

    pub(super) fn refuse_want(&mut self, id: &AttachmentId, refusal: PoolRefusal) {
        if let Some(want) = self.wants.get_mut(id) {
            want.refuse(refusal);
        }
    }
}

impl Locate {
    pub(super) fn answered(self, ledger: &mut Ledger, answer: Answer, now: Now) -> Flow {
        let rows = answer.rows();
        match &self.step {
            Step::Choose { spans } => {
                ledger.choose_of(self.id, spans, &rows);
                Flow::End
            }
            Step::Look { pool, ordinal } => {
                let (pool, ordinal) = (pool.clone(), *ordinal);
                self.looked(ledger, pool, ordinal, &rows, now)
            }
        }
    }

    #[allow(clippy::unused_self)] // as every job
    pub(super) fn interrupted(self, _: &mut Ledger, _: Fault, _: Now) {}

    fn looked(
        &self,
        ledger: &mut Ledger,
        pool: PoolName,
        ordinal: u64,
        rows: &[Listing],
        now: Now,
    ) -> Flow {
        let Some(ask) = ledger.wants.get(&self.id).map(|want| want.ask.clone()) else {
            return Flow::End;
        };
        let sticky = ask.pod.as_ref().filter(|_| ask.sticky);
        let sticky = sticky.and_then(|pod| StickyId::of(pod, &ask.key).ok());
        let refusal = ledger
            .published_holder(&ask, &pool, ordinal, &rows[0])
            .or_else(|| ledger.kept_for_other(&pool, ordinal, sticky.as_ref(), &rows[1]));
        if let Some(refusal) = refusal {
            ledger.refuse_want(&self.id, refusal);
            return Flow::End;
        }
        let read = |row| FoundBlock::read(&ledger.schema, row).ok();
        let mut found = rows[2].rows.iter().filter_map(read);
        let Some(owner) = found.find(|found| found.block.contains(ordinal)) else {
            return ledger.claim_around(pool, ordinal);
        };
        if owner.row.node == ledger.node {
            // Memory does not know it yet.
            ledger.link.need(Need::Adopt);
            return Flow::End;
        }
        if ledger.pools[&pool].row.strict {
            let refusal = PoolRefusal::Strict {
                address: ledger.address(&pool, ordinal),
                owner: owner.row.node.to_string(),
                pool,
            };
            ledger.refuse_want(&self.id, refusal);
            return Flow::End;
        }
        ledger.ask_for(owner.row.node, pool, ordinal, sticky, now)
    }
}

impl Ledger {
    /// Somebody else who has published that he holds the ordinal.
    fn published_holder(
        &self,
        ask: &PoolAsk,
        pool: &PoolName,
        ordinal: u64,
        rows: &Listing,
    ) -> Option<PoolRefusal> {
        let row = rows.rows.first()?;
        let lease: LeaseRow = decode(&row.key, &row.value).ok()?;
        let another = lease.attachment != ask.key && lease.node != self.node;
        another.then(|| PoolRefusal::Taken {
            address: self.address(pool, ordinal),
            holder: lease.attachment,
            place: format!(" on node {}", lease.node),
        })
    }

    fn kept_for_other(
        &self,
        pool: &PoolName,
        ordinal: u64,
        sticky: Option<&StickyId>,
        rows: &Listing,
    ) -> Option<PoolRefusal> {
        let row = rows.rows.first()?;
        let kept: KeptRow = decode(&row.key, &row.value).ok()?;
        (sticky != Some(&kept.sticky)).then(|| PoolRefusal::Kept {
            address: self.address(pool, ordinal),
            sticky: kept.sticky,
        })
    }

    /// Chooses an ordinal of a reservation that nobody has published to hold.
    fn choose_of(&mut self, id: AttachmentId, spans: &[(u64, u64)], rows: &[Listing]) {
        let leased: BTreeSet<u64> = rows
            .iter()
            .flat_map(|listing| &listing.rows)
            .filter_map(|row| match self.schema.place(&row.key)? {
                Place::Lease { ordinal, .. } => Some(ordinal),
                _ => None,
            })
            .collect();
        let Some(want) = self.wants.get(&id) else {
            return;
        };
        let Goal::Reserved { pool, reservation } = want.goal.clone() else {
            return;
        };
        let geometry = &self.pools[&pool].row.geometry;
        let mut ordinals = spans.iter().flat_map(|(from, to)| *from..*to);
        let chosen = ordinals.find(|at| {
            let taken = leased.contains(at) || want.tried.contains(at);
            !taken && geometry.is_usable(*at) && self.holder(&pool, *at).is_none()
        });
        let want = self.wants.get_mut(&id).expect("it was just found");
        match chosen {
            Some(ordinal) => {
                want.target = Some((pool, ordinal));
                want.again_ms = 0;
            }
            None => want.refused = Some(PoolRefusal::ReservationFull { reservation }),
        }
    }
}
