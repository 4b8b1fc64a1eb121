//! One member's process.

use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::Place;
use crate::ns::{Ns, NsError};

const CLIENT_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;

/// A member that runs, or does not.
#[derive(Debug)]
pub(super) struct Member {
    place: Place,
    child: Option<Child>,
}

impl Member {
    pub(super) const fn new(place: Place) -> Self {
        Self { place, child: None }
    }

    pub(super) const fn ns(&self) -> &Ns {
        &self.place.0
    }

    pub(super) const fn address(&self) -> IpAddr {
        self.place.1
    }

    pub(super) fn client_url(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.at(CLIENT_PORT))
    }

    pub(super) fn peer_url(&self) -> String {
        format!("http://{}", self.at(PEER_PORT))
    }

    const fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.place.1, port)
    }

    pub(super) const fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Starts it in its namespace; what it says is added to `log`.
    pub(super) fn start(&mut self, arguments: &[String], log: &Path) -> Result<(), NsError> {
        let ns = &self.place.0;
        let refused = |source| ns.refused("start etcd".to_owned(), source);
        let log = File::options().create(true).append(true).open(log);
        let log = log.map_err(refused)?;
        let mut command = Command::new("etcd");
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(refused)?)
            .stderr(log);
        let child = ns.enter(|| command.spawn())?.map_err(refused)?;
        self.child = Some(child);
        Ok(())
    }

    /// Kills it, if it runs, and waits for its end.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Dead already is what is wanted.
            let _ = child.kill();
            child.wait().expect("a child of ours is waited for once");
        }
    }

    pub(super) fn child(&self) -> &Child {
        let running = self.child.as_ref();
        running.unwrap_or_else(|| panic!("the member at {} was killed", self.place.1))
    }

    pub(super) fn signal(&self, signal: Signal) {
        // The child is not waited for before it is taken, so its pid is its own.
        kill_process(Pid::from_child(self.child()), signal).expect("it is a child of ours");
    }

    /// Whether every thread is stopped (proc(5), `stat`).
    pub(super) fn is_halted(&self) -> Option<()> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child().id())).ok()?;
        let stopped = |thread: std::io::Result<fs::DirEntry>| {
            let stat = fs::read_to_string(thread.ok()?.path().join("stat")).ok()?;
            // The name in parentheses may hold anything.
            let (_, rest) = stat.rsplit_once(')')?;
            rest.trim_start().starts_with('T').then_some(())
        };
        threads.map(stopped).collect()
    }
}
