//! Moving a cluster from one store to another, without a moment in which both, or a half of one, are in
//! use. `decide` says what comes next; done again after an interruption, it goes on there.

mod decide;
mod error;

use decide::{Names, Stage};
pub use error::MigrateError;

use super::commit::ROUNDS;
use super::fill::Comparison;
use super::lost::Watcher;
use super::{Operations, StoreTrouble};
use crate::cluster::kv::{Compare, Key, KvError, Revision, Row, Txn, Write};
use crate::cluster::schema::{MetaRow, MetaState, Place};

/// A move from one store to another.
#[derive(Clone, Copy)]
pub struct Migration<'a> {
    from: Operations<'a>,
    to: Operations<'a>,
}

/// What a migration would do.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MigratePreview {
    /// Rows to copy.
    pub rows: u64,
    /// Rows that are there from an earlier attempt.
    pub same: u64,
    /// What stands in the way, a sentence each.
    pub obstacles: Vec<String>,
}

/// What became of a migration.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MigrateReport {
    /// Rows copied now.
    pub copied: u64,
    /// Rows that were there from an earlier attempt.
    pub same: u64,
}

/// The two stores' own rows.
struct Metas {
    old: Option<MetaRow>,
    old_revision: Revision,
    new: Option<MetaRow>,
    new_revision: Revision,
}

impl Metas {
    fn cluster(&self) -> &MetaRow {
        let old = self.old.as_ref();
        old.expect("nothing is moved of a store that is of no cluster")
    }
}

impl<'a> Migration<'a> {
    /// A move of all rows of `from`.
    #[must_use]
    pub const fn new(from: Operations<'a>, to: Operations<'a>) -> Self {
        Self { from, to }
    }

    /// What it would do, and what stands in the way. Writes nothing.
    ///
    /// # Errors
    /// Only of the stores.
    pub fn preview(&self) -> Result<MigratePreview, StoreTrouble> {
        let metas = self.metas()?;
        let mut preview = MigratePreview::default();
        let stage = decide::stage(&self.names(), metas.old.as_ref(), metas.new.as_ref());
        if let Err(obstacle) = &stage {
            preview.obstacles.push(obstacle.to_string());
        }
        if metas.old.is_some() {
            let found = self.comparison()?;
            preview.rows = u64::try_from(found.missing.len()).expect("it is in memory");
            preview.same = found.same;
            if stage.is_ok() {
                let obstacle = found.obstacle().map(|what| self.differs(what).to_string());
                preview.obstacles.extend(obstacle);
            }
        }
        Ok(preview)
    }

    /// Moves all rows, and compares them, before the new store may be used. Done again after an
    /// interruption, it goes on; after the end, it does nothing.
    ///
    /// # Errors
    /// [`MigrateError`]; after `Interrupted` nodes write to neither store.
    pub fn run(&self, watcher: Watcher<'_>) -> Result<MigrateReport, MigrateError> {
        let mut report = MigrateReport::default();
        for _ in 0..ROUNDS {
            let metas = self.metas()?;
            let closed = metas
                .old
                .as_ref()
                .is_some_and(|old| old.state != MetaState::Active);
            let stage = decide::stage(&self.names(), metas.old.as_ref(), metas.new.as_ref())?;
            let done = self.step(stage, &metas, &mut report, watcher);
            match done {
                Ok(()) if stage == Stage::Over => return Ok(report),
                Ok(()) => {}
                Err(error) if closed => return Err(self.interrupted(report.copied, error)),
                Err(error) => return Err(error),
            }
        }
        Err(self.from.contended().into())
    }

    /// Opens the old store again and empties the new one.
    ///
    /// # Errors
    /// [`MigrateError`]; `Over` once the old store has handed over.
    pub fn cancel(&self) -> Result<(), MigrateError> {
        for _ in 0..ROUNDS {
            let metas = self.metas()?;
            let Names { from, to } = self.names();
            let Some(old) = metas.old else {
                return Err(MigrateError::Nothing { from, to });
            };
            match old.state {
                MetaState::Active => return self.empty(&old.cluster),
                MetaState::Moving => {}
                MetaState::Moved => return Err(MigrateError::Over { from, to: old.to }),
                MetaState::Filling => {
                    return Err(MigrateError::Filling {
                        to: from,
                        found: old.from,
                    });
                }
            }
            let open = MetaRow {
                state: MetaState::Active,
                to: String::new(),
                ..old
            };
            self.from
                .set_meta(metas.old_revision, &open, None)
                .map_err(StoreTrouble::from)?;
        }
        Err(self.from.contended().into())
    }

    fn names(&self) -> Names {
        Names {
            from: self.from.store.describe(),
            to: self.to.store.describe(),
        }
    }

    fn metas(&self) -> Result<Metas, StoreTrouble> {
        let (old, old_revision) = self.from.meta()?;
        let (new, new_revision) = self.to.meta()?;
        Ok(Metas {
            old,
            old_revision,
            new,
            new_revision,
        })
    }

