//! What can go wrong, the exit code it means, and the edge where all of it is printed once.

use std::error::Error;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bulkhead_cni::CniError;
use bulkhead_cni::list::LoadError;
use bulkhead_ipam::cluster::EmbeddedError;
use bulkhead_ipam::cluster::operations::{BackupError, RestoreError};
use bulkhead_ipam::{FileError, OpenError, StaleReason, StoreError};
use bulkhead_kernel::{NetlinkError, ObserveError};
use bulkhead_model::{AttachmentKey, NetworkName};

use crate::daemon::DaemonError;
use crate::policy::PolicyError;

/// The exit codes, as `--help` lists them; most of what is wrong with a command line clap finds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    Unreadable = 4,
    Drift = 5,
    NoDaemon = 6,
}

/// Why a command did not do all it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Neither a configuration nor a record.
    #[error(
        "network {network} is neither configured in {} nor recorded in {}",
        conf_dir.display(),
        state_dir.display()
    )]
    NoNetwork {
        network: NetworkName,
        conf_dir: PathBuf,
        state_dir: PathBuf,
    },
    /// No pool holds the address and nobody ever had it.
    #[error("address {0} is in no recorded pool and no record of a lease")]
    NoAddress(IpAddr),
    /// The cluster has no such node.
    #[error("there is no node {0}, `bulkhead node ls` lists them")]
    NoNode(String),
    /// The cluster has no such pool.
    #[error("there is no pool {0}, `bulkhead pool ls` lists them")]
    NoPool(String),
    /// No node has such a network with others.
    #[error("no network {0} is had by nodes together, `bulkhead overlay ls` lists those that are")]
    NoOverlay(String),
    /// Names keep addresses of pools alone, which a node daemon has.
    #[error(
        "pod {0}/{1} keeps no address: no node daemon has the state directory, and without one no name does"
    )]
    NoSticky(String, String),
    /// A change of nothing.
    #[error("pool {0} is left as it is: say what to set, `bulkhead pool set --help` lists it")]
    NothingToSet(String),
    /// What cannot be undone needs a person's word.
    #[error("nothing is done: there is no terminal to ask for confirmation, say --yes")]
    NobodyToAsk,
    /// A person's word was another.
    #[error("nothing is done: it was not confirmed")]
    Declined,
    /// A file that is to be restored.
    #[error("backup {}", file.display())]
    Backup {
        file: PathBuf,
        #[source]
        source: Box<BackupError>,
    },
    /// The embedded store, while the daemon is stopped.
    #[error(transparent)]
    Embedded(EmbeddedError),
    /// What stands in the way of a backup that is put back.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// Whoever reads the output.
    #[error("cannot write to standard output")]
    Reader(#[source] io::Error),
    /// The namespace that something is to be done in.
    #[error("there is no network namespace {}, `ip netns add` makes one", .0.display())]
    NoNetns(PathBuf),
    /// A path that cannot be made absolute.
    #[error("network namespace {text:?}")]
    NetnsPath {
        text: String,
        #[source]
        source: io::Error,
    },
    /// No record is called so.
    #[error("{0} is no recorded attachment, `bulkhead ipam ls` lists them")]
    NoAttachment(String),
    /// Several containers are called so.
    #[error("{text} names several attachments: {}; write more of one", names.join(", "))]
    Ambiguous { text: String, names: Vec<String> },
    /// A network whose file no longer has the plugin that made its attachments.
    #[error(
        "{} has no plugin {plugin}, which made attachments of network {network}: put it back, or delete them",
        file.display()
    )]
    NoPlugin {
        network: NetworkName,
        plugin: String,
        file: PathBuf,
    },
    /// A network whose file is gone.
    #[error(
        "network {0} is configured no more, and no runtime cached its configuration: put it back, or delete its attachments"
    )]
    NoConfiguration(NetworkName),
    /// A record of another release.
    #[error("attachment {name} was made by plugin {kind:?}, which this release does not know")]
    Kind { name: String, kind: String },
    /// Nothing can be told of an attachment whose namespace is gone.
    #[error("attachment {name} is dead, {reason}; `bulkhead ipam gc` removes what it left")]
    Dead { name: String, reason: StaleReason },
    /// A node daemon changes the node.
    #[error("state directory {} is managed by a node daemon, ask it", .0.display())]
    Managed(PathBuf),
    /// What the kernel has counted.
    #[error(transparent)]
    Kernel(ObserveError),
    /// What the kernel logs.
    #[error("log group {group} cannot be listened to: run as root, and end who else does")]
    Log {
        group: u16,
        #[source]
        source: NetlinkError,
    },
    /// What a plugin would answer about an attachment.
    #[error("attachment {key}")]
    Attachment {
        key: Box<AttachmentKey>,
        #[source]
        source: CniError,
    },
    /// Policies in files.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The node daemon.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// Network configurations.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The state directory.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The list of recorded networks.
    #[error(transparent)]
    File(#[from] FileError),
    /// What is recorded of a network.
    #[error("network {network}")]
    Store {
        network: NetworkName,
        #[source]
        source: StoreError,
    },
}

