//! `bulkhead`, the operator's command: looks at networks and their addresses, and runs a network as
//! a runtime would. One module per noun; what a noun prints is a value first and text last.

mod cni;
mod failure;
mod ipam;
mod net;
mod output;
mod sources;
mod time;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::output::Format;

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  the operation failed (CNI error)
  2  the command line is wrong
  3  not found: a network, an address, a namespace or a recorded attachment
  4  the store, a configuration or another file cannot be read or written";

/// Container networks: what there is, who has which address, and running them by hand.
#[derive(Debug, Parser)]
#[command(name = "bulkhead", version)]
struct Cli {
    /// How results are printed.
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    output: Format,

    #[command(subcommand)]
    noun: Noun,
}

#[derive(Debug, Subcommand)]
enum Noun {
    /// Networks: their configuration files and what is recorded of them.
    #[command(subcommand)]
    Net(net::Command),
    /// Addresses: leases, pools and who had what when.
    #[command(subcommand)]
    Ipam(ipam::Command),
    /// Run a network's plugins as a runtime does.
    #[command(subcommand)]
    Cni(cni::Command),
}

fn main() -> ExitCode {
    let matches = with_exit_codes(Cli::command()).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let outcome = match cli.noun {
        Noun::Net(command) => net::run(&command, cli.output),
        Noun::Ipam(command) => ipam::run(&command, cli.output),
        Noun::Cni(command) => cni::run(command, cli.output),
    };
    outcome.finish()
}

/// Every help text ends with the exit codes.
fn with_exit_codes(command: clap::Command) -> clap::Command {
    command
        .after_help(EXIT_CODES)
        .mut_subcommands(with_exit_codes)
}
