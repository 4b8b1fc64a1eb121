//! Reservations: made and ended. `decide` says what may be, this reads and writes.

mod decide;
mod error;

use std::collections::BTreeMap;
use std::ops::Range;

use decide::Part;
pub use error::{ReserveError, UnreserveError};

use super::commit::{Decision, Draft, Earlier};
use super::rows::Leased;
use super::{Operations, Operator, StoreTrouble, names};
use crate::cluster::kv::{Compare, Row, Write};
use crate::cluster::name::{PoolName, ReservationName};
use crate::cluster::schema::{Beneficiary, Place, PoolRow, ReservationRow, RowError, encode};
use crate::span::Span;

/// A reservation as an operator writes it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ReservationDraft {
    /// Of which pool; none: the one that has the addresses.
    pub pool: Option<PoolName>,
    /// Each inside a pool; of a pool with two families one says both.
    pub spans: Vec<Span>,
    /// For whom; none: for nobody.
    pub beneficiary: Option<Beneficiary>,
    /// Why, for people.
    pub reason: String,
}

impl Operations<'_> {
    /// Keeps addresses. The result names the leases of others that stand there, a sentence each.
    ///
    /// # Errors
    /// [`ReserveError`].
    pub fn reserve(
        &self,
        operator: &Operator,
        name: &ReservationName,
        draft: &ReservationDraft,
    ) -> Result<Vec<String>, ReserveError> {
        let row = ReservationRow {
            pool: draft.pool.clone(),
            spans: draft.spans.clone(),
            beneficiary: draft.beneficiary.clone(),
            reason: draft.reason.clone(),
            by: operator.by.clone(),
            at_unix_ms: operator.at_unix_ms,
        };
        self.change(operator, |earlier| {
            let pools = self.pools_now()?;
            let parts = decide::parts(name, draft, &pools)?;
            let others = self.reservations_now()?;
            let there = others.iter().find(|(other, _)| other == name);
            let standing = || self.standing(&parts, &row);
            match there {
                Some((_, there)) if earlier == Earlier::Perhaps && *there == row => {
                    return Ok(Decision::Stands(standing()?));
                }
                Some((_, there)) => {
                    return Err(ReserveError::Taken {
                        name: name.clone(),
                        what: names::listed(there.spans.iter().map(Span::to_string)),
                    });
                }
                None => {}
            }
            let others = others.iter().map(|(other, row)| (other, row));
            decide::alone(name, &parts, others, &pools)?;
            let key = self.schema.key(&Place::Reservation(name.clone()));
            let draft = Draft {
                what: format!("reservation {name} made"),
                when: vec![Compare::Absent(key.clone())],
                writes: vec![Write::Put(key, encode(&row))],
            };
            Ok(Decision::Write(draft, standing()?))
        })
    }

    /// Ends a reservation.
    ///
    /// # Errors
    /// [`UnreserveError`].
    pub fn unreserve(
        &self,
        operator: &Operator,
        name: &ReservationName,
    ) -> Result<(), UnreserveError> {
        let key = self.schema.key(&Place::Reservation(name.clone()));
        self.change(operator, |earlier| {
            let there = self.row(&key).map_err(StoreTrouble::from)?;
            let Some(there) = there else {
                if earlier == Earlier::Perhaps {
                    return Ok(Decision::Stands(()));
                }
                let names = self.reservations_now()?;
                let names: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
                return Err(UnreserveError::Missing {
                    name: name.clone(),
                    names: if names.is_empty() {
                        "none".to_owned()
                    } else {
                        names.join(", ")
                    },
                });
            };
            let draft = Draft {
                what: format!("reservation {name} ended"),
                when: vec![Compare::Modified(key.clone(), there.modified)],
                writes: vec![Write::Delete(key.clone())],
            };
            Ok(Decision::Write(draft, ()))
        })
    }

    /// Every reservation.
    fn reservations_now(&self) -> Result<Vec<(ReservationName, ReservationRow)>, StoreTrouble> {
        let rows = self.all(&self.schema.kind("reservations"))?;
        let read = |row: &Row| Ok(self.reservation(row)?);
        rows.iter().map(read).collect()
    }

    pub(super) fn reservation(
        &self,
        row: &Row,
    ) -> Result<(ReservationName, ReservationRow), RowError> {
        match self.schema.read::<ReservationRow>(row)? {
            (Place::Reservation(name), value) => Ok((name, value)),
            _ => unreachable!("a reservation's row stands at a reservation's place"),
        }
    }

    /// The leases that stand in a reservation and are not whom it is for.
    fn standing(&self, parts: &[Part], row: &ReservationRow) -> Result<Vec<String>, StoreTrouble> {
        let mut standing: Vec<Leased> = Vec::new();
        for part in parts {
            let range =
                self.schema
                    .between("leases", &part.pool, part.ordinals.start, part.ordinals.end);
            standing.extend(self.leases_in(&range)?);
        }
        standing.retain(|lease| !row.is_for(lease.row.pod.as_ref(), &lease.row.labels));
        if standing.is_empty() {
            return Ok(Vec::new());
        }
        let names = self.node_names()?;
        let said = standing.iter().map(|lease| {
            let lease = names::one_lease(lease, &names);
            format!("leased already, and stays until it ends: {lease}")
        });
        Ok(said.collect())
    }
}

/// The ordinals of a reservation, by pool. What lies in no pool is left out.
pub(super) fn kept(
    row: &ReservationRow,
    pools: &BTreeMap<PoolName, PoolRow>,
) -> Vec<(PoolName, Range<u64>)> {
    let of = |span: &Span| decide::parts_of(*span, row.pool.as_ref(), pools.iter());
    let parts = row.spans.iter().flat_map(of);
    parts.map(|part| (part.pool, part.ordinals)).collect()
}
