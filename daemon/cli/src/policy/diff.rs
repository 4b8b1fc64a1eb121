//! `bulkhead policy diff`: what a change of policies means for who can talk to whom.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use bulkhead_model::{Family, Protocol};
use bulkhead_policy::classes::{What, Who};
use bulkhead_policy::diff::{Change, Difference, diff};
use bulkhead_policy::read::Reading;
use bulkhead_policy::{Decision, PortRange};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::PolicyError;
use super::objects::{outcome, read};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::Format;

#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    /// Objects as they were: a file, or a directory with files.
    old: PathBuf,

    /// Objects as they are to be.
    new: PathBuf,

    /// Objects of both, such as the pods. May be given several times.
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Which differences end with exit code 5.
    #[arg(long, value_enum, default_value_t, value_name = "WHICH")]
    fail_on: FailOn,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
enum FailOn {
    /// Whatever is newly allowed or newly denied.
    #[default]
    Any,
    /// What is newly allowed.
    Allowed,
    /// What is newly denied.
    Denied,
    /// None.
    Never,
}

pub(crate) fn run(args: &DiffArgs, format: Format) -> Outcome {
    match both(args) {
        Ok(readings) => compared(args, &readings, format),
        Err(failure) => Outcome::partial(String::new(), &[failure]),
    }
}

/// The old objects and the new ones, each with those of both.
fn both(args: &DiffArgs) -> Result<[Reading; 2], Failure> {
    let with = |own: &PathBuf| -> Result<Reading, Failure> {
        let reading = read(&[&args.files[..], std::slice::from_ref(own)].concat())?;
        if reading.world.endpoints.is_empty() {
            return Err(PolicyError::Deserted(own.display().to_string()).into());
        }
        Ok(reading)
    };
    Ok([with(&args.old)?, with(&args.new)?])
}

fn compared(args: &DiffArgs, [old, new]: &[Reading; 2], format: Format) -> Outcome {
    let difference = diff(&old.world, &new.world);
    let told = Told::of(&difference);
    let mut outcome = outcome(format.render(&told, |_| text(&difference)), new);
    for complaint in &old.complaints {
        if !new.complaints.contains(complaint) {
            outcome.stderr.push(complaint.to_string());
        }
    }
    let is_failing = match args.fail_on {
        FailOn::Any => !difference.changes.is_empty(),
        FailOn::Allowed => !told.allowed.is_empty(),
        FailOn::Denied => !told.denied.is_empty(),
        FailOn::Never => false,
    };
    if outcome.exit == Exit::Done && is_failing {
        outcome.exit = Exit::Drift;
    }
    outcome
}

/// For programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    allowed: Vec<ToldChange>,
    denied: Vec<ToldChange>,
    only_old: Vec<String>,
    only_new: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ToldChange {
    source: Vec<String>,
    destination: Vec<String>,
    traffic: Vec<String>,
    families: Vec<&'static str>,
}

impl Told {
    fn of(difference: &Difference) -> Self {
        let of = |now| {
            let changes = difference.changes.iter().filter(|change| change.now == now);
            changes.map(ToldChange::of).collect()
        };
        Self {
            allowed: of(Decision::Allow),
            denied: of(Decision::Deny),
            only_old: difference.gone.iter().map(ToString::to_string).collect(),
            only_new: difference.new.iter().map(ToString::to_string).collect(),
        }
    }
}

impl ToldChange {
    fn of(change: &Change) -> Self {
        let families = change.families.iter().map(|family| match family {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        });
        Self {
            source: named(&change.source),
            destination: named(&change.destination),
            traffic: change.what.iter().map(ToString::to_string).collect(),
            families: families.collect(),
        }
    }
}

fn named(who: &Who) -> Vec<String> {
    match who.outside {
        Some(_) => vec![who.to_string()],
        None => who.members.iter().map(ToString::to_string).collect(),
    }
}

/// As a person reads it: for each destination and traffic, everybody.
fn text(difference: &Difference) -> String {
    let mut text = String::new();
    for (now, heading) in [
        (Decision::Allow, "newly allowed"),
        (Decision::Deny, "newly denied"),
    ] {
        let mut lines: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
        for change in difference.changes.iter().filter(|change| change.now == now) {
            let families = match change.families[..] {
                // What is outside is of one family anyway.
                [family]
                    if change.source.outside.is_none() && change.destination.outside.is_none() =>
                {
                    format!(" ({family})")
                }
                _ => String::new(),
            };
            let what = format!("{}{families}", traffic(&change.what));
            let key = (change.destination.to_string(), what);
            lines
                .entry(key)
                .or_default()
                .push(change.source.to_string());
        }
        if lines.is_empty() {
            continue;
        }
        // Writing to a string does not fail.
        let _ = writeln!(text, "{heading}");
        for ((destination, what), sources) in lines {
            let _ = writeln!(text, "  {} -> {destination}  {what}", sources.join(", "));
        }
    }
    for (ends, which) in [(&difference.gone, "OLD"), (&difference.new, "NEW")] {
        if !ends.is_empty() {
            let names: Vec<String> = ends.iter().map(ToString::to_string).collect();
            let _ = writeln!(text, "only in {which}, not compared: {}", names.join(", "));
        }
    }
    if text.is_empty() {
        "no difference in who can talk to whom\n".to_owned()
    } else {
        text
    }
}

/// Kinds of traffic; `any traffic` if it is all there is.
fn traffic(what: &[What]) -> String {
    let is_whole = |protocol| what.contains(&What::Ports(protocol, PortRange::ALL));
    let is_all = Protocol::ALL.into_iter().all(is_whole) && what.contains(&What::Other(None));
    if is_all {
        return "any traffic".to_owned();
    }
    let said: Vec<String> = what.iter().map(ToString::to_string).collect();
    said.join(", ")
}
