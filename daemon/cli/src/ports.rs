//! `bulkhead ports`: which port of the node leads to which container.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use bulkhead_model::{Family, HostAddress, NetworkName, PortMapping};
use clap::Subcommand;
use serde::Serialize;

use crate::attachments::{Found, Looked};
use crate::failure::Outcome;
use crate::output::{Format, or_dash, table};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List host ports and where they lead.
    Ls {
        /// Only this network's.
        network: Option<NetworkName>,

        #[command(flatten)]
        looked: Looked,
    },
}

/// A host port.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    protocol: String,
    /// The host's address, an unspecified one for every one of its family, or `*`.
    host_address: String,
    host_port: u16,
    #[serde(skip)]
    host: String,
    /// The container's addresses and port, one for each family.
    to: Vec<SocketAddr>,
    attachment: String,
    /// Why the holder cannot be alive.
    #[serde(skip_serializing_if = "Option::is_none")]
    dead: Option<String>,
}

pub(crate) fn run(command: &Command, format: Format) -> Outcome {
    let Command::Ls { network, looked } = command;
    let (found, failures) = match looked.select(None, network.as_ref()) {
        Ok(selected) => selected,
        Err(failure) => return Err(failure).into(),
    };
    let mut all: Vec<_> = found.iter().flat_map(mappings_of).collect();
    all.sort_by_key(|(mapping, _)| {
        (
            mapping.host.protocol,
            mapping.host.number,
            mapping.host.address,
        )
    });
    let rows: Vec<_> = all
        .iter()
        .map(|(mapping, found)| row(mapping, found))
        .collect();
    let stdout = format.render(&rows, |_| {
        let rows: Vec<_> = rows.iter().map(cells).collect();
        table(&["PROTOCOL", "HOST", "TO", "ATTACHMENT", "NOTE"], &rows)
    });
    Outcome::partial(stdout, &failures)
}

fn mappings_of(found: &Found) -> impl Iterator<Item = (PortMapping, &Found)> {
    let mappings = found.record.names.host_ports.iter();
    mappings.map(move |mapping| (*mapping, found))
}

fn row(mapping: &PortMapping, found: &Found) -> Row {
    let addresses = found
        .record
        .addresses
        .iter()
        .map(|leased| leased.address.address());
    let first = |family| {
        addresses
            .clone()
            .find(|address| Family::of(*address) == family)
    };
    let families = [Family::V4, Family::V6].into_iter();
    let open = families.filter(|family| mapping.host.address.has_family(*family));
    let to = open
        .filter_map(first)
        .map(|address| (address, mapping.container_port.get()).into());
    Row {
        protocol: mapping.host.protocol.to_string(),
        host_address: match mapping.host.address {
            HostAddress::Any => "*".to_owned(),
            HostAddress::Every(Family::V4) => Ipv4Addr::UNSPECIFIED.to_string(),
            HostAddress::Every(Family::V6) => Ipv6Addr::UNSPECIFIED.to_string(),
            HostAddress::One(one) => one.to_string(),
        },
        host: format!("{}:{}", mapping.host.address, mapping.host.number),
        host_port: mapping.host.number.get(),
        to: to.collect(),
        attachment: found.name(),
        dead: found.death.as_ref().map(ToString::to_string),
    }
}

fn cells(row: &Row) -> Vec<String> {
    let to: Vec<_> = row.to.iter().map(ToString::to_string).collect();
    vec![
        row.protocol.clone(),
        row.host.clone(),
        or_dash(Some(to.join("\n"))),
        row.attachment.clone(),
        or_dash(row.dead.clone()),
    ]
}
