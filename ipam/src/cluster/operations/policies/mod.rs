//! Changes of what is written about who may talk to whom. Each sees all of it as it is at one revision and
//! is one transaction, so that several objects change together or not at all; the revision's row, which
//! each compares and replaces, counts them.

mod error;

pub use error::PolicyChangeError;

use super::commit::{ROUNDS, Settled};
use super::{Operations, Operator, StoreTrouble};
use crate::cluster::kv::{Compare, Revision, Txn, Write};
use crate::cluster::name::{MemberId, ObjectId};
use crate::cluster::schema::{MemberRow, ObjectRow, Place, RevisionRow, RowError, encode};

/// Most objects and members that change together. The store's own row and the revision's stand beside.
pub const MOST_TOGETHER: usize = Txn::MOST_WRITES - 2;

/// Longest document, in bytes.
pub const LONGEST_DOCUMENT: usize = 128 << 10;

/// Most bytes of documents that change together: JSON may write a byte as six.
const MOST_BYTES: usize = Txn::MOST_BYTES * 3 / 4;

/// All that is written, at one revision of the store.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PolicyRows {
    /// The last change; none has the revision 0.
    pub last: RevisionRow,
    /// By kind, namespace and name.
    pub objects: Vec<(ObjectId, ObjectRow)>,
    /// By group and endpoint.
    pub members: Vec<(MemberId, MemberRow)>,
    /// The store's revision.
    pub store_revision: Revision,
    /// Rows that are not understood.
    pub unread: Vec<RowError>,
}

/// An object to be written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ObjectDraft {
    /// Its name.
    pub id: ObjectId,
    /// Its text.
    pub document: String,
    /// The file that it was read from.
    pub file: String,
    /// The line that it begins at.
    pub line: u32,
}

/// What is to be changed together.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PolicyWrites {
    /// Objects that are written.
    pub put: Vec<ObjectDraft>,
    /// Objects that are removed.
    pub delete: Vec<ObjectId>,
    /// Endpoints that become members of groups.
    pub attach: Vec<MemberId>,
    /// Those that are no longer.
    pub detach: Vec<MemberId>,
}

/// Whether an earlier try of the same change may have been made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tried {
    /// It is the first.
    No,
    /// Its answer did not come, and somebody has changed something since.
    Perhaps,
}

impl PolicyRows {
    /// An object.
    #[must_use]
    pub fn object(&self, id: &ObjectId) -> Option<&ObjectRow> {
        let mut objects = self.objects.iter();
        objects.find(|(known, _)| known == id).map(|(_, row)| row)
    }

    /// Whether an endpoint is a member of a group, by just these words.
    #[must_use]
    pub fn is_member(&self, id: &MemberId) -> bool {
        self.members.iter().any(|(known, _)| known == id)
    }
}

impl PolicyWrites {
    fn len(&self) -> usize {
        self.put.len() + self.delete.len() + self.attach.len() + self.detach.len()
    }

