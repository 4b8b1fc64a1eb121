//! What operators write about who may talk to whom: documents, members of security groups, and the
//! revision that counts their changes. The documents are opaque here; whoever writes one has read it.

use serde::{Deserialize, Serialize};

use super::{Place, Value};
use crate::cluster::name::Attempt;

/// `policy/objects/<kind>/<namespace or ->/<name>`: an object as somebody wrote it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct ObjectRow {
    /// The policies' revision that its last change made.
    pub revision: u64,
    /// The text, YAML or JSON.
    pub document: String,
    /// The file that it was read from, as whoever applied it named it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// The line of the file that it begins at, from 1.
    pub line: u32,
    /// Who applied it.
    pub by: String,
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
}

impl Value for ObjectRow {
    fn belongs(place: &Place) -> bool {
        matches!(place, Place::Object(_))
    }
}

/// `policy/members/<group>/<namespace>/<name>/<network or ->`: an endpoint belongs to a security group.
/// It need not be there yet.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct MemberRow {
    /// The policies' revision that made it one.
    pub revision: u64,
    /// Who attached it.
    pub by: String,
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
}

impl Value for MemberRow {
    fn belongs(place: &Place) -> bool {
        matches!(place, Place::Member(_))
    }
}

/// `policy/revision`: how often objects and members have been changed. Every change of them compares and
/// replaces this row, so that no two are decided at a time, and each has a number.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct RevisionRow {
    /// The number, from 1.
    pub revision: u64,
    /// The attempt that made the last change.
    pub attempt: Attempt,
    /// Who made it.
    pub by: String,
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// What, for people.
    pub what: String,
}

impl Value for RevisionRow {
    fn belongs(place: &Place) -> bool {
        *place == Place::PolicyRevision
    }
}
