//! A named network namespace: entering it, running programs in it, and the shorthands that tests
//! configure it with. The namespace itself belongs to its [`Sandbox`](crate::Sandbox).

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::{ProcessError, run_bounded};

/// A configuration command is done in milliseconds; a minute means that something hangs.
const COMMAND_LIMIT: Duration = Duration::from_mins(1);

/// Why something could not be done in a namespace.
#[derive(Debug, thiserror::Error)]
pub enum NsError {
    /// A program ended with a failure.
    #[error("{ns}: {command}: {status}: {stderr}")]
    Command {
        /// The namespace's name.
        ns: String,
        /// The command line.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it said, trimmed.
        stderr: String,
    },
    /// A program could not be run to its end.
    #[error("{ns}: command not run to its end")]
    Process {
        /// The namespace's name.
        ns: String,
        /// The reason.
        #[source]
        source: ProcessError,
    },
    /// The system refused an operation on a file or on the namespace.
    #[error("{ns}: {what}")]
    System {
        /// The namespace's name.
        ns: String,
        /// The operation and its object.
        what: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A program's output is not the JSON it was asked for.
    #[error("{ns}: {command}: output is not JSON")]
    Json {
        /// The namespace's name.
        ns: String,
        /// The command line.
        command: String,
        /// Where it stops being JSON.
        #[source]
        source: serde_json::Error,
    },
}

/// A handle on a mounted namespace, ours at `/run/netns/<name>`. Cheap to clone; it does not keep the
/// namespace alive.
#[derive(Clone, Debug)]
pub struct Ns {
    name: Arc<str>,
    path: Arc<Path>,
}

impl Ns {
    pub(crate) fn new(name: String) -> Self {
        Self {
            path: PathBuf::from(format!("/run/netns/{name}")).into(),
            name: name.into(),
        }
    }

