//! The end of a name's claim to its address, while nobody has it.

use super::commit::{Decision, Draft, Earlier};
use super::{Operations, Operator, Reason, StoreTrouble};
use crate::cluster::kv::{Compare, KvError, Write};
use crate::cluster::name::{NodeId, PoolName, StickyId};
use crate::cluster::schema::{KeptRow, Place, StickyRow};

/// Why a name keeps its address.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LetGoError {
    /// It keeps none.
    #[error("no address is kept for {sticky}")]
    Missing {
        /// Whose.
        sticky: StickyId,
    },
    /// Somebody has it.
    #[error(
        "the address of {sticky} is had by attachment {attachment} on node {node}; release that first, or delete the pod"
    )]
    Held {
        /// Whose.
        sticky: StickyId,
        /// Who has it.
        attachment: String,
        /// Where.
        node: NodeId,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreTrouble),
}

impl LetGoError {
    /// What kind of reason it is.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Missing { .. } => Reason::NotFound,
            Self::Held { .. } => Reason::Conflict,
            Self::Store(trouble) => trouble.reason(),
        }
    }
}

impl Operations<'_> {
    /// Ends that an address is kept for a name. The result is the node that has it in a block, whose
    /// ledger hears of it when it compares its blocks with the store.
    ///
    /// # Errors
    /// [`LetGoError`].
    pub fn let_go(
        &self,
        operator: &Operator,
        sticky: &StickyId,
    ) -> Result<Option<NodeId>, LetGoError> {
        let place = Place::Sticky(sticky.clone());
        let key = self.schema.key(&place);
        let mut owner = None;
        self.change(operator, |earlier| {
            let (row, revision) = self.one::<StickyRow>(&place)?;
            let Some(row) = row else {
                return match earlier {
                    Earlier::Perhaps => Ok(Decision::Stands(owner.take())),
                    Earlier::Nothing => Err(LetGoError::Missing {
                        sticky: sticky.clone(),
                    }),
                };
            };
            if let Some(holder) = row.holder {
                return Err(LetGoError::Held {
                    sticky: sticky.clone(),
                    attachment: holder.attachment.to_string(),
                    node: holder.node,
                });
            }
            let kept = Place::Kept {
                pool: row.pool.clone(),
                ordinal: row.ordinal,
            };
            let mut draft = Draft {
                what: format!("the address of {sticky} let go"),
                when: vec![Compare::Modified(key.clone(), revision)],
                writes: vec![Write::Delete(key.clone())],
            };
            let (its, kept_at) = self.one::<KeptRow>(&kept)?;
            if its.is_some_and(|its| its.sticky == *sticky) {
                let kept = self.schema.key(&kept);
                draft.when.push(Compare::Modified(kept.clone(), kept_at));
                draft.writes.push(Write::Delete(kept));
            }
            owner = self
                .owner(&row.pool, row.ordinal)
                .map_err(StoreTrouble::from)?;
            Ok(Decision::Write(draft, owner.clone()))
        })
    }

    /// Who has an ordinal in a block.
    fn owner(&self, pool: &PoolName, ordinal: u64) -> Result<Option<NodeId>, KvError> {
        let rows = self.all(&self.schema.of_pool("blocks", pool))?;
        let owned = rows.iter().filter_map(|row| self.owned(row).ok());
        let mut around = owned.filter(|owned| owned.block.contains(ordinal));
        Ok(around.next().map(|owned| owned.row.node))
    }
}
