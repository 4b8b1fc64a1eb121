//! Putting rows back where there are none. Done again after an interruption, it goes on where it was.

use std::collections::BTreeMap;

use super::{OperationError, Operator, Plan, StoredRow};
use crate::cluster::geometry::Block;
use crate::cluster::kv::{Compare, Key, Revision, Row, Txn, Write};
use crate::cluster::name::PoolName;
use crate::cluster::schema::{MetaRow, MetaState, Place, decode, encode};

/// What became of rows that were put back.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Restored {
    /// Written.
    pub written: u64,
    /// There already, with the same value.
    pub same: u64,
    /// There with another value, and left: their keys.
    pub differing: Vec<String>,
}

/// A row to be put back.
struct Kept {
    key: Key,
    place: Place,
    value: Vec<u8>,
}

impl Operator<'_> {
    /// Puts a cluster's rows back. Into an empty store all of them; into the cluster's own store those
    /// that it has lost, but for leases and asks, which the nodes publish themselves.
    ///
    /// # Errors
    /// `Backup` if a row is none, `OtherCluster`, `BlockOverlap`, and those of the store. Rows that were
    /// written until then stay, and nodes write nothing to a store that was empty until all are.
    pub fn restore(
        &self,
        cluster: &str,
        rows: &[StoredRow],
        mut progress: impl FnMut(&Restored),
    ) -> Result<Restored, OperationError> {
        let filling = self.begin_filling(cluster)?;
        let restored = self.fill(rows, filling, &mut progress)?;
        if filling {
            self.set_meta(MetaState::Filling, MetaState::Active, "")?;
        }
        Ok(restored)
    }

    /// Writes the rows that are not there. `filling`: nobody else writes to the store.
    pub(super) fn fill(
        &self,
        rows: &[StoredRow],
        filling: bool,
        progress: &mut impl FnMut(&Restored),
    ) -> Result<Restored, OperationError> {
        let rows = self.understood(rows)?;
        let there = self.range(&self.schema.everything())?.rows;
        let there: BTreeMap<&Key, &Row> = there.iter().map(|row| (&row.key, row)).collect();
        self.check_blocks(&rows, &there)?;
        let mut restored = Restored::default();
        let mut missing = Vec::new();
        for row in &rows {
            let own = matches!(row.place, Place::Meta | Place::Live(_));
            let published = matches!(row.place, Place::Lease { .. } | Place::Ask(_));
            match there.get(&row.key) {
                _ if own => {}
                Some(found) if found.value == row.value => restored.same += 1,
                Some(_) => restored.differing.push(row.key.to_string()),
                None if published && !filling => {}
                None => missing.push(row),
            }
        }
        for part in missing.chunks(Txn::MOST_WRITES - 2) {
            self.put_back(part)?;
            restored.written += part.len() as u64;
            progress(&restored);
        }
        Ok(restored)
    }

    /// The rows, if each is one.
    fn understood(&self, rows: &[StoredRow]) -> Result<Vec<Kept>, OperationError> {
        let mut kept = Vec::with_capacity(rows.len());
        for (line, row) in (2..).zip(rows) {
            let wrong = |what: String| OperationError::Backup { line, what };
            let unknown = || wrong(format!("{} is no row's key", row.key));
            let key = self.above(&row.key).ok_or_else(unknown)?;
            let place = self.schema.place(&key).ok_or_else(unknown)?;
            check_value(&place, &key, row.value.as_bytes())
                .map_err(|error| wrong(error.to_string()))?;
            kept.push(Kept {
                key,
                place,
                value: row.value.clone().into_bytes(),
            });
        }
        Ok(kept)
    }

    /// Whether the store is being filled: it was empty, or an earlier attempt was interrupted.
    pub(super) fn begin_filling(&self, cluster: &str) -> Result<bool, OperationError> {
        self.settle("the store", || {
            let key = self.key(&Place::Meta);
            match self.one::<MetaRow>(&Place::Meta)? {
                Some((_, meta)) if meta.cluster != cluster => Err(OperationError::OtherCluster {
                    rows: cluster.to_owned(),
                    store: self.store.describe(),
                    found: meta.cluster,
                }),
                Some((_, meta)) => match meta.state {
                    MetaState::Filling => Ok(Plan::Done(true)),
                    MetaState::Active => Ok(Plan::Done(false)),
                    MetaState::Moving | MetaState::Moved => Err(OperationError::NotActive {
                        store: self.store.describe(),
                        state: super::state_text(&meta),
                    }),
                },
                None => {
                    let row = MetaRow {
                        cluster: cluster.to_owned(),
                        created_at_unix_ms: self.now_unix_ms,
                        state: MetaState::Filling,
                        to: String::new(),
                    };
                    let txn = Txn {
                        when: vec![Compare::Absent(key.clone())],
                        writes: vec![Write::Put(key, encode(&row))],
                    };
                    Ok(Plan::Commit(txn, true))
                }
            }
        })
    }

    /// Makes the store's own row say another state.
    pub(super) fn set_meta(
        &self,
        from: MetaState,
        state: MetaState,
        to: &str,
    ) -> Result<(), OperationError> {
        self.settle("the store", || {
            let found = self.one::<MetaRow>(&Place::Meta)?;
            let Some((revision, meta)) = found else {
                return Ok(Plan::Done(()));
            };
            if meta.state == state {
                return Ok(Plan::Done(()));
            }
            if meta.state != from {
                return Err(OperationError::NotActive {
                    store: self.store.describe(),
                    state: super::state_text(&meta),
                });
            }
            let key = self.key(&Place::Meta);
            let row = MetaRow {
                state,
                to: to.to_owned(),
                ..meta
            };
            let txn = Txn {
                when: vec![Compare::Modified(key.clone(), revision)],
                writes: vec![Write::Put(key, encode(&row))],
            };
            Ok(Plan::Commit(txn, ()))
        })
    }

    /// That no block of the rows overlaps one that is there and is not the same.
    fn check_blocks(
        &self,
        rows: &[Kept],
        there: &BTreeMap<&Key, &Row>,
    ) -> Result<(), OperationError> {
        let mut found = Vec::new();
        for raw in there.values() {
            if let Some(Place::Block { .. }) = self.schema.place(&raw.key) {
                found.push((self.schema.read_block(raw)?, *raw));
            }
        }
        for row in rows {
            let Some((pool, block)) = self.block_of(row)? else {
                continue;
            };
            let overlaps = found.iter().find(|((of, other, _), raw)| {
                *of == pool && other.overlaps(block) && raw.key != row.key
            });
            if let Some(((_, _, other), _)) = overlaps {
                return Err(OperationError::BlockOverlap {
                    key: row.key.to_string(),
                    node: other.node.clone(),
                });
            }
        }
        Ok(())
    }

    fn block_of(&self, row: &Kept) -> Result<Option<(PoolName, Block)>, OperationError> {
        if !matches!(row.place, Place::Block { .. }) {
            return Ok(None);
        }
        let raw = Row {
            key: row.key.clone(),
            value: row.value.clone(),
            created: Revision(0),
            modified: Revision(0),
        };
        let (pool, block, _) = self.schema.read_block(&raw)?;
        Ok(Some((pool, block)))
    }

    /// Writes rows where there are none; one after the other if somebody was faster with any.
    fn put_back(&self, rows: &[&Kept]) -> Result<(), OperationError> {
        self.settle("a row of the backup", || {
            let meta = self.one::<MetaRow>(&Place::Meta)?;
            let revision = meta.map_or(Revision(0), |(revision, _)| revision);
            let mut txn = Txn {
                when: vec![Compare::Modified(self.key(&Place::Meta), revision)],
                writes: Vec::new(),
            };
            for row in rows {
                let one = crate::cluster::kv::KeyRange::one(&row.key);
                match self.range(&one)?.rows.first() {
                    Some(found) if found.value == row.value => {}
                    Some(_) => {
                        return Err(OperationError::Changed {
                            store: self.store.describe(),
                            key: row.key.to_string(),
                        });
                    }
                    None => {
                        txn.when.push(Compare::Absent(row.key.clone()));
                        txn.writes
                            .push(Write::Put(row.key.clone(), row.value.clone()));
                    }
                }
                if let Some((pool, block)) = self.block_of(row)? {
                    let inside = self.schema.within("blocks", &pool, block);
                    if self
                        .range(&inside)?
                        .rows
                        .iter()
                        .any(|other| other.key != row.key)
                    {
                        return Err(OperationError::Changed {
                            store: self.store.describe(),
                            key: row.key.to_string(),
                        });
                    }
                }
            }
            if txn.writes.is_empty() {
                return Ok(Plan::Done(()));
            }
            Ok(Plan::Commit(txn, ()))
        })
    }
}

