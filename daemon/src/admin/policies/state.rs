//! Where policies are enforced, and who the node knows.

use bulkhead_ipam::cluster::ObjectId;
use bulkhead_ipam::cluster::operations::AppliedListed;
use bulkhead_ipam::cluster::schema::{FenceState, ObjectRow};
use bulkhead_ipam::wire::admin::{
    CIRCUMSTANCES, NodeState, PolicyNode, PolicyState, Reply, RequestError,
};
use bulkhead_policy::EndpointId;
use bulkhead_policy::read::{SNAPSHOT, header};
use serde_json::json;

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
        about: Option<&str>,
        replies: &Replies,
    ) -> Result<Reply, RequestError> {
        let attachments = self.seen_attachments()?;
        let about = about.map(|text| self.about(text, &attachments));
        let about = about.transpose()?;
        let (revision, objects) = self.objects_now(about.is_some())?;
        let circumstances = self.circumstances(revision, attachments, about.as_ref());
        let name = &self.node.cluster.name;
        let head = format!("{SNAPSHOT}{name}, revision {revision}\n");
        let objects = objects.into_iter().map(|(id, row)| {
            let place = (!row.file.is_empty()).then_some((row.file.as_str(), row.line));
            let document = row.document.trim_end();
            format!(
                "{}{document}\n",
                header(&id.to_string(), place, row.revision)
            )
        });
        let is_meant = |id: &EndpointId| about.as_ref().is_none_or(|about| about.ends.contains(id));
        let known = self.node.identities.snapshot(is_meant);
        let circumstances = json!({
            "apiVersion": "bulkhead/v1",
            "kind": CIRCUMSTANCES,
            "metadata": {"name": name},
            "spec": circumstances,
        });
        let all = std::iter::once(head).chain(objects).chain(known);
        let mut documents: Vec<String> = Vec::new();
        let mut bytes = 0;
        for document in all.chain([format!("{circumstances}\n")]) {
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

    /// The objects and their revision, as the store says now; if need be as it said when it was last heard of.
    fn objects_now(
        &self,
        is_urgent: bool,
    ) -> Result<(u64, Vec<(ObjectId, ObjectRow)>), RequestError> {
        match self.written() {
            Ok(rows) => Ok((rows.last.revision, rows.objects)),
            Err(error) if is_urgent => self.node.identities.kept_objects().ok_or(error),
            Err(error) => Err(error),
        }
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

pub(super) fn node(listed: &AppliedListed) -> PolicyNode {
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
