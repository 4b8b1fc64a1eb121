//! Addresses that a pod keeps, wherever it runs. Which ordinal it is and who has it now stands in the
//! store and nowhere else, so fetching one needs the store. It moves only after its last holder has let
//! go of it, which that node writes once the release is durable.

use bulkhead_model::{AttachmentId, AttachmentKey};

use super::Ledger;
use super::acquire::joined;
use super::ask::{Acquire, PoolAsk};
use super::lane::{Answer, Call, Fault, Flow};
use super::lease::{Lease, LeaseState};
use super::link::Need;
use super::refusal::PoolRefusal;
use super::want::{Goal, Want};
use crate::boot::Now;
use crate::cluster::kv::{Compare, KeyRange, Listing, Revision, Txn, Write};
use crate::cluster::name::{Attempt, PoolName, StickyId};
use crate::cluster::schema::{KeptRow, Place, StickyHolder, StickyRow, decode, encode};

/// A pod's own ordinal is being fetched.
#[derive(Clone, Debug)]
pub(super) struct FetchSticky {
    id: AttachmentId,
    sticky: StickyId,
    step: Step,
}

#[derive(Clone, Debug)]
enum Step {
    Look,
    Save { taken: Taken },
    Commit { taken: Taken },
}

/// The ordinal that is picked for it; nobody is told before the row says so.
#[derive(Clone, Debug)]
struct Taken {
    pool: PoolName,
    ordinal: u64,
    /// The last change of the identity's row; 0 if it has none yet.
    row: Revision,
}

impl Ledger {
    pub(super) fn acquire_sticky(
        &mut self,
        ask: &PoolAsk,
        pools: Vec<PoolName>,
        now: Now,
    ) -> Result<Acquire, PoolRefusal> {
        let pod = ask.pod.as_ref().ok_or(PoolRefusal::NoPod)?;
        let sticky = StickyId::of(pod, &ask.key)?;
        self.want(ask, Goal::Sticky { sticky, pools }, now)
    }

    pub(super) fn start_fetch_sticky(&mut self, now: Now) -> Flow {
        let here = |want: &Want| match (&want.goal, &want.target) {
            (Goal::Sticky { .. }, Some((pool, ordinal))) => {
                self.own.around(pool, *ordinal).is_some()
            }
            (Goal::Sticky { .. }, None) => true,
            _ => false,
        };
        let Some(id) = self.due_want(now, here) else {
            return Flow::End;
        };
        let retry = now.since_boot_ms + self.tuning.retry_ms;
        let want = self.wants.get_mut(&id).expect("it was just found");
        want.again_ms = retry;
        let Goal::Sticky { sticky, .. } = want.goal.clone() else {
            unreachable!("only sticky wants are looked for");
        };
        let key = self.schema.key(&Place::Sticky(sticky.clone()));
        let step = Step::Look;
        let fetch = FetchSticky { id, sticky, step };
        Flow::then(fetch, Call::Read(vec![KeyRange::one(&key)]))
    }
}

impl FetchSticky {
    pub(super) fn answered(self, ledger: &mut Ledger, answer: Answer, now: Now) -> Flow {
        match self.step {
            Step::Look => self.looked(ledger, &answer.rows()[0], now),
            Step::Save { ref taken } => {
                let attempt = ledger.attempt();
                let call = Call::Commit(self.txn(ledger, taken, attempt, now));
                let step = Step::Commit {
                    taken: taken.clone(),
                };
                Flow::then(Self { step, ..self }, call)
            }
            Step::Commit { taken } => {
                if answer.committed().held {
                    ledger.have_sticky(self.id);
                } else {
                    ledger.unfetch(self.id, &taken, now);
                    ledger.link.need(Need::Look);
                }
                Flow::End
            }
        }
    }

    pub(super) fn interrupted(self, ledger: &mut Ledger, fault: Fault, now: Now) {
        // In doubt the ordinal stays picked until the row has been read.
        if let (Step::Save { taken } | Step::Commit { taken }, Fault::Undone) = (self.step, fault) {
            ledger.unfetch(self.id, &taken, now);
        }
    }

