//! Pools: added, changed, removed. `decide` says what may be, this reads and writes.

mod decide;
mod error;

use bulkhead_model::Prefix;
use decide::{Changed, Used};
pub use error::{Overlap, PoolAddError, PoolRemoveError, PoolSetError};

use super::commit::{Decision, Draft, Earlier, ROUNDS, Settled};
use super::names::NodeNames;
use super::{Operations, Operator, StoreTrouble};
use crate::cluster::kv::{Compare, Revision, Txn, Write};
use crate::cluster::name::PoolName;
use crate::cluster::schema::{
    KeptRow, LabelSelector, NamePattern, Place, PoolRow, PoolState, Schema, StickyRow, encode,
};
use crate::span::Span;

/// What becomes different about a pool; what is not given stays.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PoolChange {
    /// Another prefix with the same first address; any other only while the pool has no blocks.
    pub v4: Option<Prefix>,
    /// As `v4`.
    pub v6: Option<Prefix>,
    /// For blocks claimed from now on.
    pub block_bits: Option<u8>,
    /// The nodes that may claim blocks.
    pub nodes: Option<LabelSelector>,
    /// The namespaces that it is for.
    pub namespaces: Option<Vec<NamePattern>>,
    /// More that is never given out; what is leased there stays.
    pub reserve: Vec<Span>,
    /// What is given out again: spans as they were reserved.
    pub unreserve: Vec<Span>,
    /// See [`PoolRow::priority`].
    pub priority: Option<i32>,
    /// See [`PoolRow::cooldown_secs`].
    pub cooldown_secs: Option<u64>,
    /// See [`PoolRow::cooldown_max_secs`].
    pub cooldown_max_secs: Option<u64>,
    /// See [`PoolRow::strict`].
    pub strict: Option<bool>,
    /// See [`PoolRow::state`].
    pub state: Option<PoolState>,
}

impl PoolChange {
    /// To be in a state.
    #[must_use]
    pub fn to(state: PoolState) -> Self {
        Self {
            state: Some(state),
            ..Self::default()
        }
    }

    /// Whether it depends on what is in use.
    const fn lays_out(&self) -> bool {
        self.v4.is_some() || self.v6.is_some() || !self.reserve.is_empty()
    }
}

