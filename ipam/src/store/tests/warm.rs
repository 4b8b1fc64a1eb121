//! The store in the memory of one process: the same as the files say, shared by threads, durable before
//! anybody is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::thread;

use super::model::Chance;
use super::*;
use crate::store::dir::Reach;
use crate::store::warm::{Missing, Network};

/// Several /24s of each family.
pub(super) fn wide() -> PoolConfig {
    config(&json!({"ranges": [[{"subnet": "10.4.0.0/16"}], [{"subnet": "fd00::/64"}]]}))
}

pub(super) fn warm(dir: &Path, since_boot_ms: u64) -> StateDir {
    let now = Now {
        since_boot_ms,
        unix_ms: 1_000_000 + since_boot_ms,
    };
    StateDir::open_in(dir, Access::Exclusive, Boot::fixed("a", now)).unwrap()
}

/// The network behind a warm store, which is opened.
pub(super) fn network(store: &NetworkStore) -> Arc<Network> {
    let Reach::Memory(warm) = &store.reach else {
        panic!("{store:?}");
    };
    warm.network(store, Missing::Make).unwrap().unwrap()
}

#[test]
fn it_says_the_same_as_files_do_after_every_call_and_every_opening() {
    for seed in 1..=4 {
        let (files, memory) = (TempDir::new("same-files"), TempDir::new("same-memory"));
        let mut chance = Chance::seeded(seed);
        let config = small();
        let mut open = warm(memory.path(), 0);
        for step in 0..200 {
            let name = format!("c{}", chance.below(9));
            let kind = chance.below(6);
            if kind == 0 {
                drop(open);
                open = warm(memory.path(), step);
            }
            let limits = Limits {
                tail_records: 5,
                journal_bytes: 2000,
                freed: 16,
            };
            let network = blue(&open).with_limits(limits);
            let mut stores = [store(files.path(), step, 7), network.lock().unwrap()];
            let told = stores.each_mut().map(|store| match kind {
                0..3 => format!("{:?}", release(store, &name)),
                _ => format!("{:?}", store.acquire(draft(&name), &config)),
            });
            // The clock stands still in a directory that stays open.
            let timeless = |text: &String| {
                let words = text.split(", ").filter(|word| !word.contains("unix_ms"));
                words.map(str::to_owned).collect::<Vec<_>>()
            };
            assert_eq!(timeless(&told[0]), timeless(&told[1]), "{seed} {step}");
            let said = stores.each_ref().map(|store| timeless(&said(store)));
            assert_eq!(said[0], said[1], "{seed} {step}");
            let read = network.read().unwrap().unwrap();
            assert_eq!(timeless(&super::said(&read)), said[1], "{seed} {step}");
        }
    }
}

#[test]
fn whoever_starts_is_told_everything_of_every_network() {
    let dir = TempDir::new("everything");
    let red = |state: &StateDir| state.network(&"red".parse().unwrap());
    {
        let state = state(dir.path(), "earlier", 0);
        let mut store = blue(&state).lock().unwrap();
        acquire(&mut store, "rebooted", &small());
        release(&mut store, "rebooted");
    }
    {
        let state = state(dir.path(), "a", 100);
        let mut store = red(&state).lock().unwrap();
        store
            .record(draft("theirs"), Vec::new(), crate::Ipam::None)
            .unwrap();
    }
    for (step, tail_records) in [(0, 2), (1, 128)] {
        let limits = Limits {
            tail_records,
            ..Limits::FILES
        };
        let state = state(dir.path(), "a", 100);
        let mut store = blue(&state).with_limits(limits).lock().unwrap();
        for name in ["stays", "goes"] {
            acquire(&mut store, &format!("{name}{step}"), &small());
        }
        release(&mut store, &format!("goes{step}"));
    }
    fs::create_dir_all(dir.path().join("networks/torn")).unwrap();
    fs::write(dir.path().join("networks/torn/journal"), "nonsense").unwrap();
    fs::write(dir.path().join("networks/torn/lock"), "").unwrap();
    let told = |state: &StateDir| {
        let told = state.everything().unwrap().map(|one| match one {
            Ok(Recorded::Attachment(record)) => record.key.to_string(),
            Ok(Recorded::Freed(freed)) => {
                format!(
                    "{} {} {:?}",
                    freed.network, freed.address, freed.freed_ms_ago
                )
            }
            Err(error) => error
                .to_string()
                .split(';')
                .next()
                .unwrap()
                .replace(dir.path().to_str().unwrap(), ""),
        });
        let mut told: Vec<_> = told.collect();
        told.sort();
        told
    };
    let expected = [
        "/networks/torn/journal is damaged at byte 0: the first line is not a journal's",
        "blue 10.1.0.10 None",
        "blue 10.1.0.12 Some(400)",
        "blue 10.1.0.14 Some(400)",
        "blue fd00::10 None",
        "blue fd00::12 Some(400)",
        "blue fd00::14 Some(400)",
        "blue stays0 eth0",
        "blue stays1 eth0",
        "blue theirs eth0",
    ];
    assert_eq!(told(&state(dir.path(), "a", 500)), expected);
    assert_eq!(told(&warm(dir.path(), 500)), expected);
}

