//! A crash at every byte of every write and between every two steps: what was acknowledged is
//! there, what was not is not, and nothing else is.

use super::*;
use crate::StoreError;
use crate::store::checkpoint::Checkpoint;
use crate::store::compact::compacted;
use crate::store::network::Extent;

/// Runs a few calls, and after each keeps the directory and what the store said.
fn history(dir: &TempDir, tail_records: usize) -> Vec<(std::path::PathBuf, String)> {
    let home = dir.path().join("live");
    let config = small();
    let mut kept = Vec::new();
    for nth in 0..9 {
        let mut store = store(&home, nth, tail_records);
        match nth {
            2 => drop(release(&mut store, "c0")),
            5 => drop(release(&mut store, "c3")),
            _ => drop(acquire(&mut store, &format!("c{nth}"), &config)),
        }
        let copied = dir.path().join(format!("after-{nth}"));
        copy(&home, &copied);
        kept.push((copied, said(&store)));
    }
    kept
}

#[test]
fn a_journal_cut_anywhere_is_what_was_acknowledged() {
    let dir = TempDir::new("cut");
    let kept = history(&dir, 128);
    let journal = |path: &Path| fs::read(path.join("networks/blue/journal")).unwrap();
    for pair in kept.windows(2) {
        let (before, after) = (&pair[0], &pair[1]);
        let (old, new) = (journal(&before.0), journal(&after.0));
        assert!(new.starts_with(&old));
        let crashed = dir.path().join("crashed");
        copy(&before.0, &crashed);
        for cut in old.len()..=new.len() {
            fs::write(crashed.join("networks/blue/journal"), &new[..cut]).unwrap();
            let expected = if cut == new.len() {
                &after.1
            } else {
                &before.1
            };
            let network = blue(&state(&crashed, "a", 9));
            assert_eq!(
                &said(&network.read().unwrap().unwrap()),
                expected,
                "cut at {cut}"
            );
            assert_eq!(&said(&network.lock().unwrap()), expected, "cut at {cut}");
        }
    }
}

#[test]
fn a_crash_between_the_steps_of_a_checkpoint_changes_nothing() {
    let dir = TempDir::new("steps");
    let kept = history(&dir, 128);
    let (home, expected) = kept.last().unwrap();
    let network = blue(&state(home, "a", 9));
    let blue_dir = home.join("networks/blue");
    let old_journal = fs::read(blue_dir.join("journal")).unwrap();
    let place = (1, u64::try_from(old_journal.len()).unwrap());
    let checkpoint = compacted(&network.lock().unwrap(), place, 64).unwrap();
    let check = |step: &str| {
        assert_eq!(
            &said(&network.read().unwrap().unwrap()),
            expected,
            "read, {step}"
        );
        let crashed = dir.path().join("crashed-step");
        let _ = fs::remove_dir_all(&crashed);
        copy(home, &crashed);
        let mut store = store(&crashed, 9, 128);
        assert_eq!(&said(&store), expected, "{step}");
        acquire(&mut store, "later", &small());
        drop(store);
        let store = super::store(&crashed, 9, 128);
        assert!(
            store.find(&draft("later").key.id()).unwrap().is_some(),
            "{step}"
        );
    };
    for cut in (0..checkpoint.len()).step_by(997) {
        fs::write(blue_dir.join("checkpoint.new"), &checkpoint[..cut]).unwrap();
        check(&format!("checkpoint written up to byte {cut}"));
    }
    network.put_checkpoint(&checkpoint).unwrap();
    check("checkpoint renamed");
    fs::create_dir(blue_dir.join("audit")).unwrap();
    check("audit directory made");
    let segment = blue_dir.join("audit/0000000000000001");
    fs::hard_link(blue_dir.join("journal"), segment).unwrap();
    check("journal linked into the log");
    fs::write(blue_dir.join("journal.new"), "bulkhead-jou").unwrap();
    check("next journal half written");
    let (_, mut journal) = network.load(Extent::Changes).unwrap();
    network.next_journal(&mut journal, &[]).unwrap();
    check("next journal renamed");
    assert_ne!(fs::read(blue_dir.join("journal")).unwrap(), old_journal);
    let events = network.lock().unwrap().history(ip("10.1.0.10")).unwrap();
    // c0 had it, gave it back, and c8 has it.
    assert_eq!(events.len(), 3, "{events:?}");
}

