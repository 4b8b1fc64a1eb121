//! From a change in the store to the kernel that has it: one node with a daemon and a real etcd, whose other
//! nodes are rows in it.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use bulkhead_ipam::cluster::geometry::{Block, Geometry};
use bulkhead_ipam::cluster::schema::{BlockRow, Place, PoolRow, Schema, VtepRow, encode};
use bulkhead_ipam::cluster::{
    Attempt, ClusterStore, KvError, NodeId, OverlayName, PoolName, Txn, Write,
};
use bulkhead_ipam_etcd::{EtcdConfig, EtcdSettings, EtcdStore};
use bulkhead_model::{Mtu, NetworkName, Prefix};

use super::super::sample::Sample;
use super::super::usage::resident_kib;
use super::monitor::Monitor;
use crate::nodes::{LIMIT, NETWORK, Nodes, POOL};

/// Addresses of a fake node's block, as a logarithm: 8,192 of them are in the pool.
const BITS: u8 = 3;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Converging {
    /// Nodes that come one by one, each once the one before is in the kernel.
    pub events: usize,
    /// With how many nodes the daemon's memory is looked at, rising; the last are there while nothing
    /// happens.
    pub peers: Vec<usize>,
    /// How long nothing happens.
    pub idle: Duration,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Converged {
    /// From before a node's rows are written until the kernel tells of the last of its routes, of both
    /// families.
    pub latency: Sample,
    /// With how many other nodes.
    pub at: Vec<AtPeers>,
    /// How long nothing happened.
    pub idle: Duration,
    /// What was written meanwhile into the store, without the signs of life.
    pub writes: usize,
    /// Signs of life.
    pub lives: usize,
    /// Changes of links, addresses, neighbours, forwarding entries and routes meanwhile.
    pub changes: usize,
}

/// A node that has so many others.
#[derive(Clone, Copy, Debug)]
pub struct AtPeers {
    /// The others.
    pub peers: usize,
    /// The daemon's resident memory in KiB.
    pub kib: u64,
    /// From the deletion of the device until the last route stands again: what a cold start programs.
    pub anew: Duration,
}

/// The cluster as its other nodes would write into it.
struct Others {
    store: EtcdStore,
    schema: Schema,
    network: OverlayName,
    pool: PoolName,
    geometry: Geometry,
    /// Blocks that the node has itself.
    taken: Vec<Block>,
    /// First ordinal of the next block.
    next: u64,
    count: u32,
}

/// Measures it.
///
/// # Errors
/// When the system refuses namespaces or sockets, or etcd a row.
///
/// # Panics
/// When the node or its container does not come up.
pub fn converge(effort: &Converging) -> io::Result<Converged> {
    let nodes = Nodes::start(1);
    let (_container, _) = nodes.container(0, "c");
    let node = &nodes.all[0];
    let mut others = Others::of(&nodes)?;
    let mut monitor = node.host.enter(Monitor::open).map_err(io::Error::other)??;
    let mut latency = Sample::default();
    eprintln!("store to kernel");
    for _ in 0..effort.events {
        let began = Instant::now();
        let routes = others.come(1)?;
        monitor.wait_for(routes, LIMIT)?;
        latency.push(began.elapsed());
    }
    let mut at = Vec::new();
    let device = node.device();
    for &peers in &effort.peers {
        let missing = peers.saturating_sub(others.count as usize);
        let routes = others.come(missing)?;
        monitor.wait_for(routes, LIMIT * 4)?;
        let began = Instant::now();
        monitor.forget();
        let gone = format!("link delete {device}");
        node.host.ip(&gone).map_err(io::Error::other)?;
        monitor.wait_for_count(2 * others.count as usize, LIMIT * 4)?;
        let anew = began.elapsed();
        let kib = resident_kib(node.daemon_pid()).unwrap_or_default();
        at.push(AtPeers { peers, kib, anew });
    }
    // What follows a change, such as what the node remembers, is over.
    std::thread::sleep(Duration::from_secs(5));
    let shown = node.host.ip_json(&format!("link show {device}"));
    let shown = shown.map_err(io::Error::other)?;
    let index = shown[0]["ifindex"]
        .as_u64()
        .and_then(|it| u32::try_from(it).ok());
    let index = index.ok_or_else(|| io::Error::other("the device is gone"))?;
    let (writes, lives) = others.idle(&mut monitor, effort.idle)?;
    let changes = monitor.pending(index)?;
    Ok(Converged {
        latency,
        at,
        idle: effort.idle,
        writes,
        lives,
        changes,
    })
}

impl Others {
    fn of(nodes: &Nodes) -> io::Result<Self> {
        let settings = EtcdSettings {
            endpoints: nodes.etcd.urls(),
            ..EtcdSettings::default()
        };
        let config = EtcdConfig::try_from(settings).map_err(io::Error::other)?;
        // Its sockets are made in the namespace that it is started in.
        let store = nodes.outside.enter(|| EtcdStore::start(config));
        let store = store.map_err(io::Error::other)??;
        let schema = Schema::default();
        let pool: PoolName = POOL.parse().map_err(io::Error::other)?;
        let rows = |kind: &str| store.range(&schema.kind(kind), 0).map_err(refused);
        let pools = rows("pools")?.rows;
        let key = schema.key(&Place::Pool(pool.clone()));
        let row = pools.iter().find(|row| row.key == key);
        let row = row.ok_or_else(|| io::Error::other("the pool is not in the store"))?;
        let (_, row) = schema.read::<PoolRow>(row).map_err(io::Error::other)?;
        let blocks = rows("blocks")?.rows;
        let blocks = blocks.iter().filter_map(|row| schema.read_block(row).ok());
        let taken = blocks.map(|(_, block, _)| block).collect();
        Ok(Self {
            network: NETWORK.parse().map_err(io::Error::other)?,
            geometry: row.geometry,
            store,
            schema,
            pool,
            taken,
            next: 0,
            count: 0,
        })
    }

    /// So many nodes come, in as few transactions as there can be; the routes to them.
    fn come(&mut self, nodes: usize) -> io::Result<BTreeSet<Prefix>> {
        let mut routes = BTreeSet::new();
        let mut writes = Vec::new();
        for _ in 0..nodes {
            let block = self.block();
            self.count += 1;
            routes.extend(self.geometry.prefixes_of(block));
            writes.extend(self.rows(block));
        }
        for some in writes.chunks(Txn::MOST_WRITES) {
            let txn = Txn {
                when: Vec::new(),
                writes: some.to_vec(),
            };
            self.store.commit(&txn).map_err(refused)?;
        }
        Ok(routes)
    }

    /// The next that is nobody's.
    fn block(&mut self) -> Block {
        loop {
            let block = Block::new(self.next, BITS).expect("the pool has room for thousands");
            self.next += 1 << BITS;
            if !self.taken.iter().any(|taken| taken.overlaps(block)) {
                return block;
            }
        }
    }

    fn rows(&self, block: Block) -> [Write; 2] {
        let node: NodeId = format!("{:032x}", self.count).parse().expect("digits");
        let network: NetworkName = NETWORK.parse().expect("a name");
        // RFC 2544 gives the prefix to benchmarks.
        let underlay = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + self.count;
        let end = VtepRow {
            name: format!("fake{}", self.count),
            epoch: 1,
            underlay: IpAddr::V4(Ipv4Addr::from(underlay)),
            mac: network.vtep_mac(node.as_str()),
            link_mac: None,
            mtu: Mtu::new(1450).expect("a packet's length"),
            seal: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at_unix_ms: 0,
            attempt: Attempt::default(),
        };
        let owner = BlockRow {
            bits: BITS,
            node: node.clone(),
            epoch: 1,
            claimed_at_unix_ms: 0,
            attempt: Attempt::default(),
            lender: None,
            addresses: Vec::new(),
        };
        let vtep = Place::Vtep {
            network: self.network.clone(),
            node,
        };
        let place = Place::Block {
            pool: self.pool.clone(),
            first: block.first(),
        };
        [
            Write::Put(self.schema.key(&vtep), encode(&end)),
            Write::Put(self.schema.key(&place), encode(&owner)),
        ]
    }

    /// What is written while nothing happens: rows, and signs of life.
    fn idle(&self, monitor: &mut Monitor, lasts: Duration) -> io::Result<(usize, usize)> {
        let lives = self.schema.kind("live");
        let everything = self.schema.everything();
        let now = self.store.range(&lives, 0).map_err(refused)?.revision;
        let mut watch = self.store.watch(&everything, now).map_err(refused)?;
        monitor.forget();
        let until = Instant::now() + lasts;
        let (mut written, mut alive) = (0, 0);
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            for event in watch
                .next(left.min(Duration::from_secs(1)))
                .map_err(refused)?
            {
                if lives.contains(&event.key) {
                    alive += 1;
                } else {
                    written += 1;
                }
            }
        }
        Ok((written, alive))
    }
}

fn refused(error: KvError) -> io::Error {
    io::Error::other(error)
}
