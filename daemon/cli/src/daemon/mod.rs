//! The node daemon, asked over its socket: where it listens, requests and their replies, and how far
//! it is with what takes long.

mod progress;
mod rows;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bulkhead_ipam::Managed;
use bulkhead_ipam::wire::admin::{IDLE_MS, Reason, Reply, Request, RequestError};
use bulkhead_ipam::wire::{Client, ClientError};
use clap::Args;

pub(crate) use self::progress::Bar;
use crate::failure::{Exit, Failure};

/// The daemon says at least that it lives every [`IDLE_MS`]; a loaded node may be late.
const PATIENCE: Duration = Duration::from_millis(5 * IDLE_MS);

/// How the daemon is reached.
#[derive(Args, Clone, Debug)]
pub(crate) struct Reach {
    #[command(flatten)]
    pub(crate) socket: Socket,

    /// The node's state directory.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/bulkhead")]
    pub(crate) state_dir: PathBuf,
}

/// Where the daemon listens.
#[derive(Args, Clone, Debug)]
pub(crate) struct Socket {
    /// Where the node daemon listens; by default what it wrote into its state directory.
    #[arg(long = "socket", value_name = "SOCKET")]
    given: Option<PathBuf>,
}

/// A node daemon.
#[derive(Clone, Debug)]
pub(crate) struct Daemon {
    socket: PathBuf,
}

/// Why a daemon did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DaemonError {
    /// There is no answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It says why.
    #[error(transparent)]
    Refused(RequestError),
    /// It says what this release has no word for.
    #[error(
        "the daemon on {} gives an answer that this release of bulkhead does not know; use the daemon's",
        .0.display()
    )]
    Unknown(PathBuf),
}

impl Reach {
    pub(crate) fn daemon(&self) -> Result<Daemon, Failure> {
        let named = self.socket.named(&self.state_dir)?;
        Ok(named.unwrap_or_else(|| Daemon {
            socket: Managed::default().socket,
        }))
    }
}

impl Socket {
    /// Where it was said to listen on the command line.
    pub(crate) fn given(&self) -> Option<&Path> {
        self.given.as_deref()
    }

    /// The daemon that was named, else the one that has the directory.
    pub(crate) fn named(&self, state_dir: &Path) -> Result<Option<Daemon>, Failure> {
        match &self.given {
            Some(socket) => Ok(Some(Daemon {
                socket: socket.clone(),
            })),
            None => self.owner(state_dir),
        }
    }

    /// The daemon that has the directory, where it was said to listen.
    pub(crate) fn owner(&self, state_dir: &Path) -> Result<Option<Daemon>, Failure> {
        let managed = Managed::read(state_dir)?;
        Ok(managed.map(|managed| Daemon {
            socket: self.given.clone().unwrap_or(managed.socket),
        }))
    }
}

impl DaemonError {
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Self::Client(
                ClientError::NotRunning { .. }
                | ClientError::Silent { .. }
                | ClientError::Broken { .. },
            ) => Exit::NoDaemon,
            Self::Refused(RequestError {
                code: Reason::NotFound,
                ..
            }) => Exit::NotFound,
            Self::Refused(RequestError {
                code: Reason::Unavailable | Reason::Denied,
                ..
            }) => Exit::Unreadable,
            Self::Client(_) | Self::Refused(_) | Self::Unknown(_) => Exit::Failed,
        }
    }
}

impl Daemon {
    /// Asks, and hands over every reply that says something.
    pub(crate) fn ask(
        &self,
        request: &Request,
        mut take: impl FnMut(Reply) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.ask_while(request, |reply| take(reply).map(|()| true))
    }

    /// The same, until `take` says that it has enough.
    pub(crate) fn ask_while(
        &self,
        request: &Request,
        mut take: impl FnMut(Reply) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let client = Client::connect(&self.socket, Some(PATIENCE)).map_err(DaemonError::from)?;
        let replies = client.stream::<Reply>(request).map_err(DaemonError::from)?;
        let mut bar = Bar::new();
        for reply in replies.each_within(PATIENCE) {
            match reply.map_err(DaemonError::from)? {
                Reply::Refused(error) => return Err(DaemonError::Refused(error).into()),
                Reply::Progress(progress) => bar.show(&progress),
                Reply::Idle => {}
                Reply::Other => return Err(self.unknown().into()),
                said => {
                    bar.clear();
                    if !take(said)? {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Every reply of a list, put together; `page` takes those of the kind that was asked for.
    pub(crate) fn all<T>(
        &self,
        request: &Request,
        page: impl Fn(Reply) -> Option<Vec<T>>,
    ) -> Result<Vec<T>, Failure> {
        let mut all = Vec::new();
        self.ask(request, |reply| {
            all.extend(page(reply).ok_or_else(|| self.unknown())?);
            Ok(())
        })?;
        Ok(all)
    }

    /// The one reply; `pick` takes it if it is of the kind that was asked for.
    pub(crate) fn one<T>(
        &self,
        request: &Request,
        pick: impl Fn(Reply) -> Option<T>,
    ) -> Result<T, Failure> {
        let mut one = None;
        self.ask(request, |reply| {
            one = Some(pick(reply).ok_or_else(|| self.unknown())?);
            Ok(())
        })?;
        one.ok_or_else(|| self.unknown().into())
    }

    fn unknown(&self) -> DaemonError {
        DaemonError::Unknown(self.socket.clone())
    }
}
