//! `bulkhead ipam show NETWORK`: what a network may give out, and how much of it is taken.

use std::fmt::Write;
use std::net::IpAddr;
use std::path::PathBuf;

use bulkhead_ipam::{Pool, Range, SetUsage, Snapshot};
use bulkhead_model::{NetworkName, Prefix};
use serde::Serialize;

use crate::failure::{Failure, Outcome};
use crate::output::{Format, count, or_dash, table};
use crate::sources::{Network, Sources};

pub(super) fn run(sources: &Sources, name: &NetworkName, format: Format) -> Outcome {
    let (networks, mut failures) = match sources.select(Some(name)) {
        Ok(selected) => selected,
        Err(failure) => return Err(failure).into(),
    };
    let mut found = Vec::new();
    for network in &networks {
        match read(network) {
            Ok(shown) => found.push(shown),
            Err(failure) => failures.push(failure),
        }
    }
    let stdout = format.render(&found, |_| {
        let texts: Vec<_> = found.iter().map(Shown::text).collect();
        texts.join("\n")
    });
    Outcome::partial(stdout, &failures)
}

/// A network in one state directory.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    network: NetworkName,
    file: Option<PathBuf>,
    state_dir: PathBuf,
    /// `None`: nothing is recorded.
    attachments: Option<u64>,
    /// `None`: none is recorded, because nothing was attached yet or another IPAM gives addresses.
    pool: Option<ShownPool>,
}

#[derive(Debug, Serialize)]
struct ShownPool {
    /// Whether the subnets were chosen by us.
    automatic: bool,
    sets: Vec<ShownSet>,
    /// `first-last`, or one address.
    exclude: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ShownSet {
    set: u32,
    ranges: Vec<ShownRange>,
    size: u128,
    held: u64,
    cooling: u64,
    free: u128,
}

#[derive(Debug, Serialize)]
struct ShownRange {
    subnet: Prefix,
    first: IpAddr,
    last: IpAddr,
    gateway: Option<IpAddr>,
}

fn read(network: &Network) -> Result<Shown, Failure> {
    let file = network.list.as_ref().map(|list| list.path.clone());
    let mut shown = Shown {
        network: network.name.clone(),
        file,
        state_dir: network.state_dir.clone(),
        attachments: None,
        pool: None,
    };
    if let Some(snapshot) = network.read()? {
        let usage = snapshot.usage().map_err(|source| Failure::Store {
            network: network.name.clone(),
            source,
        })?;
        shown.attachments = Some(snapshot.live_count());
        shown.pool = recorded_pool(&snapshot, &usage);
    }
    Ok(shown)
}

fn recorded_pool(snapshot: &Snapshot, usage: &[SetUsage]) -> Option<ShownPool> {
    let pool = snapshot.pool()?;
    Some(ShownPool {
        automatic: pool.automatic,
        sets: usage.iter().map(|usage| shown_set(pool, usage)).collect(),
        exclude: pool.exclude.iter().map(ToString::to_string).collect(),
    })
}

fn shown_set(pool: &Pool, usage: &SetUsage) -> ShownSet {
    let ranges = pool.ranges().filter(|(set, _)| *set == usage.set);
    ShownSet {
        set: usage.set,
        ranges: ranges.map(|(_, range)| ShownRange::from(range)).collect(),
        size: usage.size,
        held: usage.held,
        cooling: usage.cooling,
        free: usage.free,
    }
}

impl From<&Range> for ShownRange {
    fn from(range: &Range) -> Self {
        Self {
            subnet: range.subnet,
            first: range.span.first(),
            last: range.span.last(),
            gateway: range.gateway,
        }
    }
}

const HEADINGS: [&str; 8] = [
    "SET", "SUBNET", "RANGE", "GATEWAY", "SIZE", "HELD", "COOLING", "FREE",
];

impl Shown {
    fn text(&self) -> String {
        let file = self.file.as_ref().map(|path| path.display().to_string());
        let attachments = self.attachments.map(|number| number.to_string());
        let mut text = format!(
            "network      {}\nfile         {}\nstate dir    {}\nattachments  {}\n",
            self.network,
            file.unwrap_or_else(|| "- (no configuration)".to_owned()),
            self.state_dir.display(),
            attachments.unwrap_or_else(|| "- (nothing is recorded)".to_owned()),
        );
        match &self.pool {
            None => text.push_str("pool         - (none is recorded)\n"),
            Some(pool) => pool.append(&mut text),
        }
        text
    }
}

impl ShownPool {
    fn append(&self, text: &mut String) {
        let chosen = if self.automatic {
            "chosen automatically"
        } else {
            "as configured"
        };
        let rows: Vec<_> = self.sets.iter().map(ShownSet::cells).collect();
        let excluded = or_dash(Some(self.exclude.join(", ")));
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "pool         {chosen}\nexcluded     {excluded}\n\n{}",
            table(&HEADINGS, &rows)
        );
    }
}

impl ShownSet {
    fn cells(&self) -> Vec<String> {
        let lines = |line: fn(&ShownRange) -> String| {
            let lines: Vec<_> = self.ranges.iter().map(line).collect();
            lines.join("\n")
        };
        vec![
            self.set.to_string(),
            lines(|range| range.subnet.to_string()),
            lines(|range| format!("{}-{}", range.first, range.last)),
            lines(|range| or_dash(range.gateway.map(|gateway| gateway.to_string()))),
            count(self.size),
            self.held.to_string(),
            self.cooling.to_string(),
            count(self.free),
        ]
    }
}
