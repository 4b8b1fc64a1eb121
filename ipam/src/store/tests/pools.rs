//! Pools that change, that are chosen, that others fill; and the directory they live in.

use std::fs::File;
use std::time::{Duration, UNIX_EPOCH};

use super::leases::refusal;
use super::*;
use crate::error::{AcquireError, OpenError};
use crate::record::Ipam;
use crate::{Managed, Refusal, StoreError};

#[test]
fn another_pool_leaves_old_leases_valid() {
    let dir = TempDir::new("pool");
    let first = config(&json!({"subnet": "10.1.0.0/24", "cooldownSecs": 0}));
    let second = config(&json!({"subnet": "10.2.0.0/24", "cooldownSecs": 0}));
    let mut store = store(dir.path(), 0, 128);
    acquire(&mut store, "c0", &first);
    acquire(&mut store, "c1", &first);
    release(&mut store, "c1");
    assert_eq!(acquire(&mut store, "d0", &second), ["10.2.0.2"]);
    assert_eq!(acquire(&mut store, "c0", &second), ["10.1.0.2"]);
    assert_eq!(
        store.holder(ip("10.1.0.2")).unwrap().unwrap().key,
        draft("c0").key
    );
    // Back again: what is held stays held, and the search goes on where it stood.
    assert_eq!(acquire(&mut store, "c2", &first), ["10.1.0.4"]);
    assert_eq!(store.usage().unwrap()[0].held, 2);
}

#[test]
fn foreign_addresses_are_recorded_and_not_ours_to_give() {
    let dir = TempDir::new("foreign");
    let config = small();
    let mut store = store(dir.path(), 0, 128);
    let own = store.acquire(draft("c0"), &config).unwrap();
    let theirs = own.record().addresses.clone();
    let ipam = Ipam::Delegated {
        plugin: "static".to_owned(),
    };
    store
        .record(draft("c1"), theirs.clone(), ipam.clone())
        .unwrap();
    store.record(draft("c2"), Vec::new(), Ipam::None).unwrap();
    assert_eq!(store.live_count(), 3);
    assert_eq!(
        store.holder(ip("10.1.0.10")).unwrap().unwrap().key,
        draft("c0").key
    );
    assert!(matches!(
        store.record(draft("c1"), theirs.clone(), ipam).unwrap(),
        Acquired::Existing(_)
    ));
    release(&mut store, "c1");
    assert_eq!(
        store.holder(ip("10.1.0.10")).unwrap().unwrap().key,
        draft("c0").key
    );
    // An own lease that becomes a foreign one gives its addresses back.
    store.record(draft("c0"), Vec::new(), Ipam::None).unwrap();
    assert_eq!(store.holder(ip("10.1.0.10")).unwrap(), None);
    assert_eq!(store.live_count(), 2);
}

#[test]
fn freed_addresses_that_are_no_longer_listed_are_found_by_another_lap() {
    let dir = TempDir::new("lap");
    let config = small();
    let limits = Limits {
        tail_records: 4,
        journal_bytes: 2000,
        freed: 2,
    };
    let network = blue(&state(dir.path(), "a", 0)).with_limits(limits);
    let mut store = network.lock().unwrap();
    for round in 0..5 {
        for nth in 0..6 {
            acquire(&mut store, &format!("r{round}c{nth}"), &config);
        }
        assert!(matches!(
            refusal(store.acquire(draft("more"), &config)),
            Refusal::Exhausted { .. }
        ));
        for nth in 0..6 {
            release(&mut store, &format!("r{round}c{nth}"));
        }
    }
    assert_eq!(store.live_count(), 0);
}

#[test]
fn an_automatic_pool_avoids_routes_and_other_networks_and_is_remembered() {
    let dir = TempDir::new("auto");
    let state = state(dir.path(), "a", 0);
    let parse = |name: &str| {
        let ipam = json!({"auto": true});
        PoolConfig::from_cni(&name.parse().unwrap(), &ipam, None, &[]).unwrap()
    };
    let routes: Vec<bulkhead_model::Prefix> = ["0.0.0.0/0", "0.0.0.0/1", "10.128.0.0/24", "::/0"]
        .map(|t| t.parse().unwrap())
        .into();
    let mut subnets = Vec::new();
    for name in ["one", "two"] {
        let config = parse(name);
        let mut store = state.network(&name.parse().unwrap()).lock().unwrap();
        let draft = draft("c");
        let none = store.acquire(draft.clone(), &config).unwrap_err();
        assert!(matches!(none, AcquireError::NoPool(_)), "{none}");
        assert!(store.needs_pool(&config));
        store.choose_pool(&config, &routes).unwrap();
        assert!(!store.needs_pool(&config));
        store.acquire(draft, &config).unwrap();
        drop(store);
        let mut store = state.network(&name.parse().unwrap()).lock().unwrap();
        let chosen = store.pool().cloned();
        store
            .choose_pool(&config, &["10.0.0.0/8".parse().unwrap()])
            .unwrap();
        assert_eq!(store.pool().cloned(), chosen);
        subnets.push(chosen.unwrap().sets[0].ranges[0].subnet.to_string());
    }
    assert_eq!(subnets, ["10.128.1.0/24", "10.128.2.0/24"]);
}

