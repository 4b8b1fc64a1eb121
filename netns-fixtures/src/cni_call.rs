//! One call of a CNI plugin executable, as a runtime on that node would make it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::ns::{Ns, NsError};

/// A runtime waits longer, but no call of ours may take this long.
const CALL_LIMIT: Duration = Duration::from_mins(1);

/// `CNI_COMMAND` (CNI spec 1.1.0, "Parameters").
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verb {
    /// ADD
    Add,
    /// DEL
    Del,
    /// CHECK
    Check,
    /// GC
    Gc,
    /// STATUS
    Status,
    /// VERSION
    Version,
}

impl Verb {
    /// The value of `CNI_COMMAND`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }
}

/// The plugin, its environment and its input. An unset field is an unset variable.
#[derive(Clone, Debug)]
pub struct CniCall {
    plugin: PathBuf,
    verb: Verb,
    stdin: String,
    variables: Vec<(String, String)>,
    limit: Duration,
}

impl CniCall {
    /// A call of the executable at `plugin`. `CNI_PATH` is its directory unless set otherwise.
    #[must_use]
    pub fn new(plugin: impl AsRef<Path>, verb: Verb) -> Self {
        let plugin = plugin.as_ref().to_owned();
        let call = Self {
            verb,
            stdin: String::new(),
            variables: Vec::new(),
            limit: CALL_LIMIT,
            plugin,
        };
        let dir = call.plugin.parent().map(Path::to_owned).unwrap_or_default();
        call.env("CNI_PATH", &dir.to_string_lossy())
    }

    /// `CNI_CONTAINERID`.
    #[must_use]
    pub fn container_id(self, id: &str) -> Self {
        self.env("CNI_CONTAINERID", id)
    }

    /// `CNI_NETNS`, as a path.
    #[must_use]
    pub fn netns(self, path: impl AsRef<Path>) -> Self {
        self.env("CNI_NETNS", &path.as_ref().to_string_lossy())
    }

    /// `CNI_IFNAME`.
    #[must_use]
    pub fn ifname(self, name: &str) -> Self {
        self.env("CNI_IFNAME", name)
    }

    /// `CNI_ARGS`, `K=V;K=V`.
    #[must_use]
    pub fn args(self, args: &str) -> Self {
        self.env("CNI_ARGS", args)
    }

    /// `CNI_PATH`, directories separated by `:`.
    #[must_use]
    pub fn cni_path(self, path: &str) -> Self {
        self.env("CNI_PATH", path)
    }

    /// The network configuration.
    #[must_use]
    pub fn stdin(mut self, config: &(impl fmt::Display + ?Sized)) -> Self {
        self.stdin = config.to_string();
        self
    }

    /// Any other variable; a later value replaces an earlier one.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(kept, _)| kept != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Leaves a variable out, to see what the plugin says about it.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.variables.retain(|(kept, _)| kept != name);
        self
    }

    /// How long the call may take; a minute unless set.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs the plugin in `host`, with the call's variables and `PATH` as its whole environment.
    ///
    /// # Errors
    /// `System` when it cannot be started; `Process` when it outlives the limit. A plugin that
    /// answers with an error is an answer.
    pub fn run(&self, host: &Ns) -> Result<CniAnswer, NsError> {
        let mut command = Command::new(&self.plugin);
        command
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("CNI_COMMAND", self.verb.as_str())
            .envs(self.variables.iter().cloned());
        let started = Instant::now();
        let output = host.output(&mut command, self.stdin.as_bytes(), self.limit)?;
        let elapsed = started.elapsed();
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(CniAnswer {
            exit_code: output.status.code(),
            json: serde_json::from_str(&stdout).ok(),
            stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            elapsed,
        })
    }
}

/// What a plugin answered.
#[derive(Clone, Debug)]
pub struct CniAnswer {
    /// Its exit code; `None` when a signal ended it.
    pub exit_code: Option<i32>,
    /// Its standard output as one JSON value; `None` when it is not exactly one.
    pub json: Option<serde_json::Value>,
    /// Its standard output as text.
    pub stdout: String,
    /// Its standard error as text.
    pub stderr: String,
    /// From starting the process to reading its last byte.
    pub elapsed: Duration,
}

impl CniAnswer {
    /// Whether the plugin exited with 0.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.exit_code == Some(0)
    }

    /// The `code` of an error object (CNI spec 1.1.0, "Error").
    #[must_use]
    pub fn error_code(&self) -> Option<u64> {
        self.json.as_ref()?["code"].as_u64()
    }

    /// The result of a call that must have succeeded (`null` when it printed nothing).
    ///
    /// # Panics
    /// When it failed, with everything it said.
    #[must_use]
    #[track_caller]
    pub fn result(&self) -> serde_json::Value {
        assert!(self.succeeded(), "the plugin failed: {self:#?}");
        self.json.clone().unwrap_or_default()
    }
}
