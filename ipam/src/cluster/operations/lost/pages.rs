//! Giving up the rows of a lost node, page by page.

use super::units::{Judge, Kind, Unit};
use super::{Fenced, LostReport, Progress, Watcher};
use crate::cluster::kv::{Compare, Key, KeyRange, Revision, Row, Txn, Write};
use crate::cluster::operations::commit::{ROUNDS, Settled};
use crate::cluster::operations::rows::PAGE;
use crate::cluster::operations::{Operations, Operator, StoreTrouble};
use crate::cluster::schema::{FenceRow, FenceState, Place};

/// Rows in one transaction: each is written and audited, and two conditions stand beside theirs.
const AT_ONCE: usize = Txn::MOST_WRITES / 2;

/// Conditions that the node is lost, and the store open.
type Stand = [Compare; 2];

/// What became of a page.
enum Page {
    Done {
        next: Option<KeyRange>,
    },
    /// Somebody changed a row, or the fence: read it again.
    Changed {
        progress: bool,
    },
}

impl Operations<'_> {
    /// Gives up every row of a kind, or what is left when the node comes back: then it is the node's.
    pub(super) fn give_up(
        &self,
        operator: &Operator,
        fenced: &Fenced,
        statement: &str,
        kind: Kind,
        report: &mut LostReport,
        watcher: Watcher<'_>,
    ) -> Result<(), StoreTrouble> {
        let mut range = kind.range(self.schema, fenced);
        let mut rounds = 0;
        while rounds < ROUNDS {
            let Some(stand) = self.stand(fenced)? else {
                report.came_back = true;
                return Ok(());
            };
            let judge = Judge {
                schema: self.schema,
                operator,
                fenced,
                statement,
            };
            match self.give_up_page(&judge, &stand, kind, &range, report)? {
                Page::Done { next: None } => return Ok(()),
                Page::Done { next: Some(next) } => (range, rounds) = (next, 0),
                Page::Changed { progress: true } => rounds = 0,
                Page::Changed { progress: false } => rounds += 1,
            }
            if let Some(done) = kind.counted(report) {
                watcher(Progress {
                    what: kind.done(),
                    done: *done,
                    total: None,
                });
            }
        }
        Err(self.contended())
    }

    /// `None` if the node has registered anew.
    fn stand(&self, fenced: &Fenced) -> Result<Option<Stand>, StoreTrouble> {
        let open = self.open()?;
        let place = Place::Fence(fenced.node.clone());
        let (fence, revision) = self.one::<FenceRow>(&place)?;
        let lost = fence.is_some_and(|fence| fence.state == FenceState::Lost);
        let fence = Compare::Modified(self.schema.key(&place), revision);
        Ok(lost.then_some([open, fence]))
    }

    fn give_up_page(
        &self,
        judge: &Judge<'_>,
        stand: &Stand,
        kind: Kind,
        range: &KeyRange,
        report: &mut LostReport,
    ) -> Result<Page, StoreTrouble> {
        let listing = self.store.range(range, PAGE)?;
        let mut units: Vec<(&Row, Unit)> = Vec::new();
        for (nth, row) in (u64::from(kind == Kind::Blocks) << 32..).zip(&listing.rows) {
            match judge.unit(kind, row, nth) {
                Ok(unit) => units.extend(unit.map(|unit| (row, unit))),
                Err(_) if report.unread.contains(&row.key.to_string()) => {}
                Err(_) => report.unread.push(row.key.to_string()),
            }
        }
        let mut progress = false;
        for some in units.chunks(AT_ONCE) {
            let (txn, pivot) = transaction(stand, some);
            if self.settle(&txn, &pivot)? != Settled::Made {
                return Ok(Page::Changed { progress });
            }
            progress = true;
            if let Some(done) = kind.counted(report) {
                *done += u64::try_from(some.len()).expect("it is a page at most");
            }
        }
        let last = listing.rows.last().filter(|_| listing.more);
        Ok(Page::Done {
            next: last.map(|last| range.after(&last.key)),
        })
    }
}

/// Gives up some rows; the pivot is the audit row of the first, which has a key of its own.
fn transaction(stand: &Stand, units: &[(&Row, Unit)]) -> (Txn, Key) {
    let mut when = stand.to_vec();
    let rows = units.iter();
    when.extend(rows.map(|(row, _)| Compare::Modified(row.key.clone(), row.modified)));
    let mut writes: Vec<Write> = units.iter().map(|(_, unit)| unit.row.clone()).collect();
    writes.extend(units.iter().filter_map(|(_, unit)| unit.audit.clone()));
    let audit = units[0].1.audit.as_ref().map(Write::key);
    when.extend(audit.map(|key| Compare::Modified(key.clone(), Revision(0))));
    let pivot = audit.unwrap_or(&units[0].0.key).clone();
    (Txn { when, writes }, pivot)
}
