//! What others change: pools, reservations, asks, this node's fence. Told by a watch, or read.

use super::Ledger;
use super::cede::OpenAsk;
use super::link::{Need, Standing};
use super::side::PoolSide;
use crate::boot::Now;
use crate::cluster::kv::{Event, KeyRange, Listing, Revision, Row};
use crate::cluster::name::{PoolName, ReservationName};
use crate::cluster::schema::{
    AskPlace, AskRow, FenceRow, FenceState, Place, PoolRow, PoolState, ReservationRow, decode,
};

/// What is to be watched, and from where on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Watching {
    /// Another one than before: the watches are to begin anew.
    pub generation: u64,
    /// Changes after this are news.
    pub after: Revision,
    /// The rows.
    pub ranges: Vec<KeyRange>,
}

impl Ledger {
    /// What is to be watched; `None` before the store was read.
    #[must_use]
    pub fn watching(&self) -> Option<Watching> {
        let one = |place| KeyRange::one(&self.schema.key(&place));
        self.link.watching.then(|| Watching {
            generation: self.link.watches,
            after: self.link.surveyed,
            ranges: vec![
                self.schema.kind("pools"),
                self.schema.kind("reservations"),
                self.schema.asks_of(&self.node),
                one(Place::Fence(self.node.clone())),
                one(Place::Meta),
            ],
        })
    }

    /// A watch has ended: everything is read anew, and watched from there.
    pub fn watch_lost(&mut self) {
        self.link.watching = false;
        self.link.need(Need::Compare);
    }

    /// Whether the store is taken to serve, without a question to it that is due.
    #[must_use]
    pub fn relies_on_store(&self) -> bool {
        self.link.is_up() && self.link.is_in_step()
    }

    /// It seems that the store does not serve: it is asked now, and not when there is something to
    /// write, so that whoever wants to know hears how it is.
    pub fn store_doubted(&mut self) {
        self.link.need(Need::Look);
    }

    /// What a watch told. In any order, and as often as one likes: what is known already is no news.
    pub fn observe(&mut self, events: &[Event], now: Now) {
        for event in events {
            if event.revision <= self.link.surveyed {
                continue;
            }
            let row = event.row.as_ref();
            match self.schema.place(&event.key) {
                Some(Place::Pool(pool)) => self.set_pool(&pool, row, now),
                Some(Place::Reservation(name)) => {
                    self.set_reservation(&name, row);
                    self.sort_out_reserved(now);
                }
                Some(Place::Ask(ask)) if ask.owner == self.node => self.set_ask(ask, row),
                Some(Place::Fence(node)) if node == self.node => {
                    self.fence_changed(event.revision, row);
                }
                Some(Place::Meta) if event.revision != self.link.meta => self.link.need(Need::Look),
                _ => {}
            }
        }
    }

    fn fence_changed(&mut self, revision: Revision, row: Option<&Row>) {
        if revision <= self.link.fence {
            return;
        }
        self.link.need(Need::Look);
        let Some(row) = row else {
            return;
        };
        let Ok(fence) = decode::<FenceRow>(&row.key, &row.value) else {
            return;
        };
        let ours = fence.session.0.starts_with(&format!("{}-", self.session));
        if !ours && (fence.state == FenceState::Lost || fence.epoch > self.link.epoch) {
            // Nothing more is given out from this moment on; what follows is found out by looking.
            self.link.standing = Standing::Fenced {
                by: fence.by,
                statement: fence.statement,
            };
        }
    }

    pub(super) fn set_pools(&mut self, listing: &Listing, now: Now) {
        let mut missing: Vec<PoolName> = self.pools.keys().cloned().collect();
        for row in &listing.rows {
            if let Some(Place::Pool(pool)) = self.schema.place(&row.key) {
                missing.retain(|name| *name != pool);
                self.set_pool(&pool, Some(row), now);
            }
        }
        for pool in missing {
            self.set_pool(&pool, None, now);
        }
    }

