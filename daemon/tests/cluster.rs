//! Addresses of pools: of a node alone, and of nodes that share them over etcd.

mod common;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_ipam::cluster::geometry::{Geometry, Layout, Subnet};
use bulkhead_ipam::cluster::operations::{Operations, Operator};
use bulkhead_ipam::cluster::schema::{PoolRow, Schema};
use bulkhead_ipam::cluster::{Attempt, ClusterStore, EmbeddedStore, NodeId};
use bulkhead_ipam::wire::admin::{Condition, Migration, PoolChange, Reply, Request, StoreKind};
use bulkhead_ipam_etcd::{EtcdConfig, EtcdSettings, EtcdStore};
use common::{LIMIT, Node};
use netns_fixtures::{Container, Etcd, EtcdOptions, Outside, Sandbox, wait_for};
use serde_json::{Value, json};

/// Loops that come only when asked for, and addresses that cool down at once.
const QUIET: &str =
    "collector.interval_secs = 0\nreconcile.interval_secs = 0\nflows.interval_secs = 1\n";

fn pool(bits: u8) -> PoolRow {
    let layout = Layout {
        v4: Some(Subnet::of("10.4.0.0/24".parse().unwrap())),
        v6: Some(Subnet::of("fd00:4::/120".parse().unwrap())),
        block_bits: bits,
        reserved: Vec::new(),
        node_addresses: false,
    };
    let mut row = PoolRow::new(Geometry::new(layout).unwrap());
    row.cooldown_secs = 1;
    row
}

fn operator(attempt: &str) -> Operator {
    Operator {
        by: "test".to_owned(),
        writer: "0000000000000000000000000000000f".parse().unwrap(),
        at_unix_ms: 1_795_000_000_000,
        attempt: Attempt(attempt.to_owned()),
    }
}

fn add_pool(store: &dyn ClusterStore, row: &PoolRow) {
    let schema = Schema::default();
    let operations = Operations::new(store, &schema);
    operations
        .pool_add(&operator("add"), &"default".parse().unwrap(), row)
        .unwrap();
}

fn network(node: &Node) -> Value {
    node.network(&json!({"ipam": {"type": "bulkhead-ipam", "pool": "default"}}))
}

fn addresses(result: &Value) -> Vec<IpAddr> {
    let ips = result["ips"].as_array().unwrap().iter();
    let address = |ip: &Value| {
        ip["address"]
            .as_str()
            .unwrap()
            .split('/')
            .next()
            .unwrap()
            .parse()
    };
    ips.map(|ip| address(ip).unwrap()).collect()
}

fn added(node: &Node, container: &Container) -> Vec<IpAddr> {
    let result = node
        .call_of("ADD", container, &network(node))
        .unwrap()
        .result();
    addresses(&result)
}

fn deleted(node: &Node, container: &Container) {
    node.call_of("DEL", container, &network(node))
        .unwrap()
        .result();
}

fn in_step(node: &Node) {
    wait_for("the node to be in step with the store", LIMIT, || {
        let status = node.status();
        (status.store.condition == Condition::Healthy && status.publish.exact).then_some(())
    });
}

#[test]
fn a_node_alone_gives_addresses_of_pools_and_keeps_them_over_a_kill() {
    let mut node = Node::stopped(QUIET);
    let store = EmbeddedStore::open(&node.state_dir().join("cluster")).unwrap();
    let mut row = pool(4);
    row.cooldown_secs = 600;
    add_pool(&store, &row);
    drop(store);
    node.start_daemon();
    let (one, other) = (node.container("one"), node.container("other"));
    let first = added(&node, &one);
    assert_eq!(first.len(), 2, "{first:?}");
    assert_eq!(added(&node, &one), first);
    let second = added(&node, &other);
    assert!(first.iter().all(|address| !second.contains(address)));
    node.kill();
    node.start_daemon();
    assert_eq!(added(&node, &one), first);
    deleted(&node, &one);
    let status = node.status();
    assert_eq!(status.store.kind, StoreKind::Embedded);
    let [usage] = &status.pools[..] else {
        panic!("{:?}", status.pools);
    };
    assert_eq!((usage.held, usage.cooling), (1, 1));
    let change = PoolChange {
        cooldown_secs: Some(1),
        ..PoolChange::default()
    };
    let pool = "default".to_owned();
    let changed = node.ask(&Request::PoolSet { pool, change }).pop();
    assert!(matches!(changed, Some(Reply::Done { .. })), "{changed:?}");
    wait_for("the address to be free again", LIMIT, || {
        (node.status().pools[0].cooling == 0).then_some(())
    });
    deleted(&node, &other);
}

#[test]
fn a_block_is_there_before_the_first_add() {
    let mut node = Node::stopped(QUIET);
    let store = EmbeddedStore::open(&node.state_dir().join("cluster")).unwrap();
    add_pool(&store, &pool(4));
    drop(store);
    node.start_daemon();
    wait_for("a block to be claimed ahead", LIMIT, || {
        let status = node.status();
        let [usage] = &status.pools[..] else {
            return None;
        };
        (usage.blocks == 1 && usage.free > 0).then_some(())
    });
}

