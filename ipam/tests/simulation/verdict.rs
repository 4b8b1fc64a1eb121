//! The books of who has what at every instant, and what is found in the end.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use bulkhead_ipam::PodRef;
use bulkhead_ipam::cluster::ClusterStore;
use bulkhead_ipam::cluster::check::{self, Facts, Held, Journal};
use bulkhead_ipam::cluster::ledger::{LeaseFact, PoolAsk, PoolGrant, PoolRefusal};
use bulkhead_ipam::cluster::schema::{AskRow, Place, PoolRow, Schema, StickyRow};
use bulkhead_ipam::cluster::{Txn, Write};
use bulkhead_model::AttachmentKey;

use crate::load::Cost;
use crate::node::Node;
use crate::world::World;

/// Who has what, as somebody sees it who sees everything.
#[derive(Debug, Default)]
pub(crate) struct Books {
    used: HashMap<u64, (usize, AttachmentKey)>,
    /// When an ordinal was freed, and by which node.
    freed_at_ms: HashMap<u64, (u64, usize)>,
    pods: HashMap<AttachmentKey, PodRef>,
    /// Leases that were acknowledged and not ended since.
    kept: BTreeMap<AttachmentKey, u64>,
    durable_at_ms: HashMap<(u64, String), u64>,
    errors: Vec<String>,
    duplicates: u64,
    pub(crate) adds: u64,
    pub(crate) refused: BTreeMap<String, u64>,
    pub(crate) waited_in_vain: u64,
    transactions: u64,
    measured: Cost,
}

impl Books {
    pub(crate) fn granted(&mut self, grant: &PoolGrant, node: usize, ask: &PoolAsk, now_ms: u64) {
        let ordinal = grant.ordinal;
        let before = self.used.insert(ordinal, (node, ask.key.clone()));
        if let Some((other, key)) = before {
            self.duplicates += 1;
            self.errors.push(format!(
                "{now_ms}: ordinal {ordinal} is {}'s on node {node} and {key}'s on node {other}",
                ask.key
            ));
        }
        let free = ask.requested.is_empty() && !ask.sticky;
        let least = PoolRow::COOLDOWN_SECS * 1_000;
        if let Some((freed, by)) = self.freed_at_ms.get(&ordinal)
            && free
            && now_ms - freed < least
        {
            self.errors.push(format!(
                "{now_ms}: ordinal {ordinal}, freed by node {by}, rested for {} ms only when node {node} gave it out",
                now_ms - freed
            ));
        }
        if let Some(pod) = &ask.pod {
            self.pods.insert(ask.key.clone(), pod.clone());
        }
    }

    pub(crate) fn refuse(&mut self, refusal: &PoolRefusal) {
        let kind = format!("{refusal:?}");
        let kind = kind.split([' ', '{', '(']).next().unwrap_or_default();
        let why = match refusal {
            PoolRefusal::Exhausted { why, usage, .. } => {
                let cooling = if usage.cooling > 0 { ", some cool" } else { "" };
                let why: String = why
                    .chars()
                    .filter(|c| !c.is_ascii_digit())
                    .take(70)
                    .collect();
                format!("{kind}{cooling}: {why}")
            }
            _ => kind.to_owned(),
        };
        *self.refused.entry(why).or_default() += 1;
    }

    pub(crate) fn pod_of(&self, key: &AttachmentKey) -> Option<PodRef> {
        self.pods.get(key).cloned()
    }

    pub(crate) fn never_used(&mut self, ordinal: u64, node: usize) {
        if self
            .used
            .get(&ordinal)
            .is_some_and(|(holder, _)| *holder == node)
        {
            self.used.remove(&ordinal);
        }
    }

    pub(crate) fn acknowledged(&mut self, key: &AttachmentKey, ordinal: u64, now_ms: u64) {
        self.adds += 1;
        self.measured.adds += 1;
        self.kept.insert(key.clone(), ordinal);
        self.durable_at_ms
            .insert((ordinal, key.container.to_string()), now_ms);
    }

