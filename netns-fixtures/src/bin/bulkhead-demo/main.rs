//! The demo: a node, the world outside and three containers, each a namespace of its own. The real
//! executables attach the containers to a dual-stack network; real packets show that it works; and
//! nothing is left afterwards. Exits with 1 if one of its claims does not hold.

mod command_line;
mod stage;
mod story;

use std::process::ExitCode;

use netns_fixtures::tell::Teller;

use crate::command_line::CommandLine;

fn main() -> ExitCode {
    let teller = Teller::default();
    let told = CommandLine::parse(std::env::args()).and_then(|line| story::tell(&line, &teller));
    if let Err(error) = told {
        eprintln!("bulkhead-demo: {error:#}");
        return ExitCode::FAILURE;
    }
    teller.verdict()
}
