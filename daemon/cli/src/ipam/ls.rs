//! `bulkhead ipam ls`: who has which address now.

use std::net::IpAddr;

use bulkhead_model::NetworkName;

use super::lease::{Dead, Lease, short};
use crate::failure::{Failure, Outcome};
use crate::output::{Format, or_dash, table};
use crate::sources::{Network, Sources};
use crate::time;

/// How a table prints container ids.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ids {
    Short,
    Full,
}

pub(super) fn run(
    sources: &Sources,
    only: Option<&NetworkName>,
    ids: Ids,
    format: Format,
) -> Outcome {
    let (networks, mut failures) = match sources.select(only) {
        Ok(selected) => selected,
        Err(failure) => return Err(failure).into(),
    };
    let mut leases = Vec::new();
    for network in &networks {
        match leases_of(network) {
            Ok(found) => leases.extend(found),
            Err(failure) => failures.push(failure),
        }
    }
    leases.sort_by_cached_key(order);
    let stdout = format.render(&leases, |_| {
        let rows: Vec<_> = leases.iter().map(|lease| cells(lease, ids)).collect();
        table(&HEADINGS, &rows)
    });
    Outcome::partial(stdout, &failures)
}

const HEADINGS: [&str; 7] = [
    "NETWORK",
    "ADDRESS",
    "CONTAINER",
    "INTERFACE",
    "NETNS",
    "SINCE",
    "STATE",
];

fn leases_of(network: &Network) -> Result<Vec<Lease>, Failure> {
    let Some(snapshot) = network.read()? else {
        return Ok(Vec::new());
    };
    let read = || {
        let dead = Dead::of(&snapshot)?;
        let records = snapshot.attachments()?.into_iter();
        Ok(records
            .map(|record| dead.lease(record, &network.state_dir))
            .collect())
    };
    read().map_err(|source| Failure::Store {
        network: network.name.clone(),
        source,
    })
}

/// By network, then by address as a number; those without any come first.
fn order(lease: &Lease) -> (String, Option<IpAddr>, String) {
    let first = lease.addresses.first();
    (
        lease.key.network.to_string(),
        first.map(|address| address.address()),
        format!("{} {}", lease.key.container, lease.key.interface),
    )
}

fn cells(lease: &Lease, ids: Ids) -> Vec<String> {
    let addresses: Vec<_> = lease.addresses.iter().map(ToString::to_string).collect();
    let container = match ids {
        Ids::Short => short(&lease.key.container),
        Ids::Full => lease.key.container.as_str(),
    };
    let netns = lease.netns.as_ref();
    vec![
        lease.key.network.to_string(),
        or_dash(Some(addresses.join("\n"))),
        container.to_owned(),
        lease.key.interface.to_string(),
        or_dash(netns.map(|path| path.display().to_string())),
        time::seconds(lease.since_unix_ms),
        lease.state.as_str().to_owned(),
    ]
}
