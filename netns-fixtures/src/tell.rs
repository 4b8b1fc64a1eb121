//! What whoever watches a demo reads: numbered steps, and a ✓ or ✗ for each claim.

use std::cell::Cell;
use std::fmt::Display;
use std::process::ExitCode;

/// Lines of explanation, or of what a program said.
pub fn show(text: impl Display) {
    for line in text.to_string().trim_end().lines() {
        println!("     {line}");
    }
}

/// The command a person would type.
pub fn command(line: impl Display) {
    println!("   $ {line}");
}

/// Prints steps and claims, and counts the claims.
#[derive(Debug, Default)]
pub struct Teller {
    steps: Cell<usize>,
    held: Cell<usize>,
    failed: Cell<usize>,
}

impl Teller {
    /// Begins a step.
    pub fn step(&self, title: &str) {
        self.steps.set(self.steps.get() + 1);
        println!("\n{}. {title}", self.steps.get());
    }

    /// A claim, and whether it held; `detail` says what was seen.
    pub fn claim(&self, holds: bool, claim: impl Display, detail: impl Display) {
        let (mark, count) = if holds {
            ("✓", &self.held)
        } else {
            ("✗", &self.failed)
        };
        count.set(count.get() + 1);
        let detail = detail.to_string();
        let gap = if detail.is_empty() { "" } else { ": " };
        println!("   {mark} {claim}{gap}{detail}");
    }

    /// The last lines, and the exit code.
    #[must_use]
    pub fn verdict(&self) -> ExitCode {
        let (held, failed) = (self.held.get(), self.failed.get());
        if failed == 0 && held > 0 {
            println!("\nAll {held} claims hold.");
            return ExitCode::SUCCESS;
        }
        println!("\n{failed} of {} claims do not hold.", held + failed);
        ExitCode::FAILURE
    }
}
