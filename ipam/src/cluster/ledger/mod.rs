//! A node's ledger: which ordinals of the cluster's pools are its own, which of them who holds, and what
//! it has to tell and to ask the store. A state machine without clock, file or store: it is asked what
//! to do ([`Ledger::next`]), somebody does it, and tells what became of it ([`Ledger::done`]).
//!
//! An attachment gets an ordinal from memory ([`Ledger::acquire`]), its record becomes durable in its
//! network's journal, and is settled ([`Ledger::settle`]). All that the store hears of it, it hears
//! afterwards.
//!
//! # What is durable before what
//!
//! | before | this is durable | so that |
//! |---|---|---|
//! | an ADD is answered | the record in the journal | a restart knows who holds the ordinal |
//! | a claim is sent | the blocks and the attempt, in the file | a restart finds the block if it was got |
//! | an ordinal of a new block is given out | the block, in the file | a restart inside an outage has it |
//! | a block is given back, or a part of it ceded | that it leaves, in the file | nothing of it is given out by a restart before the store is known to have it |
//! | a node is asked for a part | the ask, in the file | a restart takes in what was ceded meanwhile |
//! | a pod's ordinal is written to be its own | that it is kept, in the file | a restart inside an outage gives it to nobody else |
//! | anything of a new epoch is given out | the epoch, in the file, with the blocks that are left | a restart knows which rows are its own |
//!
//! Pools, reservations and what no longer leaves are saved within a second, and read anew at the next
//! contact. The order of the ordinals is not saved: a restart gives freed ones out last, as the journals
//! tell.
//!
//! # Who may write
//!
//! Every transaction of a node compares the revisions of its fence and of the store's own row. Whoever
//! writes the fence ends every transaction that compares the one before: an operator who declares the
//! node lost, its next process, and this process itself if the answer of a transaction did not come.

mod acquire;
mod adopt;
mod ask;
mod borrow;
mod candidates;
mod cede;
mod choose;
mod claim;
mod file;
mod give_back;
mod grow;
mod heartbeat;
mod holdings;
mod lane;
mod lease;
mod link;
mod observe;
mod own;
mod publish;
mod queue;
mod rebuild;
mod recast;
mod refusal;
mod root;
mod side;
mod sticky;
mod sync;
#[cfg(test)]
mod tests;
mod told;
mod usage;
mod want;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bulkhead_model::{AttachmentId, AttachmentKey};

pub use ask::{Acquire, PoolAsk, PoolChoice, PoolGrant, Waiting};
pub use file::{LedgerFile, LedgerFileError};
pub use lane::{Call, Next, Outcome};
pub use lease::{Ended, Evicted};
pub use observe::Watching;
pub use rebuild::{EndedLease, FreedFact, LeaseFact};
pub use refusal::PoolRefusal;
pub use told::{OwnLease, OwnedBlock};
pub use usage::PoolUsage;

use self::borrow::Asking;
use self::cede::OpenAsk;
use self::file::{Claiming, SavedBlock, SavedSpan};
use self::holdings::Holdings;
use self::lane::Lane;
use self::lease::{Lease, Ousted};
use self::link::Link;
use self::queue::Queue;
use self::recast::FoundBlock;
use self::side::{Dry, PoolSide};
use self::want::Want;
use super::geometry::Block;
use super::name::{Attempt, NodeId, PoolName, ReservationName, StickyId};
use super::schema::{AskPlace, NodeRow, ReservationRow, Schema};
use crate::boot::Now;

/// Who a ledger is of.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The node.
    pub node: NodeId,
    /// What it says of itself; its labels say which pools are for it.
    pub about: NodeRow,
    /// A name of this process that no other has.
    pub session: String,
}

/// How a ledger weighs time.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// What is to be published is, once nothing was added for so long.
    pub quiet_ms: u64,
    /// It is published after so long in any case.
    pub publish_within_ms: u64,
    /// A block is given back that was idle for so long.
    pub idle_ms: u64,
    /// How often a node shows that it lives.
    pub beat_ms: u64,
    /// How long a pool without a block is not asked for one, while somebody waits.
    pub dry_ms: u64,
    /// How much longer, while nobody does.
    pub rest_ms: u64,
    /// How long another node may take to answer.
    pub patience_ms: u64,
    /// How soon its answer is looked for.
    pub poll_ms: u64,
    /// When something that could not be done is tried again.
    pub retry_ms: u64,
    /// How often smaller blocks are looked at, whether they can be made one.
    pub tidy_ms: u64,
    /// Free ordinals that a node keeps when another asks.
    pub keep_free: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            quiet_ms: 50,
            publish_within_ms: 150,
            idle_ms: 60_000,
            beat_ms: 60_000,
            dry_ms: 10_000,
            rest_ms: 290_000,
            patience_ms: 10_000,
            poll_ms: 50,
            retry_ms: 200,
            tidy_ms: 600_000,
            keep_free: 8,
        }
    }
}