impl Operations<'_> {
    /// Adds a pool. Done again, it does nothing if the pool is there as it should be only after an answer
    /// that did not come.
    ///
    /// # Errors
    /// [`PoolAddError`].
    pub fn pool_add(
        &self,
        operator: &Operator,
        name: &PoolName,
        row: &PoolRow,
    ) -> Result<(), PoolAddError> {
        self.change(operator, |earlier| {
            let pools = self.pools_now()?;
            let audit = self.schema.of_pool("audit", name);
            let audited = self.store.range(&audit, 1).map_err(StoreTrouble::from)?;
            let mut row = row.clone();
            if !audited.rows.is_empty() {
                row.laid_out_at_unix_ms = operator.at_unix_ms;
            }
            if earlier == Earlier::Perhaps
                && pools.get(name).is_some_and(|(there, _)| *there == row)
            {
                return Ok(Decision::Stands(()));
            }
            decide::add(name, &row, &pools)?;
            let key = self.schema.key(&Place::Pool(name.clone()));
            let draft = Draft {
                what: format!("pool {name} added"),
                when: vec![Compare::Absent(key.clone())],
                writes: vec![Write::Put(key, encode(&row))],
            };
            Ok(Decision::Write(draft, ()))
        })
    }

    /// Changes a pool. The result is what the operator should know, a sentence each.
    ///
    /// # Errors
    /// [`PoolSetError`].
    pub fn pool_set(
        &self,
        operator: &Operator,
        name: &PoolName,
        change: &PoolChange,
    ) -> Result<Vec<String>, PoolSetError> {
        let mut earlier_notes = Vec::new();
        self.change(operator, |earlier| {
            let pools = self.pools_now()?;
            let (before, revision) = pools.get(name).ok_or_else(|| PoolSetError::Missing {
                pool: name.clone(),
                pools: decide::known(&pools),
            })?;
            let used = self.used(name, before, change)?;
            let changed = decide::set(name, before, change, &used, &pools)?;
            let Changed { mut row, when, .. } = changed;
            if row == *before {
                let notes = match earlier {
                    Earlier::Perhaps => std::mem::take(&mut earlier_notes),
                    Earlier::Nothing => vec![format!("pool {name} is so already")],
                };
                return Ok(Decision::Stands(notes));
            }
            if changed.moved {
                row.laid_out_at_unix_ms = operator.at_unix_ms;
            }
            earlier_notes.clone_from(&changed.notes);
            let key = self.schema.key(&Place::Pool(name.clone()));
            let mut draft = Draft {
                what: format!("pool {name} changed"),
                when: vec![Compare::Modified(key.clone(), *revision)],
                writes: vec![Write::Put(key, encode(&row))],
            };
            draft.when.extend(
                when.into_iter()
                    .map(|rule| rule.compare(self.schema, name, &used)),
            );
            Ok(Decision::Write(draft, changed.notes))
        })
    }

    /// Removes a pool that has no blocks, and what is kept for names in it. Its audit stays.
    ///
    /// # Errors
    /// [`PoolRemoveError`].
    pub fn pool_remove(&self, operator: &Operator, name: &PoolName) -> Result<(), PoolRemoveError> {
        let pool = Place::Pool(name.clone());
        self.change(operator, |earlier| {
            for _ in 0..ROUNDS {
                let (row, revision) = self.one::<PoolRow>(&pool)?;
                let Some(row) = row else {
                    return match earlier {
                        Earlier::Perhaps => Ok(Decision::Stands(())),
                        Earlier::Nothing => Err(PoolRemoveError::Missing {
                            pool: name.clone(),
                            pools: decide::known(&self.pools_now()?),
                        }),
                    };
                };
                decide::remove(name, &row, &self.used_all(name)?)?;
                let key = self.schema.key(&pool);
                let mut when = vec![Compare::Modified(key.clone(), revision)];
                when.extend(
                    ["blocks", "leases"]
                        .map(|kind| Compare::NoneIn(self.schema.of_pool(kind, name))),
                );
                if self.forget_kept(name, &when)? == Kept::Some {
                    continue;
                }
                when.push(Compare::NoneIn(self.schema.of_pool("kept", name)));
                let draft = Draft {
                    what: format!("pool {name} removed"),
                    when,
                    writes: vec![Write::Delete(key)],
                };
                return Ok(Decision::Write(draft, ()));
            }
            Err(self.contended().into())
        })
    }

    /// Forgets the ordinals of a pool that are kept for names, while `when` holds.
    fn forget_kept(&self, name: &PoolName, when: &[Compare]) -> Result<Kept, StoreTrouble> {
        // Two writes for each, and a condition for each of them beside those given and the store's.
        const AT_ONCE: usize = (Txn::MOST_WRITES - 8) / 2;
        let range = self.schema.of_pool("kept", name);
        let kept = self.store.range(&range, AT_ONCE)?;
        let Some(first) = kept.rows.first() else {
            return Ok(Kept::None);
        };
        let mut txn = Txn {
            when: when.to_vec(),
            writes: Vec::new(),
        };
        txn.when.push(self.open()?);
        for row in &kept.rows {
            txn.when
                .push(Compare::Modified(row.key.clone(), row.modified));
            txn.writes.push(Write::Delete(row.key.clone()));
            let (place, value) = self.schema.read::<KeptRow>(row)?;
            let sticky = Place::Sticky(value.sticky);
            let (of, revision) = self.one::<StickyRow>(&sticky)?;
            let same = of.is_some_and(|of| place == kept_place(&of));
            if same {
                let key = self.schema.key(&sticky);
                txn.when.push(Compare::Modified(key.clone(), revision));
                txn.writes.push(Write::Delete(key));
            }
        }
        // Whatever became of it: the caller looks again.
        let _: Settled = self.settle(&txn, &first.key)?;
        Ok(Kept::Some)
    }

    /// What is in use of a pool, as far as a change depends on it.
    fn used(
        &self,
        name: &PoolName,
        before: &PoolRow,
        change: &PoolChange,
    ) -> Result<Used, StoreTrouble> {
        if change.lays_out() {
            return self.used_all(name);
        }
        let leaves = change.state.is_some_and(|to| to != before.state);
        if !leaves {
            return Ok(Used::default());
        }
        Ok(Used {
            blocks: self.blocks_in(&self.schema.of_pool("blocks", name))?,
            ..Used::default()
        })
    }

    fn used_all(&self, name: &PoolName) -> Result<Used, StoreTrouble> {
        let blocks = self.blocks_in(&self.schema.of_pool("blocks", name))?;
        let leases = self.leases_in(&self.schema.of_pool("leases", name))?;
        let idle = blocks.is_empty() && leases.is_empty();
        Ok(Used {
            blocks,
            leases,
            names: if idle {
                NodeNames::default()
            } else {
                self.node_names()?
            },
        })
    }
}

/// Whether anything was kept.
#[derive(Eq, PartialEq)]
enum Kept {
    Some,
    None,
}

fn kept_place(sticky: &StickyRow) -> Place {
    Place::Kept {
        pool: sticky.pool.clone(),
        ordinal: sticky.ordinal,
    }
}

impl decide::Rule {
    /// The rule as a condition of a transaction.
    fn compare(&self, schema: &Schema, pool: &PoolName, used: &Used) -> Compare {
        match *self {
            Self::NoBlocks => Compare::NoneIn(schema.of_pool("blocks", pool)),
            Self::NoLeases => Compare::NoneIn(schema.of_pool("leases", pool)),
            Self::NoBlocksFrom(ordinal) => {
                Compare::NoneIn(schema.between("blocks", pool, ordinal, u64::MAX))
            }
            Self::FirstBlockAsIs => {
                let first = used.blocks.iter().find(|owned| owned.block.first() == 0);
                let revision = first.map_or(Revision(0), |owned| owned.revision);
                let place = Place::Block {
                    pool: pool.clone(),
                    first: 0,
                };
                Compare::Modified(schema.key(&place), revision)
            }
        }
    }
}
