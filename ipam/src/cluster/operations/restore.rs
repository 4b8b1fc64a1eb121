//! Putting a backup back: into a store that has nothing, or nothing but what the backup has too.

use super::backup::Backup;
use super::commit::ROUNDS;
use super::fill::FillTrouble;
use super::lost::Watcher;
use super::{Operations, Reason, StoreTrouble};
use crate::cluster::kv::{Compare, KvError, Revision};
use crate::cluster::schema::{MetaRow, MetaState};

/// What became of a backup that was put back.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RestoreReport {
    /// Rows written now.
    pub written: u64,
    /// Rows that were there already.
    pub same: u64,
    /// Keys of rows that decide nothing, were there with another value, and were left.
    pub left: Vec<String>,
}

/// Why a backup is not put back.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RestoreError {
    /// The store is another cluster's.
    #[error(
        "{store} is of cluster {found}, and the backup is of cluster {cluster}; name an empty store or prefix"
    )]
    OtherCluster {
        /// Which store.
        store: String,
        /// Its cluster.
        found: String,
        /// The backup's.
        cluster: String,
    },
    /// The store has what the backup has not.
    #[error(
        "{store} has {what}; a backup is put only where nothing else is: name an empty store or prefix"
    )]
    Occupied {
        /// Which store.
        store: String,
        /// What it has.
        what: String,
    },
    /// The rows had left the store that was backed up.
    #[error(
        "the backup is of a store whose rows had gone to {to}; put a backup of that store back"
    )]
    Moved {
        /// Where to.
        to: String,
    },
    /// It began and did not end.
    #[error(
        "{written} rows are written, and nobody may use {store} before all are; put the same backup back again to go on"
    )]
    Interrupted {
        /// Which store.
        store: String,
        /// Rows written now.
        written: u64,
        /// Why.
        #[source]
        source: Box<StoreTrouble>,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreTrouble),
}

impl RestoreError {
    /// What kind of reason it is.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::OtherCluster { .. } | Self::Occupied { .. } | Self::Moved { .. } => {
                Reason::Conflict
            }
            Self::Interrupted { source, .. } => source.reason(),
            Self::Store(trouble) => trouble.reason(),
        }
    }
}

impl From<KvError> for RestoreError {
    fn from(error: KvError) -> Self {
        Self::Store(error.into())
    }
}

impl Operations<'_> {
    /// Puts a backup back, and checks that all of it is there before anybody may use it. Done again
    /// after an interruption, it goes on.
    ///
    /// # Errors
    /// [`RestoreError`]; after `Interrupted` the store is closed to everybody.
    pub fn restore(
        &self,
        backup: &Backup,
        watcher: Watcher<'_>,
    ) -> Result<RestoreReport, RestoreError> {
        if backup.meta().state == MetaState::Moved {
            return Err(RestoreError::Moved {
                to: backup.meta().to.clone(),
            });
        }
        let filling = self.begin_restore(backup)?;
        let mut report = RestoreReport::default();
        let result = self.go_on_restoring(backup, filling, &mut report, watcher);
        result.map_err(|trouble| match trouble {
            FillTrouble::Store(source) => RestoreError::Interrupted {
                store: self.store.describe(),
                written: report.written,
                source: Box::new(source),
            },
            FillTrouble::Obstacle(what) => RestoreError::Occupied {
                store: self.store.describe(),
                what,
            },
        })?;
        Ok(report)
    }

    /// Closes the store, if it may be filled.
    fn begin_restore(&self, backup: &Backup) -> Result<Revision, RestoreError> {
        let filling = MetaRow {
            cluster: backup.head().cluster.clone(),
            created_at_unix_ms: backup.meta().created_at_unix_ms,
            state: MetaState::Filling,
            from: backup.label(),
            to: String::new(),
        };
        for _ in 0..ROUNDS {
            let (meta, revision) = self.meta()?;
            if let Some(meta) = &meta {
                self.may_fill(meta, &filling)?;
            }
            let found = self.compare(backup.rows())?;
            if let Some(what) = found.obstacle() {
                return Err(RestoreError::Occupied {
                    store: self.store.describe(),
                    what,
                });
            }
            if meta.as_ref() == Some(&filling) {
                return Ok(revision);
            }
            let empty = found.same == 0 && found.left.is_empty();
            let everything = self.schema.everything();
            let when = (meta.is_none() && empty).then_some(Compare::NoneIn(everything));
            if self.set_meta(revision, &filling, when)? {
                return Ok(self.meta()?.1);
            }
        }
        Err(self.contended().into())
    }

    fn may_fill(&self, meta: &MetaRow, filling: &MetaRow) -> Result<(), RestoreError> {
        let closed = StoreTrouble::closed(&self.store.describe(), meta);
        match closed {
            Some(trouble) if meta != filling => Err(trouble.into()),
            None if meta.cluster != filling.cluster => Err(RestoreError::OtherCluster {
                store: self.store.describe(),
                found: meta.cluster.clone(),
                cluster: filling.cluster.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn go_on_restoring(
        &self,
        backup: &Backup,
        filling: Revision,
        report: &mut RestoreReport,
        watcher: Watcher<'_>,
    ) -> Result<(), FillTrouble> {
        let found = self.fill_all(backup.rows(), &mut report.written, watcher)?;
        (report.same, report.left) = (found.same, found.left);
        let open = MetaRow {
            state: MetaState::Active,
            to: String::new(),
            from: String::new(),
            ..backup.meta().clone()
        };
        let opened = self.set_meta(filling, &open, None)? || self.meta()?.0.as_ref() == Some(&open);
        opened.then_some(()).ok_or(self.contended().into())
    }
}
