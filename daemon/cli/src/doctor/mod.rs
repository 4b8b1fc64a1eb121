//! `bulkhead doctor`: what of the node stands in the way of our networks, why, and what helps. It looks
//! and changes nothing. Everything is read once, as a [`Node`]; the checks are functions of that.

mod checks;
mod finding;
mod node;
mod overlay;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use self::finding::{Finding, Severity};
use self::node::Node;
use crate::daemon::Socket;
use crate::failure::{Exit, Outcome};
use crate::output::Format;
use crate::sources::Sources;

#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// Say also what is as it should be.
    #[arg(long, global = true)]
    all: bool,

    #[command(flatten)]
    places: Places,

    #[command(subcommand)]
    about: Option<About>,
}

/// What is looked at, if not the node.
#[derive(Debug, Subcommand)]
enum About {
    /// Ask the other nodes over every network that this node has together with them.
    ///
    /// Sends echo requests to them, short ones and some as long as the MTU, and compares the kernel with
    /// what the store says. Changes nothing.
    Overlay(overlay::OverlayArgs),
}

/// Where to look.
#[derive(Args, Debug)]
struct Places {
    #[command(flatten)]
    socket: Socket,

    #[command(flatten)]
    sources: Sources,

    /// Where plugins are; may be repeated.
    #[arg(long = "bin-dir", value_name = "DIR", default_value = "/opt/cni/bin")]
    bin_dirs: Vec<PathBuf>,

    /// Where runtimes keep the results of ADD, and the reference plugins their leases.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/cni")]
    cache_dir: PathBuf,
}

pub(crate) fn run(args: &DoctorArgs, format: Format) -> Outcome {
    match &args.about {
        Some(About::Overlay(about)) => overlay::run(about, args.all, format),
        None => of_node(args, format),
    }
}

fn of_node(args: &DoctorArgs, format: Format) -> Outcome {
    let node = Node::read(&args.places);
    let mut findings: Vec<Finding> = checks::ALL.iter().flat_map(|check| check(&node)).collect();
    findings.retain(|finding| args.all || finding.severity != Severity::Ok);
    findings.sort_by_key(|finding| finding.severity);
    outcome(&findings, node.unread, format)
}

/// What was found, and what could not be looked at.
fn outcome(findings: &[Finding], unread: Vec<String>, format: Format) -> Outcome {
    let is_bad = findings
        .iter()
        .any(|finding| finding.severity == Severity::Problem);
    let exit = match (is_bad, unread.is_empty()) {
        (true, _) => Exit::Drift,
        (false, false) => Exit::Unreadable,
        (false, true) => Exit::Done,
    };
    Outcome {
        stdout: format.render(findings, |_| text(findings)),
        stderr: unread,
        exit,
    }
}

fn text(findings: &[Finding]) -> String {
    let mut texts: Vec<_> = findings.iter().map(Finding::text).collect();
    let number = |severity| {
        let of = findings
            .iter()
            .filter(|finding| finding.severity == severity);
        of.count()
    };
    let (problems, warnings) = (number(Severity::Problem), number(Severity::Warn));
    texts.push(format!("problems: {problems}, warnings: {warnings}\n"));
    texts.join("\n")
}
