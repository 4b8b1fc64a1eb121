//! Real etcd that fails in the ways it does: members that die, hang and are cut off, certificates and
//! passwords that are wrong, answers that do not come.

mod credentials;
mod members;
mod outcomes;

use std::net::IpAddr;
use std::time::Duration;

use bulkhead_ipam::cluster::{
    ClusterStore, Committed, Key, KeyRange, KvError, Listing, Txn, Write,
};
use bulkhead_ipam_etcd::{EndpointHealth, EtcdConfig, EtcdSettings, EtcdStore};
use netns_fixtures::{Ns, wait_for};

/// Long enough for an election on a machine that is busy.
const PATIENCE: Duration = Duration::from_mins(1);

fn settings(endpoints: Vec<String>) -> EtcdSettings {
    EtcdSettings {
        endpoints,
        ..EtcdSettings::default()
    }
}

/// A client that lives in `ns`.
fn client(ns: &Ns, settings: EtcdSettings) -> EtcdStore {
    let config = EtcdConfig::try_from(settings).unwrap();
    ns.enter(|| EtcdStore::start(config)).unwrap().unwrap()
}

fn list(store: &EtcdStore) -> Result<Listing, KvError> {
    store.range(&KeyRange::prefix("/t/"), 0)
}

fn put(store: &EtcdStore, name: &str, value: &[u8]) -> Result<Committed, KvError> {
    let key = Key::new(format!("/t/{name}")).unwrap();
    store.commit(&Txn {
        writes: vec![Write::Put(key, value.to_vec())],
        ..Txn::default()
    })
}

/// Waits until it is answered.
fn wait_for_answer(store: &EtcdStore) {
    let mut last = None;
    let answered = netns_fixtures::wait_until(PATIENCE, || {
        last = Some(list(store));
        matches!(last, Some(Ok(_))).then_some(())
    });
    assert!(answered.is_some(), "no answer: {last:?}");
}

/// Waits until the health of the member at `address` is as wanted.
fn wait_for_health(
    store: &EtcdStore,
    address: IpAddr,
    wanted: impl Fn(&EndpointHealth) -> bool,
) -> EndpointHealth {
    let member = format!("//{address}:");
    wait_for("a member's health", PATIENCE, || {
        let health = store.health().into_iter();
        let mut member = health.filter(|health| health.endpoint.contains(&member));
        member.next().filter(&wanted)
    })
}
