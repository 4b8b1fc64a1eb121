//! What goes from node to node.

use std::fmt;

use crate::bench::overlay::Path;

const TEXT: &str = "\
## Node to node\n\n\
Two nodes behind a router, a container on each; IPv4. One TCP stream, and requests of one byte over TCP with \
their answers, one after another. \"by hand\" is a VXLAN device without learning, one neighbour, forwarding \
entry and route, as flannel makes them, and no filter; \"veth routing\" has no encapsulation. Ours has its \
guard on every port and its filter on what comes in; for `ipMasq` and \
host ports the kernel tracks every flow, which no other row has. Throughput is the median of the rounds. To reach: at \
least 0.97 of the throughput by hand, at most 1.05 of its latency.\n\n";

/// Whose figures the others are compared with.
const BY_HAND: &str = "VXLAN by hand";

pub(super) fn report(f: &mut fmt::Formatter<'_>, rows: &[Path]) -> fmt::Result {
    f.write_str(TEXT)?;
    writeln!(
        f,
        "| | MTU | rounds | Gbit/s | to by hand | n | p50, µs | to by hand | p90 | p99 |"
    )?;
    writeln!(f, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
    let base = rows.iter().find(|row| row.name == BY_HAND);
    for row in rows {
        let (bits, micros) = (median(&row.throughput), p50(row));
        let (bits_base, micros_base) =
            base.map_or((bits, micros), |base| (median(&base.throughput), p50(base)));
        let at = |percent| row.latency.percentile(percent).as_secs_f64() * 1e6;
        writeln!(
            f,
            "| {} | {} | {} | {:.2} | {:.3} | {} | {micros:.1} | {:.3} | {:.1} | {:.1} |",
            row.name,
            row.mtu,
            row.throughput.len(),
            bits / 1e9,
            bits / bits_base,
            row.latency.len(),
            micros / micros_base,
            at(90),
            at(99),
        )?;
    }
    writeln!(f)
}

fn p50(row: &Path) -> f64 {
    row.latency.percentile(50).as_secs_f64() * 1e6
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
