//! `bulkhead pool show`: a pool, its nodes and what is reserved of it.

use std::collections::BTreeMap;
use std::fmt::Write;

use bulkhead_ipam::wire::admin::{
    Filter, ListedBlock, ListedPool, ListedReservation, NodeName, ReservedFor,
};
use clap::Args;
use serde::Serialize;

use super::ls::{free, state};
use crate::block::size;
use crate::daemon::Reach;
use crate::failure::Failure;
use crate::output::{Format, count, labels, lines, or_dash, table};

#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    /// The pool's name.
    pool: String,

    #[command(flatten)]
    reach: Reach,
}

/// A pool, and who has what of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    #[serde(flatten)]
    pool: ListedPool,
    /// By name.
    shares: Vec<Share>,
    reservations: Vec<ListedReservation>,
}

/// What a node has of a pool.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Share {
    #[serde(flatten)]
    pub(super) node: NodeName,
    pub(super) blocks: u64,
    pub(super) claimed: u64,
    pub(super) held: u64,
    /// As far as it is known.
    pub(super) cooling: u64,
    pub(super) reserved: u64,
}

pub(super) fn run(args: &ShowArgs, format: Format) -> Result<String, Failure> {
    let daemon = args.reach.daemon()?;
    let filter = Filter {
        pool: Some(args.pool.clone()),
        ..Filter::default()
    };
    let pool = daemon.pools(&filter)?.into_iter().next();
    let pool = pool.ok_or_else(|| Failure::NoPool(args.pool.clone()))?;
    let shown = Shown {
        pool,
        shares: shares(&daemon.blocks(&filter)?),
        reservations: daemon.reservations(&filter)?,
    };
    Ok(format.render(&shown, |_| shown.text()))
}

/// What each node has, by name.
pub(super) fn shares(blocks: &[ListedBlock]) -> Vec<Share> {
    let mut shares: BTreeMap<(&str, &str), Share> = BTreeMap::new();
    for block in blocks {
        let share = shares
            .entry((&block.node.name, &block.node.id))
            .or_default();
        share.node = block.node.clone();
        share.blocks += 1;
        share.claimed = share.claimed.saturating_add(size(block));
        share.held += block.held;
        share.cooling += block.cooling.unwrap_or_default();
        share.reserved += block.reserved;
    }
    shares.into_values().collect()
}

impl Shown {
    fn text(&self) -> String {
        let (spec, usage) = (&self.pool.spec, &self.pool.usage);
        let joined = |text: String| text.replace('\n', ", ");
        let fields = [
            ("pool", spec.name.clone()),
            ("state", state(self.pool.state).to_owned()),
            ("prefixes", joined(lines(spec.v4.iter().chain(&spec.v6)))),
            ("gateways", joined(lines(&spec.gateways))),
            ("block", self.block()),
            ("priority", spec.priority.to_string()),
            (
                "cooldown",
                or_dash(spec.cooldown_secs.map(|secs| format!("{secs} s"))),
            ),
            ("when full", when_full(spec.strict).to_owned()),
            ("node labels", joined(labels(&spec.node_labels))),
            ("namespaces", joined(lines(&spec.namespaces))),
            ("reserved", joined(lines(&spec.reserved))),
            (
                "addresses",
                format!(
                    "{}: {} held, {} cooling, {} free; {} in {} blocks, {} borrowed, {} leaked",
                    count(usage.size.into()),
                    usage.held,
                    usage.cooling,
                    count(free(usage).into()),
                    count(usage.claimed.into()),
                    usage.blocks,
                    usage.borrowed,
                    usage.leaked,
                ),
            ),
        ];
        let mut text = String::new();
        let tenant = spec.tenant.iter().map(|tenant| ("tenant", tenant.clone()));
        // Writing to a string does not fail.
        for (label, value) in fields.into_iter().chain(tenant) {
            let _ = writeln!(text, "{label:<11}  {value}");
        }
        if !self.shares.is_empty() {
            let rows: Vec<_> = self.shares.iter().map(Share::cells).collect();
            let _ = write!(text, "\n{}", table(&SHARES, &rows));
        }
        if !self.reservations.is_empty() {
            let rows: Vec<_> = self.reservations.iter().map(reservation).collect();
            let _ = write!(text, "\n{}", table(&RESERVATIONS, &rows));
        }
        text
    }

    fn block(&self) -> String {
        let bits = self.pool.spec.block_bits;
        let size = bits.and_then(|bits| 1_u64.checked_shl(bits.into()));
        let of_node = if self.pool.spec.node_addresses {
            "the first of each its node's"
        } else {
            "for new ones"
        };
        or_dash(size.map(|size| format!("{size} addresses, {of_node}")))
    }
}

const fn when_full(strict: bool) -> &'static str {
    if strict {
        "refuse"
    } else {
        "borrow of another node"
    }
}

const SHARES: [&str; 6] = ["NODE", "BLOCKS", "ADDRESSES", "HELD", "COOLING", "RESERVED"];

impl Share {
    fn cells(&self) -> Vec<String> {
        vec![
            self.node.name.clone(),
            self.blocks.to_string(),
            self.claimed.to_string(),
            self.held.to_string(),
            self.cooling.to_string(),
            self.reserved.to_string(),
        ]
    }
}

/// Of a table of reservations.
pub(crate) const RESERVATIONS: [&str; 6] = ["NAME", "POOL", "ADDRESSES", "FOR", "HELD", "REASON"];

/// A row of it.
pub(crate) fn reservation(row: &ListedReservation) -> Vec<String> {
    let reservation = &row.reservation;
    vec![
        reservation.name.clone(),
        or_dash(reservation.pool.clone()),
        lines(&reservation.spans),
        match &reservation.kept_for {
            None => "nobody".to_owned(),
            Some(ReservedFor::Pod(pod)) => crate::ipam::pod(pod),
            Some(ReservedFor::Labels(of)) => labels(of),
        },
        format!("{} of {}", row.held, row.size),
        or_dash(Some(reservation.reason.clone())),
    ]
}

#[cfg(test)]
mod tests {
    use bulkhead_ipam::wire::admin::{PodName, Reservation};

    use super::*;
    use crate::pool::map::sample;

    #[test]
    fn a_pool_is_shown_whole() {
        let shown = Shown {
            pool: sample::pool(),
            shares: shares(&sample::blocks()),
            reservations: vec![ListedReservation {
                reservation: Reservation {
                    name: "db".to_owned(),
                    pool: Some("default".to_owned()),
                    spans: vec!["10.4.1.0/30".to_owned()],
                    kept_for: Some(ReservedFor::Pod(PodName {
                        namespace: "web".to_owned(),
                        name: "db-0".to_owned(),
                    })),
                    reason: "firewalled elsewhere".to_owned(),
                },
                size: 4,
                held: 1,
            }],
        };
        assert_eq!(
            shown.text(),
            "\
pool         default
state        enabled
prefixes     10.4.0.0/22, fd00:4::/118
gateways     10.4.0.1, fd00:4::1
block        64 addresses, for new ones
priority     0
cooldown     60 s
when full    borrow of another node
node labels  rack=3
namespaces   web
reserved     -
addresses    1021: 93 held, 5 cooling, 923 free; 193 in 4 blocks, 1 borrowed, 0 leaked

NODE    BLOCKS  ADDRESSES  HELD  COOLING  RESERVED
node-1  2       65         62    2        1
node-2  1       64         30    3        0
node-3  1       64         1     0        0

NAME  POOL     ADDRESSES    FOR       HELD    REASON
db    default  10.4.1.0/30  web/db-0  1 of 4  firewalled elsewhere
"
        );
    }
}