#[test]
fn beside_a_daemon_leases_are_read_and_nothing_but_a_tombstone_is_written() {
    let dir = TempDir::new("beside");
    let gone = StateDir::open(&dir.path().join("never"), Access::Look);
    assert!(matches!(gone, Err(crate::OpenError::Missing(_))));
    let daemon = warm(dir.path(), 0);
    acquire(&mut blue(&daemon).lock().unwrap(), "c0", &small());
    // The daemon has the directory's lock and the network's, and keeps both.
    let beside = StateDir::open(dir.path(), Access::Look).unwrap();
    let snapshot = blue(&beside).read().unwrap().unwrap();
    let record = snapshot.find(&draft("c0").key.id()).unwrap().unwrap();
    let tombstone = crate::Tombstone {
        key: record.key,
        sequence: Some(record.sequence),
        detached_at_unix_ms: 1,
    };
    beside.spool().unwrap().add(&tombstone).unwrap();
    let refused = [
        blue(&beside).lock().map(drop).unwrap_err().to_string(),
        blue(&beside)
            .lock_existing()
            .map(drop)
            .unwrap_err()
            .to_string(),
        beside.host().map(drop).unwrap_err().to_string(),
        beside.host_ports().map(drop).unwrap_err().to_string(),
        beside.trim_audit().unwrap_err().to_string(),
        beside.node_id().unwrap_err().to_string(),
    ];
    for text in refused {
        assert!(text.starts_with("cannot change /"), "{text}");
    }
    assert_eq!(daemon.spool().unwrap().tombstones().unwrap(), [tombstone]);
}

#[test]
fn addresses_of_a_clusters_pool_are_held_and_cool_down_wherever_they_come_from() {
    let dir = TempDir::new("of-pool");
    let leased = |nth: u8| {
        let address = format!("10.9.0.{nth}/24").parse().unwrap();
        vec![crate::LeasedAddress {
            address,
            gateway: None,
            range: 0,
        }]
    };
    let limits = Limits {
        tail_records: 4,
        ..Limits::FILES
    };
    for since_boot_ms in [100, 200] {
        let state = warm(dir.path(), since_boot_ms);
        let store = blue(&state).with_limits(limits);
        for nth in 1..5 {
            let draft = Draft {
                pool: Some(crate::PoolLease {
                    pool: "default".to_owned(),
                    ordinal: nth.into(),
                }),
                ..draft(&format!("c{nth}"))
            };
            let key = draft.key.clone();
            let mut store = store.lock().unwrap();
            store.record(draft, leased(nth), crate::Ipam::Own).unwrap();
            let held = store.holder(ip(&format!("10.9.0.{nth}"))).unwrap().unwrap();
            assert_eq!((held.key, held.pool.unwrap().ordinal), (key, nth.into()));
        }
        for nth in 2..5 {
            release(&mut store.lock().unwrap(), &format!("c{nth}"));
        }
        network(&store).rest();
    }
    let state = warm(dir.path(), 1000);
    let freed = state
        .everything()
        .unwrap()
        .filter_map(|one| match one.unwrap() {
            Recorded::Freed(freed) => Some((freed.address, freed.freed_ms_ago)),
            Recorded::Attachment(_) => None,
        });
    let freed: BTreeMap<_, _> = freed.collect();
    let expected = [2, 3, 4].map(|nth| (ip(&format!("10.9.0.{nth}")), Some(800)));
    assert_eq!(freed, BTreeMap::from(expected));
}

/// Takes and gives back at random, and keeps in `mine` what it has.
fn churn(store: &NetworkStore, worker: u64, told: &Mutex<BTreeMap<String, u64>>) {
    let mut chance = Chance::seeded(worker + 1);
    for _ in 0..150 {
        let name = format!("w{worker}-{}", chance.below(12));
        let mut store = store.lock().unwrap();
        let known = told.lock().unwrap().get(&name).copied();
        let id = draft(&name).key.id();
        match known {
            Some(sequence) if chance.below(2) == 0 => {
                told.lock().unwrap().remove(&name);
                let released = store.release(&id, sequence, "del").unwrap();
                assert!(
                    matches!(released, Released::Freed(_)),
                    "{name} {released:?}"
                );
            }
            known => {
                let acquired = store.acquire(draft(&name), &wide()).unwrap();
                let sequence = acquired.record().sequence;
                assert_eq!(known.unwrap_or(sequence), sequence, "{name}");
                told.lock().unwrap().insert(name, sequence);
            }
        }
    }
}

