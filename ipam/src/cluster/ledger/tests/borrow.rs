use super::*;
use crate::cluster::schema::AskRow;

/// Two nodes and a pool of one block, which the first has.
fn full_pool() -> (MemoryStore, Node, Node) {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/26", 6));
    let mut owner = Node::up("n1", &store);
    owner.add_plain("a0");
    owner.pump_for(61_000);
    let borrower = Node::up("n2", &store);
    (store, owner, borrower)
}

/// Both go on until the ask is granted or refused.
fn add_with(borrower: &mut Node, owner: &mut Node, ask: &PoolAsk) -> Result<u64, PoolRefusal> {
    for _ in 0..400 {
        match borrower.acquire(ask) {
            Acquire::Granted(grant) => {
                borrower.settle(ask, &grant);
                return Ok(grant.ordinal);
            }
            Acquire::Refused(refusal) => return Err(refusal),
            Acquire::Wait(_) => {
                borrower.pump_for(50);
                owner.pump_for(50);
            }
        }
    }
    panic!("it waits for ever: {:?}", borrower.ledger.troubles());
}

#[test]
fn a_node_without_a_block_borrows_a_part_of_anothers() {
    let (store, mut owner, mut borrower) = full_pool();
    let got = add_with(&mut borrower, &mut owner, &ask("b0")).unwrap();
    assert_eq!(
        owner
            .ledger
            .own
            .around(&pool_name("p"), got)
            .map(|own| own.block),
        None
    );
    let usage = borrower.ledger.usage(&pool_name("p"));
    assert_eq!((usage.borrowed, usage.owned), (32, 32));
    assert_eq!(blocks(&store).len(), 2);
    borrower.pump_for(1_000);
    let asks: Vec<(Place, AskRow)> = rows(&store, "asks");
    assert_eq!(asks, [], "an ask that was answered is removed");
    assert!(borrower.ledger.asking.is_empty());
    // What was split becomes whole again once it is given back.
    borrower.del("b0");
    for (pool, ordinal, _) in borrower.ledger.unconfirmed() {
        borrower.ledger.confirm_cooled(&pool, ordinal);
    }
    let mut drained = dual("10.4.0.0/26", 6);
    drained.state = PoolState::Draining;
    add_pool(&store, "p", &drained);
    borrower.pump_for(200_000);
    assert_eq!(blocks(&store).len(), 1);
    add_pool(&store, "p", &dual("10.4.0.0/26", 6));
    owner.pump_for(1_300_000);
    assert_eq!(
        blocks(&store),
        [(Block::new(0, 6).unwrap(), "n1".to_owned())]
    );
    assert_eq!(owner.ledger.counters().merged, 1);
    assert_eq!(leases(&store).len(), 1);
}

#[test]
fn an_owner_keeps_some_for_itself() {
    let (_, mut owner, mut borrower) = full_pool();
    let mut got = 0;
    let refusal = loop {
        match add_with(&mut borrower, &mut owner, &ask(&format!("b{got}"))) {
            Ok(_) => got += 1,
            Err(refusal) => break refusal,
        }
    };
    assert!(
        refusal.to_string().contains("none lends: n1: "),
        "{refusal}"
    );
    assert!(owner.ledger.usage(&pool_name("p")).free >= 8);
    assert!(got >= 40, "only {got} could be borrowed");
}

#[test]
fn a_strict_pool_lends_nothing() {
    let (store, mut owner, mut borrower) = full_pool();
    let mut strict = dual("10.4.0.0/26", 6);
    strict.strict = true;
    add_pool(&store, "p", &strict);
    let refusal = add_with(&mut borrower, &mut owner, &ask("b0")).unwrap_err();
    assert!(
        refusal
            .to_string()
            .contains("every block of it is another node's, and the pool is strict"),
        "{refusal}"
    );
    let mut one = ask("b0");
    one.requested = vec!["10.4.0.40".parse().unwrap()];
    let refusal = add_with(&mut borrower, &mut owner, &one).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "address 10.4.0.40 is in a block of node n1, and pool p is strict; ask for another, or make the pool lend with `bulkhead pool set`"
    );
}

#[test]
fn a_silent_owner_lends_nothing() {
    let (store, owner, mut borrower) = full_pool();
    drop(owner);
    let refusal = borrower.refusal(&ask("b0"));
    assert!(
        refusal.contains("none lends: n1: it does not answer"),
        "{refusal}"
    );
    let asks: Vec<(Place, AskRow)> = rows(&store, "asks");
    assert_eq!(asks, [], "an ask that is given up is withdrawn");
}

#[test]
fn a_static_address_of_another_nodes_block_is_ceded_alone() {
    let (store, mut owner, mut borrower) = full_pool();
    let mut one = ask("b0");
    one.requested = vec!["10.4.0.40".parse().unwrap(), "fd00:4::28".parse().unwrap()];
    assert_eq!(add_with(&mut borrower, &mut owner, &one), Ok(40));
    let all = blocks(&store);
    assert_eq!(all.iter().map(|(block, _)| block.size()).sum::<u64>(), 64);
    let others: Vec<_> = all.iter().filter(|(_, owner)| owner == "n2").collect();
    assert_eq!(others, [&(Block::one(40).unwrap(), "n2".to_owned())]);
    owner.pump_for(1_000);
    let mut got: Vec<u64> = Vec::new();
    while let Ok(ordinal) = owner.add(&ask(&format!("a{}", got.len() + 1))) {
        got.push(ordinal);
    }
    assert!(!got.contains(&40));
    // Network, broadcast, gateway, a0 and the one that was ceded.
    assert_eq!(got.len(), 64 - 5);
}

