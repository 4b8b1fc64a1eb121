//! Where a migration stands, from the two stores' own rows. Pure.
//!
//! The old store decides. Nobody writes to it from `moving` on; only once it says `moved`, which is after
//! everything was compared, may the new one become active: in between nobody writes anywhere.

use super::error::MigrateError;
use crate::cluster::schema::{MetaRow, MetaState};

/// What is to be done next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// Close the old store.
    Close,
    /// Say in the new store that it is being filled.
    Claim,
    /// Copy, compare, and hand over.
    Copy,
    /// Open the new store.
    Open,
    /// Nothing.
    Over,
}

/// The names of the two stores.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) from: String,
    pub(super) to: String,
}

/// What a store says that is filled by moving a cluster.
pub(super) fn label(cluster: &str) -> String {
    format!("another store of cluster {cluster}")
}

/// What is to be done next.
pub(super) fn stage(
    names: &Names,
    old: Option<&MetaRow>,
    new: Option<&MetaRow>,
) -> Result<Stage, MigrateError> {
    let Names { from, to } = names.clone();
    let Some(old) = old else {
        return Err(MigrateError::Nothing { from, to });
    };
    let new = Target::of(&old.cluster, new);
    match (old.state, new) {
        (MetaState::Filling, _) => Err(MigrateError::Filling {
            to: from,
            found: old.from.clone(),
        }),
        (MetaState::Moving, _) if old.to != to => Err(MigrateError::Elsewhere {
            from,
            found: old.to.clone(),
        }),
        (MetaState::Moved, _) if old.to != to => Err(MigrateError::Gone {
            from,
            found: old.to.clone(),
        }),
        (MetaState::Moved, Target::Ours) => Ok(Stage::Open),
        (MetaState::Moved, Target::Open) => Ok(Stage::Over),
        (MetaState::Moved, Target::Empty) => Err(MigrateError::Vanished { from, to }),
        (MetaState::Active, Target::Empty | Target::Ours) => Ok(Stage::Close),
        (MetaState::Moving, Target::Empty) => Ok(Stage::Claim),
        (MetaState::Moving, Target::Ours) => Ok(Stage::Copy),
        (_, Target::Open) => Err(MigrateError::Occupied {
            to,
            found: old.cluster.clone(),
        }),
        (_, Target::Other(found)) => Err(MigrateError::Occupied { to, found }),
        (_, Target::Filled(found)) => Err(MigrateError::Filling { to, found }),
    }
}

/// What the new store is.
enum Target {
    Empty,
    /// Filled by this migration.
    Ours,
    /// Filled from something else.
    Filled(String),
    /// The cluster's own, in use.
    Open,
    /// Another cluster's.
    Other(String),
}

impl Target {
    fn of(cluster: &str, new: Option<&MetaRow>) -> Self {
        match new {
            None => Self::Empty,
            Some(new) if new.state == MetaState::Filling => {
                if new.cluster == cluster && new.from == label(cluster) {
                    Self::Ours
                } else {
                    Self::Filled(new.from.clone())
                }
            }
            Some(new) if new.cluster == cluster => Self::Open,
            Some(new) => Self::Other(new.cluster.clone()),
        }
    }
}
