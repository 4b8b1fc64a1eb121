//! `bulkhead ipam show ADDRESS`: who has an address, and who had it when. Networks may overlap, so
//! there may be several answers.

use std::fmt::Write;
use std::net::IpAddr;
use std::path::PathBuf;

use bulkhead_ipam::{AttachmentRecord, Change, Event, Pool, Snapshot, StoreError};
use bulkhead_model::{AttachmentKey, NetworkName, Prefix};
use serde::Serialize;

use super::lease::{Dead, Lease, short};
use crate::failure::{Failure, Outcome};
use crate::output::{Format, or_dash, table};
use crate::sources::{Network, Sources};
use crate::time;

pub(super) fn run(sources: &Sources, address: IpAddr, format: Format) -> Outcome {
    let (networks, mut failures) = match sources.select(None) {
        Ok(selected) => selected,
        Err(failure) => return Err(failure).into(),
    };
    let mut found = Vec::new();
    for network in &networks {
        match read(network, address) {
            Ok(shown) => found.extend(shown),
            Err(failure) => failures.push(failure),
        }
    }
    if found.is_empty() && failures.is_empty() {
        failures.push(Failure::NoAddress(address));
    }
    let stdout = format.render(&found, |_| {
        let texts: Vec<_> = found.iter().map(Shown::text).collect();
        texts.join("\n")
    });
    Outcome::partial(stdout, &failures)
}

/// The address in one network.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    address: IpAddr,
    network: NetworkName,
    state_dir: PathBuf,
    state: State,
    subnet: Option<Prefix>,
    holder: Option<Lease>,
    /// Oldest first.
    history: Vec<Past>,
}

/// What an address is in a network.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// An attachment has it.
    Held,
    /// The pool's gateway.
    Gateway,
    /// The pool never gives it out.
    Excluded,
    /// The pool has it to give, at once or when it has cooled down.
    NotHeld,
    /// In a subnet of the pool, and in none of its ranges.
    OutsideRanges,
    /// It was leased once, and no subnet of the pool holds it now.
    OutsidePool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Past {
    /// RFC 3339, UTC.
    at: String,
    /// `acquired` or `released`.
    change: &'static str,
    /// Why it was released.
    reason: Option<String>,
    #[serde(flatten)]
    key: AttachmentKey,
    sequence: u64,
    #[serde(skip)]
    at_unix_ms: u64,
}

fn read(network: &Network, address: IpAddr) -> Result<Option<Shown>, Failure> {
    let Some(snapshot) = network.read()? else {
        return Ok(None);
    };
    shown(network, &snapshot, address).map_err(|source| Failure::Store {
        network: network.name.clone(),
        source,
    })
}

fn shown(
    network: &Network,
    snapshot: &Snapshot,
    address: IpAddr,
) -> Result<Option<Shown>, StoreError> {
    let holder = match holder_of(snapshot, address)? {
        Some(record) => Some(Dead::of(snapshot)?.lease(record, &network.state_dir)),
        None => None,
    };
    let history = snapshot.history(address)?;
    let state = if holder.is_some() {
        Some(State::Held)
    } else {
        let in_pool = snapshot.pool().and_then(|pool| state_in(pool, address));
        in_pool.or_else(|| (!history.is_empty()).then_some(State::OutsidePool))
    };
    Ok(state.map(|state| Shown {
        address,
        network: network.name.clone(),
        state_dir: network.state_dir.clone(),
        state,
        subnet: subnet_of(snapshot.pool(), address),
        holder,
        history: history.into_iter().map(Past::from).collect(),
    }))
}

/// The store's own index knows its own leases; an address that another IPAM gave is in the record.
fn holder_of(snapshot: &Snapshot, address: IpAddr) -> Result<Option<AttachmentRecord>, StoreError> {
    if let Some(record) = snapshot.holder(address)? {
        return Ok(Some(record));
    }
    let has = |record: &AttachmentRecord| {
        let mut addresses = record.addresses.iter();
        addresses.any(|leased| leased.address.address() == address)
    };
    Ok(snapshot.attachments()?.into_iter().find(has))
}

fn state_in(pool: &Pool, address: IpAddr) -> Option<State> {
    let is_gateway = |gateway: Option<IpAddr>| gateway == Some(address);
    if pool.ranges().any(|(_, range)| is_gateway(range.gateway)) {
        Some(State::Gateway)
    } else if pool.excluded(address).is_some() {
        Some(State::Excluded)
    } else {
        let subnet = subnet_of(Some(pool), address);
        match pool.range_of(address) {
            Some(_) => Some(State::NotHeld),
            None => subnet.map(|_| State::OutsideRanges),
        }
    }
}

fn subnet_of(pool: Option<&Pool>, address: IpAddr) -> Option<Prefix> {
    let mut subnets = pool?.ranges().map(|(_, range)| range.subnet);
    subnets.find(|subnet| subnet.contains(address))
}

impl From<Event> for Past {
    fn from(event: Event) -> Self {
        let (change, reason) = match event.change {
            Change::Acquired => ("acquired", None),
            Change::Released(reason) => ("released", Some(reason)),
        };
        Self {
            at: time::millis(event.at_unix_ms),
            at_unix_ms: event.at_unix_ms,
            change,
            reason,
            key: event.key,
            sequence: event.sequence,
        }
    }
}

const HEADINGS: [&str; 5] = ["AT", "CHANGE", "CONTAINER", "INTERFACE", "REASON"];

impl Shown {
    fn text(&self) -> String {
        let state = match self.state {
            State::Held => "held",
            State::Gateway => "gateway",
            State::Excluded => "excluded",
            State::NotHeld => "not held",
            State::OutsideRanges => "outside the ranges",
            State::OutsidePool => "outside the pool",
        };
        let subnet = or_dash(self.subnet.map(|subnet| subnet.to_string()));
        let mut text = format!(
            "address    {}\nnetwork    {}\nsubnet     {subnet}\nstate      {state}\n",
            self.address, self.network,
        );
        // Writing to a string does not fail.
        if let Some(lease) = &self.holder {
            let _ = write!(text, "{}", holder(lease));
        }
        if !self.history.is_empty() {
            let rows: Vec<_> = self.history.iter().map(Past::cells).collect();
            let _ = write!(text, "\n{}", table(&HEADINGS, &rows));
        }
        text
    }
}

fn holder(lease: &Lease) -> String {
    let netns = lease.netns.as_ref();
    format!(
        "container  {}\ninterface  {}\nnetns      {}\nsince      {}\nholder     {}\n",
        lease.key.container,
        lease.key.interface,
        or_dash(netns.map(|path| path.display().to_string())),
        time::seconds(lease.since_unix_ms),
        lease.state.as_str(),
    )
}

impl Past {
    fn cells(&self) -> Vec<String> {
        vec![
            time::seconds(self.at_unix_ms),
            self.change.to_owned(),
            short(&self.key.container).to_owned(),
            self.key.interface.to_string(),
            or_dash(self.reason.clone()),
        ]
    }
}
