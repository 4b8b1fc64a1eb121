//! The daemon's configuration: parsed, not validated. After [`Config::load`] nothing can be wrong that
//! the text and the files it names tell.

mod changes;
mod document;
mod read;
mod values;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bulkhead_attach::Underlay;
use bulkhead_ipam_etcd::{EtcdConfig, EtcdSettings};

pub(crate) use changes::{Change, Effect};
pub(crate) use document::Mistake;

/// Where the configuration is unless the command line says otherwise.
pub(crate) const DEFAULT_PATH: &str = "/etc/bulkhead/bulkheadd.toml";

/// Everything that can be configured.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The node's state.
    pub(crate) state_dir: PathBuf,
    /// Where plugins and operators find the daemon.
    pub(crate) socket: PathBuf,
    /// The node, as the cluster sees it.
    pub(crate) node: Node,
    /// Where pools, blocks and leases are kept.
    pub(crate) store: Store,
    /// What is told, and how.
    pub(crate) log: Log,
    /// Where the metrics are read.
    pub(crate) metrics: Option<Listen>,
    /// The socket's limits.
    pub(crate) server: Server,
    /// Threads that serve calls.
    pub(crate) threads: usize,
    /// The leak collector.
    pub(crate) collector: Collector,
    /// How often every attachment is compared with its want; `None` for never.
    pub(crate) reconcile: Option<Duration>,
    /// How often the flows of addresses that cool down are looked at; `None` for never.
    pub(crate) flows: Option<Duration>,
    /// What becomes of connections that policies do not allow any more.
    pub(crate) established: Established,
    /// How far the audit log goes back.
    pub(crate) audit: Audit,
    /// What the node is reached by in networks that nodes have together; `None` for the address that its
    /// default route chooses.
    pub(crate) underlay: Option<Underlay>,
}

/// The node, as the cluster sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Node {
    /// Its name; `None` for the host's.
    pub(crate) name: Option<String>,
    /// What pools select nodes by.
    pub(crate) labels: Vec<(String, String)>,
}

/// Where pools, blocks and leases are kept.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    /// In the state directory: the node is alone.
    Embedded,
    /// In etcd, shared by all nodes.
    Etcd(Box<Etcd>),
}

/// An etcd cluster.
#[derive(Clone, Debug)]
pub(crate) struct Etcd {
    /// As written.
    pub(crate) settings: EtcdSettings,
    /// As understood.
    pub(crate) config: EtcdConfig,
}

/// What is told, and how.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Log {
    /// How.
    pub(crate) format: LogFormat,
    /// What.
    pub(crate) level: tracing::Level,
}

/// How events are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LogFormat {
    /// For people, on standard error.
    Text,
    /// One JSON object a line, on standard error.
    Json,
    /// To journald, with fields.
    Journald,
}

/// An address to listen on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Listen {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

/// The socket's limits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Server {
    /// Callers at once.
    pub(crate) connections: usize,
    /// How long a caller may take to say what it wants.
    pub(crate) read_timeout: Duration,
    /// How long calls in flight may take to end once the daemon is told to.
    pub(crate) stop_timeout: Duration,
}

/// The leak collector.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Collector {
    /// How often it looks; `None` for never.
    pub(crate) interval: Option<Duration>,
    /// How far two observations of the same fact must be apart.
    pub(crate) grace: Duration,
}

/// What becomes of connections that policies do not allow any more.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Established {
    /// They end.
    #[default]
    Cut,
    /// They go on until they end by themselves.
    Keep,
}

/// How far the audit log goes back: until the first bound that is met.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Audit {
    /// How long.
    pub(crate) age: Duration,
    /// How much of each network.
    pub(crate) bytes: u64,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("configuration {} cannot be read", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It has mistakes, all of which are told.
    #[error("{}", told(path, mistakes))]
    Mistaken {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        mistakes: Vec<Mistake>,
    },
}

fn told(path: &Path, mistakes: &[Mistake]) -> String {
    let lines = mistakes.iter().map(|m| format!("{}: {m}", path.display()));
    lines.collect::<Vec<_>>().join("\n")
}

impl Config {
    /// The configuration in `path`; the defaults if it is [`DEFAULT_PATH`] and is not there.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error)
                if error.kind() == std::io::ErrorKind::NotFound
                    && path == Path::new(DEFAULT_PATH) =>
            {
                String::new()
            }
            Err(source) => {
                return Err(ConfigError::Unreadable {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        let mistaken = |mistakes| ConfigError::Mistaken {
            path: path.to_owned(),
            mistakes,
        };
        read::config(&text).map_err(mistaken)
    }
}
