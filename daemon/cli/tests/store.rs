//! The rows of an embedded store in a file and out of it, while no daemon has it.

mod common;

use bulkhead_ipam::cluster::schema::{MetaRow, MetaState, encode};
use bulkhead_ipam::cluster::{ClusterStore, EmbeddedStore, Key, KeyRange, Txn, Write};
use common::Scratch;
use std::os::unix::fs::PermissionsExt;

fn filled(scratch: &Scratch) {
    let store = EmbeddedStore::open(&scratch.path("state/cluster")).unwrap();
    let meta = MetaRow {
        cluster: "5be1c0de".to_owned(),
        created_at_unix_ms: 1_772_352_000_000,
        state: MetaState::Active,
        from: String::new(),
        to: String::new(),
    };
    let key = |text: &str| Key::new(text).unwrap();
    let put = |path: &str, value: Vec<u8>| Write::Put(key(path), value);
    let committed = store.commit(&Txn {
        when: Vec::new(),
        writes: vec![
            put("/bulkhead/v1/meta", encode(&meta)),
            put("/bulkhead/v1/live/b7f3", b"{\"at\":1}".to_vec()),
        ],
    });
    assert!(committed.unwrap().held);
}

fn rows(scratch: &Scratch) -> Vec<(String, Vec<u8>)> {
    let store = EmbeddedStore::open(&scratch.path("state/cluster")).unwrap();
    let listing = store.range(&KeyRange::prefix("/"), 0).unwrap();
    let rows = listing.rows.into_iter();
    rows.map(|row| (row.key.to_string(), row.value)).collect()
}

const OFFLINE: &str = "--offline --state-dir $DIR/state";

#[test]
fn a_store_that_was_lost_comes_back_from_its_backup() {
    let scratch = Scratch::new();
    filled(&scratch);
    let before = rows(&scratch);
    let said = scratch
        .bulkhead(&format!("store backup $DIR/backup {OFFLINE}"))
        .ok();
    assert!(
        said.starts_with("$DIR/backup: 2 rows of cluster 5be1c0de at revision "),
        "{said}"
    );
    // Keys of encrypted networks may be in it.
    let mode = std::fs::metadata(scratch.path("backup")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    std::fs::remove_dir_all(scratch.path("state/cluster")).unwrap();

    let restore = format!("store restore $DIR/backup {OFFLINE}");
    let refused = scratch.bulkhead(&restore);
    assert_eq!(refused.code, 1, "nobody confirms: {refused:?}");
    assert!(
        refused.stderr.contains("2 rows of cluster 5be1c0de"),
        "{refused:?}"
    );
    // The store's own row opens it, and is not counted.
    let ran = scratch.bulkhead(&format!("{restore} --yes"));
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "1 rows written, 0 were there, 0 differ\n")
    );
    assert_eq!(rows(&scratch), before);
    let again = scratch.bulkhead(&format!("{restore} --yes"));
    assert_eq!(
        (again.code, again.stdout.as_str()),
        (0, "0 rows written, 1 were there, 0 differ\n")
    );
}

#[test]
fn a_file_that_is_no_backup_and_a_store_in_use_are_named() {
    let scratch = Scratch::new();
    filled(&scratch);
    scratch.write("backup", "{\"rows\":1}\n");
    let (code, stderr) = scratch
        .bulkhead(&format!("store restore $DIR/backup --yes {OFFLINE}"))
        .refused();
    assert_eq!(code, 4, "{stderr}");
    assert!(
        stderr.starts_with("bulkhead: backup $DIR/backup: line 1 says of no backup: "),
        "{stderr}"
    );
    let _held = EmbeddedStore::open(&scratch.path("state/cluster")).unwrap();
    let (code, stderr) = scratch
        .bulkhead(&format!("store backup $DIR/new {OFFLINE}"))
        .refused();
    assert_eq!(code, 4, "{stderr}");
    assert!(stderr.contains("is in use by another process"), "{stderr}");
}
