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