    pub(crate) fn freed(&mut self, fact: &LeaseFact, node: usize, now_ms: u64) {
        self.kept.remove(&fact.key);
        let holder = self.used.get(&fact.ordinal);
        if holder.is_some_and(|(of, key)| *of == node && *key == fact.key) {
            self.used.remove(&fact.ordinal);
            self.freed_at_ms.insert(fact.ordinal, (now_ms, node));
        }
    }

    /// A machine is off: nothing of it has an address any more.
    pub(crate) fn switched_off(&mut self, node: usize) {
        self.used.retain(|_, (holder, _)| *holder != node);
        // Nor does anything of it remember what it had: its cool-downs end with it.
        self.freed_at_ms.retain(|_, (_, by)| *by != node);
        let prefix = format!("n{node}-");
        self.kept
            .retain(|key, _| !key.container.as_str().starts_with(&prefix));
    }

    /// A transaction has reached the store.
    pub(crate) fn transaction(&mut self, held: bool, now_ms: u64, schema: &Schema, txn: &Txn) {
        self.transactions += 1;
        let lives = |write: &Write| matches!(schema.place(write.key()), Some(Place::Live(_)));
        if txn.writes.iter().all(lives) {
            self.measured.signs_of_life += 1;
        } else {
            self.measured.transactions += 1;
        }
        if !held {
            return;
        }
        for write in &txn.writes {
            let Write::Put(key, value) = write else {
                continue;
            };
            let Some(Place::Lease { ordinal, .. }) = schema.place(key) else {
                continue;
            };
            let row = serde_json::from_slice::<serde_json::Value>(value).expect("a row");
            let container = row["attachment"]["container"].as_str().unwrap_or_default();
            if let Some(durable) = self.durable_at_ms.remove(&(ordinal, container.to_owned())) {
                self.measured.lag_ms = self.measured.lag_ms.max(now_ms - durable);
            }
        }
    }

    pub(crate) fn begin_measuring(&mut self) {
        self.measured = Cost::default();
    }

    pub(crate) fn cost(&self) -> Cost {
        self.measured
    }
}

/// What is found in the end.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    adds: u64,
    refused: u64,
    refusals: BTreeMap<String, u64>,
    waited_in_vain: u64,
    transactions: u64,
    duplicates: u64,
    lost: u64,
    leaked: u64,
    errors: Vec<String>,
    counters: BTreeMap<&'static str, u64>,
}

impl Verdict {
    pub(crate) fn is_clean(&self) -> bool {
        self.duplicates == 0 && self.lost == 0 && self.leaked == 0 && self.errors.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "adds={} refused={} waited_in_vain={} transactions={} duplicates={} lost={} leaked={}",
            self.adds,
            self.refused,
            self.waited_in_vain,
            self.transactions,
            self.duplicates,
            self.lost,
            self.leaked
        )?;
        for (name, count) in &self.counters {
            write!(f, " {name}={count}")?;
        }
        for (refusal, count) in &self.refusals {
            write!(f, "\n  refused {count} times: {refusal}")?;
        }
        for error in self.errors.iter().take(20) {
            write!(f, "\n  {error}")?;
        }
        Ok(())
    }
}

impl World {
    /// Compares everybody's view once nothing happens any more.
    pub(crate) fn verdict(&self) -> Verdict {
        let books = &self.books;
        let mut verdict = Verdict {
            adds: books.adds,
            refused: books.refused.values().sum(),
            refusals: books.refused.clone(),
            waited_in_vain: books.waited_in_vain,
            transactions: books.transactions,
            duplicates: books.duplicates,
            errors: books.errors.clone(),
            ..Verdict::default()
        };
        for node in &self.nodes {
            judge_node(node, &mut verdict);
        }
        self.judge_kept(&mut verdict);
        self.judge_store(&mut verdict);
        verdict
    }

    /// Every acknowledged lease that was not ended is in a journal.
    fn judge_kept(&self, verdict: &mut Verdict) {
        let recorded: BTreeSet<&AttachmentKey> = self
            .nodes
            .iter()
            .flat_map(|node| node.disk.records.keys())
            .collect();
        for key in self.books.kept.keys().filter(|key| !recorded.contains(key)) {
            verdict.lost += 1;
            verdict
                .errors
                .push(format!("{key} was acknowledged and is lost"));
        }
    }