    /// What the new store has of the old one's rows.
    fn comparison(&self) -> Result<Comparison, KvError> {
        self.to.compare(&self.from.all_stored()?)
    }

    fn differs(&self, what: String) -> MigrateError {
        MigrateError::Differs {
            to: self.to.store.describe(),
            what,
        }
    }

    fn interrupted(&self, copied: u64, error: MigrateError) -> MigrateError {
        let Names { from, to } = self.names();
        MigrateError::Interrupted {
            from,
            to,
            copied,
            source: Box::new(error),
        }
    }

    /// Does one stage. A lost race does nothing: what comes next is looked at anew.
    fn step(
        &self,
        stage: Stage,
        metas: &Metas,
        report: &mut MigrateReport,
        watcher: Watcher<'_>,
    ) -> Result<(), MigrateError> {
        match stage {
            Stage::Over => Ok(()),
            Stage::Close => {
                self.nothing_else()?;
                self.set_old(metas, MetaState::Moving)
            }
            Stage::Claim => self.claim(metas),
            Stage::Copy => {
                let rows = self.from.all_stored().map_err(StoreTrouble::from)?;
                let filled = self.to.fill_all(&rows, &mut report.copied, watcher);
                let name = || self.to.store.describe();
                report.same = filled
                    .map_err(|trouble| MigrateError::of(name(), trouble))?
                    .same;
                self.set_old(metas, MetaState::Moved)
            }
            Stage::Open => {
                let open = MetaRow {
                    state: MetaState::Active,
                    to: String::new(),
                    from: String::new(),
                    ..metas.cluster().clone()
                };
                self.set_new(metas, &open, None)
            }
        }
    }

    fn claim(&self, metas: &Metas) -> Result<(), MigrateError> {
        let found = self.nothing_else()?;
        let cluster = metas.cluster().clone();
        let filling = MetaRow {
            state: MetaState::Filling,
            from: decide::label(&cluster.cluster),
            to: String::new(),
            ..cluster
        };
        let empty = found.same == 0 && found.left.is_empty();
        let everything = self.to.schema.everything();
        let when = empty.then_some(Compare::NoneIn(everything));
        self.set_new(metas, &filling, when)
    }

    /// What the new store has of the old one's rows, if it has nothing else.
    fn nothing_else(&self) -> Result<Comparison, MigrateError> {
        let found = self.comparison().map_err(StoreTrouble::from)?;
        match found.obstacle() {
            Some(what) => Err(self.differs(what)),
            None => Ok(found),
        }
    }

    fn set_old(&self, metas: &Metas, state: MetaState) -> Result<(), MigrateError> {
        let meta = MetaRow {
            state,
            to: self.to.store.describe(),
            ..metas.cluster().clone()
        };
        let set = self.from.set_meta(metas.old_revision, &meta, None);
        set.map(|_| ())
            .map_err(|error| StoreTrouble::from(error).into())
    }

    fn set_new(
        &self,
        metas: &Metas,
        meta: &MetaRow,
        when: Option<Compare>,
    ) -> Result<(), MigrateError> {
        let set = self.to.set_meta(metas.new_revision, meta, when);
        set.map(|_| ())
            .map_err(|error| StoreTrouble::from(error).into())
    }

    /// Removes what a cancelled migration copied; nothing if the new store is not of one.
    fn empty(&self, cluster: &str) -> Result<(), MigrateError> {
        let own = self.to.schema.key(&Place::Meta);
        for _ in 0..ROUNDS {
            let (meta, revision) = self.to.meta()?;
            let ours = meta.is_some_and(|meta| {
                meta.state == MetaState::Filling && meta.from == decide::label(cluster)
            });
            if !ours {
                return Ok(());
            }
            let rows = self
                .to
                .all(&self.to.schema.everything())
                .map_err(StoreTrouble::from)?;
            let mut rows: Vec<Row> = rows.into_iter().filter(|row| row.key != own).collect();
            rows.reverse();
            for some in rows.chunks(Txn::MOST_WRITES) {
                let deletes = some.iter().map(|row| Write::Delete(row.key.clone()));
                self.delete(&own, revision, Vec::new(), deletes.collect())?;
            }
            // The row that says whose they are goes last.
            let alone = self.to.schema.everything_but(&own);
            let alone = alone.map(Compare::NoneIn).to_vec();
            self.delete(&own, revision, alone, vec![Write::Delete(own.clone())])?;
        }
        Err(self.to.contended().into())
    }

    /// Deletes while the store's own row is as it was; whether it was made is looked at by the caller.
    fn delete(
        &self,
        own: &Key,
        revision: Revision,
        mut when: Vec<Compare>,
        writes: Vec<Write>,
    ) -> Result<(), StoreTrouble> {
        when.push(Compare::Modified(own.clone(), revision));
        match self.to.store.commit(&Txn { when, writes }) {
            Ok(_) | Err(KvError::Ambiguous { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
