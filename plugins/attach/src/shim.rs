//! The plugin where a node daemon owns the state directory: it passes the call on and prints what comes
//! back. What cannot wait until the daemon answers again, DEL, is done here as far as it can be.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bulkhead_cni::exec::{Children, Delegates};
use bulkhead_cni::{Answer, Call, CniError, CniVersion, Code, Output, Verb};
use bulkhead_ipam::wire::{self, CallFrame, Client, ClientError, RefusalCode};
use bulkhead_ipam::{Access, Managed, OpenError, StateDir, Tombstone};
use bulkhead_model::AttachmentKey;

use crate::failure::Failure;
use crate::plugin::Detach;
use crate::{Host, InProcess, del};

/// The calling thread's network namespace.
const OWN_NETNS: &str = "/proc/thread-self/ns/net";

/// How long the daemon may take. It may wait for another IPAM plugin, or for the cluster's store; but a
/// DEL has another way, and whoever asks for STATUS asks again.
const fn patience(verb: Verb) -> Duration {
    Duration::from_secs(match verb {
        Verb::Add | Verb::Check | Verb::Gc => 60,
        Verb::Del => 10,
        Verb::Status | Verb::Version => 5,
    })
}

/// Has the daemon serve a call. `detach` is how the plugin takes an attachment out of the kernel.
pub(crate) fn pass_on(
    plugin: &str,
    call: &Call,
    state_dir: &Path,
    managed: &Managed,
    detach: Detach,
) -> Result<Answer, CniError> {
    match asked(plugin, call, &managed.socket) {
        Ok(answer) => Ok(Answer::Relayed(Output {
            exit: answer.exit,
            stdout: answer.stdout,
            stderr: answer.stderr,
        })),
        Err(error) => match (call.verb, refused(state_dir, &error)) {
            (_, refused) if is_caller(&error) => Err(refused),
            (Verb::Del, _) => {
                bury(call, state_dir, detach)?;
                Ok(Answer::Silent)
            }
            (Verb::Status, refused) => Err(CniError {
                code: Code::UNAVAILABLE,
                ..refused
            }),
            (_, refused) => Err(refused),
        },
    }
}

fn asked(plugin: &str, call: &Call, socket: &Path) -> Result<wire::Answer, ClientError> {
    let broken = |source: io::Error| ClientError::Broken {
        socket: socket.to_owned(),
        source,
    };
    let patience = patience(call.verb);
    let client = Client::connect(socket, Some(patience))?;
    // What cannot be opened the daemon cannot have: it says so where the call needs it.
    let container = call.netns.as_ref().and_then(|path| File::open(path).ok());
    let own = File::open(OWN_NETNS).map_err(broken)?;
    let variables = call.environment.variables();
    let frame = CallFrame {
        plugin: plugin.to_owned(),
        verb: call.verb.as_str().to_owned(),
        environment: variables
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        stdin: call.stdin.clone(),
        deadline_ms: u64::try_from(patience.as_millis()).ok(),
    };
    let container = container.as_ref().map(AsFd::as_fd);
    client.call(&frame, container, own.as_fd(), |ask| delegated(call, ask))
}

/// Runs an IPAM plugin for the daemon.
fn delegated(call: &Call, ask: &wire::Delegate) -> wire::Answer {
    let mut environment = call.environment.clone().with("CNI_COMMAND", &ask.verb);
    for (name, value) in &ask.environment {
        environment = environment.with(name, value);
    }
    match Children.run(&ask.plugin, &environment, &call.stdin) {
        Ok(stdout) => wire::Answer {
            stdout,
            ..wire::Answer::default()
        },
        Err(error) => wire::Answer {
            exit: 1,
            stdout: error.to_json(CniVersion::NEWEST).to_string().into_bytes(),
            stderr: Vec::new(),
        },
    }
}

/// Whether it is the caller that the daemon refuses, who then must not act in its place either.
fn is_caller(error: &ClientError) -> bool {
    let code = match error {
        ClientError::Refused { refusal, .. } => refusal.code,
        _ => return false,
    };
    matches!(code, RefusalCode::NotPermitted | RefusalCode::Namespace)
}

fn refused(state_dir: &Path, error: &ClientError) -> CniError {
    match error {
        ClientError::NotRunning { .. } => {
            let managed = OpenError::Managed(state_dir.to_owned());
            let refused = CniError::from_chain(Code::TRY_AGAIN_LATER, &managed);
            let why = CniError::from_chain(Code::TRY_AGAIN_LATER, error);
            refused.with_details(why.msg)
        }
        _ if is_caller(error) => CniError::from_chain(Code::INVALID_ENVIRONMENT, error),
        ClientError::TooLarge(_) => CniError::from_chain(Code::INVALID_CONFIG, error),
        _ => CniError::from_chain(Code::TRY_AGAIN_LATER, error),
    }
}

/// Takes the attachment out of the kernel by what is recorded, or by derived names, and leaves the rest
/// to the daemon: the lease, and what the network's attachments share.
fn bury(call: &Call, state_dir: &Path, detach: Detach) -> Result<(), CniError> {
    let key = call.attachment()?;
    let mut host = InProcess::plugin();
    // Without the daemon's lock, which it may hold for ever: a snapshot is whole without one.
    let state = match host.state(state_dir, Access::Look) {
        Ok(state) => Some(state),
        Err(OpenError::Missing(_)) => None,
        Err(error) => return Err(Failure::from(error).into()),
    };
    let recorded = state
        .as_ref()
        .map(|state| del::recorded(state, &key))
        .transpose();
    // A record that cannot be read does not keep the container from being taken down.
    let record = recorded
        .as_ref()
        .ok()
        .and_then(|record| record.as_ref()?.as_ref());
    detach(&mut host, call, &key, record)?;
    let sequence = record.map(|record| record.sequence);
    recorded?;
    match state {
        Some(state) => Ok(leave_tombstone(&state, key, sequence)?),
        None => Ok(()),
    }
}

fn leave_tombstone(
    state: &StateDir,
    key: AttachmentKey,
    sequence: Option<u64>,
) -> Result<(), Failure> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.unwrap_or_default().as_millis();
    let tombstone = Tombstone {
        key,
        sequence,
        detached_at_unix_ms: u64::try_from(millis).unwrap_or(u64::MAX),
    };
    Ok(state.spool()?.add(&tombstone)?)
}
