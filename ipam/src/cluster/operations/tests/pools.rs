use super::cluster::{NOW, lease_at, pool_row};
use super::*;
use crate::cluster::kv::KvError;
use crate::cluster::name::PoolName;
use crate::cluster::schema::{
    AuditPlace, AuditRow, ChangeRow, Happened, KeptRow, Place, PoolRow, PoolState, StickyRow,
};

fn row(cluster: &Cluster, name: &str) -> Option<PoolRow> {
    cluster.value(&Place::Pool(pool(name)))
}

fn add(cluster: &Cluster, name: &str, prefixes: &[&str]) -> Result<(), PoolAddError> {
    on(&cluster.store, &cluster.schema).pool_add(&operator(name), &pool(name), &pool_row(prefixes))
}

fn set(cluster: &Cluster, change: &PoolChange) -> Result<Vec<String>, PoolSetError> {
    on(&cluster.store, &cluster.schema).pool_set(&operator("set"), &pool("default"), change)
}

/// An error with its causes, as it is printed.
fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn v4(prefix: &str) -> PoolChange {
    PoolChange {
        v4: Some(prefix.parse().unwrap()),
        ..PoolChange::default()
    }
}

fn v6(prefix: &str) -> PoolChange {
    PoolChange {
        v6: Some(prefix.parse().unwrap()),
        ..PoolChange::default()
    }
}

#[test]
fn an_added_pool_stands_with_the_change_that_made_it() {
    let cluster = Cluster::empty();
    add(&cluster, "web", &["10.5.0.0/16"]).unwrap();
    assert_eq!(row(&cluster, "web").unwrap(), pool_row(&["10.5.0.0/16"]));
    let change: ChangeRow = cluster.value(&Place::Change).unwrap();
    assert_eq!(change.what, "pool web added");
    assert_eq!(change.by, "ops");
}

#[test]
fn a_pool_is_refused_with_what_stands_in_the_way() {
    let cluster = Cluster::new();
    for (name, prefixes, expected) in [
        (
            "default",
            &["10.9.0.0/16"][..],
            "pool default exists already, with 10.4.0.0/16 and fd00:4::/64; choose another name, or change that pool",
        ),
        (
            "web",
            &["10.4.8.0/22"],
            "10.4.8.0/22 of pool web overlaps 10.4.0.0/16 of pool default: an address is of one pool; choose another prefix, or remove default first",
        ),
        (
            "web",
            &["10.5.0.0/16", "fd00::/16"],
            "fd00::/16 of pool web overlaps fd00:4::/64 of pool default: an address is of one pool; choose another prefix, or remove default first",
        ),
    ] {
        let before = cluster.contents();
        assert_eq!(text(&add(&cluster, name, prefixes).unwrap_err()), expected);
        assert_eq!(cluster.contents(), before);
    }
}

#[test]
fn tenants_have_the_addresses_of_others_and_not_their_own_twice() {
    let cluster = Cluster::new();
    let add = |name: &str, tenant: &str, prefix: &str| {
        let row = PoolRow {
            tenant: Some(tenant.parse().unwrap()),
            ..pool_row(&[prefix])
        };
        on(&cluster.store, &cluster.schema).pool_add(&operator(name), &pool(name), &row)
    };
    add("blue", "blue", "10.4.0.0/16").unwrap();
    add("red", "red", "10.4.0.0/16").unwrap();
    let refused = add("more-red", "red", "10.4.8.0/24").unwrap_err();
    assert!(
        text(&refused).starts_with("10.4.8.0/24 of pool more-red overlaps 10.4.0.0/16 of pool red")
    );
    let kept = row(&cluster, "red").unwrap();
    assert_eq!(kept.tenant.as_ref().unwrap().as_str(), "red");
}

#[test]
fn two_operators_cannot_add_pools_that_overlap() {
    let cluster = Cluster::empty();
    let schema = cluster.schema.clone();
    let other = Box::new(move |store: &MemoryStore| {
        let row = pool_row(&["10.5.0.0/16"]);
        let operations = Operations::new(store, &schema);
        operations
            .pool_add(&operator("other"), &pool("theirs"), &row)
            .unwrap();
    });
    let fated = Fated::new(&cluster.store, [Fate::After(other)]);
    let error = on(&fated, &cluster.schema)
        .pool_add(&operator("a"), &pool("ours"), &pool_row(&["10.5.128.0/17"]))
        .unwrap_err();
    assert!(matches!(error, PoolAddError::Overlaps(_)), "{error}");
    assert_eq!(row(&cluster, "ours"), None);
}

