//! The protocol's shell: one call in, at most one JSON object out, an exit code.

use std::io::{Read, Write};
use std::process::ExitCode;

use bulkhead_model::NetworkName;

use crate::json::{Object, Value};
use crate::netconf::version_of;
use crate::{Call, CniError, CniResult, CniVersion, Code, Environment, NetConf, Verb};

/// What a plugin answers when nothing went wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The result of ADD.
    Result(CniResult),
    /// Nothing, as DEL, CHECK, GC and STATUS must.
    Silent,
    /// What another process answered to the same call, passed on as it is.
    Relayed(Output),
}

/// What a plugin's process leaves: all that a runtime learns of a call.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Output {
    /// What the process exits with: 0, or 1.
    pub exit: u8,
    /// The result, the error object, or nothing.
    pub stdout: Vec<u8>,
    /// For a person.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Writes it where it belongs and returns what the process should exit with. A runtime that closed
    /// the pipe has not read the answer, so the call failed.
    pub fn write(&self, mut stdout: impl Write, mut stderr: impl Write) -> ExitCode {
        // Who closed stderr does not read it; there is nothing else to tell them.
        let _ = stderr.write_all(&self.stderr);
        match stdout.write_all(&self.stdout).and_then(|()| stdout.flush()) {
            Ok(()) => ExitCode::from(self.exit),
            Err(_) => ExitCode::FAILURE,
        }
    }

    /// One JSON object on standard output.
    fn json(exit: u8, value: &Value) -> Self {
        Self {
            exit,
            stdout: format!("{value}\n").into_bytes(),
            stderr: Vec::new(),
        }
    }
}

/// Answers one call of `plugin`: success, or exit code 1 with exactly one error object on standard
/// output. VERSION and a call by hand (no `CNI_COMMAND`) are answered here, and a call that is not as
/// the specification wants it is refused here; `handler` gets every other. `about` is one line for the
/// person who runs the plugin by hand, for whom standard input is not read.
pub fn answer(
    plugin: &str,
    about: &str,
    environment: Environment,
    mut stdin: impl Read,
    handler: impl FnOnce(&Call) -> Result<Answer, CniError>,
) -> Output {
    let verb = match environment.verb() {
        Ok(Some(verb)) => verb,
        Ok(None) => return introduction(plugin, about),
        Err(error) => return refusal(&error, CniVersion::NEWEST),
    };
    let mut input = Vec::new();
    let read = stdin.read_to_end(&mut input);
    let document = NetConf::document_of(&input).ok();
    let version = document.as_ref().and_then(spoken);
    let version = version.unwrap_or(CniVersion::NEWEST);
    if verb == Verb::Version {
        return Output::json(0, &versions(version));
    }
    if let Err(error) = read {
        return refusal(&CniError::io("stdin", &error), version);
    }
    let answered = Call::read(verb, environment, input)
        .and_then(|call| handler(&call))
        .and_then(|answer| said(answer, version));
    answered.unwrap_or_else(|error| {
        let network = document.as_ref().and_then(named);
        let error = match network {
            Some(network) => of_network(error, &network),
            None => error,
        };
        refusal(&error, version)
    })
}

fn said(answer: Answer, version: CniVersion) -> Result<Output, CniError> {
    match answer {
        Answer::Result(result) => Ok(Output::json(0, &result.to_json(version)?)),
        Answer::Silent => Ok(Output::default()),
        Answer::Relayed(output) => Ok(output),
    }
}

/// The version the configuration asks for, if it can be told and is one of ours.
fn spoken(document: &Value) -> Option<CniVersion> {
    version_of(&Object::root(document).ok()?).ok()
}

/// The network it is of, if that is a name.
fn named(document: &Value) -> Option<NetworkName> {
    document.get("name")?.as_str()?.parse().ok()
}

/// What is said of a configuration that is refused, with whose it is: not every runtime tells, and a node has several.
/// The text about versions is libcni's, and stays.
fn of_network(mut error: CniError, network: &NetworkName) -> CniError {
    let named = format!("network {network}");
    if error.to_string().contains(&named) {
        return error;
    }
    let text = match error.code {
        Code::INCOMPATIBLE_VERSION => &mut error.details,
        Code::UNSUPPORTED_FIELD | Code::INVALID_CONFIG => &mut error.msg,
        _ => return error,
    };
    *text = format!("{named}: {text}");
    error
}

fn versions(echo: CniVersion) -> Value {
    let supported = CniVersion::ALL.map(|version| Value::from(version.as_str()));
    Value::Object(vec![
        ("cniVersion".to_owned(), echo.as_str().into()),
        (
            "supportedVersions".to_owned(),
            Value::Array(supported.into()),
        ),
    ])
}

/// Of all crates of the workspace.
const RELEASE: &str = env!("CARGO_PKG_VERSION");

fn introduction(plugin: &str, about: &str) -> Output {
    let versions = CniVersion::ALL.map(CniVersion::as_str).join(", ");
    let text = format!(
        "CNI plugin {plugin} {RELEASE}: {about}\nCNI protocol versions supported: {versions}\n"
    );
    Output {
        stderr: text.into_bytes(),
        ..Output::default()
    }
}

fn refusal(error: &CniError, version: CniVersion) -> Output {
    Output::json(1, &error.to_json(version))
}
