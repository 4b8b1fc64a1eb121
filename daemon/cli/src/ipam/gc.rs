//! `bulkhead ipam gc`: what dead containers left, and why each is dead. What a node daemon has, it
//! collects itself.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bulkhead_cni::Verb;
use bulkhead_ipam::wire::admin::{Filter, GcState, ListedDead};
use bulkhead_model::{InterfaceAddress, NetworkName};
use clap::Args;
use serde::Serialize;

use crate::attachments::{Found, Looked, alone, collect};
use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};
use crate::output::{Format, lines, or_dash, table};

#[derive(Args, Debug)]
pub(crate) struct GcArgs {
    /// Only this network's.
    network: Option<NetworkName>,

    /// Say what would be removed, and remove nothing.
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    looked: Looked,
}

/// A dead attachment.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    attachment: String,
    addresses: Vec<InterfaceAddress>,
    netns: Option<PathBuf>,
    reason: String,
    removed: bool,
    /// Why it is not removed, though it was to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

pub(super) fn run(args: &GcArgs, format: Format) -> Outcome {
    let (found, mut failures) = match args.looked.select(None, args.network.as_ref()) {
        Ok(selected) => selected,
        Err(failure) => return Err(failure).into(),
    };
    let mut rows = Vec::new();
    for (dir, found) in by_dir(args, found) {
        let collected = match args.looked.socket.owner(&dir) {
            Ok(Some(daemon)) => through(args, &daemon),
            Ok(None) => Ok(here(args, &found, &mut failures)),
            Err(failure) => Err(failure),
        };
        match collected {
            Ok(dead) => rows.extend(dead),
            Err(failure) => {
                // Its records are there to be read all the same.
                if args.dry_run {
                    rows.extend(here(args, &found, &mut failures));
                }
                failures.push(failure);
            }
        }
    }
    rows.sort_by(|a, b| a.attachment.cmp(&b.attachment));
    let stdout = format.render(&rows, |_| {
        let cells: Vec<_> = rows.iter().map(cells).collect();
        table(&HEADINGS, &cells)
    });
    Outcome::partial(stdout, &failures)
}

/// What each state directory has; the default one may have what only its daemon knows of.
fn by_dir(args: &GcArgs, found: Vec<Found>) -> BTreeMap<PathBuf, Vec<Found>> {
    let mut dirs = BTreeMap::from([(args.looked.sources.state_dir.clone(), Vec::new())]);
    for found in found {
        dirs.entry(found.state_dir.clone()).or_default().push(found);
    }
    dirs
}

fn through(args: &GcArgs, daemon: &Daemon) -> Result<Vec<Row>, Failure> {
    let filter = Filter {
        network: args.network.as_ref().map(ToString::to_string),
        ..Filter::default()
    };
    let dead = daemon.gc(&filter, args.dry_run)?;
    Ok(dead.into_iter().map(Row::from).collect())
}

impl From<ListedDead> for Row {
    fn from(dead: ListedDead) -> Self {
        let note = match dead.state {
            GcState::Removed | GcState::Found | GcState::Other => None,
            GcState::Suspected => {
                Some("seen dead once; removed when it is seen so again".to_owned())
            }
            GcState::Failed => Some(dead.error),
        };
        Self {
            attachment: super::name(&dead.key),
            addresses: dead.addresses,
            netns: dead.netns,
            reason: dead.reason,
            removed: dead.state == GcState::Removed,
            note,
        }
    }
}

/// Without a daemon.
fn here(args: &GcArgs, found: &[Found], failures: &mut Vec<Failure>) -> Vec<Row> {
    let mut rows = Vec::new();
    for found in found {
        let Some(death) = found.death else { continue };
        let reason = death.to_string();
        let removed = if args.dry_run {
            Ok(false)
        } else {
            remove(&args.looked, found, &format!("gc: {reason}"))
        };
        let removed = removed.unwrap_or_else(|failure| {
            failures.push(failure);
            false
        });
        let leased = found.record.addresses.iter();
        rows.push(Row {
            attachment: found.name(),
            addresses: leased.map(|leased| leased.address).collect(),
            netns: found.record.netns.as_ref().map(|netns| netns.path.clone()),
            reason,
            removed,
            note: None,
        });
    }
    rows
}

fn remove(looked: &Looked, found: &Found, reason: &str) -> Result<bool, Failure> {
    let asked = looked.call(found, Verb::Del)?;
    let state = alone(&found.state_dir)?;
    // Deleted or added anew meanwhile.
    let Some(found) = found.again(&state)?.filter(|found| found.death.is_some()) else {
        return Ok(false);
    };
    collect(&found, &asked, &state, reason)?;
    Ok(true)
}

const HEADINGS: [&str; 5] = ["ATTACHMENT", "ADDRESS", "NETNS", "REASON", "REMOVED"];

fn cells(row: &Row) -> Vec<String> {
    let removed = match (&row.note, row.removed) {
        (Some(note), _) => format!("no: {note}"),
        (None, true) => "yes".to_owned(),
        (None, false) => "no".to_owned(),
    };
    vec![
        row.attachment.clone(),
        lines(&row.addresses),
        or_dash(row.netns.as_ref().map(|path| path.display().to_string())),
        row.reason.clone(),
        removed,
    ]
}
