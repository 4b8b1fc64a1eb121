//! A node daemon that serves a state directory, for tests and the benchmark.

use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use netns_fixtures::{Ns, wait_until};

use crate::Suite;

/// Longer than a daemon needs to replay its journals on a loaded machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running `bulkheadd`; it is killed when the value is dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    socket: PathBuf,
    /// Its files beside the state directory.
    files: [PathBuf; 3],
}

impl Daemon {
    /// Starts it on the node `host` for `state`, over the embedded store, and waits until it listens.
    /// `settings` are lines of its configuration besides, complete tables.
    ///
    /// # Errors
    /// It cannot be started, or does not listen in time; the error has what it said.
    pub fn start(host: &Ns, state: &Path, settings: &str) -> io::Result<Self> {
        Self::start_in(host, state, settings, None)
    }

    /// The same in another boot of the machine, whose id stands in a file.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn start_in(
        host: &Ns,
        state: &Path,
        settings: &str,
        boot_id: Option<&Path>,
    ) -> io::Result<Self> {
        let beside = |name: &str| state.with_extension(name);
        let (config, socket, log) = (beside("toml"), beside("socket"), beside("log"));
        let head = format!(
            "state_dir = \"{}\"\nsocket = \"{}\"\n",
            state.display(),
            socket.display()
        );
        fs::write(&config, head + settings)?;
        let said = File::create(&log)?;
        let executable = Suite::ours().dir().join("bulkheadd");
        let mut command = match boot_id {
            None => host.command(executable),
            Some(boot_id) => {
                let mut command = host.command("unshare");
                let script = "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"";
                command.args(["--mount", "--propagation", "slave", "sh", "-c", script]);
                command.arg(boot_id).arg(executable);
                command
            }
        };
        let child = command
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            .spawn()?;
        let files = [config, socket.clone(), log.clone()];
        let daemon = Self {
            child,
            socket,
            files,
        };
        wait_until(PATIENCE, || UnixStream::connect(&daemon.socket).ok())
            .map(|_| daemon)
            .ok_or_else(|| {
                let said = fs::read_to_string(&log).unwrap_or_default();
                io::Error::other(format!("bulkheadd does not listen: {said}"))
            })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
        for file in &self.files {
            // The daemon may have removed its socket.
            drop(fs::remove_file(file));
        }
    }
}