    fn looked(self, ledger: &mut Ledger, rows: &Listing, now: Now) -> Flow {
        let Some(want) = ledger.wants.get(&self.id).cloned() else {
            return Flow::End;
        };
        let row = match rows.rows.first() {
            None => None,
            Some(row) => match decode::<StickyRow>(&row.key, &row.value) {
                Ok(sticky) => Some((row.modified, sticky)),
                Err(error) => {
                    let what = format!("the address of {}", self.sticky);
                    let why = error.to_string();
                    ledger.refuse_want(&self.id, PoolRefusal::NeedsStore { what, why });
                    return Flow::End;
                }
            },
        };
        let taken = match row {
            None => ledger.pick_for_sticky(self.id, &want, now),
            Some((revision, row)) => ledger.fetch(self.id, &want, &self.sticky, revision, row),
        };
        let Some(taken) = taken else {
            return Flow::End;
        };
        ledger.keep(&taken.pool, taken.ordinal, &self.sticky);
        let step = Step::Save { taken };
        Flow::then(Self { step, ..self }, ledger.save())
    }

    fn txn(&self, ledger: &Ledger, taken: &Taken, attempt: Attempt, now: Now) -> Txn {
        let sticky = ledger.schema.key(&Place::Sticky(self.sticky.clone()));
        let kept = ledger.schema.key(&Place::Kept {
            pool: taken.pool.clone(),
            ordinal: taken.ordinal,
        });
        let holder = ledger.leases.get(&self.id).map(|lease| StickyHolder {
            node: ledger.node.clone(),
            epoch: ledger.link.epoch,
            attachment: lease.key.clone(),
        });
        let row = StickyRow {
            pool: taken.pool.clone(),
            ordinal: taken.ordinal,
            holder,
            attempt,
            changed_at_unix_ms: now.unix_ms,
        };
        let keeps = KeptRow {
            sticky: self.sticky.clone(),
        };
        let mut txn = ledger.guarded();
        txn.when.push(Compare::Modified(sticky.clone(), taken.row));
        txn.writes = vec![
            Write::Put(sticky, encode(&row)),
            Write::Put(kept, encode(&keeps)),
        ];
        txn
    }
}

impl Ledger {
    /// Picks an ordinal for an identity that has none yet.
    fn pick_for_sticky(&mut self, id: AttachmentId, want: &Want, now: Now) -> Option<Taken> {
        let Goal::Sticky { pools, .. } = &want.goal else {
            return None;
        };
        let row = Revision(0);
        if let Some(lease) = self.leases.get(&id) {
            // Picked before something was in doubt.
            let (pool, ordinal) = (lease.pool.clone(), lease.ordinal);
            return Some(Taken { pool, ordinal, row });
        }
        for pool in pools {
            if let Some(ordinal) = self.pick_one(pool, want, now) {
                self.hide(id);
                let pool = pool.clone();
                return Some(Taken { pool, ordinal, row });
            }
            let dry = self.pools.get(pool)?.is_dry(now.since_boot_ms);
            if want.ask.requested.is_empty() && !dry {
                self.wait_for_block(pool, id, now);
                return None;
            }
        }
        if let Some(pool) = pools.first().filter(|_| want.ask.requested.is_empty()) {
            let refusal = self.exhausted(pool);
            self.refuse_want(&id, refusal);
        }
        None
    }

    fn pick_one(&mut self, pool: &PoolName, want: &Want, now: Now) -> Option<u64> {
        let Some(requested) = want.ask.requested.first() else {
            return self.take(pool, &want.ask, now);
        };
        let ordinal = self.pools.get(pool)?.row.geometry.ordinal(*requested)?;
        if self.own.around(pool, ordinal).is_none() {
            self.wants.get_mut(&want.ask.key.id())?.target = Some((pool.clone(), ordinal));
            return None;
        }
        let fits = self
            .may_have(&want.ask, pool, ordinal)
            .and_then(|()| self.check_free(pool, ordinal));
        if let Err(refusal) = fits {
            self.refuse_want(&want.ask.key.id(), refusal);
            return None;
        }
        self.take_one(pool, &want.ask, ordinal).then_some(ordinal)
    }

