//! The figures as Markdown.

mod converge;
mod first_packet;
mod guard;
mod leases;
mod overlay;
mod policy;
mod race;

use std::fmt;
use std::fs;
use std::time::Duration;

use super::first_packet::Beside;
use super::guard::Guarded;
use super::leases::Leases;
use super::managed::Resident;
use super::overlay::{Converged, Path};
use super::policy::Policed;
use super::rounds::{Call, Figures};
use super::sample::Sample;

/// What is printed: the parts that were measured.
#[derive(Clone, Debug)]
pub struct Report {
    /// The command that measured it.
    pub command: String,
    /// The peak in KiB below which no process can be seen.
    pub smallest_peak_kib: u64,
    /// Plain containers.
    pub plain: Option<Figures>,
    /// What a daemon occupies.
    pub resident: Option<Vec<Resident>>,
    /// Containers with host ports and limits.
    pub chain: Option<Chain>,
    /// Many host ports.
    pub first_packet: Option<Vec<Beside>>,
    /// The guard by itself.
    pub guard: Option<Guarded>,
    /// What goes from node to node.
    pub paths: Option<Vec<Path>>,
    /// From the store to the kernel.
    pub converged: Option<Converged>,
    /// Policies by themselves.
    pub policies: Option<Policed>,
    /// The store by itself.
    pub leases: Option<Leases>,
}

/// Ours against the reference's chain: the contestants are the chain, ours, and ours with nothing asked.
#[derive(Clone, Debug)]
pub struct Chain {
    /// What was measured.
    pub figures: Figures,
    /// What `iptables --version` says of the program that the reference calls.
    pub iptables: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# Performance\n\nMeasured by `{}` on {}.\n",
            self.command,
            machine()
        )?;
        f.write_str(SHAPE)?;
        if let Some(figures) = &self.plain {
            self.plain(f, figures)?;
        }
        if let Some(seen) = &self.resident {
            resident(f, seen)?;
        }
        if let Some(chain) = &self.chain {
            self.chain(f, chain)?;
        }
        if let Some(rows) = &self.first_packet {
            first_packet::report(f, rows)?;
        }
        if let Some(measured) = &self.guard {
            guard::report(f, measured)?;
        }
        if let Some(rows) = &self.paths {
            overlay::report(f, rows)?;
        }
        if let Some(measured) = &self.converged {
            converge::report(f, measured)?;
        }
        if let Some(measured) = &self.policies {
            policy::report(f, measured)?;
        }
        match &self.leases {
            Some(measured) => leases::report(f, measured),
            None => Ok(()),
        }
    }
}

const SHAPE: &str = "\
The contestants take turns in one run, each on a node (network namespace) of its own: dual stack, \
gateway on the bridge, no masquerade, default routes of both families. Container namespaces exist \
before, and one more attachment keeps the bridge alive. Latencies are in milliseconds, from starting \
the first process to the end of the last. A p50 ratio is the reference's p50 over the row's, a \
calls/s ratio the row's calls/s over the reference's: more is better. *answers/s* counts until the \
last answer, *calls/s* until nothing that a call left behind runs any more. *CPU* is user and system \
time of all processes of a call.\n\n";

const PLAIN: &str = "\
## A plain container\n\n\
*floor* is the same netlink messages from one warm process, from the first message to the last \
answer; its DEL is done at the kernel's answer, or, where it says so, at the `RTM_DELLINK` \
multicast. *started and durable* is the same with a start of our executable (that answers VERSION) and \
one record appended and synced before the answer: what a plugin with a node daemon cannot go below. \
*daemon* is our plugins on a node that `bulkheadd` serves; its CPU time is counted too.\n\n";

impl Report {
    fn plain(&self, f: &mut fmt::Formatter<'_>, figures: &Figures) -> fmt::Result {
        f.write_str(PLAIN)?;
        let all: Vec<usize> = (0..figures.names.len()).collect();
        race::latencies(f, figures, Call::Add, &all)?;
        race::latencies(f, figures, Call::Del, &all)?;
        race::memory(f, figures, self.smallest_peak_kib)?;
        race::beside(f, figures)?;
        race::starts(f, figures)
    }

    fn chain(&self, f: &mut fmt::Formatter<'_>, chain: &Chain) -> fmt::Result {
        let figures = &chain.figures;
        writeln!(f, "## Host ports and limits\n")?;
        for (call, name) in [(Call::Add, "ADD"), (Call::Del, "DEL")] {
            if let Some([alone, through]) = race::faster(figures, call, 1) {
                writeln!(
                    f,
                    "**{name} is {alone} times as fast as the reference's chain** (p50, one at a time), \
                     and {through} times as many are done in a second, 32 at once.\n"
                )?;
            }
        }
        writeln!(
            f,
            "A container with two host ports (one TCP, one UDP) and a limit in each direction: the \
             reference by `bridge`, `portmap`, `bandwidth`, `firewall` and `tuning`, one after the \
             other as libcni calls them, with {}; ours by one plugin. Before anything was timed, the \
             host ports answered from outside over both families and the limits stood, and a DEL left \
             nothing of them; a connection through another container's host port goes on all the \
             time.\n",
            chain.iptables
        )?;
        race::latencies(f, figures, Call::Add, &[0, 1])?;
        race::latencies(f, figures, Call::Del, &[0, 1])?;
        race::memory(f, figures, self.smallest_peak_kib)?;
        writeln!(f, "### What they cost over a plain container\n")?;
        race::price(f, figures, 2, 1)
    }
}

fn resident(f: &mut fmt::Formatter<'_>, seen: &[Resident]) -> fmt::Result {
    writeln!(
        f,
        "## The daemon's memory\n\n| attachments | resident MiB |\n|--:|--:|"
    )?;
    for one in seen {
        let tenths = one.kib * 10 / 1024;
        writeln!(f, "| {} | {}.{} |", one.beside, tenths / 10, tenths % 10)?;
    }
    writeln!(f)
}

fn millis(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1e3)
}

fn ratio(a: Duration, b: Duration) -> String {
    format!(
        "{:.2}",
        a.as_secs_f64() / b.as_secs_f64().max(f64::MIN_POSITIVE)
    )
}

/// How many times the p50 of `first` that of `sample` is.
fn growth(sample: &Sample, first: &Sample) -> String {
    ratio(sample.percentile(50), first.percentile(50))
}

/// Kernel, processors and load: what the figures depend on.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    // The part after the version names a build, which says nothing to a reader.
    let kernel = kernel.split('-').next().unwrap_or_default().trim();
    format!("Linux {kernel}, {processors} processors, load {load} at the end of the run")
}
