//! Comparing memory and store: at the start, after the store was away, and whenever something is in
//! doubt. It is the only place where doubt is resolved.
//!
//! 1. *Look*: the store's own row and this node's fence.
//! 2. *Seal*: write the fence anew, if this process has not yet, or a transaction of it may be on its
//!    way. Every transaction compares the fence's revision, so none of before can arrive after it.
//! 3. *Survey*: pools, reservations, asks, and the rows in the place of every block that is this node's
//!    or may have become so. Whose is what follows from the rows alone ([`super::recast`]).
//! 4. *Contents*: the lease rows of its blocks, against what is held: the difference is published.
//! 5. *Save*, and serve.

use super::Ledger;
use super::lane::{Answer, Call, Fault, Flow};
use super::link::{Need, Standing};
use super::recast::{Fate, FoundBlock};
use crate::boot::Now;
use crate::cluster::geometry::Block;
use crate::cluster::kv::{Compare, KeyRange, Listing, Revision, Txn, Write};
use crate::cluster::name::PoolName;
use crate::cluster::schema::{
    FenceRow, FenceState, MetaRow, MetaState, Place, RowError, Value, decode, encode,
};

/// Memory and store are being compared.
#[derive(Clone, Debug)]
pub(super) struct Sync(Step);

#[derive(Clone, Debug)]
enum Step {
    Look,
    Create,
    Seal { epoch: u64 },
    Survey,
    Contents { places: Vec<(PoolName, Block)> },
    Save,
}

/// What the store's own row and the fence say.
enum Verdict {
    /// There is no cluster yet.
    Create,
    /// This store is not to be written to.
    Refuse(String),
    /// Another process is this node, too.
    Twin(String),
    /// The fence is to be written.
    Seal { epoch: u64 },
    /// All is as it was.
    Keep,
}

/// The rows that were looked at.
struct Seen {
    meta: Option<(Revision, MetaRow)>,
    fence: Option<(Revision, FenceRow)>,
}

impl Ledger {
    pub(super) fn start_sync(&mut self) -> Flow {
        let one = |place| KeyRange::one(&self.schema.key(&place));
        let ranges = vec![one(Place::Meta), one(Place::Fence(self.node.clone()))];
        Flow::then(Sync(Step::Look), Call::Read(ranges))
    }
}

impl Sync {
    pub(super) fn answered(self, ledger: &mut Ledger, answer: Answer, now: Now) -> Flow {
        match self.0 {
            Step::Look => ledger.looked(&answer.rows(), now),
            Step::Create => ledger.start_sync(),
            Step::Seal { epoch } => {
                let committed = answer.committed();
                if !committed.held {
                    return ledger.start_sync();
                }
                ledger.sealed(epoch, committed.revision);
                ledger.survey()
            }
            Step::Survey => ledger.surveyed(&answer.rows(), now),
            Step::Contents { places } => {
                ledger.compare_contents(&places, &answer.rows(), now);
                Flow::then(Self(Step::Save), ledger.save_all())
            }
            Step::Save => {
                ledger.in_step(now);
                Flow::End
            }
        }
    }

    /// It begins anew.
    #[allow(clippy::unused_self)] // as every job
    pub(super) fn interrupted(self, _: &mut Ledger, _: Fault, _: Now) {}
}

impl Ledger {
    fn looked(&mut self, rows: &[Listing], now: Now) -> Flow {
        let seen = match (first(&rows[0]), first(&rows[1])) {
            (Ok(meta), Ok(fence)) => Seen { meta, fence },
            (Err(error), _) | (_, Err(error)) => return self.give_up(error.to_string(), now),
        };
        match self.judge(&seen) {
            Verdict::Create => self.create(now),
            Verdict::Refuse(why) => self.give_up(why, now),
            Verdict::Twin(session) => {
                self.link.standing = Standing::Twin { session };
                Flow::End
            }
            Verdict::Seal { epoch } => self.seal(&seen, epoch, now),
            Verdict::Keep if self.link.is_compared() => {
                self.link.done();
                Flow::End
            }
            Verdict::Keep => self.survey(),
        }
    }

