//! What is counted and measured, in the `OpenMetrics` text format. docs/metrics.md lists all of it.

mod http;
mod labels;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

pub(crate) use http::{Endpoint, serve};
pub(crate) use labels::{
    CodeLabels, EndpointLabels, NetworkLabels, OutcomeLabels, PoolLabels, ReasonLabels, StageLabels,
};

/// From half a millisecond, which a warm DEL takes, to what a runtime waits at most.
const BUCKETS: [f64; 15] = [
    0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 4.0, 16.0,
    64.0,
];

/// A gauge of seconds.
pub(crate) type Seconds = Gauge<f64, AtomicU64>;

/// Latencies by verb and stage.
type Latencies = Family<StageLabels, Histogram, fn() -> Histogram>;

/// All of it.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// How long calls took, by verb and stage.
    latencies: Latencies,
    /// Calls answered, by verb and code.
    pub(crate) calls: Family<CodeLabels, Counter>,
    /// Calls that are queued or being served.
    pub(crate) calls_in_flight: Gauge,
    /// Calls that wait for a foreign IPAM plugin.
    pub(crate) delegated: Gauge,
    /// Calls that ended in a panic.
    pub(crate) panics: Counter,
    /// Connections open.
    pub(crate) connections: Gauge,
    /// Connections refused, by reason.
    pub(crate) refused: Family<ReasonLabels, Counter>,
    /// Attachments recorded.
    pub(crate) attachments: Gauge,
    /// Addresses of this node's share of each pool, by state.
    pub(crate) addresses: Family<PoolLabels, Gauge>,
    /// Blocks that the node owns, by pool.
    pub(crate) blocks: Family<PoolLabels, Gauge>,
    /// Attempts to claim a block, by outcome.
    pub(crate) claims: Family<OutcomeLabels, Counter>,
    /// Transactions with the store, by what became of them.
    pub(crate) transactions: Family<OutcomeLabels, Counter>,
    /// Whether the store serves.
    pub(crate) store_up: Gauge,
    /// Whether each of its members does.
    pub(crate) endpoint_up: Family<EndpointLabels, Gauge>,
    /// The median of the last answers of each.
    pub(crate) endpoint_seconds: Family<EndpointLabels, Seconds>,
    /// Requests in a row that each has not answered.
    pub(crate) endpoint_failures: Family<EndpointLabels, Gauge>,
    /// Rows that wait to be published.
    pub(crate) unpublished: Gauge,
    /// How long the oldest of them has waited.
    pub(crate) publish_lag: Seconds,
    /// Tombstones taken in.
    pub(crate) spool_consumed: Counter,
    /// Tombstones that wait.
    pub(crate) spool_waiting: Gauge,
    /// Attachments compared with their want.
    pub(crate) examined: Counter,
    /// Attachments found otherwise.
    pub(crate) drift_found: Counter,
    /// Attachments mended.
    pub(crate) drift_mended: Counter,
    /// Attachments reclaimed from dead containers, by fact.
    pub(crate) reclaimed: Family<ReasonLabels, Counter>,
    /// Packets that the guard dropped, by reason.
    pub(crate) guard_drops: Family<ReasonLabels, Counter>,
    /// Overlays, or what filters them, found otherwise than they had been left, and mended.
    pub(crate) overlay_mended: Counter,
    /// Policies found otherwise in the kernel than they had been left, and mended.
    pub(crate) policy_mended: Counter,
    /// Connections cut because they were no longer allowed.
    pub(crate) policy_cut: Counter,
    /// How long endpoints took from their call to their row in the store.
    pub(crate) endpoint_published: Histogram,
    /// Endpoints whose rows wait to be published.
    pub(crate) endpoints_waiting: Gauge,
    /// The revision of the policies that is known.
    pub(crate) policy_known: Gauge,
    /// The revision of the policies that the kernel enforces.
    pub(crate) policy_enforced: Gauge,
    /// Other nodes that each network leads to.
    pub(crate) overlay_peers: Family<NetworkLabels, Gauge>,
    /// Router solicitations, by what became of them.
    pub(crate) solicitations: Family<OutcomeLabels, Counter>,
    /// Router advertisements sent, asked for or not.
    pub(crate) advertisements: Counter,
    /// Requests by `DHCPv6`, by what became of them.
    pub(crate) information_requests: Family<OutcomeLabels, Counter>,
    /// Deletions that the kernel is still busy with.
    pub(crate) reaping: Gauge,
    /// Memory that the process occupies.
    pub(crate) resident: Gauge,
}

/// How a metric is called and explained, once.
struct Registering(Registry);

impl Registering {
    fn add<M>(&mut self, name: &str, help: &str) -> M
    where
        M: prometheus_client::registry::Metric + Clone + Default,
    {
        let metric = M::default();
        self.0.register(name, help, metric.clone());
        metric
    }

    /// A histogram of durations.
    fn add_seconds(&mut self, name: &str, help: &str) -> Histogram {
        let metric = Histogram::new(BUCKETS);
        self.0
            .register_with_unit(name, help, Unit::Seconds, metric.clone());
        metric
    }

