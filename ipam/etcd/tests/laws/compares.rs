//! What each condition means.

use bulkhead_ipam::cluster::{Compare, KeyRange, Revision};

use crate::{Bench, laws};

laws![
    absent_holds_where_no_key_is,
    none_in_holds_for_a_range_without_keys,
    modified_holds_for_the_last_change_alone,
    value_holds_for_the_whole_value,
    an_empty_range_has_nothing_in_it,
];

fn holds(bench: &Bench, compare: Compare) -> bool {
    bench.commit(&[compare], &[]).held
}

fn absent_holds_where_no_key_is(bench: &Bench) {
    let absent = || Compare::Absent(bench.key("a"));
    assert!(holds(bench, absent()));
    bench.write(&[bench.put("a/b", "1"), bench.put("aa", "1")]);
    assert!(holds(bench, absent()));
    bench.write(&[bench.put("a", "")]);
    assert!(!holds(bench, absent()));
    bench.write(&[bench.delete("a")]);
    assert!(holds(bench, absent()));
}

fn none_in_holds_for_a_range_without_keys(bench: &Bench) {
    let none = |name: &str| Compare::NoneIn(bench.under(name));
    bench.write(&[bench.put("a/1", "1"), bench.put("c/1", "1")]);
    assert!(!holds(bench, none("a/")));
    assert!(!holds(bench, none("a/1")));
    assert!(holds(bench, none("a/2")));
    assert!(holds(bench, none("b/")));
    assert!(!holds(bench, none("")));
    let one = Compare::NoneIn(KeyRange::one(&bench.key("a/1")));
    assert!(!holds(bench, one));
    let after = Compare::NoneIn(bench.under("a/").after(&bench.key("a/1")));
    assert!(holds(bench, after));
    bench.write(&[bench.delete("a/1")]);
    assert!(holds(bench, none("a/")));
}

fn modified_holds_for_the_last_change_alone(bench: &Bench) {
    let modified = |revision| Compare::Modified(bench.key("a"), revision);
    assert!(holds(bench, modified(Revision(0))));
    let first = bench.write(&[bench.put("a", "1")]);
    assert!(holds(bench, modified(first)));
    assert!(!holds(bench, modified(Revision(0))));
    let second = bench.write(&[bench.put("a", "1")]);
    assert!(!holds(bench, modified(first)));
    assert!(holds(bench, modified(second)));
    bench.write(&[bench.put("b", "1")]);
    assert!(holds(bench, modified(second)));
    bench.write(&[bench.delete("a")]);
    assert!(!holds(bench, modified(second)));
    assert!(holds(bench, modified(Revision(0))));
}

fn value_holds_for_the_whole_value(bench: &Bench) {
    let value = |value: &str| Compare::Value(bench.key("a"), value.into());
    assert!(!holds(bench, value("")));
    bench.write(&[bench.put("a", "one")]);
    assert!(holds(bench, value("one")));
    assert!(!holds(bench, value("on")));
    assert!(!holds(bench, value("ones")));
    bench.write(&[bench.put("a", "")]);
    assert!(holds(bench, value("")));
}

fn an_empty_range_has_nothing_in_it(bench: &Bench) {
    bench.write(&[bench.put("a", "1"), bench.put("b", "1")]);
    let ranges = [("b", "a"), ("a", "a")].map(|(from, until)| KeyRange {
        from: bench.key(from).to_string(),
        until: bench.key(until).to_string(),
    });
    for range in ranges {
        let listing = bench.list(&range);
        assert_eq!((listing.rows, listing.more), (vec![], false), "{range:?}");
        assert!(holds(bench, Compare::NoneIn(range)));
    }
}
