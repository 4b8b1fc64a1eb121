//! What is written about who may talk to whom: applied, deleted, listed. Whoever asks hands over text; it is
//! read here, so that nothing stands in the store that nobody understands.

mod circumstances;
mod groups;
mod name;
mod state;
mod verify;
mod ways;

use std::collections::BTreeSet;

use bulkhead_ipam::cluster::operations::{
    AppliedListed, ObjectDraft, PolicyChangeError, PolicyRows, PolicyWrites, Tried,
};
use bulkhead_ipam::cluster::schema::{FenceState, ObjectRow};
use bulkhead_ipam::cluster::{ObjectId, ObjectPart};
use bulkhead_ipam::wire::admin::{
    ChangedObject, ListedObject, Must, ObjectName, ObjectOutcome, PolicyChanges, PolicyFile,
    Reason, Reply, RequestError,
};

use super::cluster::{Pages, because, invalid, refused};
use super::{Admin, Replies};
use crate::identity::{Files, Written, read_files, spoken_of};
use groups::{GROUP, in_use};
use name::{id, listed, named};

/// Why a change is refused.
#[derive(Debug)]
pub(super) struct Refusal(RequestError);

impl From<PolicyChangeError> for Refusal {
    fn from(error: PolicyChangeError) -> Self {
        Self(refused(error.reason(), &error))
    }
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        Self(error)
    }
}

impl Admin {
    pub(super) fn policy_apply(
        &self,
        files: &[PolicyFile],
        must: Must,
        dry_run: bool,
    ) -> Result<Reply, RequestError> {
        let Files { objects, mut notes } = taken(files)?;
        let mut outcomes = Vec::new();
        let revision = self
            .operations()
            .change_policies(&self.somebody(), |rows, _| {
                demanded(rows, &objects, must)?;
                outcomes = objects.iter().map(|object| outcome(rows, object)).collect();
                let differs = |outcome: &ObjectOutcome| *outcome != ObjectOutcome::Unchanged;
                let changed = objects.iter().zip(&outcomes);
                let changed = changed.filter(|(_, outcome)| differs(outcome) && !dry_run);
                Ok::<_, Refusal>(PolicyWrites {
                    put: changed.map(|(object, _)| draft(object)).collect(),
                    ..PolicyWrites::default()
                })
            });
        let revision = revision.map_err(|Refusal(error)| error)?;
        notes.extend(self.strangers(&objects));
        if dry_run {
            notes.push("nothing is changed, it was only asked for what would be".to_owned());
        }
        let changed = objects.iter().zip(outcomes);
        let objects = changed.map(|(object, outcome)| ChangedObject {
            name: named(&object.id),
            outcome,
        });
        Ok(Reply::PolicyChanged(PolicyChanges {
            revision,
            objects: objects.collect(),
            notes,
        }))
    }

    pub(super) fn policy_delete(
        &self,
        objects: &[ObjectName],
        files: &[PolicyFile],
    ) -> Result<Reply, RequestError> {
        let mut ids = objects.iter().map(id).collect::<Result<BTreeSet<_>, _>>()?;
        if !files.is_empty() {
            ids.extend(taken(files)?.objects.into_iter().map(|object| object.id));
        }
        let changed = self
            .operations()
            .change_policies(&self.somebody(), |rows, tried| {
                let (there, missing): (Vec<_>, Vec<_>) = ids
                    .iter()
                    .cloned()
                    .partition(|id| rows.object(id).is_some());
                // An earlier try may have taken them.
                if let (Some(missing), Tried::No) = (missing.first(), tried) {
                    return Err(Refusal(not_found(rows, missing)));
                }
                for group in there.iter().filter(|id| id.kind.as_str() == GROUP) {
                    in_use(rows, group, &ids)?;
                }
                Ok(PolicyWrites {
                    delete: there,
                    ..PolicyWrites::default()
                })
            });
        let revision = changed.map_err(|Refusal(error)| error)?;
        let objects = ids.iter().map(|id| ChangedObject {
            name: named(id),
            outcome: ObjectOutcome::Deleted,
        });
        Ok(Reply::PolicyChanged(PolicyChanges {
            revision,
            objects: objects.collect(),
            notes: Vec::new(),
        }))
    }

    pub(super) fn policies(
        &self,
        kind: Option<&str>,
        namespace: Option<&str>,
        replies: &Replies,
    ) -> Result<Reply, RequestError> {
        let rows = self.written()?;
        let nodes = self.operations().applied().map_err(told)?;
        let revision = rows.last.revision;
        let meant = |id: &ObjectId| {
            let of = id.namespace.as_ref().map(ObjectPart::as_str);
            kind.is_none_or(|kind| kind == id.kind.as_str())
                && namespace.is_none_or(|namespace| of == Some(namespace))
        };
        let meant = rows.objects.iter().filter(|(id, _)| meant(id));
        let mut pages = Pages::new(replies, move |rows| Reply::Objects { revision, rows });
        meant.for_each(|(id, row)| pages.push(object(id, row, &nodes)));
        Ok(pages.last())
    }

