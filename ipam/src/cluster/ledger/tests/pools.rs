use super::*;
use crate::cluster::schema::{Beneficiary, ReservationRow};

#[test]
fn pools_that_give_nothing_say_why() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/16", 6));
    let mut node = Node::up("n1", &store);
    node.add_plain("c0");
    for (change, text) in [
        (
            Box::new(|pool: &mut PoolRow| pool.state = PoolState::Draining)
                as Box<dyn Fn(&mut PoolRow)>,
            "p (10.4.0.0/16 and fd00:4::/64): it is draining",
        ),
        (
            Box::new(|pool: &mut PoolRow| pool.state = PoolState::Disabled),
            "p (10.4.0.0/16 and fd00:4::/64): it is disabled",
        ),
        (
            Box::new(|pool: &mut PoolRow| pool.nodes = "zone=b".parse().unwrap()),
            "p (10.4.0.0/16 and fd00:4::/64): it is not for nodes with these labels",
        ),
        (
            Box::new(|pool: &mut PoolRow| pool.namespaces = vec!["team-*".parse().unwrap()]),
            "p (10.4.0.0/16 and fd00:4::/64): it is not for this namespace",
        ),
    ] {
        let mut pool = dual("10.4.0.0/16", 6);
        change(&mut pool);
        add_pool(&store, "p", &pool);
        node.pump();
        let refusal = node.refusal(&ask("c1"));
        assert_eq!(
            refusal,
            format!(
                "no pool is for this attachment: {text}; change the pools' selectors, or ask for another pool"
            )
        );
        assert!(
            matches!(node.acquire(&ask("c0")), Acquire::Granted(_)),
            "what is held stays"
        );
    }
    let mut meant = ask("c1");
    meant.pod = Some(pod("web-0"));
    node.add(&meant).unwrap();
    let mut other = ask("c2");
    other.pools = PoolChoice::Named(vec![pool_name("q")]);
    assert_eq!(
        node.refusal(&other),
        "there is no pool q; the cluster has p: name one of them, or add it with `bulkhead pool add`"
    );
}

#[test]
fn any_pool_is_the_one_of_the_highest_priority_that_has_something() {
    let store = store();
    let mut high = PoolRow::new(
        Geometry::new(Layout {
            v4: Some(Subnet::of("10.5.0.0/29".parse().unwrap())),
            block_bits: 3,
            ..Layout::default()
        })
        .unwrap(),
    );
    high.priority = 10;
    add_pool(&store, "a", &dual("10.4.0.0/16", 6));
    add_pool(&store, "z", &high);
    let mut node = Node::up("n1", &store);
    let mut pools = Vec::new();
    for nth in 0..8 {
        let mut any = ask(&format!("c{nth}"));
        any.pools = PoolChoice::Any;
        node.add(&any).unwrap();
        pools.push(node.recorded.last().unwrap().pool.to_string());
    }
    assert_eq!(pools, ["z", "z", "z", "z", "z", "a", "a", "a"]);
}

#[test]
fn a_tenant_s_pool_is_given_to_its_segment_alone() {
    let store = store();
    let mut row = dual("10.4.0.0/16", 6);
    row.tenant = Some("blue".parse().unwrap());
    add_pool(&store, "p", &row);
    let mut node = Node::up("n1", &store);
    let of_segment = |container: &str| PoolAsk {
        segment: true,
        ..ask(container)
    };
    // What a tenant with the same addresses keeps is nothing to this one.
    let theirs = ReservationRow {
        pool: Some(pool_name("q")),
        spans: vec!["10.4.0.0/16".parse().unwrap()],
        beneficiary: None,
        reason: String::new(),
        by: "ops".to_owned(),
        at_unix_ms: 0,
    };
    put(
        &store,
        &Place::Reservation("theirs".parse().unwrap()),
        &theirs,
    );
    node.pump_for(1_000);
    node.add(&of_segment("c0")).unwrap();
    let mut of_another = of_segment("c1");
    of_another.key.network = "red".parse().unwrap();
    for refused in [ask("c1"), of_another] {
        let Acquire::Refused(refusal) = node.acquire(&refused) else {
            panic!("{refused:?} is served");
        };
        assert!(
            refusal.to_string().contains("it is the tenant's alone"),
            "{refusal}"
        );
    }
    let mut any = of_segment("c1");
    any.pools = PoolChoice::Any;
    assert!(matches!(node.acquire(&any), Acquire::Refused(_)));
}

#[test]
fn a_draining_pool_gets_its_blocks_back() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/16", 6));
    let mut node = Node::up("n1", &store);
    node.add_plain("c0");
    node.pump_for(1_000);
    let mut draining = dual("10.4.0.0/16", 6);
    draining.state = PoolState::Draining;
    add_pool(&store, "p", &draining);
    node.pump_for(200_000);
    assert_eq!(blocks(&store).len(), 1, "something is held");
    node.del("c0");
    for (pool, ordinal, _) in node.ledger.unconfirmed() {
        node.ledger.confirm_cooled(&pool, ordinal);
    }
    node.pump_for(200_000);
    assert_eq!(blocks(&store), []);
}

