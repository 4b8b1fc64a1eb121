//! Text to documents: JSON if it begins as JSON does, else YAML.

use super::node::{MAX_DEPTH, Node};
use super::{json, yaml};

/// A text is no document at all: nothing of it can be relied upon.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct SyntaxError {
    /// The line, from 1.
    pub line: u32,
    /// What is wrong there.
    pub fault: Fault,
}

/// Why a text is no document.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    /// Neither JSON nor YAML.
    #[error("expected {0}")]
    Json(&'static str),
    /// No YAML.
    #[error("not YAML: {0}")]
    Yaml(String),
    /// A key of YAML that is a list or a map.
    #[error("a key must be text")]
    Key,
    /// A reference to something that is nowhere before it, or that it is part of.
    #[error("an alias must name what stands before it")]
    Alias,
    /// Deeper than anything anybody means.
    #[error("lists and maps are more than {MAX_DEPTH} deep")]
    Depth,
    /// References to references, which would fill the memory.
    #[error("aliases stand for more than {} values", yaml::MAX_ALIASED)]
    Aliased,
    /// Anchors in anchors, which would too.
    #[error(
        "values with anchors are made of more than {} values",
        yaml::MAX_ANCHORED
    )]
    Anchored,
    /// A key of YAML that takes over what others have.
    #[error("the key << takes a map, or a list of maps")]
    Merge,
    /// Of another encoding, such as the one of PowerShell's `>`.
    #[error("not UTF-8: write it as UTF-8")]
    Encoding,
    /// Larger than any cluster's objects.
    #[error("more than {} bytes", MAX_BYTES)]
    Size,
}

/// How long a text may be: 50,000 pods as `kubectl -o json` prints them have a third of it.
pub const MAX_BYTES: usize = 1 << 30;

/// The documents of `text`.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, SyntaxError> {
    if text.len() > MAX_BYTES {
        return Err(SyntaxError {
            line: 1,
            fault: Fault::Size,
        });
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if !text.trim_start().starts_with(['{', '[']) {
        return yaml::parse(text);
    }
    // YAML has maps in braces too, without quotes around their keys.
    json::parse(text).or_else(|error| yaml::parse(text).map_err(|_| error))
}
