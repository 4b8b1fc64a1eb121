//! `bulkhead policy`, what of it the cluster is asked: what is written about who may talk to whom, changed
//! and listed, and where it is enforced.

mod change;
mod files;
mod kind;
mod list;
mod state;
mod verify;

use clap::Subcommand;

pub(crate) use change::{changes, text};
pub(crate) use files::stdin_or_file;

use crate::failure::Outcome;
use crate::output::Format;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write policies, security groups, namespaces and networks: all that the files have, or nothing.
    ///
    /// Kubernetes' network policies, of namespaces and of clusters, and its namespaces are taken as they are, and
    /// objects of our own. What is not understood is told with file and line, and then nothing is changed.
    Apply(change::ApplyArgs),
    /// Remove objects, all of those that are named, or none.
    Delete(change::DeleteArgs),
    /// List the objects, and on how many nodes each is enforced as it is.
    Ls(list::LsArgs),
    /// Print an object as it was written.
    Get(list::GetArgs),
    /// Tell where policies are enforced: on how many nodes, at which revision, and who is behind.
    Status(state::StatusArgs),
    /// Read back what the asked node's kernel enforces, and compare it with what it should.
    ///
    /// Exit status 5 if anything is otherwise.
    Verify(verify::VerifyArgs),
    /// Print all that the asked node knows as a file of objects, which `explain`, `matrix`, `diff` and `lint`
    /// read.
    Snapshot(state::SnapshotArgs),
    /// List endpoints as policies see them: of the networks that the asked node is on.
    Endpoints(state::EndpointsArgs),
}

pub(crate) fn run(command: &Command, format: Format) -> Outcome {
    match command {
        Command::Apply(args) => change::apply(args, format),
        Command::Delete(args) => change::delete(args, format),
        Command::Ls(args) => list::ls(args, format).into(),
        Command::Get(args) => list::get(args, format).into(),
        Command::Status(args) => state::status(args, format).into(),
        Command::Verify(args) => verify::verify(args, format),
        Command::Snapshot(args) => state::snapshot(args, format).into(),
        Command::Endpoints(args) => state::endpoints(args, format).into(),
    }
}
