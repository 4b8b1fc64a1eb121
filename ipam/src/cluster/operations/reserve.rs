//! Addresses for somebody, or for nobody; addresses that pods keep.

use super::{OperationError, Operator, Plan};
use crate::cluster::kv::{Compare, Write};
use crate::cluster::name::{PoolName, ReservationName, StickyId};
use crate::cluster::schema::{LeaseRow, Place, ReservationRow, StickyRow, encode};

/// A reservation, and what stands in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reserved {
    /// Its name.
    pub name: ReservationName,
    /// It.
    pub row: ReservationRow,
    /// Ordinals that it holds.
    pub size: u64,
    /// Published leases of them.
    pub held: u64,
}

/// A lease that stands in a new reservation: it stays.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Standing {
    /// The pool.
    pub pool: PoolName,
    /// The ordinal.
    pub ordinal: u64,
    /// The lease.
    pub lease: LeaseRow,
}

impl Operator<'_> {
    /// Reserves addresses. Leases that stand in them stay, and are returned.
    ///
    /// # Errors
    /// `InNoPool`, `ReservationExists`, and those of the store. The same reservation a second time is no
    /// error.
    pub fn reserve(
        &self,
        name: &ReservationName,
        row: &ReservationRow,
    ) -> Result<Vec<Standing>, OperationError> {
        self.settle(&format!("reservation {name}"), || {
            let standing = self.standing_in(row)?;
            let place = Place::Reservation(name.clone());
            if let Some((_, there)) = self.one::<ReservationRow>(&place)? {
                let same = there.spans == row.spans && there.beneficiary == row.beneficiary;
                let exists = || OperationError::ReservationExists { name: name.clone() };
                return same.then_some(Plan::Done(standing)).ok_or_else(exists);
            }
            let key = self.key(&place);
            let mut txn = self.guarded()?;
            txn.when.push(Compare::Absent(key.clone()));
            txn.writes.push(Write::Put(key, encode(row)));
            Ok(Plan::Commit(txn, standing))
        })
    }

    /// Ends a reservation.
    ///
    /// # Errors
    /// `UnknownReservation`, and those of the store.
    pub fn unreserve(&self, name: &ReservationName) -> Result<(), OperationError> {
        self.settle(&format!("reservation {name}"), || {
            let place = Place::Reservation(name.clone());
            let Some((revision, _)) = self.one::<ReservationRow>(&place)? else {
                return Err(OperationError::UnknownReservation { name: name.clone() });
            };
            let key = self.key(&place);
            let mut txn = self.guarded()?;
            txn.when.push(Compare::Modified(key.clone(), revision));
            txn.writes.push(Write::Delete(key));
            Ok(Plan::Commit(txn, ()))
        })
    }

    /// Every reservation, by name.
    ///
    /// # Errors
    /// Those of the store.
    pub fn reservations(&self) -> Result<Vec<Reserved>, OperationError> {
        let pools = self.pools()?;
        let all = self.all::<ReservationRow>(&self.schema.kind("reservations"))?;
        let mut reserved = Vec::with_capacity(all.len());
        for (place, row, _) in all {
            let Place::Reservation(name) = place else {
                continue;
            };
            let (mut size, mut held) = (0, 0);
            for span in &row.spans {
                for (pool, other, _) in &pools {
                    if let Some((from, until)) = other.geometry.ordinals_of(*span) {
                        size += until - from;
                        let range = self.schema.between("leases", pool, from, until);
                        held += self.range(&range)?.rows.len() as u64;
                    }
                }
            }
            reserved.push(Reserved {
                name,
                row,
                size,
                held,
            });
        }
        Ok(reserved)
    }

    /// Ends what a pod keeps, while nobody has it.
    ///
    /// # Errors
    /// `UnknownSticky`, `StickyHeld`, and those of the store.
    pub fn forget_sticky(&self, sticky: &StickyId) -> Result<(), OperationError> {
        self.settle(&format!("the address of {sticky}"), || {
            let place = Place::Sticky(sticky.clone());
            let Some((revision, row)) = self.one::<StickyRow>(&place)? else {
                return Err(OperationError::UnknownSticky {
                    sticky: sticky.clone(),
                });
            };
            if let Some(holder) = row.holder {
                return Err(OperationError::StickyHeld {
                    sticky: sticky.clone(),
                    holder: holder.attachment.to_string(),
                    node: holder.node,
                });
            }
            let key = self.key(&place);
            let kept = self.key(&Place::Kept {
                pool: row.pool,
                ordinal: row.ordinal,
            });
            let mut txn = self.guarded()?;
            txn.when.push(Compare::Modified(key.clone(), revision));
            txn.writes.extend([Write::Delete(key), Write::Delete(kept)]);
            Ok(Plan::Commit(txn, ()))
        })
    }

    /// Every identity that keeps an ordinal.
    ///
    /// # Errors
    /// Those of the store.
    pub fn sticky(&self) -> Result<Vec<(StickyId, StickyRow)>, OperationError> {
        let all = self
            .all::<StickyRow>(&self.schema.kind("sticky"))?
            .into_iter();
        let named = all.filter_map(|(place, row, _)| match place {
            Place::Sticky(sticky) => Some((sticky, row)),
            _ => None,
        });
        Ok(named.collect())
    }

    fn standing_in(&self, row: &ReservationRow) -> Result<Vec<Standing>, OperationError> {
        let pools = self.pools()?;
        let mut standing = Vec::new();
        for span in &row.spans {
            let mut inside = pools.iter().filter_map(|(pool, row, _)| {
                let (from, until) = row.geometry.ordinals_of(*span)?;
                Some((pool, from, until))
            });
            let Some((pool, from, until)) = inside.next() else {
                return Err(OperationError::InNoPool { span: *span });
            };
            let range = self.schema.between("leases", pool, from, until);
            for (place, lease, _) in self.all::<LeaseRow>(&range)? {
                if let Place::Lease { pool, ordinal } = place
                    && !row.is_for(lease.pod.as_ref(), &lease.labels)
                {
                    standing.push(Standing {
                        pool,
                        ordinal,
                        lease,
                    });
                }
            }
        }
        Ok(standing)
    }
}