    /// What it is, for people.
    fn what(&self) -> String {
        let named = |count: usize, what: &str| (count > 0).then(|| format!("{count} {what}"));
        let parts = [
            named(self.put.len(), "objects applied"),
            named(self.delete.len(), "objects deleted"),
            named(self.attach.len(), "members attached"),
            named(self.detach.len(), "members detached"),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    fn check(&self) -> Result<(), PolicyChangeError> {
        if self.len() > MOST_TOGETHER {
            return Err(PolicyChangeError::Many { found: self.len() });
        }
        for draft in &self.put {
            if draft.document.len() > LONGEST_DOCUMENT {
                return Err(PolicyChangeError::Large {
                    id: draft.id.clone(),
                    bytes: draft.document.len(),
                });
            }
        }
        let bytes: usize = self.put.iter().map(|draft| draft.document.len()).sum();
        if bytes > MOST_BYTES {
            return Err(PolicyChangeError::Much { bytes });
        }
        Ok(())
    }
}

impl Operations<'_> {
    /// All that is written.
    ///
    /// # Errors
    /// [`StoreTrouble`].
    pub fn policies(&self) -> Result<PolicyRows, StoreTrouble> {
        let listing = self.store.range(&self.schema.kind("policy"), 0)?;
        let mut rows = PolicyRows {
            store_revision: listing.revision,
            ..PolicyRows::default()
        };
        for row in &listing.rows {
            let understood = match self.schema.place(&row.key) {
                Some(Place::PolicyRevision) => {
                    self.schema.read(row).map(|(_, last)| rows.last = last)
                }
                Some(Place::Object(id)) => self
                    .schema
                    .read(row)
                    .map(|(_, value)| rows.objects.push((id, value))),
                Some(Place::Member(id)) => self
                    .schema
                    .read(row)
                    .map(|(_, value)| rows.members.push((id, value))),
                _ => Err(RowError::Unknown {
                    key: row.key.to_string(),
                }),
            };
            rows.unread.extend(understood.err());
        }
        Ok(rows)
    }

    /// Makes a change: `decide` sees all that is written, and is asked again whenever another change was made
    /// meanwhile. The result is the policies' revision that has it; a change of nothing makes none.
    ///
    /// # Errors
    /// [`PolicyChangeError`] as whatever `decide` refuses with.
    pub fn change_policies<E: From<PolicyChangeError>>(
        &self,
        operator: &Operator,
        mut decide: impl FnMut(&PolicyRows, Tried) -> Result<PolicyWrites, E>,
    ) -> Result<u64, E> {
        let pivot = self.schema.key(&Place::PolicyRevision);
        let trouble = |error: StoreTrouble| E::from(PolicyChangeError::from(error));
        let mut tried = Tried::No;
        for _ in 0..ROUNDS {
            let open = self.open().map_err(trouble)?;
            // Before anything that the decision rests on.
            let (_, seen) = self
                .one::<RevisionRow>(&Place::PolicyRevision)
                .map_err(trouble)?;
            let rows = self.policies().map_err(trouble)?;
            let writes = decide(&rows, tried)?;
            if writes.len() == 0 {
                return Ok(rows.last.revision);
            }
            writes.check()?;
            let last = RevisionRow {
                revision: rows.last.revision + 1,
                attempt: operator.attempt.clone(),
                by: operator.by.clone(),
                at_unix_ms: operator.at_unix_ms,
                what: writes.what(),
            };
            let mut txn = Txn {
                when: vec![open, Compare::Modified(pivot.clone(), seen)],
                writes: self.policy_writes(operator, &writes, last.revision),
            };
            txn.writes.push(Write::Put(pivot.clone(), encode(&last)));
            let settled = self.settle(&txn, &pivot);
            match settled.map_err(StoreTrouble::from).map_err(trouble)? {
                Settled::Made => return Ok(last.revision),
                Settled::Not => {}
                Settled::Overtaken => tried = Tried::Perhaps,
            }
        }
        Err(trouble(self.contended()))
    }

    fn policy_writes(
        &self,
        operator: &Operator,
        writes: &PolicyWrites,
        revision: u64,
    ) -> Vec<Write> {
        let object = |id: &ObjectId| self.schema.key(&Place::Object(id.clone()));
        let member = |id: &MemberId| self.schema.key(&Place::Member(id.clone()));
        let put = writes.put.iter().map(|draft| {
            let row = ObjectRow {
                revision,
                document: draft.document.clone(),
                file: draft.file.clone(),
                line: draft.line,
                by: operator.by.clone(),
                at_unix_ms: operator.at_unix_ms,
            };
            Write::Put(object(&draft.id), encode(&row))
        });
        let attach = writes.attach.iter().map(|id| {
            let row = MemberRow {
                revision,
                by: operator.by.clone(),
                at_unix_ms: operator.at_unix_ms,
            };
            Write::Put(member(id), encode(&row))
        });
        let delete = writes.delete.iter().map(|id| Write::Delete(object(id)));
        let detach = writes.detach.iter().map(|id| Write::Delete(member(id)));
        put.chain(attach).chain(delete).chain(detach).collect()
    }
}
