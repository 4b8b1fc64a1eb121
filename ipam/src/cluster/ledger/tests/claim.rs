use super::*;

#[test]
fn the_first_add_claims_a_block_and_the_next_come_from_memory() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/16", 6));
    let mut node = Node::up("n1", &store);
    assert_eq!(
        node.acquire(&ask("c0")),
        Acquire::Wait(Waiting::Block(pool_name("p")))
    );
    let first = node.add_plain("c0");
    node.pump();
    let before = node.transactions;
    for nth in 1..20 {
        let Acquire::Granted(grant) = node.acquire(&ask(&format!("c{nth}"))) else {
            panic!("memory has free ones");
        };
        assert_eq!(grant.ordinal / 64, first / 64);
        assert_eq!(grant.addresses.len(), 2);
        assert_eq!(grant.addresses[0].address.len(), 16);
    }
    assert_eq!(node.transactions, before);
    assert_eq!(blocks(&store).len(), 1);
}

#[test]
fn the_same_attachment_gets_the_same_ordinal() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/16", 6));
    let mut node = Node::up("n1", &store);
    let first = node.add_plain("c0");
    let Acquire::Granted(again) = node.acquire(&ask("c0")) else {
        panic!("it holds one");
    };
    assert_eq!(again.ordinal, first);
    let mut other = ask("c0");
    other.requested = vec!["10.4.9.9".parse().unwrap()];
    assert!(node.refusal(&other).contains("already holds"));
}

/// Whoever waits hears of calls that are done, and of nothing in between.
#[test]
fn an_address_of_a_block_that_is_nobody_s_is_picked_with_the_call_that_makes_it_this_node_s() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/16", 6));
    let mut node = Node::up("n1", &store);
    let mut wanted = ask("c0");
    wanted.requested = vec!["10.4.9.9".parse().unwrap()];
    assert!(matches!(node.acquire(&wanted), Acquire::Wait(_)));
    assert_eq!(node.ledger.open_asks(), 1);
    let granted = loop {
        let Next::Call(call) = node.ledger.next(node.now) else {
            panic!("it is not picked, and nothing is done about it");
        };
        node.run(call);
        if let Acquire::Granted(grant) = node.acquire(&wanted) {
            break grant;
        }
    };
    assert_eq!(granted.ordinal, 9 * 256 + 9);
    assert_eq!(node.ledger.open_asks(), 0);
}

#[test]
fn a_block_is_claimed_ahead_before_the_last_one_is_full() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/16", 6));
    let mut node = Node::up("n1", &store);
    for nth in 0..110 {
        // No ADD after the first waits: the ledger is given its turn in between, as it is in life.
        if nth > 0 {
            assert!(matches!(
                node.acquire(&ask(&format!("c{nth}"))),
                Acquire::Granted(_)
            ));
        }
        node.add_plain(&format!("c{nth}"));
        node.pump();
    }
    assert_eq!(blocks(&store).len(), 3);
}

/// The lost race: both read the same window before either writes.
#[test]
fn of_two_nodes_that_want_the_same_block_one_gets_it() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/25", 6));
    let mut one = Node::up("n1", &store);
    let mut two = Node::up("n2", &store);
    for node in [&mut one, &mut two] {
        let _ = node.acquire(&ask("c0"));
    }
    let mut calls = Vec::new();
    for node in [&mut one, &mut two] {
        let Next::Call(read) = node.ledger.next(node.now) else {
            panic!("there is a block to claim");
        };
        let rows = node.perform(read);
        let save = node.ledger.done(rows, node.now).unwrap();
        let saved = node.perform(save);
        let Some(Call::Commit(txn)) = node.ledger.done(saved, node.now) else {
            panic!("the claim follows");
        };
        calls.push(txn);
    }
    let first = one.commit(&calls[0]);
    let second = two.commit(&calls[1]);
    let same = calls[0].writes[0].key() == calls[1].writes[0].key();
    assert_eq!(second.as_ref().map(|committed| committed.held), Ok(!same));
    for (node, outcome) in [(&mut one, first), (&mut two, second)] {
        let call = node.ledger.done(Outcome::Committed(outcome), node.now);
        if let Some(call) = call {
            node.run(call);
        }
        node.pump();
    }
    let a = one.add_plain("c0");
    let b = two.add_plain("c0");
    assert_ne!(a / 64, b / 64);
    let owners = blocks(&store);
    assert_eq!(owners.len(), 2);
    assert_ne!(owners[0].1, owners[1].1);
}