#[test]
fn a_lost_answer_is_settled_by_reading_back() {
    for fates in [
        vec![Fate::MadeUnanswered],
        vec![Fate::LostUnanswered],
        vec![Fate::LostUnanswered, Fate::MadeUnanswered],
        vec![Fate::Late],
        vec![Fate::Late, Fate::LostUnanswered],
        vec![Fate::Late, Fate::Late],
    ] {
        let cluster = Cluster::empty();
        let fated = Fated::new(&cluster.store, fates);
        let added = pool_row(&["10.5.0.0/16"]);
        on(&fated, &cluster.schema)
            .pool_add(&operator("a"), &pool("web"), &added)
            .unwrap();
        assert_eq!(row(&cluster, "web"), Some(added));
        let change: ChangeRow = cluster.value(&Place::Change).unwrap();
        assert_eq!(change.attempt.0, "a");
    }
}

#[test]
fn a_change_that_was_made_and_overtaken_is_no_refusal() {
    let cluster = Cluster::empty();
    let schema = cluster.schema.clone();
    let other = Box::new(move |store: &MemoryStore| {
        let operations = Operations::new(store, &schema);
        let row = pool_row(&["10.6.0.0/16"]);
        operations
            .pool_add(&operator("other"), &pool("theirs"), &row)
            .unwrap();
    });
    let fated = Fated::new(&cluster.store, [Fate::MadeThen(other)]);
    on(&fated, &cluster.schema)
        .pool_add(&operator("a"), &pool("web"), &pool_row(&["10.5.0.0/16"]))
        .unwrap();
    assert!(row(&cluster, "web").is_some() && row(&cluster, "theirs").is_some());
}

#[test]
fn an_answer_that_never_comes_is_said_to_be_missing() {
    let cluster = Cluster::empty();
    let fated = Fated::new(&cluster.store, (0..9).map(|_| Fate::LostUnanswered));
    let error = on(&fated, &cluster.schema)
        .pool_add(&operator("a"), &pool("web"), &pool_row(&["10.5.0.0/16"]))
        .unwrap_err();
    assert!(
        matches!(
            error,
            PoolAddError::Store(StoreTrouble::Kv(KvError::Ambiguous { .. }))
        ),
        "{error}"
    );
    assert_eq!(error.reason(), Reason::Unavailable);
}

#[test]
fn a_pool_grows_around_what_is_in_use() {
    let cluster = Cluster::new();
    assert_eq!(set(&cluster, &v4("10.4.0.0/15")).unwrap(), [""; 0]);
    let row = row(&cluster, "default").unwrap();
    assert_eq!(row.geometry.size_bits(), 17);
    assert_eq!(row.laid_out_at_unix_ms, 0);
}

#[test]
fn a_pool_shrinks_down_to_what_is_in_use() {
    let cluster = Cluster::new();
    set(&cluster, &v4("10.4.0.0/22")).unwrap();
    assert_eq!(row(&cluster, "default").unwrap().geometry.size(), 1024);
}