#[test]
fn a_journal_begun_while_the_store_went_on_has_what_the_checkpoint_has_not() {
    let dir = TempDir::new("carried");
    let kept = history(&dir, 128);
    let (last, expected) = kept.last().unwrap();
    let journal = |at: &Path| fs::read(at.join("networks/blue/journal")).unwrap();
    // The checkpoint is of an earlier moment than the journal's last record.
    for (nth, (earlier, _)) in kept.iter().enumerate() {
        let home = &dir.path().join(format!("going-on-{nth}"));
        copy(last, home);
        let network = blue(&state(home, "a", 9));
        let blue_dir = home.join("networks/blue");
        let length = u64::try_from(journal(earlier).len()).unwrap();
        let old = blue(&state(earlier, "a", 9)).read().unwrap().unwrap();
        network
            .put_checkpoint(&compacted(&old, (1, length), 64).unwrap())
            .unwrap();
        let whole = journal(home);
        let check = |step: &str| {
            for said in [
                said(&network.read().unwrap().unwrap()),
                said(&network.lock().unwrap()),
            ] {
                assert_eq!(&said, expected, "{step}, checkpoint at {length}");
            }
        };
        check("before");
        let (_, mut open) = network.load(Extent::Changes).unwrap();
        let since: Vec<_> = open
            .tail(length)
            .unwrap()
            .records()
            .map(|(_, body)| body)
            .collect();
        network.next_journal(&mut open, &since).unwrap();
        check("after");
        let next = journal(home);
        assert_ne!(next, whole);
        for cut in (0..next.len()).step_by(97) {
            fs::write(blue_dir.join("journal"), &whole).unwrap();
            fs::write(blue_dir.join("journal.new"), &next[..cut]).unwrap();
            check("next journal half written");
        }
        fs::write(blue_dir.join("journal"), &next).unwrap();
        let events = network.lock().unwrap().history(ip("10.1.0.10")).unwrap();
        assert_eq!(events.len(), 3, "{events:?}");
    }
}

#[test]
fn checkpoints_at_every_call_say_the_same_as_none() {
    let dir = TempDir::new("every");
    let plain = history(&dir, 128);
    for records in 1..6 {
        let dir = TempDir::new("every-n");
        let some = history(&dir, records);
        for (nth, (a, b)) in plain.iter().zip(&some).enumerate() {
            assert_eq!(
                a.1, b.1,
                "after call {nth}, a checkpoint every {records} records"
            );
        }
    }
}

#[test]
fn a_changed_byte_of_a_checkpoint_is_refused_or_of_no_matter() {
    let dir = TempDir::new("flip");
    let kept = history(&dir, 4);
    let (home, expected) = kept.last().unwrap();
    let path = home.join("networks/blue/checkpoint");
    let bytes = fs::read(&path).unwrap();
    let network = blue(&state(home, "a", 9));
    let everything = || -> Result<String, StoreError> {
        let store = network.lock()?;
        store.usage()?;
        store.attachments()?;
        for nth in 0..10 {
            store.find(&draft(&format!("c{nth}")).key.id())?;
        }
        for nth in 10..16 {
            store.holder(ip(&format!("10.1.0.{nth}")))?;
            store.holder(ip(&format!("fd00::{nth}")))?;
        }
        Ok(said(&store))
    };
    let mut refused = 0;
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 0x11;
        fs::write(&path, &bad).unwrap();
        match everything() {
            Ok(said) => assert_eq!(&said, expected, "byte {at}"),
            Err(StoreError::Damaged { .. } | StoreError::Schema { .. }) => refused += 1,
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
    // Only the newlines between records and the header's unused bytes say nothing.
    assert!(
        refused * 10 > bytes.len() * 9,
        "{refused} of {}",
        bytes.len()
    );
}

#[test]
fn every_cut_of_a_checkpoint_is_refused() {
    let dir = TempDir::new("ckpt-cut");
    let kept = history(&dir, 4);
    let path = kept.last().unwrap().0.join("networks/blue/checkpoint");
    let bytes = fs::read(&path).unwrap();
    for cut in 0..bytes.len() {
        fs::write(&path, &bytes[..cut]).unwrap();
        let opened = Checkpoint::open(&path);
        assert!(
            matches!(opened, Err(StoreError::Damaged { .. })),
            "cut at {cut}"
        );
    }
}

#[test]
fn a_journal_that_skips_a_record_is_refused() {
    let dir = TempDir::new("skip");
    let kept = history(&dir, 128);
    let path = kept.last().unwrap().0.join("networks/blue/journal");
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let network = blue(&state(&kept.last().unwrap().0, "a", 9));
    for skipped in 1..lines.len() - 1 {
        let mut rest = lines.clone();
        rest.remove(skipped);
        fs::write(&path, rest.join("\n") + "\n").unwrap();
        let error = network.lock().unwrap_err().to_string();
        assert!(
            error.contains(&format!("where {skipped} is due")),
            "{error}"
        );
    }
}
