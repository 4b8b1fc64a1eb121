use super::*;
use crate::cluster::schema::{KeptRow, StickyRow};

fn sticky(container: &str, name: &str) -> PoolAsk {
    PoolAsk {
        pod: Some(pod(name)),
        sticky: true,
        ..ask(container)
    }
}

fn two_nodes(prefix: &str) -> (MemoryStore, Node, Node) {
    let store = store();
    add_pool(&store, "p", &dual(prefix, 6));
    let one = Node::up("n1", &store);
    let two = Node::up("n2", &store);
    (store, one, two)
}

fn add_with(node: &mut Node, other: &mut Node, ask: &PoolAsk) -> Result<u64, PoolRefusal> {
    for _ in 0..400 {
        match node.acquire(ask) {
            Acquire::Granted(grant) => {
                node.settle(ask, &grant);
                return Ok(grant.ordinal);
            }
            Acquire::Refused(refusal) => return Err(refusal),
            Acquire::Wait(_) => {
                node.pump_for(50);
                other.pump_for(50);
            }
        }
    }
    panic!("it waits for ever: {:?}", node.ledger.troubles());
}

fn row(store: &MemoryStore) -> StickyRow {
    let all: Vec<(Place, StickyRow)> = rows(store, "sticky");
    assert_eq!(all.len(), 1);
    all.into_iter().next().unwrap().1
}

#[test]
fn a_pod_keeps_its_address_over_a_restart_of_its_container() {
    let (store, mut one, _) = two_nodes("10.4.0.0/16");
    let first = one.add(&sticky("c0", "web-0")).unwrap();
    assert_eq!(row(&store).holder.unwrap().attachment, key("c0"));
    one.del("c0");
    for nth in 0..80 {
        assert_ne!(
            one.add_plain(&format!("x{nth}")),
            first,
            "somebody else got it"
        );
        one.pump();
    }
    one.pump_for(1_000);
    assert_eq!(row(&store).holder, None);
    assert_eq!(one.add(&sticky("c1", "web-0")), Ok(first));
    assert_eq!(row(&store).holder.unwrap().attachment, key("c1"));
}

#[test]
fn it_moves_to_another_node_once_it_is_released_and_not_before() {
    let (store, mut one, mut two) = two_nodes("10.4.0.0/16");
    let first = one.add(&sticky("c0", "web-0")).unwrap();
    one.pump_for(1_000);
    let error = add_with(&mut two, &mut one, &sticky("d0", "web-0")).unwrap_err();
    assert!(error.is_retriable());
    assert_eq!(
        error.to_string(),
        "the address of team-a/web-0/blue is still held by attachment blue c0 eth0 on node n1; it moves when that one is released, or its node is declared lost"
    );
    one.del("c0");
    one.pump_for(1_000);
    assert_eq!(
        add_with(&mut two, &mut one, &sticky("d0", "web-0")),
        Ok(first)
    );
    assert_eq!(row(&store).holder.unwrap().node.as_str(), "n2");
    let moved = blocks(&store)
        .into_iter()
        .find(|(block, _)| block.contains(first))
        .unwrap();
    assert_eq!(moved, (Block::one(first).unwrap(), "n2".to_owned()));
    two.pump_for(1_000);
    assert!(
        leases(&store)
            .iter()
            .any(|(at, holder, _)| *at == first && holder == "d0")
    );
    // And back.
    two.del("d0");
    two.pump_for(1_000);
    assert_eq!(
        add_with(&mut one, &mut two, &sticky("c2", "web-0")),
        Ok(first)
    );
}

#[test]
fn it_is_kept_while_the_store_is_away_and_over_a_restart() {
    let (_, mut one, _) = two_nodes("10.4.0.0/26");
    let first = one.add(&sticky("c0", "web-0")).unwrap();
    one.pump_for(1_000);
    one.fate = Fate::Away;
    one.del("c0");
    one.freed.clear();
    one.restart();
    one.pump_for(10_000);
    let mut got = Vec::new();
    while let Ok(ordinal) = one.add(&ask(&format!("x{}", got.len()))) {
        got.push(ordinal);
    }
    assert_eq!(got.len(), 64 - 4);
    assert!(!got.contains(&first));
    let error = one.add(&sticky("c1", "web-0")).unwrap_err();
    assert!(error.is_retriable());
    assert!(
        error.to_string().contains("needs the cluster's store"),
        "{error}"
    );
    one.fate = Fate::Fine;
    one.pump_for(10_000);
    assert_eq!(one.add(&sticky("c1", "web-0")), Ok(first));
}

