//! A node: a process that may die, a disk that does not, and containers.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_ipam::Now;
use bulkhead_ipam::cluster::ledger::{Identity, Ledger, LedgerFile, PoolAsk, PoolGrant, Tuning};
use bulkhead_ipam::cluster::schema::{NodeRow, Schema};
use bulkhead_ipam::cluster::{NodeId, Revision};
use bulkhead_model::AttachmentKey;

use crate::disk::Disk;

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    /// The process; none while it is dead.
    pub(crate) ledger: Option<Ledger>,
    /// Counts processes: what belongs to an earlier one is void.
    pub(crate) life: u64,
    pub(crate) disk: Disk,
    /// Containers that run, whoever looks after them.
    pub(crate) containers: BTreeSet<AttachmentKey>,
    pub(crate) boot: u64,
    booted_at_ms: u64,
    /// How far the wall clock is off.
    pub(crate) clock_off_ms: i64,
    pub(crate) cut_off: bool,
    pub(crate) fortune: Fortune,
    pub(crate) waiting: BTreeMap<AttachmentKey, Waiting>,
    /// Granted, and not durable yet.
    pub(crate) granted: BTreeMap<AttachmentKey, PoolGrant>,
    /// When it is looked at next.
    pub(crate) wakes_at_ms: Option<u64>,
    pub(crate) seen: Revision,
    pub(crate) generation: u64,
    pub(crate) missed_news: bool,
    pub(crate) pods: u64,
}

/// What operators said of a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fortune {
    /// Nothing.
    Good,
    /// It is declared lost, and stays off until that is done.
    Lost,
    /// It was, and has not compared itself with the store since.
    Returning,
}

/// An ADD that waits.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) ask: PoolAsk,
    pub(crate) until_ms: u64,
}

impl Node {
    pub(crate) fn new(id: NodeId) -> Self {
        Self {
            id,
            ledger: None,
            life: 0,
            disk: Disk::default(),
            containers: BTreeSet::new(),
            boot: 0,
            booted_at_ms: 0,
            clock_off_ms: 0,
            cut_off: false,
            fortune: Fortune::Good,
            waiting: BTreeMap::new(),
            granted: BTreeMap::new(),
            wakes_at_ms: None,
            seen: Revision(0),
            generation: 0,
            missed_news: false,
            pods: 0,
        }
    }

    pub(crate) fn now(&self, now_ms: u64) -> Now {
        let unix = 1_795_000_000_000 + now_ms;
        Now {
            since_boot_ms: 60_000 + now_ms - self.booted_at_ms,
            unix_ms: unix.saturating_add_signed(self.clock_off_ms),
        }
    }

    /// The process begins, with what is on the disk.
    pub(crate) fn start(&mut self, now_ms: u64) {
        self.life += 1;
        self.wakes_at_ms = None;
        self.generation = 0;
        let who = Identity {
            node: self.id.clone(),
            about: NodeRow {
                name: format!("name-of-{}", self.id),
                ..NodeRow::default()
            },
            session: format!("{}-{}", self.id, self.life),
        };
        let file = self.disk.file.as_ref();
        let file =
            file.map(|bytes| LedgerFile::decode(bytes, &self.id).expect("it was written so"));
        let freed = self.disk.freed(now_ms, self.boot);
        let leases: Vec<_> = self.disk.records.values().cloned().collect();
        self.ledger = Some(Ledger::rebuild(
            who,
            Schema::default(),
            Tuning::default(),
            file,
            leases,
            freed,
            self.now(now_ms),
        ));
    }

    /// The process dies. A file that was being replaced is the old one or the new one.
    pub(crate) fn die(&mut self, replaced: bool) {
        self.ledger = None;
        self.life += 1;
        self.wakes_at_ms = None;
        self.waiting.clear();
        let replacing = self.disk.replacing.take();
        if let Some(bytes) = replacing.filter(|_| replaced) {
            self.disk.file = Some(bytes);
        }
    }

    /// Attachments that are recorded and whose containers run no more.
    pub(crate) fn gone(&self) -> impl Iterator<Item = &AttachmentKey> {
        let recorded = self.disk.records.keys();
        recorded.filter(|key| !self.containers.contains(key))
    }

    /// The machine begins anew: its containers are gone.
    pub(crate) fn reboot(&mut self, now_ms: u64) {
        self.boot += 1;
        self.booted_at_ms = now_ms;
        self.containers.clear();
    }
}
