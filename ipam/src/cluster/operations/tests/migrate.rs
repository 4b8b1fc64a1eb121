use super::cluster::lease_at;
use super::*;
use crate::cluster::kv::{Committed, KvError, Listing, Revision, Watch};
use crate::cluster::schema::{LeaseRow, MetaRow, MetaState, Place};

/// A store by another name, which leads to others.
struct Named<'a>(&'a dyn ClusterStore, &'static str);

impl ClusterStore for Named<'_> {
    fn range(&self, range: &KeyRange, limit: usize) -> Result<Listing, KvError> {
        self.0.range(range, limit)
    }

    fn commit(&self, txn: &Txn) -> Result<Committed, KvError> {
        self.0.commit(txn)
    }

    fn watch(&self, range: &KeyRange, after: Revision) -> Result<Box<dyn Watch>, KvError> {
        self.0.watch(range, after)
    }

    fn describe(&self) -> String {
        self.1.to_owned()
    }
}

/// Two clusters' stores between which rows are moved, each with its own fates.
struct Pair {
    old: Cluster,
    new: Cluster,
}

impl Pair {
    fn new() -> Self {
        Self {
            old: Cluster::with_leases(300),
            new: Cluster::blank("/site-2"),
        }
    }

    fn moved<T>(
        &self,
        old: &dyn ClusterStore,
        new: &dyn ClusterStore,
        run: impl FnOnce(Migration<'_>) -> T,
    ) -> T {
        let (old, new) = (Named(old, "old store"), Named(new, "new store"));
        let from = Operations::new(&old, &self.old.schema);
        let to = Operations::new(&new, &self.new.schema);
        run(Migration::new(from, to))
    }

    fn run(&self) -> Result<MigrateReport, MigrateError> {
        self.moved(&self.old.store, &self.new.store, |m| m.run(&mut |_| {}))
    }

    /// That everything is in the new store, and nothing writes to the old one any more.
    fn assert_moved(&self) {
        let mut old = self.old.contents();
        let mut new = self.new.contents();
        old.remove("meta");
        new.remove("meta");
        assert_eq!(old, new);
        let (old, new) = (meta(&self.old), meta(&self.new));
        assert_eq!(
            (old.state, old.to.as_str()),
            (MetaState::Moved, "new store")
        );
        assert_eq!((new.state, new.from.as_str()), (MetaState::Active, ""));
        assert_eq!(old.cluster, new.cluster);
    }

    /// That not both may be written to.
    fn assert_one_writable(&self) {
        let states = [&self.old, &self.new].map(|cluster| {
            let meta: Option<MetaRow> = cluster.value(&Place::Meta);
            meta.map(|meta| meta.state)
        });
        assert_ne!(states, [Some(MetaState::Active), Some(MetaState::Active)]);
    }
}

fn meta(cluster: &Cluster) -> MetaRow {
    cluster.value(&Place::Meta).unwrap()
}

#[test]
fn everything_is_moved_and_the_old_store_closed() {
    let pair = Pair::new();
    let preview = pair.moved(&pair.old.store, &pair.new.store, |m| m.preview().unwrap());
    assert_eq!((preview.rows, preview.obstacles.len()), (310, 0));
    assert!(pair.new.contents().is_empty());
    let report = pair.run().unwrap();
    assert_eq!((report.copied, report.same), (310, 0));
    pair.assert_moved();
    assert_eq!(pair.run().unwrap(), MigrateReport::default());
    pair.assert_moved();
}

/// Runs a migration with a fate at the nth transaction of either store.
fn with_fate(
    pair: &Pair,
    nth: usize,
    old: bool,
    fate: Fate,
) -> Result<MigrateReport, MigrateError> {
    if old {
        let fated = Fated::at(&pair.old.store, nth, fate);
        pair.moved(&fated, &pair.new.store, |m| m.run(&mut |_| {}))
    } else {
        let fated = Fated::at(&pair.new.store, nth, fate);
        pair.moved(&pair.old.store, &fated, |m| m.run(&mut |_| {}))
    }
}

/// Every transaction of both stores: closing and handing over; claiming, three pages, opening.
fn places() -> impl Iterator<Item = (usize, bool)> {
    let old = (0..2).map(|nth| (nth, true));
    let new = (0..5).map(|nth| (nth, false));
    old.chain(new)
}

#[test]
fn a_migration_goes_on_after_an_interruption_at_any_transaction() {
    for (nth, old) in places() {
        let pair = Pair::new();
        let error = with_fate(&pair, nth, old, Fate::Unreachable).unwrap_err();
        assert_eq!(error.reason(), Reason::Unavailable);
        pair.assert_one_writable();
        let interrupted = matches!(error, MigrateError::Interrupted { .. });
        assert_eq!(interrupted, (nth, old) != (0, true));
        pair.run().unwrap();
        pair.assert_moved();
    }
    let pair = Pair::new();
    assert!(with_fate(&pair, 5, false, Fate::Unreachable).is_ok());
    let pair = Pair::new();
    assert!(with_fate(&pair, 2, true, Fate::Unreachable).is_ok());
}

#[test]
fn a_migration_survives_a_lost_answer_to_any_transaction() {
    for (nth, old) in places() {
        for fate in Fate::unanswered() {
            let pair = Pair::new();
            let report = with_fate(&pair, nth, old, fate).unwrap();
            assert_eq!(report.copied, 310);
            pair.assert_moved();
        }
    }
}

#[test]
fn a_migration_is_cancelled_at_any_transaction_before_it_hands_over() {
    for (nth, old) in places() {
        let pair = Pair::new();
        with_fate(&pair, nth, old, Fate::Unreachable).unwrap_err();
        let before = meta(&pair.old).state;
        let cancelled = pair.moved(&pair.old.store, &pair.new.store, |m| m.cancel());
        if before == MetaState::Moved {
            assert_eq!(
                cancelled.unwrap_err().to_string(),
                "the rows of old store are in new store already, so that nothing can be cancelled"
            );
            continue;
        }
        cancelled.unwrap();
        assert_eq!(pair.old.contents(), Cluster::with_leases(300).contents());
        assert!(pair.new.contents().is_empty());
        pair.run().unwrap();
        pair.assert_moved();
    }
}

#[test]
fn a_cancellation_can_be_done_again() {
    for nth in 0..4 {
        for fate in [
            Fate::Unreachable,
            Fate::LostUnanswered,
            Fate::MadeUnanswered,
        ] {
            let pair = Pair::new();
            with_fate(&pair, 4, false, Fate::Unreachable).unwrap_err();
            let moved = meta(&pair.old);
            // As if it had been interrupted before it handed over.
            let moving = MetaRow {
                state: MetaState::Moving,
                ..moved
            };
            pair.old.put(&Place::Meta, &moving);
            let fated = Fated::at(&pair.new.store, nth, fate);
            drop(pair.moved(&pair.old.store, &fated, |m| m.cancel()));
            pair.moved(&pair.old.store, &pair.new.store, |m| m.cancel())
                .unwrap();
            assert!(pair.new.contents().is_empty());
            assert_eq!(meta(&pair.old).state, MetaState::Active);
        }
    }
}

#[test]
fn a_cancelled_migration_cannot_be_finished_by_who_does_it_still() {
    let pair = Pair::new();
    let same = Pair {
        old: Cluster {
            store: pair.old.store.clone(),
            schema: pair.old.schema.clone(),
        },
        new: Cluster {
            store: pair.new.store.clone(),
            schema: pair.new.schema.clone(),
        },
    };
    let cancel = Box::new(move |_: &MemoryStore| {
        let (old, new) = (same.old.store.clone(), same.new.store.clone());
        same.moved(&old, &new, |m| m.cancel()).unwrap();
        let lease: LeaseRow = same.old.value(&lease_at("default", 65)).unwrap();
        same.old.put(&lease_at("default", 67), &lease);
    });
    // It begins anew then, and takes what was written meanwhile with it.
    with_fate(&pair, 1, true, Fate::After(cancel)).unwrap();
    pair.assert_moved();
    assert!(
        pair.new
            .contents()
            .contains_key("leases/default/0000000000000043")
    );
}

#[test]
fn a_move_that_may_not_be_is_refused() {
    let with = |change: &dyn Fn(&Pair)| {
        let pair = Pair::new();
        change(&pair);
        let before = (pair.old.contents(), pair.new.contents());
        let preview = pair.moved(&pair.old.store, &pair.new.store, |m| m.preview().unwrap());
        let error = pair.run().unwrap_err();
        assert_eq!(preview.obstacles, [error.to_string()]);
        assert_eq!((pair.old.contents(), pair.new.contents()), before);
        error.to_string()
    };
    let state = |state, to: &str, from: &str| MetaRow {
        cluster: "6d1f8c52".to_owned(),
        state,
        to: to.to_owned(),
        from: from.to_owned(),
        ..MetaRow::default()
    };
    let other = MetaRow {
        cluster: "other".to_owned(),
        ..MetaRow::default()
    };
    for (change, expected) in [
        (
            &(|pair: &Pair| pair.new.put(&Place::Meta, &other)) as &dyn Fn(&Pair),
            "new store is of cluster other already; name an empty store or prefix",
        ),
        (
            &|pair| pair.new.put(&Place::Meta, &meta(&pair.old)),
            "new store is of cluster 6d1f8c52 already; name an empty store or prefix",
        ),
        (
            &|pair| pair.new.put_raw("pools/default", b"{}"),
            "new store has /bulkhead/v1/pools/default with another value; name an empty store or prefix",
        ),
        (
            &|pair| {
                let filling = state(MetaState::Filling, "", "backup 12");
                pair.new.put(&Place::Meta, &filling);
            },
            "new store is being filled from backup 12; finish that, or name an empty store or prefix",
        ),
        (
            &|pair| {
                let moving = state(MetaState::Moving, "third store", "");
                pair.old.put(&Place::Meta, &moving);
            },
            "the rows of old store are on their way to third store; do that migration to its end, or cancel it",
        ),
        (
            &|pair| {
                let moved = state(MetaState::Moved, "third store", "");
                pair.old.put(&Place::Meta, &moved);
            },
            "the rows of old store are in third store; move them from there",
        ),
        (
            &|pair| {
                let moved = state(MetaState::Moved, "new store", "");
                pair.old.put(&Place::Meta, &moved);
            },
            "the rows of old store went to new store, which has nothing; name the store that they went to, or put a backup back",
        ),
        (
            &|pair| {
                let filling = state(MetaState::Filling, "", "backup 12");
                pair.old.put(&Place::Meta, &filling);
            },
            "old store is being filled from backup 12; finish that, or name an empty store or prefix",
        ),
        (
            &|pair| pair.old.delete(&Place::Meta),
            "old store is of no cluster yet; configure new store on every node, there is nothing to move",
        ),
    ] {
        assert_eq!(with(change), expected);
    }
}

#[test]
fn nobody_writes_to_a_store_that_is_moving_or_has_moved() {
    let pair = Pair::new();
    with_fate(&pair, 1, false, Fate::Unreachable).unwrap_err();
    let add = |cluster: &Cluster| {
        let row = super::cluster::pool_row(&["10.9.0.0/16"]);
        on(&cluster.store, &cluster.schema).pool_add(&operator("a"), &pool("web"), &row)
    };
    assert_eq!(
        add(&pair.old).unwrap_err().to_string(),
        "memory store is being copied to new store; wait for the end, or do the migration again to its end"
    );
    pair.run().unwrap();
    assert_eq!(
        add(&pair.old).unwrap_err().to_string(),
        "the rows of memory store are in new store now; configure that store"
    );
    add(&pair.new).unwrap();
}
