//! Answers that did not come: the transaction may be run, or not, or later.

use super::*;

fn up() -> (MemoryStore, Node) {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/16", 6));
    let node = Node::up("n1", &store);
    (store, node)
}

#[test]
fn a_claim_in_doubt_is_found_or_made_again_and_never_twice() {
    for fate in [Fate::Lost, Fate::Swallowed] {
        let (store, mut node) = up();
        let _ = node.acquire(&ask("c0"));
        node.fate = fate;
        let Next::Call(call) = node.ledger.next(node.now) else {
            panic!("there is a block to claim");
        };
        node.run(call);
        node.fate = Fate::Fine;
        node.pump_for(1_000);
        node.add_plain("c0");
        assert_eq!(blocks(&store).len(), 1, "{fate:?}");
        assert_eq!(node.ledger.counters().ambiguous, 1);
    }
}

#[test]
fn a_claim_in_doubt_is_found_by_the_next_process() {
    let (store, mut node) = up();
    let _ = node.acquire(&ask("c0"));
    node.fate = Fate::Lost;
    let Next::Call(call) = node.ledger.next(node.now) else {
        panic!("there is a block to claim");
    };
    node.run(call);
    node.fate = Fate::Fine;
    node.restart();
    node.pump();
    assert_eq!(node.ledger.usage(&pool_name("p")).blocks, 1);
    assert_eq!(blocks(&store).len(), 1);
}

/// A transaction in doubt that arrives after the ledger went on has no effect.
#[test]
fn what_arrives_after_the_seal_is_void() {
    let (store, mut node) = up();
    node.add_plain("c0");
    node.wait(100);
    let Next::Call(Call::Commit(late)) = node.ledger.next(node.now) else {
        panic!("there is something to publish");
    };
    node.ledger
        .done(Outcome::Committed(Err(ambiguous())), node.now);
    node.pump_for(1_000);
    assert_eq!(leases(&store).len(), 1);
    node.del("c0");
    node.pump_for(1_000);
    assert_eq!(leases(&store), []);
    assert!(!store.commit(&late).unwrap().held);
    assert_eq!(leases(&store), []);
}

#[test]
fn whichever_transaction_is_in_doubt_the_store_says_in_the_end_what_memory_says() {
    for fate in [Fate::Lost, Fate::Swallowed] {
        for doubted in 0..12 {
            for restarts in [false, true] {
                let store = store();
                add_pool(&store, "p", &dual("10.4.0.0/16", 3));
                let mut node = Node::start("n1", &store);
                let mut commits = 0;
                for nth in 0..12 {
                    let _ = node.acquire(&ask(&format!("c{nth}")));
                    for _ in 0..50 {
                        node.wait(20);
                        node.hear();
                        let mut call = match node.ledger.next(node.now) {
                            Next::Call(call) => Some(call),
                            Next::Idle { .. } => continue,
                        };
                        while let Some(next) = call {
                            if matches!(next, Call::Commit(_)) {
                                node.fate = if commits == doubted { fate } else { Fate::Fine };
                                commits += 1;
                            }
                            let outcome = node.perform(next);
                            let doubt = matches!(&outcome, Outcome::Committed(Err(_)));
                            node.fate = Fate::Fine;
                            call = node.ledger.done(outcome, node.now);
                            if doubt && restarts {
                                node.restart();
                                call = None;
                            }
                        }
                    }
                    node.add_plain(&format!("c{nth}"));
                }
                assert!(commits > doubted);
                node.pump_for(2_000);
                let places: Vec<Block> =
                    blocks(&store).into_iter().map(|(block, _)| block).collect();
                let own: Vec<Block> = node.ledger.own.all().map(|(_, own)| own.block).collect();
                assert_eq!(places, own, "{fate:?} {doubted} {restarts}");
                assert_eq!(leases(&store).len(), 12);
            }
        }
    }
}

#[test]
fn a_file_that_cannot_be_written_stops_claims_and_nothing_else() {
    let (store, mut node) = up();
    node.add_plain("c0");
    node.pump_for(1_000);
    for nth in 1..40 {
        let _ = node.acquire(&ask(&format!("c{nth}")));
    }
    for _ in 0..200 {
        node.wait(50);
        let mut call = match node.ledger.next(node.now) {
            Next::Call(call) => Some(call),
            Next::Idle { .. } => continue,
        };
        while let Some(next) = call {
            let outcome = match next {
                Call::Save(_) => Outcome::Saved(Err("no space left on device".to_owned())),
                other => node.perform(other),
            };
            call = node.ledger.done(outcome, node.now);
        }
    }
    assert_eq!(blocks(&store).len(), 1);
    assert!(node.ledger.claiming.is_empty());
    node.pump_for(10_000);
    assert_eq!(blocks(&store).len(), 2);
}

/// With nothing to write, the store is asked only because it seems to be gone.
#[test]
fn a_store_that_seems_gone_is_asked_and_nothing_is_written() {
    let (_store, mut node) = up();
    node.pump_for(1_000);
    let transactions = node.transactions;
    node.ledger.store_doubted();
    assert!(!node.ledger.relies_on_store());
    let Next::Call(Call::Read(_)) = node.ledger.next(node.now) else {
        panic!("the store is to be asked");
    };
    node.ledger.done(Outcome::Read(Err(away())), node.now);
    assert!(!node.ledger.relies_on_store());
    assert!(node.ledger.troubles()[0].contains("switched off"));
    node.pump_for(1_000);
    assert!(node.ledger.relies_on_store());
    assert_eq!(node.transactions, transactions);
}