    /// Takes in a pool's row.
    pub(super) fn set_pool(&mut self, pool: &PoolName, row: Option<&Row>, now: Now) {
        let place = format!("pool {pool}");
        let Some(row) = row else {
            self.close_pool(pool, "it is no longer in the store", now);
            return;
        };
        let read = match decode::<PoolRow>(&row.key, &row.value) {
            Ok(read) => read,
            Err(error) => {
                self.close_pool(pool, &error.to_string(), now);
                return;
            }
        };
        let before = self.pools.get(pool);
        if before.is_some_and(|side| side.row == read && !side.gone) {
            return;
        }
        let moved = before.is_some_and(|side| !side.row.geometry.is_based_as(&read.geometry));
        if moved && self.own.has(pool) {
            let why = "its first address is another than when this node's blocks were claimed";
            self.close_pool(pool, why, now);
            return;
        }
        self.troubles.remove(&place);
        let mut side = PoolSide::new(pool, read, &self.reservations);
        if let Some(before) = self.pools.remove(pool) {
            side.kept = before.kept;
            side.waiters = before.waiters;
            side.used = before.used;
            side.search.salt = before.search.salt + 1;
        }
        self.pools.insert(pool.clone(), side);
        self.mark_expected();
        self.sort_out(pool, now);
    }

    /// Nothing of the pool is given out any more. What is held stays.
    fn close_pool(&mut self, pool: &PoolName, why: &str, now: Now) {
        let has_blocks = self.own.has(pool);
        let Some(side) = self.pools.get_mut(pool) else {
            return;
        };
        side.row.state = PoolState::Disabled;
        side.gone = true;
        if has_blocks {
            let trouble = format!("pool {pool} gives nothing out: {why}");
            self.troubles.insert(format!("pool {pool}"), trouble);
        }
        self.unsaved_since(now);
    }

    pub(super) fn set_reservations(&mut self, listing: &Listing, now: Now) {
        let mut missing: Vec<ReservationName> = self.reservations.keys().cloned().collect();
        for row in &listing.rows {
            if let Some(Place::Reservation(name)) = self.schema.place(&row.key) {
                missing.retain(|known| *known != name);
                self.set_reservation(&name, Some(row));
            }
        }
        for name in missing {
            self.set_reservation(&name, None);
        }
        self.sort_out_reserved(now);
    }

    fn set_reservation(&mut self, name: &ReservationName, row: Option<&Row>) {
        let place = format!("reservation {name}");
        let Some(row) = row else {
            self.reservations.remove(name);
            self.troubles.remove(&place);
            return;
        };
        match decode::<ReservationRow>(&row.key, &row.value) {
            Ok(read) => {
                self.reservations.insert(name.clone(), read);
                self.troubles.remove(&place);
            }
            // What it was is still kept.
            Err(error) => drop(self.troubles.insert(place, error.to_string())),
        }
    }

    fn sort_out_reserved(&mut self, now: Now) {
        let names: Vec<PoolName> = self.pools.keys().cloned().collect();
        for pool in names {
            if let Some(side) = self.pools.get_mut(&pool) {
                side.set_reservations(&pool, &self.reservations);
            }
            self.sort_out(&pool, now);
        }
    }

    /// Something else of a pool may be given out now.
    fn sort_out(&mut self, pool: &PoolName, now: Now) {
        let Some(side) = self.pools.get(pool) else {
            return;
        };
        for own in self.own.of_mut(pool) {
            own.sort_out(|ordinal| side.allows(ordinal));
        }
        self.unsaved_since(now);
    }

    pub(super) fn set_asks(&mut self, listing: &Listing, _: Now) {
        self.asks.clear();
        for row in &listing.rows {
            if let Some(Place::Ask(place)) = self.schema.place(&row.key) {
                self.set_ask(place, Some(row));
            }
        }
    }

    fn set_ask(&mut self, place: AskPlace, row: Option<&Row>) {
        let read = row.and_then(|row| {
            let ask: AskRow = decode(&row.key, &row.value).ok()?;
            Some((row.modified, ask))
        });
        match read {
            Some((modified, row)) if row.answer.is_none() => {
                let again_ms = 0;
                let ask = OpenAsk {
                    row,
                    modified,
                    again_ms,
                };
                self.asks.insert(place, ask);
            }
            _ => drop(self.asks.remove(&place)),
        }
    }
}
