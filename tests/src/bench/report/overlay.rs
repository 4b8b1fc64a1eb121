//! What goes from node to node.

use std::fmt;

use crate::bench::overlay::Path;

const TEXT: &str = "\
## Node to node\n\n\
Two nodes behind a router, a container on each; IPv4. One TCP stream, and requests of one byte over TCP with \
their answers, one after another. \"by hand\" is a VXLAN device without learning, one neighbour, forwarding \
entry and route, as flannel makes them, and no filter; \"what flannel sets up\" has a bridge for the containers, \
flannel's masquerade and its rules for forwarding beside them; \"veth routing\" has no encapsulation. Ours have \
the guard on every port and the filter on what comes in. Where something may be translated (`ipMasq`, \
host ports) or is judged by policies the kernel tracks every flow: of the others flannel's alone. Throughput is the median of the rounds. To reach: at least 0.97 of \
the throughput by hand, at most 1.05 of its latency.\n\n";

/// Whose figures the others are compared with.
const BY_HAND: &str = "VXLAN by hand";
const FLANNEL: &str = "what flannel sets up";

pub(super) fn report(f: &mut fmt::Formatter<'_>, rows: &[Path]) -> fmt::Result {
    f.write_str(TEXT)?;
    writeln!(
        f,
        "| | MTU | rounds | Gbit/s | to by hand | to flannel's | n | p50, µs | to by hand | to flannel's | p90 | p99 |"
    )?;
    writeln!(f, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
    let of = |name: &str| rows.iter().find(|row| row.name == name);
    for row in rows {
        let (bits, micros) = (median(&row.throughput), p50(row));
        let to = |name| {
            of(name).map_or((1.0, 1.0), |base| {
                (bits / median(&base.throughput), micros / p50(base))
            })
        };
        let ((bits_by_hand, micros_by_hand), (bits_flannel, micros_flannel)) =
            (to(BY_HAND), to(FLANNEL));
        let at = |percent| row.latency.percentile(percent).as_secs_f64() * 1e6;
        writeln!(
            f,
            "| {} | {} | {} | {:.2} | {bits_by_hand:.3} | {bits_flannel:.3} | {} | {micros:.1} | {micros_by_hand:.3} | {micros_flannel:.3} | {:.1} | {:.1} |",
            row.name,
            row.mtu,
            row.throughput.len(),
            bits / 1e9,
            row.latency.len(),
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