#[test]
fn a_managed_directory_is_not_for_add() {
    let dir = TempDir::new("managed");
    let missing = StateDir::open(&dir.path().join("none"), Access::Shared);
    assert!(matches!(missing, Err(OpenError::Missing(_))));
    let path = dir.path().join("a/b");
    drop(StateDir::open(&path, Access::Exclusive).unwrap());
    fs::write(path.join("managed"), "").unwrap();
    assert!(matches!(
        StateDir::open(&path, Access::Add),
        Err(OpenError::Managed(_))
    ));
    let shared = StateDir::open(&path, Access::Shared).unwrap();
    assert!(shared.is_managed());
    assert!(blue(&shared).lock_existing().unwrap().is_none());
    assert!(shared.networks().unwrap().is_empty());
    assert!(!path.join("networks").exists());
}

/// A daemon that comes between a plugin's look at the mark and its lock has the directory for life.
#[test]
fn nobody_waits_for_a_daemon_that_holds_the_directory() {
    let dir = TempDir::new("held");
    let daemon = StateDir::open(dir.path(), Access::Exclusive).unwrap();
    Managed::default().write(dir.path()).unwrap();
    assert!(matches!(
        StateDir::open(dir.path(), Access::Shared),
        Err(OpenError::Managed(_))
    ));
    drop(daemon);
    assert!(StateDir::open(dir.path(), Access::Shared).is_ok());
}

#[test]
fn what_is_recorded_is_looked_at_while_somebody_holds_the_directory_alone() {
    let dir = TempDir::new("look");
    let path = dir.path().join("state");
    assert!(matches!(
        StateDir::open(&path, Access::Look),
        Err(OpenError::Missing(_))
    ));
    assert!(!path.exists());
    let alone = StateDir::open(&path, Access::Exclusive).unwrap();
    acquire(&mut blue(&alone).lock().unwrap(), "c0", &small());
    let looked = StateDir::open(&path, Access::Look).unwrap();
    assert_eq!(looked.networks().unwrap(), ["blue".parse().unwrap()]);
    assert_eq!(blue(&looked).read().unwrap().unwrap().live_count(), 1);
}

#[test]
fn the_node_id_is_made_once() {
    let dir = TempDir::new("node");
    let state = state(dir.path(), "a", 0);
    let id = state.node_id().unwrap();
    assert_eq!((id.len(), state.node_id().unwrap()), (32, id));
}

#[test]
fn a_lost_journal_is_refused_not_taken_for_a_new_store() {
    let dir = TempDir::new("lost");
    let config = small();
    let mut locked = store(dir.path(), 0, 2);
    for _ in 0..5 {
        acquire(&mut locked, "c0", &config);
        release(&mut locked, "c0");
    }
    drop(locked);
    let network = blue(&state(dir.path(), "a", 0));
    let home = dir.path().join("networks/blue");
    for file in ["journal", "checkpoint"] {
        let path = home.join(file);
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(
            matches!(network.lock(), Err(StoreError::Damaged { .. })),
            "{file}"
        );
        fs::write(&path, bytes).unwrap();
        network.lock().unwrap();
    }
}

#[test]
fn the_audit_log_is_bounded() {
    let dir = TempDir::new("bounded");
    let config = small();
    let limits = Limits {
        tail_records: 4,
        journal_bytes: 2000,
        freed: 16,
    };
    let state = state(dir.path(), "a", 0);
    state.keep_audit(AuditBounds {
        bytes: 10_000,
        age_secs: None,
    });
    let network = blue(&state).with_limits(limits);
    for _ in 0..50 {
        let mut store = network.lock().unwrap();
        acquire(&mut store, "c", &config);
        release(&mut store, "c");
    }
    let audit = dir.path().join("networks/blue/audit");
    let kept = fs::read_dir(audit)
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len());
    let kept: Vec<u64> = kept.collect();
    assert!(
        kept.len() > 1 && kept.iter().sum::<u64>() <= 10_000,
        "{kept:?}"
    );
}

#[test]
fn old_journals_go_when_they_are_of_age() {
    let dir = TempDir::new("aged");
    let config = small();
    {
        let mut store = store(dir.path(), 0, 4);
        for nth in 0..40 {
            acquire(&mut store, &format!("c{nth}"), &config);
            release(&mut store, &format!("c{nth}"));
        }
    }
    let audit = dir.path().join("networks/blue/audit");
    let mut segments: Vec<_> = fs::read_dir(&audit)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    segments.sort();
    assert!(segments.len() > 2, "{segments:?}");
    // It is 1000 seconds after 1970 in these tests.
    for (nth, path) in (0..).zip(&segments) {
        let written = UNIX_EPOCH + Duration::from_secs(990 + nth);
        File::open(path).unwrap().set_modified(written).unwrap();
    }
    let state = state(dir.path(), "a", 0);
    let kept = |age_secs| {
        state.keep_audit(AuditBounds {
            bytes: u64::MAX,
            age_secs,
        });
        state.trim_audit().unwrap();
        fs::read_dir(&audit).unwrap().count()
    };
    assert_eq!(kept(None), segments.len());
    // A clock that goes back makes nothing older.
    assert_eq!(kept(Some(2000)), segments.len());
    assert_eq!(kept(Some(9)), segments.len() - 1);
    assert!(!segments[0].exists());
    assert_eq!(kept(Some(0)), 0);
}
