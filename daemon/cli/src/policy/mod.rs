//! `bulkhead policy`: what policies say, told from files. It asks no cluster, no daemon and no kernel, so
//! it needs no privileges and can stand in a pipeline.

mod matrix;
mod objects;

use bulkhead_policy::read::SyntaxError;
use bulkhead_policy::{NoRuleset, Undecided};
use clap::Subcommand;

use crate::failure::{Exit, Outcome};
use crate::output::Format;

/// What policies say, told from files: Kubernetes objects as they are, and our own.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print who can talk to whom.
    ///
    /// Asks for every pair of pods, every port and both families. As a table `.` is allowed, `X` is denied
    /// and a blank is a pair without addresses of the family.
    Matrix(matrix::MatrixArgs),
}

pub(crate) fn run(command: &Command, format: Format) -> Outcome {
    match command {
        Command::Matrix(args) => matrix::run(args, format),
    }
}

/// What stands in the way of telling.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyError {
    /// A file of objects.
    #[error("objects in {file}")]
    Syntax {
        file: String,
        #[source]
        source: SyntaxError,
    },
    /// The engine does not know.
    #[error(transparent)]
    Undecided(#[from] Undecided),
    /// There is no such engine.
    #[error(transparent)]
    NoRuleset(#[from] NoRuleset),
}

impl PolicyError {
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Self::Syntax { .. } => Exit::Unreadable,
            Self::Undecided(_) | Self::NoRuleset(_) => Exit::Failed,
        }
    }
}
