//! By what metrics are told apart.

use prometheus_client::encoding::EncodeLabelSet;

/// A stage of a call.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct StageLabels {
    pub(crate) verb: String,
    pub(crate) stage: &'static str,
}

/// A CNI error code; 0 is success.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct CodeLabels {
    pub(crate) verb: String,
    pub(crate) code: u32,
}

/// A reason, in one word.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct ReasonLabels {
    pub(crate) reason: &'static str,
}

/// A pool, or a network's own range set; and the state of its addresses or blocks.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct PoolLabels {
    pub(crate) pool: String,
    pub(crate) state: &'static str,
}

/// A network.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct NetworkLabels {
    pub(crate) network: String,
}

/// What became of an attempt.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct OutcomeLabels {
    pub(crate) outcome: &'static str,
}

/// A member of the cluster's store.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct EndpointLabels {
    pub(crate) endpoint: String,
}
