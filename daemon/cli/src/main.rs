//! `bulkhead`, the operator's command: looks at networks and their addresses, and runs a network as
//! a runtime would. One module per noun; what a noun prints is a value first and text last.

mod attachments;
mod block;
mod check;
mod cni;
mod coexist;
mod colour;
mod config;
mod confirm;
mod daemon;
mod doctor;
mod done;
mod endpoint;
mod explain;
mod failure;
mod filter;
mod flows;
mod guard;
mod install;
mod ipam;
mod manual;
mod net;
mod node;
mod output;
mod overlay;
mod policies;
mod policy;
mod pool;
mod ports;
mod sg;
mod sources;
mod status;
mod store;
mod support;
mod svg;
mod time;
mod topology;
mod watch;

use std::env;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::output::Format;

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  the operation failed (CNI error)
  2  the command line is wrong
  3  not found: a network, an address, a namespace, a recorded attachment or an executable
  4  the store, a configuration or another file cannot be read or written
  5  `check` found what is not as it should be, and was not told to mend it; `doctor` found a problem;
     `ipam check` found a violation; `policy diff` found a difference, `policy lint` something to say;
     `status` found that the daemon or its store does not serve
  6  no node daemon answers";

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
    /// Tell how the node daemon is, and its store, pools, publishing and last errors.
    ///
    /// Exit code 0 only if it serves and so does its store; without a daemon the state directory is read.
    Status(daemon::Reach),
    /// The nodes of the cluster.
    #[command(subcommand)]
    Node(node::Command),
    /// The pools of the cluster, which addresses come from.
    #[command(subcommand)]
    Pool(pool::Command),
    /// The blocks of the pools: a node's shares.
    #[command(subcommand)]
    Block(block::Command),
    /// Addresses: leases, pools and who had what when.
    #[command(subcommand)]
    Ipam(ipam::Command),
    /// What goes through the ports of this node's attachments.
    #[command(subcommand)]
    Endpoint(endpoint::Command),
    /// Print what happens, a line each, until it is stopped.
    Watch(watch::WatchArgs),
    /// The cluster's store as a whole: backup, restoring, moving to etcd.
    #[command(subcommand)]
    Store(store::Command),
    /// The node daemon's configuration.
    #[command(subcommand)]
    Config(config::Command),
    /// What ports may send: whether they are guarded, what was dropped and why.
    #[command(subcommand)]
    Guard(guard::Command),
    /// Who may talk to whom: what is written, where it is enforced, and what files say.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Print what policies deny and allow on this node, a line each, until it is stopped.
    ///
    /// What is denied is in the kernel's log, and what a policy in audit would deny: samples where there is much.
    Flows(flows::FlowsArgs),
    /// Security groups: named sets of endpoints with rules, for those without Kubernetes.
    #[command(subcommand)]
    Sg(sg::Command),
    /// Networks that nodes have together: who has them, where each is reached, and what is behind it.
    #[command(subcommand)]
    Overlay(overlay::Command),
    /// Draw the nodes, the networks that they have together, and what is on each.
    Topology(topology::TopologyArgs),
    /// Which port of the node leads to which container.
    #[command(subcommand)]
    Ports(ports::Command),
    /// Compare the kernel with what it should hold, and mend it.
    ///
    /// Prints for each attachment the `ip`, `tc`, `nft` and `sysctl` lines that would mend it, all of it
    /// a script for a shell; `--repair` does what they say.
    Check(check::CheckArgs),
    /// Tell what the kernel holds for an attachment, where each value comes from, and what ADD and
    /// DEL would do.
    Explain(explain::ExplainArgs),
    /// Tell what of the node stands in the way of networks, why, and what helps. Changes nothing.
    Doctor(doctor::DoctorArgs),
    /// Rules in firewalls of others, which would drop what networks forward.
    #[command(subcommand)]
    Coexist(coexist::Command),
    /// Run a network's plugins as a runtime does.
    #[command(subcommand)]
    Cni(cni::Command),
    /// Gather what helps somebody who cannot look at the node, in one archive without secrets.
    SupportBundle(support::SupportArgs),
    /// Put the plugins where runtimes look for them, and a network's configuration.
    ///
    /// Every file is replaced in one instant and only where it differs. A configuration of the
    /// network that is there already is left.
    Install(install::InstallArgs),
    /// Remove what `install` put there: the configuration first, then the plugins.
    ///
    /// Only files of ours are removed; a configuration that was changed is left and named.
    Uninstall(install::UninstallArgs),
    /// Print the completion script of a shell.
    Completions(manual::CompletionsArgs),
    /// Write the manual: a page for each command.
    Man(manual::ManArgs),
}

