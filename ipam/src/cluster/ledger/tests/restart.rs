use super::*;

#[test]
fn a_restart_in_an_outage_has_its_blocks_and_its_leases() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/16", 6));
    let mut node = Node::up("n1", &store);
    let first = node.add_plain("c0");
    node.pump_for(1_000);
    node.fate = Fate::Away;
    node.restart();
    assert_eq!(node.acquire(&ask("c1")), Acquire::Wait(Waiting::Store));
    node.pump();
    assert_ne!(node.add_plain("c1"), first);
    assert_eq!(node.add(&ask("c0")), Ok(first));
}

#[test]
fn a_restart_at_any_moment_gives_no_address_twice_and_loses_none() {
    for died_after in 0..60 {
        let store = store();
        add_pool(&store, "p", &dual("10.4.0.0/24", 3));
        let mut node = Node::start("n1", &store);
        let mut calls = 0;
        let mut nth = 0;
        while calls < died_after {
            if let Acquire::Granted(grant) = node.acquire(&ask(&format!("c{nth}"))) {
                node.settle(&ask(&format!("c{nth}")), &grant);
                nth += 1;
            }
            node.hear();
            match node.ledger.next(node.now) {
                Next::Call(call) => {
                    let mut call = Some(call);
                    while let Some(next) = call.filter(|_| calls < died_after) {
                        calls += 1;
                        let outcome = node.perform(next);
                        call = node.ledger.done(outcome, node.now);
                    }
                }
                Next::Idle { .. } => node.wait(20),
            }
        }
        node.restart();
        node.pump_for(2_000);
        for more in nth..nth + 20 {
            node.add_plain(&format!("c{more}"));
        }
        node.pump_for(2_000);
        let mut held: Vec<u64> = node.recorded.iter().map(|fact| fact.ordinal).collect();
        let count = held.len();
        held.sort_unstable();
        held.dedup();
        assert_eq!(
            held.len(),
            count,
            "an address twice, died after {died_after}"
        );
        assert_eq!(node.ledger.held().count(), count);
        assert_eq!(leases(&store).len(), count);
        assert_eq!(node.ledger.evicted().count(), 0);
        let places: Vec<Block> = blocks(&store).into_iter().map(|(block, _)| block).collect();
        let own: Vec<Block> = node.ledger.own.all().map(|(_, own)| own.block).collect();
        assert_eq!(places, own, "died after {died_after}");
    }
}

#[test]
fn a_lost_file_is_made_up_for_by_the_store() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/16", 6));
    let mut node = Node::up("n1", &store);
    for nth in 0..100 {
        node.add_plain(&format!("c{nth}"));
        node.pump();
    }
    node.pump_for(1_000);
    node.file = None;
    node.restart();
    node.pump_for(1_000);
    assert_eq!(node.ledger.held().count(), 100);
    assert_eq!(node.ledger.evicted().count(), 0);
    assert_eq!(leases(&store).len(), 100);
}

#[test]
fn two_records_of_one_address_are_told_and_one_is_evicted() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/16", 6));
    let mut node = Node::up("n1", &store);
    node.add_plain("c0");
    node.pump_for(1_000);
    let mut twice = node.recorded[0].clone();
    twice.key = key("c1");
    node.recorded.push(twice);
    node.restart();
    let evicted: Vec<&Evicted> = node.ledger.evicted().collect();
    assert_eq!(evicted[0].key, key("c1"));
    assert_eq!(
        evicted[0].reason,
        "attachment blue c0 eth0 is recorded with the same address"
    );
}

#[test]
fn a_freed_address_cools_on_after_a_restart() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/29", 3));
    let mut node = Node::up("n1", &store);
    for nth in 0..5 {
        node.add_plain(&format!("c{nth}"));
    }
    node.pump_for(1_000);
    node.del("c0");
    node.freed[0].ago_ms = Some(20_000);
    node.restart();
    node.pump();
    assert!(node.add(&ask("x")).unwrap_err().is_retriable());
    for (pool, ordinal, _) in node.ledger.unconfirmed() {
        node.ledger.confirm_cooled(&pool, ordinal);
    }
    node.wait(9_000);
    assert!(node.add(&ask("x")).is_err());
    node.pump_for(12_000);
    node.add_plain("x");
}

#[test]
fn an_address_that_tenants_have_in_common_is_its_network_s() {
    let store = store();
    for tenant in ["blue", "red"] {
        let mut row = dual("10.4.0.0/16", 6);
        row.tenant = Some(tenant.parse().unwrap());
        add_pool(&store, tenant, &row);
    }
    add_pool(&store, "all", &dual("10.4.0.0/16", 6));
    let file = Node::up("n1", &store).ledger.file();
    for (network, pool) in [("red", "red"), ("blue", "blue"), ("green", "all")] {
        let network = network.parse().unwrap();
        let place = file.place_of(&network, "10.4.0.9".parse().unwrap());
        assert_eq!(place, Some((pool_name(pool), 9)));
    }
}

#[test]
fn a_file_is_written_as_it_is_read_and_refused_with_what_is_wrong() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/16", 6));
    let mut node = Node::up("n1", &store);
    node.add_plain("c0");
    node.pump_for(1_000);
    let bytes = node.ledger.file().encode();
    let read = LedgerFile::decode(&bytes, &node.id).unwrap();
    assert_eq!(read, node.ledger.file());
    let text = String::from_utf8(bytes).unwrap();
    let refusal = |text: &str, id: &str| {
        let read = LedgerFile::decode(text.as_bytes(), &id.parse().unwrap());
        read.unwrap_err().to_string()
    };
    assert!(refusal(&text, "n2").contains("is of node n1, and this is node n2"));
    assert!(refusal("{\"v\":9}", "n1").contains("has schema 9, this release reads 1"));
    assert!(refusal(&text.replace("\"bits\": 6", "\"bits\": 60"), "n1").contains("make no block"));
    let other = text.replace("\"pool\": \"p\"", "\"pool\": \"q\"");
    assert!(refusal(&other, "n1").contains("is of pool q, which is not in it"));
    for cut in 0..text.len() {
        assert!(LedgerFile::decode(&text.as_bytes()[..cut.min(text.len() - 2)], &node.id).is_err());
    }
}