#[test]
fn a_release_that_was_not_told_before_a_restart_is_told_after() {
    let (store, mut one, mut two) = two_nodes("10.4.0.0/16");
    let first = one.add(&sticky("c0", "web-0")).unwrap();
    one.pump_for(1_000);
    one.del("c0");
    one.restart();
    one.pump_for(1_000);
    assert_eq!(row(&store).holder, None);
    assert_eq!(
        add_with(&mut two, &mut one, &sticky("d0", "web-0")),
        Ok(first)
    );
}

#[test]
fn what_is_in_doubt_is_told_to_nobody_before_the_row_says_so() {
    for fate in [Fate::Lost, Fate::Swallowed] {
        for gives_up in [false, true] {
            let (store, mut one, _) = two_nodes("10.4.0.0/16");
            one.add_plain("x");
            one.pump_for(1_000);
            let want = sticky("c0", "web-0");
            assert!(matches!(one.acquire(&want), Acquire::Wait(_)));
            let mut call = match one.ledger.next(one.now) {
                Next::Call(call) => Some(call),
                Next::Idle { .. } => panic!("there is a want"),
            };
            while let Some(next) = call {
                one.fate = if matches!(next, Call::Commit(_)) {
                    fate
                } else {
                    Fate::Fine
                };
                let outcome = one.perform(next);
                assert!(!matches!(one.acquire(&want), Acquire::Granted(_)));
                call = one.ledger.done(outcome, one.now);
            }
            one.fate = Fate::Fine;
            if gives_up {
                one.ledger.abandon(&want.key, one.now);
                one.pump_for(2_000);
                let all: Vec<(Place, StickyRow)> = rows(&store, "sticky");
                assert!(all.iter().all(|(_, row)| row.holder.is_none()));
            }
            let got = one.add(&want).unwrap();
            assert_eq!(row(&store).ordinal, got);
            let kept: Vec<(Place, KeptRow)> = rows(&store, "kept");
            assert_eq!(kept.len(), 1);
        }
    }
}

#[test]
fn of_two_nodes_that_begin_the_same_pod_one_gets_it() {
    let (store, mut one, mut two) = two_nodes("10.4.0.0/16");
    one.add_plain("x");
    two.add_plain("y");
    let _ = one.acquire(&sticky("c0", "web-0"));
    let _ = two.acquire(&sticky("d0", "web-0"));
    for _ in 0..100 {
        one.pump_for(20);
        two.pump_for(20);
    }
    let granted = [
        one.acquire(&sticky("c0", "web-0")),
        two.acquire(&sticky("d0", "web-0")),
    ];
    let count = granted
        .iter()
        .filter(|got| matches!(got, Acquire::Granted(_)))
        .count();
    assert_eq!(count, 1, "{granted:?}");
    assert!(row(&store).holder.is_some());
}

#[test]
fn what_cannot_be_sticky_says_why() {
    let (_, mut one, _) = two_nodes("10.4.0.0/16");
    let mut nameless = sticky("c0", "web-0");
    nameless.pod = None;
    assert!(one.refusal(&nameless).contains("does not give in CNI_ARGS"));
    nameless.pod = Some(pod("a/b"));
    assert!(one.refusal(&nameless).contains("a name that can be kept"));
    let kept = one.add(&sticky("c0", "web-0")).unwrap();
    let mut other = ask("x");
    other.requested = vec![one.ledger.address(&pool_name("p"), kept)];
    one.del("c0");
    assert!(
        one.refusal(&other)
            .contains("is kept for team-a/web-0/blue")
    );
    let mut wrong = sticky("c1", "web-0");
    wrong.requested = vec!["10.4.99.99".parse().unwrap()];
    assert!(one.refusal(&wrong).contains("team-a/web-0/blue keeps "));
}
