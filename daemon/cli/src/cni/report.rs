//! What a run came to, as text with code and remedy for people and as the specification's error
//! object for programs.

use std::fmt::Write;

use bulkhead_cni::exec::ExecError;
use bulkhead_cni::json::Value;
use bulkhead_cni::list::{Attachment, CacheError, LoadError, NetworkList, RunError};
use bulkhead_cni::{CniError, CniVersion, Code, Verb};
use bulkhead_model::NetworkName;

use crate::failure::{Exit, Failure, Outcome, chain};
use crate::output::Format;

/// The prefix of our own plugins' names, whose codes from 100 on we know.
const OURS: &str = "bulkhead-";

/// What a run came to.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// ADD's result.
    pub(super) result: Option<Value>,
    failed: Option<Failed>,
    notes: Vec<String>,
    version: Option<CniVersion>,
}

/// Where a run ended.
#[derive(Debug)]
pub(super) enum Failed {
    /// No plugin was called.
    Before(Failure),
    /// In a plugin, or around it.
    Running(RunError),
}

/// One failure, ready to print.
struct Told {
    error: CniError,
    exit: Exit,
    whose: Whose,
}

/// Who chose an error's code.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Whose {
    /// We did, here or in a plugin of ours.
    Ours,
    /// A plugin that may mean anything by a code from 100 on.
    Foreign,
}

impl From<Failed> for Report {
    fn from(failed: Failed) -> Self {
        Self {
            failed: Some(failed),
            ..Self::default()
        }
    }
}

impl From<Result<(), RunError>> for Report {
    fn from(result: Result<(), RunError>) -> Self {
        Self {
            failed: result.err().map(Failed::Running),
            ..Self::default()
        }
    }
}

impl Report {
    pub(super) fn fail(&mut self, error: RunError) {
        self.failed = Some(Failed::Running(error));
    }

    pub(super) fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// libcni passes a capability argument to the plugins that declare it, and to nobody else.
    pub(super) fn note_undeclared(&mut self, list: &NetworkList, attachment: &Attachment) {
        for (name, _) in &attachment.capabilities {
            if list
                .plugins
                .iter()
                .all(|plugin| !plugin.capabilities.contains(name))
            {
                self.note(format!(
                    "no plugin of network {} declares the capability {name}, so none gets it",
                    list.name
                ));
            }
        }
    }

    /// What is left after a failed ADD, and after the DEL that was to undo it, if there was one.
    pub(super) fn note_after_failed_add(&mut self, undone: Option<Result<(), RunError>>) {
        match undone {
            Some(Ok(())) => {}
            Some(Err(error)) => self.note(format!("undoing it failed too: {}", chain(&error))),
            None => self.note(
                "plugins that ran before the failure were left as they are: run `del` with the \
                 same arguments, or `add` with --undo-on-failure"
                    .to_owned(),
            ),
        }
    }

    /// The same report in the network's CNI version.
    pub(super) fn on(mut self, list: &NetworkList) -> Self {
        self.version = Some(list.version);
        self
    }

    pub(super) fn outcome(self, format: Format) -> Outcome {
        let told = self.failed.map_or_else(Vec::new, tell);
        let mut outcome = Outcome {
            stdout: String::new(),
            stderr: Vec::new(),
            exit: told.first().map_or(Exit::Done, |told| told.exit),
        };
        if let Some(result) = &self.result {
            outcome.stdout = format!("{result:#}\n");
        }
        match (format, together(&told)) {
            (Format::Json, Some(error)) => {
                let version = self.version.unwrap_or(CniVersion::NEWEST);
                outcome.stdout = format!("{:#}\n", error.to_json(version));
            }
            _ => outcome.stderr.extend(told.iter().map(Told::text)),
        }
        outcome.stderr.extend(self.notes);
        outcome
    }
}

