//! Security groups: who is a member, and who speaks of them.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_ipam::cluster::operations::{PolicyRows, PolicyWrites, Tried};
use bulkhead_ipam::cluster::{MemberId, ObjectId, ObjectPart};
use bulkhead_ipam::wire::admin::{
    ChangedObject, EndpointName, GroupMember, ListedGroup, ObjectName, ObjectOutcome,
    PolicyChanges, Reason, Reply, RequestError,
};

use super::name::{endpoint, listed, member, named, part};
use super::{Refusal, not_found};
use crate::admin::cluster::{because, paged};
use crate::admin::{Admin, Replies};
use crate::identity::spoken_of;

/// The kind of a group's object.
pub(super) const GROUP: &str = "SecurityGroup";

/// Most members that a refusal names.
const MOST_MEMBERS: usize = 100;

impl Admin {
    pub(in crate::admin) fn groups(
        &self,
        only: Option<&str>,
        replies: &Replies,
    ) -> Result<Reply, RequestError> {
        let rows = self.written()?;
        let only = only.map(part).transpose()?;
        if let Some(group) = &only {
            let id = group_id(group);
            rows.object(&id).ok_or_else(|| not_found(&rows, &id))?;
        }
        let objects = rows
            .objects
            .iter()
            .filter(|(id, _)| id.kind.as_str() == GROUP);
        let meant = objects.filter(|(id, _)| only.as_ref().is_none_or(|only| *only == id.name));
        let users = users(&rows);
        let listed = meant.map(|(id, row)| ListedGroup {
            group: id.name.to_string(),
            revision: row.revision,
            members: self.members(&rows, &id.name),
            used_by: users.get(id.name.as_str()).cloned().unwrap_or_default(),
            document: only.as_ref().map(|_| row.document.clone()),
        });
        Ok(paged(listed, replies, |rows| Reply::Groups { rows }))
    }

    pub(in crate::admin) fn group_attach(
        &self,
        group: &str,
        members: &[EndpointName],
    ) -> Result<Reply, RequestError> {
        let (group, members) = parsed(group, members)?;
        let mut new = BTreeSet::new();
        let changed = self
            .operations()
            .change_policies(&self.somebody(), |rows, _| {
                let id = group_id(&group);
                rows.object(&id).ok_or_else(|| not_found(rows, &id))?;
                let missing = members.iter().filter(|member| !rows.is_member(member));
                new = missing.cloned().collect();
                Ok::<_, Refusal>(PolicyWrites {
                    attach: new.iter().cloned().collect(),
                    ..PolicyWrites::default()
                })
            });
        let revision = changed.map_err(|Refusal(error)| error)?;
        let outcome = |id: &MemberId| {
            if new.contains(id) {
                ObjectOutcome::Created
            } else {
                ObjectOutcome::Unchanged
            }
        };
        Ok(changes(revision, &members, outcome))
    }

    pub(in crate::admin) fn group_detach(
        &self,
        group: &str,
        members: &[EndpointName],
    ) -> Result<Reply, RequestError> {
        let (group, members) = parsed(group, members)?;
        let changed = self
            .operations()
            .change_policies(&self.somebody(), |rows, tried| {
                let (there, missing): (Vec<_>, Vec<_>) =
                    members.iter().cloned().partition(|id| rows.is_member(id));
                if let (Some(missing), Tried::No) = (missing.first(), tried) {
                    return Err(Refusal(no_member(rows, &group, missing)));
                }
                Ok(PolicyWrites {
                    detach: there,
                    ..PolicyWrites::default()
                })
            });
        let revision = changed.map_err(|Refusal(error)| error)?;
        Ok(changes(revision, &members, |_| ObjectOutcome::Deleted))
    }

    /// The members of a group, with what this node knows of them.
    fn members(&self, rows: &PolicyRows, group: &ObjectPart) -> Vec<GroupMember> {
        let of_group = rows.members.iter().filter(|(id, _)| id.group == *group);
        let member = |(id, _): &(MemberId, _)| {
            let endpoint = endpoint(id);
            let (addresses, node) = self.node.identities.whereabouts(&endpoint);
            GroupMember {
                endpoint,
                addresses,
                node,
            }
        };
        of_group.map(member).collect()
    }
}

/// Refuses to remove a group that has members, or that somebody speaks of who stays.
pub(super) fn in_use(
    rows: &PolicyRows,
    group: &ObjectId,
    leaving: &BTreeSet<ObjectId>,
) -> Result<(), RequestError> {
    let members = rows.members.iter().filter(|(id, _)| id.group == group.name);
    let members: Vec<String> = members
        .take(MOST_MEMBERS)
        .map(|(id, _)| id.endpoint())
        .collect();
    let leaving: BTreeSet<ObjectName> = leaving.iter().map(named).collect();
    let users = users(rows).remove(group.name.as_str()).unwrap_or_default();
    let users: Vec<String> = users
        .iter()
        .filter(|user| !leaving.contains(user))
        .map(shown)
        .collect();
    let said = [("its members are", members), ("it is spoken of by", users)];
    let said: Vec<String> = said
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{what} {}", listed(names)))
        .collect();
    if said.is_empty() {
        return Ok(());
    }
    let text = format!(
        "{group} is in use: {}; detach and change these first",
        said.join(", and ")
    );
    Err(because(Reason::Conflict, text))
}

/// Who speaks of which group.
fn users(rows: &PolicyRows) -> BTreeMap<String, Vec<ObjectName>> {
    let mut users: BTreeMap<String, Vec<ObjectName>> = BTreeMap::new();
    for (id, row) in &rows.objects {
        // Other kinds have no word for groups.
        if !matches!(id.kind.as_str(), "Policy" | GROUP) {
            continue;
        }
        for group in spoken_of(&row.file, row.line, &row.document) {
            if id.kind.as_str() != GROUP || id.name.as_str() != group {
                users.entry(group).or_default().push(named(id));
            }
        }
    }
    users
}

fn shown(name: &ObjectName) -> String {
    match &name.namespace {
        Some(namespace) => format!("{} {namespace}/{}", name.kind, name.name),
        None => format!("{} {}", name.kind, name.name),
    }
}

fn group_id(group: &ObjectPart) -> ObjectId {
    ObjectId {
        kind: GROUP.parse().expect("letters"),
        namespace: None,
        name: group.clone(),
    }
}

fn parsed(
    group: &str,
    members: &[EndpointName],
) -> Result<(ObjectPart, Vec<MemberId>), RequestError> {
    let group = part(group)?;
    let members = members.iter().map(|name| member(&group, name));
    let members = members.collect::<Result<Vec<_>, _>>()?;
    Ok((group, members))
}

fn no_member(rows: &PolicyRows, group: &ObjectPart, id: &MemberId) -> RequestError {
    let members = rows
        .members
        .iter()
        .filter(|(known, _)| known.group == *group);
    let members = listed(members.map(|(known, _)| known.endpoint()));
    let text = format!(
        "{} is no member of security group {group}; its members are: {members}",
        id.endpoint()
    );
    because(Reason::NotFound, text)
}

fn changes(
    revision: u64,
    members: &[MemberId],
    outcome: impl Fn(&MemberId) -> ObjectOutcome,
) -> Reply {
    let objects = members.iter().map(|id| ChangedObject {
        name: ObjectName {
            kind: "Member".to_owned(),
            namespace: None,
            name: id.endpoint(),
        },
        outcome: outcome(id),
    });
    Reply::PolicyChanged(PolicyChanges {
        revision,
        objects: objects.collect(),
        notes: Vec::new(),
    })
}
