//! One member: its connection and its health.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bulkhead_ipam::cluster::Revision;
use etcd_client::{Channel, Client, KvClient, MaintenanceClient, StatusResponse, WatchClient};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use crate::config::{EndpointUrl, EtcdConfig};
use crate::credentials;
use crate::diagnosis::diagnose;
use crate::failure::{Failure, chain};

/// etcd closes a connection that pings more often than every 5 s (`--grpc-keepalive-min-time`).
const PING_INTERVAL: Duration = Duration::from_secs(6);
/// A ping that is not answered for so long is the connection's end.
const PING_PATIENCE: Duration = Duration::from_secs(2);
/// Largest answer taken; a listing is asked for in pages, and a watch's backlog comes in one message.
const LARGEST_ANSWER: usize = 1 << 30;

/// What a member is good for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EndpointState {
    /// Nothing was asked of it yet.
    Untried,
    /// It answered the last request.
    Serving,
    /// It did not: nothing is asked of it until a probe is answered, unless no other member serves.
    Ejected,
}

/// A member as its last answers show it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EndpointHealth {
    /// Its client URL.
    pub endpoint: String,
    /// What it is good for.
    pub state: EndpointState,
    /// Whether requests go to it first.
    pub preferred: bool,
    /// What was wrong when last something was: no answer, or a refusal.
    pub last_error: Option<String>,
    /// How many requests in a row it has not answered.
    pub failures: u32,
    /// How long an answer takes: a moving average.
    pub latency: Option<Duration>,
    /// Its revision at the last probe.
    pub revision: Option<Revision>,
    /// By how many revisions that was behind what other members had answered.
    pub lag: Option<u64>,
    /// Its release, like `3.4.23`.
    pub version: Option<String>,
    /// The size of its database.
    pub database_bytes: Option<u64>,
    /// Alarms that it raises, like NOSPACE.
    pub alarms: Vec<String>,
}

/// A connection to a member. Clones share it.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) kv: KvClient,
    pub(crate) watch: WatchClient,
    maintenance: MaintenanceClient,
}

/// A member that is spoken to, or to be spoken to.
pub(crate) struct Endpoint {
    pub(crate) url: EndpointUrl,
    /// One connects, the others wait for it.
    connection: tokio::sync::Mutex<Option<Member>>,
    state: watch::Sender<EndpointState>,
    health: Mutex<EndpointHealth>,
}

impl Endpoint {
    pub(crate) fn new(url: EndpointUrl) -> Self {
        let health = EndpointHealth {
            endpoint: url.to_string(),
            state: EndpointState::Untried,
            preferred: false,
            last_error: None,
            failures: 0,
            latency: None,
            revision: None,
            lag: None,
            version: None,
            database_bytes: None,
            alarms: Vec::new(),
        };
        Self {
            url,
            connection: tokio::sync::Mutex::new(None),
            state: watch::Sender::new(EndpointState::Untried),
            health: Mutex::new(health),
        }
    }

    /// The connection, made now if there is none.
    pub(crate) async fn member(&self, config: &EtcdConfig) -> Result<Member, Failure> {
        let mut connection = self.connection.lock().await;
        if let Some(member) = &*connection {
            return Ok(member.clone());
        }
        let member = connect(&self.url, config).await?;
        Ok(connection.insert(member).clone())
    }

    /// Lets go of the connection: the next one reads certificates and password anew.
    pub(crate) async fn disconnect(&self) {
        self.connection.lock().await.take();
    }

    pub(crate) async fn is_connected(&self) -> bool {
        self.connection.lock().await.is_some()
    }

    /// Asks the member how it is.
    pub(crate) async fn status(&self, config: &EtcdConfig) -> Result<StatusResponse, Failure> {
        let mut member = self.member(config).await?;
        within(config.answer_timeout, member.maintenance.status()).await
    }

