//! A node by what people call it.

use crate::cluster::name::NodeId;
use crate::cluster::operations::{Operations, Reason, StoreTrouble, names};

/// Why a text means no node.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NodeError {
    /// It means none.
    #[error("there is no node {text:?}; name one by its name, its id, or the beginning of its id")]
    Missing {
        /// The text.
        text: String,
    },
    /// It means several.
    #[error("{text} may be any of nodes {nodes}; say more of the id")]
    Ambiguous {
        /// The text.
        text: String,
        /// Their ids and names.
        nodes: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreTrouble),
}

impl NodeError {
    /// What kind of reason it is.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Missing { .. } => Reason::NotFound,
            Self::Ambiguous { .. } => Reason::Ambiguous,
            Self::Store(trouble) => trouble.reason(),
        }
    }
}

impl Operations<'_> {
    /// The node that a text means: an id, else a name, else the beginning of an id.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn find_node(&self, text: &str) -> Result<NodeId, NodeError> {
        let survey = self.survey_names().map_err(StoreTrouble::from)?;
        let known = survey.fences.keys().chain(survey.nodes.keys());
        let mut known: Vec<(&NodeId, String)> = known.map(|id| (id, survey.name(id))).collect();
        known.sort_unstable();
        known.dedup();
        let found = meant(text, &known);
        match found.as_slice() {
            [] => Err(NodeError::Missing {
                text: text.to_owned(),
            }),
            [(id, _)] => Ok((*id).clone()),
            several => Err(NodeError::Ambiguous {
                text: text.to_owned(),
                nodes: names::listed(several.iter().map(|(id, name)| format!("{id} ({name})"))),
            }),
        }
    }
}

/// The nodes that a text means, by the first way of naming one that finds any.
fn meant<'a>(text: &str, known: &'a [(&'a NodeId, String)]) -> Vec<&'a (&'a NodeId, String)> {
    let with = |way: &dyn Fn(&str, &str) -> bool| {
        let nodes = known.iter();
        nodes
            .filter(|(id, name)| way(id.as_str(), name))
            .collect::<Vec<_>>()
    };
    let mut found = with(&|id, _| id == text);
    if found.is_empty() {
        found = with(&|_, name| name == text);
    }
    if found.is_empty() && !text.is_empty() {
        found = with(&|id, _| id.starts_with(text));
    }
    found
}
