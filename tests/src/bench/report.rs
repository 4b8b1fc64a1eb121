//! The figures as Markdown.

use std::fmt::{self, Write};
use std::fs;
use std::time::Duration;

use super::rounds::{Call, Figures, PARALLEL};
use super::sample::Sample;

/// What is printed: the figures, under the contestants' names.
#[derive(Clone, Debug)]
pub struct Report {
    /// The contestants in the order of the run.
    pub names: Vec<String>,
    /// What was measured.
    pub figures: Figures,
    /// The command that measured it.
    pub command: String,
    /// The peak in KiB below which no process can be seen.
    pub smallest_peak_kib: u64,
    /// The position of the contestant that the others are compared with.
    pub reference: usize,
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
        for call in [Call::Add, Call::Del] {
            self.latencies(f, call)?;
        }
        self.costs(f)?;
        self.beside(f)?;
        self.starts(f)
    }
}

const SHAPE: &str = "\
The contestants take turns in one run, each on a node (network namespace) of its own: dual stack, \
gateway on the bridge, no masquerade, default routes of both families. Container namespaces exist \
before, and one more attachment keeps the bridge alive. Latencies are in milliseconds, from starting \
the process to its end (for the kernel alone: from the first message to the last answer). *floor* is \
the same netlink messages from one warm process; its DEL is done at the kernel's answer, or, where it \
says so, at the `RTM_DELLINK` multicast. A p50 ratio is the reference's p50 over the row's, a \
calls/s ratio the row's calls/s over the reference's: more is better.\n\n";

impl Report {
    fn latencies(&self, f: &mut fmt::Formatter<'_>, call: Call) -> fmt::Result {
        let title = match call {
            Call::Add => "ADD",
            Call::Del => "DEL",
        };
        writeln!(f, "## {title}\n")?;
        writeln!(
            f,
            "| at once | | n | p50 | p90 | p99 | p50 ratio | answers/s | calls/s | calls/s ratio | CPU ms |"
        )?;
        writeln!(f, "|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
        for parallel in PARALLEL {
            let of = |nth| self.figures.calls.get(&(nth, call, parallel));
            let Some(reference) = of(self.reference) else {
                continue;
            };
            for (nth, name) in self.names.iter().enumerate() {
                let Some(sample) = of(nth) else { continue };
                writeln!(f, "| {parallel} | {name} {}", row(sample, reference))?;
            }
        }
        writeln!(
            f,
            "\n*answers/s* counts until the last answer, *calls/s* until nothing that a call left \
             behind runs any more. *CPU* is user and system time of \
             all processes of a call.\n"
        )
    }

    fn costs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "## Memory\n\n| | VERSION | ADD | DEL |\n|---|--:|--:|--:|"
        )?;
        for (nth, name) in self.names.iter().enumerate() {
            if let Some([version, add, del]) = self.figures.peaks.get(&nth) {
                writeln!(f, "| {name} | {version} | {add} | {del} |")?;
            }
        }
        writeln!(
            f,
            "\nPeak resident KiB of the largest process of a call (`ru_maxrss`), of which none \
             below {} can be seen.\n",
            self.smallest_peak_kib
        )
    }

    fn beside(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts: Vec<usize> = self
            .figures
            .beside
            .keys()
            .map(|(_, count)| *count)
            .collect();
        counts.sort_unstable();
        counts.dedup();
        let Some(&fewest) = counts.first() else {
            return Ok(());
        };
        writeln!(
            f,
            "## ADD beside attachments that stay\n\n| | beside | n | p50 | p90 | to fewest |"
        )?;
        writeln!(f, "|---|--:|--:|--:|--:|--:|")?;
        for (nth, name) in self.names.iter().enumerate() {
            for count in &counts {
                let (Some(sample), Some(first)) = (
                    self.figures.beside.get(&(nth, *count)),
                    self.figures.beside.get(&(nth, fewest)),
                ) else {
                    continue;
                };
                let [p50, p90] = [50, 90].map(|percent| millis(sample.percentile(percent)));
                let growth = ratio(sample.percentile(50), first.percentile(50));
                writeln!(
                    f,
                    "| {name} | {count} | {} | {p50} | {p90} | {growth} |",
                    sample.len()
                )?;
            }
        }
        writeln!(f)
    }

    fn starts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(reference) = self.figures.starts.get(&self.reference) else {
            return Ok(());
        };
        writeln!(
            f,
            "## Start: VERSION\n\n| | n | p50 | p90 | p99 | of the reference |"
        )?;
        writeln!(f, "|---|--:|--:|--:|--:|--:|")?;
        for (nth, sample) in &self.figures.starts {
            let [p50, p90, p99] = [50, 90, 99].map(|percent| millis(sample.percentile(percent)));
            let share = ratio(sample.percentile(50), reference.percentile(50));
            let name = &self.names[*nth];
            writeln!(
                f,
                "| {name} | {} | {p50} | {p90} | {p99} | {share} |",
                sample.len()
            )?;
        }
        Ok(())
    }
}

fn row(sample: &Sample, reference: &Sample) -> String {
    let [p50, p90, p99] = [50, 90, 99].map(|percent| millis(sample.percentile(percent)));
    let mut row = format!("| {} | {p50} | {p90} | {p99} ", sample.len());
    let faster = ratio(reference.percentile(50), sample.percentile(50));
    let through = sample.per_second() / reference.per_second();
    // Writing to a string cannot fail.
    let _ = write!(
        row,
        "| {faster} | {:.0} | {:.0} | {through:.1} | {} |",
        sample.answers_per_second(),
        sample.per_second(),
        millis(sample.cpu_each())
    );
    row
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
