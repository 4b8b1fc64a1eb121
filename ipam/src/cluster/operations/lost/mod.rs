//! An operator's statement that a node is dead. The fence first: from then on no transaction of the
//! node is made, whatever is still on its way. Then what it had is given up in pages, leases before the
//! blocks they lie in, so that nobody is given an address whose lease still stands.

mod error;
mod pages;
mod units;

pub use error::LostError;

use super::commit::{ROUNDS, Settled};
use super::{Operations, Operator, StoreTrouble};
use crate::cluster::kv::{Compare, Txn, Write};
use crate::cluster::name::NodeId;
use crate::cluster::schema::{FenceRow, FenceState, Place, encode};
use units::Kind;

/// Longest statement, in bytes: every audit row repeats it, and a transaction has 60 of them.
const MOST_STATEMENT: usize = 4096;

/// What became of a statement that a node is dead.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LostReport {
    /// What the node is called.
    pub name: String,
    /// The epoch that it is fenced out of: its writes with this one, or an earlier one, are void.
    pub fenced_epoch: u64,
    /// Leases ended now.
    pub leases: u64,
    /// Names whose address it held, and may be had elsewhere now.
    pub sticky: u64,
    /// Asks of it, or to it, that are settled now.
    pub asks: u64,
    /// Blocks given up now.
    pub blocks: u64,
    /// Whether the node registered anew before everything was given up: what was left is its own.
    pub came_back: bool,
    /// Keys of rows that are not understood, and may be the node's.
    pub unread: Vec<String>,
}

/// How far something is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Progress {
    /// What is being done: `leases ended`.
    pub what: &'static str,
    /// How many are.
    pub done: u64,
    /// Of how many, if that is known.
    pub total: Option<u64>,
}

/// Told of every page.
pub type Watcher<'a> = &'a mut dyn FnMut(Progress);

/// What a node is fenced out of.
#[derive(Clone, Debug)]
struct Fenced {
    node: NodeId,
    name: String,
    epoch: u64,
}

impl Operations<'_> {
    /// Fences a node out of its epoch and gives up what it had. Done again after an interruption, it
    /// goes on; done again after the end, it finds nothing.
    ///
    /// # Errors
    /// [`LostError`]; after `Interrupted` the fence stands.
    pub fn node_lost(
        &self,
        operator: &Operator,
        node: &NodeId,
        statement: &str,
        watcher: Watcher<'_>,
    ) -> Result<LostReport, LostError> {
        if *node == operator.writer {
            return Err(LostError::Own { node: node.clone() });
        }
        if statement.len() > MOST_STATEMENT {
            return Err(LostError::Statement {
                bytes: statement.len(),
            });
        }
        let fenced = self.fence(operator, node, statement)?;
        let mut report = LostReport {
            name: fenced.name.clone(),
            fenced_epoch: fenced.epoch,
            ..LostReport::default()
        };
        for kind in Kind::IN_ORDER {
            self.give_up(operator, &fenced, statement, kind, &mut report, watcher)
                .map_err(|source| LostError::Interrupted {
                    name: fenced.name.clone(),
                    leases: report.leases,
                    blocks: report.blocks,
                    source: Box::new(source),
                })?;
        }
        Ok(report)
    }

    fn fence(
        &self,
        operator: &Operator,
        node: &NodeId,
        statement: &str,
    ) -> Result<Fenced, LostError> {
        let place = Place::Fence(node.clone());
        let key = self.schema.key(&place);
        let mut tried = None;
        for _ in 0..ROUNDS {
            let open = self.open()?;
            let (fence, revision) = self.one::<FenceRow>(&place)?;
            let fence = fence.ok_or_else(|| LostError::Missing { node: node.clone() })?;
            let fenced = |epoch| Fenced {
                node: node.clone(),
                name: fence.name.clone(),
                epoch,
            };
            let row = match lost(&fence, tried, operator, statement) {
                Fencing::Stands { epoch } => return Ok(fenced(epoch)),
                Fencing::Write(row) => row,
            };
            let txn = Txn {
                when: vec![open, Compare::Modified(key.clone(), revision)],
                writes: vec![Write::Put(key.clone(), encode(&row))],
            };
            match self.settle(&txn, &key).map_err(StoreTrouble::from)? {
                Settled::Made => return Ok(fenced(fence.epoch)),
                Settled::Not => {}
                Settled::Overtaken => tried = Some(fence.epoch),
            }
        }
        Err(self.contended().into())
    }
}

/// What is to be done about a fence.
enum Fencing {
    /// Nothing: it fences the node out of this epoch.
    Stands { epoch: u64 },
    /// This.
    Write(FenceRow),
}

/// The fence of a lost node; `tried` is the epoch that an earlier try, whose answer did not come, may
/// have fenced it out of: a later life of the node is not meant by the statement.
fn lost(fence: &FenceRow, tried: Option<u64>, operator: &Operator, statement: &str) -> Fencing {
    if let Some(epoch) = tried.filter(|epoch| fence.epoch > *epoch) {
        return Fencing::Stands { epoch };
    }
    if fence.state == FenceState::Lost {
        return Fencing::Stands {
            epoch: fence.epoch.saturating_sub(1),
        };
    }
    Fencing::Write(FenceRow {
        epoch: fence.epoch.saturating_add(1),
        state: FenceState::Lost,
        session: operator.attempt.clone(),
        by: operator.by.clone(),
        statement: statement.to_owned(),
        lost_at_unix_ms: operator.at_unix_ms,
        ..fence.clone()
    })
}
