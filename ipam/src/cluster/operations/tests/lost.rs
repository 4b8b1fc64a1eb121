use super::cluster::{NOW, lease_at};
use super::*;
use crate::cluster::name::StickyId;
use crate::cluster::schema::{
    Answer, AskPlace, AskRow, AuditRow, FenceRow, FenceState, Happened, LiveRow, Place, PoolRow,
    StickyHolder, StickyRow, Wanted,
};

/// A cluster whose n1 has two more blocks full of leases, asks, a sign of life and a name's address.
fn cluster() -> Cluster {
    let cluster = Cluster::new();
    let row: PoolRow = cluster.value(&Place::Pool(pool("default"))).unwrap();
    for first in [512, 576] {
        cluster.block("default", first, 6, "n1");
        for ordinal in first..first + 64 {
            cluster.put(&lease_at("default", ordinal), &lease(&row, ordinal, "n1"));
        }
    }
    cluster.put(&Place::Live(node("n1")), &LiveRow::default());
    for (owner, asker) in [("n1", "n2"), ("n2", "n1")] {
        cluster.put(&ask(owner, asker), &asked());
    }
    cluster.put(&Place::Sticky(sticky()), &held());
    cluster
}

fn ask(owner: &str, asker: &str) -> Place {
    Place::Ask(AskPlace {
        owner: node(owner),
        asker: node(asker),
        pool: pool("default"),
        wanted: Wanted::Any,
    })
}

fn asked() -> AskRow {
    AskRow {
        epoch: 1,
        attempt: Attempt("ask".to_owned()),
        at_unix_ms: NOW,
        bits: 3,
        sticky: None,
        answer: None,
    }
}

fn sticky() -> StickyId {
    StickyId {
        namespace: "team-a".parse().unwrap(),
        name: "web-65".parse().unwrap(),
        network: "blue".parse().unwrap(),
    }
}

fn held() -> StickyRow {
    let row = super::cluster::pool_row(&["10.4.0.0/16"]);
    StickyRow {
        pool: pool("default"),
        ordinal: 65,
        holder: Some(StickyHolder {
            node: node("n1"),
            epoch: 1,
            attachment: lease(&row, 65, "n1").attachment,
        }),
        attempt: Attempt("s".to_owned()),
        changed_at_unix_ms: NOW,
    }
}

fn lost(cluster: &Cluster, store: &dyn ClusterStore) -> Result<LostReport, LostError> {
    let statement = "its disk burnt";
    let operations = on(store, &cluster.schema);
    operations.node_lost(&operator("lost"), &node("n1"), statement, &mut |_| {})
}

fn fence(cluster: &Cluster) -> FenceRow {
    cluster.value(&Place::Fence(node("n1"))).unwrap()
}

fn audited(cluster: &Cluster) -> Vec<AuditRow> {
    let rows = cluster.rows();
    let of = |row: &crate::cluster::Row| cluster.schema.read::<AuditRow>(row).ok();
    rows.iter().filter_map(of).map(|(_, audit)| audit).collect()
}

/// That nothing of n1 is left, all of n2 is, and everything that ended is audited once.
fn assert_given_up(cluster: &Cluster) {
    let contents = cluster.contents();
    let keys: Vec<&str> = contents.keys().map(String::as_str).collect();
    let of = |kind: &str| keys.iter().filter(|key| key.starts_with(kind)).count();
    assert_eq!(
        (of("blocks/"), of("leases/"), of("live/"), of("asks/")),
        (1, 1, 0, 1)
    );
    let fence = fence(cluster);
    assert_eq!((fence.epoch, fence.state), (2, FenceState::Lost));
    let answer = cluster.value::<AskRow>(&ask("n1", "n2")).unwrap().answer;
    assert_eq!(
        answer,
        Some(Answer::Refused {
            reason: "n1 was declared lost".to_owned()
        })
    );
    let sticky: StickyRow = cluster.value(&Place::Sticky(sticky())).unwrap();
    assert_eq!(sticky.holder, None);
    let audited = audited(cluster);
    let leases = audited
        .iter()
        .filter(|row| row.attachment.is_some())
        .count();
    assert_eq!((leases, audited.len() - leases), (130, 3));
    for row in audited {
        assert_eq!((row.what, row.node), (Happened::Lost, node("n1")));
        assert_eq!(row.reason, "declared lost by ops: its disk burnt");
    }
}

#[test]
fn a_lost_node_is_fenced_and_everything_it_had_is_given_up() {
    let cluster = cluster();
    let report = lost(&cluster, &cluster.store).unwrap();
    assert_given_up(&cluster);
    assert_eq!(
        report,
        LostReport {
            name: "n1".to_owned(),
            fenced_epoch: 1,
            leases: 130,
            sticky: 1,
            asks: 2,
            blocks: 3,
            came_back: false,
            unread: Vec::new(),
        }
    );
    let fence = fence(&cluster);
    assert_eq!((fence.by.as_str(), fence.lost_at_unix_ms), ("ops", NOW));
    let again = lost(&cluster, &cluster.store).unwrap();
    assert_eq!((again.leases, again.blocks, again.fenced_epoch), (0, 0, 1));
    assert_given_up(&cluster);
}

fn transactions() -> usize {
    let cluster = cluster();
    let fated = Fated::new(&cluster.store, []);
    lost(&cluster, &fated).unwrap();
    fated.commits()
}

