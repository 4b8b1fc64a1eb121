//! What whoever asks a store for every single address pays: one etcd transaction for each, which creates
//! the address's key if it is not there.

use std::io;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use bulkhead_ipam::cluster::{ClusterStore, Compare, Key, Txn, Write};
use bulkhead_ipam_etcd::{EtcdConfig, EtcdSettings, EtcdStore};
use netns_fixtures::{Etcd, EtcdOptions, Sandbox};

use super::leases::Rate;
use super::sample::Sample;

/// About what a lease's row is long.
const ROW: [u8; 300] = [b'l'; 300];

/// One member of etcd on this disk, and `clients` (threads, and addresses of each) that take addresses
/// from it.
///
/// # Errors
/// What etcd refused.
pub(super) fn per_address(clients: &[(usize, usize)]) -> io::Result<Vec<Rate>> {
    let sandbox = Sandbox::new();
    let ns = sandbox.ns("etcd").map_err(io::Error::other)?;
    let etcd = Etcd::on_loopback(&sandbox, &ns, 1, EtcdOptions::default());
    let etcd = etcd.map_err(io::Error::other)?;
    let settings = EtcdSettings {
        endpoints: etcd.urls(),
        ..EtcdSettings::default()
    };
    let config = EtcdConfig::try_from(settings).map_err(io::Error::other)?;
    // Its sockets are made in the namespace that it is started in.
    let store = ns.enter(|| EtcdStore::start(config));
    let store = store.map_err(io::Error::other)??;
    let rate = |(nth, (clients, each)): (usize, &(usize, usize))| {
        let sample = take(&store, nth, *clients, *each)?;
        Ok(Rate {
            clients: *clients,
            sample,
        })
    };
    clients.iter().enumerate().map(rate).collect()
}

fn take(store: &EtcdStore, round: usize, clients: usize, each: usize) -> io::Result<Sample> {
    let together = Barrier::new(clients);
    let client = |client: usize| {
        together.wait();
        let mut times = Vec::with_capacity(each);
        for nth in 0..each {
            let key = Key::new(format!("/bench/{round}/{client}/{nth}")).expect("ASCII");
            let txn = Txn {
                when: vec![Compare::Absent(key.clone())],
                writes: vec![Write::Put(key, ROW.to_vec())],
            };
            let began = Instant::now();
            store.commit(&txn).map_err(io::Error::other)?;
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