#[test]
fn what_is_in_use_is_named_by_the_refusal_to_leave_it_out() {
    let cluster = Cluster::new();
    for (change, expected) in [
        (
            v4("10.4.0.0/24"),
            "pool default cannot shrink from 10.4.0.0/16 and fd00:4::/64 to 10.4.0.0/24 and fd00:4::/64: it would leave out block 10.4.1.0/26 and fd00:4::100/122 of n2, with lease 10.4.1.44 and fd00:4::12c of team-a/web-300 on n2; drain the pool or end these first, or choose a prefix around them",
        ),
        (
            v6("fd00:4::/120"),
            "pool default cannot shrink from 10.4.0.0/16 and fd00:4::/64 to 10.4.0.0/16 and fd00:4::/120: it would leave out block 10.4.1.0/26 and fd00:4::100/122 of n2, with lease 10.4.1.44 and fd00:4::12c of team-a/web-300 on n2; drain the pool or end these first, or choose a prefix around them",
        ),
        (
            v4("10.4.128.0/17"),
            "pool default cannot become 10.4.128.0/17 and fd00:4::/64 while it has block 10.4.0.64/26 and fd00:4::40/122 of n1 and block 10.4.1.0/26 and fd00:4::100/122 of n2, with lease 10.4.0.65 and fd00:4::41 of team-a/web-65 on n1, 10.4.0.66 and fd00:4::42 of team-a/web-66 on n1 and 10.4.1.44 and fd00:4::12c of team-a/web-300 on n2: its blocks and leases count from the first address of 10.4.0.0/16 and fd00:4::/64; keep the families and their first addresses, or add another pool and drain this one",
        ),
        (
            v4("fd01::/64"),
            "pool default cannot be changed so: fd01::/64 is no IPv4 prefix; put it under the other family's key",
        ),
        (
            PoolChange {
                block_bits: Some(17),
                ..PoolChange::default()
            },
            "pool default cannot be changed so: block_bits 17 is more than 16, which is 65536 addresses a block; choose less",
        ),
        (
            PoolChange {
                unreserve: vec!["10.4.0.9".parse().unwrap()],
                ..PoolChange::default()
            },
            "pool default does not reserve 10.4.0.9; it reserves: nothing",
        ),
    ] {
        let before = cluster.contents();
        assert_eq!(text(&set(&cluster, &change).unwrap_err()), expected);
        assert_eq!(cluster.contents(), before);
    }
}

#[test]
fn a_lease_on_the_new_last_address_keeps_a_pool_from_shrinking() {
    let cluster = Cluster::new();
    let pools = row(&cluster, "default").unwrap();
    cluster.block("default", 448, 6, "n1");
    cluster.put(&lease_at("default", 511), &lease(&pools, 511, "n1"));
    let error = set(&cluster, &v4("10.4.0.0/23")).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("leave out lease 10.4.1.255 and fd00:4::1ff of team-a/web-511 on n1; drain"),
        "{error}"
    );
    set(&cluster, &v4("10.4.0.0/22")).unwrap();
}

#[test]
fn a_pool_without_blocks_moves_and_forgets_whose_its_addresses_were() {
    let cluster = Cluster::empty();
    cluster.put(&Place::Pool(pool("default")), &pool_row(&["10.4.0.0/16"]));
    set(&cluster, &v4("10.5.0.0/16")).unwrap();
    let row = row(&cluster, "default").unwrap();
    assert_eq!(row.geometry.addresses(9)[0].to_string(), "10.5.0.9");
    assert_eq!(row.laid_out_at_unix_ms, NOW);
    assert_eq!(
        row.geometry
            .layout()
            .v4
            .unwrap()
            .gateway
            .unwrap()
            .to_string(),
        "10.5.0.1"
    );
}

#[test]
fn a_block_that_is_claimed_meanwhile_keeps_a_pool_from_shrinking() {
    let cluster = Cluster::new();
    let claimed = Cluster {
        store: cluster.store.clone(),
        schema: cluster.schema.clone(),
    };
    let claim = Box::new(move |_: &MemoryStore| claimed.block("default", 1024, 6, "n1"));
    let fated = Fated::new(&cluster.store, [Fate::After(claim)]);
    let error = on(&fated, &cluster.schema)
        .pool_set(&operator("set"), &pool("default"), &v4("10.4.0.0/22"))
        .unwrap_err();
    assert!(error.to_string().contains("block 10.4.4.0/26"), "{error}");
}

#[test]
fn a_block_larger_than_the_smaller_pool_keeps_it_from_shrinking() {
    let cluster = Cluster::empty();
    let mut large = pool_row(&["10.4.0.0/16"]);
    large.largest_bits = 10;
    cluster.put(&Place::Pool(pool("default")), &large);
    cluster.register("n1");
    let claimed = Cluster {
        store: cluster.store.clone(),
        schema: cluster.schema.clone(),
    };
    let claim = Box::new(move |_: &MemoryStore| claimed.block("default", 0, 10, "n1"));
    let fated = Fated::new(&cluster.store, [Fate::After(claim)]);
    let error = on(&fated, &cluster.schema)
        .pool_set(&operator("set"), &pool("default"), &v4("10.4.0.0/24"))
        .unwrap_err();
    assert!(error.to_string().contains("block 10.4.0.0/22"), "{error}");
}

