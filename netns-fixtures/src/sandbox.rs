//! A set of fresh namespaces that live as long as the value: dropping it kills what still runs in
//! them and unmounts them, also when the test panics.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::ns::{Ns, NsError};
use crate::topology::{Container, Host, Outside};
use crate::wait::wait_until;

/// What every namespace of ours is called by, followed by the pid that owns it.
const PREFIX: &str = "bhfix-";
const NETNS_DIR: &str = "/run/netns";
/// How long a killed process may take to leave its namespace.
const REAP_LIMIT: Duration = Duration::from_secs(5);

static COUNTER: AtomicU32 = AtomicU32::new(0);
static SWEPT: Once = Once::new();

/// Owner of namespaces named `bhfix-<pid>-<n>-<name>` under `/run/netns`.
#[derive(Debug)]
pub struct Sandbox {
    stem: String,
    namespaces: Mutex<Vec<Ns>>,
}

impl Sandbox {
    /// An empty sandbox. The first of a process also sweeps what dead test processes left.
    #[must_use]
    pub fn new() -> Self {
        SWEPT.call_once(|| drop(Self::sweep()));
        let nth = COUNTER.fetch_add(1, Ordering::Relaxed);
        Self {
            stem: format!("{PREFIX}{}-{nth}-", std::process::id()),
            namespaces: Mutex::new(Vec::new()),
        }
    }

    /// What every name in this sandbox starts with: unique while this process lives, so it also
    /// serves for container ids and directories.
    #[must_use]
    pub fn stem(&self) -> &str {
        &self.stem
    }

    /// A fresh namespace with loopback up and nothing else. `name` is unique within the sandbox.
    ///
    /// # Errors
    /// `Command` when `ip netns` refuses, for example without root; the error names it.
    pub fn ns(&self, name: &str) -> Result<Ns, NsError> {
        let ns = Ns::new(format!("{}{name}", self.stem));
        // `ip netns add` runs in the caller's namespace and leaves it as it is; concurrent first
        // uses of /run/netns are serialised by its own lock file.
        run_ip(&ns, &["netns", "add", ns.name()], "")?;
        self.lock().push(ns.clone());
        ns.ip("link set lo up")?;
        Ok(ns)
    }

    /// A namespace that plays a node.
    ///
    /// # Errors
    /// As [`Sandbox::ns`].
    pub fn host(&self, name: &str) -> Result<Host, NsError> {
        Host::new(self.ns(name)?)
    }

    /// A bare namespace as a runtime hands it to a plugin.
    ///
    /// # Errors
    /// As [`Sandbox::ns`].
    pub fn container(&self, name: &str) -> Result<Container, NsError> {
        Ok(Container::new(self.ns(name)?))
    }

    /// The world beyond the nodes: a router with addresses of its own.
    ///
    /// # Errors
    /// As [`Sandbox::ns`].
    pub fn outside(&self, name: &str) -> Result<Outside, NsError> {
        Outside::new(self.ns(name)?)
    }

    /// Removes one namespace before the sandbox goes, with the processes in it: a container that
    /// died before its DEL.
    ///
    /// # Errors
    /// `Command` when it cannot be unmounted.
    pub fn remove(&self, ns: &Ns) -> Result<(), NsError> {
        remove_all(std::slice::from_ref(ns))?;
        self.lock().retain(|kept| kept.name() != ns.name());
        Ok(())
    }

    /// Removes the namespaces of test processes that died without dropping theirs, and returns
    /// their names. Names without our prefix, and those of living processes, are left alone.
    ///
    /// # Errors
    /// `Command` when one cannot be unmounted.
    pub fn sweep() -> Result<Vec<String>, NsError> {
        let Ok(entries) = fs::read_dir(NETNS_DIR) else {
            return Ok(Vec::new());
        };
        let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
        let stale: Vec<Ns> = names.filter(|name| is_stale(name)).map(Ns::new).collect();
        remove_all(&stale)?;
        Ok(stale.iter().map(|ns| ns.name().to_owned()).collect())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Ns>> {
        // A panic while pushing leaves the list whole.
        self.namespaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let namespaces = std::mem::take(&mut *self.lock());
        if let Err(error) = remove_all(&namespaces) {
            // A drop cannot fail; the next process' sweep finds what is left.
            eprintln!("sandbox {}: {error}", self.stem);
        }
    }
}

fn is_stale(name: &str) -> bool {
    let owner = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split_once('-'))
        .and_then(|(pid, _)| pid.parse::<u32>().ok());
    owner.is_some_and(|pid| !fs::exists(format!("/proc/{pid}")).unwrap_or(true))
}

fn remove_all(namespaces: &[Ns]) -> Result<(), NsError> {
    let present: Vec<&Ns> = namespaces.iter().filter(|ns| ns.exists()).collect();
    let Some(first) = present.first() else {
        return Ok(());
    };
    let own = identity(Path::new("/proc/self/ns/net"));
    let doomed = present.iter().filter_map(|ns| identity(ns.path()));
    // A name that was never mounted could only be mistaken for this process' own namespace.
    let doomed: Vec<_> = doomed.filter(|id| Some(*id) != own).collect();
    wait_until(REAP_LIMIT, || kill_inside(&doomed).is_none().then_some(()));
    let lines: Vec<String> = present
        .iter()
        .map(|ns| format!("netns del {}", ns.name()))
        .collect();
    let script = lines.join("\n") + "\n";
    match run_ip(first, &["-force", "-b", "-"], &script) {
        // Another process may have swept the same names at the same time.
        Err(_) if !present.iter().any(|ns| ns.exists()) => Ok(()),
        other => other,
    }
}

/// Device and inode: what tells two namespaces apart (namespaces(7)).
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// Kills every process (never this one) whose network namespace is one of `doomed`; how many were
/// still alive, `None` when none was.
fn kill_inside(doomed: &[(u64, u64)]) -> Option<usize> {
    let entries = fs::read_dir("/proc").ok()?;
    let pids = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let mut alive = 0;
    for pid in pids.filter_map(Pid::from_raw) {
        // The pidfd is opened before the look, so that a reused pid is never hit.
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
            continue;
        };
        let path = format!("/proc/{}/ns/net", pid.as_raw_nonzero());
        let inside = identity(Path::new(&path)).is_some_and(|id| doomed.contains(&id));
        if inside && pid != rustix::process::getpid() {
            alive += 1;
            // Already dead is what is wanted.
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        }
    }
    (alive > 0).then_some(alive)
}

/// `ip` in the caller's own namespace, which `netns add` and `netns del` do not change.
fn run_ip(ns: &Ns, args: &[&str], script: &str) -> Result<(), NsError> {
    let refused = |source: io::Error| ns.refused(format!("ip {}", args.join(" ")), source);
    let child = Command::new("ip")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(refused)?;
    let limit = Duration::from_mins(1);
    let output = crate::process::run_bounded("ip netns", child, script.as_bytes(), limit).map_err(
        |source| NsError::Process {
            ns: ns.name().to_owned(),
            source,
        },
    )?;
    if output.status.success() {
        return Ok(());
    }
    Err(NsError::Command {
        ns: ns.name().to_owned(),
        command: format!("ip {}", args.join(" ")),
        status: output.status,
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