#[test]
fn a_pool_that_is_not_there_is_named() {
    let node = Node::start(QUIET);
    in_step(&node);
    let said = node
        .call_of("ADD", &node.container("c"), &network(&node))
        .unwrap();
    assert_eq!(said.code(), 7, "{}", said.json());
    assert!(
        said.json()["msg"]
            .as_str()
            .unwrap()
            .contains("there is no pool default")
    );
}

/// Nodes around an etcd of one member.
struct Cluster {
    nodes: Vec<Node>,
    etcd: Etcd,
    outside: Outside,
    _sandbox: Arc<Sandbox>,
}

impl Cluster {
    fn start(count: u8, row: &PoolRow) -> Self {
        let sandbox = Arc::new(Sandbox::new());
        let outside = sandbox.outside("out").unwrap();
        let place = ((*outside).clone(), Outside::V4.into());
        let etcd = Etcd::start(&sandbox, &[place], EtcdOptions::default()).unwrap();
        let nodes = (1..=count).map(|nth| {
            let host = sandbox.host(&format!("n{nth}")).unwrap();
            outside.link(&host, nth).unwrap();
            let node = Node::of(&sandbox, host);
            let urls = etcd.urls().join("\", \"");
            node.configure(&format!(
                "{QUIET}node.name = \"n{nth}\"\n[store]\nbackend = \"etcd\"\n[store.etcd]\nendpoints = [\"{urls}\"]\n"
            ));
            node
        });
        let mut cluster = Self {
            nodes: nodes.collect(),
            etcd,
            outside,
            _sandbox: sandbox,
        };
        cluster.with_store(|store| add_pool(store, row));
        for node in &mut cluster.nodes {
            node.start_daemon();
            in_step(node);
        }
        cluster
    }

    fn with_store<T: Send>(&self, work: impl FnOnce(&dyn ClusterStore) -> T + Send) -> T {
        let settings = EtcdSettings {
            endpoints: self.etcd.urls(),
            ..EtcdSettings::default()
        };
        let config = EtcdConfig::try_from(settings).unwrap();
        self.outside
            .enter(|| work(&EtcdStore::start(config).unwrap()))
            .unwrap()
    }

    /// How many keys begin so in etcd, as its own tool says.
    fn keys(&self, prefix: &str) -> usize {
        let prefix = format!("/bulkhead/v1/{prefix}");
        let keys = self
            .etcd
            .etcdctl(&["get", "--prefix", "--keys-only", &prefix])
            .unwrap();
        keys.lines().filter(|line| !line.is_empty()).count()
    }
}

#[test]
fn nodes_share_a_pool_and_an_outage_of_etcd_stops_nobody_while_blocks_last() {
    // Blocks of 8: each node claims one, and another ahead.
    let mut cluster = Cluster::start(2, &pool(3));
    let mut all = BTreeSet::new();
    for node in &cluster.nodes {
        for nth in 0..2 {
            let container = node.container(&format!("{}-{nth}", node.status().node.name.name));
            for address in added(node, &container) {
                assert!(all.insert(address), "{address} twice");
            }
        }
    }
    wait_for("every lease to be published", LIMIT, || {
        (cluster.keys("leases/") == 4).then_some(())
    });
    assert!(cluster.keys("blocks/") >= 2);
    let node = &cluster.nodes[0];
    let free = node.status().pools[0].free;
    cluster.etcd.kill(0);
    let node = &cluster.nodes[0];
    for nth in 0..free {
        let container = node.container(&format!("out-{nth}"));
        for address in added(node, &container) {
            assert!(all.insert(address), "{address} twice");
        }
    }
    let refused = node
        .call_of("ADD", &node.container("late"), &network(node))
        .unwrap();
    assert!([11, 100].contains(&refused.code()), "{}", refused.json());
    let text = refused.json().to_string();
    assert!(
        text.contains("pool default has no address left on this node"),
        "{text}"
    );
    assert!(text.contains("since the store does not serve"), "{text}");
    let status = node.call_of("STATUS", &node.host, &network(node)).unwrap();
    assert_eq!(status.code(), 50, "{}", status.json());
    assert_eq!(node.status().store.condition, Condition::Unreachable);
    cluster.etcd.restart(0).unwrap();
    cluster.etcd.wait_for_leader().unwrap();
    let leases = 4 + usize::try_from(free).unwrap();
    wait_for(
        "what was missed to be published",
        Duration::from_mins(1),
        || (cluster.keys("leases/") == leases).then_some(()),
    );
    in_step(&cluster.nodes[0]);
    let late = added(&cluster.nodes[0], &cluster.nodes[0].container("later"));
    assert!(late.iter().all(|address| all.insert(*address)));
}

