//! `bulkhead ipam gc`: what dead containers left, and why each is dead.

use std::path::PathBuf;

use bulkhead_cni::Verb;
use bulkhead_model::{InterfaceAddress, NetworkName};
use clap::Args;
use serde::Serialize;

use crate::attachments::{Found, Looked, alone, collect};
use crate::failure::{Failure, Outcome};
use crate::output::{Format, or_dash, table};

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
}

pub(super) fn run(args: &GcArgs, format: Format) -> Outcome {
    let (found, mut failures) = match args.looked.select(None, args.network.as_ref()) {
        Ok(selected) => selected,
        Err(failure) => return Err(failure).into(),
    };
    let mut rows = Vec::new();
    for found in &found {
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
        });
    }
    let stdout = format.render(&rows, |_| {
        let rows: Vec<_> = rows.iter().map(cells).collect();
        table(
            &["ATTACHMENT", "ADDRESS", "NETNS", "REASON", "REMOVED"],
            &rows,
        )
    });
    Outcome::partial(stdout, &failures)
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

fn cells(row: &Row) -> Vec<String> {
    let addresses: Vec<_> = row.addresses.iter().map(ToString::to_string).collect();
    vec![
        row.attachment.clone(),
        or_dash(Some(addresses.join("\n"))),
        or_dash(row.netns.as_ref().map(|path| path.display().to_string())),
        row.reason.clone(),
        if row.removed { "yes" } else { "no" }.to_owned(),
    ]
}
