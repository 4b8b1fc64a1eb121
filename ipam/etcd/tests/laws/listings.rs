//! What a listing shows.

use bulkhead_ipam::cluster::{KeyRange, Write};

use crate::{Bench, laws};

laws![
    a_listing_is_in_the_order_of_keys,
    a_range_takes_its_own_keys_alone,
    pages_make_up_the_whole,
    a_long_listing_is_whole_and_of_one_revision,
    values_are_any_bytes,
];

fn names(bench: &Bench, range: &KeyRange) -> Vec<String> {
    let rows = bench.list(range).rows;
    let name =
        |row: &bulkhead_ipam::cluster::Row| row.key.as_str()[bench.corner.len()..].to_owned();
    rows.iter().map(name).collect()
}

fn a_listing_is_in_the_order_of_keys(bench: &Bench) {
    for name in ["b", "a/b", "B", "a", "~", "a/a", "10", "9", "!"] {
        bench.write(&[bench.put(name, name)]);
    }
    let sorted = ["!", "10", "9", "B", "a", "a/a", "a/b", "b", "~"];
    assert_eq!(names(bench, &bench.under("")), sorted);
}

fn a_range_takes_its_own_keys_alone(bench: &Bench) {
    for name in ["a", "a/", "a/b", "a/~", "a0", "ab"] {
        bench.write(&[bench.put(name, "x")]);
    }
    assert_eq!(names(bench, &bench.under("a/")), ["a/", "a/b", "a/~"]);
    assert_eq!(names(bench, &KeyRange::one(&bench.key("a"))), ["a"]);
    let after = bench.under("a/").after(&bench.key("a/"));
    assert_eq!(names(bench, &after), ["a/b", "a/~"]);
}

fn pages_make_up_the_whole(bench: &Bench) {
    for nth in 0..7 {
        bench.write(&[bench.put(&format!("k{nth}"), "x")]);
    }
    let whole = bench.list(&bench.under("")).rows;
    for limit in 1..9 {
        let mut range = bench.under("");
        let mut rows = Vec::new();
        loop {
            let page = bench.store.range(&range, limit).unwrap();
            assert!(page.rows.len() <= limit);
            rows.extend(page.rows);
            if !page.more {
                break;
            }
            range = range.after(&rows.last().unwrap().key);
        }
        assert_eq!(rows, whole, "pages of {limit}");
    }
}

fn a_long_listing_is_whole_and_of_one_revision(bench: &Bench) {
    let put = |nth: usize| bench.put(&format!("{nth:05}"), &"x".repeat(nth % 7 * 100));
    let writes: Vec<Write> = (0..1_300).map(put).collect();
    for some in writes.chunks(100) {
        bench.write(some);
    }
    let listing = bench.list(&bench.under(""));
    assert_eq!(listing.rows.len(), 1_300);
    assert!(!listing.more);
    assert!(listing.rows.is_sorted_by(|a, b| a.key < b.key));
    let newest = listing.rows.iter().map(|row| row.modified).max();
    assert_eq!(newest, Some(listing.revision));
    let limited = bench.store.range(&bench.under(""), 1_000).unwrap();
    assert_eq!((limited.rows.len(), limited.more), (1_000, true));
    let exact = bench.store.range(&bench.under(""), 1_300).unwrap();
    assert_eq!((exact.rows.len(), exact.more), (1_300, false));
}

fn values_are_any_bytes(bench: &Bench) {
    let values: [&[u8]; 5] = [
        b"",
        b"\0",
        b"{\"a\": \"\\n\"}\n",
        "ü".as_bytes(),
        b"\xff\xfe\n\0",
    ];
    for (nth, value) in values.iter().enumerate() {
        bench.write(&[Write::Put(bench.key(&nth.to_string()), value.to_vec())]);
    }
    let rows = bench.list(&bench.under("")).rows;
    let kept: Vec<&[u8]> = rows.iter().map(|row| row.value.as_slice()).collect();
    assert_eq!(kept, values);
}
