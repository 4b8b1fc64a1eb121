use super::*;

#[test]
fn a_stale_release_frees_nothing() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/16", 6));
    let mut node = Node::up("n1", &store);
    node.add_plain("c0");
    let late = node.recorded[0].sequence;
    assert!(node.del("c0"));
    let ordinal = node.add_plain("c0");
    assert!(
        !node
            .ledger
            .released(&key("c0"), late, Ended::Released, "late", node.now)
    );
    assert_eq!(
        node.acquire(&ask("c0")),
        node.ledger.grant(&pool_name("p"), ordinal)
    );
}

#[test]
fn a_second_release_and_one_of_a_stranger_free_nothing() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/16", 6));
    let mut node = Node::up("n1", &store);
    node.add_plain("c0");
    let sequence = node.recorded[0].sequence;
    assert!(node.del("c0"));
    assert!(
        !node
            .ledger
            .released(&key("c0"), sequence, Ended::Released, "again", node.now)
    );
    assert!(
        !node
            .ledger
            .released(&key("x"), 1, Ended::Released, "never", node.now)
    );
    assert_eq!(node.ledger.usage(&pool_name("p")).cooling, 1);
}

/// The reused address: its second life is as far from the first as the block allows, and each life is
/// told by its own sequence.
#[test]
fn an_address_is_reused_as_late_as_possible() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/26", 6));
    let mut node = Node::up("n1", &store);
    let first = node.add_plain("c0");
    node.pump_for(200);
    assert!(node.del("c0"));
    node.ledger.confirm_cooled(&pool_name("p"), first);
    node.pump_for(60_000);
    for nth in 1..61 {
        assert_ne!(node.add_plain(&format!("c{nth}")), first);
    }
    assert_eq!(node.add_plain("c61"), first);
    node.pump_for(300);
    let published: Vec<_> = leases(&store)
        .into_iter()
        .filter(|(at, ..)| *at == first)
        .collect();
    assert_eq!(published, [(first, "c61".to_owned(), node.sequence)]);
}

#[test]
fn a_full_pool_says_that_something_cools_and_gives_it_when_it_is_cool() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/29", 3));
    let mut node = Node::up("n1", &store);
    for nth in 0..5 {
        node.add_plain(&format!("c{nth}"));
    }
    node.del("c0");
    let error = node.add(&ask("c9")).unwrap_err();
    assert!(error.is_retriable());
    assert!(error.to_string().contains("1 cooling"), "{error}");
    node.pump_for(40_000);
    let waits = node.ledger.unconfirmed();
    assert_eq!(waits.len(), 1);
    assert!(node.add(&ask("c9")).is_err(), "it is not confirmed");
    node.ledger.confirm_cooled(&waits[0].0, waits[0].1);
    assert_eq!(node.add(&ask("c9")), Ok(waits[0].1));
}

#[test]
fn what_nobody_confirms_comes_back_in_the_end_and_is_audited() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/29", 3));
    let mut node = Node::up("n1", &store);
    for nth in 0..5 {
        node.add_plain(&format!("c{nth}"));
    }
    node.del("c0");
    node.pump_for(601_000);
    node.add_plain("c9");
    node.pump_for(300);
    let audit: Vec<(Place, crate::cluster::schema::AuditRow)> = rows(&store, "audit");
    let what = crate::cluster::schema::Happened::Unconfirmed;
    assert_eq!(audit.iter().filter(|(_, row)| row.what == what).count(), 1);
}

#[test]
fn what_was_abandoned_is_free_at_once_and_never_published() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/29", 3));
    let mut node = Node::up("n1", &store);
    for nth in 0..4 {
        node.add_plain(&format!("c{nth}"));
    }
    let Acquire::Granted(_) = node.acquire(&ask("x")) else {
        panic!("there is one left");
    };
    node.pump_for(300);
    assert_eq!(leases(&store).len(), 4);
    node.ledger.abandon(&key("x"), node.now);
    node.add_plain("c9");
    assert!(!node.ledger.settle(&key("x"), 99, node.now));
}

#[test]
fn idle_blocks_are_given_back_but_for_one() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/16", 6));
    let mut node = Node::up("n1", &store);
    for nth in 0..110 {
        node.add_plain(&format!("c{nth}"));
        node.pump();
    }
    assert_eq!(blocks(&store).len(), 3);
    for nth in 0..110 {
        node.del(&format!("c{nth}"));
    }
    for (pool, ordinal, _) in node.ledger.unconfirmed() {
        node.ledger.confirm_cooled(&pool, ordinal);
    }
    node.pump_for(50_000);
    assert_eq!(blocks(&store).len(), 3, "once is not enough");
    node.pump_for(120_000);
    assert_eq!(blocks(&store).len(), 1);
    assert_eq!(node.ledger.counters().returned, 2);
    node.freed.clear();
    node.restart();
    node.pump();
    assert_eq!(node.ledger.usage(&pool_name("p")).blocks, 1);
}

#[test]
fn a_block_that_leaves_is_not_used_by_a_restart_either() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/16", 6));
    let mut node = Node::up("n1", &store);
    for nth in 0..110 {
        node.add_plain(&format!("c{nth}"));
        node.pump();
    }
    for nth in 0..110 {
        node.del(&format!("c{nth}"));
    }
    for (pool, ordinal, _) in node.ledger.unconfirmed() {
        node.ledger.confirm_cooled(&pool, ordinal);
    }
    node.pump_for(60_000);
    // Up to the moment at which a block leaves in the file, and not yet in the store.
    node.wait(40_000);
    let leaves = |file: &LedgerFile| file.blocks.iter().any(|block| block.leaving.is_some());
    for _ in 0..1000 {
        match node.ledger.next(node.now) {
            Next::Call(call) => {
                let mut call = Some(call);
                while let Some(next) = call {
                    if node.file.as_ref().is_some_and(leaves) {
                        break;
                    }
                    let outcome = node.perform(next);
                    call = node.ledger.done(outcome, node.now);
                }
            }
            Next::Idle { .. } => node.wait(1_000),
        }
        if node.file.as_ref().is_some_and(leaves) {
            break;
        }
    }
    let file = node.file.clone().unwrap();
    let left = file
        .blocks
        .iter()
        .find_map(|block| block.leaving)
        .expect("one leaves")
        .0;
    node.fate = Fate::Away;
    node.freed.clear();
    node.restart();
    node.pump();
    for nth in 0..200 {
        if let Acquire::Granted(grant) = node.acquire(&ask(&format!("d{nth}"))) {
            assert!(!left.contains(grant.ordinal));
        }
    }
}