#[test]
fn a_changed_block_size_is_for_new_blocks() {
    let cluster = Cluster::new();
    let bits = |block_bits| PoolChange {
        block_bits: Some(block_bits),
        ..PoolChange::default()
    };
    assert_eq!(
        set(&cluster, &bits(8)).unwrap(),
        ["blocks that are claimed from now on have 256 addresses; those there are keep their size"]
    );
    set(&cluster, &bits(4)).unwrap();
    let row = row(&cluster, "default").unwrap();
    assert_eq!((row.geometry.block_bits(), row.largest_bits), (4, 8));
}

#[test]
fn what_is_leased_in_a_newly_reserved_span_stays_and_is_named() {
    let cluster = Cluster::new();
    let change = PoolChange {
        reserve: vec!["10.4.0.60-10.4.0.65".parse().unwrap()],
        ..PoolChange::default()
    };
    assert_eq!(
        set(&cluster, &change).unwrap(),
        [
            "leased where it is reserved now, and stays: 10.4.0.65 and fd00:4::41 of team-a/web-65 on n1"
        ]
    );
    assert_eq!(
        set(&cluster, &change).unwrap(),
        ["pool default is so already"]
    );
    let back = PoolChange {
        unreserve: change.reserve,
        ..PoolChange::default()
    };
    set(&cluster, &back).unwrap();
    assert!(row(&cluster, "default").unwrap().geometry.is_usable(65));
}

#[test]
fn a_drained_pool_says_what_it_waits_for() {
    let cluster = Cluster::new();
    for (state, note) in [
        (
            PoolState::Draining,
            "pool default has 2 blocks on 2 nodes; they are given back as their leases end",
        ),
        (
            PoolState::Disabled,
            "pool default has 2 blocks on 2 nodes; they stay, and nothing new is given out of them",
        ),
    ] {
        assert_eq!(set(&cluster, &PoolChange::to(state)).unwrap(), [note]);
        assert_eq!(row(&cluster, "default").unwrap().state, state);
    }
    assert_eq!(
        set(&cluster, &PoolChange::to(PoolState::Enabled)).unwrap(),
        [""; 0]
    );
}

#[test]
fn the_longest_cool_down_is_never_below_the_least() {
    let cluster = Cluster::new();
    let change = PoolChange {
        cooldown_secs: Some(3600),
        ..PoolChange::default()
    };
    set(&cluster, &change).unwrap();
    let row = row(&cluster, "default").unwrap();
    assert_eq!((row.cooldown_secs, row.cooldown_max_secs), (3600, 3600));
}

#[test]
fn a_missing_pool_is_refused_with_those_that_there_are() {
    let cluster = Cluster::new();
    let operations = on(&cluster.store, &cluster.schema);
    let name: PoolName = pool("defualt");
    let error = operations.pool_set(&operator("a"), &name, &PoolChange::to(PoolState::Draining));
    assert_eq!(
        error.unwrap_err().to_string(),
        "there is no pool defualt; there are: default"
    );
    let error = operations.pool_remove(&operator("a"), &name).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no pool defualt to remove; there are: default"
    );
    assert_eq!(error.reason(), Reason::NotFound);
}

fn remove(cluster: &Cluster, store: &dyn ClusterStore) -> Result<(), PoolRemoveError> {
    on(store, &cluster.schema).pool_remove(&operator("rm"), &pool("default"))
}

#[test]
fn a_pool_in_use_is_not_removed() {
    let cluster = Cluster::new();
    let error = remove(&cluster, &cluster.store).unwrap_err();
    assert_eq!(
        error.to_string(),
        "pool default cannot be removed while it has block 10.4.0.64/26 and fd00:4::40/122 of n1 and block 10.4.1.0/26 and fd00:4::100/122 of n2, with lease 10.4.0.65 and fd00:4::41 of team-a/web-65 on n1, 10.4.0.66 and fd00:4::42 of team-a/web-66 on n1 and 10.4.1.44 and fd00:4::12c of team-a/web-300 on n2; drain it, and remove it when its blocks are given back"
    );
}