/// Signs of life are most of a minute apart, and nothing else is written meanwhile.
#[test]
fn a_node_with_nothing_to_write_notices_that_etcd_is_gone_and_that_it_is_back() {
    let mut cluster = Cluster::start(1, &pool(4));
    let becomes = |node: &Node, condition: Condition| {
        let what = format!("the store to be {condition:?}");
        wait_for(&what, Duration::from_secs(15), || {
            (node.status().store.condition == condition).then_some(())
        });
    };
    for _ in 0..2 {
        cluster.etcd.kill(0);
        becomes(&cluster.nodes[0], Condition::Unreachable);
        cluster.etcd.restart(0).unwrap();
        cluster.etcd.wait_for_leader().unwrap();
        becomes(&cluster.nodes[0], Condition::Healthy);
    }
}

/// A machine that was a cluster by itself gets an etcd: its rows move, and it goes on from there.
#[test]
fn the_rows_of_a_node_alone_move_into_an_etcd_and_it_goes_on_from_there() {
    let mut cluster = Cluster::start(1, &pool(4));
    let urls = cluster.etcd.urls();
    // What the fixture and the node put there is not what moves.
    cluster.nodes[0].kill();
    cluster.etcd.etcdctl(&["del", "--prefix", "/"]).unwrap();
    let state = cluster.nodes[0].state_dir();
    std::fs::remove_dir_all(&state).unwrap();
    let store = EmbeddedStore::open(&state.join("cluster")).unwrap();
    add_pool(&store, &pool(4));
    drop(store);
    let node = &mut cluster.nodes[0];
    node.configure(QUIET);
    node.start_daemon();
    in_step(node);
    let (one, other) = (node.container("one"), node.container("other"));
    let first = added(node, &one);
    in_step(node);
    let rows = node.status().node.blocks;
    let migrate = |dry_run| Request::StoreMigrate {
        to: Migration {
            endpoints: urls.clone(),
            ..Migration::default()
        },
        dry_run,
    };
    let Some(Reply::Migrated(preview)) = node.ask(&migrate(true)).pop() else {
        panic!("there is an answer");
    };
    assert!(preview.obstacles.is_empty(), "{:?}", preview.obstacles);
    assert!(preview.copied > 0);
    let Some(Reply::Migrated(report)) = node.ask(&migrate(false)).pop() else {
        panic!("there is an answer");
    };
    assert!(report.configuration.contains("backend = \"etcd\""));
    // The present store is closed: the node has its block, and publishes nothing.
    let second = added(node, &other);
    assert_eq!(node.status().store.kind, StoreKind::Embedded);
    wait_for("the node to be out of step", LIMIT, || {
        (!node.status().publish.exact).then_some(())
    });
    let configured = format!("{QUIET}{}", report.configuration);
    cluster.nodes[0].kill();
    let node = &mut cluster.nodes[0];
    node.configure(&configured);
    node.start_daemon();
    in_step(node);
    assert_eq!(node.status().store.kind, StoreKind::Etcd);
    assert_eq!(node.status().node.blocks, rows);
    assert_eq!(added(node, &one), first);
    assert_eq!(added(node, &other), second);
    wait_for("both leases to be in etcd", LIMIT, || {
        (cluster.keys("leases/") == 2).then_some(())
    });
}

#[test]
fn a_node_that_was_declared_lost_detaches_what_it_may_not_own_and_says_so() {
    let mut cluster = Cluster::start(1, &pool(3));
    let node = &cluster.nodes[0];
    let container = node.container("c");
    let before = added(node, &container);
    wait_for("the lease to be published", LIMIT, || {
        (cluster.keys("leases/") == 1).then_some(())
    });
    let id: NodeId = node.status().node.name.id.parse().unwrap();
    cluster.nodes[0].kill();
    cluster.with_store(|store| {
        let schema = Schema::default();
        let operations = Operations::new(store, &schema);
        operations
            .node_lost(&operator("lost"), &id, "it burns", &mut |_| {})
            .unwrap();
    });
    assert_eq!(cluster.keys("blocks/"), 0);
    assert!(container.has_link("eth0").unwrap());
    cluster.nodes[0].start_daemon();
    let node = &cluster.nodes[0];
    wait_for("the attachment to be detached", LIMIT, || {
        (!container.has_link("eth0").unwrap()).then_some(())
    });
    let told = |text: &str| {
        let errors = node.status().errors;
        errors
            .iter()
            .any(|error| error.text.contains(text))
            .then_some(())
    };
    wait_for("it to be said", LIMIT, || told("was detached"));
    // It has registered anew, and serves.
    let after = wait_for("another address", LIMIT, || {
        let said = node.call_of("ADD", &container, &network(node)).unwrap();
        (said.0.exit == 0).then(|| addresses(&said.json()))
    });
    assert_eq!(after.len(), before.len());
    assert!(node.status().node.epoch > 1);
}
