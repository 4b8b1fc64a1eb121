//! What runtimes ask for.

use std::fmt;

use bulkhead_ipam::PodRef;
use bulkhead_ipam::cluster::ledger::{PoolAsk, PoolChoice};
use bulkhead_ipam::cluster::schema::Labels;
use bulkhead_model::AttachmentKey;

use crate::random::Random;
use crate::world::POOL;

/// How pods come and go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// About so many on each node, which live for a while.
    Churn { pods: u64 },
    /// So many on each node, at once, that stay.
    Burst { pods: u64 },
    /// One on each node every so often, that stay.
    Trickle { every_ms: u64 },
    /// Nothing comes or goes.
    Rest,
}

/// What a load cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) adds: u64,
    /// All but signs of life.
    pub(crate) transactions: u64,
    pub(crate) signs_of_life: u64,
    pub(crate) conflicts: u64,
    pub(crate) claims: u64,
    /// The longest time from a durable lease to its row.
    pub(crate) lag_ms: u64,
}

impl Cost {
    /// The same load with what came after it because of it, such as blocks given back.
    pub(crate) fn with_aftermath(mut self, after: &Self) -> Self {
        self.transactions += after.transactions;
        self.signs_of_life += after.signs_of_life;
        self
    }

    /// Transactions for a thousand ADDs.
    #[allow(clippy::cast_precision_loss)] // counts of a test
    pub(crate) fn per_thousand(&self) -> f64 {
        self.transactions as f64 * 1_000.0 / (self.adds.max(1)) as f64
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "adds={} transactions={} signs_of_life={} transactions_per_1000_adds={:.1} claims={} conflicts={} published_within_ms={}",
            self.adds,
            self.transactions,
            self.signs_of_life,
            self.per_thousand(),
            self.claims,
            self.conflicts,
            self.lag_ms
        )
    }
}

/// An ask of a node's nth pod.
pub(crate) fn ask(node: usize, nth: u64) -> PoolAsk {
    PoolAsk {
        key: AttachmentKey {
            network: "blue".parse().expect("a name"),
            container: format!("n{node}-c{nth}").parse().expect("an id"),
            interface: "eth0".parse().expect("a name"),
        },
        pools: PoolChoice::Named(vec![POOL.parse().expect("a name")]),
        pod: None,
        labels: Labels::new(),
        requested: Vec::new(),
        sticky: false,
        segment: false,
    }
}

/// The same, of a pod that keeps its address on whichever node it runs, or that names one.
pub(crate) fn special(mut ask: PoolAsk, random: &mut Random, sets: u64) -> PoolAsk {
    if random.per_mille(40) {
        let name = format!("web-{}", random.between(0, sets));
        ask.pod = Some(PodRef {
            namespace: "team-a".to_owned(),
            name,
            uid: None,
        });
        ask.sticky = true;
    } else if random.per_mille(10) {
        let ordinal = u32::try_from(random.between(0, 2_048)).expect("it is small");
        let address = u32::from_be_bytes([10, 64, 0, 0]) + ordinal;
        ask.requested = vec![std::net::Ipv4Addr::from_bits(address).into()];
    }
    ask
}