impl Failure {
    pub(crate) fn attachment(key: &AttachmentKey, source: CniError) -> Self {
        Self::Attachment {
            key: Box::new(key.clone()),
            source,
        }
    }

    pub(crate) fn backup(file: &Path, source: BackupError) -> Self {
        Self::Backup {
            file: file.to_owned(),
            source: Box::new(source),
        }
    }

    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Daemon(error) => error.exit(),
            Self::Policy(error) => error.exit(),
            Self::NoNetwork { .. }
            | Self::NoAddress(_)
            | Self::NoNode(_)
            | Self::NoPool(_)
            | Self::NoOverlay(_)
            | Self::NoSticky(..)
            | Self::NoNetns(_)
            | Self::NoAttachment(_)
            | Self::NoPlugin { .. }
            | Self::NoConfiguration(_)
            | Self::Load(LoadError::NotFound { .. }) => Exit::NotFound,
            Self::NothingToSet(_) => Exit::Usage,
            Self::Restore(_)
            | Self::NobodyToAsk
            | Self::Declined
            | Self::Ambiguous { .. }
            | Self::Kind { .. }
            | Self::Dead { .. }
            | Self::Managed(_)
            | Self::Kernel(_)
            | Self::Log { .. }
            | Self::Attachment { .. } => Exit::Failed,
            Self::NetnsPath { .. }
            | Self::Reader(_)
            | Self::Backup { .. }
            | Self::Embedded(_)
            | Self::Load(_)
            | Self::Open(_)
            | Self::File(_)
            | Self::Store { .. } => Exit::Unreadable,
        }
    }
}

/// The error of doing `action`, a verb, to `path`.
pub(crate) fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError {
        action,
        path,
        source,
    }
}

/// An error and all its causes on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// What a command has to say when it is over.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The result, whole lines.
    pub(crate) stdout: String,
    /// For a person, one entry per matter.
    pub(crate) stderr: Vec<String>,
    /// The worst that happened.
    pub(crate) exit: Exit,
}

impl Outcome {
    /// A result, and what of it could not be found out.
    pub(crate) fn partial(stdout: String, failures: &[Failure]) -> Self {
        Self {
            stdout,
            stderr: failures.iter().map(|failure| chain(failure)).collect(),
            exit: failures.first().map_or(Exit::Done, Failure::exit),
        }
    }

    /// Prints everything. A reader that has gone away has seen enough: no error, no panic.
    pub(crate) fn finish(mut self) -> ExitCode {
        if let Err(error) = print(&self.stdout)
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            self.stderr.push(format!("standard output: {error}"));
            self.exit = Exit::Unreadable;
        }
        for text in &self.stderr {
            // There is nowhere left to report a stderr that cannot be written.
            let _ = writeln!(io::stderr(), "bulkhead: {text}");
        }
        ExitCode::from(self.exit as u8)
    }
}

impl From<Result<String, Failure>> for Outcome {
    fn from(result: Result<String, Failure>) -> Self {
        match result {
            Ok(stdout) => Self::partial(stdout, &[]),
            Err(failure) => Self::partial(String::new(), &[failure]),
        }
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
