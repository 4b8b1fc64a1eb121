//! Network namespaces by descriptor: opening one, telling two apart, and stepping into one for the
//! length of a closure. Sockets keep the namespace they were opened in, so nothing else of this crate
//! ever runs in a container's.

use std::fmt;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{fstat, fstatfs};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::socket::{Socket, Subsystem};
use crate::sysctls::Sysctls;

/// `NSFS_MAGIC` (`linux/magic.h`).
const NSFS_MAGIC: u64 = 0x6e73_6673;

/// An open network namespace. It stays alive as long as this does, whatever happens to its path.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
    identity: Identity,
    inside: Option<Inside>,
}

/// What is opened in a namespace while it is tried whether it can be entered: to enter it costs more.
#[derive(Debug)]
pub(crate) struct Inside {
    /// `None` if it could not be opened; it is tried again where it is needed.
    pub(crate) route: Option<Socket>,
    pub(crate) sysctls: Sysctls,
}

impl Inside {
    fn open() -> Self {
        Self {
            route: Socket::open(Subsystem::Route).ok(),
            sysctls: Sysctls::open(),
        }
    }
}

/// Which namespace: equal for every path and descriptor of the same one while one of them is open.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Identity {
    /// The device of the namespace file system.
    pub dev: u64,
    /// The namespace's inode.
    pub ino: u64,
}

impl Identity {
    /// The calling thread's; `None` without a `/proc`.
    pub(crate) fn current() -> Option<Self> {
        Self::at(CURRENT)
    }

    /// The one at a path.
    pub(crate) fn at(path: &str) -> Option<Self> {
        let stat = rustix::fs::stat(path).ok()?;
        Some(Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
        })
    }
}

impl fmt::Display for Identity {
    /// `net:[4026531840]`, as `ls -l /proc/self/ns` shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net:[{}]", self.ino)
    }
}

/// Why a namespace cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// Nothing is at the path, or the process it belonged to is gone.
    #[error("no network namespace at {path}")]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// Something else is at the path.
    #[error("{path} is not a namespace but a plain file; its container may have lost its mount")]
    NotANamespace {
        /// The path.
        path: PathBuf,
    },
    /// A namespace of another type is at the path.
    #[error("{path} is a namespace, but not a network namespace")]
    NotNetwork {
        /// The path.
        path: PathBuf,
    },
    /// It is there and the kernel refuses it.
    #[error("network namespace {path} cannot be entered; CAP_SYS_ADMIN is needed")]
    Refused {
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        source: Errno,
    },
}

impl Netns {
    /// Opens the namespace at `path`.
    ///
    /// # Errors
    /// [`NetnsError::Missing`], [`NetnsError::NotANamespace`], [`NetnsError::NotNetwork`], or
    /// [`NetnsError::Refused`] if it cannot be opened or entered.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, NetnsError> {
        let path = path.as_ref();
        Self::from_fd(opened(path)?, path)
    }

    /// Takes a descriptor received from elsewhere; `path` is what errors call it.
    ///
    /// # Errors
    /// As [`Netns::open`].
    pub fn from_fd(fd: OwnedFd, path: impl AsRef<Path>) -> Result<Self, NetnsError> {
        let (netns, inside) = Self::entered(fd, path.as_ref(), Inside::open)?;
        Ok(Self {
            inside: Some(inside),
            ..netns
        })
    }

    /// A namespace that can be entered, and what `body` returned there.
    fn entered<R>(
        fd: OwnedFd,
        path: &Path,
        body: impl FnOnce() -> R,
    ) -> Result<(Self, R), NetnsError> {
        let path = || path.to_owned();
        let refused = |source| NetnsError::Refused {
            path: path(),
            source,
        };
        let magic = fstatfs(&fd).map_err(refused)?.f_type;
        if u64::try_from(magic) != Ok(NSFS_MAGIC) {
            return Err(NetnsError::NotANamespace { path: path() });
        }
        let stat = fstat(&fd).map_err(refused)?;
        let identity = Identity {
            dev: stat.st_dev,
            ino: stat.st_ino,
        };
        let netns = Self {
            fd,
            identity,
            inside: None,
        };
        // setns(2) checks the type, which no other call without ioctl tells of a bind mount.
        match netns.within(body) {
            Ok(done) => Ok((netns, done)),
            Err(Errno::INVAL) => Err(NetnsError::NotNetwork { path: path() }),
            Err(source) => Err(refused(source)),
        }
    }

    /// The calling thread's namespace.
    ///
    /// # Errors
    /// As [`Netns::open`], for `/proc/thread-self/ns/net`.
    pub fn current() -> Result<Self, NetnsError> {
        let path = Path::new(CURRENT);
        Self::entered(opened(path)?, path, || ()).map(|(netns, ())| netns)
    }

    /// What was opened in it, once.
    pub(crate) fn take_inside(&mut self) -> Option<Inside> {
        self.inside.take()
    }

    /// Which one it is.
    #[must_use]
    pub const fn identity(&self) -> Identity {
        self.identity
    }

    /// Runs `body` in this namespace, on the calling thread, and returns to the thread's own.
    ///
    /// # Errors
    /// The namespace cannot be entered.
    pub fn within<R>(&self, body: impl FnOnce() -> R) -> Result<R, Errno> {
        let home = Home(
            File::open(CURRENT)
                .map_err(|source| Errno::from_io_error(&source).unwrap_or(Errno::IO))?
                .into(),
        );
        enter(self.fd.as_fd())?;
        let result = body();
        drop(home);
        Ok(result)
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn opened(path: &Path) -> Result<OwnedFd, NetnsError> {
    let opened = File::open(path).map_err(|source| match Errno::from_io_error(&source) {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::SRCH) => NetnsError::Missing {
            path: path.to_owned(),
        },
        errno => NetnsError::Refused {
            path: path.to_owned(),
            source: errno.unwrap_or(Errno::IO),
        },
    });
    opened.map(OwnedFd::from)
}

/// The calling thread's: `/proc/self` is the thread group leader's.
const CURRENT: &str = "/proc/thread-self/ns/net";

fn enter(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    move_into_link_name_space(fd, Some(LinkNameSpaceType::Network))
}

/// The way back, taken on unwinding too.
struct Home(OwnedFd);

impl Drop for Home {
    fn drop(&mut self) {
        // Every further line would act on a container as if it were the node: a plugin ends here, and
        // a process that stays loses this thread.
        enter(self.0.as_fd()).expect("the thread returns to the namespace that it came from");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_namespace_is_itself() {
        let one = Netns::current().unwrap();
        assert_eq!(
            one.identity(),
            Netns::open("/proc/self/ns/net").unwrap().identity()
        );
        assert_eq!(
            one.within(|| Netns::current().unwrap().identity()),
            Ok(one.identity())
        );
    }

    #[test]
    fn what_is_no_network_namespace_is_told_apart() {
        assert!(matches!(
            Netns::open("/nonexistent/ns"),
            Err(NetnsError::Missing { .. })
        ));
        assert!(matches!(
            Netns::open("/proc/4194305/ns/net"),
            Err(NetnsError::Missing { .. })
        ));
        assert!(matches!(
            Netns::open("/etc/passwd"),
            Err(NetnsError::NotANamespace { .. })
        ));
        assert!(matches!(
            Netns::open("/proc/self/ns/uts"),
            Err(NetnsError::NotNetwork { .. })
        ));
    }
}
