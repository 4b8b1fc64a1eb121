//! The store by itself, in the memory of one process as a node daemon has it: how fast it opens, and how
//! many leases are durable in a second. No kernel object is made.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use bulkhead_ipam::{
    Access, Draft, Labels, Names, Netns, NetworkStore, PodRef, PoolConfig, Recorded, StateDir,
};
use bulkhead_model::{AttachmentKey, NetworkName};
use netns_fixtures::Sandbox;
use serde_json::json;

use super::per_address::per_address;
use super::sample::Sample;
use crate::Scratch;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Leasing {
    /// Leases of the store that is opened.
    pub replayed: usize,
    /// Threads that acquire at once, and how many leases each of them takes.
    pub clients: Vec<(usize, usize)>,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Leases {
    /// The store that was opened.
    pub replay: Replay,
    /// By the number of threads.
    pub rates: Vec<Rate>,
    /// A record of the same length appended and synced by itself, one after the other.
    pub alone: Sample,
    /// One etcd transaction for each address, by the number of threads.
    pub per_address: Vec<Rate>,
}

/// A store that was opened.
#[derive(Clone, Debug)]
pub struct Replay {
    /// Its leases.
    pub leases: usize,
    /// Records of the journal that no checkpoint had.
    pub records: usize,
    /// Until every lease was in memory and could be given back.
    pub opened: Duration,
    /// And until every record was read as what it says.
    pub told: Duration,
}

/// Leases of threads that acquire at once.
#[derive(Clone, Debug)]
pub struct Rate {
    /// The threads.
    pub clients: usize,
    /// From asking to being told.
    pub sample: Sample,
}

/// Measures the store.
///
/// # Errors
/// What the store refused.
pub fn leases(asked: &Leasing) -> io::Result<Leases> {
    let sandbox = Sandbox::new();
    let mut rates = Vec::new();
    for (clients, each) in &asked.clients {
        let scratch = Scratch::new(&sandbox, "leases");
        let state = open(scratch.path())?;
        let sample = acquire(&state.network(&network()), *clients, *each)?;
        rates.push(Rate {
            clients: *clients,
            sample,
        });
    }
    let scratch = Scratch::new(&sandbox, "replay");
    Ok(Leases {
        replay: replay(scratch.path(), asked.replayed)?,
        rates,
        alone: alone(&scratch.path().join("alone"))?,
        per_address: per_address(&asked.clients)?,
    })
}

fn open(dir: &Path) -> io::Result<StateDir> {
    StateDir::open(dir, Access::Exclusive).map_err(io::Error::other)
}

fn lease(store: &NetworkStore, draft: Draft, config: &PoolConfig) -> io::Result<()> {
    let mut store = store.lock().map_err(io::Error::other)?;
    let acquired = store.acquire(draft, config);
    acquired.map(drop).map_err(io::Error::other)
}

/// Every thread takes `each` leases, one after the other.
fn acquire(store: &NetworkStore, clients: usize, each: usize) -> io::Result<Sample> {
    let config = config();
    // The first lease brings the pool with it.
    lease(store, draft("first"), &config)?;
    let together = Barrier::new(clients);
    let client = |client: usize| {
        together.wait();
        let mut times = Vec::with_capacity(each);
        for nth in 0..each {
            let draft = draft(&format!("c{client}-{nth}"));
            let began = Instant::now();
            lease(store, draft, &config)?;
            times.push((began, Instant::now()));
        }
        io::Result::Ok(times)
    };
    let times = thread::scope(|scope| {
        let client = &client;
        let threads: Vec<_> = (0..clients)
            .map(|nth| scope.spawn(move || client(nth)))
            .collect();
        let times = threads
            .into_iter()
            .map(|thread| thread.join().expect("a client returns what was refused"));
        times.collect::<Result<Vec<_>, _>>()
    })?;
    let times: Vec<_> = times.into_iter().flatten().collect();
    Ok(Sample::of(&times, Instant::now(), Duration::ZERO))
}

/// A store of that many leases, and as much of them taken anew as goes into one journal.
fn replay(dir: &Path, leases: usize) -> io::Result<Replay> {
    const CLIENTS: usize = 64;
    let state = open(dir)?;
    let store = state.network(&network());
    acquire(&store, CLIENTS, leases / CLIENTS)?;
    drop((store, state));

    let began = Instant::now();
    let state = open(dir)?;
    let snapshot = state.network(&network()).read().map_err(io::Error::other)?;
    let opened = began.elapsed();
    let mut told = 0;
    for recorded in state.everything().map_err(io::Error::other)? {
        told += usize::from(matches!(
            recorded.map_err(io::Error::other)?,
            Recorded::Attachment(_)
        ));
    }
    Ok(Replay {
        leases: told,
        records: snapshot.map_or(0, |snapshot| snapshot.read_cost().journal_records),
        opened,
        told: began.elapsed(),
    })
}

/// What every lease would cost that is synced by itself: one append, one sync.
fn alone(path: &Path) -> io::Result<Sample> {
    const COUNT: usize = 1000;
    let record = vec![b'x'; 800];
    let file: File = OpenOptions::new().write(true).create_new(true).open(path)?;
    let mut times = Vec::with_capacity(COUNT);
    let mut end = 0;
    for _ in 0..COUNT {
        let began = Instant::now();
        file.write_all_at(&record, end)?;
        file.sync_data()?;
        end += 800;
        times.push((began, Instant::now()));
    }
    Ok(Sample::of(&times, Instant::now(), Duration::ZERO))
}

fn network() -> NetworkName {
    "blue".parse().expect("a name")
}

fn config() -> PoolConfig {
    let ipam = json!({"ranges": [[{"subnet": "10.0.0.0/8"}], [{"subnet": "fd00::/64"}]]});
    PoolConfig::from_cni(&network(), &ipam, None, &[]).expect("two ranges of one family each")
}

/// As a bridge's ADD in Kubernetes records it.
fn draft(container: &str) -> Draft {
    let key = AttachmentKey {
        network: network(),
        container: container.parse().expect("letters, digits and a dash"),
        interface: "eth0".parse().expect("a name"),
    };
    let id = key.id();
    let names = Names {
        port: Some(id.port()),
        port_mac: Some(id.port_mac()),
        interface_mac: Some(id.interface_mac()),
        bridge: Some("br0".parse().expect("a name")),
        ..Names::default()
    };
    Draft {
        key,
        kind: "bridge".to_owned(),
        netns: Some(Netns {
            path: format!("/run/netns/{container}").into(),
            device: Some(4),
            inode: Some(4_026_532_400),
        }),
        names,
        config_digest: String::new(),
        pod: Some(PodRef {
            namespace: "default".to_owned(),
            name: format!("pod-{container}"),
            uid: Some("0d8a1a4e-5b7c-4a1e-9d5b-3b1c2d3e4f50".to_owned()),
        }),
        labels: Labels::new(),
        ports: Vec::new(),
        pool: None,
    }
}
