//! Why a node is not given up, or not all of what it had.

use crate::cluster::name::NodeId;
use crate::cluster::operations::{Reason, StoreTrouble};

/// Why a node is not given up.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LostError {
    /// It says so of itself.
    #[error(
        "node {node} is the one that is asked, and lives; say that it is lost on another node, after it was switched off"
    )]
    Own {
        /// Its id.
        node: NodeId,
    },
    /// It never registered.
    #[error("no node {node} is registered; look at the list of nodes")]
    Missing {
        /// Its id.
        node: NodeId,
    },
    /// What is said is too long.
    #[error("the statement has {bytes} bytes, 4096 at most; say it in fewer words")]
    Statement {
        /// Its length.
        bytes: usize,
    },
    /// The fence could not be written.
    #[error(transparent)]
    Store(#[from] StoreTrouble),
    /// It is fenced, but something is left.
    #[error(
        "node {name} is fenced, and {leases} of its leases and {blocks} of its blocks were given up now, but not all; say again that it is lost to go on"
    )]
    Interrupted {
        /// What it is called.
        name: String,
        /// Leases ended by now.
        leases: u64,
        /// Blocks given up by now.
        blocks: u64,
        /// Why.
        #[source]
        source: Box<StoreTrouble>,
    },
}

impl LostError {
    /// What kind of reason it is.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Own { .. } | Self::Statement { .. } => Reason::Invalid,
            Self::Missing { .. } => Reason::NotFound,
            Self::Store(trouble) => trouble.reason(),
            Self::Interrupted { source, .. } => source.reason(),
        }
    }
}
