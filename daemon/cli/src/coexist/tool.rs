//! Running a tool of somebody else's, never longer than it may take. That it is not there is an
//! answer, not a failure.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// firewall-cmd and ufw are Python and take under a second; both wait for a lock of iptables'.
const LIMIT: Duration = Duration::from_secs(20);
/// Where administrators' tools are, if the caller's own `PATH` leaves them out.
const SYSTEM_DIRS: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin";

/// What a tool said when it had ended.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Why a tool said nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    #[error("there is no {0}")]
    Missing(String),
    #[error("{0} did not end within 20 s and was stopped")]
    Late(String),
    #[error("{tool} cannot be run")]
    System {
        tool: String,
        #[source]
        source: io::Error,
    },
}

impl Said {
    pub(crate) fn succeeded(&self) -> bool {
        self.status.success()
    }

    /// What it said about a failure, on one line.
    pub(crate) fn complaint(&self) -> String {
        let said = [&self.stderr, &self.stdout];
        let said = said.into_iter().find(|text| !text.trim().is_empty());
        let said = said.map_or_else(|| self.status.to_string(), |text| text.trim().to_owned());
        said.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// Runs `words`, a program and its arguments.
pub(crate) fn run<W: AsRef<str>>(words: &[W]) -> Result<Said, ToolError> {
    bounded(words, LIMIT)
}

fn bounded<W: AsRef<str>>(words: &[W], limit: Duration) -> Result<Said, ToolError> {
    let mut words = words.iter().map(AsRef::as_ref);
    let program = words.next().unwrap_or_default();
    let system = |source| ToolError::System {
        tool: program.to_owned(),
        source,
    };
    let spawned = Command::new(program)
        .args(words)
        .env("PATH", path())
        // Their words are read.
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    let mut child = match spawned {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(ToolError::Missing(program.to_owned()));
        }
        other => other.map_err(system)?,
    };
    let deadline = Instant::now() + limit;
    let said = said(&mut child, deadline).map_err(system)?;
    said.ok_or_else(|| {
        stop(&mut child);
        ToolError::Late(program.to_owned())
    })
}

fn path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":");
    path.push(SYSTEM_DIRS);
    path
}

/// `None` if the deadline passed.
fn said(child: &mut Child, deadline: Instant) -> io::Result<Option<Said>> {
    let stdout = child.stdout.take().map(drain);
    let stderr = child.stderr.take().map(drain);
    let Some(status) = status(child, deadline)? else {
        return Ok(None);
    };
    Ok(read(stdout, deadline)
        .zip(read(stderr, deadline))
        .map(|(stdout, stderr)| Said {
            status,
            stdout,
            stderr,
        }))
}

fn status(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Ok(None),
            Ok(_) => return child.wait().map(Some),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// A tool that says more than a pipe holds must not wait for us.
fn drain(mut pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read of a pipe that broke was said all the same.
        let _ = pipe.read_to_end(&mut bytes);
        let _ = send.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receive
}

fn read(pipe: Option<Receiver<String>>, deadline: Instant) -> Option<String> {
    let left = deadline.saturating_duration_since(Instant::now());
    pipe.map_or(Some(String::new()), |pipe| pipe.recv_timeout(left).ok())
}

/// With what it started itself; one that has ended meanwhile is what is wanted.
fn stop(child: &mut Child) {
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_says_more_than_a_pipe_holds() {
        let said = run(&["sh", "-c", "yes x | head -c 200000; echo no >&2; exit 3"]).unwrap();
        assert_eq!(said.stdout.len(), 200_000);
        assert_eq!(
            (said.status.code(), said.stderr.as_str()),
            (Some(3), "no\n")
        );
        assert_eq!(said.complaint(), "no");
    }

    #[test]
    fn a_tool_that_hangs_is_stopped_with_its_children() {
        let limit = Duration::from_millis(100);
        let late = bounded(&["sh", "-c", "sleep 600 & wait"], limit);
        assert!(matches!(late, Err(ToolError::Late(_))));
        let held = bounded(&["sh", "-c", "sleep 600 &"], limit);
        assert!(
            matches!(held, Err(ToolError::Late(_))),
            "who holds the pipe"
        );
        let missing = run(&["bulkhead-no-such-tool"]).unwrap_err();
        assert_eq!(missing.to_string(), "there is no bulkhead-no-such-tool");
    }
}