#[test]
fn a_claim_loses_to_a_block_of_any_size_that_covers_it_or_lies_in_it() {
    for (bits, first) in [(4, 16), (6, 0), (8, 0), (0, 63)] {
        let store = store();
        let mut pool = dual("10.4.0.0/24", 6);
        pool.largest_bits = 8;
        add_pool(&store, "p", &pool);
        let mut node = Node::up("n1", &store);
        let _ = node.acquire(&ask("c0"));
        let Next::Call(read) = node.ledger.next(node.now) else {
            panic!("there is a block to claim");
        };
        let rows = node.perform(read);
        let save = node.ledger.done(rows, node.now).unwrap();
        let saved = node.perform(save);
        let Some(Call::Commit(txn)) = node.ledger.done(saved, node.now) else {
            panic!("the claim follows");
        };
        let Place::Block { first: claimed, .. } =
            Schema::default().place(txn.writes[0].key()).unwrap()
        else {
            panic!("a block is written");
        };
        let claimed = Block::new(claimed, 6).unwrap();
        let other = Block::new(first + if bits < 8 { claimed.first() } else { 0 }, bits).unwrap();
        let row = BlockRow {
            bits,
            node: "n2".parse().unwrap(),
            epoch: 1,
            claimed_at_unix_ms: 0,
            attempt: Attempt::default(),
            lender: None,
            addresses: Vec::new(),
        };
        let place = Place::Block {
            pool: pool_name("p"),
            first: other.first(),
        };
        put(&store, &place, &row);
        assert!(other.overlaps(claimed));
        assert!(
            !store.commit(&txn).unwrap().held,
            "{other} was claimed over"
        );
    }
}

#[test]
fn a_claim_under_a_pool_that_has_changed_is_void() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/16", 6));
    let mut node = Node::up("n1", &store);
    let _ = node.acquire(&ask("c0"));
    let Next::Call(read) = node.ledger.next(node.now) else {
        panic!("there is a block to claim");
    };
    let rows = node.perform(read);
    let save = node.ledger.done(rows, node.now).unwrap();
    let saved = node.perform(save);
    add_pool(&store, "p", &dual("10.4.0.0/16", 4));
    let commit = node.ledger.done(saved, node.now).unwrap();
    let outcome = node.perform(commit);
    assert!(matches!(
        outcome,
        Outcome::Committed(Ok(Committed { held: false, .. }))
    ));
    assert_eq!(node.ledger.done(outcome, node.now).map(drop), None);
    node.add_plain("c0");
    assert!(blocks(&store).iter().all(|(block, _)| block.bits() == 4));
    assert_eq!(node.ledger.counters().conflicts, 1);
}

#[test]
fn when_no_whole_block_is_left_a_hole_is_claimed() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/26", 6));
    for ordinal in (0..64).filter(|ordinal| !(32..40).contains(ordinal)) {
        let row = BlockRow {
            bits: 0,
            node: "n2".parse().unwrap(),
            epoch: 1,
            claimed_at_unix_ms: 0,
            attempt: Attempt::default(),
            lender: None,
            addresses: Vec::new(),
        };
        let place = Place::Block {
            pool: pool_name("p"),
            first: ordinal,
        };
        put(&store, &place, &row);
    }
    let mut node = Node::up("n1", &store);
    let mut got: Vec<u64> = (0..8)
        .map(|nth| node.add_plain(&format!("c{nth}")))
        .collect();
    got.sort_unstable();
    assert_eq!(got, (32..40).collect::<Vec<_>>());
    let refusal = node.refusal(&ask("c8"));
    assert!(
        refusal.contains("pool p has no address left on this node: of 61 addresses in 10.4.0.0/26 and fd00:4::/64 it has 8, 8 used, 0 reserved, 0 cooling, 0 borrowed, 0 leaked; every block of it is another node's, and no node has any to lend"),
        "{refusal}"
    );
    assert!(node.ledger.serves(&ask("c8").pools, node.now).is_err());
}

#[test]
fn every_address_of_a_pool_is_used_and_none_twice() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/24", 4));
    let mut nodes: Vec<Node> = (0..3).map(|n| Node::up(&format!("n{n}"), &store)).collect();
    let mut got = Vec::new();
    let mut full = 0;
    for nth in 0..400 {
        let node = &mut nodes[nth % 3];
        match node.add(&ask(&format!("c{nth}"))) {
            Ok(ordinal) => got.push(ordinal),
            Err(_) => full += 1,
        }
        for node in &mut nodes {
            node.pump_for(10);
        }
    }
    got.sort_unstable();
    let before = got.len();
    got.dedup();
    assert_eq!(before, got.len(), "an address was given twice");
    // Borrowing leaves a few on nodes that keep them for their own.
    assert!(
        got.len() >= 253 - 3 * 8,
        "only {} were given, {full} refused",
        got.len()
    );
}