    fn judge(&mut self, seen: &Seen) -> Verdict {
        let Some((meta, row)) = &seen.meta else {
            if self.link.cluster.is_empty() {
                return Verdict::Create;
            }
            return Verdict::Refuse(format!(
                "it holds nothing of cluster {}, to which this node belongs: restore a backup with `bulkhead store restore`, or name the right store",
                self.link.cluster
            ));
        };
        if let Some(why) = self.unfit(row) {
            return Verdict::Refuse(why);
        }
        self.link.cluster.clone_from(&row.cluster);
        let moved = self.link.meta != *meta;
        self.link.meta = *meta;
        let verdict = self.judge_fence(seen.fence.as_ref());
        match verdict {
            // Transactions that compared the row before may be on their way.
            Verdict::Keep if moved => Verdict::Seal {
                epoch: self.link.epoch,
            },
            verdict => verdict,
        }
    }

    /// Why a store with this row is not to be written to.
    fn unfit(&self, row: &MetaRow) -> Option<String> {
        if !self.link.cluster.is_empty() && self.link.cluster != row.cluster {
            return Some(format!(
                "it is of cluster {}, and this node belongs to cluster {}: name the right store, or give this node a new state directory",
                row.cluster, self.link.cluster
            ));
        }
        match row.state {
            MetaState::Active => None,
            MetaState::Filling => Some(
                "it is being filled by `bulkhead store restore` or `migrate`: let that finish"
                    .to_owned(),
            ),
            MetaState::Moving => Some(format!(
                "it is being copied to {}: let `bulkhead store migrate` finish",
                row.to
            )),
            MetaState::Moved => Some(format!(
                "its rows have moved to {}: name that store in the daemon's configuration",
                row.to
            )),
        }
    }

    fn judge_fence(&mut self, fence: Option<&(Revision, FenceRow)>) -> Verdict {
        let own = self.link.epoch;
        let Some((revision, row)) = fence else {
            // Never registered, or the store has forgotten it.
            return Verdict::Seal { epoch: own + 1 };
        };
        let newer = own != 0 && row.epoch > own;
        if row.state == FenceState::Lost || newer {
            self.link.standing = Standing::Fenced {
                by: if row.by.is_empty() {
                    "somebody"
                } else {
                    &row.by
                }
                .to_owned(),
                statement: row.statement.clone(),
            };
            self.link.fate = Fate::Fenced;
            return Verdict::Seal {
                epoch: row.epoch + 1,
            };
        }
        if own != 0 && row.epoch < own {
            // The store is older than this node's memory: a backup was restored.
            return Verdict::Seal { epoch: own + 1 };
        }
        let ours = row.session.0.starts_with(&format!("{}-", self.session));
        if self.link.sealed && !ours && *revision != self.link.fence {
            return Verdict::Twin(row.session.0.clone());
        }
        if self.link.sealed && !self.link.doubt && *revision == self.link.fence {
            return Verdict::Keep;
        }
        Verdict::Seal { epoch: row.epoch }
    }

    fn create(&mut self, now: Now) -> Flow {
        let key = self.schema.key(&Place::Meta);
        let row = MetaRow {
            cluster: self.session.clone(),
            created_at_unix_ms: now.unix_ms,
            ..MetaRow::default()
        };
        let txn = Txn {
            when: vec![Compare::Absent(key.clone())],
            writes: vec![Write::Put(key, encode(&row))],
        };
        Flow::then(Sync(Step::Create), Call::Commit(txn))
    }

    fn seal(&mut self, seen: &Seen, epoch: u64, now: Now) -> Flow {
        let fence = self.schema.key(&Place::Fence(self.node.clone()));
        let node = self.schema.key(&Place::Node(self.node.clone()));
        let before = seen.fence.as_ref();
        let same = before.filter(|(_, row)| row.epoch == epoch);
        let row = FenceRow {
            name: self.about.name.clone(),
            epoch,
            state: FenceState::Active,
            session: self.attempt(),
            registered_at_unix_ms: same.map_or(now.unix_ms, |(_, row)| row.registered_at_unix_ms),
            ..FenceRow::default()
        };
        let compared = before.map_or(Revision(0), |(revision, _)| *revision);
        let txn = Txn {
            when: vec![
                Compare::Modified(self.schema.key(&Place::Meta), self.link.meta),
                Compare::Modified(fence.clone(), compared),
            ],
            writes: vec![
                Write::Put(fence, encode(&row)),
                Write::Put(node, encode(&self.about)),
            ],
        };
        Flow::then(Sync(Step::Seal { epoch }), Call::Commit(txn))
    }

