//! What leases are: idempotent, cooled, fenced by their sequence, audited.

use super::*;
use crate::error::{AcquireError, OpenError};
use crate::record::{Ipam, Netns};
use crate::{Refusal, StoreError};

fn refusal(result: Result<Acquired, AcquireError>) -> Refusal {
    match result {
        Err(AcquireError::Refused { refusal, .. }) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_families_are_given_never_used_ones_first_then_the_oldest_freed() {
    let dir = TempDir::new("order");
    let config = small();
    let mut store = store(dir.path(), 0, 128);
    assert_eq!(
        acquire(&mut store, "c0", &config),
        ["10.1.0.10", "fd00::10"]
    );
    assert_eq!(
        acquire(&mut store, "c1", &config),
        ["10.1.0.11", "fd00::11"]
    );
    release(&mut store, "c1");
    release(&mut store, "c0");
    for (nth, expected) in ["10.1.0.12", "10.1.0.13", "10.1.0.14", "10.1.0.15"]
        .iter()
        .enumerate()
    {
        assert_eq!(
            acquire(&mut store, &format!("d{nth}"), &config)[0],
            *expected
        );
    }
    assert_eq!(
        acquire(&mut store, "e0", &config),
        ["10.1.0.11", "fd00::11"]
    );
    assert_eq!(
        acquire(&mut store, "e1", &config),
        ["10.1.0.10", "fd00::10"]
    );
    let full = store.acquire(draft("e2"), &config).unwrap_err();
    assert_eq!(
        full.to_string(),
        "network blue: range set 0 (10.1.0.10-10.1.0.15) is exhausted: 6 of 6 addresses are held; \
         release attachments, run garbage collection or add a range"
    );
    assert!(!full.is_retriable());
    assert_eq!(store.live_count(), 6);
}

#[test]
fn a_second_acquire_answers_the_recorded_lease_unless_it_is_contradicted() {
    let dir = TempDir::new("idempotent");
    let config = small();
    let mut store = store(dir.path(), 0, 128);
    let first = store.acquire(draft("c0"), &config).unwrap();
    assert!(matches!(first, Acquired::New(_)));
    let again = store
        .acquire(draft("c0"), &asking(&config, &["fd00::10"]))
        .unwrap();
    assert_eq!(again, Acquired::Existing(first.record().clone()));
    let other = store
        .acquire(draft("c0"), &asking(&config, &["10.1.0.12"]))
        .unwrap_err();
    assert_eq!(
        other.to_string(),
        "attachment blue c0 eth0 already holds 10.1.0.10, fd00::10, but 10.1.0.12 is asked for; \
         detach it first"
    );
    assert_eq!(store.live_count(), 1);
}

#[test]
fn a_requested_address_is_honoured_or_refused_with_the_reason() {
    let dir = TempDir::new("static");
    let mut config = config(&json!({
        "subnet": "10.1.0.0/24", "exclude": ["10.1.0.64/28"], "cooldownSecs": 60
    }));
    let mut store = store(dir.path(), 0, 128);
    let held = acquire(&mut store, "c0", &asking(&config, &["10.1.0.9"]));
    assert_eq!(held, ["10.1.0.9"]);
    let texts: Vec<String> = [
        "10.1.0.9",
        "10.1.0.1",
        "10.1.0.70",
        "10.2.0.1",
        "10.1.0.255",
    ]
    .iter()
    .map(|wanted| {
        let asked = asking(&config, &[wanted]);
        refusal(store.acquire(draft("c1"), &asked)).to_string()
    })
    .collect();
    let expected = [
        "address 10.1.0.9 is held by attachment blue c0 eth0; release that one or ask for another",
        "address 10.1.0.1 is the gateway of 10.1.0.0/24 and never given out; ask for another",
        "address 10.1.0.70 is excluded by 10.1.0.64-10.1.0.79; ask for another or change `exclude`",
        "address 10.2.0.1 is in no range of the network (10.1.0.1-10.1.0.254); ask for one that is",
        "address 10.1.0.255 is in no range of the network (10.1.0.1-10.1.0.254); ask for one that is",
    ];
    assert_eq!(texts, expected);
    let two = refusal(store.acquire(draft("c1"), &asking(&config, &["10.1.0.8", "10.1.0.7"])));
    assert_eq!(
        two.to_string(),
        "addresses 10.1.0.8 and 10.1.0.7 are both of range set 0, which gives one; ask for one of them"
    );
    // Whoever names an address wants that one, cool or not; and the cursor passes it.
    release(&mut store, "c0");
    assert_eq!(
        acquire(&mut store, "c2", &asking(&config, &["10.1.0.9"])),
        ["10.1.0.9"]
    );
    config.requested.clear();
    for nth in 2..9 {
        assert_eq!(
            acquire(&mut store, &format!("d{nth}"), &config),
            [format!("10.1.0.{nth}")]
        );
    }
    assert_eq!(acquire(&mut store, "d9", &config), ["10.1.0.10"]);
}

#[test]
fn a_freed_address_cools_down() {
    let dir = TempDir::new("cooling");
    let config = config(&json!({
        "subnet": "10.1.0.0/30", "gateway": "10.1.0.1", "cooldownSecs": 10
    }));
    {
        let mut store = store(dir.path(), 5_000, 128);
        acquire(&mut store, "c0", &config);
        release(&mut store, "c0");
        let refused = store.acquire(draft("c1"), &config).unwrap_err();
        assert!(refused.is_retriable());
        assert_eq!(
            refusal(Err(refused)).to_string(),
            "range set 0 (10.1.0.1-10.1.0.2): all 0 held, 1 cooling down after release, the next is \
             free in 10000 ms; try again, or lower cooldownSecs"
        );
        assert_eq!(store.usage().unwrap()[0].cooling, 1);
    }
    let early = store(dir.path(), 14_999, 128).acquire(draft("c1"), &config);
    assert!(matches!(
        refusal(early),
        Refusal::Cooling { next_in_ms: 1, .. }
    ));
    let mut later = store(dir.path(), 15_000, 128);
    assert_eq!(acquire(&mut later, "c1", &config), ["10.1.0.2"]);
    release(&mut later, "c1");
    drop(later);
    // After a boot nothing is left of it that could mistake the new holder for the old one.
    let mut rebooted = blue(&state(dir.path(), "b", 1)).lock().unwrap();
    assert_eq!(acquire(&mut rebooted, "c2", &config), ["10.1.0.2"]);
}

#[test]
fn a_late_release_cannot_free_a_new_lease() {
    let dir = TempDir::new("stale");
    let config = small();
    let mut store = store(dir.path(), 0, 128);
    let id = draft("c0").key.id();
    let old = store
        .acquire(draft("c0"), &config)
        .unwrap()
        .record()
        .sequence;
    assert!(matches!(
        store.release(&id, old, "del").unwrap(),
        Released::Freed(_)
    ));
    assert_eq!(store.release(&id, old, "del").unwrap(), Released::Absent);
    let new = store
        .acquire(draft("c0"), &config)
        .unwrap()
        .record()
        .sequence;
    assert_ne!(old, new);
    assert_eq!(
        store.release(&id, old, "del").unwrap(),
        Released::Superseded(new)
    );
    assert_eq!(store.live_count(), 1);
    assert!(matches!(
        store.release(&id, new, "del").unwrap(),
        Released::Freed(_)
    ));
    assert_eq!(store.live_count(), 0);
}

#[test]
fn a_reboot_keeps_the_address_and_makes_a_new_lease() {
    let dir = TempDir::new("reboot");
    let config = small();
    let old = store(dir.path(), 0, 128)
        .acquire(draft("c0"), &config)
        .unwrap();
    let mut rebooted = blue(&state(dir.path(), "b", 0)).lock().unwrap();
    let stale = rebooted.stale(&Valid::Absent).unwrap();
    assert_eq!(stale[0].reason, StaleReason::OtherBoot);
    let new = rebooted.acquire(draft("c0"), &config).unwrap();
    assert!(matches!(new, Acquired::Renewed(_)));
    assert_eq!(addresses(&new), addresses(&old));
    assert_ne!(new.record().sequence, old.record().sequence);
    assert_eq!(rebooted.stale(&Valid::Absent).unwrap(), []);
    assert_eq!(rebooted.live_count(), 1);
}

#[test]
fn dead_attachments_make_room_when_nothing_else_does() {
    let dir = TempDir::new("bury");
    let config = small();
    let mut before = store(dir.path(), 0, 128);
    for nth in 0..6 {
        acquire(&mut before, &format!("c{nth}"), &config);
    }
    assert!(matches!(
        refusal(before.acquire(draft("d0"), &config)),
        Refusal::Exhausted { held: 6, .. }
    ));
    drop(before);
    let mut rebooted = blue(&state(dir.path(), "b", 0)).lock().unwrap();
    assert_eq!(
        acquire(&mut rebooted, "d0", &config),
        ["10.1.0.10", "fd00::10"]
    );
    assert_eq!(rebooted.live_count(), 1);
    let events = rebooted.history(ip("10.1.0.11")).unwrap();
    assert_eq!(
        events[1].change,
        Change::Released(
            "reclaimed, the pool being exhausted: made before the machine booted".to_owned()
        )
    );
}

#[test]
fn garbage_is_told_with_its_reason() {
    let dir = TempDir::new("gc");
    let config = small();
    let mut store = store(dir.path(), 0, 128);
    let there = dir.path().join("netns");
    fs::write(&there, "").unwrap();
    for (container, path, inode) in [
        ("alive", there.clone(), None),
        ("gone", dir.path().join("never"), None),
        ("other", there.clone(), Some(1)),
    ] {
        let netns = Some(Netns {
            path,
            device: None,
            inode,
        });
        let draft = Draft {
            netns,
            ..draft(container)
        };
        store.acquire(draft, &config).unwrap();
    }
    let told = |valid: &Valid<'_>| {
        let stale = store.stale(valid).unwrap().into_iter();
        let text = |stale: Stale| format!("{} {}", stale.record.key.container, stale.reason);
        let mut all: Vec<String> = stale.map(text).collect();
        all.sort();
        all
    };
    let dead = [
        "gone its network namespace is gone",
        "other its network namespace is gone",
    ];
    assert_eq!(told(&Valid::Absent), dead);
    let nobody = ["alive not listed by the runtime", dead[0], dead[1]];
    assert_eq!(told(&Valid::Listed(&[])), nobody);
    let list = [("gone".parse().unwrap(), "eth0".parse().unwrap())];
    assert_eq!(
        told(&Valid::Listed(&list)),
        ["alive not listed by the runtime", dead[1]]
    );
}

#[test]
fn who_had_an_address_is_answered_across_checkpoints_and_pools() {
    let dir = TempDir::new("audit");
    let config = config(&json!({"subnet": "10.1.0.0/30", "cooldownSecs": 0}));
    for at in 0..20 {
        let mut store = store(dir.path(), at, 4);
        acquire(&mut store, &format!("c{at}"), &config);
        release(&mut store, &format!("c{at}"));
    }
    let store = store(dir.path(), 99, 4);
    let events = store.history(ip("10.1.0.2")).unwrap();
    assert_eq!(events.len(), 40);
    for (at, pair) in events.chunks(2).enumerate() {
        let name = format!("c{at}");
        assert!(
            pair.iter()
                .all(|event| event.key.container.as_str() == name)
        );
        assert_eq!(pair[0].change, Change::Acquired);
        assert_eq!(pair[1].change, Change::Released("del".to_owned()));
        assert_eq!(pair[0].at_unix_ms, 1_000_000 + u64::try_from(at).unwrap());
    }
    let other = crate::config::PoolConfig {
        source: small().source,
        ..config
    };
    drop(store);
    let mut store = super::store(dir.path(), 100, 4);
    acquire(&mut store, "moved", &other);
    assert_eq!(store.history(ip("10.1.0.2")).unwrap().len(), 40);
}

#[test]
fn the_audit_log_is_bounded() {
    let dir = TempDir::new("bounded");
    let config = small();
    let limits = Limits {
        tail_records: 4,
        journal_bytes: 2000,
        freed: 16,
        audit_bytes: 10_000,
    };
    let network = blue(&state(dir.path(), "a", 0)).with_limits(limits);
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
        audit_bytes: 1 << 20,
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