#[test]
fn giving_up_goes_on_after_an_interruption_at_any_transaction() {
    let transactions = transactions();
    assert!(transactions > 6, "{transactions}");
    for nth in 0..transactions {
        let cluster = cluster();
        let error = lost(&cluster, &Fated::at(&cluster.store, nth, Fate::Unreachable)).unwrap_err();
        assert_eq!(error.reason(), Reason::Unavailable);
        assert_eq!(matches!(error, LostError::Interrupted { .. }), nth > 0);
        lost(&cluster, &cluster.store).unwrap();
        assert_given_up(&cluster);
    }
}

#[test]
fn giving_up_survives_a_lost_answer_to_any_transaction() {
    for nth in 0..transactions() {
        for fate in Fate::unanswered() {
            let cluster = cluster();
            let report = lost(&cluster, &Fated::at(&cluster.store, nth, fate)).unwrap();
            assert_given_up(&cluster);
            assert_eq!((report.leases, report.blocks), (130, 3));
        }
    }
}

#[test]
fn an_interruption_says_what_is_done_and_what_to_do() {
    let cluster = cluster();
    let error = lost(&cluster, &Fated::at(&cluster.store, 2, Fate::Unreachable)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "node n1 is fenced, and 60 of its leases and 0 of its blocks were given up now, but not all; say again that it is lost to go on"
    );
}

#[test]
fn two_operators_give_the_same_node_up_together() {
    for nth in 0..transactions() {
        let cluster = cluster();
        let schema = cluster.schema.clone();
        let other = Box::new(move |store: &MemoryStore| {
            let other = Operator {
                writer: node("n8"),
                ..operator("other")
            };
            Operations::new(store, &schema)
                .node_lost(&other, &node("n1"), "its disk burnt", &mut |_| {})
                .unwrap();
        });
        lost(
            &cluster,
            &Fated::at(&cluster.store, nth, Fate::After(other)),
        )
        .unwrap();
        assert_given_up(&cluster);
    }
}

/// n1 comes back and registers.
fn revive(cluster: &Cluster) {
    let fence = FenceRow {
        epoch: 3,
        ..FenceRow::default()
    };
    cluster.put(&Place::Fence(node("n1")), &fence);
}

#[test]
fn a_node_that_comes_back_keeps_what_was_not_given_up_yet() {
    for nth in 1..transactions() {
        let cluster = cluster();
        let revived = Cluster {
            store: cluster.store.clone(),
            schema: cluster.schema.clone(),
        };
        let back = Box::new(move |_: &MemoryStore| {
            revive(&revived);
            revived.put(&Place::Live(node("n1")), &LiveRow::default());
        });
        let report = lost(&cluster, &Fated::at(&cluster.store, nth, Fate::After(back))).unwrap();
        assert!(report.came_back, "{nth}");
        let contents = cluster.contents();
        let left = |kind: &str| {
            let of = contents.keys().filter(|key| key.starts_with(kind));
            u64::try_from(of.count()).unwrap()
        };
        assert_eq!(left("blocks/"), 4 - report.blocks, "{nth}");
        assert_eq!(left("leases/"), 131 - report.leases, "{nth}");
        assert_eq!(left("live/"), 1, "{nth}");
        assert_eq!(fence(&cluster).epoch, 3);
    }
}

#[test]
fn a_statement_whose_answer_was_lost_does_not_fence_the_next_life() {
    let cluster = cluster();
    let revived = Cluster {
        store: cluster.store.clone(),
        schema: cluster.schema.clone(),
    };
    let back = Box::new(move |_: &MemoryStore| revive(&revived));
    let fated = Fated::new(&cluster.store, [Fate::MadeThen(back)]);
    lost(&cluster, &fated).unwrap();
    assert_eq!(
        (fence(&cluster).epoch, fence(&cluster).state),
        (3, FenceState::Active)
    );
}

#[test]
fn what_a_lost_node_still_sends_is_void() {
    let cluster = cluster();
    let key = cluster.schema.key(&Place::Fence(node("n1")));
    let rows = cluster.store.range(&KeyRange::one(&key), 1).unwrap().rows;
    let late = Txn {
        when: vec![Compare::Modified(key, rows[0].modified)],
        writes: vec![Write::Delete(cluster.schema.key(&lease_at("default", 300)))],
    };
    lost(&cluster, &cluster.store).unwrap();
    assert!(!cluster.store.commit(&late).unwrap().held);
}

#[test]
fn rows_that_are_not_understood_are_named_and_left() {
    let cluster = cluster();
    cluster.put_raw("blocks/default/0000000000000800", b"{}");
    cluster.put_raw("leases/other", b"{}");
    let report = lost(&cluster, &cluster.store).unwrap();
    assert_eq!(
        report.unread,
        [
            "/bulkhead/v1/leases/other",
            "/bulkhead/v1/blocks/default/0000000000000800"
        ]
    );
}

#[test]
fn whom_a_statement_cannot_be_of_is_refused() {
    let cluster = cluster();
    let operations = on(&cluster.store, &cluster.schema);
    for (name, statement, expected) in [
        (
            "n9",
            "x".to_owned(),
            "node n900000000000000 is the one that is asked, and lives; say that it is lost on another node, after it was switched off",
        ),
        (
            "n7",
            "x".to_owned(),
            "no node n700000000000000 is registered; look at the list of nodes",
        ),
        (
            "n1",
            "x".repeat(5000),
            "the statement has 5000 bytes, 4096 at most; say it in fewer words",
        ),
    ] {
        let error = operations
            .node_lost(&operator("a"), &node(name), &statement, &mut |_| {})
            .unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}