    fn judge_store(&self, verdict: &mut Verdict) {
        let everything = self.schema.everything();
        let rows = self
            .store
            .range(&everything, 0)
            .expect("a store in memory")
            .rows;
        let journals: Vec<Journal> = self.nodes.iter().map(journal).collect();
        let report = check::check(&Facts {
            schema: &self.schema,
            rows: &rows,
            journals: &journals,
            kernels: &[],
        });
        for violation in report.violations {
            verdict.leaked += 1;
            verdict.errors.push(format!(
                "{}: {}: {}",
                violation.rule, violation.subject, violation.text
            ));
        }
        for row in &rows {
            match self.schema.place(&row.key) {
                Some(Place::Ask(_)) => {
                    let ask: AskRow = self.schema.read(row).expect("an ask").1;
                    verdict.leaked += 1;
                    verdict
                        .errors
                        .push(format!("an ask is left: {} {ask:?}", row.key));
                }
                Some(Place::Sticky(_)) => {
                    let sticky: StickyRow = self.schema.read(row).expect("a sticky row").1;
                    self.judge_sticky(&row.key.to_string(), &sticky, verdict);
                }
                _ => {}
            }
        }
    }

    fn judge_sticky(&self, key: &str, sticky: &StickyRow, verdict: &mut Verdict) {
        let Some(holder) = &sticky.holder else {
            return;
        };
        let node = self.nodes.iter().find(|node| node.id == holder.node);
        let record = node.and_then(|node| node.disk.records.get(&holder.attachment));
        if record.is_none_or(|fact| fact.ordinal != sticky.ordinal) {
            verdict.leaked += 1;
            verdict
                .errors
                .push(format!("{key} is held by nobody: {holder:?}"));
        }
    }
}

fn judge_node(node: &Node, verdict: &mut Verdict) {
    let Some(ledger) = &node.ledger else {
        verdict.errors.push(format!("node {} is not up", node.id));
        return;
    };
    if !ledger.is_synced() || ledger.unpublished().0 > 0 || ledger.evicted().count() > 0 {
        verdict.errors.push(format!(
            "node {} is not in step: {:?}, {:?} to publish, {} evicted",
            node.id,
            ledger.troubles(),
            ledger.unpublished(),
            ledger.evicted().count()
        ));
    }
    let held: BTreeMap<&AttachmentKey, u64> = ledger
        .held()
        .map(|(key, _, ordinal, _)| (key, ordinal))
        .collect();
    let recorded: BTreeMap<&AttachmentKey, u64> = node
        .disk
        .records
        .values()
        .map(|fact| (&fact.key, fact.ordinal))
        .collect();
    if held != recorded {
        verdict.leaked += 1;
        verdict.errors.push(format!(
            "node {} holds {} and its journals have {}",
            node.id,
            held.len(),
            recorded.len()
        ));
    }
    let counters = ledger.counters();
    for (name, count) in [
        ("ambiguous", counters.ambiguous),
        ("borrowed", counters.borrowed),
        ("ceded", counters.ceded),
        ("claims", counters.claims),
        ("conflicts", counters.conflicts),
        ("evicted", counters.evicted),
        ("merged", counters.merged),
        ("restored", counters.restored),
        ("returned", counters.returned),
        ("syncs", counters.syncs),
    ] {
        *verdict.counters.entry(name).or_default() += count;
    }
}

fn journal(node: &Node) -> Journal {
    let blocks = node.ledger.as_ref().map(|ledger| {
        let blocks = ledger.blocks();
        blocks
            .map(|(pool, block, _)| (pool.clone(), block))
            .collect()
    });
    let held = node.disk.records.values().map(|fact| Held {
        attachment: fact.key.clone(),
        pool: fact.pool.clone(),
        ordinal: fact.ordinal,
        addresses: fact.addresses.clone(),
        sequence: fact.sequence,
    });
    Journal {
        node: node.id.clone(),
        place: "journals".to_owned(),
        held: held.collect(),
        blocks,
        queued: BTreeSet::new(),
    }
}
