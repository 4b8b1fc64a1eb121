//! Blocks, and asking for a part of one.

use serde::{Deserialize, Serialize};

use super::{Place, Value};
use crate::cluster::geometry::Block;
use crate::cluster::name::{Attempt, NodeId, StickyId};

/// `blocks/<pool>/<first ordinal>`: whose the ordinals from there on are. Only its owner, or who has
/// the operator's statement that the owner is lost, changes it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct BlockRow {
    /// Number of ordinals, as a logarithm.
    pub bits: u8,
    /// The owner.
    pub node: NodeId,
    /// The owner's epoch.
    pub epoch: u64,
    /// When it got it, in milliseconds since 1970.
    #[serde(default)]
    pub claimed_at_unix_ms: u64,
    /// The attempt that wrote the row.
    #[serde(default)]
    pub attempt: Attempt,
    /// Who ceded it; nobody if the owner claimed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lender: Option<NodeId>,
    /// Its prefixes, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
}

impl BlockRow {
    /// The block that the row stands for under the key of `first`; `None` if there is no such block.
    #[must_use]
    pub fn block(&self, first: u64) -> Option<Block> {
        Block::new(first, self.bits)
    }
}

impl Value for BlockRow {
    fn belongs(place: &Place) -> bool {
        matches!(place, Place::Block { .. })
    }
}

/// `asks/<owner>/<asker>/<pool>/<ordinal or any>`: a node asks another for a part of a block.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AskRow {
    /// The asker's epoch.
    pub epoch: u64,
    /// The attempt; the ceded block's row has it too.
    pub attempt: Attempt,
    /// When, in milliseconds since 1970.
    #[serde(default)]
    pub at_unix_ms: u64,
    /// Size of the part, as a logarithm: at most so large, if any is asked for.
    #[serde(default)]
    pub bits: u8,
    /// For whom the ordinal is asked, if it may be kept for somebody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<StickyId>,
    /// The owner's answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Wanted {
    /// Any free part.
    Any,
    /// This ordinal.
    Ordinal(u64),
}

/// What an owner answers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The part is the asker's.
    Ceded {
        /// Its first ordinal.
        first: u64,
        /// Its size, as a logarithm.
        bits: u8,
    },
    /// No.
    Refused {
        /// Why.
        reason: String,
    },
}

impl Value for AskRow {
    fn belongs(place: &Place) -> bool {
        matches!(place, Place::Ask(_))
    }
}