/// A pool without blocks that keeps `kept` ordinals for names.
fn idle(kept: u64) -> Cluster {
    let cluster = Cluster::empty();
    cluster.put(&Place::Pool(pool("default")), &pool_row(&["10.4.0.0/16"]));
    for ordinal in 0..kept {
        let sticky = crate::cluster::name::StickyId {
            namespace: "team-a".parse().unwrap(),
            name: format!("web-{ordinal}").parse().unwrap(),
            network: "blue".parse().unwrap(),
        };
        let row = StickyRow {
            pool: pool("default"),
            ordinal,
            holder: None,
            attempt: Attempt::default(),
            changed_at_unix_ms: NOW,
        };
        cluster.put(&Place::Sticky(sticky.clone()), &row);
        let place = Place::Kept {
            pool: pool("default"),
            ordinal,
        };
        cluster.put(&place, &KeptRow { sticky });
    }
    cluster
}

#[test]
fn a_removed_pool_takes_what_it_keeps_for_names_with_it() {
    let cluster = idle(200);
    remove(&cluster, &cluster.store).unwrap();
    let keys: Vec<String> = cluster.contents().into_keys().collect();
    assert_eq!(keys, ["change", "meta"]);
}

#[test]
fn removing_a_pool_goes_on_after_an_interruption_anywhere() {
    for interrupted in 0..5 {
        let cluster = idle(200);
        let interrupted = Fated::at(&cluster.store, interrupted, Fate::Unreachable);
        let error = remove(&cluster, &interrupted).unwrap_err();
        assert_eq!(error.reason(), Reason::Unavailable);
        assert!(row(&cluster, "default").is_some());
        remove(&cluster, &cluster.store).unwrap();
        assert_eq!(row(&cluster, "default"), None);
    }
}

#[test]
fn removing_a_pool_survives_lost_answers() {
    for nth in 0..5 {
        for fate in Fate::unanswered() {
            let cluster = idle(200);
            remove(&cluster, &Fated::at(&cluster.store, nth, fate)).unwrap();
            assert_eq!(cluster.contents().len(), 2);
        }
    }
}

#[test]
fn a_block_that_is_claimed_meanwhile_keeps_a_pool() {
    let cluster = idle(0);
    cluster.register("n1");
    let claimed = Cluster {
        store: cluster.store.clone(),
        schema: cluster.schema.clone(),
    };
    let claim = Box::new(move |_: &MemoryStore| claimed.block("default", 1024, 6, "n1"));
    let fated = Fated::new(&cluster.store, [Fate::After(claim)]);
    let error = remove(&cluster, &fated).unwrap_err();
    assert!(matches!(error, PoolRemoveError::InUse { .. }), "{error}");
}

#[test]
fn a_pool_of_an_earlier_pools_name_does_not_inherit_its_past() {
    let cluster = Cluster::empty();
    let place = AuditPlace {
        pool: pool("web"),
        ordinal: 9,
        at_unix_ms: NOW - 1,
        writer: "n1".to_owned(),
        nth: 0,
    };
    cluster.put(
        &Place::Audit(place),
        &AuditRow {
            at_unix_ms: NOW - 1,
            what: Happened::Released,
            node: node("n1"),
            reason: String::new(),
            bits: None,
            attachment: None,
            sequence: None,
            pod: None,
            since_unix_ms: None,
        },
    );
    add(&cluster, "web", &["10.5.0.0/16"]).unwrap();
    assert_eq!(row(&cluster, "web").unwrap().laid_out_at_unix_ms, NOW);
}

#[test]
fn a_row_that_is_not_understood_stops_every_change() {
    let cluster = Cluster::new();
    cluster.put_raw("pools/web", b"{");
    let error = add(&cluster, "new", &["10.9.0.0/16"]).unwrap_err();
    assert_eq!(error.reason(), Reason::Failed);
    assert!(
        error
            .to_string()
            .starts_with("row /bulkhead/v1/pools/web is damaged"),
        "{error}"
    );
}
