//! What becomes of a transaction whose answer does not come, and of one that etcd has no room for.

use bulkhead_ipam::cluster::{ClusterStore, Compare, Key, KeyRange, KvError, Txn, Write};
use bulkhead_ipam_etcd::EtcdStore;
use netns_fixtures::{Etcd, EtcdOptions, Ns, Sandbox, wait_for};

use super::{PATIENCE, client, list, put, settings, wait_for_answer};

fn single(sandbox: &Sandbox, options: EtcdOptions) -> (Ns, Etcd, EtcdStore) {
    let ns = sandbox.ns("etcd").unwrap();
    let etcd = Etcd::on_loopback(sandbox, &ns, 1, options).unwrap();
    let store = client(&ns, settings(etcd.urls()));
    wait_for_answer(&store);
    (ns, etcd, store)
}

#[test]
fn a_transaction_without_an_answer_is_ambiguous_and_its_outcome_can_be_read() {
    let sandbox = Sandbox::new();
    let (_ns, etcd, store) = single(&sandbox, EtcdOptions::default());
    let key = Key::new("/t/block").unwrap();
    let claim = Txn {
        when: vec![Compare::Absent(key.clone())],
        writes: vec![Write::Put(key.clone(), b"attempt 1".to_vec())],
    };
    etcd.stop(0);
    let error = store.commit(&claim).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "etcd {0} did not answer: {0}: no answer within 2000 ms; whether the change is made is not known",
            etcd.urls()[0]
        )
    );
    assert!(matches!(error, KvError::Ambiguous { .. }), "{error}");
    // Nothing was sent on a connection that could not be made.
    let error = store.commit(&claim).unwrap_err();
    assert!(matches!(error, KvError::Unavailable { .. }), "{error}");
    etcd.cont(0);
    wait_for_answer(&store);
    // It was on its way all the time: it is made, or never will be once it is read.
    let rows = wait_for("the outcome", PATIENCE, || {
        list(&store).ok().map(|listing| listing.rows)
    });
    let again = store.commit(&claim).unwrap();
    assert_eq!(again.held, rows.is_empty());
    let rows = store.range(&KeyRange::one(&key), 0).unwrap().rows;
    assert_eq!(rows[0].value, b"attempt 1");
}

#[test]
fn a_restart_of_the_member_is_ambiguous_at_most_for_what_was_on_its_way() {
    let sandbox = Sandbox::new();
    let (_ns, mut etcd, store) = single(&sandbox, EtcdOptions::default());
    put(&store, "row", b"1").unwrap();
    etcd.kill(0);
    // Whether the end of the connection is noticed before the request goes out on it is a race.
    put(&store, "row", b"2").unwrap_err();
    let error = put(&store, "row", b"3").unwrap_err();
    assert!(matches!(error, KvError::Unavailable { .. }), "{error}");
    etcd.restart(0).unwrap();
    wait_for_answer(&store);
    let rows = list(&store).unwrap().rows;
    assert_eq!(rows[0].value, b"1");
}

#[test]
fn a_full_database_is_refused_with_the_remedy_and_works_after_it() {
    let sandbox = Sandbox::new();
    let options = EtcdOptions {
        quota: Some(8 << 20),
        ..EtcdOptions::default()
    };
    let (_ns, etcd, store) = single(&sandbox, options);
    let value = vec![b'x'; 1_000_000];
    let mut written = 0;
    let error = loop {
        match put(&store, "big", &value) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 100, "the quota is not kept");
    };
    assert!(matches!(error, KvError::Refused { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        format!(
            "etcd {} refuses: mvcc: database space exceeded: compact and defragment etcd, or raise \
             --quota-backend-bytes; then `etcdctl alarm disarm`",
            etcd.urls()[0]
        )
    );
    let revision = list(&store).unwrap().revision;
    etcd.etcdctl(&["compact", "--physical", &revision.0.to_string()])
        .unwrap();
    etcd.etcdctl(&["defrag"]).unwrap();
    etcd.etcdctl(&["alarm", "disarm"]).unwrap();
    wait_for("room", PATIENCE, || put(&store, "big", b"small").ok());
}
