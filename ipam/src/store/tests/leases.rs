//! What leases are: idempotent, cooled, fenced by their sequence, audited.

use super::*;
use crate::Refusal;
use crate::error::AcquireError;
use crate::record::{Ipam, Netns, PodRef, PoolLease};

pub(super) fn refusal(result: Result<Acquired, AcquireError>) -> Refusal {
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
fn a_lease_says_whose_it_is_and_which_pool_it_comes_from() {
    let dir = TempDir::new("pod");
    let config = small();
    let pod = |name: &str| PodRef {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        uid: Some("7f0c".to_owned()),
    };
    let lease = PoolLease {
        pool: "default".to_owned(),
        ordinal: 71,
    };
    let of_pod = Draft {
        pod: Some(pod("cart")),
        ..draft("c0")
    };
    let of_pool = Draft {
        pool: Some(lease.clone()),
        ..draft("c1")
    };
    {
        let mut store = store(dir.path(), 0, 128);
        store.acquire(of_pod, &config).unwrap();
        let theirs = addresses(&store.acquire(draft("c2"), &config).unwrap());
        assert_eq!(theirs, ["10.1.0.11", "fd00::11"]);
        store
            .record(of_pool.clone(), Vec::new(), Ipam::Own)
            .unwrap();
    }
    let mut store = store(dir.path(), 1, 128);
    let record = store.find(&draft("c0").key.id()).unwrap().unwrap();
    assert_eq!((record.pod, record.pool), (Some(pod("cart")), None));
    let record = store.find(&draft("c1").key.id()).unwrap().unwrap();
    assert_eq!((record.pod, record.pool), (None, Some(lease)));
    assert!(matches!(
        store.record(of_pool, Vec::new(), Ipam::Own).unwrap(),
        Acquired::Existing(_)
    ));
    release(&mut store, "c0");
    let events = store.history(ip("10.1.0.10")).unwrap();
    assert_eq!(events.len(), 2);
    for event in events {
        assert_eq!(event.pod, Some(pod("cart")), "{event:?}");
        assert_eq!(event.key.network.as_str(), "blue");
    }
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
        "other its network namespace is gone, the path leads to another one",
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