/// What was told before the look is there, whoever looks.
fn look(read: &dyn Fn() -> Option<Snapshot>, told: &Mutex<BTreeMap<String, u64>>) {
    let (before, snapshot) = (told.lock().unwrap().clone(), read());
    let after = told.lock().unwrap().clone();
    let Some(snapshot) = snapshot else {
        return assert!(before.is_empty());
    };
    let mut held = BTreeSet::new();
    for record in snapshot.attachments().unwrap() {
        for address in &record.addresses {
            assert!(held.insert(address.address), "{address:?} is held twice");
        }
    }
    for (name, sequence) in before {
        // Unless it was given back meanwhile.
        if after.get(&name) == Some(&sequence) {
            let record = snapshot.find(&draft(&name).key.id()).unwrap();
            assert_eq!(
                record.map(|record| record.sequence),
                Some(sequence),
                "{name}"
            );
        }
    }
}

#[test]
fn threads_checkpoints_and_readers_of_the_files_go_on_beside_each_other() {
    let dir = TempDir::new("churn");
    let state = warm(dir.path(), 0);
    let limits = Limits {
        tail_records: 20,
        journal_bytes: 8000,
        freed: 64,
    };
    let store = blue(&state).with_limits(limits);
    let beside = StateDir::open_in(dir.path(), Access::Look, state.boot().clone()).unwrap();
    let told = Mutex::default();
    thread::scope(|scope| {
        let workers = [0, 1, 2, 3, 4, 5].map(|worker| {
            let (store, told) = (&store, &told);
            scope.spawn(move || churn(store, worker, told))
        });
        while workers.iter().any(|worker| !worker.is_finished()) {
            look(&|| store.read().unwrap(), &told);
            look(&|| blue(&beside).read().unwrap(), &told);
        }
    });
    network(&store).rest();
    let told = told.into_inner().unwrap();
    let said = said(&store.read().unwrap().unwrap());
    let segments = fs::read_dir(dir.path().join("networks/blue/audit")).unwrap();
    assert!(segments.count() > 3);
    assert_eq!(super::said(&blue(&beside).read().unwrap().unwrap()), said);
    drop((store, state));
    let files = super::store(dir.path(), 0, 128);
    assert_eq!(super::said(&files), said);
    assert_eq!(files.live_count(), u64::try_from(told.len()).unwrap());
}

#[test]
fn a_checkpoint_that_cannot_be_made_is_made_later_and_stops_nobody() {
    let dir = TempDir::new("no-checkpoint");
    let state = warm(dir.path(), 0);
    let limits = Limits {
        tail_records: 10,
        journal_bytes: 2000,
        freed: 16,
    };
    let store = blue(&state).with_limits(limits);
    let take = |from: u32, count: u32| {
        for nth in from..from + count {
            acquire(&mut store.lock().unwrap(), &format!("c{nth}"), &wide());
            network(&store).rest();
        }
    };
    take(0, 1);
    let files = dir.path().join("networks/blue");
    let in_the_way = ["checkpoint.new", "journal.new"].map(|name| files.join(name));
    for path in &in_the_way {
        fs::create_dir(path).unwrap();
    }
    take(1, 25);
    assert!(!files.join("checkpoint").exists());
    // The checkpoint is made, and no new journal is begun.
    fs::remove_dir(&in_the_way[0]).unwrap();
    take(26, 25);
    assert!(files.join("checkpoint").exists());
    let reopened = || said(&blue(&super::state(dir.path(), "a", 0)).lock().unwrap());
    let before = said(&store.read().unwrap().unwrap());
    let beside = StateDir::open_in(dir.path(), Access::Look, state.boot().clone()).unwrap();
    assert_eq!(said(&blue(&beside).read().unwrap().unwrap()), before);
    fs::remove_dir(&in_the_way[1]).unwrap();
    take(51, 25);
    let header = fs::read_to_string(files.join("journal")).unwrap();
    assert!(
        header.starts_with("bulkhead-journal 00000001 0000000000000002 "),
        "{header}"
    );
    let after = said(&store.read().unwrap().unwrap());
    drop((store, state));
    assert_eq!(reopened(), after);
}
