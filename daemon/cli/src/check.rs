//! `bulkhead check`: whether the kernel holds what it should for each attachment, what would mend it, and
//! with `--repair` mending it. What it prints is a script: all but the commands is comment.

use std::thread;
use std::time::Duration;

use bulkhead_attach::{Inspection, guard_again, guard_drift};
use bulkhead_cni::Verb;
use bulkhead_ipam::wire::admin::{RepairState, Request};
use bulkhead_ipam::{Access, StaleReason, StateDir};
use bulkhead_plan::{Op, Plan};
use clap::Args;
use serde::Serialize;

use crate::attachments::{Asked, Found, Looked, Subject, alone, inspect, is_sound, repair};
use crate::daemon::Daemon;
use crate::failure::{Exit, Failure, Outcome, chain};
use crate::output::Format;

#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// CONTAINER, NETWORK/CONTAINER, NETWORK/CONTAINER/IFNAME (the container's id may be cut short), a
    /// port, an ifb device or an address; every attachment if there is none.
    #[arg(value_name = "ATTACHMENT")]
    subject: Option<Subject>,

    /// Apply what would mend it. ADD and DEL wait meanwhile, one attachment at a time.
    #[arg(long)]
    repair: bool,

    #[command(flatten)]
    looked: Looked,
}

/// What there is to say of an attachment before anything is done about it.
enum Finding {
    /// It is as it should be.
    Sound,
    /// It has addresses alone, and the plugin that made the rest has the say on that.
    AddressesOnly,
    /// Its container is gone.
    Dead(StaleReason),
    /// It was deleted meanwhile.
    Gone,
    /// It is not as it should be.
    Drifted(Box<Inspection>),
    /// The guard of another plugin's port is not as it should be; what mends it.
    Unguarded(Plan),
    /// It could not be looked at.
    Unknown(Failure),
}

/// What was found of one attachment, and done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    attachment: String,
    state: State,
    /// What would mend it if it were alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    drift: Vec<String>,
    /// What mends it, or did, after all that is listed before it: attachments share bridges and tables.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    plan: Vec<String>,
    /// Why it cannot be alive, or could not be looked at or mended.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// What could not be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// Whether it is the guard of a port that another plugin made.
    #[serde(skip)]
    is_guard: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Ok,
    AddressesOnly,
    Drift,
    /// It was not as it should be, and is now.
    Repaired,
    Dead,
    Gone,
    /// It could not be looked at or mended.
    Failed,
}

pub(crate) fn run(args: &CheckArgs, format: Format) -> Outcome {
    let (found, failures) = match args.looked.select_with_guards(args.subject.as_ref()) {
        Ok(selected) => selected,
        Err(failure) => return Err(failure).into(),
    };
    // All are looked at before the first is mended: what they share is wrong for each of them.
    let mut done = Vec::new();
    let findings: Vec<_> = found
        .iter()
        .map(|one| finding(args, one, &mut done))
        .collect();
    let both = found.iter().zip(findings);
    let verdicts: Vec<_> = both
        .map(|(found, (finding, note))| Verdict {
            note,
            ..verdict(args, found, finding)
        })
        .collect();
    let stdout = format.render(&verdicts, |_| verdicts.iter().map(text).collect());
    let mut outcome = Outcome::partial(stdout, &failures);
    let any = |state| verdicts.iter().any(|verdict| verdict.state == state);
    if outcome.exit == Exit::Done {
        outcome.exit = match (any(State::Failed), any(State::Drift)) {
            (true, _) => Exit::Failed,
            (false, true) => Exit::Drift,
            (false, false) => Exit::Done,
        };
    }
    outcome
}

/// `done` is what mends those before it.
fn finding(args: &CheckArgs, found: &Found, done: &mut Vec<Op>) -> (Finding, Option<String>) {
    if let Some(reason) = found.death {
        return (Finding::Dead(reason), None);
    }
    if found.is_guard() {
        return (look_at_guard(found).unwrap_or_else(Finding::Unknown), None);
    }
    if !found.has_kernel_objects() {
        return (Finding::AddressesOnly, None);
    }
    let asked = match args.looked.call(found, Verb::Add) {
        Ok(asked) => asked,
        Err(failure) => return (Finding::Unknown(failure), None),
    };
    let looked = match args.looked.owner(found) {
        Ok(None) => look(found, &asked, done),
        Ok(Some(_)) => look_beside(found, &asked, done),
        Err(failure) => Err(failure),
    };
    let finding = looked.unwrap_or_else(Finding::Unknown);
    if let Finding::Drifted(seen) = &finding {
        done.extend_from_slice(seen.remainder.ops());
    }
    (finding, asked.blind_spot())
}

/// It is in its own plugin's hands, with a daemon or without one.
fn look_at_guard(found: &Found) -> Result<Finding, Failure> {
    let drift = guard_drift(&found.state_dir, &found.record);
    let drift = drift.map_err(|source| Failure::attachment(found.key(), source))?;
    Ok(if drift.is_empty() {
        Finding::Sound
    } else {
        Finding::Unguarded(drift)
    })
}

/// What is half made or half deleted is no drift: it is looked at again when nobody is at it.
fn look(found: &Found, asked: &Asked, done: &[Op]) -> Result<Finding, Failure> {
    let at_once = StateDir::open(&found.state_dir, Access::Shared)?;
    if is_sound(found, asked, &at_once).is_ok_and(|sound| sound) {
        return Ok(Finding::Sound);
    }
    drop(at_once);
    settled(found, asked, &alone(&found.state_dir)?, done)
}

/// A call takes milliseconds, and may wait for another of its network.
const CALL: Duration = Duration::from_millis(500);

