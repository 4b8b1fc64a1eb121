//! Running another plugin: delegation to an IPAM plugin, and the steps of a network list.

use std::io::{self, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::fs::MemfdFlags;

use crate::json::{FieldError, Value};
use crate::{Call, CniError, CniResult, CniVersion, Code, Environment, Verb};

/// A plugin's executable.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Plugin {
    name: String,
    path: PathBuf,
}

/// Why another plugin could not be run, or what it answered instead.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// `type` is empty or a path.
    #[error("plugin type {0:?} is not a file name without '/'")]
    InvalidType(String),
    /// There is nowhere to look.
    #[error("no directory to look for plugin {0:?} in: CNI_PATH is missing")]
    NoPath(String),
    /// None of the directories holds it.
    #[error("plugin {name:?} not found in {dirs}, install it or correct the type")]
    NotFound {
        /// The plugin.
        name: String,
        /// The directories, as in `CNI_PATH`.
        dirs: String,
    },
    /// It could not be started or fed.
    #[error("plugin {name:?} ({path}): cannot be run")]
    Start {
        /// The plugin.
        name: String,
        /// Its executable.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It answered an error.
    #[error("plugin {name:?}: {error}")]
    Refused {
        /// The plugin.
        name: String,
        /// Its error.
        error: CniError,
    },
    /// It ended without an answer.
    #[error("plugin {name:?} ended with {status} and no answer; it wrote {said:?}")]
    NoAnswer {
        /// The plugin.
        name: String,
        /// How it ended.
        status: String,
        /// What it wrote to stdout, or else to stderr.
        said: String,
    },
    /// Its answer is not JSON.
    #[error("plugin {name:?}: its result is not JSON")]
    NotJson {
        /// The plugin.
        name: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Its answer is no result.
    #[error("plugin {name:?}: its result is malformed")]
    NotResult {
        /// The plugin.
        name: String,
        /// Why.
        #[source]
        source: FieldError,
    },
}

impl From<ExecError> for CniError {
    /// A delegate's own code is passed on: 11, 50 and 51 mean the same from us.
    fn from(error: ExecError) -> Self {
        let code = match &error {
            ExecError::InvalidType(_) | ExecError::NotFound { .. } => Code::INVALID_CONFIG,
            ExecError::NoPath(_) => return Self::missing_environment(&["CNI_PATH"]),
            ExecError::Start { .. } => Code::IO_FAILURE,
            ExecError::Refused { error, .. } => error.code,
            ExecError::NoAnswer { .. }
            | ExecError::NotJson { .. }
            | ExecError::NotResult { .. } => Code::DELEGATE_FAILED,
        };
        Self::from_chain(code, &error)
    }
}

impl Plugin {
    /// The first file called `name` in `dirs`.
    ///
    /// # Errors
    /// [`ExecError::InvalidType`], [`ExecError::NoPath`], [`ExecError::NotFound`].
    pub fn find(name: &str, dirs: &[PathBuf]) -> Result<Self, ExecError> {
        let name = name.to_owned();
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
            return Err(ExecError::InvalidType(name));
        }
        if dirs.is_empty() {
            return Err(ExecError::NoPath(name));
        }
        match dirs
            .iter()
            .map(|dir| dir.join(&name))
            .find(|path| path.is_file())
        {
            Some(path) => Ok(Self { name, path }),
            None => Err(ExecError::NotFound {
                name,
                dirs: shown(dirs),
            }),
        }
    }

    /// Its executable.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs it with nothing but `environment` and `stdin`, passes its stderr on and returns its
    /// stdout.
    ///
    /// # Errors
    /// [`ExecError::Start`], [`ExecError::Refused`], [`ExecError::NoAnswer`].
    pub fn run(&self, environment: &Environment, stdin: &[u8]) -> Result<Vec<u8>, ExecError> {
        let output = self
            .spawn(environment, stdin)
            .and_then(Child::wait_with_output)
            .map_err(|source| ExecError::Start {
                name: self.name.clone(),
                path: self.path.display().to_string(),
                source,
            })?;
        // What it has to say is for the operator; a closed stderr has no reader to disappoint.
        let _ = io::stderr().write_all(&output.stderr);
        if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(self.failure(&output))
        }
    }

    /// Runs it for ADD and reads its result.
    ///
    /// # Errors
    /// Those of [`Plugin::run`], [`ExecError::NotJson`], [`ExecError::NotResult`], and
    /// [`ExecError::NoAnswer`] for an empty stdout.
    pub fn run_for_result(
        &self,
        environment: &Environment,
        stdin: &[u8],
        version: CniVersion,
    ) -> Result<CniResult, ExecError> {
        result_of(&self.name, &self.run(environment, stdin)?, version)
    }

    /// An installer that writes in place makes `execve` fail for a moment; libcni waits as long.
    fn spawn(&self, environment: &Environment, stdin: &[u8]) -> io::Result<Child> {
        const ATTEMPTS: usize = 5;
        const PAUSE: Duration = Duration::from_secs(1);
        let input = in_memory(stdin)?;
        for _ in 0..ATTEMPTS {
            match self.spawn_once(environment, &input) {
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                    std::thread::sleep(PAUSE);
                }
                outcome => return outcome,
            }
        }
        self.spawn_once(environment, &input)
    }

    fn spawn_once(
        &self,
        environment: &Environment,
        mut input: &std::fs::File,
    ) -> io::Result<Child> {
        input.rewind()?;
        Command::new(&self.path)
            .arg0(&self.path)
            .env_clear()
            .envs(environment.variables())
            .stdin(Stdio::from(input.try_clone()?))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }

    fn failure(&self, output: &Output) -> ExecError {
        let name = self.name.clone();
        let answer = Value::parse(&output.stdout).ok();
        if let Some(error) = answer.as_ref().and_then(CniError::from_json) {
            return ExecError::Refused { name, error };
        }
        let said = if output.stdout.trim_ascii().is_empty() {
            &output.stderr
        } else {
            &output.stdout
        };
        ExecError::NoAnswer {
            name,
            status: output.status.to_string(),
            said: String::from_utf8_lossy(said.trim_ascii()).into_owned(),
        }
    }
}