fn tell(failed: Failed) -> Vec<Told> {
    match failed {
        Failed::Before(failure) => {
            let code = match &failure {
                Failure::Load(LoadError::Json { .. }) => Code::DECODE_FAILURE,
                Failure::NoNetns(_) | Failure::NetnsPath { .. } => Code::INVALID_ENVIRONMENT,
                Failure::Load(LoadError::Read { .. }) => Code::IO_FAILURE,
                _ => Code::INVALID_CONFIG,
            };
            vec![Told {
                error: CniError::from_chain(code, &failure),
                exit: failure.exit(),
                whose: Whose::Ours,
            }]
        }
        Failed::Running(RunError::Several(all)) => all
            .into_iter()
            .map(Failed::Running)
            .flat_map(tell)
            .collect(),
        Failed::Running(RunError::Plugin {
            network,
            verb,
            source,
        }) => {
            vec![told_by_plugin(&network, verb, *source)]
        }
        Failed::Running(error) => vec![told_by_runner(&error)],
    }
}

/// A plugin's error keeps its code and details; what ran it is said before its message, and the network once.
fn told_by_plugin(network: &NetworkName, verb: Verb, error: ExecError) -> Told {
    let of_network = format!("network {network}: ");
    let (msg, whose) = match &error {
        ExecError::Refused { name, error } => (
            format!(
                "plugin {name:?}: {}",
                error.msg.strip_prefix(&of_network).unwrap_or(&error.msg)
            ),
            if name.starts_with(OURS) {
                Whose::Ours
            } else {
                Whose::Foreign
            },
        ),
        other => (chain(other), Whose::Ours),
    };
    let details = match &error {
        ExecError::Refused { error, .. } => error.details.clone(),
        _ => String::new(),
    };
    let code = CniError::from(error).code;
    Told {
        error: CniError::new(code, format!("network {network}, {verb}: {msg}"))
            .with_details(details),
        exit: Exit::Failed,
        whose,
    }
}

fn told_by_runner(error: &RunError) -> Told {
    let (code, exit) = match error {
        RunError::Version { .. } => (Code::INCOMPATIBLE_VERSION, Exit::Failed),
        RunError::NotAdded(_) => (Code::UNKNOWN_CONTAINER, Exit::NotFound),
        RunError::Recorded { .. }
        | RunError::Cache(CacheError::Json { .. } | CacheError::Field { .. }) => {
            (Code::DECODE_FAILURE, Exit::Unreadable)
        }
        RunError::Cache(CacheError::Io { .. }) => (Code::IO_FAILURE, Exit::Unreadable),
        RunError::Convert(_) => (Code::INVALID_CONFIG, Exit::Failed),
        RunError::Plugin { .. } | RunError::Several(_) => (Code::INTERNAL, Exit::Failed),
    };
    Told {
        error: CniError::from_chain(code, error),
        exit,
        whose: Whose::Ours,
    }
}

/// One error object for all: the first, the others in its details.
fn together(told: &[Told]) -> Option<CniError> {
    let (first, others) = told.split_first()?;
    let mut error = first.error.clone();
    error.details.truncate(error.details.trim_end().len());
    for other in others {
        if !error.details.is_empty() {
            error.details.push_str("; ");
        }
        // Writing to a string does not fail.
        let _ = write!(error.details, "also: {}", other.error);
    }
    Some(error)
}

impl Told {
    fn text(&self) -> String {
        let code = self.error.code;
        let known = (code.0 < 100 || self.whose == Whose::Ours)
            .then(|| meaning(code))
            .flatten();
        let said = match known {
            Some((meaning, remedy)) => format!("code {}: {meaning}\n  remedy: {remedy}", code.0),
            None if code == Code::INTERNAL => "code 999: no code of its own".to_owned(),
            None => format!("code {}: the plugin's own", code.0),
        };
        let mut text = self.error.msg.clone();
        let details = self.error.details.lines();
        for line in details.filter(|line| !line.is_empty()) {
            text.push_str("\n    ");
            text.push_str(line);
        }
        format!("{text}\n  {said}")
    }
}

