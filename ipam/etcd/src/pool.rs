//! The members as one store: which is asked, what is asked of another, and when one that failed is
//! asked again.
//!
//! Requests go to one member for as long as it answers. One that does not is ejected at once and
//! probed until it answers again; it is asked nothing in between, unless no other member serves.

use std::fmt::Write as _;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bulkhead_ipam::cluster::{KvError, Revision};
use etcd_client::{ResponseHeader, StatusResponse};
use tokio::time::{Instant, sleep, timeout};

use crate::config::EtcdConfig;
use crate::endpoint::{Endpoint, EndpointHealth, EndpointState, Member, revision, within};
use crate::failure::Failure;

/// How often a member that serves is asked how it is.
const PROBE_INTERVAL: Duration = Duration::from_secs(30);
/// How long after its first failure a member is probed; twice as long after each further one.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// A request.
pub(crate) trait Call: Sync {
    type Answer: Send;

    /// Whether it may be made again after it may have been carried out.
    const REPEATABLE: bool;

    fn make(
        &self,
        member: Member,
    ) -> impl Future<Output = Result<Self::Answer, etcd_client::Error>> + Send;

    fn header(answer: &Self::Answer) -> Option<&ResponseHeader>;
}

/// All members.
pub(crate) struct Pool {
    pub(crate) config: EtcdConfig,
    pub(crate) name: String,
    pub(crate) endpoints: Vec<Endpoint>,
    preferred: AtomicUsize,
    /// Which is asked before which, lowest first: another order in each process, so that nodes with the
    /// same configuration spread over the members, and over those that are left when one goes.
    ranks: Vec<u64>,
    cluster: OnceLock<u64>,
    /// The highest revision that was acknowledged to us.
    highest: AtomicU64,
}

impl Pool {
    pub(crate) fn new(config: EtcdConfig) -> Self {
        let urls: Vec<String> = config.endpoints.iter().map(ToString::to_string).collect();
        let random = RandomState::new();
        let ranks: Vec<u64> = (0..urls.len()).map(|nth| random.hash_one(nth)).collect();
        let first = (0..urls.len()).min_by_key(|nth| ranks[*nth]);
        Self {
            name: format!("etcd {}", urls.join(", ")),
            endpoints: config
                .endpoints
                .iter()
                .cloned()
                .map(Endpoint::new)
                .collect(),
            config,
            preferred: AtomicUsize::new(first.expect("a configuration has an endpoint")),
            ranks,
            cluster: OnceLock::new(),
            highest: AtomicU64::new(0),
        }
    }

