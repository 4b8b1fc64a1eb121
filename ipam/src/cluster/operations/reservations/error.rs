//! Why addresses are not kept, or a reservation is not ended.

use crate::cluster::name::ReservationName;
use crate::cluster::operations::{Reason, StoreTrouble};
use crate::span::Span;

/// Why a reservation is not made.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReserveError {
    /// There is one.
    #[error("reservation {name} exists already, for {what}; choose another name, or end it first")]
    Taken {
        /// Its name.
        name: ReservationName,
        /// What it keeps.
        what: String,
    },
    /// It keeps nothing.
    #[error("reservation {name} names no addresses; name an address, a prefix or a span of a pool")]
    Empty {
        /// Its name.
        name: ReservationName,
    },
    /// It is for everybody.
    #[error(
        "reservation {name} is for every pod, which is none; name a label that its pods have, or nobody"
    )]
    Anybody {
        /// Its name.
        name: ReservationName,
    },
    /// No pool has these addresses.
    #[error("reservation {name}: {span} lies in no pool, or not whole; {pools}")]
    Outside {
        /// Its name.
        name: ReservationName,
        /// The addresses.
        span: Span,
        /// The pools in question.
        pools: String,
    },
    /// Pools of several tenants have these addresses.
    #[error("reservation {name}: {span} lies in pools {pools}; say with --pool which it is of")]
    Several {
        /// Its name.
        name: ReservationName,
        /// The addresses.
        span: Span,
        /// Two of the pools.
        pools: String,
    },
    /// Some of the addresses are kept already.
    #[error(
        "reservation {name}: {span} overlaps {theirs} of reservation {other}; an address is kept for one: choose others, or end {other} first"
    )]
    Overlaps {
        /// Its name.
        name: ReservationName,
        /// The addresses.
        span: Span,
        /// The other reservation.
        other: ReservationName,
        /// Its addresses.
        theirs: Span,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreTrouble),
}

/// Why a reservation is not ended.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UnreserveError {
    /// There is none.
    #[error("there is no reservation {name}; there are: {names}")]
    Missing {
        /// Its name.
        name: ReservationName,
        /// Those that there are.
        names: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreTrouble),
}

impl ReserveError {
    /// What kind of reason it is.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Taken { .. } | Self::Overlaps { .. } => Reason::Conflict,
            Self::Empty { .. } | Self::Anybody { .. } => Reason::Invalid,
            Self::Outside { .. } => Reason::NotFound,
            Self::Several { .. } => Reason::Ambiguous,
            Self::Store(trouble) => trouble.reason(),
        }
    }
}

impl UnreserveError {
    /// What kind of reason it is.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Missing { .. } => Reason::NotFound,
            Self::Store(trouble) => trouble.reason(),
        }
    }
}
