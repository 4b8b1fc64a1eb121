//! A node of the run: a host namespace, a daemon in it, and what can go wrong with both.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use netns_fixtures::{Host, Ns, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::Suite;

/// Where Debian's faketime has the library that moves a process's wall clock.
const FAKETIME: &str = "faketime/libfaketimeMT.so.1";
/// Longer than a daemon needs to replay its journals on a loaded machine.
const PATIENCE: Duration = Duration::from_mins(1);
/// The state directory's filesystem.
const DISK: &str = "size=24m,mode=0700";

/// A node.
#[derive(Debug)]
pub(super) struct Node {
    nth: usize,
    host: Host,
    suite: Suite,
    dir: PathBuf,
    network: Value,
    daemon: Mutex<Option<Child>>,
}

impl Node {
    /// A node in `host`, which has its link to etcd already. `dir` is empty and becomes its disk's
    /// mount point; only a process with a mount namespace of its own may call this.
    pub(super) fn new(
        nth: usize,
        host: Host,
        dir: &Path,
        endpoints: &[String],
        pool: &str,
    ) -> io::Result<Self> {
        let suite = Suite::ours();
        fs::create_dir_all(dir.join("state"))?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", DISK, "tmpfs"])
            .arg(dir.join("state"))
            .status()?;
        if !mounted.success() {
            return Err(io::Error::other("mount refuses a tmpfs"));
        }
        let network = json!({
            "cniVersion": "1.1.0",
            "name": "hammered",
            "type": "bulkhead-bridge",
            "bridge": "hammer0",
            "isGateway": true,
            "stateDir": dir.join("state"),
            "ipam": {"type": "bulkhead-ipam", "pool": pool},
        });
        let node = Self {
            nth,
            host,
            suite,
            dir: dir.to_owned(),
            network,
            daemon: Mutex::new(None),
        };
        fs::write(node.config_path(), node.config(endpoints))?;
        fs::write(node.clock_path(), "+0\n")?;
        Ok(node)
    }

    pub(super) const fn nth(&self) -> usize {
        self.nth
    }

    pub(super) fn ns(&self) -> &Ns {
        &self.host
    }

    pub(super) fn plugin(&self) -> PathBuf {
        self.suite.bridge()
    }

    /// The network's configuration, as a runtime sends it.
    pub(super) const fn network(&self) -> &Value {
        &self.network
    }

    pub(super) fn name(&self) -> String {
        format!("node{}", self.nth)
    }

    fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    fn config_path(&self) -> PathBuf {
        self.dir.join("bulkheadd.toml")
    }

    fn clock_path(&self) -> PathBuf {
        self.dir.join("clock")
    }

