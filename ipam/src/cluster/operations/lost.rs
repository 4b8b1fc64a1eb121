//! An operator's statement that a node is gone. The fence ends everything that the node could still
//! write; then what it had is given up, a few rows at a time. Done again after an interruption, it goes
//! on where it was: the node's blocks are what is still to be done.

use std::collections::VecDeque;

use super::{OperationError, Operator, Plan};
use crate::cluster::geometry::Block;
use crate::cluster::kv::{Compare, Key, KvError, Revision, Txn, Write};
use crate::cluster::name::{NodeId, PoolName};
use crate::cluster::schema::{
    AskRow, AuditPlace, AuditRow, BlockRow, FenceRow, FenceState, Happened, LeaseRow, Place,
    StickyRow, encode,
};

/// What became of a statement.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LostReport {
    /// The epoch that the node is fenced out of.
    pub fenced_epoch: u64,
    /// Blocks given up.
    pub blocks: u64,
    /// Leases ended.
    pub leases: u64,
}

/// The giving up of a lost node's rows, step by step.
#[derive(Debug)]
pub struct LostNode {
    node: NodeId,
    statement: String,
    /// The last change of its fence, which every step compares.
    fence: Revision,
    report: LostReport,
    blocks: VecDeque<(PoolName, Block, BlockRow, Key)>,
    swept: bool,
    steps: u64,
}

