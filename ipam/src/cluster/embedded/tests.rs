//! A crash at every byte of every write and between every two steps: what was acknowledged is there,
//! what was not is not, and nothing else is.

use std::{fs, io};

use super::super::kv::{Compare, Key, Row};
use super::*;
use crate::testing::TempDir;

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn put(store: &EmbeddedStore, name: &str, value: &[u8]) {
    let txn = Txn {
        writes: vec![
            Write::Put(key(name), value.to_vec()),
            Write::Put(key("last"), name.into()),
        ],
        ..Txn::default()
    };
    store.commit(&txn).unwrap();
}

fn delete(store: &EmbeddedStore, name: &str) {
    let txn = Txn {
        when: vec![Compare::NoneIn(KeyRange::prefix("none/"))],
        writes: vec![Write::Delete(key(name))],
    };
    assert!(store.commit(&txn).unwrap().held);
}

type State = (Vec<Row>, Revision);

fn state(store: &EmbeddedStore) -> State {
    let listing = store.range(&KeyRange::prefix("k"), 0).unwrap();
    (listing.rows, listing.revision)
}

/// A few transactions; after each the directory as it was and the state.
fn history(dir: &TempDir, least: u64) -> Vec<(PathBuf, State)> {
    let live = dir.path().join("live");
    let store = EmbeddedStore::open_with(&live, least).unwrap();
    let mut kept = Vec::new();
    for nth in 0..12_u8 {
        match nth {
            3 | 7 => delete(&store, &format!("k{}", nth - 1)),
            5 => put(&store, "k5", b"\xff\0\n"),
            _ => put(
                &store,
                &format!("k{nth}"),
                format!("{{\"n\": {nth}}}\n").as_bytes(),
            ),
        }
        let copied = dir.path().join(format!("after-{nth}"));
        copy(&live, &copied);
        kept.push((copied, state(&store)));
    }
    kept
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn reopened(dir: &Path) -> State {
    state(&EmbeddedStore::open(dir).unwrap())
}

#[test]
fn a_journal_cut_anywhere_is_what_was_acknowledged() {
    let dir = TempDir::new("embedded-cut");
    let kept = history(&dir, LEAST_JOURNAL);
    let crashed = dir.path().join("crashed");
    for pair in kept.windows(2) {
        let [before, after] = pair else {
            unreachable!()
        };
        let old = fs::read(before.0.join("journal")).unwrap();
        let new = fs::read(after.0.join("journal")).unwrap();
        assert!(new.starts_with(&old));
        for cut in old.len()..=new.len() {
            copy(&before.0, &crashed);
            fs::write(crashed.join("journal"), &new[..cut]).unwrap();
            let whole = if cut == new.len() { after } else { before };
            assert_eq!(reopened(&crashed), whole.1, "cut at {cut}");
        }
    }
}

#[test]
fn a_crash_between_the_steps_of_a_snapshot_changes_nothing() {
    let dir = TempDir::new("embedded-steps");
    let (home, expected) = history(&dir, LEAST_JOURNAL).pop().unwrap();
    let crashed = dir.path().join("crashed");
    let made = dir.path().join("made");
    copy(&home, &made);
    let store = EmbeddedStore::open_with(&made, 1).unwrap();
    store.0.disk.lock().unwrap().shorten(&store.0.rows.lock());
    drop(store);
    let file = |name: &str| fs::read(made.join(name)).unwrap();
    let (snapshot, journal) = (file("snapshot"), file("journal"));
    assert!(journal.len() < fs::read(home.join("journal")).unwrap().len());
    let check = |step: &str| {
        let again = dir.path().join("again");
        copy(&crashed, &again);
        assert_eq!(reopened(&again), expected, "{step}");
        // And it goes on from there.
        let store = EmbeddedStore::open_with(&again, 1).unwrap();
        put(&store, "k-later", b"x");
        let later = state(&store);
        drop(store);
        assert_eq!(reopened(&again), later, "{step}");
        assert_eq!(later.1.0, expected.1.0 + 1, "{step}");
    };
    copy(&home, &crashed);
    for cut in 0..=snapshot.len() {
        fs::write(crashed.join("snapshot.new"), &snapshot[..cut]).unwrap();
        if cut % 61 == 0 || cut == snapshot.len() {
            check(&format!("snapshot written up to byte {cut}"));
        }
    }
    fs::rename(crashed.join("snapshot.new"), crashed.join("snapshot")).unwrap();
    check("snapshot renamed");
    for cut in 0..=journal.len() {
        fs::write(crashed.join("journal.new"), &journal[..cut]).unwrap();
        check(&format!("journal written up to byte {cut}"));
    }
    fs::rename(crashed.join("journal.new"), crashed.join("journal")).unwrap();
    check("journal renamed");
}

#[test]
fn snapshots_at_every_commit_say_the_same_as_none() {
    let plain = history(&TempDir::new("embedded-plain"), LEAST_JOURNAL);
    let dir = TempDir::new("embedded-every");
    for ((home, said), (_, expected)) in history(&dir, 1).iter().zip(&plain) {
        assert_eq!(said, expected);
        assert!(home.join("snapshot").exists());
        assert_eq!(&reopened(home), expected);
    }
}

#[test]
fn a_changed_byte_is_refused_with_the_file_and_the_place() {
    let dir = TempDir::new("embedded-flip");
    let (home, expected) = history(&dir, 300).pop().unwrap();
    let crashed = dir.path().join("crashed");
    for name in ["snapshot", "journal"] {
        let bytes = fs::read(home.join(name)).unwrap();
        assert!(bytes.len() > 100, "{name} is in use");
        for at in 0..bytes.len() {
            copy(&home, &crashed);
            let mut bad = bytes.clone();
            bad[at] ^= 0x11;
            fs::write(crashed.join(name), &bad).unwrap();
            match EmbeddedStore::open(&crashed) {
                Err(EmbeddedError::Damaged { path, .. }) => assert!(path.ends_with(name)),
                Err(error) => panic!("byte {at} of {name}: {error}"),
                Ok(store) => panic!("byte {at} of {name}: {:?}, {expected:?}", state(&store)),
            }
        }
    }
}

#[test]
fn a_snapshot_that_ends_early_is_refused() {
    let dir = TempDir::new("embedded-early");
    let (home, _) = history(&dir, 300).pop().unwrap();
    let bytes = fs::read(home.join("snapshot")).unwrap();
    for cut in 0..bytes.len() {
        fs::write(home.join("snapshot"), &bytes[..cut]).unwrap();
        let error = EmbeddedStore::open(&home).unwrap_err();
        assert!(
            matches!(error, EmbeddedError::Damaged { .. }),
            "cut at {cut}: {error}"
        );
    }
}

#[test]
fn a_journal_that_misses_a_record_is_refused() {
    let dir = TempDir::new("embedded-skip");
    let kept = history(&dir, LEAST_JOURNAL);
    let path = kept.last().unwrap().0.join("journal");
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for skipped in 1..lines.len() - 1 {
        let mut rest = lines.clone();
        rest.remove(skipped);
        fs::write(&path, rest.join("\n") + "\n").unwrap();
        let error = EmbeddedStore::open(path.parent().unwrap()).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&format!("where {} is due", skipped + 1)),
            "{text}"
        );
    }
}