    /// Picks the ordinal that an identity keeps, if nobody has it and it is this node's.
    fn fetch(
        &mut self,
        id: AttachmentId,
        want: &Want,
        sticky: &StickyId,
        revision: Revision,
        row: StickyRow,
    ) -> Option<Taken> {
        if let Some(refusal) = self.sticky_refusal(want, sticky, &row) {
            self.drop_picked(id);
            self.refuse_want(&id, refusal);
            return None;
        }
        let held = self
            .leases
            .get(&id)
            .map(|lease| (lease.pool.clone(), lease.ordinal));
        if held.is_some_and(|held| held != (row.pool.clone(), row.ordinal)) {
            self.drop_picked(id);
        }
        let taken = Taken {
            pool: row.pool.clone(),
            ordinal: row.ordinal,
            row: revision,
        };
        if self.leases.contains_key(&id) {
            return Some(taken);
        }
        if self.own.around(&row.pool, row.ordinal).is_none() {
            let want = self.wants.get_mut(&id)?;
            want.target = Some((row.pool, row.ordinal));
            want.again_ms = 0;
            return None;
        }
        if !self.take_one(&row.pool, &want.ask, row.ordinal) {
            if let Err(refusal) = self.check_free(&row.pool, row.ordinal) {
                self.refuse_want(&id, refusal);
            }
            return None;
        }
        self.hide(id);
        Some(taken)
    }

    fn sticky_refusal(
        &self,
        want: &Want,
        sticky: &StickyId,
        row: &StickyRow,
    ) -> Option<PoolRefusal> {
        let Goal::Sticky { pools, .. } = &want.goal else {
            return None;
        };
        if !pools.contains(&row.pool) || !self.pools.contains_key(&row.pool) {
            return Some(PoolRefusal::StickyElsewhere {
                sticky: sticky.clone(),
                pool: row.pool.clone(),
            });
        }
        let addresses = self.addresses(&row.pool, row.ordinal);
        let requested = want.ask.requested.iter();
        let mut other = requested.filter(|wanted| !addresses.contains(wanted));
        if let Some(requested) = other.next() {
            return Some(PoolRefusal::StickyOther {
                sticky: sticky.clone(),
                kept: joined(&addresses),
                requested: *requested,
            });
        }
        let holder = row.holder.as_ref()?;
        if holder.node == self.node && !self.still_holds(holder, row, &want.ask) {
            return None;
        }
        Some(PoolRefusal::StickyHeld {
            sticky: sticky.clone(),
            holder: Box::new(holder.attachment.clone()),
            node: holder.node.to_string(),
        })
    }

    /// Whether a holder on this node is another attachment that has not been released.
    fn still_holds(&self, holder: &StickyHolder, row: &StickyRow, ask: &PoolAsk) -> bool {
        let key = &holder.attachment;
        let lease = self.leases.get(&key.id());
        let holds = lease.is_some_and(|l| l.pool == row.pool && l.ordinal == row.ordinal);
        *key != ask.key && (holds || self.evicted.contains_key(key))
    }

    /// The row says that it is the attachment's: it may be told.
    fn have_sticky(&mut self, id: AttachmentId) {
        if let Some(lease) = self.leases.get_mut(&id)
            && lease.state == LeaseState::Hidden
        {
            lease.state = LeaseState::Picked;
        }
        self.wants.remove(&id);
    }