    pub(super) fn policy_get(&self, name: &ObjectName) -> Result<Reply, RequestError> {
        let id = id(name)?;
        let rows = self.written()?;
        let row = rows.object(&id).ok_or_else(|| not_found(&rows, &id))?;
        let nodes = self.operations().applied().map_err(told)?;
        let listed = ListedObject {
            document: Some(row.document.clone()),
            ..object(&id, row, &nodes)
        };
        Ok(Reply::Objects {
            revision: rows.last.revision,
            rows: vec![listed],
        })
    }

    /// All that is written, as the store says now.
    fn written(&self) -> Result<PolicyRows, RequestError> {
        let rows = self.operations().policies().map_err(told)?;
        self.left_out(&rows.unread);
        Ok(rows)
    }

    /// Groups that objects speak of and that are not there.
    fn strangers(&self, objects: &[Written]) -> Vec<String> {
        let Ok(rows) = self.operations().policies() else {
            return Vec::new();
        };
        let is_there = |name: &str| {
            let mut known = rows.objects.iter().map(|(id, _)| id);
            known.any(|id| id.kind.as_str() == GROUP && id.name.as_str() == name)
        };
        let mut notes = Vec::new();
        for object in objects {
            let groups = spoken_of(&object.file, object.line, &object.document);
            for group in groups.into_iter().filter(|group| !is_there(group)) {
                notes.push(format!(
                    "{} speaks of security group {group}, which is not there: nobody is a member of it",
                    object.id
                ));
            }
        }
        notes
    }
}

fn taken(files: &[PolicyFile]) -> Result<Files, RequestError> {
    let files = files
        .iter()
        .map(|file| (file.name.as_str(), file.text.as_str()));
    read_files(files).map_err(|error| invalid(&error))
}

fn outcome(rows: &PolicyRows, object: &Written) -> ObjectOutcome {
    match rows.object(&object.id) {
        None => ObjectOutcome::Created,
        Some(row)
            if (&row.document, &row.file, row.line)
                == (&object.document, &object.file, object.line) =>
        {
            ObjectOutcome::Unchanged
        }
        Some(_) => ObjectOutcome::Changed,
    }
}

/// Refuses what is there and must not be, or is not and must.
fn demanded(rows: &PolicyRows, objects: &[Written], must: Must) -> Result<(), RequestError> {
    for object in objects {
        match (rows.object(&object.id), must) {
            (Some(row), Must::Create) => {
                let text = format!(
                    "{} exists already, at revision {}; change it, or choose another name",
                    object.id, row.revision
                );
                return Err(because(Reason::Conflict, text));
            }
            (None, Must::Change) => return Err(not_found(rows, &object.id)),
            _ => {}
        }
    }
    Ok(())
}

fn draft(object: &Written) -> ObjectDraft {
    ObjectDraft {
        id: object.id.clone(),
        document: object.document.clone(),
        file: object.file.clone(),
        line: object.line,
    }
}

fn not_found(rows: &PolicyRows, id: &ObjectId) -> RequestError {
    let of_kind = rows.objects.iter().map(|(known, _)| known);
    let of_kind = of_kind.filter(|known| known.kind == id.kind);
    let names = listed(of_kind.map(ToString::to_string));
    because(
        Reason::NotFound,
        format!("there is no {id}; of its kind there are: {names}"),
    )
}

fn object(id: &ObjectId, row: &ObjectRow, nodes: &[AppliedListed]) -> ListedObject {
    let enforcing = nodes.iter().filter(|node| node.state == FenceState::Active);
    let revisions: Vec<u64> = enforcing
        .filter_map(|node| node.row.as_ref())
        .map(|said| said.revision)
        .collect();
    let enforced = revisions.iter().filter(|said| **said >= row.revision);
    ListedObject {
        name: named(id),
        revision: row.revision,
        file: row.file.clone(),
        line: row.line,
        by: row.by.clone(),
        at_unix_ms: row.at_unix_ms,
        enforced: enforced.count() as u64,
        nodes: revisions.len() as u64,
        document: None,
    }
}

#[allow(clippy::needless_pass_by_value)] // for `map_err`
fn told(trouble: bulkhead_ipam::cluster::operations::StoreTrouble) -> RequestError {
    refused(trouble.reason(), &trouble)
}
