//! Picking an ordinal. What this node's blocks have is picked in memory; for the rest an ask waits until
//! the cluster's side of the ledger has got it.

use std::net::IpAddr;

use bulkhead_model::AttachmentId;

use super::Ledger;
use super::ask::{Acquire, PoolAsk, PoolChoice, PoolGrant, Waiting};
use super::lease::{Lease, LeaseState};
use super::link::Standing;
use super::own::Slot;
use super::refusal::PoolRefusal;
use super::want::Goal;
use crate::boot::Now;
use crate::cluster::geometry::Unusable;
use crate::cluster::name::{PoolName, ReservationName};

type Answer = Result<Acquire, PoolRefusal>;

impl Ledger {
    /// Picks an ordinal for an attachment, the same one however often it is asked for.
    pub fn acquire(&mut self, ask: &PoolAsk, now: Now) -> Acquire {
        self.try_acquire(ask, now).unwrap_or_else(Acquire::Refused)
    }

    /// Whether something could be picked now, or claimed: what STATUS asks.
    ///
    /// # Errors
    /// As [`Ledger::acquire`].
    pub fn serves(&self, pools: &PoolChoice, now: Now) -> Result<(), PoolRefusal> {
        self.check_standing()?;
        let mut refusal = None;
        for pool in self.choose(pools, None, false)? {
            if self.own.free(&pool) > 0 {
                return Ok(());
            }
            let dry = self.pools[&pool].is_dry(now.since_boot_ms);
            if !dry && self.link.is_hopeful(now.since_boot_ms) {
                return Ok(());
            }
            refusal.get_or_insert_with(|| self.exhausted(&pool));
        }
        refusal.map_or(Ok(()), Err)
    }

    fn try_acquire(&mut self, ask: &PoolAsk, now: Now) -> Answer {
        let id = ask.key.id();
        let told = |lease: &&Lease| lease.state != LeaseState::Hidden;
        if let Some(lease) = self.leases.get(&id).filter(told) {
            return self.again(ask, lease);
        }
        self.check_standing()?;
        if let Some(evicted) = self.evicted.get(&ask.key) {
            return Err(PoolRefusal::Evicted {
                key: ask.key.clone(),
                address: joined(&evicted.told.addresses),
            });
        }
        if self.link.standing == Standing::Unverified {
            return Ok(Acquire::Wait(Waiting::Store));
        }
        if let Some(answer) = self.wanted_already(ask, id, now) {
            return answer;
        }
        let pools = self.choose(&ask.pools, Some(ask), true)?;
        if ask.sticky {
            return self.acquire_sticky(ask, pools, now);
        }
        if !ask.requested.is_empty() {
            let (pool, ordinal) = self.requested(ask, &pools)?;
            return self.acquire_one(ask, pool, ordinal, now);
        }
        if let Some((pool, reservation)) = self.reserved_for(ask, &pools) {
            return self.acquire_reserved(ask, pool, reservation, now);
        }
        self.acquire_any(ask, &pools, now)
    }

    /// The same answer for the same attachment.
    fn again(&self, ask: &PoolAsk, lease: &Lease) -> Answer {
        let held = self.addresses(&lease.pool, lease.ordinal);
        let other = ask.requested.iter().find(|wanted| !held.contains(wanted));
        match other {
            Some(requested) => Err(PoolRefusal::Contradicts {
                key: ask.key.clone(),
                held: joined(&held),
                requested: *requested,
            }),
            None => Ok(self.grant(&lease.pool, lease.ordinal)),
        }
    }

    pub(super) fn check_standing(&self) -> Result<(), PoolRefusal> {
        match &self.link.standing {
            Standing::Unverified | Standing::Good => Ok(()),
            Standing::Fenced { by, statement } => Err(PoolRefusal::Fenced {
                by: by.clone(),
                statement: statement.clone(),
            }),
            Standing::Twin { session } => Err(PoolRefusal::Twin {
                session: session.clone(),
            }),
        }
    }

    fn acquire_any(&mut self, ask: &PoolAsk, pools: &[PoolName], now: Now) -> Answer {
        let mut refusal = None;
        for pool in pools {
            if let Some(ordinal) = self.take(pool, ask, now) {
                return Ok(self.grant(pool, ordinal));
            }
            let hopeful = self.link.is_hopeful(now.since_boot_ms);
            if hopeful && !self.pools[pool].is_dry(now.since_boot_ms) {
                self.wait_for_block(pool, ask.key.id(), now);
                return Ok(Acquire::Wait(Waiting::Block(pool.clone())));
            }
            refusal.get_or_insert_with(|| self.exhausted(pool));
        }
        Err(refusal.expect("at least one pool is chosen"))
    }

    /// Picks the longest free ordinal of the pool's blocks.
    pub(super) fn take(&mut self, pool: &PoolName, ask: &PoolAsk, now: Now) -> Option<u64> {
        let id = ask.key.id();
        let spare = self.pools.get(pool)?.low_water();
        if self.own.free(pool) == 0 {
            self.ripen(now);
        }
        let ordinal = self.own.take(pool, id, spare)?;
        let side = self.pools.get_mut(pool).expect("it was just found");
        side.used = true;
        side.count_taken(now.since_boot_ms);
        side.waiters.remove(&id);
        self.picked(ask, pool, ordinal);
        Some(ordinal)
    }

