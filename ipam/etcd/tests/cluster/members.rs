//! Three members, of which some do not serve: whoever asks gets answers all the same.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use bulkhead_ipam::cluster::{
    ClusterStore, Compare, Key, KeyRange, KvError, Revision, Txn, Watch, Write,
};
use bulkhead_ipam_etcd::{EndpointState, EtcdStore};
use netns_fixtures::{Etcd, EtcdOptions, Lan, Place, Sandbox, wait_for};

use super::{PATIENCE, client, list, put, settings, wait_for_answer, wait_for_health};

/// Requests after the first that a member did not answer.
const REQUESTS: usize = 200;

struct Cluster {
    etcd: Etcd,
    store: EtcdStore,
    lan: Lan,
    _sandbox: Sandbox,
}

/// Three members in namespaces of their own; the client is on the switch between them.
fn cluster() -> Cluster {
    let sandbox = Sandbox::new();
    let lan = Lan::new(&sandbox, "lan", "10.99.0.254/24").unwrap();
    let place = |nth: u8| -> Place {
        let name = format!("etcd{nth}");
        (
            lan.node(&sandbox, &name, address(nth)).unwrap(),
            address(nth),
        )
    };
    let places: Vec<Place> = (0..3).map(place).collect();
    let etcd = Etcd::start(&sandbox, &places, EtcdOptions::default()).unwrap();
    let store = client(&lan, settings(etcd.urls()));
    wait_for_answer(&store);
    Cluster {
        etcd,
        store,
        lan,
        _sandbox: sandbox,
    }
}

fn address(nth: u8) -> IpAddr {
    IpAddr::from([10, 99, 0, nth + 1])
}

fn address_of(nth: usize) -> IpAddr {
    address(u8::try_from(nth).unwrap())
}

/// The member that requests go to.
fn preferred(store: &EtcdStore) -> usize {
    let health = store.health();
    health.iter().position(|health| health.preferred).unwrap()
}

fn no_request_fails(store: &EtcdStore) {
    let begun = Instant::now();
    for nth in 0..REQUESTS {
        put(store, "row", nth.to_string().as_bytes()).unwrap_or_else(|e| panic!("{nth}: {e}"));
        list(store).unwrap_or_else(|e| panic!("{nth}: {e}"));
    }
    // None of them waited for the member that does not answer, which takes 1 or 2 s.
    let each = begun.elapsed() / u32::try_from(REQUESTS).unwrap();
    assert!(
        each < Duration::from_millis(500),
        "{each:?} for each request"
    );
}

#[test]
fn a_member_that_is_killed_costs_no_answer_after_the_first() {
    let mut cluster = cluster();
    let nth = preferred(&cluster.store);
    cluster.etcd.kill(nth);
    // The others may have to elect a leader first.
    wait_for_answer(&cluster.store);
    no_request_fails(&cluster.store);
    let health = wait_for_health(&cluster.store, address_of(nth), |health| {
        health.state == EndpointState::Ejected
    });
    let error = health.last_error.unwrap();
    assert!(error.contains("Connection refused"), "{error}");
    cluster.etcd.restart(nth).unwrap();
    wait_for_health(&cluster.store, address_of(nth), |health| {
        health.state == EndpointState::Serving && health.failures == 0
    });
    no_request_fails(&cluster.store);
}

#[test]
fn a_member_that_is_halted_costs_no_answer_after_the_first() {
    let cluster = cluster();
    let nth = preferred(&cluster.store);
    cluster.etcd.stop(nth);
    wait_for_answer(&cluster.store);
    no_request_fails(&cluster.store);
    assert_ne!(preferred(&cluster.store), nth);
    cluster.etcd.cont(nth);
    wait_for_health(&cluster.store, address_of(nth), |health| {
        health.state == EndpointState::Serving
    });
}

#[test]
fn a_follower_that_is_halted_costs_one_stall_and_no_error() {
    let cluster = cluster();
    let nth = preferred(&cluster.store);
    // A leader that hangs costs an election; this is about the client.
    cluster.etcd.lead((nth + 1) % 3).unwrap();
    wait_for_answer(&cluster.store);
    cluster.etcd.stop(nth);
    list(&cluster.store).expect("the next member answers");
    no_request_fails(&cluster.store);
}

#[test]
fn a_member_that_is_cut_off_from_the_others_is_left() {
    let cluster = cluster();
    let nth = preferred(&cluster.store);
    let cut = address_of(nth);
    // Between members only; the client reaches all of them.
    cluster
        .lan
        .nft(&format!(
            "add table bridge cut\n\
             add chain bridge cut forward {{ type filter hook forward priority 0; }}\n\
             add rule bridge cut forward ip saddr {cut} drop\n\
             add rule bridge cut forward ip daddr {cut} drop\n"
        ))
        .unwrap();
    wait_for_answer(&cluster.store);
    wait_for_health(&cluster.store, cut, |health| {
        health.state == EndpointState::Ejected
    });
    wait_for_answer(&cluster.store);
    no_request_fails(&cluster.store);
    cluster.lan.nft("delete table bridge cut").unwrap();
    wait_for_health(&cluster.store, cut, |health| {
        health.state == EndpointState::Serving
    });
}