    fn hide(&mut self, id: AttachmentId) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.state = LeaseState::Hidden;
        }
    }

    /// The row was not written: the ordinal is free again, and kept for nobody new.
    fn unfetch(&mut self, id: AttachmentId, taken: &Taken, now: Now) {
        if taken.row == Revision(0)
            && let Some(side) = self.pools.get_mut(&taken.pool)
        {
            side.kept.remove(&taken.ordinal);
        }
        self.drop_picked(id);
        self.unsaved_since(now);
    }

    /// Drops what was picked for an ask and never told.
    pub(super) fn drop_picked(&mut self, id: AttachmentId) {
        let hidden = |lease: &Lease| lease.state == LeaseState::Hidden;
        if !self.leases.get(&id).is_some_and(hidden) {
            return;
        }
        let lease = self.leases.remove(&id).expect("it was just found");
        let allowed = self.allows(&lease.pool, lease.ordinal);
        if let Some(own) = self.own.around_mut(&lease.pool, lease.ordinal) {
            own.put_back(lease.ordinal, 0, allowed);
        }
    }

    /// From now on nobody else gets the ordinal.
    fn keep(&mut self, pool: &PoolName, ordinal: u64, sticky: &StickyId) {
        if let Some(side) = self.pools.get_mut(pool) {
            side.kept.insert(ordinal, sticky.clone());
        }
    }

    /// The holder of a sticky ordinal is gone: the row has to say so.
    pub(super) fn let_go_of_sticky(&mut self, lease: &Lease, now: Now) {
        if let Some(sticky) = self.sticky_of(lease) {
            self.letting_go.insert(sticky, now.since_boot_ms);
        }
    }

    /// After a comparison: rows of this node's ordinals that nobody holds are looked at.
    pub(super) fn let_go_of_unheld(&mut self, now: Now) {
        for (pool, side) in &self.pools {
            for (ordinal, sticky) in &side.kept {
                if self.holder(pool, *ordinal).is_none() {
                    self.letting_go.insert(sticky.clone(), now.since_boot_ms);
                }
            }
        }
    }
}

/// Rows of identities whose holder is gone are being written.
#[derive(Clone, Debug)]
pub(super) struct LetGo {
    all: Vec<StickyId>,
    commits: bool,
}

impl Ledger {
    /// Most rows in one transaction.
    const MOST_LET_GO: usize = 50;

    pub(super) fn start_let_go(&mut self, _: Now) -> Flow {
        let all: Vec<_> = self
            .letting_go
            .keys()
            .take(Self::MOST_LET_GO)
            .cloned()
            .collect();
        if all.is_empty() {
            return Flow::End;
        }
        let key = |sticky: &StickyId| self.schema.key(&Place::Sticky(sticky.clone()));
        let ranges = all.iter().map(|sticky| KeyRange::one(&key(sticky)));
        let call = Call::Read(ranges.collect());
        let commits = false;
        Flow::then(LetGo { all, commits }, call)
    }

    /// Whether the row names a holder of this node that is none any more.
    fn is_let_go(&self, row: &StickyRow) -> bool {
        let Some(holder) = row
            .holder
            .as_ref()
            .filter(|holder| holder.node == self.node)
        else {
            return false;
        };
        let key: &AttachmentKey = &holder.attachment;
        let holds = self
            .leases
            .get(&key.id())
            .is_some_and(|lease| lease.pool == row.pool && lease.ordinal == row.ordinal);
        !holds && !self.evicted.contains_key(key)
    }
}

impl LetGo {
    pub(super) fn answered(mut self, ledger: &mut Ledger, answer: Answer, now: Now) -> Flow {
        if self.commits {
            if answer.committed().held {
                for sticky in &self.all {
                    ledger.letting_go.remove(sticky);
                }
            } else {
                ledger.link.need(Need::Look);
            }
            return Flow::End;
        }
        let mut txn = ledger.guarded();
        for (listing, sticky) in answer.rows().iter().zip(&self.all) {
            let row = listing.rows.first();
            let read = row.and_then(|row| {
                let sticky: StickyRow = decode(&row.key, &row.value).ok()?;
                Some((row, sticky)).filter(|(_, sticky)| ledger.is_let_go(sticky))
            });
            let Some((row, kept)) = read else {
                ledger.letting_go.remove(sticky);
                continue;
            };
            let free = StickyRow {
                holder: None,
                changed_at_unix_ms: now.unix_ms,
                ..kept
            };
            txn.when
                .push(Compare::Modified(row.key.clone(), row.modified));
            txn.writes.push(Write::Put(row.key.clone(), encode(&free)));
        }
        if txn.writes.is_empty() {
            return Flow::End;
        }
        self.commits = true;
        Flow::then(self, Call::Commit(txn))
    }

    #[allow(clippy::unused_self)] // as every job
    pub(super) fn interrupted(self, _: &mut Ledger, _: Fault, _: Now) {}
}