    /// Picks one ordinal that is asked for and is this node's; whoever calls has judged that it may be.
    pub(super) fn take_one(&mut self, pool: &PoolName, ask: &PoolAsk, ordinal: u64) -> bool {
        let own = self.own.around_mut(pool, ordinal);
        if !own.is_some_and(|own| own.take_one(ordinal, ask.key.id())) {
            return false;
        }
        self.picked(ask, pool, ordinal);
        true
    }

    fn picked(&mut self, ask: &PoolAsk, pool: &PoolName, ordinal: u64) {
        let lease = Lease {
            key: ask.key.clone(),
            pool: pool.clone(),
            ordinal,
            state: LeaseState::Picked,
            pod: ask.pod.clone(),
            labels: ask.labels.clone(),
        };
        self.insert_lease(ask.key.id(), lease);
    }

    pub(super) fn wait_for_block(&mut self, pool: &PoolName, id: AttachmentId, now: Now) {
        if let Some(side) = self.pools.get_mut(pool) {
            side.used = true;
            side.waiters.insert(id, now.since_boot_ms);
        }
    }

    pub(super) fn grant(&self, pool: &PoolName, ordinal: u64) -> Acquire {
        let row = &self.pools[pool].row;
        let own = self.own.around(pool, ordinal);
        Acquire::Granted(Box::new(PoolGrant {
            block: own.map_or_else(Vec::new, |own| row.geometry.prefixes_of(own.block)),
            pool: pool.clone(),
            ordinal,
            addresses: row.geometry.leased(ordinal),
            description: row.geometry.described(row.cooldown_secs),
        }))
    }

    pub(super) fn exhausted(&self, pool: &PoolName) -> PoolRefusal {
        let side = &self.pools[pool];
        let why = match (self.link.down_why(), &side.dry) {
            (Some(why), _) => {
                format!("no block can be claimed, since the store does not serve: {why}")
            }
            (None, Some(dry)) => dry.why.clone(),
            (None, None) => "no block is claimed yet".to_owned(),
        };
        PoolRefusal::Exhausted {
            pool: pool.clone(),
            usage: Box::new(self.usage(pool)),
            why,
        }
    }

    /// Picks the ordinal that is asked for, or sends for it.
    fn acquire_one(&mut self, ask: &PoolAsk, pool: PoolName, ordinal: u64, now: Now) -> Answer {
        self.may_have(ask, &pool, ordinal)?;
        if self.own.around(&pool, ordinal).is_some() {
            self.check_free(&pool, ordinal)?;
            if self.take_one(&pool, ask, ordinal) {
                return Ok(self.grant(&pool, ordinal));
            }
        }
        self.want(ask, Goal::One { pool, ordinal }, now)
    }

    /// Picks an ordinal of a reservation that this node has, or sends for one.
    fn acquire_reserved(
        &mut self,
        ask: &PoolAsk,
        pool: PoolName,
        reservation: ReservationName,
        now: Now,
    ) -> Answer {
        let spans: Vec<_> = self.pools[&pool].reserved_by(&reservation).collect();
        let inside = |ordinal: &u64| {
            spans
                .iter()
                .any(|(from, to)| (*from..*to).contains(ordinal))
        };
        let free = self.own.of(&pool).find_map(|own| {
            let mut ordinals = own.block.ordinals().filter(inside);
            ordinals.find(|ordinal| {
                own.slot(*ordinal) == Slot::Withheld && self.may_have(ask, &pool, *ordinal).is_ok()
            })
        });
        if let Some(ordinal) = free
            && self.take_one(&pool, ask, ordinal)
        {
            return Ok(self.grant(&pool, ordinal));
        }
        self.want(ask, Goal::Reserved { pool, reservation }, now)
    }

    pub(super) fn address(&self, pool: &PoolName, ordinal: u64) -> IpAddr {
        let addresses = self.addresses(pool, ordinal);
        *addresses
            .first()
            .expect("every ordinal of a pool has an address")
    }

    /// Lets go what has cooled down, in every block.
    pub(super) fn ripen(&mut self, now: Now) {
        let mut unconfirmed = Vec::new();
        for (pool, own) in self.own.all_mut() {
            let Some(side) = self.pools.get(pool) else {
                continue;
            };
            let over = own.ripen(side.cool_down(), now.since_boot_ms, |at| side.allows(at));
            unconfirmed.extend(over.into_iter().map(|ordinal| (pool.clone(), ordinal)));
        }
        for (pool, ordinal) in unconfirmed {
            self.note_unconfirmed(&pool, ordinal, now);
        }
    }

    /// Why an ordinal is never given out, for who asks about it.
    #[must_use]
    pub fn unusable(&self, pool: &PoolName, ordinal: u64) -> Option<Unusable> {
        self.pools.get(pool)?.row.geometry.unusable(ordinal)
    }
}

pub(super) fn joined(addresses: &[IpAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    texts.join(", ")
}
