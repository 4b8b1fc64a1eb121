//! `bulkhead status`: how the node daemon and all it depends on are; without a daemon, what the state
//! directory says.

mod local;
mod running;
mod unguarded;

use bulkhead_ipam::wire::admin::{Condition, NodeState, Status};
use serde::Serialize;

use self::local::Local;
use crate::daemon::{DaemonError, Reach};
use crate::failure::{Exit, Failure, Outcome, chain};
use crate::output::Format;
use crate::time;

/// What there is to say.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    /// Whether the daemon answers.
    running: bool,
    /// Whether it serves, and so does everything it depends on.
    healthy: bool,
    #[serde(flatten)]
    status: Option<Box<Status>>,
    /// Attachments whose ports send what they will.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    guard_off: Vec<String>,
    /// What is known without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<Local>,
}

pub(crate) fn run(reach: &Reach, format: Format) -> Outcome {
    let asked = reach.daemon().and_then(|daemon| daemon.status());
    match asked {
        Ok(status) => {
            let healthy = is_healthy(&status);
            let exit = if healthy { Exit::Done } else { Exit::Drift };
            let now = time::now_unix_ms();
            let (guard_off, unread) = unguarded::named(&status.daemon.state_dir);
            let told = Told {
                guard_off,
                running: true,
                healthy,
                status: Some(Box::new(status)),
                local: None,
            };
            let text = |_| {
                let status = told.status.as_deref();
                let text = status.map_or_else(String::new, |status| running::text(status, now));
                text + &unguarded::text(&told.guard_off)
            };
            Outcome {
                stdout: format.render(&told, text),
                stderr: unread,
                exit,
            }
        }
        Err(failure) => without(reach, &failure, format),
    }
}

fn without(reach: &Reach, failure: &Failure, format: Format) -> Outcome {
    let local = Local::read(&reach.state_dir);
    let mut stderr = vec![chain(failure)];
    stderr.extend(local.unread.iter().cloned());
    let (guard_off, unread) = unguarded::named(&reach.state_dir);
    for text in unread {
        if !stderr.contains(&text) {
            stderr.push(text);
        }
    }
    let told = Told {
        running: !matches!(failure, Failure::Daemon(DaemonError::Client(_))),
        healthy: false,
        guard_off,
        status: None,
        local: Some(local),
    };
    let stdout = format.render(&told, |_| {
        let text = told.local.as_ref().map(Local::text).unwrap_or_default();
        text + &unguarded::text(&told.guard_off)
    });
    Outcome {
        stdout,
        stderr,
        exit: failure.exit(),
    }
}

/// What the exit code says.
fn is_healthy(status: &Status) -> bool {
    status.daemon.ready
        && status.node.state == NodeState::Active
        && status.store.condition == Condition::Healthy
}
