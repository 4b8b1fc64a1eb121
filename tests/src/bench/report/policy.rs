//! What policies cost, laid out in several ways.

use std::fmt;

use crate::bench::policy::{Compiled, Cut, Lane, Layout, Policed};
use crate::bench::sample::Sample;

const TEXT: &str = "\
## Policies\n\n\
Two endpoints that are there, each behind a device of the node's, among so many that are elements alone; groups of \
ten, each of which may be reached by three others on three ports, and may reach three others: a policy for each \
group and direction. *CPU* is the connecting thread's time from `connect` to its return, in which both namespaces \
and the node are passed three times; *over tracking* is the median of the differences of turns in the same round. \
Policies beyond these allow other ports. Changes are committed by one long-lived socket, from the first byte to the \
answer.\n\n";

const COMPILED: &str = "\n\
What is compiled: so many endpoints and policies of a whole cluster, of which 110 endpoints are the node's own; eleven \
applications of ten in a namespace, each policy about one of them and about two applications in each direction. *anew* is \
until it is known what is to be committed where the new world is compiled from scratch and compared with the table, \
*followed* where the change is; *committed* the kernel's part; *all* is followed and committed.\n\n";

const CUT: &str = "\n\
Connections through the node, all of an endpoint's; what is no longer allowed is found among them (*judged*) and forgotten \
(*cut*).\n\n";

pub(super) fn report(f: &mut fmt::Formatter<'_>, measured: &Policed) -> fmt::Result {
    lanes(f, &measured.lanes)?;
    compiled(f, &measured.compiled)?;
    cuts(f, &measured.cuts)?;
    writeln!(f)
}

fn compiled(f: &mut fmt::Formatter<'_>, all: &[Compiled]) -> fmt::Result {
    f.write_str(COMPILED)?;
    writeln!(
        f,
        "| endpoints | policies | from scratch, ms | memory, MiB | elements |"
    )?;
    writeln!(f, "|--:|--:|--:|--:|--:|")?;
    for one in all {
        writeln!(
            f,
            "| {} | {} | {:.0} | {:.0} | {} |",
            one.size.endpoints,
            one.size.policies,
            one.scratch.as_secs_f64() * 1e3,
            one.memory,
            one.elements,
        )?;
    }
    writeln!(
        f,
        "\n| endpoints | policies | change | n | anew p50, ms | followed p50, ms | committed p50 | all p50 | all p99 |"
    )?;
    writeln!(f, "|--:|--:|---|--:|--:|--:|--:|--:|--:|")?;
    let ms = |sample: &Sample, percent| sample.percentile(percent).as_secs_f64() * 1e3;
    for one in all {
        for change in &one.changes {
            writeln!(
                f,
                "| {} | {} | {} | {} | {:.1} | {:.2} | {:.2} | {:.2} | {:.2} |",
                one.size.endpoints,
                one.size.policies,
                change.what,
                change.whole.len(),
                ms(&change.anew, 50),
                ms(&change.followed, 50),
                ms(&change.committed, 50),
                ms(&change.whole, 50),
                ms(&change.whole, 99),
            )?;
        }
    }
    Ok(())
}

fn cuts(f: &mut fmt::Formatter<'_>, cuts: &[Cut]) -> fmt::Result {
    f.write_str(CUT)?;
    writeln!(
        f,
        "| connections | no longer allowed | judged, ms | cut, ms |\n|--:|--:|--:|--:|"
    )?;
    for one in cuts {
        writeln!(
            f,
            "| {} | {} | {:.0} | {:.0} |",
            one.there,
            one.forbidden,
            one.judged.as_secs_f64() * 1e3,
            one.took.as_secs_f64() * 1e3,
        )?;
    }
    Ok(())
}

fn lanes(f: &mut fmt::Formatter<'_>, lanes: &[Lane]) -> fmt::Result {
    f.write_str(TEXT)?;
    writeln!(
        f,
        "| | endpoints | policies | n | CPU, ns | over tracking, ns | p50, µs | p90 |"
    )?;
    writeln!(f, "|---|--:|--:|--:|--:|--:|--:|--:|")?;
    let tracked = lanes.iter().find(|lane| lane.layout == Layout::Tracked);
    for lane in lanes {
        let over = tracked.map_or(0.0, |base| {
            let differences = lane.nanos.iter().zip(&base.nanos);
            median(differences.map(|(one, other)| one - other).collect())
        });
        let at = |percent| lane.latency.percentile(percent).as_secs_f64() * 1e6;
        writeln!(
            f,
            "| {} | {} | {} | {} | {:.0} | {over:.0} | {:.1} | {:.1} |",
            lane.layout,
            lane.size.endpoints,
            lane.size.policies,
            lane.latency.len(),
            median(lane.nanos.clone()),
            at(50),
            at(90),
        )?;
    }
    writeln!(
        f,
        "\n| | endpoints | policies | change | n | p50, µs | p99 |\n|---|--:|--:|---|--:|--:|--:|"
    )?;
    for lane in lanes {
        for (what, sample) in &lane.changes {
            let at = |percent| sample.percentile(percent).as_secs_f64() * 1e6;
            writeln!(
                f,
                "| {} | {} | {} | {what} | {} | {:.0} | {:.0} |",
                lane.layout,
                lane.size.endpoints,
                lane.size.policies,
                sample.len(),
                at(50),
                at(99),
            )?;
        }
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
