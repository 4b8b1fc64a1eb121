//! A node daemon on a node of the test's own.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bulkhead_ipam::wire::Client;
use bulkhead_ipam::wire::admin::{Reply, Request};
use netns_fixtures::{wait_for, wait_until};

use super::ours::Node;

/// Longer than anything takes on a loaded machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A daemon, killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    dir: PathBuf,
    log: PathBuf,
}

impl Daemon {
    /// Starts it on the node's state directory, configured by `more` besides, and waits until it serves.
    pub(crate) fn start(node: &Node, more: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        // Paths of sockets are short (unix(7)).
        let dir = std::env::temp_dir().join(format!("bulkhead-cli-{}-{nth}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let socket = dir.join("sock");
        let text = format!(
            "state_dir = \"{}\"\nsocket = \"{}\"\n{more}",
            node.scratch.text("state"),
            socket.display()
        );
        node.scratch.write("bulkheadd.toml", &text);
        let log = node.scratch.path("bulkheadd.log");
        let child = node
            .host
            .command(node.executable("bulkheadd"))
            .arg("--config")
            .arg(node.scratch.path("bulkheadd.toml"))
            .stdin(Stdio::null())
            .stderr(
                File::options()
                    .append(true)
                    .create(true)
                    .open(&log)
                    .unwrap(),
            )
            .spawn()
            .unwrap();
        let daemon = Self { child, dir, log };
        // The socket is there before anybody answers on it.
        let up = wait_until(LIMIT, || {
            let mut client = Client::connect(&socket, Some(LIMIT)).ok()?;
            client.ask::<Reply>(&Request::Status).ok()
        });
        assert!(up.is_some(), "the daemon does not serve:\n{}", daemon.log());
        daemon
    }

    /// What it wrote.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Kills it as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        wait_for("the daemon to end", LIMIT, || {
            self.child.try_wait().unwrap()
        });
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}
