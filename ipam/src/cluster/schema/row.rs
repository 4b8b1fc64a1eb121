//! Values as bytes.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Place, SCHEMA};
use crate::cluster::kv::Key;

/// A value of the schema: what is kept under one kind of key.
pub trait Value: DeserializeOwned + Serialize {
    /// Whether a row of this kind stands at `place`.
    fn belongs(place: &Place) -> bool;
}

/// Why a row is not understood. Nothing is assumed of it and nothing is written over it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RowError {
    /// A later release wrote it.
    #[error(
        "row {key} has schema {found}, this release reads {SCHEMA}; use the later release on every node"
    )]
    Newer {
        /// The row's key.
        key: String,
        /// Its schema.
        found: u64,
    },
    /// It is not what the schema says.
    #[error(
        "row {key} is damaged: {what}; look at it with etcdctl, and put back what a backup has"
    )]
    Damaged {
        /// The row's key.
        key: String,
        /// What is wrong, and where.
        what: String,
    },
    /// No kind of row has such a key.
    #[error("row {key} is of no known kind; nothing of bulkhead wrote it: remove it")]
    Unknown {
        /// The row's key.
        key: String,
    },
}

/// The bytes of a value.
#[must_use]
pub fn encode<T: Value>(value: &T) -> Vec<u8> {
    #[derive(Serialize)]
    struct Versioned<'a, T> {
        v: u32,
        #[serde(flatten)]
        value: &'a T,
    }
    let versioned = Versioned { v: SCHEMA, value };
    serde_json::to_vec(&versioned).expect("rows are structs with text keys")
}

/// Reads the value under `key`.
///
/// # Errors
/// [`RowError::Newer`] and [`RowError::Damaged`].
pub fn decode<T: Value>(key: &Key, bytes: &[u8]) -> Result<T, RowError> {
    #[derive(Deserialize)]
    struct Version {
        #[serde(default)]
        v: Option<u64>,
    }
    let damaged = |error: serde_json::Error| RowError::Damaged {
        key: key.to_string(),
        what: error.to_string(),
    };
    let version: Version = serde_json::from_slice(bytes).map_err(damaged)?;
    match version.v {
        Some(found) if found > u64::from(SCHEMA) => Err(RowError::Newer {
            key: key.to_string(),
            found,
        }),
        _ => serde_json::from_slice(bytes).map_err(damaged),
    }
}