/// What a code says (CNI spec 1.1.0, "Error", and ours from 100 on), and what to do.
fn meaning(code: Code) -> Option<(&'static str, &'static str)> {
    Some(match code {
        Code::INCOMPATIBLE_VERSION => (
            "incompatible CNI version",
            "set cniVersion to one that has the verb and that every plugin of the network speaks",
        ),
        Code::UNSUPPORTED_FIELD => (
            "unsupported field in the configuration",
            "remove the key, or give it a value that is served",
        ),
        Code::UNKNOWN_CONTAINER => (
            "unknown container",
            "correct NETNS, --container-id or --ifname, or run `add` first",
        ),
        Code::INVALID_ENVIRONMENT => (
            "invalid environment",
            "correct NETNS, --container-id, --ifname or --arg",
        ),
        Code::IO_FAILURE => (
            "input or output failed",
            "look at the file or device that is named; most plugins need root",
        ),
        Code::DECODE_FAILURE => (
            "not what it should hold",
            "correct or remove the file that is named",
        ),
        Code::INVALID_CONFIG => (
            "invalid network configuration",
            "correct what is named; `bulkhead net ls` lists every network and file",
        ),
        Code::INVALID_NETNS => (
            "invalid network namespace",
            "name a container's namespace, not the one this command runs in",
        ),
        Code::TRY_AGAIN_LATER => ("try again later", "run the same command again shortly"),
        Code::UNAVAILABLE => (
            "ADD cannot be served",
            "mend what is named, then run `status` again",
        ),
        Code::UNAVAILABLE_LIMITED => (
            "ADD cannot be served, and running containers may have limited connectivity",
            "mend what is named, then run `status` again",
        ),
        Code::POOL_EXHAUSTED => (
            "no free address is left",
            "detach a container or widen the range; `bulkhead ipam ls NETWORK` lists the leases",
        ),
        Code::ADDRESS_TAKEN => (
            "the requested address is taken",
            "ask for another one; `bulkhead ipam show ADDRESS` names the holder",
        ),
        Code::HOST_PORT_TAKEN => (
            "a host port is taken",
            "choose another one; `bulkhead ports ls` names the holder",
        ),
        Code::FOREIGN_CONFLICT => (
            "something of somebody else's is in the way",
            "remove or rename the object that is named",
        ),
        Code::DRIFT => (
            "the attachment is not as ADD made it",
            "put back what is named, or run `del` and `add`",
        ),
        Code::DELEGATE_FAILED => ("a delegated plugin failed", "look at what that plugin says"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, code: Code) -> RunError {
        let error = CniError::new(code, "no").with_details("one\ntwo\n");
        RunError::Plugin {
            network: "blue".parse().unwrap(),
            verb: bulkhead_cni::Verb::Check,
            source: Box::new(ExecError::Refused {
                name: name.to_owned(),
                error,
            }),
        }
    }

    fn stderr(error: RunError) -> String {
        let outcome = Report::from(Err(error)).outcome(Format::Table);
        outcome.stderr.join("\n")
    }

    #[test]
    fn details_stand_under_the_message_and_the_code_under_both() {
        assert_eq!(
            stderr(refused("bulkhead-bridge", Code::DRIFT)),
            "network blue, CHECK: plugin \"bulkhead-bridge\": no\n    one\n    two\n  code 103: the \
             attachment is not as ADD made it\n  remedy: put back what is named, or run `del` and `add`"
        );
    }

    #[test]
    fn a_foreign_plugins_own_codes_are_not_ours() {
        assert!(stderr(refused("other", Code::DRIFT)).ends_with("\n  code 103: the plugin's own"));
        assert!(
            stderr(refused("other", Code::INTERNAL)).ends_with("\n  code 999: no code of its own")
        );
        assert!(
            stderr(refused("other", Code::TRY_AGAIN_LATER)).contains("code 11: try again later")
        );
    }

    #[test]
    fn several_failures_are_told_one_by_one_and_are_one_object_in_json() {
        let both = || {
            RunError::Several(vec![
                refused("other", Code::TRY_AGAIN_LATER),
                refused("bulkhead-ipam", Code::DRIFT),
            ])
        };
        assert_eq!(stderr(both()).matches("network blue, CHECK").count(), 2);
        let outcome = Report::from(Err(both())).outcome(Format::Json);
        let object =
            CniError::from_json(&Value::parse(outcome.stdout.as_bytes()).unwrap()).unwrap();
        assert_eq!(object.code, Code::TRY_AGAIN_LATER);
        assert!(
            object
                .details
                .starts_with("one\ntwo; also: network blue, CHECK: plugin")
        );
        assert_eq!((outcome.exit, outcome.stderr.len()), (Exit::Failed, 0));
    }
}
