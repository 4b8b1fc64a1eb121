//! `bulkhead guard show`: the elements of a binding, and whether they stand.

use bulkhead_attach::{guard_state, recorded_binding, recorded_node};
use bulkhead_kernel::{Deletion, Kernel};
use bulkhead_model::IfName;
use bulkhead_plan::filter_table;
use serde::Serialize;

use super::{One, netns, settings};
use crate::attachments::Found;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Format, table};

/// An attachment's binding, as recorded and as it stands.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    attachment: String,
    port: IfName,
    /// The namespace that the port is in, if it is a network's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    netns: Option<String>,
    /// What was configured, in one line.
    settings: String,
    /// Whether everything of it stands.
    stands: bool,
    port_exists: bool,
    table_exists: bool,
    elements: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    set: String,
    element: String,
    stands: bool,
}

pub(super) fn run(one: &One, format: Format) -> Outcome {
    let (found, mut failures) = match one.select() {
        Ok(selected) => selected,
        Err(failure) => return Err(failure).into(),
    };
    let mut kernel = Kernel::new(Deletion::Blocking);
    let mut all = Vec::new();
    for found in &found {
        match tell(found, &mut kernel) {
            Ok(told) => all.extend(told),
            Err(failure) => failures.push(failure),
        }
    }
    let stdout = format.render(&all, |_| {
        let texts: Vec<_> = all.iter().map(text).collect();
        texts.join("\n")
    });
    let mut outcome = Outcome::partial(stdout, &failures);
    if outcome.exit == Exit::Done && all.iter().any(|told| !told.stands) {
        outcome.exit = Exit::Drift;
    }
    outcome
}

fn tell(found: &Found, kernel: &mut Kernel) -> Result<Option<Told>, Failure> {
    let Some(binding) = recorded_binding(&found.record) else {
        return Ok(None);
    };
    let state = guard_state(kernel, &recorded_node(&found.record), &binding)
        .map_err(|source| Failure::attachment(found.key(), source))?;
    Ok(Some(Told {
        attachment: found.name(),
        port: binding.port,
        netns: netns(found),
        settings: settings(found).to_string(),
        stands: state.stands(),
        port_exists: state.port,
        table_exists: state.table,
        elements: state
            .elements
            .into_iter()
            .map(|(set, key, stands)| Row {
                set: set.to_string(),
                element: key.to_string(),
                stands,
            })
            .collect(),
    }))
}

fn text(told: &Told) -> String {
    let state = match (told.port_exists, told.table_exists, told.stands) {
        (false, ..) => "the port is gone",
        (_, false, _) => "the table is gone: nothing that the port sends is judged",
        (_, _, false) => "not all of it stands: what is missing the port may not send",
        (.., true) => "all of it stands",
    };
    let rows: Vec<_> = told
        .elements
        .iter()
        .map(|one| {
            let stands = if one.stands { "yes" } else { "NO" };
            vec![one.set.clone(), one.element.clone(), stands.to_owned()]
        })
        .collect();
    let inside = told.netns.as_ref();
    let inside = inside.map_or_else(String::new, |netns| format!(" in {netns}"));
    format!(
        "{}  port {}{inside}  guard {}\n{}: {state}\n\n{}",
        told.attachment,
        told.port,
        told.settings,
        filter_table(),
        table(&["SET", "ELEMENT", "STANDS"], &rows)
    )
}