/// What a ledger has done since its process began.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Transactions that were answered.
    pub transactions: u64,
    /// Transactions whose answer did not come.
    pub ambiguous: u64,
    /// Transactions that published leases and closed chapters.
    pub publications: u64,
    /// How old the oldest change of the last of these was.
    pub lag_ms: u64,
    /// Blocks claimed.
    pub claims: u64,
    /// Claims that another node was faster with.
    pub conflicts: u64,
    /// Blocks given back.
    pub returned: u64,
    /// Parts ceded to others.
    pub ceded: u64,
    /// Parts got from others because a pool was exhausted.
    pub borrowed: u64,
    /// Blocks made of two.
    pub merged: u64,
    /// Rows written again that the store had lost.
    pub restored: u64,
    /// Attachments whose addresses were no longer this node's.
    pub evicted: u64,
    /// Comparisons of memory and store.
    pub syncs: u64,
}

/// A node's ledger.
#[derive(Debug)]
pub struct Ledger {
    node: NodeId,
    about: NodeRow,
    session: String,
    schema: Schema,
    tuning: Tuning,

    pools: BTreeMap<PoolName, PoolSide>,
    reservations: BTreeMap<ReservationName, ReservationRow>,
    own: Holdings,
    leases: HashMap<AttachmentId, Lease>,
    /// Recorded leases that are in no block that is known yet.
    strays: Vec<LeaseFact>,
    evicted: BTreeMap<AttachmentKey, Ousted>,
    wants: BTreeMap<AttachmentId, Want>,
    leaked: BTreeMap<PoolName, u64>,
    /// What networks are configured with.
    expected: Vec<PoolChoice>,

    queue: Queue,
    /// Identities whose holder is gone, and since when.
    letting_go: BTreeMap<StickyId, u64>,
    asks: BTreeMap<AskPlace, OpenAsk>,
    asking: Vec<Asking>,
    claiming: Vec<Claiming>,
    audited_until_unix_ms: u64,

    link: Link,
    lane: Lane,
    attempts: u64,
    unsaved_since_ms: Option<u64>,
    tick_at_ms: u64,
    beat_at_ms: u64,
    tidy_at_ms: u64,
    /// Small blocks that were looked at in this round.
    passed: BTreeSet<(PoolName, u64)>,
    synced_at_ms: u64,
    troubles: BTreeMap<String, String>,
    counters: Counters,
}

impl Ledger {
    /// How long a change of the file may wait that nothing relies on.
    const UNSAVED_MS: u64 = 500;
    /// How often what only time changes is looked at.
    const TICK_MS: u64 = 1_000;

    fn empty(who: Identity, schema: Schema, tuning: Tuning, now: Now) -> Self {
        let mut ledger = Self {
            node: who.node,
            about: who.about,
            session: who.session,
            schema,
            tuning,
            pools: BTreeMap::new(),
            reservations: BTreeMap::new(),
            own: Holdings::default(),
            leases: HashMap::new(),
            strays: Vec::new(),
            evicted: BTreeMap::new(),
            wants: BTreeMap::new(),
            leaked: BTreeMap::new(),
            expected: Vec::new(),
            queue: Queue::default(),
            letting_go: BTreeMap::new(),
            asks: BTreeMap::new(),
            asking: Vec::new(),
            claiming: Vec::new(),
            audited_until_unix_ms: 0,
            link: Link::new(),
            lane: Lane::default(),
            attempts: 0,
            unsaved_since_ms: None,
            tick_at_ms: now.since_boot_ms,
            beat_at_ms: now.since_boot_ms,
            tidy_at_ms: now.since_boot_ms + tuning.tidy_ms,
            passed: BTreeSet::new(),
            synced_at_ms: 0,
            troubles: BTreeMap::new(),
            counters: Counters::default(),
        };
        ledger.beat_at_ms += ledger.mix("beat", 0) % (tuning.beat_ms + 1);
        ledger
    }

    /// The pools of a network that is configured: a block is claimed before the first ADD, of each that is
    /// named, or of the one that any pod of this node is served from first.
    pub fn expect_pools(&mut self, choice: PoolChoice) {
        self.expected.push(choice);
        self.mark_expected();
    }

    /// Pools that somebody expects are used, once they are known.
    fn mark_expected(&mut self) {
        let expected = self.expected.iter();
        let pools: Vec<PoolName> = expected
            .flat_map(|choice| self.expected_of(choice))
            .collect();
        for pool in pools {
            if let Some(side) = self.pools.get_mut(&pool) {
                side.used = true;
            }
        }
    }

    /// What it has done.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// The pools that it knows.
    pub fn pools(&self) -> impl Iterator<Item = &PoolName> {
        let known = self.pools.iter().filter(|(_, side)| !side.gone);
        known.map(|(name, _)| name)
    }

