//! The protocol's shell: one call in, at most one JSON object out, an exit code.

use std::io::{Read, Write};
use std::process::ExitCode;

use crate::json::{Object, Value};
use crate::netconf::version_of;
use crate::{Call, CniError, CniResult, CniVersion, Environment, NetConf, Verb};

/// What a plugin answers when nothing went wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The result of ADD.
    Result(CniResult),
    /// Nothing, as DEL, CHECK, GC and STATUS must.
    Silent,
}

/// Serves one call of `plugin` and returns what the process should exit with: 0, or 1 with exactly
/// one error object on `stdout`. VERSION and a call by hand (no `CNI_COMMAND`) are answered here;
/// the namespace's identity is checked before `handler` sees an ADD or DEL. `about` is one line for
/// the person who runs the plugin by hand.
pub fn serve(
    plugin: &str,
    about: &str,
    environment: Environment,
    mut stdin: impl Read,
    mut stdout: impl Write,
    mut stderr: impl Write,
    handler: impl FnOnce(&Call) -> Result<Answer, CniError>,
) -> ExitCode {
    let verb = match environment.verb() {
        Ok(Some(verb)) => verb,
        Ok(None) => return introduce(plugin, about, &mut stderr),
        Err(error) => return fail(&mut stdout, &error, CniVersion::NEWEST),
    };
    let mut input = Vec::new();
    let read = stdin.read_to_end(&mut input);
    let version = spoken(&input).unwrap_or(CniVersion::NEWEST);
    if verb == Verb::Version {
        return print(&mut stdout, &versions(version));
    }
    if let Err(error) = read {
        return fail(&mut stdout, &CniError::io("stdin", &error), version);
    }
    match answer(verb, environment, input, version, handler) {
        Ok(Some(result)) => print(&mut stdout, &result),
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => fail(&mut stdout, &error, version),
    }
}

fn answer(
    verb: Verb,
    environment: Environment,
    input: Vec<u8>,
    version: CniVersion,
    handler: impl FnOnce(&Call) -> Result<Answer, CniError>,
) -> Result<Option<Value>, CniError> {
    let call = Call::read(verb, environment, input)?;
    if matches!(verb, Verb::Add | Verb::Del) {
        call.check_netns()?;
    }
    match handler(&call)? {
        Answer::Result(result) => Ok(Some(result.to_json(version)?)),
        Answer::Silent => Ok(None),
    }
}

/// The version the input asks for, if it can be told and is one of ours.
fn spoken(input: &[u8]) -> Option<CniVersion> {
    let document = NetConf::document_of(input).ok()?;
    version_of(&Object::root(&document).ok()?).ok()
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

fn introduce(plugin: &str, about: &str, stderr: &mut impl Write) -> ExitCode {
    let versions = CniVersion::ALL.map(CniVersion::as_str).join(", ");
    // Who closed stderr does not read it; there is nothing else to tell them.
    let _ = writeln!(
        stderr,
        "CNI plugin {plugin}: {about}\nCNI protocol versions supported: {versions}"
    );
    ExitCode::SUCCESS
}

fn fail(stdout: &mut impl Write, error: &CniError, version: CniVersion) -> ExitCode {
    print(stdout, &error.to_json(version));
    ExitCode::FAILURE
}

/// A runtime that closed the pipe has not read the answer, so the call failed.
fn print(stdout: &mut impl Write, value: &Value) -> ExitCode {
    match writeln!(stdout, "{value}").and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
