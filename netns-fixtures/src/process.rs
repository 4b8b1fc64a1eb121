//! Child processes with a deadline: a test that waits for a program for ever proves nothing.

use std::io::{self, Read, Write};
use std::process::{Child, ExitStatus, Output};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// Why a bounded run has no output.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The deadline passed; the child was killed.
    #[error("{what} did not end within {limit:?}; it was killed")]
    Late {
        /// The program.
        what: String,
        /// The limit that passed.
        limit: Duration,
    },
    /// The system refused to start, feed, read or wait for the child.
    #[error("{what}: the system refused to run it")]
    System {
        /// The program.
        what: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// Feeds `stdin` to `child` (whose three streams are pipes), collects both outputs and the status.
///
/// # Errors
/// `Late` when the child, or a descendant holding its streams, outlives `limit`; `System` when the
/// kernel refuses a wait or a pipe.
pub fn run_bounded(
    what: &str,
    mut child: Child,
    stdin: &[u8],
    limit: Duration,
) -> Result<Output, ProcessError> {
    let deadline = Instant::now() + limit;
    let system = |source| ProcessError::System {
        what: what.to_owned(),
        source,
    };
    if let Some(mut pipe) = child.stdin.take() {
        let bytes = stdin.to_vec();
        // A child that does not read its input closes the pipe: that is its right, not an error.
        thread::spawn(move || drop(pipe.write_all(&bytes)));
    }
    let stdout = child.stdout.take().map(drain);
    let stderr = child.stderr.take().map(drain);
    let exited = wait_exit(&mut child, deadline).map_err(system)?;
    let collected = exited.and_then(|status| {
        Some(Output {
            status,
            stdout: collect(stdout, deadline)?,
            stderr: collect(stderr, deadline)?,
        })
    });
    collected.ok_or_else(|| {
        // Already gone is what is wanted here.
        drop(child.kill());
        drop(child.wait());
        ProcessError::Late {
            what: what.to_owned(),
            limit,
        }
    })
}

/// `None` when the child still runs at `deadline`.
fn wait_exit(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    let pid = Pid::from_child(child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) => return Ok(None),
            Ok(_) => return child.wait().map(Some),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn drain(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before a broken pipe is still the child's output.
        drop(pipe.read_to_end(&mut bytes));
        drop(send.send(bytes));
    });
    receive
}

fn collect(pipe: Option<Receiver<Vec<u8>>>, deadline: Instant) -> Option<Vec<u8>> {
    match pipe {
        None => Some(Vec::new()),
        Some(pipe) => {
            let left = deadline.saturating_duration_since(Instant::now());
            pipe.recv_timeout(left.max(Duration::from_millis(1))).ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn spawn(program: &str, args: &[&str]) -> Child {
        Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    #[test]
    fn input_larger_than_a_pipe_comes_back_whole() {
        let input = vec![b'x'; 1 << 20];
        let output = run_bounded("cat", spawn("cat", &[]), &input, Duration::from_secs(10));
        assert_eq!(output.unwrap().stdout, input);
    }

    #[test]
    fn a_program_past_its_deadline_is_killed_and_named() {
        let started = Instant::now();
        let limit = Duration::from_millis(50);
        let error = run_bounded("sleep", spawn("sleep", &["60"]), b"", limit).unwrap_err();
        assert!(matches!(error, ProcessError::Late { .. }));
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}
