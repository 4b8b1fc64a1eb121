//! What a transaction does, and what two of them do to each other.

use std::sync::Barrier;
use std::thread;

use bulkhead_ipam::cluster::{Compare, Revision, Txn};

use crate::{Bench, laws};

laws![
    one_condition_that_fails_leaves_everything_as_it_was,
    all_writes_of_a_transaction_are_one_revision,
    only_a_change_raises_the_revision,
    a_key_is_created_once_until_it_is_deleted,
    of_two_writers_one_loses,
    a_counter_that_is_compared_and_set_counts_everybody,
];

fn one_condition_that_fails_leaves_everything_as_it_was(bench: &Bench) {
    let created = bench.write(&[bench.put("a", "1"), bench.put("b", "1")]);
    let when = [
        Compare::Modified(bench.key("a"), created),
        Compare::Absent(bench.key("b")),
        Compare::Value(bench.key("a"), b"1".to_vec()),
    ];
    let writes = [bench.put("a", "2"), bench.delete("b"), bench.put("c", "2")];
    let committed = bench.commit(&when, &writes);
    assert!(!committed.held);
    assert_eq!(committed.revision, created);
    assert_eq!(bench.rows(), ["a=1", "b=1"]);
    let kept = [when[0].clone(), when[2].clone()];
    assert!(bench.commit(&kept, &writes).held);
    assert_eq!(bench.rows(), ["a=2", "c=2"]);
}

fn all_writes_of_a_transaction_are_one_revision(bench: &Bench) {
    let revision = bench.write(&[
        bench.put("a", "1"),
        bench.put("b", "1"),
        bench.put("c", "1"),
    ]);
    let listing = bench.list(&bench.under(""));
    assert_eq!(listing.revision, revision);
    assert!(listing.rows.iter().all(|row| row.modified == revision));
}

fn only_a_change_raises_the_revision(bench: &Bench) {
    let first = bench.write(&[bench.put("a", "1")]);
    assert!(first >= Revision(2));
    assert_eq!(bench.write(&[]), first);
    assert_eq!(bench.write(&[bench.delete("b")]), first);
    // The same value is a change all the same.
    let second = bench.write(&[bench.put("a", "1")]);
    assert!(second > first);
    let third = bench.write(&[bench.delete("a"), bench.delete("b")]);
    assert!(third > second);
    assert_eq!(bench.now(), third);
}

fn a_key_is_created_once_until_it_is_deleted(bench: &Bench) {
    let row = || bench.list(&bench.under("")).rows.remove(0);
    let first = bench.write(&[bench.put("a", "1")]);
    let second = bench.write(&[bench.put("a", "2")]);
    assert_eq!((row().created, row().modified), (first, second));
    bench.write(&[bench.delete("a")]);
    let third = bench.write(&[bench.put("a", "3")]);
    assert_eq!((row().created, row().modified), (third, third));
}

fn of_two_writers_one_loses(bench: &Bench) {
    for round in 0..20 {
        let name = format!("block{round}");
        let barrier = Barrier::new(2);
        let claim = |who: &str| {
            let txn = Txn {
                when: vec![Compare::Absent(bench.key(&name))],
                writes: vec![bench.put(&name, who)],
            };
            barrier.wait();
            bench.store.commit(&txn).unwrap().held
        };
        let won = thread::scope(|scope| {
            let other = scope.spawn(|| claim("other"));
            (claim("this"), other.join().unwrap())
        });
        let owner = match won {
            (true, false) => "this",
            (false, true) => "other",
            both => panic!("round {round}: {both:?}"),
        };
        assert!(bench.rows().contains(&format!("{name}={owner}")));
    }
}

fn a_counter_that_is_compared_and_set_counts_everybody(bench: &Bench) {
    bench.write(&[bench.put("counter", "0")]);
    let count = || {
        let mut counted = 0;
        while counted < 25 {
            let row = bench.list(&bench.under("counter")).rows.remove(0);
            let value: u32 = String::from_utf8(row.value).unwrap().parse().unwrap();
            let when = [Compare::Modified(row.key, row.modified)];
            let next = [bench.put("counter", &(value + 1).to_string())];
            counted += u32::from(bench.commit(&when, &next).held);
        }
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(count);
        }
    });
    assert_eq!(bench.rows(), ["counter=100"]);
}
