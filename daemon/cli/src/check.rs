//! `bulkhead check`: whether the kernel holds what it should for each attachment, what would mend it, and
//! with `--repair` mending it.

use std::path::Path;

use bulkhead_cni::Verb;
use bulkhead_ipam::{Access, StateDir};
use bulkhead_plan::Plan;
use clap::Args;
use serde::Serialize;

use crate::attachments::{Found, Looked, Subject, inspect, repair};
use crate::failure::{Exit, Failure, Outcome, chain};
use crate::output::{Format, json};

#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// CONTAINER, NETWORK/CONTAINER, NETWORK/CONTAINER/IFNAME (the container's id may be cut short),
    /// a port's name or an address; every attachment if there is none.
    #[arg(value_name = "ATTACHMENT")]
    subject: Option<Subject>,

    /// Apply what would mend it. ADD and DEL wait meanwhile, one attachment at a time.
    #[arg(long)]
    repair: bool,

    #[command(flatten)]
    looked: Looked,
}

/// What was found of one attachment.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    attachment: String,
    state: State,
    /// The commands that would mend it, or did.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    plan: Vec<String>,
    /// Why it cannot be alive, or cannot be looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// As it should be.
    Ok,
    /// Not as it should be.
    Drift,
    /// It was not, and is now.
    Repaired,
    /// Its container is gone.
    Dead,
    /// It could not be looked at or mended.
    Failed,
}

pub(crate) fn run(args: &CheckArgs, format: Format) -> Outcome {
    let (found, failures) = match args.looked.select(args.subject.as_ref(), None) {
        Ok(selected) => selected,
        Err(failure) => return Err(failure).into(),
    };
    let verdicts: Vec<_> = found.iter().map(|found| verdict(args, found)).collect();
    let stdout = match format {
        Format::Json => json(&verdicts),
        Format::Table => verdicts.iter().map(text).collect(),
    };
    let bad = |verdict: &Verdict| matches!(verdict.state, State::Drift | State::Failed);
    let mut outcome = Outcome::partial(stdout, &failures);
    if outcome.exit == Exit::Done && verdicts.iter().any(bad) {
        outcome.exit = Exit::Failed;
    }
    outcome
}

fn verdict(args: &CheckArgs, found: &Found) -> Verdict {
    let of = |state, plan: &Plan, reason| Verdict {
        attachment: found.name(),
        state,
        plan: plan.ops().iter().map(ToString::to_string).collect(),
        reason,
    };
    if let Some(death) = &found.death {
        let reason = format!("{death}; `bulkhead ipam gc` removes what it left");
        return of(State::Dead, &Plan::default(), Some(reason));
    }
    let looked = if args.repair {
        mend(args, found)
    } else {
        look(args, found)
    };
    match looked {
        Ok((State::Drift | State::Repaired, plan)) if plan.is_empty() => of(State::Ok, &plan, None),
        Ok((state, plan)) => of(state, &plan, None),
        Err(failure) => of(State::Failed, &Plan::default(), Some(chain(&failure))),
    }
}

fn look(args: &CheckArgs, found: &Found) -> Result<(State, Plan), Failure> {
    if !found.has_kernel_objects() {
        return Ok((State::Ok, Plan::default()));
    }
    let call = args.looked.call(found, Verb::Add)?;
    let state = StateDir::open(&found.state_dir, Access::Shared)?;
    Ok((State::Drift, inspect(found, &call, &state)?.drift))
}

/// Alone, since a DEL in between would be undone; and only what is still recorded.
fn mend(args: &CheckArgs, found: &Found) -> Result<(State, Plan), Failure> {
    let (state, before) = look(args, found)?;
    if before.is_empty() {
        return Ok((state, before));
    }
    let call = args.looked.call(found, Verb::Add)?;
    let state = alone(&found.state_dir)?;
    if !is_recorded(&state, found)? {
        return Ok((State::Ok, Plan::default()));
    }
    Ok((State::Repaired, repair(found, &call, &state)?))
}

/// Opens a state directory for what must not meet an ADD or DEL.
pub(crate) fn alone(state_dir: &Path) -> Result<StateDir, Failure> {
    if state_dir.join("managed").exists() {
        return Err(Failure::Managed(state_dir.to_owned()));
    }
    Ok(StateDir::open(state_dir, Access::Exclusive)?)
}

/// Whether the record is still the one that was read.
pub(crate) fn is_recorded(state: &StateDir, found: &Found) -> Result<bool, Failure> {
    let read = || {
        let known = state.network(&found.key().network).read()?;
        let record = known.map(|known| known.find(&found.record.id()));
        Ok(record.transpose()?.flatten())
    };
    let record = read().map_err(|source| Failure::Store {
        network: found.key().network.clone(),
        source,
    })?;
    Ok(record.is_some_and(|record| record.sequence == found.record.sequence))
}

fn text(verdict: &Verdict) -> String {
    let name = &verdict.attachment;
    let reason = verdict.reason.as_deref().unwrap_or_default();
    let head = match verdict.state {
        State::Ok => format!("{name}: as it should be\n"),
        State::Drift => format!("{name}: not as it should be; this would mend it:\n"),
        State::Repaired => format!("{name}: repaired by:\n"),
        State::Dead => format!("{name}: dead, {reason}\n"),
        State::Failed => format!("{name}: {reason}\n"),
    };
    let lines = verdict.plan.iter().flat_map(|op| op.lines());
    lines.fold(head, |text, line| text + "  " + line + "\n")
}
