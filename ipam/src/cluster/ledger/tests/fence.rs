use super::*;

fn node_with_two_leases(store: &MemoryStore) -> Node {
    add_pool(store, "p", &dual("10.4.0.0/16", 6));
    let mut node = Node::up("n1", store);
    node.add_plain("c0");
    node.add_plain("c1");
    node.pump_for(1_000);
    node
}

#[test]
fn a_node_that_was_declared_lost_gives_nothing_out_and_detaches_what_it_lost() {
    let store = store();
    let mut node = node_with_two_leases(&store);
    declare_lost(&store, "n1");
    clear_blocks(&store, "n1");
    node.hear();
    let refusal = node.refusal(&ask("c9"));
    assert_eq!(
        refusal,
        "this node was declared lost by ops (it burnt): nothing is given out until it has registered anew; try again"
    );
    node.pump();
    let evicted: Vec<Evicted> = node.ledger.evicted().cloned().collect();
    assert_eq!(evicted.len(), 2);
    assert_eq!(evicted[0].key, key("c0"));
    assert!(
        evicted[0].reason.contains(
            "of pool p is no longer this node's: this node was declared lost by ops (it burnt)"
        ),
        "{}",
        evicted[0].reason
    );
    assert!(node.refusal(&ask("c0")).contains("it is being detached"));
    // Epoch 1, 2 with the statement, 3 with the new life.
    assert_eq!(node.ledger.epoch(), 3);
    assert_eq!(node.file.as_ref().unwrap().epoch, 3);
    for one in evicted {
        assert!(
            node.ledger
                .released(&one.key, one.sequence, Ended::Released, "evicted", node.now)
        );
    }
    assert_eq!(node.ledger.evicted().count(), 0);
    node.add_plain("c0");
    node.pump_for(1_000);
    let published: Vec<(Place, LeaseRow)> = rows(&store, "leases");
    let again = |lease: &LeaseRow| lease.attachment == key("c0") && lease.epoch == 3;
    assert!(published.iter().any(|(_, lease)| again(lease)));
}

/// The node is declared lost, comes back, and claims the very block again before it has detached what
/// lived there.
#[test]
fn what_an_evicted_attachment_still_has_is_given_to_nobody_although_the_block_came_back() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/29", 3));
    let mut node = Node::up("n1", &store);
    let held = ["c0", "c1"].map(|container| node.add_plain(container));
    node.pump_for(1_000);
    declare_lost(&store, "n1");
    clear_blocks(&store, "n1");
    node.hear();
    node.pump();
    assert_eq!(node.ledger.evicted().count(), 2);
    // Five of the eight can be used; two of them are not detached yet.
    for container in ["d0", "d1", "d2"] {
        let ordinal = node.add_plain(container);
        assert!(!held.contains(&ordinal), "{container} got {ordinal}");
    }
    assert_eq!(blocks(&store).len(), 1);
    assert!(node.add(&ask("d3")).is_err());
    let mut static_ask = ask("d4");
    static_ask.requested = node.ledger.addresses(&pool_name("p"), held[0]);
    assert!(node.refusal(&static_ask).contains("c0"));

    // Once it is detached, it cools as any other.
    assert!(node.del("c0"));
    let since = node.now.since_boot_ms;
    assert!(node.add(&ask("d3")).is_err());
    for (pool, ordinal, _) in node.ledger.unconfirmed() {
        node.ledger.confirm_cooled(&pool, ordinal);
    }
    while node.add(&ask("d3")).is_err() {
        node.pump_for(1_000);
    }
    let rested = node.now.since_boot_ms - since;
    assert!(rested >= PoolRow::COOLDOWN_SECS * 1_000, "{rested} ms");
    assert_eq!(node.recorded.last().unwrap().ordinal, held[0]);

    // A restart finds one record for each address.
    node.restart();
    node.pump_for(1_000);
    assert_eq!(node.ledger.evicted().count(), 0);
    assert_eq!(leases(&store).len(), 5);
}

#[test]
fn what_the_statement_left_is_kept_under_the_new_epoch() {
    let store = store();
    let mut node = node_with_two_leases(&store);
    declare_lost(&store, "n1");
    node.pump_for(1_000);
    assert_eq!(node.ledger.evicted().count(), 0);
    let published: Vec<(Place, LeaseRow)> = rows(&store, "leases");
    assert!(
        published.iter().all(|(_, lease)| lease.epoch == 3),
        "{published:?}"
    );
    let blocks: Vec<(Place, BlockRow)> = rows(&store, "blocks");
    assert!(blocks.iter().all(|(_, block)| block.epoch == 3));
}

/// The node publishes at the very moment at which it is declared lost.
#[test]
fn nothing_of_a_fenced_node_is_written() {
    let store = store();
    let mut node = node_with_two_leases(&store);
    node.add_plain("c2");
    node.wait(100);
    let Next::Call(Call::Commit(txn)) = node.ledger.next(node.now) else {
        panic!("there is something to publish");
    };
    declare_lost(&store, "n1");
    let outcome = Outcome::Committed(node.commit(&txn));
    assert!(matches!(
        outcome,
        Outcome::Committed(Ok(Committed { held: false, .. }))
    ));
    node.ledger.done(outcome, node.now);
    assert_eq!(leases(&store).len(), 2);
    node.pump_for(1_000);
    assert_eq!(leases(&store).len(), 3);
    assert_eq!(node.ledger.epoch(), 3);
}

