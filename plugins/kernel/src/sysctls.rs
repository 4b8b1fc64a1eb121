//! Sysctls of one namespace, by directories kept open. `/proc/sys/net` shows the namespace of the task
//! that looks, and all namespaces' entries under it hang in one hash chain by name (`proc_sys_compare`,
//! `fs/proc/proc_sysctl.c`): walking down from there costs more with every container on the node. Below
//! an open directory nothing is shared; but what a link of the same name has left there when it went is
//! passed by too.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use bulkhead_plan::Sysctl;
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, pread, write};

/// Longest value that is read; those we look at are numbers.
const LONGEST: usize = 256;

/// The directories of one namespace.
#[derive(Debug)]
pub(crate) struct Sysctls {
    ipv4: Option<OwnedFd>,
    ipv6: Option<OwnedFd>,
    /// Those of links, by their paths.
    links: HashMap<String, OwnedFd>,
    /// What is no link's and was read, by its path.
    read: HashMap<String, OwnedFd>,
}

impl Sysctls {
    /// Those of the calling thread's namespace.
    pub(crate) fn open() -> Self {
        let open = |path| rustix::fs::open(path, DIRECTORY, Mode::empty()).ok();
        Self {
            ipv4: open("/proc/sys/net/ipv4"),
            ipv6: open("/proc/sys/net/ipv6"),
            links: HashMap::new(),
            read: HashMap::new(),
        }
    }

    /// Whether the namespace has IPv6 at all.
    pub(crate) const fn have_ipv6(&self) -> bool {
        self.ipv6.is_some()
    }

    /// Lets go of what may not be there any more.
    pub(crate) fn forget_links(&mut self) {
        self.links.clear();
    }

    /// `None` if there is no such file.
    pub(crate) fn read(&mut self, sysctl: &Sysctl) -> io::Result<Option<String>> {
        if let Some(file) = self.read.get(sysctl.path()) {
            return Ok(Some(value(file)?));
        }
        let file = match self.file(sysctl, OFlags::RDONLY) {
            Err(Errno::NOENT) => return Ok(None),
            file => file?,
        };
        let value = value(&file)?;
        // What is no link's lasts as long as the namespace.
        if sysctl.link().is_none() {
            self.read.insert(sysctl.path().to_owned(), file);
        }
        Ok(Some(value))
    }

    pub(crate) fn write(&mut self, sysctl: &Sysctl, value: &str) -> io::Result<()> {
        let file = self.file(sysctl, OFlags::WRONLY)?;
        rustix::io::retry_on_intr(|| write(&file, value.as_bytes()))?;
        Ok(())
    }

    fn file(&mut self, sysctl: &Sysctl, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = sysctl.path();
        let family = |prefix, dir| Some((path.strip_prefix(prefix)?, dir));
        let (below, dir): (&str, &Option<OwnedFd>) = family("net/ipv4/", &self.ipv4)
            .or_else(|| family("net/ipv6/", &self.ipv6))
            .ok_or(Errno::NOENT)?;
        let dir = dir.as_ref().ok_or(Errno::NOENT)?;
        let flags = flags | OFlags::CLOEXEC;
        let Some((link, leaf)) = below.rsplit_once('/') else {
            return openat(dir, below, flags, Mode::empty());
        };
        let known = path.len() - leaf.len();
        if let Some(opened) = self.links.get(&path[..known]) {
            match openat(opened, leaf, flags, Mode::empty()) {
                // Of a link that another one of the same name has followed.
                Err(Errno::NOENT) => {}
                file => return file,
            }
        }
        let opened = openat(dir, link, DIRECTORY, Mode::empty())?;
        let file = openat(opened.as_fd(), leaf, flags, Mode::empty());
        self.links.insert(path[..known].to_owned(), opened);
        file
    }
}

fn value(file: &OwnedFd) -> io::Result<String> {
    let mut value = [0; LONGEST];
    let length = rustix::io::retry_on_intr(|| pread(file, &mut value, 0))?;
    let text = String::from_utf8_lossy(&value[..length]);
    Ok(text.trim_end_matches('\n').to_owned())
}

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