impl Operator<'_> {
    /// Declares a node lost, and gives up all it had.
    ///
    /// # Errors
    /// `UnknownNode`, `CameBack`, and those of the store. What was given up until then stays so.
    pub fn node_lost(
        &self,
        node: &NodeId,
        statement: &str,
        mut progress: impl FnMut(&LostReport),
    ) -> Result<LostReport, OperationError> {
        let mut lost = self.declare_lost(node, statement)?;
        while self.give_up_some(&mut lost)? {
            progress(&lost.report);
        }
        Ok(lost.report)
    }

    /// Declares a node lost: from then on it can write nothing.
    ///
    /// # Errors
    /// `UnknownNode`, and those of the store.
    pub fn declare_lost(&self, node: &NodeId, statement: &str) -> Result<LostNode, OperationError> {
        let place = Place::Fence(node.clone());
        let epoch = self.settle(&format!("node {node}"), || {
            let Some((revision, fence)) = self.one::<FenceRow>(&place)? else {
                return Err(OperationError::UnknownNode {
                    node: node.to_string(),
                });
            };
            if fence.state == FenceState::Lost {
                return Ok(Plan::Done(fence.epoch));
            }
            let epoch = fence.epoch + 1;
            let lost = FenceRow {
                epoch,
                state: FenceState::Lost,
                session: self.attempt(0),
                by: self.by.to_owned(),
                statement: statement.to_owned(),
                lost_at_unix_ms: self.now_unix_ms,
                ..fence
            };
            let key = self.key(&place);
            let mut txn = self.guarded()?;
            txn.when.push(Compare::Modified(key.clone(), revision));
            txn.writes.push(Write::Put(key, encode(&lost)));
            Ok(Plan::Commit(txn, epoch))
        })?;
        let mut lost = LostNode {
            node: node.clone(),
            statement: statement.to_owned(),
            fence: Revision(0),
            report: LostReport {
                fenced_epoch: epoch - 1,
                ..LostReport::default()
            },
            blocks: VecDeque::new(),
            swept: false,
            steps: 0,
        };
        self.look_again(&mut lost)?;
        Ok(lost)
    }

    /// Gives up some of what the node had. False once nothing is left.
    ///
    /// # Errors
    /// `CameBack`, and those of the store.
    pub fn give_up_some(&self, lost: &mut LostNode) -> Result<bool, OperationError> {
        lost.steps += 1;
        let Some((pool, block, row, key)) = lost.blocks.front().cloned() else {
            if !lost.swept {
                self.sweep(lost)?;
                lost.swept = true;
                return Ok(true);
            }
            return Ok(false);
        };
        // Each lease is a row that goes and a chapter that is closed.
        let most = Txn::MOST_WRITES / 2 - 2;
        let leases = self.all::<LeaseRow>(&self.schema.within("leases", &pool, block))?;
        let mut txn = self.fenced(lost)?;
        for (place, lease, raw) in leases.iter().take(most) {
            let Place::Lease { ordinal, .. } = place else {
                continue;
            };
            txn.writes.push(Write::Delete(raw.key.clone()));
            txn.writes
                .push(self.lease_chapter(lost, &pool, *ordinal, lease));
        }
        let ends = leases.len() <= most;
        if ends {
            txn.when.push(Compare::Value(key.clone(), encode(&row)));
            txn.writes.push(Write::Delete(key));
            txn.writes.push(self.block_chapter(lost, &pool, block));
        }
        if self.commit_step(lost, &txn)? {
            lost.report.leases += leases.len().min(most) as u64;
            if ends {
                lost.report.blocks += 1;
                lost.blocks.pop_front();
            }
        }
        Ok(true)
    }

    /// A transaction that does nothing once the node has registered again.
    fn fenced(&self, lost: &LostNode) -> Result<Txn, OperationError> {
        let mut txn = self.guarded()?;
        let fence = self.key(&Place::Fence(lost.node.clone()));
        txn.when.push(Compare::Modified(fence, lost.fence));
        Ok(txn)
    }

    /// Whether a step is done. If it is not, what is left is read anew.
    fn commit_step(&self, lost: &mut LostNode, txn: &Txn) -> Result<bool, OperationError> {
        match self.store.commit(txn) {
            Ok(committed) if committed.held => Ok(true),
            Ok(_) | Err(KvError::Ambiguous { .. }) => {
                self.look_again(lost)?;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reads the fence and the blocks that are left.
    fn look_again(&self, lost: &mut LostNode) -> Result<(), OperationError> {
        let place = Place::Fence(lost.node.clone());
        let fence = self.one::<FenceRow>(&place)?;
        let rows = self.range(&self.schema.kind("blocks"))?.rows;
        lost.blocks.clear();
        for raw in rows {
            let (pool, block, row) = self.schema.read_block(&raw)?;
            if row.node == lost.node {
                lost.blocks.push_back((pool, block, row, raw.key));
            }
        }
        match fence {
            Some((revision, fence)) if fence.state == FenceState::Lost => {
                lost.fence = revision;
                Ok(())
            }
            _ => Err(OperationError::CameBack {
                node: lost.node.clone(),
                left: lost.blocks.len(),
            }),
        }
    }

    /// What is not in a block: identities that the node held, asks of it and to it, its sign of life.
    fn sweep(&self, lost: &mut LostNode) -> Result<(), OperationError> {
        let mut writes = Vec::new();
        for (place, row, raw) in self.all::<StickyRow>(&self.schema.kind("sticky"))? {
            if row
                .holder
                .as_ref()
                .is_some_and(|holder| holder.node == lost.node)
            {
                let free = StickyRow {
                    holder: None,
                    changed_at_unix_ms: self.now_unix_ms,
                    ..row
                };
                let when = Compare::Modified(raw.key.clone(), raw.modified);
                writes.push((Some(when), Write::Put(self.key(&place), encode(&free))));
            }
        }
        for (place, _, raw) in self.all::<AskRow>(&self.schema.kind("asks"))? {
            if let Place::Ask(ask) = place
                && (ask.asker == lost.node || ask.owner == lost.node)
            {
                writes.push((None, Write::Delete(raw.key)));
            }
        }
        let live = self.key(&Place::Live(lost.node.clone()));
        writes.push((None, Write::Delete(live)));
        for part in writes.chunks(Txn::MOST_WRITES / 2) {
            let mut txn = self.fenced(lost)?;
            for (when, write) in part {
                txn.when.extend(when.clone());
                txn.writes.push(write.clone());
            }
            if !self.commit_step(lost, &txn)? {
                // Somebody changed one of them: all are looked at again.
                return self.sweep(lost);
            }
        }
        Ok(())
    }

    fn lease_chapter(
        &self,
        lost: &LostNode,
        pool: &PoolName,
        ordinal: u64,
        lease: &LeaseRow,
    ) -> Write {
        let row = AuditRow {
            attachment: Some(lease.attachment.clone()),
            sequence: Some(lease.sequence),
            pod: lease.pod.clone(),
            since_unix_ms: Some(lease.since_unix_ms),
            ..self.chapter(lost)
        };
        self.audit(lost, pool, ordinal, &row)
    }

    fn block_chapter(&self, lost: &LostNode, pool: &PoolName, block: Block) -> Write {
        let row = AuditRow {
            bits: Some(block.bits()),
            ..self.chapter(lost)
        };
        self.audit(lost, pool, block.first(), &row)
    }

    fn chapter(&self, lost: &LostNode) -> AuditRow {
        AuditRow {
            at_unix_ms: self.now_unix_ms,
            what: Happened::Lost,
            node: lost.node.clone(),
            reason: format!("{} said: {}", self.by, lost.statement),
            bits: None,
            attachment: None,
            sequence: None,
            pod: None,
            since_unix_ms: None,
        }
    }

    fn audit(&self, lost: &LostNode, pool: &PoolName, ordinal: u64, row: &AuditRow) -> Write {
        // A lease's and a block's chapter may have the same ordinal.
        let place = AuditPlace {
            pool: pool.clone(),
            ordinal,
            at_unix_ms: self.now_unix_ms,
            writer: lost.node.short().to_owned(),
            nth: lost.steps * 2 + u64::from(row.bits.is_some()),
        };
        Write::Put(self.key(&Place::Audit(place)), encode(row))
    }
}
