//! The nodes, and the statement that one of them is dead.

use bulkhead_ipam::cluster::operations::NodeListed;
use bulkhead_ipam::wire::admin::{Filter, ListedNode, LostReport, Reply, RequestError};

use super::page::paged;
use super::refusal::{refused, unanswered};
use super::words::{node_name, node_state, tell};
use crate::admin::{Admin, Replies};

impl Admin {
    pub(super) fn nodes(&self, filter: &Filter, replies: &Replies) -> Result<Reply, RequestError> {
        let listed = self.operations().nodes(&self.filter(filter)?);
        let listed = listed.map_err(unanswered)?;
        self.left_out(&listed.unread);
        let rows = listed.rows.into_iter().map(node);
        Ok(paged(rows, replies, |rows| Reply::Nodes { rows }))
    }

    pub(super) fn node_lost(
        &self,
        text: &str,
        by: &str,
        statement: &str,
        replies: &Replies,
    ) -> Result<Reply, RequestError> {
        let node = self.node_meant(text)?;
        let operator = self.node.cluster.operator(by);
        let lost = self
            .operations()
            .node_lost(&operator, &node, statement, &mut tell(replies));
        let lost = lost.map_err(|error| refused(error.reason(), &error))?;
        tracing::warn!(
            node = %node,
            name = lost.name,
            by,
            statement,
            epoch = lost.fenced_epoch,
            blocks = lost.blocks,
            leases = lost.leases,
            "declared lost"
        );
        Ok(Reply::Lost(LostReport {
            name: node_name(&node, &lost.name),
            fenced_epoch: lost.fenced_epoch,
            blocks: lost.blocks,
            leases: lost.leases,
        }))
    }
}

fn node(listed: NodeListed) -> ListedNode {
    ListedNode {
        name: node_name(&listed.node, &listed.name),
        state: node_state(listed.state),
        epoch: listed.epoch,
        addresses: listed.addresses,
        version: listed.version,
        labels: listed.labels,
        started_at_unix_ms: listed.started_at_unix_ms,
        seen_at_unix_ms: listed.seen_at_unix_ms,
        blocks: listed.blocks,
        claimed: listed.claimed,
        held: listed.held,
        statement: listed.statement,
    }
}
