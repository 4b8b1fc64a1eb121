//! `bulkhead policy`: what policies say, told from files. That asks no cluster, no daemon and no kernel, so
//! it needs no privileges and can stand in a pipeline. Only `explain` without files asks the daemon.

mod diff;
mod explain;
mod lint;
mod matrix;
mod objects;

use std::path::PathBuf;

use bulkhead_policy::read::SyntaxError;
use bulkhead_policy::{NoQuestion, Undecided};
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
    /// Tell what becomes of one packet on its whole way, who says so, and the smallest change that turns it
    /// around.
    ///
    /// Binding, guard, host port, policies where it leaves, route or overlay, policies where it arrives, masquerade.
    /// Every policy and rule that was considered is named with file and line. Each change was tried before it is
    /// told. Without files the node daemon is asked, whose kernel must say the same.
    Explain(explain::ExplainArgs),
    /// Tell who could not reach whom with the old objects and can with the new, and the reverse.
    ///
    /// Compares what policies mean and not how they are written. Exit code 5 if there is a difference, or one
    /// of those that --fail-on names.
    Diff(diff::DiffArgs),
    /// Tell what policies say in vain, against each other, or otherwise than they look.
    ///
    /// Rules that never match, never decide or contradict each other, policies about nobody, prefixes over
    /// pods, names of no port. Exit code 5 if there is anything to tell.
    Lint(lint::LintArgs),
}

pub(crate) fn run(command: &Command, format: Format) -> Outcome {
    match command {
        Command::Matrix(args) => matrix::run(args, format),
        Command::Explain(args) => explain::run(args, format),
        Command::Diff(args) => diff::run(args, format),
        Command::Lint(args) => lint::run(args, format),
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
    /// A directory that has nothing to say is another than the one that is meant.
    #[error(
        "no file of {} is called .yaml, .yml or .json; those of directories in it are not read",
        .0.display()
    )]
    NoFiles(PathBuf),
    /// The engine does not know.
    #[error(transparent)]
    Undecided(#[from] Undecided),
    /// What is asked.
    #[error(transparent)]
    NoQuestion(#[from] NoQuestion),
    /// Two ends that cannot speak.
    #[error(
        "{0}: there is nothing to judge: no addresses of a common family, or no port of that name"
    )]
    NoWay(String),
    /// Pods on one side alone.
    #[error(
        "{0}: there are no pods among these objects, and there are among the others: give pods of both with -f"
    )]
    Deserted(String),
}

impl PolicyError {
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Self::Syntax { .. } | Self::NoFiles(_) => Exit::Unreadable,
            Self::NoQuestion(NoQuestion::Nobody(_) | NoQuestion::Several { .. })
            | Self::NoWay(_)
            | Self::Deserted(_) => Exit::NotFound,
            Self::NoQuestion(NoQuestion::Form(_)) => Exit::Usage,
            Self::NoQuestion(NoQuestion::Outside(..)) | Self::Undecided(_) => Exit::Failed,
        }
    }
}
