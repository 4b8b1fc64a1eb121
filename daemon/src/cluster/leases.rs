//! Addresses of pools for attachments.

use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bulkhead_attach::{PoolAsk, PoolGrant, PoolLeases};
use bulkhead_cni::{CniError, Code};
use bulkhead_ipam::cluster::ledger::{
    Acquire, Ended, Ledger, PoolAsk as Ask, PoolChoice as Choice, PoolRefusal,
};
use bulkhead_ipam::{AttachmentRecord, PoolChoice, PoolLease};
use bulkhead_model::AttachmentKey;

use super::Cluster;

/// Longest that an ADD waits for a block or for one address of the cluster: plugins wait a minute.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a pool is waited for that this node does not know, or has as nobody's: what was said of it by way
/// of another node a moment ago is on its way here.
const HEARSAY: Duration = Duration::from_millis(500);

/// What a reason begins with if the attachment was found dead.
const DEATHS: [&str; 3] = ["gc:", "collector:", "operator:"];

/// In which way a lease ended, by the reason that the journal has.
pub(super) fn ended(reason: &str) -> Ended {
    if DEATHS.iter().any(|death| reason.starts_with(death)) {
        Ended::Reclaimed
    } else {
        Ended::Released
    }
}

impl PoolLeases for Cluster {
    fn acquire(&self, ask: &PoolAsk) -> Result<PoolGrant, CniError> {
        let ask = Ask {
            key: ask.key.clone(),
            pools: choice(&ask.pools),
            pod: ask.pod.clone(),
            labels: ask.labels.clone(),
            requested: ask.requested.clone(),
            sticky: ask.sticky,
            segment: ask.segment,
        };
        let began = Instant::now();
        let (until, heard_until) = (began + PATIENCE, began + HEARSAY);
        let mut ledger = self.ledger();
        loop {
            let waiting = match ledger.acquire(&ask, self.now()) {
                Acquire::Granted(grant) => {
                    return Ok(PoolGrant {
                        lease: PoolLease {
                            pool: grant.pool.to_string(),
                            ordinal: grant.ordinal,
                        },
                        addresses: grant.addresses,
                        block: grant.block,
                        description: grant.description,
                    });
                }
                Acquire::Refused(refusal) if is_hearsay(&refusal, heard_until) => {
                    ledger = self.await_news(ledger, heard_until);
                    continue;
                }
                Acquire::Refused(refusal) => return Err(refused(&refusal)),
                Acquire::Wait(waiting) => waiting,
            };
            self.work.notify_all();
            if Instant::now() >= until || self.ends() {
                ledger.abandon(&ask.key, self.now());
                let secs = PATIENCE.as_secs();
                let text =
                    format!("no address of the cluster within {secs} s: {waiting}; try again");
                return Err(CniError::try_again(text));
            }
            ledger = self.await_news(ledger, until);
        }
    }

    fn settle(&self, record: &AttachmentRecord) {
        let settled = self.tell(|ledger, now| ledger.settle(&record.key, record.sequence, now));
        if !settled {
            self.orphan(record);
        }
    }

    fn abandon(&self, key: &AttachmentKey) {
        self.tell(|ledger, now| ledger.abandon(key, now));
    }

    fn released(&self, record: &AttachmentRecord, reason: &str) {
        let (key, sequence) = (&record.key, record.sequence);
        self.tell(|ledger, now| ledger.released(key, sequence, ended(reason), reason, now));
    }

    fn serves(&self, pools: &PoolChoice) -> Result<(), CniError> {
        let (pools, heard_until) = (choice(pools), Instant::now() + HEARSAY);
        let mut ledger = self.ledger();
        loop {
            match ledger.serves(&pools, self.now()) {
                Ok(()) => return Ok(()),
                Err(refusal) if is_hearsay(&refusal, heard_until) => {
                    ledger = self.await_news(ledger, heard_until);
                }
                Err(refusal) => return Err(refused(&refusal)),
            }
        }
    }
}

impl Cluster {
    /// Lets the ledger go until there is news of it, or until then.
    fn await_news<'a>(
        &self,
        ledger: MutexGuard<'a, Ledger>,
        until: Instant,
    ) -> MutexGuard<'a, Ledger> {
        let left = until.saturating_duration_since(Instant::now());
        let waited = self.news.wait_timeout(ledger, left);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Whether a pool that is on its way here may still be the answer.
fn is_hearsay(refusal: &PoolRefusal, heard_until: Instant) -> bool {
    let is_of_pools = matches!(
        refusal,
        PoolRefusal::Unknown { .. } | PoolRefusal::NoneFor { .. }
    );
    is_of_pools && Instant::now() < heard_until
}

fn choice(pools: &PoolChoice) -> Choice {
    match pools {
        PoolChoice::Any => Choice::Any,
        PoolChoice::Named(names) => Choice::Named(names.clone()),
    }
}

fn refused(refusal: &PoolRefusal) -> CniError {
    let code = match refusal {
        _ if refusal.is_retriable() => Code::TRY_AGAIN_LATER,
        PoolRefusal::Exhausted { .. } | PoolRefusal::ReservationFull { .. } => Code::POOL_EXHAUSTED,
        PoolRefusal::Taken { .. }
        | PoolRefusal::Kept { .. }
        | PoolRefusal::Contradicts { .. }
        | PoolRefusal::StickyOther { .. } => Code::ADDRESS_TAKEN,
        PoolRefusal::Twin { .. } => Code::FOREIGN_CONFLICT,
        _ => Code::INVALID_CONFIG,
    };
    CniError::from_chain(code, refusal)
}