#[test]
fn reserved_addresses_are_for_whom_they_are_reserved() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/26", 6));
    let reservation = |spans: &str, beneficiary| ReservationRow {
        pool: None,
        spans: vec![spans.parse().unwrap()],
        beneficiary,
        reason: String::new(),
        by: String::new(),
        at_unix_ms: 0,
    };
    let place = |name: &str| Place::Reservation(name.parse().unwrap());
    let dns = Beneficiary::Pod {
        namespace: "team-a".to_owned(),
        name: "dns-0".to_owned(),
    };
    put(&store, &place("dns"), &reservation("10.4.0.53", Some(dns)));
    let db = Beneficiary::Labels("app=db".parse().unwrap());
    put(
        &store,
        &place("db"),
        &reservation("fd00:4::8-fd00:4::9", Some(db)),
    );
    put(
        &store,
        &place("nobody"),
        &reservation("10.4.0.2-10.4.0.7", None),
    );
    let mut node = Node::up("n1", &store);
    let mut wanted = ask("c0");
    wanted.requested = vec!["10.4.0.53".parse().unwrap()];
    assert_eq!(
        node.refusal(&wanted),
        "address 10.4.0.53 is reserved by dns, which is not for this attachment; ask for another, or change the reservation"
    );
    let mut meant = ask("c1");
    meant.pod = Some(pod("dns-0"));
    assert_eq!(node.add(&meant), Ok(53));
    let mut database = |nth: u32| {
        let mut ask = ask(&format!("db{nth}"));
        ask.labels = [("app".to_owned(), "db".to_owned())].into();
        node.add(&ask)
    };
    let mut got = [database(0).unwrap(), database(1).unwrap()];
    got.sort_unstable();
    assert_eq!(got, [8, 9]);
    assert_eq!(
        database(2).unwrap_err().to_string(),
        "reservation db has no address left; release one, or make it larger with `bulkhead ipam reserve`"
    );
    let mut plain = Vec::new();
    while let Ok(ordinal) = node.add(&ask(&format!("x{}", plain.len()))) {
        plain.push(ordinal);
    }
    plain.sort_unstable();
    assert_eq!(plain, (10..63).filter(|at| *at != 53).collect::<Vec<_>>());
}

#[test]
fn reservations_hold_for_addresses_that_are_free_already() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/26", 6));
    let mut node = Node::up("n1", &store);
    node.add_plain("c0");
    let row = ReservationRow {
        pool: None,
        spans: vec!["10.4.0.0/27".parse().unwrap()],
        beneficiary: None,
        reason: String::new(),
        by: String::new(),
        at_unix_ms: 0,
    };
    put(&store, &Place::Reservation("r".parse().unwrap()), &row);
    node.pump();
    let rest: Vec<u64> = (1..20)
        .map(|nth| node.add_plain(&format!("c{nth}")))
        .collect();
    assert!(rest.iter().all(|ordinal| *ordinal >= 32), "{rest:?}");
    assert!(matches!(node.acquire(&ask("c0")), Acquire::Granted(_)));
}

#[test]
fn other_block_sizes_are_for_new_blocks() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/16", 6));
    let mut node = Node::up("n1", &store);
    node.add_plain("c0");
    node.pump_for(1_000);
    let mut other = dual("10.4.0.0/16", 4);
    other.largest_bits = 6;
    add_pool(&store, "p", &other);
    for nth in 1..70 {
        node.add_plain(&format!("c{nth}"));
        node.pump();
    }
    let all = blocks(&store);
    let count = |bits| all.iter().filter(|(block, _)| block.bits() == bits).count();
    assert_eq!(count(6), 1);
    assert!(count(4) >= 1);
}

#[test]
fn a_pool_that_is_not_understood_or_begins_elsewhere_gives_nothing_and_loses_nothing() {
    for value in [
        br#"{"v":2}"#.to_vec(),
        b"garbage".to_vec(),
        encode(&dual("10.9.0.0/16", 6)),
    ] {
        let store = store();
        add_pool(&store, "p", &dual("10.4.0.0/16", 6));
        let mut node = Node::up("n1", &store);
        node.add_plain("c0");
        node.pump_for(1_000);
        let key = Schema::default().key(&Place::Pool(pool_name("p")));
        let txn = Txn {
            when: vec![],
            writes: vec![Write::Put(key, value)],
        };
        store.commit(&txn).unwrap();
        node.pump_for(1_000);
        assert!(node.add(&ask("c1")).is_err());
        assert!(matches!(node.acquire(&ask("c0")), Acquire::Granted(_)));
        assert!(node.ledger.troubles()[0].starts_with("pool p gives nothing out: "));
        node.restart();
        node.pump_for(1_000);
        assert_eq!(node.ledger.held().count(), 1);
        add_pool(&store, "p", &dual("10.4.0.0/16", 6));
        node.pump_for(1_000);
        node.add_plain("c1");
    }
}

#[test]
fn a_pool_that_is_expected_has_a_block_before_the_first_add() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/16", 6));
    let mut node = Node::start("n1", &store);
    node.ledger.expect_pools(PoolChoice::Any);
    node.pump();
    assert!(matches!(node.acquire(&ask("c0")), Acquire::Granted(_)));
}

#[test]
fn of_any_pool_a_block_is_claimed_ahead_of_the_one_that_serves_first() {
    let store = store();
    for (name, v4, priority, nodes) in [
        ("elsewhere", "10.1.0.0/16", 9, "zone=b"),
        ("first", "10.2.0.0/16", 5, ""),
        ("second", "10.3.0.0/16", 0, ""),
    ] {
        let mut row = PoolRow::new(
            Geometry::new(Layout {
                v4: Some(Subnet::of(v4.parse().unwrap())),
                v6: None,
                block_bits: 6,
                reserved: Vec::new(),
                node_addresses: false,
            })
            .unwrap(),
        );
        row.priority = priority;
        row.nodes = nodes.parse().unwrap();
        add_pool(&store, name, &row);
    }
    let mut node = Node::start("n1", &store);
    node.ledger.expect_pools(PoolChoice::Any);
    node.pump_for(10_000);
    let owned: Vec<String> = node
        .ledger
        .blocks()
        .map(|(pool, _, _)| pool.to_string())
        .collect();
    assert_eq!(owned, ["first"]);
}
