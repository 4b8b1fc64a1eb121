//! `bulkhead guard ls`: which ports are guarded, as whose.

use std::net::IpAddr;

use bulkhead_attach::recorded_binding;
use bulkhead_model::{IfName, Mac};
use bulkhead_plan::{Guard, Multicast};
use serde::Serialize;

use super::{netns, role, settings, switch};
use crate::attachments::{Found, ports};
use crate::failure::Outcome;
use crate::output::{Format, Width, columns, lines, or_dash};
use crate::sources::Sources;

/// An attachment with a port.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    attachment: String,
    port: Option<IfName>,
    /// The namespace that the port is in, if it is a network's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    netns: Option<String>,
    /// `on`, `off` or `mac`.
    guard: &'static str,
    role: &'static str,
    /// Single addresses it may send from, those of its link among them.
    addresses: Vec<IpAddr>,
    mac: Option<Mac>,
    multicast: Option<&'static str>,
    /// The plugin that made it guarded: `bulkhead-bridge`, `bulkhead-guard` ...
    plugin: String,
    /// Why it cannot be alive.
    #[serde(skip_serializing_if = "Option::is_none")]
    dead: Option<String>,
}

const HEADINGS: [&str; 10] = [
    "ATTACHMENT",
    "PORT",
    "GUARD",
    "ROLE",
    "ADDRESSES",
    "NOTE",
    "MAC",
    "MULTICAST",
    "PLUGIN",
    "NETNS",
];
/// Columns of a narrow table.
const NARROW: usize = 6;

pub(super) fn run(sources: &Sources, format: Format) -> Outcome {
    let (found, failures) = match ports(sources, None) {
        Ok(selected) => selected,
        Err(failure) => return Err(failure).into(),
    };
    let rows: Vec<_> = found.iter().map(row).collect();
    let stdout = format.render(&rows, |width| text(&rows, width));
    Outcome::partial(stdout, &failures)
}

fn row(found: &Found) -> Row {
    let (record, settings) = (&found.record, settings(found));
    let guard = recorded_binding(record).map(|binding| binding.guard);
    let (addresses, multicast) = match &guard {
        Some(Guard::On(identity)) => (
            identity.addresses().collect(),
            Some(match identity.multicast {
                Multicast::None => "none",
                Multicast::LinkLocal => "link-local",
                Multicast::All => "all",
            }),
        ),
        _ => (Vec::new(), None),
    };
    Row {
        attachment: found.name(),
        port: record.names.port,
        netns: netns(found),
        guard: switch(&settings),
        role: role(&settings),
        addresses,
        mac: record.names.interface_mac,
        multicast,
        plugin: format!("bulkhead-{}", record.kind),
        dead: found.death.as_ref().map(ToString::to_string),
    }
}

fn text(rows: &[Row], width: Width) -> String {
    columns(&HEADINGS, NARROW, width, rows.iter().map(cells).collect())
}

fn cells(row: &Row) -> Vec<String> {
    let any = row.guard == "on" && row.addresses.is_empty();
    vec![
        row.attachment.clone(),
        or_dash(row.port.map(|port| port.to_string())),
        row.guard.to_owned(),
        row.role.to_owned(),
        if any {
            "any".to_owned()
        } else {
            lines(&row.addresses)
        },
        or_dash(row.dead.clone()),
        or_dash(row.mac.map(|mac| mac.to_string())),
        or_dash(row.multicast.map(str::to_owned)),
        row.plugin.clone(),
        or_dash(row.netns.clone()),
    ]
}