    /// What it said of itself, when `highest` was the highest revision known.
    pub(crate) fn note_status(&self, status: &StatusResponse, highest: Revision) {
        let revision = status.header().map(|header| revision(header.revision()));
        let mut health = self.lock();
        health.revision = revision;
        health.lag = revision.map(|revision| highest.0.saturating_sub(revision.0));
        health.version = Some(status.version().to_owned());
        health.database_bytes = u64::try_from(status.db_size()).ok();
        health.alarms = status.errors().to_vec();
    }

    pub(crate) fn state(&self) -> EndpointState {
        *self.state.borrow()
    }

    /// Changes of the state from here on.
    pub(crate) fn states(&self) -> watch::Receiver<EndpointState> {
        self.state.subscribe()
    }

    pub(crate) fn health(&self) -> EndpointHealth {
        EndpointHealth {
            state: self.state(),
            ..self.lock().clone()
        }
    }

    /// It answered, after so long.
    pub(crate) fn note_answer(&self, took: Duration) {
        let mut health = self.lock();
        health.failures = 0;
        health.latency = Some(match health.latency {
            Some(average) => (average * 7 + took) / 8,
            None => took,
        });
        drop(health);
        self.state.send_replace(EndpointState::Serving);
    }

    /// It did not answer.
    pub(crate) fn note_failure(&self, failure: &Failure) {
        let mut health = self.lock();
        health.failures = health.failures.saturating_add(1);
        health.last_error = Some(failure.why());
        drop(health);
        self.state.send_replace(EndpointState::Ejected);
    }

    /// It refused, as every other member would.
    pub(crate) fn note_refusal(&self, failure: &Failure) {
        self.lock().last_error = Some(failure.why());
    }

    fn lock(&self) -> MutexGuard<'_, EndpointHealth> {
        // Every change is a few assignments.
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects, authenticates and asks how the member is.
async fn connect(url: &EndpointUrl, config: &EtcdConfig) -> Result<Member, Failure> {
    let begun = Instant::now();
    let failure = match dial(url, config).await {
        Err(Failure::Lost(why)) => why,
        other => return other,
    };
    if config.tls.is_some() && begun.elapsed() < config.answer_timeout {
        let (url, config) = (url.clone(), config.clone());
        let diagnosis = spawn_blocking(move || diagnose(&url, &config)).await;
        if let Ok(Some(refused)) = diagnosis {
            return Err(refused);
        }
    }
    Err(Failure::Unsent(failure))
}

async fn dial(url: &EndpointUrl, config: &EtcdConfig) -> Result<Member, Failure> {
    let distrusted = |error: credentials::CredentialError| Failure::Distrusted(chain(&error));
    let options = credentials::options(config).map_err(distrusted)?;
    let mut endpoint = tonic::transport::Endpoint::from_shared(url.to_string())
        .expect("scheme, host and port make a URI")
        .connect_timeout(config.connect_timeout)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_PATIENCE);
    if let Some(tls) = credentials::tls(config).map_err(distrusted)? {
        endpoint = endpoint.tls_config(tls).map_err(|error| {
            Failure::Distrusted(format!(
                "{}: cert and key do not fit each other",
                chain(&error)
            ))
        })?;
    }
    let channel = Channel::Tonic(endpoint.connect().await?);
    // Authenticates, if there is a user.
    let client = Client::from_channel(channel, Some(options));
    let client = within(config.answer_timeout, client).await?;
    let mut member = Member {
        kv: client.kv_client().max_decoding_message_size(LARGEST_ANSWER),
        watch: client
            .watch_client()
            .max_decoding_message_size(LARGEST_ANSWER),
        maintenance: client.maintenance_client(),
    };
    within(config.answer_timeout, member.maintenance.status()).await?;
    Ok(member)
}

/// The answer, or `Lost` if it does not come in time.
pub(crate) async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, etcd_client::Error>>,
) -> Result<T, Failure> {
    match timeout(limit, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Failure::Lost(format!(
            "no answer within {} ms",
            limit.as_millis()
        ))),
    }
}

/// A revision of etcd's, which are positive.
pub(crate) fn revision(raw: i64) -> Revision {
    Revision(u64::try_from(raw).unwrap_or_default())
}
