//! The daemon's life: the state directory, the workers, the spool, the socket; then until it is told to
//! stop; then the calls in flight.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::admin::{self, Admin};
use crate::advertise;
use crate::cluster::ClusterError;
use crate::config::{Config, ConfigError};
use crate::identity::Identities;
use crate::loops::{self, Loops};
use crate::metrics::{self, Endpoint};
use crate::node::Node;
use crate::overlay::Overlays;
use crate::owner::{self, OwnerError};
use crate::policy::Enforcer;
use crate::server::Server;
use crate::workers::{NoThread, Workers};
use crate::{log, notify, socket};

/// Stack of a thread that reads files for an operator, in bytes.
const STACK: usize = 512 << 10;

/// Operators' requests at once.
const MOST_REQUESTS: usize = 8;

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DaemonError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The log cannot be begun.
    #[error("journald cannot be reached, set log.format to \"text\" or \"json\"")]
    Log(#[source] std::io::Error),
    /// The state directory is not ours.
    #[error(transparent)]
    Owner(#[from] OwnerError),
    /// The cluster's pools.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// There are no threads.
    #[error(transparent)]
    Thread(#[from] NoThread),
    /// There is no reactor.
    #[error("the sockets cannot be waited for")]
    Runtime(#[source] std::io::Error),
    /// The socket.
    #[error("socket {path} cannot be listened on")]
    Socket {
        /// Where.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// [`DaemonError`]; nothing was served then.
pub(crate) fn run(path: &Path) -> Result<(), DaemonError> {
    let config = Config::load(path)?;
    let threshold = log::start(config.log).map_err(DaemonError::Log)?;
    crate::bug::log_panics();
    raise_file_limit();
    let runtime = runtime().map_err(DaemonError::Runtime)?;
    let hangup = hangup(&runtime).map_err(DaemonError::Runtime)?;
    let sockets = runtime.handle().clone();
    let node = Arc::new(owner::take(config, path, threshold, sockets)?);
    let workers = Arc::new(Workers::start(&node)?);
    node.cluster.start()?;
    loops::sweep(&node, &workers);
    loops::consume_spool(&node, &workers);
    advertise::start(&node);
    let listener = listen(&node)?;
    let loops = Loops::start(&node, &workers)?;
    Overlays::start(&node).map_err(NoThread)?;
    Identities::start(&node).map_err(NoThread)?;
    Enforcer::start(&node).map_err(NoThread)?;
    let ended = runtime.block_on(serve(&node, &workers, listener, hangup));
    loops.stop();
    node.overlays.stop();
    node.policy.stop();
    node.identities.stop();
    node.cluster.stop();
    runtime.shutdown_background();
    ended
}

/// Each connection has up to three descriptors, and the soft limit that programs start with is for those
/// that use select(2).
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays as it was");
    }
}

/// Everything asynchronous is sockets and timers: one thread has time for all of them.
fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_all()
        .thread_stack_size(STACK)
        .max_blocking_threads(MOST_REQUESTS)
        .build()
}

/// From the beginning: whoever reloads a daemon that starts must not end it. To be told to stop while it
/// starts ends it as it is.
fn hangup(runtime: &Runtime) -> std::io::Result<Signal> {
    let _context = runtime.enter();
    signal(SignalKind::hangup())
}

fn listen(node: &Node) -> Result<UnixListener, DaemonError> {
    let path = &node.config().socket;
    socket::bind(path).map_err(|source| DaemonError::Socket {
        path: path.display().to_string(),
        source,
    })
}

async fn serve(
    node: &Arc<Node>,
    workers: &Arc<Workers>,
    listener: UnixListener,
    hangup: Signal,
) -> Result<(), DaemonError> {
    let mut signals = Signals::listen(hangup).map_err(DaemonError::Runtime)?;
    let (stop, stopped) = watch::channel(false);
    let admin = Arc::new(Admin::new(Arc::clone(node), Arc::clone(workers)));
    let server = Arc::new(Server::new(Arc::clone(node), Arc::clone(workers), admin));
    // Who is answered finds the rest there.
    serve_metrics(node).await?;
    let serving = tokio::spawn(server.serve(listener, stopped));
    notify::ready(&summary(node));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        socket = %node.config().socket.display(),
        state_dir = %node.state.path().display(),
        "ready"
    );
    signals.serve_until_end(node).await;
    notify::stopping("finishing the calls in flight");
    node.stop();
    // Whoever comes from here on meets nobody, and says so to its runtime.
    let _ = std::fs::remove_file(&node.config().socket);
    let _ = stop.send(true);
    let _ = serving.await;
    finish(node, workers).await;
    Ok(())
}

/// Waits for the calls in flight. What is not done in time goes on in the kernel as far as it has come:
/// the next call of its attachment converges.
async fn finish(node: &Arc<Node>, workers: &Arc<Workers>) {
    let until = Instant::now() + node.config().server.stop_timeout;
    let workers = Arc::clone(workers);
    let left = tokio::task::spawn_blocking(move || workers.stop(until)).await;
    match left {
        Ok(0) => tracing::info!("stopped"),
        left => {
            let calls = left.unwrap_or_default();
            tracing::warn!(
                calls,
                "stopped with calls in flight, server.stop_timeout_secs is over"
            );
        }
    }
}

async fn serve_metrics(node: &Arc<Node>) -> Result<(), DaemonError> {
    let Some(listen) = &node.config().metrics else {
        return Ok(());
    };
    let endpoint = Endpoint::bind(listen).await;
    let endpoint = endpoint.map_err(|source| DaemonError::Socket {
        path: listen.to_string(),
        source,
    })?;
    let node = Arc::clone(node);
    let text = move || {
        crate::gauges::refresh(&node);
        node.metrics.text()
    };
    tokio::spawn(metrics::serve(endpoint, Arc::new(text)));
    Ok(())
}

/// One line for `systemctl status`.
pub(crate) fn summary(node: &Node) -> String {
    let store = match &node.config().store {
        crate::config::Store::Embedded => "embedded store",
        crate::config::Store::Etcd(_) => "etcd",
    };
    format!("serving {} workers, {store}", node.config().threads)
}

/// What the daemon is told by signals.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen(hangup: Signal) -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup,
        })
    }

    /// Reads the configuration anew as often as asked, until told to stop.
    async fn serve_until_end(&mut self, node: &Arc<Node>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => {
                    notify::reloading();
                    let node = Arc::clone(node);
                    // Refusals are in the log.
                    let _ = tokio::task::spawn_blocking(move || {
                        let _ = admin::reload(&node);
                        notify::ready(&summary(&node));
                    })
                    .await;
                }
            }
        }
    }
}
