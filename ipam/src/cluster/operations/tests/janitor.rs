use super::cluster::NOW;
use super::*;
use crate::cluster::schema::{
    AuditPlace, AuditRow, Happened, JanitorRow, LiveRow, MetaRow, MetaState, Place,
};

const DAY: u64 = 86_400_000;
const RETENTION: Retention = Retention {
    keep_ms: 30 * DAY,
    every_ms: 3_600_000,
};

/// A cluster with one audit row for each of the last 300 days.
fn cluster() -> Cluster {
    let cluster = Cluster::new();
    for days in 0..300 {
        let at_unix_ms = NOW - days * DAY;
        let place = AuditPlace {
            pool: pool("default"),
            ordinal: days,
            at_unix_ms,
            writer: "n1".to_owned(),
            nth: 0,
        };
        let row = AuditRow {
            at_unix_ms,
            what: Happened::Released,
            node: node("n1"),
            reason: String::new(),
            bits: None,
            attachment: None,
            sequence: None,
            pod: None,
            since_unix_ms: None,
        };
        cluster.put(&Place::Audit(place), &row);
    }
    cluster
}

fn prune(cluster: &Cluster, store: &dyn ClusterStore) -> Result<Pruned, StoreTrouble> {
    on(store, &cluster.schema).prune_audit(&node("n1"), NOW, RETENTION)
}

fn left(cluster: &Cluster) -> usize {
    let contents = cluster.contents();
    contents
        .keys()
        .filter(|key| key.starts_with("audit/"))
        .count()
}

#[test]
fn rows_older_than_the_retention_are_removed_by_one_node() {
    let cluster = cluster();
    let removed = Pruned::Removed {
        rows: 269,
        before_unix_ms: NOW - 30 * DAY,
    };
    assert_eq!(prune(&cluster, &cluster.store).unwrap(), removed);
    assert_eq!(left(&cluster), 31);
    let other = on(&cluster.store, &cluster.schema).prune_audit(&node("n2"), NOW + 1, RETENTION);
    assert_eq!(other.unwrap(), Pruned::NotDue);
    let row: JanitorRow = cluster.value(&Place::Janitor).unwrap();
    assert_eq!((row.node, row.at_unix_ms), (Some(node("n1")), NOW));
}

#[test]
fn a_node_that_begins_at_the_same_time_leaves_it_to_the_other() {
    let cluster = cluster();
    let schema = cluster.schema.clone();
    let other = Box::new(move |store: &MemoryStore| {
        let other = Operations::new(store, &schema);
        let pruned = other.prune_audit(&node("n2"), NOW, RETENTION).unwrap();
        assert!(matches!(pruned, Pruned::Removed { rows: 269, .. }));
    });
    let fated = Fated::new(&cluster.store, [Fate::After(other)]);
    assert_eq!(prune(&cluster, &fated).unwrap(), Pruned::NotDue);
}

#[test]
fn whoever_is_overtaken_or_shut_out_stops() {
    for meta in [false, true] {
        let cluster = cluster();
        let same = Cluster {
            store: cluster.store.clone(),
            schema: cluster.schema.clone(),
        };
        let first = Box::new(move |_: &MemoryStore| {
            if meta {
                let moving = MetaRow {
                    state: MetaState::Moving,
                    ..MetaRow::default()
                };
                same.put(&Place::Meta, &moving);
            } else {
                same.put(&Place::Janitor, &JanitorRow::default());
            }
        });
        let fated = Fated::new(&cluster.store, [Fate::Well, Fate::Well, Fate::After(first)]);
        let pruned = prune(&cluster, &fated).unwrap();
        assert!(
            matches!(pruned, Pruned::Removed { rows: 120, .. }),
            "{pruned:?}"
        );
        assert_eq!(left(&cluster), 180);
    }
}

#[test]
fn lost_answers_leave_nothing_behind() {
    for nth in 0..4 {
        for fate in Fate::unanswered() {
            let cluster = cluster();
            prune(&cluster, &Fated::at(&cluster.store, nth, fate)).unwrap();
            assert_eq!(left(&cluster), 31);
        }
    }
}

#[test]
fn a_clock_that_is_ahead_of_everybody_removes_nothing() {
    let cluster = cluster();
    let live = |at_unix_ms| LiveRow {
        at_unix_ms,
        ..LiveRow::default()
    };
    cluster.put(&Place::Live(node("n1")), &live(NOW));
    cluster.put(&Place::Live(node("n2")), &live(NOW - DAY));
    assert_eq!(
        prune(&cluster, &cluster.store).unwrap(),
        Pruned::ClockAhead { by_ms: DAY }
    );
    assert_eq!(left(&cluster), 300);
    cluster.put(&Place::Live(node("n2")), &live(NOW - 1000));
    prune(&cluster, &cluster.store).unwrap();
    assert_eq!(left(&cluster), 31);
}
