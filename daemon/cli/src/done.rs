//! What a command says that has changed something and has nothing to show.

use serde::Serialize;

use crate::failure::{Failure, Outcome};
use crate::output::Format;

/// Something that was done.
#[derive(Debug, Serialize)]
pub(crate) struct Done {
    /// `pool default`.
    object: String,
    /// `added`.
    outcome: &'static str,
    /// What the operator should know, a sentence each.
    notes: Vec<String>,
}

impl Done {
    pub(crate) fn new(
        object: impl Into<String>,
        outcome: &'static str,
        notes: Vec<String>,
    ) -> Self {
        Self {
            object: object.into(),
            outcome,
            notes,
        }
    }

    fn text(&self) -> String {
        let notes = self.notes.iter().map(|note| format!("  note: {note}\n"));
        let notes: String = notes.collect();
        let text = format!("{}: {}\n{notes}", self.object, self.outcome);
        text.chars()
            .map(|c| {
                if c.is_control() && c != '\n' {
                    '\u{fffd}'
                } else {
                    c
                }
            })
            .collect()
    }
}

/// The end of such a command.
pub(crate) fn outcome(done: Result<Done, Failure>, format: Format) -> Outcome {
    done.map(|done| format.render(&done, |_| done.text()))
        .into()
}