#[test]
fn without_a_majority_nothing_is_answered_and_it_comes_back_by_itself() {
    let mut cluster = cluster();
    let left = preferred(&cluster.store);
    let others: Vec<usize> = (0..3).filter(|nth| *nth != left).collect();
    for nth in &others {
        cluster.etcd.kill(*nth);
    }
    let text = wait_for("a refusal", PATIENCE, || match list(&cluster.store) {
        Err(error @ KvError::Unavailable { .. }) => {
            let text = error.to_string();
            text.contains("no leader").then_some(text)
        }
        _ => None,
    });
    for url in cluster.etcd.urls() {
        assert!(text.contains(&url), "{text}");
    }
    assert!(text.contains("Connection refused"), "{text}");
    for nth in others {
        cluster.etcd.restart(nth).unwrap();
    }
    wait_for_answer(&cluster.store);
    put(&cluster.store, "row", b"again").unwrap();
}

/// Writes the row, whatever fails in between, and only once: an attempt without an answer may arrive
/// much later, and must not hold then.
fn write_once(store: &EtcdStore, value: &str) {
    let key = Key::new("/t/row").unwrap();
    wait_for("a write", PATIENCE, || {
        let row = store.range(&KeyRange::one(&key), 1).ok()?.rows.pop();
        if row
            .as_ref()
            .is_some_and(|row| row.value == value.as_bytes())
        {
            return Some(());
        }
        let before = row.map_or(Revision(0), |row| row.modified);
        let txn = Txn {
            when: vec![Compare::Modified(key.clone(), before)],
            writes: vec![Write::Put(key.clone(), value.into())],
        };
        store.commit(&txn).ok()?.held.then_some(())
    });
}

/// Takes events until the row has this value; every value, in order.
fn values_until(watch: &mut dyn Watch, last: &str) -> Vec<String> {
    let mut values: Vec<String> = Vec::new();
    while values.last().is_none_or(|value| value != last) {
        let events = watch.next(PATIENCE).unwrap();
        assert!(!events.is_empty(), "only {values:?} within {PATIENCE:?}");
        let value = |event: &bulkhead_ipam::cluster::Event| {
            String::from_utf8(event.row.clone().unwrap().value).unwrap()
        };
        values.extend(events.iter().map(value));
    }
    values
}

#[test]
fn a_watch_goes_on_at_another_member_without_a_gap() {
    let mut cluster = cluster();
    let begin = list(&cluster.store).unwrap().revision;
    let mut watch = cluster
        .store
        .watch(&KeyRange::prefix("/t/"), begin)
        .unwrap();
    let mut written = Vec::new();
    let mut told = Vec::new();
    for round in 0..4_usize {
        let nth = preferred(&cluster.store);
        match round {
            1 => cluster.etcd.kill(nth),
            2 => cluster.etcd.stop(nth),
            _ => {}
        }
        for step in 0..20 {
            let value = format!("{round}.{step}");
            write_once(&cluster.store, &value);
            written.push(value);
        }
        told.extend(values_until(&mut *watch, &format!("{round}.19")));
        match round {
            1 => cluster.etcd.restart(nth).unwrap(),
            2 => cluster.etcd.cont(nth),
            _ => {}
        }
        // A majority again, before the next one goes.
        for nth in 0..3 {
            wait_for_health(&cluster.store, address_of(nth), |health| {
                health.state == EndpointState::Serving
            });
        }
    }
    assert_eq!(told, written);
}

#[test]
fn nothing_that_listens_is_told_with_every_endpoint() {
    let sandbox = Sandbox::new();
    let ns = sandbox.ns("nobody").unwrap();
    let urls = vec![
        "http://127.0.0.1:2379".to_owned(),
        "http://127.0.0.2:4001".to_owned(),
    ];
    let store = client(&ns, settings(urls));
    let why = |first: &str, second: &str| {
        format!(
            "etcd http://127.0.0.1:2379, http://127.0.0.2:4001 cannot be reached: \
             {first}: Connection refused (os error 111); {second}: Connection refused (os error 111)"
        )
    };
    let (a, b) = ("http://127.0.0.1:2379", "http://127.0.0.2:4001");
    for error in [
        list(&store).unwrap_err(),
        put(&store, "row", b"x").unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(matches!(error, KvError::Unavailable { .. }), "{text}");
        assert!(text == why(a, b) || text == why(b, a), "{text}");
    }
}

#[test]
fn members_of_two_clusters_are_not_one_store() {
    let sandbox = Sandbox::new();
    let ns = sandbox.ns("two").unwrap();
    let start = |last: u8| {
        let place = (ns.clone(), IpAddr::from([127, 0, 0, last]));
        Etcd::start(&sandbox, &[place], EtcdOptions::default()).unwrap()
    };
    let (mut one, mut other) = (start(1), start(2));
    let store = client(&ns, settings([one.urls(), other.urls()].concat()));
    wait_for_answer(&store);
    let own = preferred(&store);
    let strange = wait_for_health(
        &store,
        IpAddr::from([127, 0, 0, 2 - u8::try_from(own).unwrap()]),
        |health| health.last_error.is_some(),
    );
    let error = strange.last_error.unwrap();
    assert!(
        error.contains("list members of one cluster only"),
        "{error}"
    );
    [&mut one, &mut other][own].kill(0);
    // Rather no answer than one of the other cluster.
    wait_for("a refusal", PATIENCE, || list(&store).err());
    assert!(put(&store, "row", b"x").is_err());
}