#[test]
fn a_static_address_that_is_held_elsewhere_is_refused_with_its_holder() {
    let (_, mut owner, mut borrower) = full_pool();
    let held = owner.recorded[0].ordinal;
    let mut one = ask("b0");
    one.requested = vec![format!("10.4.0.{held}").parse().unwrap()];
    let refusal = add_with(&mut borrower, &mut owner, &one).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        format!(
            "address 10.4.0.{held} is held by attachment blue a0 eth0 on node n1; release that one or ask for another"
        )
    );
    // Not published yet: only the owner knows.
    owner.add_plain("a1");
    let held = owner.recorded[1].ordinal;
    one.requested = vec![format!("10.4.0.{held}").parse().unwrap()];
    let _ = borrower.acquire(&one);
    borrower.pump_for(20);
    owner.pump();
    let refusal = add_with(&mut borrower, &mut owner, &one).unwrap_err();
    assert!(refusal.to_string().contains("blue a1 eth0"), "{refusal}");
}

#[test]
fn a_static_address_of_nobody_is_claimed_and_addresses_that_do_not_match_are_refused() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/16", 6));
    let mut node = Node::up("n1", &store);
    let mut one = ask("c0");
    one.requested = vec!["10.4.7.9".parse().unwrap()];
    assert_eq!(node.add(&one), Ok(7 * 256 + 9));
    assert_eq!(
        blocks(&store),
        [(Block::new(7 * 256, 6).unwrap(), "n1".to_owned())]
    );
    for (requested, text) in [
        (
            &["10.4.7.10", "fd00:4::7"][..],
            "addresses 10.4.7.10 and fd00:4::7 do not belong together: 10.4.7.10 goes with 10.4.7.10, fd00:4::70a; ask for these two, or for one of them",
        ),
        (
            &["10.5.0.1"],
            "address 10.5.0.1 is in no pool that is asked for (p (10.4.0.0/16 and fd00:4::/64)); ask for one that is",
        ),
        (
            &["10.4.0.1"],
            "address 10.4.0.1 is never given out: 10.4.0.1 is the gateway; ask for another",
        ),
        (
            &["10.4.7.9"],
            "address 10.4.7.9 is held by attachment blue c0 eth0; release that one or ask for another",
        ),
    ] {
        let mut other = ask("c1");
        other.requested = requested.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(node.refusal(&other), text);
    }
}

/// The answer to a ceding transaction is lost, either way, with and without a restart of the owner.
#[test]
fn a_part_is_ceded_once_whatever_becomes_of_the_answer() {
    for fate in [Fate::Lost, Fate::Swallowed] {
        for restarts in [false, true] {
            let (store, mut owner, mut borrower) = full_pool();
            let _ = borrower.acquire(&ask("b0"));
            borrower.pump_for(200);
            owner.hear();
            let Next::Call(look) = owner.ledger.next(owner.now) else {
                panic!("there is an ask");
            };
            let mut call = Some(look);
            while let Some(next) = call {
                owner.fate = if matches!(next, Call::Commit(_)) {
                    fate
                } else {
                    Fate::Fine
                };
                let outcome = owner.perform(next);
                call = owner.ledger.done(outcome, owner.now);
            }
            owner.fate = Fate::Fine;
            if restarts {
                owner.restart();
            }
            owner.pump_for(1_000);
            let got = add_with(&mut borrower, &mut owner, &ask("b0")).unwrap();
            assert!(owner.ledger.own.around(&pool_name("p"), got).is_none());
            let all = blocks(&store);
            assert_eq!(all.iter().map(|(block, _)| block.size()).sum::<u64>(), 64);
            assert_eq!(owner.ledger.usage(&pool_name("p")).used, 1);
        }
    }
}

#[test]
fn who_asked_and_died_before_the_answer_finds_it() {
    let (store, mut owner, mut borrower) = full_pool();
    let _ = borrower.acquire(&ask("b0"));
    borrower.pump_for(45);
    borrower.restart();
    owner.pump_for(200);
    assert_eq!(blocks(&store).len(), 2);
    borrower.pump_for(1_000);
    assert_eq!(borrower.ledger.usage(&pool_name("p")).borrowed, 32);
    let asks: Vec<(Place, AskRow)> = rows(&store, "asks");
    assert_eq!(asks, []);
}

#[test]
fn nothing_is_ceded_to_a_node_that_was_declared_lost() {
    let (store, mut owner, mut borrower) = full_pool();
    let _ = borrower.acquire(&ask("b0"));
    borrower.pump_for(45);
    declare_lost(&store, "n2");
    owner.pump_for(1_000);
    assert_eq!(blocks(&store).len(), 1);
    let asks: Vec<(Place, AskRow)> = rows(&store, "asks");
    assert_eq!(asks, []);
    borrower.pump_for(1_000);
    add_with(&mut borrower, &mut owner, &ask("b0")).unwrap();
}
