use super::*;
use crate::testing::TempDir;

fn reopened(path: &Path) -> (Journal, Vec<Vec<u8>>) {
    let (journal, tail) = Journal::open(path, |_| Ok(first_record()))
        .unwrap()
        .unwrap();
    let records = tail.records().map(|(_, body)| body.to_vec()).collect();
    (journal, records)
}

/// A disk that refuses these steps.
fn refusing(steps: &'static [Step]) -> Disk {
    let eio = rustix::io::Errno::IO.raw_os_error();
    Disk::new(move |step| {
        if steps.contains(&step) {
            Err(io::Error::from_raw_os_error(eio))
        } else {
            Ok(())
        }
    })
}

#[test]
fn a_torn_batch_is_cut_off_and_appended_over() {
    let dir = TempDir::new("torn");
    let path = dir.path().join("journal");
    let mut journal = Journal::create(&path).unwrap();
    journal.append(&["{\"a\":1}"]).unwrap();
    let acknowledged = fs::read(&path).unwrap();
    let batch = ["{\"b\":2}", "{\"c\":3}"];
    journal.append(&batch).unwrap();
    let all = fs::read(&path).unwrap();
    for cut in acknowledged.len()..all.len() {
        fs::write(&path, &all[..cut]).unwrap();
        let (mut again, records) = reopened(&path);
        let left = [b"{\"a\":1}".to_vec(), b"{\"b\":2}".to_vec()];
        assert!(
            left.starts_with(&records) && !records.is_empty(),
            "cut at {cut}"
        );
        again.append(&batch[records.len() - 1..]).unwrap();
        assert_eq!(reopened(&path).1.len(), 3, "cut at {cut}");
    }
}

#[test]
fn what_the_disk_refused_is_not_there_and_the_journal_goes_on() {
    let dir = TempDir::new("refused");
    let path = dir.path().join("journal");
    for steps in [&[Step::Write][..], &[Step::Sync], &[Step::Sync, Step::Cut]] {
        let mut journal = Journal::create(&path).unwrap();
        journal.append(&["{\"a\":1}"]).unwrap();
        journal.disk = refusing(steps);
        let refused = journal
            .append(&["{\"b\":2}", "{}"])
            .unwrap_err()
            .to_string();
        assert!(refused.ends_with(&path.display().to_string()), "{refused}");
        assert!(journal.append(&["{\"b\":3}"]).is_err());
        journal.disk = Disk::default();
        journal.append(&["{\"c\":4}"]).unwrap();
        assert_eq!(reopened(&path).1, [b"{\"a\":1}", b"{\"c\":4}"], "{steps:?}");
    }
}

#[test]
fn a_renewed_journal_takes_the_place_of_the_old_one_whole() {
    let dir = TempDir::new("renewed");
    let path = dir.path().join("journal");
    let mut journal = Journal::create(&path).unwrap();
    journal.append(&["{\"a\":1}", "{\"b\":2}"]).unwrap();
    journal.renew(&["{\"b\":2}"]).unwrap();
    journal.append(&["{\"c\":3}"]).unwrap();
    let (again, records) = reopened(&path);
    assert_eq!((again.generation(), again.end()), (2, journal.end()));
    assert_eq!(records, [b"{\"b\":2}", b"{\"c\":3}"]);
    // Beside it is no room: the one in place goes on.
    fs::create_dir(path.with_extension("new")).unwrap();
    assert!(journal.renew(&[""; 0]).is_err());
    journal.append(&["{\"d\":4}"]).unwrap();
    assert_eq!(reopened(&path).1.len(), 3);
}

#[test]
fn a_journal_that_grows_ahead_says_the_same_and_is_written_over() {
    let dir = TempDir::new("ahead");
    let path = dir.path().join("journal");
    let mut journal = Journal::create(&path).unwrap();
    journal.grow_by(2048);
    let lengths = || fs::metadata(&path).unwrap().len();
    let mut records = Vec::new();
    for nth in 0..40 {
        let record = format!("{{\"nth\":{nth}}} {}", "x".repeat(nth * 7));
        let before = lengths();
        journal.append(&[&record]).unwrap();
        records.push(record.into_bytes());
        assert!(lengths().is_multiple_of(2048));
        let grown = lengths() > before;
        assert_eq!(grown, journal.end() > before, "{nth}");
        let reader = Reader::open(&path).unwrap().unwrap();
        assert_eq!(reader.tail(first_record()).unwrap().end(), journal.end());
    }
    let end = journal.end();
    journal.trim().unwrap();
    assert_eq!(lengths(), end);
    journal.append(&["{}"]).unwrap();
    drop(journal);
    // Whoever goes on with it without growing it finds no zeros between the records.
    let (mut again, found) = reopened(&path);
    records.push(b"{}".to_vec());
    assert_eq!(found, records);
    assert_eq!(lengths(), again.end());
    again.append(&["{\"last\":1}"]).unwrap();
    assert_eq!(reopened(&path).1.len(), records.len() + 1);
}

#[test]
fn a_disk_without_room_for_zeros_takes_the_records() {
    let dir = TempDir::new("no-zeros");
    let path = dir.path().join("journal");
    let mut journal = Journal::create(&path).unwrap();
    journal.grow_by(1 << 20);
    let asked = std::sync::atomic::AtomicU32::new(0);
    journal.disk = Disk::new(move |step| {
        let nth = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if step == Step::Write && nth == 0 {
            return Err(io::Error::from(ErrorKind::StorageFull));
        }
        Ok(())
    });
    journal.append(&["{\"a\":1}"]).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), journal.end());
    journal.append(&["{\"b\":2}"]).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 1 << 20);
    assert_eq!(reopened(&path).1, [b"{\"a\":1}", b"{\"b\":2}"]);
}
