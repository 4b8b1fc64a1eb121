//! Why what is written about who may talk to whom is not changed.

use super::{LONGEST_DOCUMENT, MOST_BYTES, MOST_TOGETHER};
use crate::cluster::name::ObjectId;
use crate::cluster::operations::{Reason, StoreTrouble};

/// Why a change is not made.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PolicyChangeError {
    /// A transaction of the store has no room for so many.
    #[error(
        "{found} objects change together, and the store takes {MOST_TOGETHER} at most in one transaction; apply them in several files, one after another"
    )]
    Many {
        /// How many.
        found: usize,
    },
    /// An object is too long.
    #[error("{id} has {bytes} bytes, {LONGEST_DOCUMENT} at most; write it as several")]
    Large {
        /// Which.
        id: ObjectId,
        /// How long.
        bytes: usize,
    },
    /// A transaction of the store has no room for so much.
    #[error(
        "the objects that change together have {bytes} bytes, {MOST_BYTES} at most; apply them in several files, one after another"
    )]
    Much {
        /// How much.
        bytes: usize,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreTrouble),
}

impl PolicyChangeError {
    /// What kind of reason it is.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Many { .. } | Self::Large { .. } | Self::Much { .. } => Reason::Invalid,
            Self::Store(trouble) => trouble.reason(),
        }
    }
}
