//! What the store does by itself.

use std::fmt;

use super::millis;
use crate::bench::leases::Leases;

const TEXT: &str = "\
## Leases\n\n\
The store by itself, in the memory of one process as a node daemon has it; no kernel object is made. \
Threads take leases of a dual-stack pool, one after the other, each durable before it is told. *one \
sync each* is a record of the same length appended and synced by itself, *etcd* one transaction for each \
address on a member with its data on the same disk, all in the same run.\n\n";

pub(super) fn report(f: &mut fmt::Formatter<'_>, leases: &Leases) -> fmt::Result {
    f.write_str(TEXT)?;
    writeln!(
        f,
        "| clients | n | p50 | p99 | leases/s | to one sync each |"
    )?;
    writeln!(f, "|--:|--:|--:|--:|--:|--:|")?;
    let alone = leases.alone.answers_per_second();
    let mut row = |name: &str, sample: &crate::bench::Sample| {
        let rate = sample.answers_per_second();
        let [p50, p99] = [50, 99].map(|percent| millis(sample.percentile(percent)));
        let ratio = rate / alone;
        writeln!(
            f,
            "| {name} | {} | {p50} | {p99} | {rate:.0} | {ratio:.1} |",
            sample.len()
        )
    };
    for rate in &leases.rates {
        row(&rate.clients.to_string(), &rate.sample)?;
    }
    row("one sync each", &leases.alone)?;
    for rate in &leases.per_address {
        row(&format!("{}, etcd", rate.clients), &rate.sample)?;
    }
    let replay = &leases.replay;
    writeln!(
        f,
        "\nA store of {} leases, {} records of its journal in no checkpoint, is open after {} ms; after \
         {} ms every record is read.\n",
        replay.leases,
        replay.records,
        millis(replay.opened),
        millis(replay.told)
    )
}
