//! What can be wrong with the store.

use std::io;
use std::path::{Path, PathBuf};

use bulkhead_model::{AttachmentKey, NetworkName};

use crate::allocate::Refusal;

/// An operation on a file that the system refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct FileError {
    /// What was done, as a verb.
    pub action: &'static str,
    /// To what.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl FileError {
    /// The same error for another who has to be told of it.
    pub(crate) fn again(&self) -> Self {
        let source = match self.source.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(self.source.kind(), self.source.to_string()),
        };
        Self {
            action: self.action,
            path: self.path.clone(),
            source,
        }
    }

    pub(crate) fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self {
            action,
            path,
            source,
        }
    }
}

/// Why the state directory was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It does not exist, and the access asked for does not create it: nothing is recorded.
    #[error("there is no state directory {}", .0.display())]
    Missing(PathBuf),
    /// A daemon owns it. The CNI answer is code 11, try again later.
    #[error(
        "state directory {} is managed by a node daemon: start bulkheadd, or remove the file {} if the node has none any more",
        .0.display(),
        .0.join("managed").display()
    )]
    Managed(PathBuf),
    /// The system refused.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Why the store cannot say or record something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused. What was to be recorded is not.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file does not hold what was written to it. Nothing is dropped silently: whoever repairs it
    /// decides.
    #[error(
        "{} is damaged at byte {offset}: {what}; restore it from a backup, or detach the network's containers and remove {}",
        path.display(),
        path.parent().unwrap_or(path).display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What was found.
        what: String,
    },
    /// A file was written by a later release.
    #[error("{} has schema {found}, this release reads {supported}; use the later release", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// Its schema number.
        found: u32,
        /// The highest one known here.
        supported: u32,
    },
}

/// Why an attachment got no addresses.
#[derive(Debug, thiserror::Error)]
pub enum AcquireError {
    /// The allocation's decision.
    #[error("network {network}: {refusal}")]
    Refused {
        /// The network.
        network: NetworkName,
        /// The decision.
        refusal: Refusal,
    },
    /// The attachment has a lease already, and not with the addresses that are asked for now.
    #[error(
        "attachment {key} already holds {recorded}, but {requested} is asked for; detach it first"
    )]
    Contradicts {
        /// The attachment.
        key: AttachmentKey,
        /// Its addresses.
        recorded: String,
        /// The address asked for.
        requested: std::net::IpAddr,
    },
    /// The network's pool is automatic and not chosen yet: call `choose_pool` first.
    #[error("network {0} has no pool yet: none is configured and none is chosen")]
    NoPool(NetworkName),
    /// No automatic pool is left.
    #[error(
        "network {network}: every candidate inside {parents} overlaps a route of this host or another network's pool; name a subnet in `ipam`"
    )]
    NoFreeSubnet {
        /// The network.
        network: NetworkName,
        /// Where it was looked for.
        parents: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<FileError> for AcquireError {
    fn from(error: FileError) -> Self {
        Self::Store(error.into())
    }
}

impl AcquireError {
    /// Whether the same call may succeed shortly with nothing else changed.
    #[must_use]
    pub const fn is_retriable(&self) -> bool {
        matches!(self, Self::Refused { refusal, .. } if refusal.is_retriable())
    }
}