#[test]
fn a_node_that_starts_after_it_was_declared_lost_uses_nothing_before_it_knows() {
    let store = store();
    let mut node = node_with_two_leases(&store);
    declare_lost(&store, "n1");
    clear_blocks(&store, "n1");
    node.restart();
    assert_eq!(node.acquire(&ask("c9")), Acquire::Wait(Waiting::Store));
    node.pump();
    assert_eq!(node.ledger.evicted().count(), 2);
}

#[test]
fn a_process_that_dies_between_registering_and_comparing_finds_the_same() {
    let store = store();
    let mut node = node_with_two_leases(&store);
    declare_lost(&store, "n1");
    clear_blocks(&store, "n1");
    for died_after in 1..8 {
        node.restart();
        let Next::Call(first) = node.ledger.next(node.now) else {
            panic!("a process looks at the store first");
        };
        let mut call = Some(first);
        for _ in 0..died_after {
            let Some(next) = call else { break };
            let outcome = node.perform(next);
            call = node.ledger.done(outcome, node.now);
        }
    }
    node.restart();
    node.pump();
    // The rows are gone, and nobody has their place: whichever way it is judged, nothing is twice.
    let held = node.ledger.held().count() + node.ledger.evicted().count();
    assert_eq!(held, 2);
    assert!(blocks(&store).iter().all(|(_, owner)| owner == "n1"));
}

#[test]
fn the_transaction_of_a_process_that_died_cannot_arrive_after_the_next_one_wrote() {
    let store = store();
    let mut node = node_with_two_leases(&store);
    node.add_plain("c2");
    node.wait(100);
    let Next::Call(Call::Commit(late)) = node.ledger.next(node.now) else {
        panic!("there is something to publish");
    };
    node.restart();
    node.pump();
    node.del("c2");
    node.pump_for(1_000);
    assert!(!store.commit(&late).unwrap().held);
    assert_eq!(leases(&store).len(), 2);
}

#[test]
fn a_second_process_with_the_same_id_stops_the_first() {
    let store = store();
    let mut node = node_with_two_leases(&store);
    let mut twin = Node::start("n1", &store);
    twin.file = node.file.clone();
    twin.recorded = node.recorded.clone();
    twin.starts = 7;
    twin.restart();
    twin.pump();
    node.pump();
    let refusal = node.refusal(&ask("c9"));
    assert_eq!(
        refusal,
        "another daemon writes as this node (n1-8-1): the id in `node-id` is used twice; stop one of them and give it an id of its own"
    );
}

#[test]
fn a_store_that_lost_a_block_gets_it_back_and_one_that_gave_it_away_does_not() {
    for taken in [false, true] {
        let store = store();
        let mut node = node_with_two_leases(&store);
        let (block, _) = blocks(&store)[0];
        clear_blocks(&store, "n1");
        if taken {
            let row = BlockRow {
                bits: 6,
                node: "n2".parse().unwrap(),
                epoch: 1,
                claimed_at_unix_ms: 0,
                attempt: Attempt::default(),
                lender: None,
                addresses: Vec::new(),
            };
            let place = Place::Block {
                pool: pool_name("p"),
                first: block.first(),
            };
            put(&store, &place, &row);
        }
        node.ledger.watch_lost();
        node.pump_for(1_000);
        assert_eq!(node.ledger.evicted().count(), if taken { 2 } else { 0 });
        assert_eq!(node.ledger.counters().restored, u64::from(!taken));
        let owner = blocks(&store)
            .into_iter()
            .find(|(at, _)| *at == block)
            .unwrap()
            .1;
        assert_eq!(owner, if taken { "n2" } else { "n1" });
    }
}

#[test]
fn a_store_of_another_cluster_is_not_written_to() {
    let store = store();
    let mut node = node_with_two_leases(&store);
    let other = super::store();
    let stranger = Node::up("n9", &other);
    let cluster = stranger.ledger.cluster().to_owned();
    node.store = other;
    let before = node.transactions;
    node.restart();
    node.pump_for(10_000);
    assert_eq!(node.transactions, before);
    let troubles = node.ledger.troubles();
    assert!(
        troubles[0].contains(&format!(
            "it is of cluster {cluster}, and this node belongs to cluster n1-0"
        )),
        "{troubles:?}"
    );
    // What is its own, it goes on with.
    node.add_plain("c2");
}

#[test]
fn a_store_that_was_emptied_is_not_taken_for_a_new_one() {
    let store = store();
    let mut node = node_with_two_leases(&store);
    node.store = super::store();
    node.ledger.watch_lost();
    node.pump_for(10_000);
    let troubles = node.ledger.troubles();
    assert!(
        troubles[0].contains("it holds nothing of cluster n1-0"),
        "{troubles:?}"
    );
    assert_eq!(
        node.store
            .range(&Schema::default().everything(), 0)
            .unwrap()
            .rows,
        []
    );
}
