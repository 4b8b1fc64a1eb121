//! Whether addresses can be kept. Pure.

use std::ops::Range;

use super::ReservationDraft;
use super::error::ReserveError;
use crate::cluster::name::{PoolName, ReservationName};
use crate::cluster::operations::rows::Pools;
use crate::cluster::schema::{Beneficiary, PoolRow, ReservationRow};
use crate::span::Span;

/// Ordinals of a pool.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Part {
    pub(super) pool: PoolName,
    pub(super) ordinals: Range<u64>,
    span: Span,
}

/// The ordinals that a reservation would keep.
pub(super) fn parts(
    name: &ReservationName,
    draft: &ReservationDraft,
    pools: &Pools,
) -> Result<Vec<Part>, ReserveError> {
    if draft.spans.is_empty() {
        return Err(ReserveError::Empty { name: name.clone() });
    }
    if let Some(Beneficiary::Labels(selector)) = &draft.beneficiary
        && selector.is_everything()
    {
        return Err(ReserveError::Anybody { name: name.clone() });
    }
    let found = draft.spans.iter().map(|span| {
        let mut of = parts_of(*span, draft.pool.as_ref(), rows(pools));
        match (of.pop(), of.pop()) {
            (Some(part), None) => Ok(part),
            (Some(last), Some(first)) => Err(ReserveError::Several {
                name: name.clone(),
                span: *span,
                pools: format!("{} and {}", first.pool, last.pool),
            }),
            (None, _) => Err(ReserveError::Outside {
                name: name.clone(),
                span: *span,
                pools: described(draft.pool.as_ref(), pools),
            }),
        }
    });
    found.collect()
}

/// Whether nothing of it is kept by another reservation.
pub(super) fn alone<'a>(
    name: &ReservationName,
    parts: &[Part],
    others: impl IntoIterator<Item = (&'a ReservationName, &'a ReservationRow)>,
    pools: &Pools,
) -> Result<(), ReserveError> {
    for (other, row) in others {
        let of = |span: &Span| parts_of(*span, row.pool.as_ref(), rows(pools));
        let theirs = row.spans.iter().flat_map(of);
        for theirs in theirs {
            if let Some(ours) = parts.iter().find(|ours| ours.meets(&theirs)) {
                return Err(ReserveError::Overlaps {
                    name: name.clone(),
                    span: ours.span,
                    other: other.clone(),
                    theirs: theirs.span,
                });
            }
        }
    }
    Ok(())
}

/// The pools that have all of a span, or that one if it has, and which ordinals those are.
pub(super) fn parts_of<'a>(
    span: Span,
    of: Option<&PoolName>,
    pools: impl Iterator<Item = (&'a PoolName, &'a PoolRow)>,
) -> Vec<Part> {
    let asked = pools.filter(|(pool, _)| of.is_none_or(|of| of == *pool));
    let parts = asked.filter_map(|(pool, row)| {
        let ends = (
            row.geometry.ordinal(span.first())?,
            row.geometry.ordinal(span.last())?,
        );
        Some(Part {
            pool: pool.clone(),
            ordinals: ends.0..ends.1 + 1,
            span,
        })
    });
    parts.collect()
}

fn rows(pools: &Pools) -> impl Iterator<Item = (&PoolName, &PoolRow)> {
    pools.iter().map(|(pool, (row, _))| (pool, row))
}

impl Part {
    fn meets(&self, other: &Self) -> bool {
        self.pool == other.pool
            && self.ordinals.start < other.ordinals.end
            && other.ordinals.start < self.ordinals.end
    }
}

fn described(only: Option<&PoolName>, pools: &Pools) -> String {
    let texts: Vec<String> = pools
        .iter()
        .filter(|(pool, _)| only.is_none_or(|only| only == *pool))
        .map(|(pool, (row, _))| {
            let prefixes: Vec<String> = row.geometry.prefixes().map(|p| p.to_string()).collect();
            format!("{pool} with {}", prefixes.join(" and "))
        })
        .collect();
    match (texts.is_empty(), only) {
        (true, Some(only)) => format!("there is no pool {only}"),
        (true, None) => "there is no pool".to_owned(),
        (false, _) => format!("there is {}", texts.join(", ")),
    }
}
