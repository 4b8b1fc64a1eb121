//! A reader of the `OpenMetrics` text format 1.0 that shares nothing with the writer.

use std::collections::BTreeMap;

/// A family: its type, its unit, what it is for, and its samples.
#[derive(Debug, Default)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) unit: String,
    pub(crate) help: String,
    /// Name's suffix, labels as they stand, value.
    pub(crate) samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

/// Every family by its name.
pub(crate) type Families = BTreeMap<String, Family>;

/// Reads a whole exposition.
///
/// # Panics
/// With the line that is not as the format wants it.
pub(crate) fn read(text: &str) -> Families {
    let body = text.strip_suffix("# EOF\n").expect("it ends with # EOF");
    let mut families = Families::new();
    let mut current = String::new();
    for line in body.lines() {
        let mut words = line.splitn(4, ' ');
        if let (Some("#"), Some(what), Some(name), rest) =
            (words.next(), words.next(), words.next(), words.next())
        {
            if name != current {
                assert!(
                    !families.contains_key(name),
                    "families are not mixed: {line}"
                );
                name.clone_into(&mut current);
            }
            let family = families.entry(current.clone()).or_default();
            assert!(family.samples.is_empty(), "metadata comes first: {line}");
            let rest = rest.unwrap_or_default().to_owned();
            match what {
                "HELP" => family.help = rest,
                "TYPE" => family.kind = rest,
                "UNIT" => {
                    assert!(
                        name.ends_with(&format!("_{rest}")),
                        "the name ends with the unit: {line}"
                    );
                    family.unit = rest;
                }
                _ => panic!("no such metadata: {line}"),
            }
            continue;
        }
        let (name, labels, value) = sample(line);
        let suffix = name
            .strip_prefix(&current)
            .unwrap_or_else(|| panic!("not of {current}: {line}"));
        let family = families.get_mut(&current).expect("it was begun");
        assert!(
            allowed(&family.kind).contains(&suffix),
            "no such sample of a {}: {line}",
            family.kind
        );
        family.samples.push((suffix.to_owned(), labels, value));
    }
    for (name, family) in &families {
        assert!(
            !family.help.is_empty() && !family.kind.is_empty(),
            "{name} is not explained"
        );
        check(name, family);
    }
    families
}

fn allowed(kind: &str) -> &'static [&'static str] {
    match kind {
        "counter" => &["_total"],
        "gauge" => &[""],
        "info" => &["_info"],
        "histogram" => &["_bucket", "_sum", "_count"],
        other => panic!("no such type: {other}"),
    }
}

fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let (head, value) = line
        .rsplit_once(' ')
        .unwrap_or_else(|| panic!("no value: {line}"));
    let value = value
        .parse()
        .unwrap_or_else(|_| panic!("no number: {line}"));
    let Some((name, labels)) = head.split_once('{') else {
        return (head.to_owned(), BTreeMap::new(), value);
    };
    let mut labels = labels
        .strip_suffix('}')
        .unwrap_or_else(|| panic!("open labels: {line}"));
    let mut read = BTreeMap::new();
    while !labels.is_empty() {
        let (label, rest) = labels
            .split_once("=\"")
            .unwrap_or_else(|| panic!("no label: {line}"));
        let end = rest
            .find('"')
            .unwrap_or_else(|| panic!("open value: {line}"));
        assert!(
            read.insert(label.to_owned(), rest[..end].to_owned())
                .is_none(),
            "twice: {line}"
        );
        labels = rest[end + 1..]
            .strip_prefix(',')
            .unwrap_or(&rest[end + 1..]);
    }
    (name.to_owned(), read, value)
}

/// A histogram's buckets rise, and the last has all.
fn check(name: &str, family: &Family) {
    if family.kind != "histogram" {
        return;
    }
    let mut last: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for (suffix, labels, value) in &family.samples {
        let mut key = labels.clone();
        let bound = key.remove("le");
        let key = format!("{key:?}");
        match (suffix.as_str(), bound) {
            ("_bucket", Some(bound)) => {
                let bound: f64 = bound.replace("+Inf", "inf").parse().unwrap();
                let before = last
                    .insert(key, (bound, *value))
                    .unwrap_or((f64::NEG_INFINITY, 0.0));
                assert!(
                    before.0 < bound && before.1 <= *value,
                    "{name}: buckets rise"
                );
            }
            ("_count", _) => {
                // The count stands before or after its buckets.
                if let Some((bound, all)) = last.get(&key) {
                    assert!(
                        bound.is_infinite() && all.to_bits() == value.to_bits(),
                        "{name}: the last has all"
                    );
                }
            }
            _ => {}
        }
    }
}