/// Whether a value is what stands at such a place.
fn check_value(
    place: &Place,
    key: &Key,
    value: &[u8],
) -> Result<(), crate::cluster::schema::RowError> {
    use crate::cluster::schema as rows;
    match place {
        Place::Meta => decode::<rows::MetaRow>(key, value).map(drop),
        Place::Janitor => decode::<rows::JanitorRow>(key, value).map(drop),
        Place::Pools => decode::<rows::PoolsRow>(key, value).map(drop),
        Place::Pool(_) => decode::<rows::PoolRow>(key, value).map(drop),
        Place::Fence(_) => decode::<rows::FenceRow>(key, value).map(drop),
        Place::Node(_) => decode::<rows::NodeRow>(key, value).map(drop),
        Place::Live(_) => decode::<rows::LiveRow>(key, value).map(drop),
        Place::Block { .. } => decode::<rows::BlockRow>(key, value).map(drop),
        Place::Lease { .. } => decode::<rows::LeaseRow>(key, value).map(drop),
        Place::Kept { .. } => decode::<rows::KeptRow>(key, value).map(drop),
        Place::Ask(_) => decode::<rows::AskRow>(key, value).map(drop),
        Place::Sticky(_) => decode::<rows::StickyRow>(key, value).map(drop),
        Place::Reservation(_) => decode::<rows::ReservationRow>(key, value).map(drop),
        Place::Audit(_) => decode::<rows::AuditRow>(key, value).map(drop),
    }
}