/// A file rather than a pipe: a plugin that writes before it reads cannot block us, and one that
/// never reads cannot break our write.
fn in_memory(bytes: &[u8]) -> io::Result<std::fs::File> {
    let mut file = std::fs::File::from(rustix::fs::memfd_create("stdin", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(file)
}

fn shown(dirs: &[PathBuf]) -> String {
    let dirs: Vec<_> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    dirs.join(":")
}

fn result_of(plugin: &str, stdout: &[u8], version: CniVersion) -> Result<CniResult, ExecError> {
    let name = || plugin.to_owned();
    if stdout.trim_ascii().is_empty() {
        return Err(ExecError::NoAnswer {
            name: name(),
            status: "success".to_owned(),
            said: String::new(),
        });
    }
    let value = Value::parse(stdout).map_err(|source| ExecError::NotJson {
        name: name(),
        source,
    })?;
    CniResult::parse("result", &value, version).map_err(|source| ExecError::NotResult {
        name: name(),
        source,
    })
}

/// Who runs the plugins that a call is delegated to: this process, or the one that was called.
pub trait Delegates {
    /// Runs the plugin of that name, found in the environment's `CNI_PATH`, with nothing but
    /// `environment` and `stdin`, passes its stderr on and returns its stdout.
    ///
    /// # Errors
    /// Those of [`Plugin::find`] and [`Plugin::run`], as a runtime is told them.
    fn run(
        &mut self,
        plugin: &str,
        environment: &Environment,
        stdin: &[u8],
    ) -> Result<Vec<u8>, CniError>;
}

/// Runs them as children of this process.
#[derive(Clone, Copy, Debug)]
pub struct Children;

impl Delegates for Children {
    fn run(
        &mut self,
        plugin: &str,
        environment: &Environment,
        stdin: &[u8],
    ) -> Result<Vec<u8>, CniError> {
        Ok(Plugin::find(plugin, &environment.plugin_dirs())?.run(environment, stdin)?)
    }
}

/// Runs `plugin` for ADD with the call's own environment and stdin. If it fails it is run for DEL
/// before the error is returned, so that what it half did does not stay.
///
/// # Errors
/// Those of [`Delegates::run`], and code 104 if the answer is no result.
pub fn delegate_add(
    delegates: &mut dyn Delegates,
    call: &Call,
    plugin: &str,
) -> Result<CniResult, CniError> {
    let answered = delegates.run(plugin, &for_verb(call, Verb::Add), &call.stdin);
    let version = call.config.version;
    let result = answered.and_then(|stdout| Ok(result_of(plugin, &stdout, version)?));
    if result.is_err() {
        // The ADD's error is the one to report; the runtime's own DEL follows in any case.
        let _ = delegate(delegates, call, plugin, Verb::Del);
    }
    result
}

/// Runs `plugin` for `verb`, one that has no result.
///
/// # Errors
/// Those of [`Delegates::run`].
pub fn delegate(
    delegates: &mut dyn Delegates,
    call: &Call,
    plugin: &str,
    verb: Verb,
) -> Result<(), CniError> {
    let environment = for_verb(call, verb);
    delegates.run(plugin, &environment, &call.stdin).map(drop)
}

fn for_verb(call: &Call, verb: Verb) -> Environment {
    call.environment.clone().with("CNI_COMMAND", verb.as_str())
}
