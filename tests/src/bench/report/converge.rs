//! How soon the kernel has what the store says.

use std::fmt;

use super::millis;
use crate::bench::overlay::Converged;

const TEXT: &str = "\
## From the store to the kernel\n\n\
One node of an overlay with its daemon and a real etcd; its other nodes are rows that are written into the \
store, one node once the one before is in the kernel. The time is from before the rows of a node are written \
until the kernel tells of the last of its routes, of IPv4 and IPv6: etcd's own write, its watch, and the \
daemon's pass over everything there is. *anew* is from the deletion of the device until all of it stands \
again, which is what a cold start programs: for each node a neighbour, a forwarding entry and two \
routes. To reach: 5,000 nodes in less than 1.5 s.\n\n";

pub(super) fn report(f: &mut fmt::Formatter<'_>, measured: &Converged) -> fmt::Result {
    f.write_str(TEXT)?;
    let at = |percent| millis(measured.latency.percentile(percent));
    writeln!(
        f,
        "| nodes that come | p50, ms | p90 | p99 | most |\n|--:|--:|--:|--:|--:|\n| {} | {} | {} | {} | {} |\n",
        measured.latency.len(),
        at(50),
        at(90),
        at(99),
        at(100),
    )?;
    writeln!(
        f,
        "| other nodes | daemon, resident MiB | anew, ms |\n|--:|--:|--:|"
    )?;
    for one in &measured.at {
        let tenths = one.kib * 10 / 1024;
        writeln!(
            f,
            "| {} | {}.{} | {} |",
            one.peers,
            tenths / 10,
            tenths % 10,
            millis(one.anew)
        )?;
    }
    writeln!(
        f,
        "\nWhile nothing happens, for {} s with as many nodes as that: {} rows written into the store beside \
         {} signs of life, {} changes of the kernel's links, addresses, neighbours, forwarding entries and \
         routes.\n",
        measured.idle.as_secs(),
        measured.writes,
        measured.lives,
        measured.changes
    )
}
