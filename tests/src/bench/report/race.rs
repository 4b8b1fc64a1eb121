//! A race's figures.

use std::fmt::{self, Write};

use super::{growth, millis, ratio};
use crate::bench::rounds::{Call, Figures, PARALLEL};
use crate::bench::sample::Sample;

/// Latencies of `call` of the contestants in these positions, the first of which the others are
/// compared with.
pub(super) fn latencies(
    f: &mut fmt::Formatter<'_>,
    figures: &Figures,
    call: Call,
    among: &[usize],
) -> fmt::Result {
    let title = match call {
        Call::Add => "ADD",
        Call::Del => "DEL",
    };
    writeln!(f, "### {title}\n")?;
    writeln!(
        f,
        "| at once | | n | p50 | p90 | p99 | p50 ratio | answers/s | calls/s | calls/s ratio | CPU ms |"
    )?;
    writeln!(f, "|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
    for parallel in PARALLEL {
        let of = |nth: usize| figures.calls.get(&(nth, call, parallel));
        let Some(reference) = among.first().and_then(|nth| of(*nth)) else {
            continue;
        };
        for &nth in among {
            let Some(sample) = of(nth) else { continue };
            let name = &figures.names[nth];
            writeln!(f, "| {parallel} | {name} {}", row(sample, reference))?;
        }
    }
    writeln!(f)
}

pub(super) fn memory(
    f: &mut fmt::Formatter<'_>,
    figures: &Figures,
    smallest_peak_kib: u64,
) -> fmt::Result {
    writeln!(
        f,
        "### Memory\n\n| | VERSION | ADD | DEL |\n|---|--:|--:|--:|"
    )?;
    for (nth, [version, add, del]) in &figures.peaks {
        let name = &figures.names[*nth];
        writeln!(f, "| {name} | {version} | {add} | {del} |")?;
    }
    writeln!(
        f,
        "\nPeak resident KiB of the largest process of a call (`ru_maxrss`), of which none \
         below {smallest_peak_kib} can be seen.\n"
    )
}

pub(super) fn beside(f: &mut fmt::Formatter<'_>, figures: &Figures) -> fmt::Result {
    let Some(fewest) = figures.beside.keys().map(|(_, count)| *count).min() else {
        return Ok(());
    };
    writeln!(
        f,
        "### ADD beside attachments that stay\n\n| | beside | n | p50 | p90 | to fewest |"
    )?;
    writeln!(f, "|---|--:|--:|--:|--:|--:|")?;
    for ((nth, count), sample) in &figures.beside {
        let Some(first) = figures.beside.get(&(*nth, fewest)) else {
            continue;
        };
        let name = &figures.names[*nth];
        let [p50, p90] = [50, 90].map(|percent| millis(sample.percentile(percent)));
        let growth = growth(sample, first);
        writeln!(
            f,
            "| {name} | {count} | {} | {p50} | {p90} | {growth} |",
            sample.len()
        )?;
    }
    writeln!(f)
}

pub(super) fn starts(f: &mut fmt::Formatter<'_>, figures: &Figures) -> fmt::Result {
    let Some(reference) = figures.starts.get(&0) else {
        return Ok(());
    };
    writeln!(
        f,
        "### Start: VERSION\n\n| | n | p50 | p90 | p99 | of the reference |"
    )?;
    writeln!(f, "|---|--:|--:|--:|--:|--:|")?;
    for (nth, sample) in &figures.starts {
        let [p50, p90, p99] = [50, 90, 99].map(|percent| millis(sample.percentile(percent)));
        let share = growth(sample, reference);
        let name = &figures.names[*nth];
        writeln!(
            f,
            "| {name} | {} | {p50} | {p90} | {p99} | {share} |",
            sample.len()
        )?;
    }
    writeln!(f)
}

/// How much longer the contestant `more` takes than `less`.
pub(super) fn price(
    f: &mut fmt::Formatter<'_>,
    figures: &Figures,
    less: usize,
    more: usize,
) -> fmt::Result {
    writeln!(
        f,
        "| at once | plain ADD p50 | with them | times | plain DEL p50 | with them | times |"
    )?;
    writeln!(f, "|--:|--:|--:|--:|--:|--:|--:|")?;
    for parallel in PARALLEL {
        write!(f, "| {parallel} |")?;
        for call in [Call::Add, Call::Del] {
            let of = |nth| figures.calls.get(&(nth, call, parallel));
            let (Some(less), Some(more)) = (of(less), of(more)) else {
                continue;
            };
            let [without, with] = [less, more].map(|sample| millis(sample.percentile(50)));
            write!(f, " {without} | {with} | {} |", growth(more, less))?;
        }
        writeln!(f)?;
    }
    writeln!(f)
}

/// How many times as fast as the reference the contestant `nth` is: by p50 one at a time, and by calls
/// a second with the most at once.
pub(super) fn faster(figures: &Figures, call: Call, nth: usize) -> Option<[String; 2]> {
    let most = PARALLEL[PARALLEL.len() - 1];
    let of = |nth, parallel| figures.calls.get(&(nth, call, parallel));
    let (reference, mine) = (of(0, 1)?, of(nth, 1)?);
    let alone = ratio(reference.percentile(50), mine.percentile(50));
    let through = of(nth, most)?.per_second() / of(0, most)?.per_second();
    Some([alone, format!("{through:.1}")])
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
