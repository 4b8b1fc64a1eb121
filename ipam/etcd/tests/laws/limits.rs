//! How much a store takes, and what it refuses.

use bulkhead_ipam::cluster::{Compare, Key, KvError, Txn, Write};

use crate::{Bench, laws};

laws![
    the_largest_transaction_is_taken,
    the_largest_value_is_taken,
    what_is_too_much_is_refused_with_the_bound,
    a_key_twice_in_one_transaction_is_refused,
    keys_are_printable_and_short,
];

fn refusal(bench: &Bench, txn: &Txn) -> String {
    match bench.store.commit(txn) {
        Err(error @ KvError::Refused { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

fn the_largest_transaction_is_taken(bench: &Bench) {
    let put = |nth| bench.put(&format!("{nth}"), "x");
    let absent = |nth| Compare::Absent(bench.key(&format!("{nth}")));
    let writes: Vec<Write> = (0..Txn::MOST_WRITES).map(put).collect();
    let when: Vec<Compare> = (0..Txn::MOST_WRITES).map(absent).collect();
    assert!(bench.commit(&when, &writes).held);
    assert_eq!(bench.rows().len(), Txn::MOST_WRITES);
    assert!(!bench.commit(&when, &writes).held);
}

fn the_largest_value_is_taken(bench: &Bench) {
    let key = bench.key("big");
    let value = vec![b'\n'; Txn::MOST_BYTES - key.as_str().len()];
    let put = Write::Put(key.clone(), value.clone());
    bench.write(&[put]);
    assert_eq!(bench.list(&bench.under("big")).rows[0].value, value);
    let mut larger = value;
    larger.push(b'\n');
    let txn = Txn {
        writes: vec![Write::Put(key, larger)],
        ..Txn::default()
    };
    let text = refusal(bench, &txn);
    assert!(
        text.contains("1048577 bytes in one transaction, 1048576 at most"),
        "{text}"
    );
}

fn what_is_too_much_is_refused_with_the_bound(bench: &Bench) {
    let put = |nth| bench.put(&format!("{nth}"), "x");
    let writes: Vec<Write> = (0..=Txn::MOST_WRITES).map(put).collect();
    let text = refusal(
        bench,
        &Txn {
            when: vec![],
            writes,
        },
    );
    assert!(
        text.contains("121 steps in one transaction, 120 at most"),
        "{text}"
    );
    let when = vec![Compare::Absent(bench.key("x")); Txn::MOST_WRITES + 1];
    refusal(
        bench,
        &Txn {
            when,
            writes: vec![],
        },
    );
    assert!(bench.rows().is_empty());
}

fn a_key_twice_in_one_transaction_is_refused(bench: &Bench) {
    for again in [bench.put("a", "2"), bench.delete("a")] {
        let writes = vec![bench.put("a", "1"), again];
        let text = refusal(
            bench,
            &Txn {
                when: vec![],
                writes,
            },
        );
        assert!(text.contains("writes a key twice"), "{text}");
    }
    assert!(bench.rows().is_empty());
}

fn keys_are_printable_and_short(bench: &Bench) {
    let long = "k".repeat(Key::LONGEST - bench.corner.len());
    bench.write(&[bench.put(&long, "x")]);
    assert_eq!(bench.rows(), [format!("{long}=x")]);
    for bad in [
        "",
        "a b",
        "a\n",
        "ü",
        "\u{7f}",
        &"k".repeat(Key::LONGEST + 1),
    ] {
        assert_eq!(Key::new(bad), None, "{bad:?}");
    }
}
