//! What the kernel can answer.

use std::fmt;
use std::io;
use std::path::PathBuf;

use bulkhead_model::IfName;
use bulkhead_plan::Ns;
use rustix::io::Errno;

use crate::NetnsError;

/// The kernel's refusal of one request: its error number and, if it gave one, its explanation
/// (`NLMSGERR_ATTR_MSG`, `linux/netlink.h`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// The error number.
    pub errno: Errno,
    /// The explanation.
    pub text: Option<String>,
}

impl Refusal {
    /// Whether the world is not what the request took it for, so that observing and planning again
    /// can succeed.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        is_stale(self.errno)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => write!(f, "{text} ({})", self.errno),
            None => self.errno.fmt(f),
        }
    }
}

impl std::error::Error for Refusal {}

pub(crate) fn is_stale(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::EXIST
            | Errno::NOENT
            | Errno::NODEV
            | Errno::BUSY
            | Errno::SRCH
            | Errno::AGAIN
            | Errno::ADDRNOTAVAIL
            | ERESTART
    )
}

/// `ERESTART` (`linux/errno.h`): nfnetlink's answer to a batch decided on an older generation.
pub(crate) const ERESTART: Errno = Errno::from_raw_os_error(85);

/// A netlink exchange that did not give an answer, or gave a refusal.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No socket.
    #[error("no netlink socket; CAP_NET_ADMIN is needed")]
    Socket(#[source] io::Error),
    /// Sending or receiving broke off.
    #[error("netlink exchange broke off")]
    Broken(#[source] Errno),
    /// The kernel answered nothing in ten seconds.
    #[error("the kernel did not answer a netlink request in 10 s")]
    Silent,
    /// An answer that cannot be read.
    #[error("unreadable netlink answer: {0}")]
    Unreadable(String),
    /// The objects changed under every one of the tries to list them.
    #[error("a netlink listing was interrupted by changes {0} times")]
    Unsteady(u32),
    /// The kernel has no ethtool over netlink.
    #[error(
        "this kernel cannot be asked over netlink to switch checksum offload of {0} (5.7 and later can): do it with `ethtool -K`, or leave \"txChecksum\" out"
    )]
    NoEthtool(IfName),
    /// Refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl NetlinkError {
    /// The kernel's error number, if it refused.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused(refusal) => Some(refusal.errno),
            _ => None,
        }
    }
}

/// Why a scope could not be observed.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The scope names a namespace that the kernel was not given.
    #[error("namespace {0:?} is not open")]
    Unknown(Ns),
    /// A namespace that cannot be entered.
    #[error("namespace {ns:?} cannot be entered")]
    Netns {
        /// Which.
        ns: Ns,
        /// What the kernel said.
        source: Errno,
    },
    /// A netlink exchange.
    #[error("{what}")]
    Netlink {
        /// What was read.
        what: String,
        /// Why it could not be.
        source: NetlinkError,
    },
    /// A sysctl that is there and cannot be read.
    #[error("sysctl {sysctl} cannot be read")]
    Sysctl {
        /// Its path.
        sysctl: String,
        /// Why.
        source: io::Error,
    },
    /// One that a network has for itself.
    #[error("a network's own network namespace")]
    Named(#[source] NetnsError),
    /// The own namespace.
    #[error("the own network namespace")]
    Own(#[from] NetnsError),
}

/// Why one operation did not happen.
#[derive(Debug, thiserror::Error)]
pub enum OpError {
    /// A namespace that is not open.
    #[error("namespace {0:?} is not open")]
    Unknown(Ns),
    /// A namespace that cannot be entered.
    #[error("namespace {ns:?} cannot be entered")]
    Netns {
        /// Which.
        ns: Ns,
        /// What the kernel said.
        source: Errno,
    },
    /// A network's own namespace that cannot be made, mounted or taken away.
    #[error(
        "network namespace {path} cannot be made, mounted or taken away; CAP_SYS_ADMIN and CAP_SYS_CHROOT are needed"
    )]
    Name {
        /// Its path.
        path: PathBuf,
        /// What the kernel said.
        source: Errno,
    },
    /// One that was made and cannot be used.
    #[error("network namespace {path} was made and cannot be used")]
    Named {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: Box<NetnsError>,
    },
    /// A link that is not there (any more).
    #[error("there is no link {0}")]
    NoLink(IfName),
    /// Duplicate address detection found another holder.
    #[error("{address} on {link} is in use by somebody else on the segment")]
    Duplicate {
        /// The link.
        link: IfName,
        /// The address.
        address: std::net::IpAddr,
    },
    /// Duplicate address detection did not come to an end.
    #[error("{address} on {link} is still tentative after {waited_secs} s; is the link up?")]
    Tentative {
        /// The link.
        link: IfName,
        /// The address.
        address: std::net::IpAddr,
        /// How long it was waited for.
        waited_secs: u64,
    },
    /// A sysctl that cannot be written.
    #[error("sysctl {sysctl} cannot be written")]
    Sysctl {
        /// Its path.
        sysctl: String,
        /// Why.
        source: io::Error,
    },
    /// The kernel does not bind chains to a device prefix after all.
    #[error(
        "the kernel does not bind a chain to a device prefix; observe again and use one chain per port"
    )]
    NoDevicePrefix(#[source] Refusal),
    /// Another socket has the port of a VXLAN device.
    #[error(
        "the UDP port of {0} is taken by another program: end that, or give the network another \"port\""
    )]
    PortTaken(IfName),
    /// Refused, or no answer.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

impl OpError {
    /// Whether observing and planning again can succeed.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        match self {
            Self::NoLink(_) | Self::NoDevicePrefix(_) => true,
            Self::Netlink(NetlinkError::Refused(refusal)) => refusal.is_stale(),
            Self::Sysctl { source, .. } => Errno::from_io_error(source).is_some_and(is_stale),
            _ => false,
        }
    }
}

/// A plan that stopped at an operation. What ran before it stands.
#[derive(Debug, thiserror::Error)]
#[error("operation {} ({op})", .nth + 1)]
pub struct ApplyError {
    /// The operation's index in the plan.
    pub nth: usize,
    /// The operation as text.
    pub op: String,
    /// Why it did not happen.
    pub source: OpError,
}

impl ApplyError {
    /// Whether the world is not what the plan took it for: observe and plan again.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.source.is_stale()
    }
}
