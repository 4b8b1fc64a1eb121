//! Taking the state directory: marked as managed first, so that nobody waits for a lock that is held for
//! the daemon's life; then locked, alone; then read.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bulkhead_ipam::{Access, FileError, Managed, OpenError, StateDir};
use bulkhead_kernel::{Netns, NetnsError};
use tokio::runtime::Handle;

use crate::cluster::{Cluster, ClusterError};
use crate::config::Config;
use crate::identity::Identities;
use crate::log::Threshold;
use crate::node::{Node, Parts};
use crate::overlay::Overlays;
use crate::policy::{Enforcer, Gone};
use crate::remembered::Remembered;

/// How long to wait for calls that hold the directory, and for another daemon to end.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long to wait between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Why the directory is not ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OwnerError {
    /// Somebody holds it.
    #[error(
        "state directory {} is held by another process: another bulkheadd runs on it, or a plugin hangs; end it",
        .0.display()
    )]
    Held(PathBuf),
    /// It cannot be marked or locked.
    #[error("state directory {} cannot be taken", path.display())]
    Taking {
        /// It.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It cannot be marked.
    #[error(transparent)]
    Mark(#[from] FileError),
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The node's share of the cluster's pools is not known.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The node's own network namespace cannot be looked at.
    #[error("the daemon's own network namespace cannot be looked at")]
    Netns(#[from] NetnsError),
}

/// Takes the state directory that `config` names.
///
/// # Errors
/// [`OwnerError`].
pub(crate) fn take(
    config: Config,
    path: &Path,
    threshold: Threshold,
    sockets: Handle,
) -> Result<Node, OwnerError> {
    let dir = config.state_dir.clone();
    let taking = |source| OwnerError::Taking {
        path: dir.clone(),
        source,
    };
    let netns = Netns::current()?.identity();
    mark(&dir, &config.socket)?;
    wait_for_lock(&dir)?;
    let state = Arc::new(StateDir::open(&dir, Access::Exclusive)?);
    let remembered = Remembered::open(&dir).map_err(taking)?;
    let cluster = Arc::new(Cluster::open(&config, &state)?);
    let overlays = Overlays::open(&cluster, &state, config.underlay);
    let overlays = Arc::new(overlays.map_err(ClusterError::Journals)?);
    let labels = config.node.labels.iter().cloned().collect();
    let identities = Identities::open(&cluster, &state, labels);
    let identities = Arc::new(identities.map_err(ClusterError::Journals)?);
    let gone = Gone::open(&dir).map_err(taking)?;
    let policy = Enforcer::open(&identities, &state, gone).map_err(ClusterError::Journals)?;
    Ok(Node::new(Parts {
        config_path: path.to_owned(),
        config,
        threshold,
        state,
        netns,
        remembered,
        sockets,
        cluster,
        overlays,
        identities,
        policy: Arc::new(policy),
    }))
}

/// Writes down that a daemon owns the directory, and where it listens.
fn mark(dir: &Path, socket: &Path) -> Result<(), OwnerError> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir);
    made.map_err(|source| OwnerError::Taking {
        path: dir.to_owned(),
        source,
    })?;
    let managed = Managed {
        socket: socket.to_owned(),
        ..Managed::default()
    };
    if Managed::read(dir)? != Some(managed.clone()) {
        managed.write(dir)?;
    }
    Ok(())
}

/// The store waits for its lock without end; a daemon that cannot have it has something to say.
fn wait_for_lock(dir: &Path) -> Result<(), OwnerError> {
    let path = dir.join("lock");
    let taking = |source| OwnerError::Taking {
        path: dir.to_owned(),
        source,
    };
    let mut options = File::options();
    let lock = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    let lock = lock.map_err(taking)?;
    let until = Instant::now() + PATIENCE;
    let mut told = false;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() >= until || is_served(dir) => {
                return Err(OwnerError::Held(dir.to_owned()));
            }
            Err(TryLockError::WouldBlock) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::info!(dir = %dir.display(), "waiting for who holds the state directory");
                }
                thread::sleep(PAUSE);
            }
            Err(TryLockError::Error(source)) => return Err(taking(source)),
        }
    }
}

/// Whether another daemon serves the directory.
fn is_served(dir: &Path) -> bool {
    let managed = Managed::read(dir).ok().flatten();
    managed.is_some_and(|managed| UnixStream::connect(managed.socket).is_ok())
}