/// The same beside a daemon, which serves calls all the while: it is looked at again when a call that was
/// at it is over.
fn look_beside(found: &Found, asked: &Asked, done: &[Op]) -> Result<Finding, Failure> {
    let state = StateDir::open(&found.state_dir, Access::Look)?;
    if is_sound(found, asked, &state).is_ok_and(|sound| sound) {
        return Ok(Finding::Sound);
    }
    thread::sleep(CALL);
    settled(found, asked, &state, done)
}

fn settled(
    found: &Found,
    asked: &Asked,
    state: &StateDir,
    done: &[Op],
) -> Result<Finding, Failure> {
    let Some(found) = found.again(state)? else {
        return Ok(Finding::Gone);
    };
    if let Some(reason) = found.death {
        return Ok(Finding::Dead(reason));
    }
    let seen = inspect(&found, asked, state, done)?;
    Ok(if seen.drift.is_empty() {
        Finding::Sound
    } else {
        Finding::Drifted(Box::new(seen))
    })
}

fn verdict(args: &CheckArgs, found: &Found, finding: Finding) -> Verdict {
    let of = |state| Verdict {
        attachment: found.name(),
        state,
        drift: Vec::new(),
        plan: Vec::new(),
        reason: None,
        note: None,
        is_guard: found.is_guard(),
    };
    let failed = |failure: &Failure| Verdict {
        reason: Some(match failure {
            // Its name is said already.
            Failure::Attachment { source, .. } => chain(source),
            other => chain(other),
        }),
        ..of(State::Failed)
    };
    let drifted = |drift: &Plan, mended: Result<(State, Vec<String>), Failure>| Verdict {
        drift: lines(drift),
        ..match mended {
            Ok((state, plan)) => Verdict { plan, ..of(state) },
            Err(failure) => failed(&failure),
        }
    };
    match finding {
        Finding::Sound => of(State::Ok),
        Finding::AddressesOnly => of(State::AddressesOnly),
        Finding::Gone => of(State::Gone),
        Finding::Dead(reason) => Verdict {
            reason: Some(reason.to_string()),
            ..of(State::Dead)
        },
        Finding::Unknown(failure) => failed(&failure),
        Finding::Unguarded(drift) => {
            let mended = if args.repair {
                let done = guard_again(&found.state_dir, &found.record);
                done.map(|done| (State::Repaired, lines(&done)))
                    .map_err(|source| Failure::attachment(found.key(), source))
            } else {
                Ok((State::Drift, lines(&drift)))
            };
            drifted(&drift, mended)
        }
        Finding::Drifted(seen) => {
            let mended = if args.repair {
                mend(args, found)
            } else {
                Ok((State::Drift, lines(&seen.remainder)))
            };
            drifted(&seen.drift, mended)
        }
    }
}

/// Only what is still recorded and alive; what was done.
fn mend(args: &CheckArgs, found: &Found) -> Result<(State, Vec<String>), Failure> {
    if let Some(daemon) = args.looked.owner(found)? {
        return mend_through(&daemon, found);
    }
    // Alone, since a DEL in between would be undone.
    let state = alone(&found.state_dir)?;
    let Some(found) = found.again(&state)?.filter(|found| found.death.is_none()) else {
        return Ok((State::Gone, Vec::new()));
    };
    let asked = args.looked.call(&found, Verb::Add)?;
    Ok((State::Repaired, lines(&repair(&found, &asked, &state)?)))
}

fn mend_through(daemon: &Daemon, found: &Found) -> Result<(State, Vec<String>), Failure> {
    let report = daemon.repaired(&Request::Repair {
        attachment: found.key().clone(),
    })?;
    let state = match report.state {
        RepairState::Sound | RepairState::Repaired => State::Repaired,
        RepairState::Gone => State::Gone,
        RepairState::Dead => State::Dead,
        RepairState::Other => State::Failed,
    };
    Ok((state, report.plan))
}

fn lines(plan: &Plan) -> Vec<String> {
    plan.ops().iter().map(ToString::to_string).collect()
}

fn text(verdict: &Verdict) -> String {
    let reason = verdict.reason.as_deref().unwrap_or_default();
    let says = match (verdict.state, verdict.plan.len()) {
        (State::Ok, _) => "as it should be".to_owned(),
        (State::AddressesOnly, _) => {
            "addresses alone, another plugin made the interface".to_owned()
        }
        (State::Drift, 0) => "not as it should be, the above mends it too".to_owned(),
        (State::Drift, some) if some < verdict.drift.len() => {
            "not as it should be, after the above this mends it:".to_owned()
        }
        (State::Drift, _) => "not as it should be, this mends it:".to_owned(),
        (State::Repaired, 0) => "repaired with the above".to_owned(),
        (State::Repaired, _) => "repaired:".to_owned(),
        (State::Gone, _) => "deleted meanwhile".to_owned(),
        (State::Dead, _) if verdict.is_guard => {
            format!("dead, {reason}; the node daemon, or GC of its runtime, ends its guard")
        }
        (State::Dead, _) => format!("dead, {reason}; `bulkhead ipam gc` removes what it left"),
        (State::Failed, _) => reason.to_owned(),
    };
    let head = format!("{}: {says}", verdict.attachment);
    let comments = [Some(&head), verdict.note.as_ref()].into_iter().flatten();
    let comments = comments.flat_map(|text| text.lines()).map(commented);
    let commands = verdict.plan.iter().cloned();
    comments.chain(commands).map(|text| text + "\n").collect()
}

fn commented(line: &str) -> String {
    format!("# {line}")
}