/// Policies, as the cluster has them and as files do.
#[derive(Debug, Subcommand)]
enum PolicyCommand {
    #[command(flatten)]
    Cluster(policies::Command),
    #[command(flatten)]
    Files(policy::Command),
}

impl Noun {
    /// Whether it can print a drawing.
    const fn draws(&self) -> bool {
        matches!(
            self,
            Self::Policy(PolicyCommand::Files(policy::Command::Matrix(_)))
        )
    }
}

fn main() -> ExitCode {
    // An arrow by itself, of `policy explain`, would be taken for options.
    let words = env::args_os().map(|word| if word == "->" { "to".into() } else { word });
    let matches = command().get_matches_from(words);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    if cli.output.is_drawing() && !cli.noun.draws() {
        let text = "--output svg and html are drawings, which policy matrix makes";
        command().error(ErrorKind::InvalidValue, text).exit();
    }
    let outcome = match cli.noun {
        Noun::Net(command) => net::run(&command, cli.output),
        Noun::Status(reach) => status::run(&reach, cli.output),
        Noun::Node(command) => node::run(&command, cli.output),
        Noun::Pool(command) => pool::run(&command, cli.output),
        Noun::Block(command) => block::run(&command, cli.output),
        Noun::Endpoint(command) => endpoint::run(&command, cli.output),
        Noun::Watch(args) => watch::run(&args, cli.output),
        Noun::Store(command) => store::run(&command, cli.output),
        Noun::Config(command) => config::run(&command, cli.output),
        Noun::Ipam(command) => ipam::run(&command, cli.output),
        Noun::Guard(command) => guard::run(&command, cli.output),
        Noun::Policy(PolicyCommand::Cluster(command)) => policies::run(&command, cli.output),
        Noun::Policy(PolicyCommand::Files(command)) => policy::run(&command, cli.output),
        Noun::Flows(args) => flows::run(&args, cli.output),
        Noun::Sg(command) => sg::run(&command, cli.output),
        Noun::Overlay(command) => overlay::run(&command, cli.output),
        Noun::Topology(args) => topology::run(&args, cli.output),
        Noun::Ports(command) => ports::run(&command, cli.output),
        Noun::Check(args) => check::run(&args, cli.output),
        Noun::Explain(args) => explain::run(&args, cli.output),
        Noun::Doctor(args) => doctor::run(&args, cli.output),
        Noun::Coexist(command) => coexist::run(&command, cli.output),
        Noun::Cni(command) => cni::run(command, cli.output),
        Noun::SupportBundle(args) => support::run(&args, cli.output),
        Noun::Install(args) => install::install(&args, cli.output),
        Noun::Uninstall(args) => install::uninstall(&args, cli.output),
        Noun::Completions(args) => manual::completions(&args, command()),
        Noun::Man(args) => manual::man(&args, command()),
    };
    outcome.finish()
}

/// The whole command line.
fn command() -> clap::Command {
    with_exit_codes(Cli::command())
}

/// Every help text ends with the exit codes.
fn with_exit_codes(command: clap::Command) -> clap::Command {
    command
        .after_help(EXIT_CODES)
        .mut_subcommands(with_exit_codes)
}