    fn sealed(&mut self, epoch: u64, revision: Revision) {
        self.link.epoch = epoch;
        self.link.fence = revision;
        self.link.sealed = true;
        self.link.doubt = false;
        self.link.need(Need::Compare);
    }

    fn survey(&mut self) -> Flow {
        let mut ranges = vec![
            self.schema.kind("pools"),
            self.schema.kind("reservations"),
            self.schema.asks_of(&self.node),
        ];
        let mut places = self.own.places();
        let claiming = self.claiming.iter();
        places.extend(claiming.map(|one| (one.pool.clone(), one.block.0)));
        if self.link.adopts() {
            ranges.push(self.schema.kind("blocks"));
        } else {
            let blocks = places.iter();
            ranges.extend(blocks.map(|(pool, block)| self.schema.within("blocks", pool, *block)));
        }
        Flow::then(Sync(Step::Survey), Call::Read(ranges))
    }

    fn surveyed(&mut self, rows: &[Listing], now: Now) -> Flow {
        let found: Result<Vec<FoundBlock>, RowError> = rows[3..]
            .iter()
            .flat_map(|listing| &listing.rows)
            .map(|row| FoundBlock::read(&self.schema, row))
            .collect();
        let mut found = match found {
            Ok(found) => found,
            Err(error) => return self.give_up(error.to_string(), now),
        };
        found.sort_by(|a, b| (&a.pool, a.block).cmp(&(&b.pool, b.block)));
        found.dedup_by(|a, b| (&a.pool, a.block) == (&b.pool, b.block));
        self.take_in_config(rows, now);
        self.recast(&found);
        self.link.compared_epoch = self.link.epoch;
        let places = self.own.places();
        let ranges = places.iter().flat_map(|(pool, block)| {
            ["leases", "kept"].map(|kind| self.schema.within(kind, pool, *block))
        });
        let call = Call::Read(ranges.collect());
        Flow::then(Sync(Step::Contents { places }), call)
    }

    /// Pools, reservations and asks as they are now.
    fn take_in_config(&mut self, rows: &[Listing], now: Now) {
        self.link.surveyed = rows[0].revision;
        if !self.link.watching {
            self.link.watching = true;
            self.link.watches += 1;
        }
        self.set_pools(&rows[0], now);
        self.set_reservations(&rows[1], now);
        self.set_asks(&rows[2], now);
    }

    /// Memory and store say the same, or what they do not is on its way.
    fn in_step(&mut self, now: Now) {
        self.link.done();
        // What was being claimed is among the blocks, or never will be.
        self.claiming.clear();
        for (_, own) in self.own.all_mut() {
            own.fresh = false;
        }
        if std::mem::replace(&mut self.link.fate, Fate::Intact) == Fate::Fenced {
            // A new life: what was found out in the one before says nothing.
            for side in self.pools.values_mut() {
                side.dry = None;
                side.search.restart();
            }
        }
        self.link.standing = Standing::Good;
        self.link.serve();
        self.counters.syncs += 1;
        self.synced_at_ms = now.since_boot_ms;
    }

    /// The store is there and cannot be used.
    fn give_up(&mut self, why: String, now: Now) -> Flow {
        self.fail(why, now);
        Flow::End
    }
}

/// The one row of a listing, if there is one.
fn first<T: Value>(listing: &Listing) -> Result<Option<(Revision, T)>, RowError> {
    let row = listing.rows.first();
    row.map(|row| Ok((row.modified, decode(&row.key, &row.value)?)))
        .transpose()
}
