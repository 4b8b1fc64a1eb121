//! Removing old audit rows. Every node tries now and then; one row says who did last, so that the nodes
//! of a cluster do it once.

use super::commit::{ROUNDS, Settled};
use super::rows::PAGE;
use super::{Operations, StoreTrouble};
use crate::cluster::kv::{Compare, KeyRange, KvError, Row, Txn, Write};
use crate::cluster::name::NodeId;
use crate::cluster::schema::{JanitorRow, LiveRow, Place, encode};

/// How long audit rows are kept, and how often old ones are looked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Retention {
    /// Rows of the last so many milliseconds stay.
    pub keep_ms: u64,
    /// Milliseconds between two removals, by whichever node.
    pub every_ms: u64,
}

/// What became of old audit rows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pruned {
    /// It is not time yet, or another node does it.
    NotDue,
    /// Every other node was last heard of long ago by this one's clock, which is probably wrong: nothing
    /// is removed.
    ClockAhead {
        /// By how many milliseconds.
        by_ms: u64,
    },
    /// They are removed.
    Removed {
        /// How many.
        rows: u64,
        /// What happened before is not kept, in milliseconds since 1970.
        before_unix_ms: u64,
    },
}

const HOUR_MS: u64 = 3_600_000;
/// The most that one removal goes on beyond the last: a clock that is wrong by years takes a day.
const MOST_STEP_MS: u64 = 24 * HOUR_MS;

/// What is removed now; `None` if it is not time.
fn due(last: Option<&JanitorRow>, now_unix_ms: u64, retention: Retention) -> Option<u64> {
    let old = now_unix_ms.saturating_sub(retention.keep_ms);
    let Some(last) = last else {
        return Some(old);
    };
    // Also if the last one's clock was ahead of this one.
    if now_unix_ms.abs_diff(last.at_unix_ms) < retention.every_ms {
        return None;
    }
    let step = MOST_STEP_MS.max(retention.every_ms.saturating_mul(2));
    let furthest = last.before_unix_ms.saturating_add(step);
    Some(old.min(furthest).max(last.before_unix_ms))
}

