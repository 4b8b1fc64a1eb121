//! A watch that outlives connections: it follows one member's stream, and goes on at another from where
//! it was when that ends.

use std::sync::Arc;
use std::time::Duration;

use bulkhead_ipam::cluster::{Event, KeyRange, KvError, Revision, Watch};
use etcd_client::{WatchOptions, WatchResponse, WatchStream};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::timeout;

use crate::endpoint::{Endpoint, EndpointState, revision, within};
use crate::failure::Failure;
use crate::pool::Pool;
use crate::shared::Shared;
use crate::translate::{EtcdRange, Prefix, raw};

/// Answers of etcd that wait to be taken. Beyond that the stream is ended, because a stream that is not
/// read in the end halts the others of its connection, and begun anew once there is room.
const BACKLOG: usize = 64;
/// How long after no member could be watched they are tried again.
const RETRY: Duration = Duration::from_millis(500);

type Batch = Result<Vec<Event>, KvError>;

/// The taker's end.
pub(crate) struct Followed {
    shared: Arc<Shared>,
    /// There except while it is waited for.
    batches: Option<mpsc::Receiver<Batch>>,
}

impl Followed {
    pub(crate) fn start(shared: &Arc<Shared>, range: &KeyRange, after: Revision) -> Self {
        let (sender, batches) = mpsc::channel(BACKLOG);
        let pool = Arc::clone(&shared.pool);
        let follower = Follower {
            range: Prefix(&pool.config.prefix).range(range),
            pool,
            seen: after,
            opened: false,
            batches: sender,
        };
        shared.spawn(follower.run());
        Self {
            shared: Arc::clone(shared),
            batches: Some(batches),
        }
    }
}

impl Watch for Followed {
    fn next(&mut self, patience: Duration) -> Batch {
        let mut batches = self.batches.take().expect("every wait puts it back");
        let (batch, batches) = self.shared.run(async move {
            let batch = timeout(patience, batches.recv()).await;
            (batch, batches)
        });
        self.batches = Some(batches);
        match batch {
            Ok(Some(batch)) => batch,
            // It ended with an error that was taken already.
            Ok(None) => Err(self.shared.pool.refused("the watch is over".to_owned())),
            Err(_) => Ok(Vec::new()),
        }
    }
}

struct Follower {
    pool: Arc<Pool>,
    range: EtcdRange,
    /// Every change of the range up to here was handed over.
    seen: Revision,
    /// Whether the member took the watch.
    opened: bool,
    batches: mpsc::Sender<Batch>,
}

/// Why a stream is not followed any more.
enum End {
    /// Nobody takes the events any more.
    Left,
    /// They are not taken as fast as they come.
    Slow,
    /// etcd, or the connection to it.
    Failed(Failure),
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Follower {
    async fn run(mut self) {
        let mut login_failed = false;
        loop {
            let pool = Arc::clone(&self.pool);
            let endpoint = pool.first();
            self.opened = false;
            let end = self.follow(endpoint).await;
            login_failed &= !self.opened;
            let error = match end {
                End::Left => return,
                End::Slow => {
                    if self.batches.reserve().await.is_err() {
                        return;
                    }
                    continue;
                }
                End::Failed(Failure::Compacted(oldest)) => pool.compacted(oldest),
                End::Failed(Failure::Refused(why)) => pool.refused(why),
                End::Failed(Failure::Login(why)) => {
                    let failure = pool.failed(endpoint, Failure::Login(why)).await;
                    if !login_failed {
                        login_failed = true;
                        continue;
                    }
                    pool.refused(failure.why())
                }
                End::Failed(failure) => {
                    pool.failed(endpoint, failure).await;
                    if pool.first().state() == EndpointState::Ejected {
                        tokio::time::sleep(RETRY).await;
                    }
                    continue;
                }
            };
            // Nobody may be there to take it.
            let _ = self.batches.send(Err(error)).await;
            return;
        }
    }

    async fn follow(&mut self, endpoint: &Endpoint) -> End {
        match self.open(endpoint).await {
            Ok(stream) => self.drain(endpoint, stream).await,
            Err(failure) => End::Failed(failure),
        }
    }

    async fn open(&self, endpoint: &Endpoint) -> Result<WatchStream, Failure> {
        let mut member = self.pool.member(endpoint).await?;
        // From the last revision seen, not from the one after: at the very revision of a compaction
        // older etcd has lost deletions, and refuses only what is before it (etcd issue 19179).
        let options = WatchOptions::new()
            .with_range(self.range.until.clone())
            .with_start_revision(raw(self.seen).max(1))
            .with_progress_notify();
        let open = member.watch.watch(self.range.from.clone(), Some(options));
        within(self.pool.config.answer_timeout, open).await
    }

    async fn drain(&mut self, endpoint: &Endpoint, mut stream: WatchStream) -> End {
        let mut states = endpoint.states();
        loop {
            let limit = if self.opened {
                Duration::MAX
            } else {
                self.pool.config.answer_timeout
            };
            let message = tokio::select! {
                message = timeout(limit, stream.message()) => message,
                () = self.batches.closed() => return End::Left,
                // A request found out first.
                _ = states.wait_for(|state| *state == EndpointState::Ejected) => {
                    return Failure::Lost("it was ejected".to_owned()).into();
                }
            };
            let answer = match message {
                Ok(Ok(Some(answer))) => answer,
                Ok(Ok(None)) => return Failure::Lost("it ended the watch".to_owned()).into(),
                Ok(Err(error)) => return Failure::from(error).into(),
                Err(_) => return Failure::Lost("no answer to a watch".to_owned()).into(),
            };
            if let Err(end) = self.take(&answer) {
                return end;
            }
        }
    }

    fn take(&mut self, answer: &WatchResponse) -> Result<(), End> {
        if let Some(header) = answer.header() {
            self.pool.check_cluster(header)?;
        }
        if answer.canceled() {
            return Err(cancelled(answer).into());
        }
        self.opened = true;
        let prefix = Prefix(&self.pool.config.prefix);
        let events: Vec<Event> = answer
            .events()
            .iter()
            .filter_map(|event| prefix.event(event))
            .filter(|event| event.revision > self.seen)
            .collect();
        let told = match answer.events().last().and_then(etcd_client::Event::kv) {
            Some(last) => revision(last.mod_revision()),
            // Progress of this watch alone: everything up to there was sent.
            None if !answer.created() && answer.watch_id() >= 0 => answer
                .header()
                .map_or(self.seen, |header| revision(header.revision())),
            None => self.seen,
        };
        if !events.is_empty() {
            match self.batches.try_send(Ok(events)) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => return Err(End::Slow),
                Err(TrySendError::Closed(_)) => return Err(End::Left),
            }
        }
        self.seen = self.seen.max(told);
        Ok(())
    }
}

/// Why etcd ended a watch.
fn cancelled(answer: &WatchResponse) -> Failure {
    let reason = answer.cancel_reason();
    if answer.compact_revision() > 0 {
        return Failure::Compacted(u64::try_from(answer.compact_revision()).ok());
    }
    // 3.4 says so of a token that has expired, too.
    if reason.contains("permission denied") || reason.contains("invalid auth token") {
        return Failure::Login(format!(
            "{reason}: grant the user a role with readwrite permission on the prefix, as docs/store.md says"
        ));
    }
    Failure::Lost(match reason {
        "" => "it cancelled the watch".to_owned(),
        reason => reason.to_owned(),
    })
}