    fn add_unit<M>(&mut self, name: &str, help: &str, unit: Unit) -> M
    where
        M: prometheus_client::registry::Metric + Clone + Default,
    {
        let metric = M::default();
        self.0.register_with_unit(name, help, unit, metric.clone());
        metric
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at 0.
    pub(crate) fn new() -> Self {
        let mut to = Registering(Registry::with_prefix("bulkhead"));
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        to.0.register("build", "This release", Info::new(version));
        let latencies: Latencies = Family::new_with_constructor(|| Histogram::new(BUCKETS));
        let help = "How long CNI calls took, by stage";
        to.0.register_with_unit("call", help, Unit::Seconds, latencies.clone());
        Self {
            latencies,
            endpoint_published: to.add_seconds(
                "endpoint_publish",
                "How long endpoints took from their call to their row in the store",
            ),
            endpoints_waiting: to.add(
                "endpoint_unpublished_rows",
                "Endpoints the store has not heard of yet",
            ),
            policy_known: to.add("policy_revision", "Revision of the policies that is known"),
            policy_enforced: to.add(
                "policy_enforced_revision",
                "Revision of the policies that the kernel enforces",
            ),
            calls: to.add("calls", "CNI calls answered; code 0 is success"),
            calls_in_flight: to.add("calls_in_flight", "CNI calls queued or being served"),
            delegated: to.add(
                "calls_delegated",
                "CNI calls that wait for a foreign IPAM plugin",
            ),
            panics: to.add("panics", "Calls and chores that met a bug of the daemon"),
            connections: to.add("connections", "Connections to the socket"),
            refused: to.add("connections_refused", "Connections refused"),
            attachments: to.add("attachments", "Attachments recorded on the node"),
            addresses: to.add("pool_addresses", "Addresses of the node's share, by state"),
            blocks: to.add("pool_blocks", "Blocks that the node owns"),
            claims: to.add("block_claims", "Attempts to claim a block"),
            transactions: to.add(
                "store_transactions",
                "Transactions with the cluster's store",
            ),
            store_up: to.add("store_up", "1 while the cluster's store serves this node"),
            endpoint_up: to.add(
                "store_endpoint_up",
                "1 while this member of the store answers",
            ),
            endpoint_seconds: to.add_unit(
                "store_endpoint_latency",
                "Median of the last answers of this member",
                Unit::Seconds,
            ),
            endpoint_failures: to.add(
                "store_endpoint_failures",
                "Requests in a row that it has not answered",
            ),
            unpublished: to.add(
                "store_unpublished_rows",
                "Rows the store has not heard of yet",
            ),
            publish_lag: to.add_unit(
                "store_publish_lag",
                "How long the oldest of them has waited",
                Unit::Seconds,
            ),
            spool_consumed: to.add("spool_consumed", "Detachments without the daemon, taken in"),
            spool_waiting: to.add("spool_waiting", "Detachments without the daemon that wait"),
            examined: to.add(
                "attachments_examined",
                "Attachments compared with their want",
            ),
            drift_found: to.add("drift_found", "Attachments found otherwise than wanted"),
            drift_mended: to.add("drift_mended", "Attachments mended"),
            reclaimed: to.add("leaks_reclaimed", "Attachments of dead containers detached"),
            guard_drops: to.add("guard_drops", "Packets from ports that the guard dropped"),
            policy_mended: to.add("policy_mended", "Tables of policies mended"),
            policy_cut: to.add("policy_cut", "Connections that policies had cut"),
            overlay_mended: to.add(
                "overlay_mended",
                "Overlays found otherwise than they had been left, and mended",
            ),
            overlay_peers: to.add("overlay_peers", "Other nodes that a network leads to"),
            solicitations: to.add(
                "router_solicitations",
                "Router solicitations from ports, by outcome",
            ),
            advertisements: to.add(
                "router_advertisements",
                "Router advertisements sent to ports, asked for or not",
            ),
            information_requests: to.add(
                "information_requests",
                "DHCPv6 Information-requests from ports, by outcome",
            ),
            reaping: to.add("reaper_backlog", "Deletions the kernel is still busy with"),
            resident: to.add_unit("process_resident_memory", "Memory occupied", Unit::Bytes),
            registry: to.0,
        }
    }

    /// Measures a stage of a call.
    pub(crate) fn took(&self, verb: &str, stage: &'static str, time: Duration) {
        let labels = StageLabels {
            verb: verb.to_owned(),
            stage,
        };
        self.latencies
            .get_or_create(&labels)
            .observe(time.as_secs_f64());
    }

    /// The text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes everything");
        text
    }
}

/// Sets a gauge of a family.
pub(crate) fn set<L>(family: &Family<L, Gauge>, labels: &L, value: u64)
where
    L: Clone + std::hash::Hash + Eq + EncodeLabelSet,
{
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    family.get_or_create(labels).set(value);
}

/// Raises a counter of a family to a total that is counted elsewhere.
pub(crate) fn raise<L>(family: &Family<L, Counter>, labels: &L, total: u64)
where
    L: Clone + std::hash::Hash + Eq + EncodeLabelSet,
{
    let counter = family.get_or_create(labels);
    counter.inc_by(total.saturating_sub(counter.get()));
}
