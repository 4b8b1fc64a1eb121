//! `bulkhead explain`: every kernel object held for an attachment, where each value comes from, and what
//! ADD and DEL would do.

use bulkhead_attach::{Inspection, Origin, Rehearsal};
use bulkhead_cni::Verb;
use bulkhead_ipam::{Access, StateDir};
use bulkhead_plan::Plan;
use clap::Args;
use serde::Serialize;

use crate::attachments::{Found, Looked, Subject, explain};
use crate::failure::{Failure, Outcome};
use crate::output::{Format, json, table};

#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// CONTAINER, NETWORK/CONTAINER, NETWORK/CONTAINER/IFNAME (the container's id may be cut short),
    /// a port's name or an address.
    #[arg(value_name = "ATTACHMENT")]
    subject: Subject,

    #[command(flatten)]
    looked: Looked,
}

/// One attachment, told whole.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Explanation {
    attachment: String,
    values: Vec<Row>,
    /// What is not as it should be; empty if all is.
    drift: Vec<String>,
    /// What ADD would do if nothing of it stood.
    add: Vec<String>,
    /// What DEL would do now.
    del: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Row {
    object: &'static str,
    value: String,
    source: String,
}

pub(crate) fn run(args: &ExplainArgs, format: Format) -> Outcome {
    let (found, mut failures) = match args.looked.select(Some(&args.subject), None) {
        Ok(selected) => selected,
        Err(failure) => return Err(failure).into(),
    };
    let mut told = Vec::new();
    for found in &found {
        match tell(&args.looked, found) {
            Ok(explanation) => told.push(explanation),
            Err(failure) => failures.push(failure),
        }
    }
    let stdout = match format {
        Format::Json => json(&told),
        Format::Table => told.iter().map(text).collect::<Vec<_>>().join("\n"),
    };
    Outcome::partial(stdout, &failures)
}

fn tell(looked: &Looked, found: &Found) -> Result<Explanation, Failure> {
    if let Some(death) = &found.death {
        return Err(Failure::Dead {
            name: found.name(),
            reason: *death,
        });
    }
    let call = looked.call(found, Verb::Add)?;
    let state = StateDir::open(&found.state_dir, Access::Shared)?;
    let (inspection, origins, rehearsal) = explain(found, &call, &state)?;
    Ok(explanation(found, &inspection, origins, &rehearsal))
}

fn explanation(
    found: &Found,
    inspection: &Inspection,
    origins: Vec<Origin>,
    rehearsal: &Rehearsal,
) -> Explanation {
    let lines = |plan: &Plan| plan.ops().iter().map(ToString::to_string).collect();
    let value = |origin: Origin| Row {
        object: origin.object,
        value: origin.value,
        source: origin.source,
    };
    Explanation {
        attachment: found.name(),
        values: origins.into_iter().map(value).collect(),
        drift: lines(&inspection.drift),
        add: lines(&rehearsal.add),
        del: lines(&rehearsal.del),
    }
}

fn text(told: &Explanation) -> String {
    let rows: Vec<_> = told
        .values
        .iter()
        .map(|row| vec![row.object.to_owned(), row.value.clone(), row.source.clone()])
        .collect();
    let mut text = table(&["OBJECT", "VALUE", "FROM"], &rows);
    let drift = if told.drift.is_empty() {
        "the kernel holds all of it"
    } else {
        "the kernel does not hold all of it; this would mend it"
    };
    let parts = [
        (drift, &told.drift),
        ("ADD, if nothing of it stood", &told.add),
        ("DEL, now", &told.del),
    ];
    for (head, lines) in parts {
        text += &["\n# ", head, "\n"].concat();
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}
