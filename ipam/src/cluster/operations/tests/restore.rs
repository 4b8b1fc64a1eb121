use super::cluster::lease_at;
use super::*;
use crate::cluster::schema::{BlockRow, LiveRow, MetaRow, MetaState, Place};

fn backup(cluster: &Cluster) -> Backup {
    on(&cluster.store, &cluster.schema).backup().unwrap()
}

fn restore(
    cluster: &Cluster,
    store: &dyn ClusterStore,
    backup: &Backup,
) -> Result<RestoreReport, RestoreError> {
    on(store, &cluster.schema).restore(backup, &mut |_| {})
}

fn meta(cluster: &Cluster) -> MetaRow {
    cluster.value(&Place::Meta).unwrap()
}

#[test]
fn a_restored_store_is_as_it_was_also_under_another_prefix() {
    let old = Cluster::with_leases(300);
    let new = Cluster::blank("/site-2");
    let report = restore(&new, &new.store, &backup(&old)).unwrap();
    assert_eq!(new.contents(), old.contents());
    assert_eq!((report.written, report.same), (310, 0));
    let again = restore(&new, &new.store, &backup(&old)).unwrap();
    assert_eq!((again.written, again.same), (0, 310));
    assert_eq!(new.contents(), old.contents());
}

fn transactions() -> usize {
    let old = Cluster::with_leases(300);
    let new = Cluster::blank("");
    let fated = Fated::new(&new.store, []);
    restore(&new, &fated, &backup(&old)).unwrap();
    fated.commits()
}

#[test]
fn a_restoration_goes_on_after_an_interruption_at_any_transaction() {
    assert_eq!(transactions(), 5);
    for nth in 0..transactions() {
        let old = Cluster::with_leases(300);
        let new = Cluster::blank("");
        let fated = Fated::at(&new.store, nth, Fate::Unreachable);
        let error = restore(&new, &fated, &backup(&old)).unwrap_err();
        assert_eq!(error.reason(), Reason::Unavailable);
        if nth > 0 {
            assert_eq!(meta(&new).state, MetaState::Filling);
            assert!(matches!(error, RestoreError::Interrupted { .. }));
        }
        restore(&new, &new.store, &backup(&old)).unwrap();
        assert_eq!(new.contents(), old.contents());
    }
}

#[test]
fn a_restoration_survives_a_lost_answer_to_any_transaction() {
    for nth in 0..transactions() {
        for fate in Fate::unanswered() {
            let old = Cluster::with_leases(300);
            let new = Cluster::blank("");
            let report = restore(&new, &Fated::at(&new.store, nth, fate), &backup(&old)).unwrap();
            assert_eq!(report.written, 310);
            assert_eq!(new.contents(), old.contents());
        }
    }
}

#[test]
fn nobody_uses_a_store_that_is_half_filled() {
    let old = Cluster::with_leases(300);
    let new = Cluster::blank("");
    let store = Fated::at(&new.store, 2, Fate::Unreachable);
    let error = restore(&new, &store, &backup(&old)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "119 rows are written, and nobody may use memory store before all are; put the same backup back again to go on"
    );
    let change = PoolChange::to(crate::cluster::schema::PoolState::Draining);
    let error = on(&new.store, &new.schema)
        .pool_set(&operator("a"), &pool("default"), &change)
        .unwrap_err();
    let label = backup(&old).label();
    assert_eq!(
        error.to_string(),
        format!(
            "memory store is being filled from {label} and not complete; do that again to its end, then try again"
        )
    );
    // Nor is it filled from another backup.
    let other = Cluster::new();
    let error = restore(&new, &new.store, &backup(&other)).unwrap_err();
    assert!(
        error.to_string().contains("is being filled from"),
        "{error}"
    );
}

#[test]
fn rows_that_were_lost_are_put_back_where_the_others_are_the_same() {
    let cluster = Cluster::new();
    let backup = backup(&cluster);
    let before = cluster.contents();
    cluster.delete(&Place::Pool(pool("default")));
    cluster.delete(&lease_at("default", 65));
    let live = LiveRow {
        at_unix_ms: 7,
        ..LiveRow::default()
    };
    cluster.put(&Place::Live(node("n1")), &live);
    let report = restore(&cluster, &cluster.store, &backup).unwrap();
    assert_eq!((report.written, report.same), (2, 8));
    cluster.delete(&Place::Live(node("n1")));
    assert_eq!(cluster.contents(), before);
}

#[test]
fn a_store_that_has_something_else_is_refused_with_it() {
    let old = Cluster::new();
    let backup = backup(&old);
    let with = |change: &dyn Fn(&Cluster)| {
        let cluster = Cluster::new();
        change(&cluster);
        let before = cluster.contents();
        let error = restore(&cluster, &cluster.store, &backup).unwrap_err();
        assert_eq!(error.reason(), Reason::Conflict);
        assert_eq!(cluster.contents(), before);
        error.to_string()
    };
    let place = Place::Block {
        pool: pool("default"),
        first: 64,
    };
    assert_eq!(
        with(&|cluster| cluster.block("default", 512, 6, "n1")),
        "memory store has /bulkhead/v1/blocks/default/0000000000000200, which is not among them; a backup is put only where nothing else is: name an empty store or prefix"
    );
    assert_eq!(
        with(&|cluster| {
            let row: BlockRow = cluster.value(&place).unwrap();
            let other = BlockRow {
                node: node("n2"),
                ..row
            };
            cluster.put(&place, &other);
        }),
        "memory store has /bulkhead/v1/blocks/default/0000000000000040 with another value; a backup is put only where nothing else is: name an empty store or prefix"
    );
    assert_eq!(
        with(&|cluster| {
            let other = MetaRow {
                cluster: "other".to_owned(),
                ..MetaRow::default()
            };
            cluster.put(&Place::Meta, &other);
        }),
        "memory store is of cluster other, and the backup is of cluster 6d1f8c52; name an empty store or prefix"
    );
}

#[test]
fn a_node_that_registers_first_keeps_a_backup_from_being_put_back() {
    let old = Cluster::new();
    let new = Cluster::blank("");
    let same = Cluster {
        store: new.store.clone(),
        schema: new.schema.clone(),
    };
    let first = Box::new(move |_: &MemoryStore| {
        let meta = MetaRow {
            cluster: "new".to_owned(),
            ..MetaRow::default()
        };
        same.put(&Place::Meta, &meta);
    });
    let fated = Fated::new(&new.store, [Fate::After(first)]);
    let error = restore(&new, &fated, &backup(&old)).unwrap_err();
    assert!(
        matches!(error, RestoreError::OtherCluster { .. }),
        "{error}"
    );
}

#[test]
fn a_backup_of_a_store_that_had_moved_is_refused() {
    let old = Cluster::new();
    let moved = MetaRow {
        state: MetaState::Moved,
        to: "etcd https://10.0.0.1:2379".to_owned(),
        ..meta(&old)
    };
    old.put(&Place::Meta, &moved);
    let new = Cluster::blank("");
    assert_eq!(
        restore(&new, &new.store, &backup(&old))
            .unwrap_err()
            .to_string(),
        "the backup is of a store whose rows had gone to etcd https://10.0.0.1:2379; put a backup of that store back"
    );
}
