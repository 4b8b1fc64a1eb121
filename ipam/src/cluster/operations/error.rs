//! What keeps an operation from the store, whichever it is.

use crate::cluster::kv::KvError;
use crate::cluster::schema::{MetaRow, MetaState, RowError};

/// A kind of reason for not doing something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// What is named does not exist.
    NotFound,
    /// A name means several things.
    Ambiguous,
    /// It contradicts itself or a limit.
    Invalid,
    /// What there is stands in the way.
    Conflict,
    /// The store cannot be used now; the same may be done later.
    Unavailable,
    /// The store refuses us until somebody does something.
    Denied,
    /// A row or a file is not what it should be.
    Failed,
}

/// Why the store could not be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StoreTrouble {
    /// It gave no answer.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// A row is not understood; nothing is decided without it.
    #[error(transparent)]
    Row(#[from] RowError),
    /// It is being filled.
    #[error(
        "{store} is being filled from {from} and not complete; do that again to its end, then try again"
    )]
    Filling {
        /// Which store.
        store: String,
        /// What from.
        from: String,
    },
    /// It is being copied.
    #[error(
        "{store} is being copied to {to}; wait for the end, or do the migration again to its end"
    )]
    Moving {
        /// Which store.
        store: String,
        /// Where to.
        to: String,
    },
    /// Its rows are elsewhere.
    #[error("the rows of {store} are in {to} now; configure that store")]
    Moved {
        /// Which store.
        store: String,
        /// Where they are.
        to: String,
    },
    /// Somebody else was always faster.
    #[error("others changed {store} in the middle of each of {rounds} attempts; try again")]
    Contended {
        /// Which store.
        store: String,
        /// How often it was tried.
        rounds: usize,
    },
}

impl StoreTrouble {
    /// What kind of reason it is.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Kv(KvError::Unavailable { .. } | KvError::Ambiguous { .. })
            | Self::Filling { .. }
            | Self::Moving { .. }
            | Self::Contended { .. } => Reason::Unavailable,
            Self::Kv(KvError::Refused { .. }) => Reason::Denied,
            Self::Kv(KvError::Compacted { .. }) | Self::Row(_) => Reason::Failed,
            Self::Moved { .. } => Reason::Conflict,
        }
    }

    /// Why nobody writes to a store whose row this is; `None` if everybody may.
    pub(super) fn closed(store: &str, meta: &MetaRow) -> Option<Self> {
        let store = store.to_owned();
        match meta.state {
            MetaState::Active => None,
            MetaState::Filling => Some(Self::Filling {
                store,
                from: meta.from.clone(),
            }),
            MetaState::Moving => Some(Self::Moving {
                store,
                to: meta.to.clone(),
            }),
            MetaState::Moved => Some(Self::Moved {
                store,
                to: meta.to.clone(),
            }),
        }
    }
}
