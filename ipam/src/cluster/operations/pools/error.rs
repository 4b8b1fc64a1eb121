//! Why a pool is not added, changed or removed.

use bulkhead_model::Prefix;

use crate::cluster::geometry::GeometryError;
use crate::cluster::name::PoolName;
use crate::cluster::operations::{Reason, StoreTrouble};
use crate::span::Span;

/// Two pools that would have the same addresses.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{ours} of pool {pool} overlaps {theirs} of pool {other}: an address is of one pool; choose another prefix, or remove {other} first"
)]
pub struct Overlap {
    /// The pool that is added or changed.
    pub pool: PoolName,
    /// Its prefix.
    pub ours: Prefix,
    /// The other pool.
    pub other: PoolName,
    /// Its prefix.
    pub theirs: Prefix,
}

/// Why a pool is not added.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PoolAddError {
    /// There is one.
    #[error(
        "pool {pool} exists already, with {prefixes}; choose another name, or change that pool"
    )]
    Taken {
        /// Its name.
        pool: PoolName,
        /// Its prefixes.
        prefixes: String,
    },
    /// Another pool has some of its addresses.
    #[error(transparent)]
    Overlaps(#[from] Box<Overlap>),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreTrouble),
}

/// Why a pool is not changed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PoolSetError {
    /// There is none.
    #[error("there is no pool {pool}; there are: {pools}")]
    Missing {
        /// Its name.
        pool: PoolName,
        /// Those that there are.
        pools: String,
    },
    /// It would be no pool.
    #[error("pool {pool} cannot be changed so")]
    Geometry {
        /// Its name.
        pool: PoolName,
        /// Why.
        #[source]
        source: Box<GeometryError>,
    },
    /// Another pool has some of its new addresses.
    #[error(transparent)]
    Overlaps(#[from] Box<Overlap>),
    /// Which addresses are of nodes follows from the size of blocks.
    #[error(
        "the size of pool {pool}'s blocks stays as it is, since the first address of each is its node's; add another pool and drain this one"
    )]
    NodeAddresses {
        /// Its name.
        pool: PoolName,
    },
    /// Its ordinals would be other addresses.
    #[error(
        "pool {pool} cannot become {to} while it has {held}: its blocks and leases count from the first address of {from}; keep the families and their first addresses, or add another pool and drain this one"
    )]
    Moves {
        /// Its name.
        pool: PoolName,
        /// Its prefixes.
        from: String,
        /// The new ones.
        to: String,
        /// What is in use.
        held: String,
    },
    /// Something would not be inside any more.
    #[error(
        "pool {pool} cannot shrink from {from} to {to}: it would leave out {held}; drain the pool or end these first, or choose a prefix around them"
    )]
    Cuts {
        /// Its name.
        pool: PoolName,
        /// Its prefixes.
        from: String,
        /// The new ones.
        to: String,
        /// What is in use.
        held: String,
    },
    /// A span is not reserved in these words.
    #[error("pool {pool} does not reserve {span}; it reserves: {reserved}")]
    NotReserved {
        /// Its name.
        pool: PoolName,
        /// The span.
        span: Span,
        /// Those that it reserves.
        reserved: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreTrouble),
}

/// Why a pool is not removed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PoolRemoveError {
    /// There is none.
    #[error("there is no pool {pool} to remove; there are: {pools}")]
    Missing {
        /// Its name.
        pool: PoolName,
        /// Those that there are.
        pools: String,
    },
    /// It is in use.
    #[error(
        "pool {pool} cannot be removed while it has {held}; drain it, and remove it when its blocks are given back"
    )]
    InUse {
        /// Its name.
        pool: PoolName,
        /// What is in use.
        held: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreTrouble),
}

impl PoolAddError {
    /// What kind of reason it is.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Taken { .. } | Self::Overlaps(_) => Reason::Conflict,
            Self::Store(trouble) => trouble.reason(),
        }
    }
}

impl PoolSetError {
    /// What kind of reason it is.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Missing { .. } => Reason::NotFound,
            Self::Geometry { .. } | Self::NotReserved { .. } => Reason::Invalid,
            Self::Overlaps(_)
            | Self::Moves { .. }
            | Self::Cuts { .. }
            | Self::NodeAddresses { .. } => Reason::Conflict,
            Self::Store(trouble) => trouble.reason(),
        }
    }
}

impl PoolRemoveError {
    /// What kind of reason it is.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Missing { .. } => Reason::NotFound,
            Self::InUse { .. } => Reason::Conflict,
            Self::Store(trouble) => trouble.reason(),
        }
    }
}
