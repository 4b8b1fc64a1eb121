//! What a watch tells.

use std::thread;
use std::time::Duration;

use bulkhead_ipam::cluster::{KvError, Revision, Write};

use crate::{Bench, PATIENCE, laws};

laws![
    a_watch_tells_every_change_of_its_range_in_order,
    what_happened_before_is_told_from_any_revision_on,
    the_changes_of_one_revision_come_together,
    a_watch_resumes_without_a_gap_or_a_repetition,
    a_watch_that_waits_is_woken,
    a_watch_from_a_revision_to_come_skips_what_comes_before_it,
    a_compacted_revision_is_refused_and_the_oldest_is_told,
    a_watch_from_the_oldest_revision_misses_no_deletion,
    many_watches_see_the_same,
    a_watch_that_nobody_takes_from_for_long_misses_nothing,
];

fn a_watch_tells_every_change_of_its_range_in_order(bench: &Bench) {
    let mut watch = bench.watch("a/", bench.now());
    let one = bench
        .write(&[bench.put("a/x", "1"), bench.put("b/x", "1")])
        .0;
    bench.write(&[bench.put("b/y", "1")]);
    let two = bench.write(&[bench.put("a/x", "2")]).0;
    let three = bench.write(&[bench.delete("a/x"), bench.delete("a/y")]).0;
    let four = bench.write(&[bench.put("a/x", "3")]).0;
    let expected = [
        format!("a/x=1@{one}"),
        format!("a/x=2@{two}"),
        format!("a/x-@{three}"),
        format!("a/x=3@{four}"),
    ];
    assert_eq!(bench.events(&mut *watch, 4), expected);
    assert_eq!(watch.next(Duration::from_millis(1)).unwrap(), []);
}

fn what_happened_before_is_told_from_any_revision_on(bench: &Bench) {
    let mut written = Vec::new();
    for nth in 0..6 {
        let revision = bench.write(&[bench.put(&format!("{}", nth % 3), &nth.to_string())]);
        written.push((revision, format!("{}={nth}@{}", nth % 3, revision.0)));
    }
    for (nth, (revision, _)) in written[..5].iter().enumerate() {
        let mut watch = bench.watch("", *revision);
        let rest: Vec<String> = written[nth + 1..].iter().map(|(_, t)| t.clone()).collect();
        assert_eq!(bench.events(&mut *watch, rest.len()), rest);
    }
}

fn the_changes_of_one_revision_come_together(bench: &Bench) {
    let mut watch = bench.watch("", bench.now());
    for round in 0..5 {
        let put = |nth| bench.put(&format!("{nth}"), &"x".repeat(2_000 * round));
        let writes: Vec<Write> = (0..100).map(put).collect();
        bench.write(&writes);
    }
    let mut told = Vec::new();
    while told.len() < 500 {
        let events = watch.next(PATIENCE).unwrap();
        assert!(!events.is_empty());
        assert_eq!(events.len() % 100, 0, "a part of a revision");
        told.extend(events);
    }
    assert!(told.is_sorted_by_key(|event| event.revision));
}

fn a_watch_resumes_without_a_gap_or_a_repetition(bench: &Bench) {
    let begin = bench.now();
    for nth in 0..10 {
        bench.write(&[bench.put("a", &nth.to_string()), bench.put("b", "x")]);
    }
    let mut seen = begin;
    let mut told = Vec::new();
    while told.len() < 20 {
        // A new one after every answer, as after a restart.
        let events = bench.watch("", seen).next(PATIENCE).unwrap();
        seen = events.last().expect("20 were written").revision;
        told.extend(events.iter().map(|event| bench.told(event)));
        if told.len() == 20 {
            break;
        }
    }
    let whole = bench.events(&mut *bench.watch("", begin), 20);
    assert_eq!(told, whole);
}

fn a_watch_that_waits_is_woken(bench: &Bench) {
    let mut watch = bench.watch("", bench.now());
    assert_eq!(watch.next(Duration::ZERO).unwrap(), []);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| watch.next(PATIENCE).unwrap());
        bench.write(&[bench.put("a", "1")]);
        assert_eq!(waiting.join().unwrap().len(), 1);
    });
}

fn a_watch_from_a_revision_to_come_skips_what_comes_before_it(bench: &Bench) {
    let next = Revision(bench.now().0 + 1);
    let mut watch = bench.watch("", next);
    assert_eq!(bench.write(&[bench.put("a", "1")]), next);
    let told = bench.write(&[bench.put("a", "2")]).0;
    assert_eq!(bench.events(&mut *watch, 1), [format!("a=2@{told}")]);
}

fn a_compacted_revision_is_refused_and_the_oldest_is_told(bench: &Bench) {
    let first = bench.write(&[bench.put("a", "1")]);
    bench.write(&[bench.put("a", "2")]);
    let third = bench.write(&[bench.put("a", "3")]);
    let fourth = bench.write(&[bench.put("b", "4")]);
    (bench.compact)(third);
    let refused = bench
        .store
        .watch(&bench.under(""), first)
        .and_then(|mut watch| watch.next(PATIENCE));
    let oldest = match refused {
        Err(KvError::Compacted { oldest, .. }) => oldest,
        other => panic!("{other:?}"),
    };
    assert_eq!(oldest, third);
    let mut watch = bench.watch("", oldest);
    assert_eq!(bench.events(&mut *watch, 1), [format!("b=4@{}", fourth.0)]);
    assert_eq!(bench.rows(), ["a=3", "b=4"]);
}

fn a_watch_from_the_oldest_revision_misses_no_deletion(bench: &Bench) {
    let put = bench.write(&[bench.put("a", "1")]);
    let deleted = bench.write(&[bench.delete("a")]);
    bench.write(&[bench.put("b", "1")]);
    (bench.compact)(deleted);
    // Either it is told of the deletion, or of the need to list anew.
    let watched = bench
        .store
        .watch(&bench.under("a"), put)
        .and_then(|mut watch| watch.next(PATIENCE));
    match watched {
        Err(KvError::Compacted { .. }) => {}
        Ok(events) => assert_eq!(events.len(), 1, "{events:?}"),
        other => panic!("{other:?}"),
    }
}

fn many_watches_see_the_same(bench: &Bench) {
    let begin = bench.now();
    let mut watches: Vec<_> = (0..20).map(|_| bench.watch("", begin)).collect();
    for nth in 0..50 {
        bench.write(&[bench.put("a", &nth.to_string())]);
    }
    let first = bench.events(&mut *watches[0], 50);
    for watch in &mut watches[1..] {
        assert_eq!(bench.events(&mut **watch, 50), first);
    }
}

fn a_watch_that_nobody_takes_from_for_long_misses_nothing(bench: &Bench) {
    let mut watch = bench.watch("a", bench.now());
    let mut written = Vec::new();
    for nth in 0..500 {
        let revision = bench.write(&[bench.put("a", &nth.to_string())]).0;
        written.push(format!("a={nth}@{revision}"));
    }
    assert_eq!(bench.events(&mut *watch, 500), written);
}
