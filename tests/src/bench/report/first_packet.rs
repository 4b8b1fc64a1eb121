//! What many host ports cost.

use std::fmt;
use std::time::Duration;

use super::{growth, millis};
use crate::bench::first_packet::Beside;
use crate::bench::sample::Sample;

const TEXT: &str = "\
## Many host ports\n\n\
Two containers have the mapped ports of a node between them, half TCP, half UDP; IPv4 only. A first \
packet goes from outside through the last one of them: a datagram from a source port that was not \
used before, answered; or a connection. One thread sends, receives, answers and receives, so that no \
other's waking up is measured. \"to fewest\" is the p50 over that beside the fewest ports: 1 is \
flat.\n\n";

const CALLS: &str = "\
### ADD and DEL beside them\n\n\
One more container, with two host ports; the reference by `bridge` and `portmap`. Connection tracking \
still knows the flows that have just been measured, thousands as on any node at work: for a UDP host \
port they are looked through.\n\n";

pub(super) fn report(f: &mut fmt::Formatter<'_>, rows: &[Beside]) -> fmt::Result {
    f.write_str(TEXT)?;
    first_packets(f, rows)?;
    calls(f, rows)
}

fn first_packets(f: &mut fmt::Formatter<'_>, rows: &[Beside]) -> fmt::Result {
    writeln!(f, "### First packet, microseconds\n")?;
    writeln!(
        f,
        "| | mapped | n | UDP p50 | p90 | to fewest | TCP p50 | p90 | to fewest |"
    )?;
    writeln!(f, "|---|--:|--:|--:|--:|--:|--:|--:|--:|")?;
    for row in rows {
        write!(f, "| {} | {} | {} |", row.name, row.mapped, row.udp.len())?;
        for kind in [udp, tcp] {
            let sample = kind(row);
            let [p50, p90] = [50, 90].map(|percent| micros(sample.percentile(percent)));
            write!(f, " {p50} | {p90} | {} |", to_fewest(rows, row, kind))?;
        }
        writeln!(f)?;
    }
    writeln!(f)
}

fn calls(f: &mut fmt::Formatter<'_>, rows: &[Beside]) -> fmt::Result {
    f.write_str(CALLS)?;
    writeln!(
        f,
        "| | mapped | n | ADD p50 | p90 | to fewest | DEL p50 | p90 | to fewest | ADD of half of them |"
    )?;
    writeln!(f, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
    for row in rows.iter().filter(|row| !row.add.is_empty()) {
        write!(f, "| {} | {} | {} |", row.name, row.mapped, row.add.len())?;
        for kind in [add, del] {
            let sample = kind(row);
            let [p50, p90] = [50, 90].map(|percent| millis(sample.percentile(percent)));
            write!(f, " {p50} | {p90} | {} |", to_fewest(rows, row, kind))?;
        }
        writeln!(f, " {} |", millis(row.filled.percentile(50)))?;
    }
    writeln!(f)
}

/// The growth of `row` over the row of the same contestant with the fewest ports.
fn to_fewest(rows: &[Beside], row: &Beside, kind: fn(&Beside) -> &Sample) -> String {
    let same = rows.iter().filter(|other| other.name == row.name);
    let fewest = same.min_by_key(|other| other.mapped).unwrap_or(row);
    growth(kind(row), kind(fewest))
}

fn udp(row: &Beside) -> &Sample {
    &row.udp
}

fn tcp(row: &Beside) -> &Sample {
    &row.tcp
}

fn add(row: &Beside) -> &Sample {
    &row.add
}

fn del(row: &Beside) -> &Sample {
    &row.del
}

fn micros(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e6)
}