    /// A handle on a namespace that somebody else mounted at `path`, for example a container engine.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self {
            name: path.to_string_lossy().into(),
            path: path.into(),
        }
    }

    /// The name `ip netns` knows it by; the path of one that [`Ns::at`] was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The mounted namespace, as `CNI_NETNS` wants it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the namespace is still mounted.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Runs `work` on a new OS thread inside the namespace and returns its value; a panic inside
    /// goes on in the caller. A process that `work` starts lives in the namespace too.
    ///
    /// # Errors
    /// `System` when the namespace is gone or cannot be entered.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NsError> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter_this_thread()?;
                Ok(work())
            });
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Moves the calling thread for good: only for threads that end inside.
    pub(crate) fn enter_this_thread(&self) -> Result<(), NsError> {
        let enter = || -> io::Result<()> {
            let file = File::open(&self.path)?;
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(())
        };
        enter().map_err(|source| self.refused(format!("enter {}", self.path.display()), source))
    }

    /// A command that will run `program` inside the namespace.
    ///
    /// Through `nsenter`, not `ip netns exec`: the latter also unshares the mount namespace, so a
    /// namespace that the program mounts (podman, `ip netns add`) would be invisible to the test,
    /// and a long-lived program would pin those of other sandboxes. The price is that `/sys` stays
    /// the machine's; `/proc/sys/net` follows the namespace either way. `nsenter` execs without
    /// forking, so the child's pid is the program's.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.path.display()))
            .arg("--")
            .arg(program);
        command
    }

    /// Runs `command` (any program, not yet wrapped) inside, feeds it `stdin`, and returns what it
    /// said whatever its exit status.
    ///
    /// # Errors
    /// `System` when it cannot be started; `Process` when it does not end within `limit`.
    pub fn output(
        &self,
        command: &mut Command,
        stdin: &[u8],
        limit: Duration,
    ) -> Result<Output, NsError> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let line = line_of(command);
        // The child inherits the namespace of the thread that starts it: no wrapper process.
        let child = self
            .enter(|| command.spawn())?
            .map_err(|source| self.refused(format!("start {line}"), source))?;
        run_bounded(&line, child, stdin, limit).map_err(|source| NsError::Process {
            ns: self.name().to_owned(),
            source,
        })
    }

    /// Runs a program that must succeed, and returns its standard output.
    ///
    /// # Errors
    /// `Command` with its standard error when it fails; otherwise as [`Ns::output`].
    pub fn run(&self, command: &mut Command, stdin: &[u8]) -> Result<String, NsError> {
        let output = self.output(command, stdin, COMMAND_LIMIT)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(NsError::Command {
            ns: self.name().to_owned(),
            command: line_of(command),
            status: output.status,
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    /// Runs `line`, split at white space, as a program with arguments: `ns.sh("ip link set x up")`
    /// without a shell.
    ///
    /// # Errors
    /// As [`Ns::run`].
    pub fn sh(&self, line: &str) -> Result<String, NsError> {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().unwrap_or_default());
        self.run(command.args(words), b"")
    }

    /// Runs `ip` with the words of `line`.
    ///
    /// # Errors
    /// As [`Ns::run`].
    pub fn ip(&self, line: &str) -> Result<String, NsError> {
        self.run(Command::new("ip").args(line.split_whitespace()), b"")
    }

    /// Runs many `ip` lines in one process; stops at the first that fails.
    ///
    /// # Errors
    /// As [`Ns::run`]; `ip` names the line by number.
    pub fn ip_batch<L: AsRef<str>>(&self, lines: &[L]) -> Result<String, NsError> {
        let lines: Vec<&str> = lines.iter().map(AsRef::as_ref).collect();
        let script = lines.join("\n") + "\n";
        self.run(Command::new("ip").args(["-b", "-"]), script.as_bytes())
    }

    /// Runs `ip -j -d` with the words of `line`; an empty answer is an empty array.
    ///
    /// # Errors
    /// As [`Ns::run`], and `Json`.
    pub fn ip_json(&self, line: &str) -> Result<serde_json::Value, NsError> {
        self.json("ip -j -d", line)
    }

    /// Runs `bridge -j -d` with the words of `line`; an empty answer is an empty array.
    ///
    /// # Errors
    /// As [`Ns::run`], and `Json`.
    pub fn bridge_json(&self, line: &str) -> Result<serde_json::Value, NsError> {
        self.json("bridge -j -d", line)
    }

    fn json(&self, tool: &str, line: &str) -> Result<serde_json::Value, NsError> {
        let command = format!("{tool} {line}");
        let text = self.sh(&command)?;
        if text.trim().is_empty() {
            return Ok(serde_json::Value::Array(Vec::new()));
        }
        serde_json::from_str(&text).map_err(|source| NsError::Json {
            ns: self.name().to_owned(),
            command,
            source,
        })
    }

    /// Loads an nft script as one transaction.
    ///
    /// # Errors
    /// As [`Ns::run`].
    pub fn nft(&self, script: &str) -> Result<String, NsError> {
        self.run(Command::new("nft").args(["-f", "-"]), script.as_bytes())
    }

    /// The value of `/proc/sys/<key>` in the namespace, trimmed. The key is a path below
    /// `/proc/sys` (`net/ipv4/ip_forward`), because interface names may contain dots.
    ///
    /// # Errors
    /// `System` when the key does not exist or cannot be read.
    pub fn sysctl(&self, key: &str) -> Result<String, NsError> {
        let path = format!("/proc/sys/{key}");
        self.enter(|| fs::read_to_string(&path))?
            .map(|text| text.trim().to_owned())
            .map_err(|source| self.refused(format!("read {path}"), source))
    }

    /// Writes `/proc/sys/<key>` in the namespace.
    ///
    /// # Errors
    /// `System` when the key does not exist or refuses the value.
    pub fn set_sysctl(&self, key: &str, value: &str) -> Result<(), NsError> {
        let path = format!("/proc/sys/{key}");
        self.enter(|| fs::write(&path, value))?
            .map_err(|source| self.refused(format!("write {value:?} to {path}"), source))
    }

    /// Whether a link of that name stands in the namespace.
    ///
    /// # Errors
    /// `System` when the namespace cannot be entered.
    pub fn has_link(&self, name: &str) -> Result<bool, NsError> {
        // nix's `if_nametoindex` asks the calling thread's namespace; `/sys` would be the machine's.
        self.enter(|| nix::net::if_::if_nametoindex(name).is_ok())
    }

    /// The MAC of a link.
    ///
    /// # Errors
    /// As [`Ns::run`]; `System` when the link has no MAC.
    pub fn mac(&self, link: &str) -> Result<[u8; 6], NsError> {
        let links = self.ip_json(&format!("link show dev {link}"))?;
        links[0]["address"]
            .as_str()
            .and_then(crate::packet::parse_mac)
            .ok_or_else(|| self.refused(format!("link {link} has no MAC"), io::ErrorKind::Other))
    }

    pub(crate) fn refused(&self, what: String, source: impl Into<io::Error>) -> NsError {
        NsError::System {
            ns: self.name().to_owned(),
            what,
            source: source.into(),
        }
    }
}

/// The command as a person would type it, for messages.
fn line_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(std::ffi::OsStr::to_string_lossy).collect();
    words.join(" ")
}
