//! A container engine's own mount and PID namespaces on a node: what it mounts and starts is gone
//! with their first process, however the test ends.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use netns_fixtures::{Ns, wait_for};

const CGROUPS: &str = "/sys/fs/cgroup";
/// Starting a process takes milliseconds; a minute means that something hangs.
const LIMIT: Duration = Duration::from_mins(1);

/// What runtimes, libcni, iptables and `mount` itself write to fixed places is the enclosure's own.
const PREPARE: &str = r#"
mount -t tmpfs tmpfs /run
mkdir /run/netns /run/lock
mount -t tmpfs tmpfs /dev/shm
mkdir -p "$DIR/lib"
mount --bind "$DIR/lib" /var/lib
"#;

/// Fresh mount and PID namespaces in the network namespace of a node, and a cgroup for what is
/// started in them. Dropping it kills everything inside.
#[derive(Debug)]
pub(crate) struct Enclosure {
    first: Child,
    pid: u32,
    host: Ns,
    cgroup: String,
}

impl Enclosure {
    /// Namespaces on `host` with a `/run`, a `/dev/shm` and, in `dir/lib`, a `/var/lib` of their own,
    /// in which `prepare`, lines of bash that mount what else an engine needs and find `dir` in
    /// `$DIR`, has run. `cgroup` is the path below each hierarchy that is removed in the end.
    ///
    /// # Panics
    /// When they cannot be made or `prepare` fails.
    pub(crate) fn start(host: &Ns, cgroup: &str, dir: &Path, prepare: &str) -> Self {
        // bash, because as the first process of a PID namespace it reaps what is orphaned to it.
        // Its end is the end of its input, which the kernel closes with this process at the latest.
        let mut first = host
            .command("unshare")
            .args(["--mount", "--propagation", "private"])
            .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
            .args(["bash", "-e", "-c"])
            .arg(format!("{PREPARE}{prepare}\necho ready\nread -r"))
            .env("DIR", dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare is part of util-linux");
        let mut ready = [0; 6];
        let said = first.stdout.as_mut().expect("it is piped");
        said.read_exact(&mut ready)
            .expect("the first process says when it is ready");
        let pid = only_child(first.id());
        Self {
            first,
            pid,
            host: host.clone(),
            cgroup: cgroup.to_owned(),
        }
    }

    /// A command that will run `program` inside, on the node, with nothing of our environment.
    /// The child it becomes is not the program but waits for it.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.pid.to_string(), "--mount", "--pid"])
            .arg(format!("--net={}", self.host.path().display()))
            .args(["--", program])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// The cgroup, as an absolute path below each hierarchy.
    pub(crate) fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// Where a file inside, whose path there has no symbolic link to an absolute path, is found
    /// from outside (proc(5), `/proc/pid/root`).
    pub(crate) fn path(&self, inside: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.pid));
        root.join(inside.strip_prefix("/").unwrap_or(inside))
    }
}

impl Drop for Enclosure {
    fn drop(&mut self) {
        drop(self.first.stdin.take());
        if let Err(error) = self.first.wait() {
            eprintln!("the first process of {}: {error}", self.cgroup);
        }
        let below = self.cgroup.trim_start_matches('/');
        for controller in fs::read_dir(CGROUPS).into_iter().flatten().flatten() {
            remove_cgroup(&controller.path().join(below));
        }
        remove_cgroup(&Path::new(CGROUPS).join(below));
    }
}

/// The child of a process that has one or is about to.
pub(crate) fn only_child(pid: u32) -> u32 {
    let path = format!("/proc/{pid}/task/{pid}/children");
    wait_for("a child of unshare or nsenter", LIMIT, || {
        let children = fs::read_to_string(&path).ok()?;
        children.split_whitespace().next()?.parse().ok()
    })
}

/// Removes a group with those in it; what is not there or still busy stays.
fn remove_cgroup(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let _ = fs::remove_dir(path);
}