    /// Asks members until one answers.
    pub(crate) async fn ask<C: Call>(&self, call: &C) -> Result<C::Answer, KvError> {
        // Time for one member that hangs and one that answers, however many are listed.
        let limit = self.config.connect_timeout + 2 * self.config.answer_timeout;
        let begun = Instant::now();
        let mut failures = Vec::new();
        for nth in self.order() {
            if begun.elapsed() >= limit {
                break;
            }
            let endpoint = &self.endpoints[nth];
            match self.attempt(endpoint, call).await {
                Ok(answer) => {
                    self.preferred.store(nth, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(failure @ Failure::Lost(_)) if !C::REPEATABLE => {
                    return Err(KvError::Ambiguous {
                        store: self.name.clone(),
                        why: format!("{}: {}", endpoint.url, failure.why()),
                    });
                }
                Err(Failure::Refused(why) | Failure::Login(why)) => return Err(self.refused(why)),
                Err(Failure::Compacted(oldest)) => return Err(self.compacted(oldest)),
                Err(failure) => failures.push((nth, failure)),
            }
        }
        Err(self.unavailable(&failures))
    }

    /// Members in the order in which they are asked.
    fn order(&self) -> Vec<usize> {
        let preferred = self.preferred.load(Ordering::Relaxed);
        let mut order: Vec<usize> = (0..self.endpoints.len()).collect();
        order.sort_by_key(|nth| {
            let ejected = self.endpoints[*nth].state() == EndpointState::Ejected;
            (ejected, *nth != preferred, self.ranks[*nth])
        });
        order
    }

    /// The member that a watch begins with.
    pub(crate) fn first(&self) -> &Endpoint {
        &self.endpoints[self.order()[0]]
    }

    async fn attempt<C: Call>(&self, endpoint: &Endpoint, call: &C) -> Result<C::Answer, Failure> {
        match self.attempt_once(endpoint, call).await {
            // The connection is gone with its token: once more, with the password as it is now.
            Err(Failure::Login(_)) => self.attempt_once(endpoint, call).await,
            other => other,
        }
    }

    async fn attempt_once<C: Call>(
        &self,
        endpoint: &Endpoint,
        call: &C,
    ) -> Result<C::Answer, Failure> {
        let member = self.member(endpoint).await?;
        let before = self.highest();
        let begun = Instant::now();
        let answer = match within(self.config.answer_timeout, call.make(member)).await {
            Ok(answer) => answer,
            Err(failure) => return Err(self.failed(endpoint, failure).await),
        };
        endpoint.note_answer(begun.elapsed());
        let checked = C::header(&answer).map_or(Ok(()), |header| self.check(before, header));
        match checked {
            Ok(()) => Ok(answer),
            Err(failure) => Err(self.failed(endpoint, failure).await),
        }
    }

    /// The member, known to be of our cluster. Whatever fails here, nothing was sent.
    pub(crate) async fn member(&self, endpoint: &Endpoint) -> Result<Member, Failure> {
        if endpoint.state() != EndpointState::Serving || !endpoint.is_connected().await {
            self.probe(endpoint).await?;
        }
        match endpoint.member(&self.config).await {
            Ok(member) => Ok(member),
            Err(failure) => Err(self.failed(endpoint, failure).await),
        }
    }

    /// Asks a member how it is. It serves only if that is good and it is of our cluster.
    async fn probe(&self, endpoint: &Endpoint) -> Result<(), Failure> {
        let begun = Instant::now();
        let status = endpoint.status(&self.config).await;
        let checked = status.and_then(|status| {
            endpoint.note_status(&status, self.highest());
            serviceable(&status)?;
            status
                .header()
                .map_or(Ok(()), |header| self.check_cluster(header))
        });
        match checked {
            Ok(()) => {
                endpoint.note_answer(begun.elapsed());
                Ok(())
            }
            Err(Failure::Lost(why)) => Err(self.failed(endpoint, Failure::Unsent(why)).await),
            Err(failure) => Err(self.failed(endpoint, failure).await),
        }
    }

    /// Notes a failure of a member, if it is the member's.
    pub(crate) async fn failed(&self, endpoint: &Endpoint, failure: Failure) -> Failure {
        match failure {
            Failure::Unsent(_) | Failure::Lost(_) | Failure::Distrusted(_) => {
                endpoint.note_failure(&failure);
                endpoint.disconnect().await;
            }
            Failure::Login(_) => {
                endpoint.note_refusal(&failure);
                endpoint.disconnect().await;
            }
            Failure::Refused(_) => endpoint.note_refusal(&failure),
            Failure::Compacted(_) => {}
        }
        failure
    }

    /// Two clusters under one name would each give out the same addresses.
    pub(crate) fn check_cluster(&self, header: &ResponseHeader) -> Result<(), Failure> {
        let (known, found) = (
            *self.cluster.get_or_init(|| header.cluster_id()),
            header.cluster_id(),
        );
        if known == found {
            return Ok(());
        }
        Err(Failure::Distrusted(format!(
            "it is of cluster {found:x}, the others are of {known:x}: list members of one cluster only; if it was restored from a backup, restart bulkheadd"
        )))
    }

    /// Linearizable answers never go back; a store that was put back to an older state does.
    fn check(&self, before: Revision, header: &ResponseHeader) -> Result<(), Failure> {
        self.check_cluster(header)?;
        let found = revision(header.revision());
        if found < before {
            return Err(Failure::Refused(format!(
                "it went back from revision {} to {}, as after a restore from a backup: restart bulkheadd once etcd is as it shall be",
                before.0, found.0
            )));
        }
        self.highest.fetch_max(found.0, Ordering::Relaxed);
        Ok(())
    }

    fn highest(&self) -> Revision {
        Revision(self.highest.load(Ordering::Relaxed))
    }

    pub(crate) fn refused(&self, why: String) -> KvError {
        KvError::Refused {
            store: self.name.clone(),
            why,
        }
    }

    pub(crate) fn compacted(&self, oldest: Option<u64>) -> KvError {
        KvError::Compacted {
            store: self.name.clone(),
            oldest: Revision(oldest.unwrap_or_default()),
        }
    }

    fn unavailable(&self, failures: &[(usize, Failure)]) -> KvError {
        let mut why = String::new();
        for (nth, failure) in failures {
            let separator = if why.is_empty() { "" } else { "; " };
            let _ = write!(
                why,
                "{separator}{}: {}",
                self.endpoints[*nth].url,
                failure.why()
            );
        }
        let distrusted =
            |(_, failure): &(usize, Failure)| matches!(failure, Failure::Distrusted(_));
        if failures.iter().all(distrusted) {
            return self.refused(why);
        }
        KvError::Unavailable {
            store: self.name.clone(),
            why,
        }
    }

    pub(crate) fn is_away(&self) -> bool {
        let mut all = self.endpoints.iter();
        all.all(|endpoint| endpoint.state() == EndpointState::Ejected)
    }

    pub(crate) fn health(&self) -> Vec<EndpointHealth> {
        let preferred = self.preferred.load(Ordering::Relaxed);
        let health = |(nth, endpoint): (usize, &Endpoint)| EndpointHealth {
            preferred: nth == preferred,
            ..endpoint.health()
        };
        self.endpoints.iter().enumerate().map(health).collect()
    }

    /// Probes one member for ever: now and then while it serves, sooner after it failed.
    pub(crate) async fn attend(&self, nth: usize) {
        let endpoint = &self.endpoints[nth];
        let mut states = endpoint.states();
        let mut retry = FIRST_RETRY;
        loop {
            // The outcome is in the member's health.
            let _ = self.probe(endpoint).await;
            if endpoint.state() == EndpointState::Ejected {
                sleep(retry).await;
                retry = LONGEST_RETRY.min(2 * retry);
                continue;
            }
            retry = FIRST_RETRY;
            let ejected = states.wait_for(|state| *state == EndpointState::Ejected);
            if timeout(PROBE_INTERVAL, ejected).await.is_ok() {
                sleep(retry).await;
            }
        }
    }
}

fn serviceable(status: &StatusResponse) -> Result<(), Failure> {
    let mut numbers = status.version().split('.').map(str::parse::<u32>);
    let version = (numbers.next(), numbers.next());
    if let (Some(Ok(major)), Some(Ok(minor))) = version
        && (major, minor) < (3, 4)
    {
        return Err(Failure::Distrusted(format!(
            "it is etcd {}, which lacks what we need: upgrade to 3.4 or later",
            status.version()
        )));
    }
    if status.is_learner() {
        let why = "it is a learner, which serves nobody".to_owned();
        return Err(Failure::Unsent(why));
    }
    if status.leader() == 0 {
        return Err(Failure::Unsent("no leader".to_owned()));
    }
    Ok(())
}
