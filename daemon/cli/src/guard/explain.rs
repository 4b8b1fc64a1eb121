//! `bulkhead guard explain`: each thing that a port may and may not send.

use bulkhead_attach::recorded_binding;
use bulkhead_model::IfName;
use bulkhead_plan::Clause;
use serde::Serialize;

use super::One;
use crate::attachments::Found;
use crate::failure::Outcome;
use crate::output::{Format, table};

/// The plugin's kind whose ports another one made.
const CHAINED: &str = "guard";

/// An attachment, and what it may send.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    attachment: String,
    port: IfName,
    clauses: Vec<Row>,
    /// What is not judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Row {
    may: bool,
    what: String,
    source: &'static str,
    /// What it is counted under if it does nevertheless.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

pub(super) fn run(one: &One, format: Format) -> Outcome {
    let (found, failures) = match one.select() {
        Ok(selected) => selected,
        Err(failure) => return Err(failure).into(),
    };
    let all: Vec<_> = found.iter().filter_map(tell).collect();
    let stdout = format.render(&all, |_| {
        let texts: Vec<_> = all.iter().map(text).collect();
        texts.join("\n")
    });
    Outcome::partial(stdout, &failures)
}

fn tell(found: &Found) -> Option<Told> {
    let binding = recorded_binding(&found.record)?;
    let note = (found.record.kind == CHAINED).then_some(
        "The port was made by another plugin, and is guarded from the ADD of bulkhead-guard on: \
         what was sent between the two was not judged. Addresses of its network that nobody holds \
         are not known, so that what is sent to them passes.",
    );
    Some(Told {
        attachment: found.name(),
        port: binding.port,
        clauses: binding.clauses().into_iter().map(row).collect(),
        note,
    })
}

fn row(clause: Clause) -> Row {
    Row {
        may: clause.may,
        what: clause.what,
        source: clause.source,
        reason: clause.reason.map(bulkhead_plan::Reason::word),
    }
}

fn text(told: &Told) -> String {
    let rows: Vec<_> = told
        .clauses
        .iter()
        .map(|row| {
            let may = if row.may { "may" } else { "may not" };
            vec![
                may.to_owned(),
                row.what.clone(),
                row.source.to_owned(),
                row.reason.unwrap_or("-").to_owned(),
            ]
        })
        .collect();
    let mut text = format!("{}  port {}\n\n", told.attachment, told.port);
    text += &table(&["", "WHAT", "SOURCE", "COUNTED AS"], &rows);
    if let Some(note) = told.note {
        text.extend(["\n", note, "\n"]);
    }
    text
}
