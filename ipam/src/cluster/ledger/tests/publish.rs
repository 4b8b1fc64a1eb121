use super::*;
use crate::cluster::schema::{AuditRow, Happened};

#[test]
fn a_trickle_is_published_within_200_ms_and_one_transaction_each() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/16", 6));
    let mut node = Node::up("n1", &store);
    node.add_plain("c0");
    node.pump_for(1_000);
    let before = node.transactions;
    for nth in 1..=20 {
        node.add_plain(&format!("c{nth}"));
        node.pump_for(200);
        assert_eq!(leases(&store).len(), nth + 1);
        assert!(node.ledger.counters().lag_ms <= 150);
        node.pump_for(300);
    }
    assert!(
        node.transactions - before <= 20,
        "{}",
        node.transactions - before
    );
}

#[test]
fn a_burst_is_published_in_few_transactions() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/16", 6));
    let mut node = Node::up("n1", &store);
    node.add_plain("x");
    node.pump_for(1_000);
    let before = node.transactions;
    for nth in 0..110 {
        node.add_plain(&format!("c{nth}"));
        node.pump_for(2);
    }
    node.pump_for(500);
    assert_eq!(leases(&store).len(), 111);
    let spent = node.transactions - before;
    assert!(spent <= 4, "{spent} transactions for 110 ADDs");
}

#[test]
fn what_came_and_went_unpublished_is_a_chapter_and_no_row() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/16", 6));
    let mut node = Node::up("n1", &store);
    let ordinal = node.add_plain("c0");
    node.wait(7_000);
    node.del("c0");
    node.pump_for(300);
    assert_eq!(leases(&store), []);
    let audit: Vec<(Place, AuditRow)> = rows(&store, "audit");
    let (place, row) = audit
        .iter()
        .find(|(_, row)| row.what == Happened::Released)
        .unwrap();
    assert!(matches!(place, Place::Audit(at) if at.ordinal == ordinal));
    assert_eq!(row.at_unix_ms - row.since_unix_ms.unwrap(), 7_000);
    assert_eq!(row.reason, "del");
    assert_eq!(row.attachment, Some(key("c0")));
}

#[test]
fn an_outage_is_made_up_for_exactly() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/16", 6));
    let mut node = Node::up("n1", &store);
    for nth in 0..10 {
        node.add_plain(&format!("c{nth}"));
    }
    node.pump_for(1_000);
    node.fate = Fate::Away;
    for nth in 0..5 {
        node.del(&format!("c{nth}"));
    }
    for nth in 10..30 {
        node.add_plain(&format!("c{nth}"));
    }
    node.pump_for(60_000);
    node.restart();
    node.pump_for(10_000);
    node.add_plain("c30");
    node.fate = Fate::Fine;
    node.pump_for(10_000);
    let mut expected: Vec<String> = (5..31).map(|nth| format!("c{nth}")).collect();
    expected.sort();
    let mut published: Vec<String> = leases(&store).into_iter().map(|(_, c, _)| c).collect();
    published.sort();
    assert_eq!(published, expected);
}

#[test]
fn adds_go_on_through_an_outage_as_long_as_the_blocks_last() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/16", 6));
    let mut node = Node::up("n1", &store);
    node.add_plain("c0");
    node.pump_for(1_000);
    let free = node.ledger.usage(&pool_name("p")).free;
    node.fate = Fate::Away;
    node.pump_for(5_000);
    for nth in 1..=free {
        node.add_plain(&format!("c{nth}"));
    }
    node.pump_for(5_000);
    let refusal = node.refusal(&ask("x"));
    assert!(
        refusal.contains("no block can be claimed, since the store does not serve: memory store cannot be reached: it is switched off"),
        "{refusal}"
    );
    assert!(node.ledger.serves(&ask("x").pools, node.now).is_err());
    node.fate = Fate::Fine;
    node.pump_for(10_000);
    node.add_plain("x");
}

#[test]
fn nothing_is_written_when_nothing_changes() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/16", 6));
    let mut node = Node::up("n1", &store);
    node.add_plain("c0");
    node.pump_for(70_000);
    let before = node.transactions;
    node.pump_for(600_000);
    let beats = usize::try_from(600_000 / (60_000 * 3 / 4) + 1).unwrap();
    assert!(
        node.transactions - before <= beats,
        "{} transactions",
        node.transactions - before
    );
}

/// An audit row that was lost with the process is written by the next one, once.
#[test]
fn chapters_are_closed_by_the_next_process_if_need_be() {
    let store = store();
    add_pool(&store, "p", &dual("10.4.0.0/16", 6));
    let mut node = Node::up("n1", &store);
    node.add_plain("c0");
    node.pump_for(1_000);
    let fact = node.recorded[0].clone();
    node.del("c0");
    node.freed[0].lease = Some(EndedLease {
        key: fact.key,
        sequence: fact.sequence,
        since_unix_ms: fact.since_unix_ms,
        at_unix_ms: node.now.unix_ms,
        ended: Ended::Released,
        reason: "del".to_owned(),
        pod: None,
    });
    for _ in 0..2 {
        node.restart();
        node.pump_for(1_000);
        let audit: Vec<(Place, AuditRow)> = rows(&store, "audit");
        let ended = audit
            .iter()
            .filter(|(_, row)| row.what == Happened::Released);
        assert_eq!(ended.count(), 1);
        assert_eq!(leases(&store), []);
    }
}