    /// What the daemon said, all its lives.
    pub(super) fn log_path(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn config(&self, endpoints: &[String]) -> String {
        format!(
            "state_dir = \"{state}\"\n\
             socket = \"{socket}\"\n\
             [node]\nname = {name:?}\n\
             [log]\nformat = \"json\"\nlevel = \"info\"\n\
             [collector]\ninterval_secs = 1\ngrace_secs = 3\n\
             [flows]\ninterval_secs = 1\n\
             [store]\nbackend = \"etcd\"\n\
             [store.etcd]\nendpoints = {endpoints:?}\n",
            state = self.state().display(),
            socket = self.dir.join("socket").display(),
            name = self.name(),
        )
    }

    /// Starts the daemon; returns when it serves.
    pub(super) fn start(&self) -> io::Result<()> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())?;
        let mut command = self.host.command(self.suite.dir().join("bulkheadd"));
        command
            .arg("--config")
            .arg(self.config_path())
            .env("DONT_FAKE_MONOTONIC", "1")
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_TIMESTAMP_FILE", self.clock_path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        if let Some(library) = faketime() {
            command.env("LD_PRELOAD", library);
        }
        let child = command.spawn()?;
        *self.daemon() = Some(child);
        Ok(())
    }

    /// Waits until the daemon answers.
    pub(super) fn await_ready(&self) -> io::Result<Value> {
        let status = wait_until(PATIENCE, || self.status().ok());
        status.ok_or_else(|| io::Error::other(format!("{} does not serve", self.name())))
    }

    /// What the daemon says of itself.
    pub(super) fn status(&self) -> io::Result<Value> {
        self.ask(&["status"]).map(|(_, value)| value)
    }

    /// A question of an operator: the exit code and the answer.
    pub(super) fn ask(&self, words: &[&str]) -> io::Result<(i32, Value)> {
        let mut command = self.host.command(self.suite.dir().join("bulkhead"));
        command
            .args(["-o", "json"])
            .args(words)
            .arg("--state-dir")
            .arg(self.state());
        let output = self
            .host
            .output(&mut command, b"", Duration::from_mins(1))
            .map_err(io::Error::other)?;
        let value = serde_json::from_slice(&output.stdout).map_err(|_| {
            let said = String::from_utf8_lossy(&output.stderr);
            io::Error::other(format!("{}: {words:?}: {said}", self.name()))
        })?;
        Ok((output.status.code().unwrap_or(-1), value))
    }

    fn daemon(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the daemon a signal; nothing if there is none.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(child) = self.daemon().as_ref()
            && let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
        {
            // A daemon that has just ended is what a signal may meet.
            let _ = kill_process(pid, signal);
        }
    }

    /// Ends the daemon by `signal` and waits for its end.
    pub(super) fn end(&self, signal: Signal) {
        self.signal(signal);
        if let Some(mut child) = self.daemon().take() {
            let ended = wait_until(Duration::from_secs(20), || child.try_wait().ok().flatten());
            if ended.is_none() {
                drop(child.kill());
                drop(child.wait());
            }
        }
    }

    /// Fills the disk to the last byte.
    pub(super) fn fill_disk(&self) -> io::Result<()> {
        let mut file = File::create(self.filler())?;
        let block = vec![b'x'; 64 << 10];
        for size in [block.len(), 4096, 1] {
            while file.write_all(&block[..size]).is_ok() {}
        }
        Ok(())
    }

    /// Makes room again.
    pub(super) fn free_disk(&self) {
        drop(fs::remove_file(self.filler()));
    }

    fn filler(&self) -> PathBuf {
        self.state().join("filler")
    }

    /// Sets the daemon's wall clock off by so many seconds; 0 is right.
    pub(super) fn set_clock(&self, seconds: i32) -> io::Result<()> {
        fs::write(self.clock_path(), format!("{seconds:+}\n"))
    }

    /// Drops what goes to and comes from etcd.
    pub(super) fn cut_off(&self) -> io::Result<()> {
        cut_off(&self.host)
    }

    /// Lets it pass again.
    pub(super) fn rejoin(&self) {
        rejoin(&self.host);
    }

    /// Everything of the node as it should be, its daemon running.
    pub(super) fn heal(&self) -> io::Result<()> {
        self.free_disk();
        self.rejoin();
        self.set_clock(0)?;
        self.signal(Signal::CONT);
        let gone = match self.daemon().as_mut() {
            Some(child) => child.try_wait()?.is_some(),
            None => true,
        };
        if gone { self.start() } else { Ok(()) }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.signal(Signal::CONT);
        self.end(Signal::KILL);
        // What is still busy goes with the mount namespace.
        drop(Command::new("umount").arg(self.state()).status());
    }
}

/// Drops every packet on the link to the others, in and out, by a table of its own.
pub(super) fn cut_off(ns: &Ns) -> io::Result<()> {
    const RULES: &str = "table inet cut {
        chain in { type filter hook input priority -300; iifname \"fab0\" drop; }
        chain out { type filter hook output priority -300; oifname \"fab0\" drop; }
    }";
    ns.nft(RULES).map(drop).map_err(io::Error::other)
}

/// Removes that table.
pub(super) fn rejoin(ns: &Ns) {
    // Nobody may have cut it off.
    drop(ns.nft("delete table inet cut"));
}

fn faketime() -> Option<PathBuf> {
    let machine = std::env::consts::ARCH;
    let path = PathBuf::from(format!("/usr/lib/{machine}-linux-gnu")).join(FAKETIME);
    path.exists().then_some(path)
}