#[test]
fn a_journal_that_is_gone_is_refused_where_a_snapshot_is() {
    let dir = TempDir::new("embedded-gone");
    let (home, _) = history(&dir, 1).pop().unwrap();
    for empty in [false, true] {
        fs::remove_file(home.join("journal")).unwrap();
        if empty {
            fs::write(home.join("journal"), "").unwrap();
        }
        let text = EmbeddedStore::open(&home).unwrap_err().to_string();
        assert!(text.contains("it is gone"), "{text}");
        fs::write(home.join("journal"), "").unwrap();
    }
}

#[test]
fn two_processes_never_have_it_open() {
    let dir = TempDir::new("embedded-lock");
    let store = EmbeddedStore::open(dir.path()).unwrap();
    let error = EmbeddedStore::open(dir.path()).unwrap_err();
    assert!(matches!(error, EmbeddedError::InUse(_)), "{error}");
    drop(store);
    EmbeddedStore::open(dir.path()).unwrap();
}

#[test]
fn a_snapshot_that_the_disk_does_not_take_costs_nothing_acknowledged() {
    let dir = TempDir::new("embedded-full");
    let store = EmbeddedStore::open(dir.path()).unwrap();
    put(&store, "k1", b"1");
    let before = state(&store);
    // A directory that is gone stands for a disk that takes no snapshot: the commit is durable as it is.
    store.0.disk.lock().unwrap().longest = 1;
    store.0.disk.lock().unwrap().dir = dir.path().join("gone");
    put(&store, "k2", b"2");
    let after = state(&store);
    assert_ne!(before, after);
    drop(store);
    assert_eq!(reopened(dir.path()), after);
}

#[test]
fn what_the_disk_does_not_take_is_not_there_and_goes_once_it_does() {
    let dir = TempDir::new("embedded-refused");
    let store = EmbeddedStore::open(dir.path()).unwrap();
    put(&store, "k1", b"1");
    let before = state(&store);
    let disk = |disk| store.0.disk.lock().unwrap().journal.disk = disk;
    disk(journal::Disk::new(|_| {
        Err(io::Error::from(io::ErrorKind::StorageFull))
    }));
    let txn = Txn {
        writes: vec![Write::Put(key("k2"), b"2".to_vec())],
        ..Txn::default()
    };
    // It cannot be taken back either, so that a restart may find it.
    for _ in 0..2 {
        let error = store.commit(&txn).unwrap_err();
        assert!(matches!(error, KvError::Ambiguous { .. }), "{error}");
    }
    assert_eq!(state(&store), before);
    disk(journal::Disk::default());
    put(&store, "k2", b"2");
    let after = state(&store);
    drop(store);
    assert_eq!(reopened(dir.path()), after);
}

#[test]
fn a_watch_resumes_after_a_restart_from_what_the_journal_has() {
    let dir = TempDir::new("embedded-resume");
    let store = EmbeddedStore::open(dir.path()).unwrap();
    put(&store, "k1", b"1");
    let seen = state(&store).1;
    put(&store, "k2", b"2");
    drop(store);
    let store = EmbeddedStore::open(dir.path()).unwrap();
    let mut watch = store.watch(&KeyRange::prefix("k"), seen).unwrap();
    let events = watch.next(std::time::Duration::ZERO).unwrap();
    let keys: Vec<&str> = events.iter().map(|event| event.key.as_str()).collect();
    assert_eq!(keys, ["k2"]);
}
