//! What requests and replies share: filters, names, rows that are not understood.

use bulkhead_ipam::PodRef;
use bulkhead_ipam::cluster::NodeId;
use bulkhead_ipam::cluster::operations::{self, Filter, Progress};
use bulkhead_ipam::cluster::schema::RowError;
use bulkhead_ipam::wire::admin::{self, NodeName, NodeState, PodName, Reply, RequestError};

use super::refusal::{no_name, refused};
use crate::admin::{Admin, Replies};

impl Admin {
    /// A filter in the operations' words.
    pub(super) fn filter(&self, filter: &admin::Filter) -> Result<Filter, RequestError> {
        let pool = filter.pool.as_deref().map(str::parse).transpose();
        let node = filter.node.as_deref().map(|text| self.node_meant(text));
        Ok(Filter {
            node: node.transpose()?,
            pool: pool.map_err(no_name)?,
            namespace: filter.namespace.clone(),
            pod: filter.pod.clone(),
            network: filter.network.clone(),
        })
    }

    /// The node that a text means.
    pub(super) fn node_meant(&self, text: &str) -> Result<NodeId, RequestError> {
        let found = self.operations().find_node(text);
        found.map_err(|error| refused(error.reason(), &error))
    }

    /// Rows that a list had to leave out.
    pub(in crate::admin) fn left_out(&self, unread: &[RowError]) {
        for error in unread {
            self.node
                .failed("a row of the store is left out of a list", error);
        }
    }
}

/// Which node.
pub(crate) fn node_name(id: &NodeId, name: &str) -> NodeName {
    NodeName {
        id: id.to_string(),
        name: name.to_owned(),
    }
}

/// What its fence says.
pub(crate) const fn node_state(state: operations::NodeState) -> NodeState {
    match state {
        operations::NodeState::Active => NodeState::Active,
        operations::NodeState::Lost => NodeState::Lost,
        operations::NodeState::Unknown => NodeState::Unknown,
    }
}

/// Which pod.
pub(super) fn pod_name(pod: &PodRef) -> PodName {
    PodName {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
    }
}

/// Says how far something is.
pub(super) fn tell(replies: &Replies) -> impl FnMut(Progress) + '_ {
    |progress| {
        replies.say(Reply::Progress(admin::Progress {
            what: progress.what.to_owned(),
            done: progress.done,
            total: progress.total,
        }));
    }
}
