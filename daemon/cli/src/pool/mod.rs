//! `bulkhead pool`: the pools of the cluster.

mod change;
mod ls;
mod map;
mod show;

use clap::Subcommand;

pub(crate) use change::label;
pub(crate) use show::{RESERVATIONS, reservation};

use crate::done;
use crate::failure::Outcome;
use crate::output::Format;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the pools, with what is used of each.
    Ls(ls::LsArgs),
    /// Show a pool: what it is, what is used of it and by which node, what is reserved.
    Show(show::ShowArgs),
    /// Make a pool of IPv4 addresses, of IPv6 addresses, or of both as pairs.
    Add(change::AddArgs),
    /// Change a pool. What is leased and claimed stays.
    Set(change::SetArgs),
    /// Give no new addresses of a pool, and take idle blocks back. What is leased stays.
    Drain(change::NamedArgs),
    /// Give addresses of a pool again.
    Enable(change::NamedArgs),
    /// Give no new addresses and no new blocks of a pool. What is leased stays.
    Disable(change::NamedArgs),
    /// Remove a pool that has no blocks any more: drain it first.
    Rm(change::NamedArgs),
    /// Draw the pools: whose each block is, how full, what cools down.
    Map(map::MapArgs),
}

pub(crate) fn run(command: &Command, format: Format) -> Outcome {
    match command {
        Command::Ls(args) => ls::run(args, format).into(),
        Command::Show(args) => show::run(args, format).into(),
        Command::Map(args) => map::run(args, format).into(),
        Command::Add(args) => done::outcome(args.run(), format),
        Command::Set(args) => done::outcome(args.run(), format),
        Command::Drain(args) => done::outcome(change::drain(args), format),
        Command::Enable(args) => done::outcome(change::enable(args), format),
        Command::Disable(args) => done::outcome(change::disable(args), format),
        Command::Rm(args) => done::outcome(change::remove(args), format),
    }
}