impl Operations<'_> {
    /// Removes old audit rows, if it is time and nobody else does.
    ///
    /// # Errors
    /// [`StoreTrouble`]. What was removed stays removed; the rest is for the next time.
    pub fn prune_audit(
        &self,
        node: &NodeId,
        now_unix_ms: u64,
        retention: Retention,
    ) -> Result<Pruned, StoreTrouble> {
        let open = self.open()?;
        let (last, revision) = self.one::<JanitorRow>(&Place::Janitor)?;
        let Some(before_unix_ms) = due(last.as_ref(), now_unix_ms, retention) else {
            return Ok(Pruned::NotDue);
        };
        if let Some(by_ms) = self.clock_ahead(node, now_unix_ms)? {
            return Ok(Pruned::ClockAhead { by_ms });
        }
        let key = self.schema.key(&Place::Janitor);
        let row = JanitorRow {
            node: Some(node.clone()),
            at_unix_ms: now_unix_ms,
            before_unix_ms,
        };
        let txn = Txn {
            when: vec![open.clone(), Compare::Modified(key.clone(), revision)],
            writes: vec![Write::Put(key.clone(), encode(&row))],
        };
        if self.settle(&txn, &key)? != Settled::Made {
            return Ok(Pruned::NotDue);
        }
        let when = [open, Compare::Value(key, encode(&row))];
        let rows = self.remove_audit(before_unix_ms, &when)?;
        Ok(Pruned::Removed {
            rows,
            before_unix_ms,
        })
    }

    /// By how much this node's clock is ahead of every other's last sign of life, if that is more than
    /// an hour.
    fn clock_ahead(&self, node: &NodeId, now_unix_ms: u64) -> Result<Option<u64>, StoreTrouble> {
        let rows = self.all(&self.schema.kind("live"))?;
        let others = rows.iter().filter_map(|row| {
            let (place, live) = self.schema.read::<LiveRow>(row).ok()?;
            (place != Place::Live(node.clone())).then_some(live.at_unix_ms)
        });
        let latest = others.max().unwrap_or(now_unix_ms);
        let ahead = now_unix_ms.saturating_sub(latest);
        Ok((ahead > HOUR_MS).then_some(ahead))
    }

    fn remove_audit(&self, before_unix_ms: u64, when: &[Compare]) -> Result<u64, StoreTrouble> {
        let mut rest = self.schema.kind("audit");
        let mut removed = 0;
        let mut unanswered = 0;
        loop {
            let listing = self.store.range(&rest, PAGE)?;
            let old = |row: &&Row| match self.schema.place(&row.key) {
                Some(Place::Audit(audit)) => audit.at_unix_ms < before_unix_ms,
                _ => false,
            };
            let old: Vec<&Row> = listing.rows.iter().filter(old).collect();
            let mut answered = true;
            for some in old.chunks(Txn::MOST_WRITES) {
                let writes = some.iter().map(|row| Write::Delete(row.key.clone()));
                let txn = Txn {
                    when: when.to_vec(),
                    writes: writes.collect(),
                };
                match self.store.commit(&txn) {
                    Ok(committed) if committed.held => {
                        removed += u64::try_from(some.len()).expect("it is a page at most");
                    }
                    // Another node has taken over, or the store is closed.
                    Ok(_) => return Ok(removed),
                    Err(KvError::Ambiguous { .. }) if unanswered < ROUNDS => answered = false,
                    Err(error) => return Err(error.into()),
                }
            }
            if !answered {
                // What of it is still there is removed again.
                unanswered += 1;
                continue;
            }
            match listing.rows.last() {
                Some(last) if listing.more => rest = KeyRange::after(&rest, &last.key),
                _ => return Ok(removed),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = MOST_STEP_MS;
    const NOW: u64 = 1_795_000_000_000;
    const RETENTION: Retention = Retention {
        keep_ms: 30 * DAY,
        every_ms: HOUR_MS,
    };

    fn last(at_unix_ms: u64, before_unix_ms: u64) -> JanitorRow {
        JanitorRow {
            node: None,
            at_unix_ms,
            before_unix_ms,
        }
    }

    #[test]
    fn old_rows_are_removed_once_in_a_while() {
        let kept = NOW - 30 * DAY;
        assert_eq!(due(None, NOW, RETENTION), Some(kept));
        let before = last(NOW - HOUR_MS + 1, kept - HOUR_MS);
        assert_eq!(due(Some(&before), NOW, RETENTION), None);
        let before = last(NOW - HOUR_MS, kept - HOUR_MS);
        assert_eq!(due(Some(&before), NOW, RETENTION), Some(kept));
    }

    #[test]
    fn a_wrong_clock_takes_a_day_and_stops_nobody() {
        let kept = NOW - 30 * DAY;
        let year = 365 * DAY;
        let before = last(NOW - HOUR_MS, kept);
        assert_eq!(due(Some(&before), NOW + year, RETENTION), Some(kept + DAY));
        let before = last(NOW + year, kept + DAY);
        assert_eq!(due(Some(&before), NOW, RETENTION), Some(kept + DAY));
        // A clock that is behind brings nothing back.
        assert_eq!(due(Some(&before), 5, RETENTION), Some(kept + DAY));
    }

    #[test]
    fn a_shorter_retention_is_reached_step_by_step() {
        let short = Retention {
            keep_ms: DAY,
            ..RETENTION
        };
        let mut before = last(NOW, NOW - 30 * DAY);
        let mut runs = 0;
        while before.before_unix_ms < before.at_unix_ms - DAY {
            let now = before.at_unix_ms + HOUR_MS;
            before = last(now, due(Some(&before), now, short).unwrap());
            runs += 1;
        }
        assert_eq!(runs, 31);
    }
}
