//! Why a store is not moved, or not to its end.

use crate::cluster::operations::fill::FillTrouble;
use crate::cluster::operations::{Reason, StoreTrouble};

/// Why a store is not moved.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MigrateError {
    /// There is nothing to move.
    #[error("{from} is of no cluster yet; configure {to} on every node, there is nothing to move")]
    Nothing {
        /// Which store.
        from: String,
        /// Where to.
        to: String,
    },
    /// It is on its way elsewhere.
    #[error(
        "the rows of {from} are on their way to {found}; do that migration to its end, or cancel it"
    )]
    Elsewhere {
        /// Which store.
        from: String,
        /// Where they go.
        found: String,
    },
    /// It has gone elsewhere.
    #[error("the rows of {from} are in {found}; move them from there")]
    Gone {
        /// Which store.
        from: String,
        /// Where they are.
        found: String,
    },
    /// Another cluster is there, or the same one in use.
    #[error("{to} is of cluster {found} already; name an empty store or prefix")]
    Occupied {
        /// Which store.
        to: String,
        /// Its cluster.
        found: String,
    },
    /// It is being filled from something else.
    #[error("{to} is being filled from {found}; finish that, or name an empty store or prefix")]
    Filling {
        /// Which store.
        to: String,
        /// From what.
        found: String,
    },
    /// Something else is there.
    #[error("{to} has {what}; name an empty store or prefix")]
    Differs {
        /// Which store.
        to: String,
        /// What it has.
        what: String,
    },
    /// The rows should be there and are not.
    #[error(
        "the rows of {from} went to {to}, which has nothing; name the store that they went to, or put a backup back"
    )]
    Vanished {
        /// Which store.
        from: String,
        /// Where they should be.
        to: String,
    },
    /// A store.
    #[error(transparent)]
    Store(#[from] StoreTrouble),
    /// It began and did not end.
    #[error(
        "{copied} rows are copied, and nodes write neither to {from} nor to {to} meanwhile; do the migration again to go on, or cancel it"
    )]
    Interrupted {
        /// Which store.
        from: String,
        /// Where to.
        to: String,
        /// Rows copied now.
        copied: u64,
        /// Why.
        #[source]
        source: Box<MigrateError>,
    },
    /// It is over already.
    #[error("the rows of {from} are in {to} already, so that nothing can be cancelled")]
    Over {
        /// Which store.
        from: String,
        /// Where they are.
        to: String,
    },
}

impl MigrateError {
    /// What kind of reason it is.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Nothing { .. } => Reason::NotFound,
            Self::Store(trouble) => trouble.reason(),
            Self::Interrupted { source, .. } => source.reason(),
            _ => Reason::Conflict,
        }
    }

    pub(super) fn of(to: String, trouble: FillTrouble) -> Self {
        match trouble {
            FillTrouble::Store(trouble) => Self::Store(trouble),
            FillTrouble::Obstacle(what) => Self::Differs { to, what },
        }
    }
}
