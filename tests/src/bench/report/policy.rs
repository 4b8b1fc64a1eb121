//! What policies cost, laid out in several ways.

use std::fmt;

use crate::bench::policy::{Lane, Layout};

const TEXT: &str = "\
## Policies\n\n\
Two endpoints that are there, each behind a device of the node's, among so many that are elements alone; groups of \
ten, each of which may be reached by three others on three ports, and may reach three others: a policy for each \
group and direction. *CPU* is the connecting thread's time from `connect` to its return, in which both namespaces \
and the node are passed three times; *over tracking* is the median of the differences of turns in the same round. \
Changes are committed by one long-lived socket, from the first byte to the answer.\n\n";

pub(super) fn report(f: &mut fmt::Formatter<'_>, lanes: &[Lane]) -> fmt::Result {
    f.write_str(TEXT)?;
    writeln!(
        f,
        "| | endpoints | n | CPU, ns | over tracking, ns | p50, µs | p90 |"
    )?;
    writeln!(f, "|---|--:|--:|--:|--:|--:|--:|")?;
    let tracked = lanes.iter().find(|lane| lane.layout == Layout::Tracked);
    for lane in lanes {
        let over = tracked.map_or(0.0, |base| {
            let differences = lane.nanos.iter().zip(&base.nanos);
            median(differences.map(|(one, other)| one - other).collect())
        });
        let at = |percent| lane.latency.percentile(percent).as_secs_f64() * 1e6;
        writeln!(
            f,
            "| {} | {} | {} | {:.0} | {over:.0} | {:.1} | {:.1} |",
            lane.layout,
            lane.endpoints,
            lane.latency.len(),
            median(lane.nanos.clone()),
            at(50),
            at(90),
        )?;
    }
    writeln!(
        f,
        "\n| | endpoints | change | n | p50, µs | p99 |\n|---|--:|---|--:|--:|--:|"
    )?;
    for lane in lanes {
        for (what, sample) in &lane.changes {
            let at = |percent| sample.percentile(percent).as_secs_f64() * 1e6;
            writeln!(
                f,
                "| {} | {} | {what} | {} | {:.0} | {:.0} |",
                lane.layout,
                lane.endpoints,
                sample.len(),
                at(50),
                at(99),
            )?;
        }
    }
    writeln!(f)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
