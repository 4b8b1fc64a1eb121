//! Who changed pools and reservations last.

use serde::{Deserialize, Serialize};

use super::{Place, Value};
use crate::cluster::name::Attempt;

/// `change`: the last change that an operator made to pools or reservations. Each of them compares and
/// replaces this row, so that two that are decided at a time, pools that would overlap for example,
/// cannot both be made. No node compares it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct ChangeRow {
    /// The attempt that made it.
    pub attempt: Attempt,
    /// Who.
    pub by: String,
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// What, for people: `pool default added`.
    pub what: String,
}

impl Value for ChangeRow {
    fn belongs(place: &Place) -> bool {
        *place == Place::Change
    }
}
