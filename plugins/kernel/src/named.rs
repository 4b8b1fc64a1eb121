//! Network namespaces that have a name: made, mounted at their paths, and taken away from there. All of it
//! happens on threads that end with it, so that no other thread of the process is ever elsewhere.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;

use rustix::io::Errno;
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::error::OpError;
use crate::netns::Netns;

/// The mount namespace in which paths mean what they mean to everybody: a service's may be its own, whose
/// mounts nobody else sees and which go with the service.
const EVERYBODY_S: &str = "/proc/1/ns/mnt";

/// Makes a namespace and mounts it at `path`, or mounts there again the one that is open. What was made.
pub(crate) fn add(path: &Path, held: Option<&Netns>) -> Result<Option<Netns>, OpError> {
    let made = aside(path, || {
        let own;
        let fd = if let Some(held) = held {
            held.as_fd()
        } else {
            depart(UnshareFlags::NEWNET)?;
            own = File::open("/proc/thread-self/ns/net").map_err(errno)?;
            own.as_fd()
        };
        let fd = fd.try_clone_to_owned().map_err(errno)?;
        settle(path, &fd)?;
        Ok(fd)
    })?;
    if held.is_some() {
        return Ok(None);
    }
    let netns = Netns::from_fd(made, path);
    netns.map(Some).map_err(|source| OpError::Named {
        path: path.to_owned(),
        source: Box::new(source),
    })
}

/// Takes the path away; gone is no error.
pub(crate) fn remove(path: &Path) -> Result<(), OpError> {
    aside(path, || {
        visit_everybody()?;
        clear(path)?;
        match fs::remove_file(path).map_err(errno) {
            Err(Errno::NOENT) => Ok(()),
            done => done,
        }
    })
}

/// Runs `body` on a thread of its own.
fn aside<T: Send>(
    path: &Path,
    body: impl FnOnce() -> Result<T, Errno> + Send,
) -> Result<T, OpError> {
    let done = thread::scope(|scope| {
        let thread = thread::Builder::new().name("netns".to_owned());
        let started = thread.spawn_scoped(scope, body).map_err(errno)?;
        started.join().unwrap_or(Err(Errno::IO))
    });
    done.map_err(|source| OpError::Name {
        path: path.to_owned(),
        source,
    })
}

/// Mounts a namespace at the path.
fn settle(path: &Path, fd: &OwnedFd) -> Result<(), Errno> {
    visit_everybody()?;
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(errno)?;
    }
    clear(path)?;
    File::create(path).map_err(errno)?;
    mount_bind(format!("/proc/thread-self/fd/{}", fd.as_raw_fd()), path)
}

/// Unmounts whatever is mounted at the path.
fn clear(path: &Path) -> Result<(), Errno> {
    loop {
        match unmount(path, UnmountFlags::DETACH) {
            Ok(()) => {}
            // Nothing is mounted there, or nothing is there.
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Goes where paths mean what they mean to everybody, if that is elsewhere.
fn visit_everybody() -> Result<(), Errno> {
    let identity = |path: &str| fs::metadata(path).map(|it| (it.dev(), it.ino()));
    let own = identity("/proc/thread-self/ns/mnt").map_err(errno)?;
    if identity(EVERYBODY_S).is_ok_and(|everybody| everybody == own) {
        return Ok(());
    }
    let Ok(everybody) = File::open(EVERYBODY_S) else {
        // Without a first process that can be seen, the own paths are everybody's.
        return Ok(());
    };
    depart(UnshareFlags::FS)?;
    move_into_link_name_space(everybody.as_fd(), Some(LinkNameSpaceType::Mount))
}

/// Leaves what the process' threads have in common.
#[expect(
    deprecated,
    reason = "it is unsafe for the table of descriptors alone, which stays shared here"
)]
fn depart(what: UnshareFlags) -> Result<(), Errno> {
    rustix::thread::unshare(what)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