    /// The epoch of the node's life in the cluster; 0 before it ever registered.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.link.epoch
    }

    /// The cluster's id; empty before the first contact.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.link.cluster
    }

    /// Whether memory and store are in step, but for what is queued.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.link.is_compared()
    }

    /// Changes that the store has not heard of, and since when the oldest waits, on the boot's clock.
    #[must_use]
    pub fn unpublished(&self) -> (usize, Option<u64>) {
        (self.queue.len(), self.queue.oldest_ms())
    }

    /// Closed chapters that were dropped because the store was away for too long. The journals have
    /// them.
    #[must_use]
    pub const fn dropped_audits(&self) -> u64 {
        self.queue.dropped
    }

    /// What somebody has to see to, for people.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        let mut all: Vec<String> = self.troubles.values().cloned().collect();
        if let Some(why) = self.link.down_why() {
            all.push(format!("the cluster's store does not serve: {why}"));
        }
        if let Err(refusal) = self.check_standing() {
            all.push(refusal.to_string());
        }
        all
    }

    /// Its blocks, and the part of each that is being given away.
    pub fn blocks(&self) -> impl Iterator<Item = (&PoolName, Block, Option<Block>)> {
        let all = self.own.all();
        all.map(|(pool, own)| (pool, own.block, own.leaving))
    }

    /// Everything an attachment holds: attachment, pool, ordinal, and the sequence of its record once it
    /// is durable.
    pub fn held(&self) -> impl Iterator<Item = (&AttachmentKey, &PoolName, u64, Option<u64>)> {
        self.leases.values().map(|lease| {
            let sequence = match lease.state {
                lease::LeaseState::Settled { sequence, .. } => Some(sequence),
                _ => None,
            };
            (&lease.key, &lease.pool, lease.ordinal, sequence)
        })
    }

    /// An id that no other attempt has.
    fn attempt(&mut self) -> Attempt {
        self.attempts += 1;
        Attempt(format!("{}-{}", self.session, self.attempts))
    }

    /// A number that is this node's own, the same for the same arguments.
    fn mix(&self, text: &str, number: u64) -> u64 {
        let bytes = self.node.as_str().bytes().chain([0]).chain(text.bytes());
        // FNV-1a, and then splitmix64's finisher, so that close numbers are far apart.
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut z = hash.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// No block can be had: whoever asks is refused at once for a while.
    fn set_dry(&mut self, pool: &PoolName, why: String, now: Now) {
        let until_ms = now.since_boot_ms + self.tuning.dry_ms;
        let rests_until_ms = until_ms + self.tuning.rest_ms;
        if let Some(side) = self.pools.get_mut(pool) {
            side.set_dry(Dry {
                why,
                until_ms,
                rests_until_ms,
            });
        }
    }

    /// There is no block for a reserve: whoever needs one looks anew.
    fn set_rest(&mut self, pool: &PoolName, now: Now) {
        let rests_until_ms = now.since_boot_ms + self.tuning.dry_ms + self.tuning.rest_ms;
        if let Some(side) = self.pools.get_mut(pool) {
            side.set_dry(Dry {
                why: "every block of it is another node's".to_owned(),
                until_ms: 0,
                rests_until_ms,
            });
        }
    }

    fn unsaved_since(&mut self, now: Now) {
        self.unsaved_since_ms.get_or_insert(now.since_boot_ms);
    }

    fn unsaved_due_ms(&self) -> Option<u64> {
        self.unsaved_since_ms.map(|since| since + Self::UNSAVED_MS)
    }

    fn unsaved_due(&self, now: Now) -> bool {
        self.unsaved_due_ms()
            .is_some_and(|due| now.since_boot_ms >= due)
    }

    /// The file as it should be now.
    fn save(&mut self) -> Call {
        self.unsaved_since_ms = None;
        Call::Save(Box::new(self.file()))
    }

    /// The file with every block, because what is in them has been read.
    fn save_all(&mut self) -> Call {
        self.unsaved_since_ms = None;
        Call::Save(Box::new(self.file_of(|_| true)))
    }

    /// The file as it should be with these blocks, which are not in memory yet.
    fn save_with(&mut self, found: &[FoundBlock]) -> Call {
        self.unsaved_since_ms = None;
        let mut file = self.file();
        for one in found {
            if self.own.overlaps(&one.pool, one.block) {
                continue;
            }
            file.blocks.push(SavedBlock {
                pool: one.pool.clone(),
                block: SavedSpan(one.block),
                claimed_at_unix_ms: one.row.claimed_at_unix_ms,
                epoch: one.row.epoch,
                attempt: one.row.attempt.clone(),
                lender: one.row.lender.clone(),
                leaving: None,
            });
        }
        Call::Save(Box::new(file))
    }

    /// Looks at what only time changes.
    fn tick(&mut self, now: Now) {
        if now.since_boot_ms >= self.tick_at_ms {
            self.tick_at_ms = now.since_boot_ms + Self::TICK_MS;
            self.ripen(now);
            self.observe_idle(now);
            self.forget_old_asks(now);
        }
    }

    /// When time changes something next, on the boot's clock.
    fn tick_due_ms(&self) -> Option<u64> {
        let own = self.own.all().filter_map(|(pool, own)| {
            let side = self.pools.get(pool)?;
            let idle = match own.idle_since_ms {
                Some(since) => Some(since + self.rest_ms(pool)),
                None if own.is_idle() => Some(0),
                None => None,
            };
            let spare = idle.filter(|_| self.can_spare(pool, own.free()));
            own.ripe_at_ms(side.cool_down())
                .into_iter()
                .chain(spare)
                .min()
        });
        own.min().map(|due| due.max(self.tick_at_ms))
    }
}
