//! `bulkhead guard counters`: what was dropped, by reason and by port.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_kernel::{Deletion, Kernel, ObserveError};
use bulkhead_model::IfName;
use bulkhead_nft::{Count, Datum, Key, TableId};
use bulkhead_plan::{Ns, Reason, filter_table, segment_table};
use serde::Serialize;

use super::{netns, spaces};
use crate::attachments::{Found, Subject, ports};
use crate::failure::{Failure, Outcome};
use crate::output::{Format, or_dash, table};
use crate::sources::Sources;

/// What was dropped.
#[derive(Debug, Serialize)]
struct Told {
    /// Of all ports since the table was loaded; not for one attachment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    totals: Vec<Total>,
    /// Of each port, or other link that something came in by, for as long as it is remembered.
    ports: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Total {
    reason: &'static str,
    packets: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct Row {
    port: IfName,
    attachment: Option<String>,
    reason: &'static str,
    packets: u64,
    bytes: u64,
}

pub(super) fn run(subject: Option<&Subject>, sources: &Sources, format: Format) -> Outcome {
    let (found, failures) = match ports(sources, subject) {
        Ok(selected) => selected,
        Err(failure) => return Err(failure).into(),
    };
    let told = match tell(subject, &found) {
        Ok(told) => told,
        Err(source) => return Err(Failure::Kernel(source)).into(),
    };
    let stdout = format.render(&told, |_| text(&told));
    Outcome::partial(stdout, &failures)
}

fn tell(subject: Option<&Subject>, found: &[Found]) -> Result<Told, ObserveError> {
    let mut kernel = Kernel::new(Deletion::Blocking);
    let spaces = spaces(found);
    let by_port = match subject {
        None => all_names(found),
        Some(_) => names(found),
    };
    let mut told = Told {
        totals: Vec::new(),
        ports: Vec::new(),
    };
    for reason in Reason::ALL {
        if subject.is_none() {
            let mut counts = Vec::new();
            for (ns, table) in places(&spaces, reason) {
                counts.extend(kernel.rule_counts(ns, &table, &reason.chain())?);
            }
            let total = sum(counts.into_iter().flatten());
            told.totals.push(Total {
                reason: reason.word(),
                packets: total.packets,
                bytes: total.bytes,
            });
        }
        let mut tallies = Vec::new();
        for (ns, table) in places(&spaces, reason) {
            tallies.extend(kernel.tallies(ns, &table, &reason.tally())?);
        }
        for (key, count) in tallies {
            let Some(port) = port_of(&key) else { continue };
            let attachment = by_port.get(&port);
            if subject.is_none() || attachment.is_some() {
                told.ports.push(Row {
                    port,
                    attachment: attachment.cloned(),
                    reason: reason.word(),
                    packets: count.packets,
                    bytes: count.bytes,
                });
            }
        }
    }
    told.totals.retain(|total| total.packets > 0);
    told.ports.sort_by_key(|row| (row.port, row.reason));
    Ok(told)
}

/// Where a reason is counted: in each namespace by port, and what came from outside for a dead address by the
/// link it came in by.
fn places(spaces: &BTreeSet<Ns>, reason: Reason) -> impl Iterator<Item = (&Ns, TableId)> {
    let tables = move || {
        let outside = (reason == Reason::Dead).then(segment_table);
        std::iter::once(filter_table()).chain(outside)
    };
    let of = move |ns| tables().map(move |table| (ns, table));
    spaces.iter().flat_map(of)
}

fn sum(counts: impl Iterator<Item = Count>) -> Count {
    counts.fold(Count::default(), |sum, one| Count {
        packets: sum.packets + one.packets,
        bytes: sum.bytes + one.bytes,
    })
}

/// Which attachment has which port.
fn names(found: &[Found]) -> BTreeMap<IfName, String> {
    let named = found.iter();
    named
        .filter_map(|found| Some((found.record.names.port?, found.name())))
        .collect()
}

/// The same, and which segment has which link to the node: that is guarded too.
pub(super) fn all_names(found: &[Found]) -> BTreeMap<IfName, String> {
    let on_segments = found.iter().filter(|found| netns(found).is_some());
    let exits = on_segments.map(|found| {
        let exit = found.key().network.exit();
        (exit.id().port(), crate::ipam::name(&exit))
    });
    exits.chain(names(found)).collect()
}

fn port_of(key: &Key) -> Option<IfName> {
    match key.parts().first() {
        Some(Datum::IfName(port)) => Some(*port),
        _ => None,
    }
}

fn text(told: &Told) -> String {
    let rows: Vec<_> = told
        .ports
        .iter()
        .map(|row| {
            vec![
                or_dash(row.attachment.clone()),
                row.port.to_string(),
                row.reason.to_owned(),
                row.packets.to_string(),
                row.bytes.to_string(),
            ]
        })
        .collect();
    let headings = ["ATTACHMENT", "PORT", "REASON", "PACKETS", "BYTES"];
    let mut text = table(&headings, &rows);
    if !told.totals.is_empty() {
        let rows: Vec<_> = told
            .totals
            .iter()
            .map(|total| {
                vec![
                    total.reason.to_owned(),
                    total.packets.to_string(),
                    total.bytes.to_string(),
                ]
            })
            .collect();
        text += "\n";
        text += &table(&["ALL PORTS", "PACKETS", "BYTES"], &rows);
    }
    text
}
