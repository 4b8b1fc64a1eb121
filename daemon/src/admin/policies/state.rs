//! Where policies are enforced, and who the node knows.

use bulkhead_ipam::cluster::operations::AppliedListed;
use bulkhead_ipam::cluster::schema::FenceState;
use bulkhead_ipam::wire::admin::{NodeState, PolicyNode, PolicyState, Reply, RequestError};

use super::told;
use crate::admin::cluster::paged;
use crate::admin::{Admin, Replies, node_name};

impl Admin {
    pub(in crate::admin) fn policy_status(&self) -> Result<Reply, RequestError> {
        let rows = self.written()?;
        let nodes = self.operations().applied().map_err(told)?;
        let revision = rows.last.revision;
        let mut state = PolicyState {
            revision,
            what: rows.last.what,
            by: rows.last.by,
            at_unix_ms: rows.last.at_unix_ms,
            nodes: nodes.iter().map(node).collect(),
            ..PolicyState::default()
        };
        for (id, _) in &rows.objects {
            *state.objects.entry(id.kind.to_string()).or_default() += 1;
        }
        let active = state
            .nodes
            .iter()
            .filter(|node| node.state == NodeState::Active);
        let said: Vec<u64> = active.filter_map(|node| node.revision).collect();
        state.enforcing = said.len() as u64;
        state.enforced = said.iter().filter(|said| **said >= revision).count() as u64;
        state
            .nodes
            .sort_by(|one, other| one.name.name.cmp(&other.name.name));
        Ok(Reply::PolicyState(Box::new(state)))
    }

    pub(in crate::admin) fn policy_snapshot(
        &self,
        replies: &Replies,
    ) -> Result<Reply, RequestError> {
        let rows = self.written()?;
        let objects = rows.objects.into_iter().map(|(id, row)| {
            let place = if row.file.is_empty() {
                String::new()
            } else {
                format!(" of {}:{}", row.file, row.line)
            };
            let document = row.document.trim_end();
            format!("# {id}{place}, revision {}\n{document}\n", row.revision)
        });
        let known = self.node.identities.snapshot();
        let mut documents: Vec<String> = Vec::new();
        let mut bytes = 0;
        for document in objects.chain(known) {
            bytes += document.len();
            // Far below a frame's 8 MiB, however JSON writes it.
            if bytes > 512 << 10 {
                let documents = std::mem::take(&mut documents);
                replies.say(Reply::Written { documents });
                bytes = document.len();
            }
            documents.push(document);
        }
        Ok(Reply::Written { documents })
    }

    pub(in crate::admin) fn verdicts(&self, replies: &Replies) -> Reply {
        let verdicts = self.node.identities.verdicts();
        paged(verdicts, replies, |rows| Reply::Verdicts { rows })
    }

    pub(in crate::admin) fn known(&self, replies: &Replies) -> Reply {
        let known = self.node.identities.known();
        paged(known, replies, |rows| Reply::Known { rows })
    }
}

fn node(listed: &AppliedListed) -> PolicyNode {
    let said = listed.row.as_ref();
    PolicyNode {
        name: node_name(&listed.node, &listed.name),
        state: match listed.state {
            FenceState::Active => NodeState::Active,
            FenceState::Lost => NodeState::Lost,
        },
        revision: said.map(|said| said.revision),
        at_unix_ms: said.map(|said| said.at_unix_ms),
        errors: said.map(|said| said.errors.clone()).unwrap_or_default(),
    }
}
