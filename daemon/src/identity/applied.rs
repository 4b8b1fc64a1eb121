//! What this node's kernel enforces, told to the cluster: `policy status` reads it, and so does the cool-down
//! of addresses on every node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bulkhead_ipam::cluster::Revision;
use bulkhead_ipam::cluster::operations::{AppliedListed, StoreTrouble};
use bulkhead_ipam::cluster::schema::AppliedRow;

use bulkhead_ipam::wire::admin::KnownVerdict;
use bulkhead_policy::compile::Said;

use super::{Identities, Mark, spawn};
use crate::clock::unix_ms;
use crate::node::Node;

/// How soon after it has changed another revision of the policies, or what is wrong with them, is told.
const SOON: Duration = Duration::from_millis(100);

/// How often it is told at most that changes of endpoints alone are enforced: addresses cool down for longer.
const NOW_AND_THEN: Duration = Duration::from_secs(5);

/// How long to wait after the store has failed.
const PAUSE: Duration = Duration::from_millis(500);

/// How long what others have told is good for.
const READ_AGAIN: Duration = Duration::from_secs(5);

/// What the kernel enforces, and what was told of it.
#[derive(Debug, Default)]
pub(super) struct Applied {
    now: Option<Report>,
    told: Option<(Report, u64)>,
    told_at: Option<Instant>,
    /// What the verdicts in the kernel stand for.
    verdicts: Vec<KnownVerdict>,
    /// What all nodes have told, as it was read last.
    others: Option<Vec<AppliedListed>>,
    /// When it was tried to read that, with or without an answer.
    asked_at: Option<Instant>,
}

/// What is told.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Report {
    policies: u64,
    store: u64,
    errors: Vec<String>,
    /// What was known.
    change: u64,
}

pub(super) fn start(node: &Arc<Node>) -> std::io::Result<()> {
    spawn(node, "policy-applied", |node| {
        let identities = &node.identities;
        while !identities.ends() {
            let Some(report) = identities.due() else {
                continue;
            };
            match identities.tell_applied(&report) {
                Ok(true) => {}
                Ok(false) => std::thread::sleep(PAUSE),
                Err(error) => {
                    tracing::debug!(%error, "the others are not told what is enforced yet");
                    std::thread::sleep(PAUSE);
                }
            }
        }
    })
}

impl Identities {
    /// The kernel enforces what was known at `mark`, but for `errors`.
    pub(crate) fn applied(&self, mark: Mark, errors: Vec<String>) {
        let unread = self.unread();
        self.applied_state().now = Some(Report {
            policies: mark.policies,
            store: mark.store,
            errors: errors.into_iter().chain(unread).collect(),
            change: mark.change,
        });
        self.told.notify_all();
    }

    /// What the verdicts in the kernel stand for, since it was told them last.
    pub(crate) fn verdicts_are(&self, outcomes: &BTreeMap<String, Said>) {
        // An id is a digest of what it stands for.
        let known = |state: &Applied| {
            let ids = state.verdicts.iter().map(|known| &known.id);
            ids.eq(outcomes.keys())
        };
        if known(&self.applied_state()) {
            return;
        }
        let known = outcomes.iter().map(|(id, said)| KnownVerdict {
            id: id.clone(),
            direction: said.direction.to_string(),
            decision: said.decision().to_string(),
            cause: said.outcome.cause.to_string(),
            would_deny: said
                .outcome
                .would_deny
                .iter()
                .map(ToString::to_string)
                .collect(),
        });
        self.applied_state().verdicts = known.collect();
    }

    /// What the verdicts in the kernel stand for.
    pub(crate) fn verdicts(&self) -> Vec<KnownVerdict> {
        self.applied_state().verdicts.clone()
    }

    /// The revision of the policies that the kernel enforces; `None` while it enforces none.
    pub(crate) fn enforced(&self) -> Option<u64> {
        self.applied_state().now.as_ref().map(|now| now.policies)
    }

    /// Waits until there is something to tell, for a while.
    fn due(&self) -> Option<Report> {
        let epoch = self.registered();
        let (change, seen) = self.look(super::mirror::Mirror::seen);
        let mut state = self.applied_state();
        // What has come since was about nothing that is kept.
        if let Some(now) = state.now.as_mut().filter(|now| now.change == change) {
            now.store = seen.0;
        }
        let wait = state.wait(epoch).unwrap_or(NOW_AND_THEN);
        if !wait.is_zero() && !self.ends() {
            let waited = self.told.wait_timeout(state, wait);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let is_due = state.wait(epoch)?.is_zero();
        state.now.clone().filter(|_| is_due)
    }

    /// Whether it is told.
    fn tell_applied(&self, report: &Report) -> Result<bool, StoreTrouble> {
        let Some(epoch) = self.registered() else {
            return Ok(false);
        };
        let row = AppliedRow {
            epoch,
            revision: report.policies,
            store_revision: report.store,
            at_unix_ms: unix_ms(),
            errors: report.errors.clone(),
        };
        let told = self
            .cluster
            .operations()
            .put_applied(&self.cluster.node, &row)?;
        if told {
            let mut state = self.applied_state();
            state.told = Some((report.clone(), epoch));
            state.told_at = Some(Instant::now());
        }
        Ok(told)
    }

    /// Whether no node lets anything through any more because of who had an address here: every one that
    /// enforces policies has passed the end of its row. What is not known counts as no.
    pub(crate) fn is_forgotten(&self, address: IpAddr) -> bool {
        let Some(nodes) = self.nodes_applied() else {
            return false;
        };
        let own = &self.cluster.node;
        let mut others = nodes.iter().filter(|one| one.node != *own);
        match self.desk().withdrawn(address) {
            Some(revision) => others.all(|one| one.has_passed(revision)),
            // It ended before this process began; its cool-down ends by the longest time if others enforce.
            None => others.all(|one| one.has_passed(Revision(u64::MAX))),
        }
    }

    /// Addresses that nobody waits for any more need not be remembered.
    pub(crate) fn forget_all_but(&self, cooling: &BTreeSet<IpAddr>) {
        self.desk()
            .forget_withdrawn(|address| cooling.contains(address));
    }

    /// What all nodes say that they enforce, read lately; `None` if that was never read.
    fn nodes_applied(&self) -> Option<Vec<AppliedListed>> {
        {
            let state = self.applied_state();
            // While the store is away it is not asked for each of many addresses either.
            if state.asked_at.is_some_and(|at| at.elapsed() < READ_AGAIN) {
                return state.others.clone();
            }
        }
        let read = self.cluster.operations().applied();
        let mut state = self.applied_state();
        state.asked_at = Some(Instant::now());
        match read {
            Ok(nodes) => state.others = Some(nodes),
            // They only go forward, so that what was read last is true still.
            Err(error) => tracing::debug!(%error, "it is not read what others enforce"),
        }
        state.others.clone()
    }
}

impl Applied {
    /// How long until the present report is due; `None` if it is told, by the node's present life.
    fn wait(&self, epoch: Option<u64>) -> Option<Duration> {
        let (now, epoch) = (self.now.as_ref()?, epoch?);
        let told = self.told.as_ref().filter(|(_, of)| *of == epoch);
        let Some((told, _)) = told else {
            return Some(Duration::ZERO);
        };
        if (told.policies, told.store, &told.errors) == (now.policies, now.store, &now.errors) {
            return None;
        }
        let is_urgent = told.policies != now.policies || told.errors != now.errors;
        let apart = if is_urgent { SOON } else { NOW_AND_THEN };
        let since = self.told_at.map_or(apart, |at| at.elapsed());
        Some(apart.saturating_sub(since))
    }
}
