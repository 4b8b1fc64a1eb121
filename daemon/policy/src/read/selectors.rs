//! Label selectors and labels (Kubernetes `meta/v1`), as both kinds of Kubernetes policies and our own
//! have them.

use std::collections::BTreeSet;

use crate::{Labels, Requirement, Selector, Test};

use super::fields::{At, Log};
use super::node::{Node, Value};

const KEY: &str =
    "a label's key (optionally a DNS name and '/', then 1 to 63 letters, digits, '-', '_' or '.')";
const VALUE: &str = "a label's value, as text (up to 63 letters, digits, '-', '_' or '.', the first and last a letter or digit)";
const OPERATOR: &str = "an operator (In, NotIn, Exists or DoesNotExist)";

/// A `LabelSelector`. `None` if something of it was not understood, which has been told.
pub(super) fn selector(at: &At<'_>, log: &mut Log) -> Option<Selector> {
    let map = at.map(log, &["matchLabels", "matchExpressions"])?;
    let mut requirements = Vec::new();
    if let Some(labels) = map.of("matchLabels") {
        for (key, value) in pairs(&labels, log)? {
            requirements.push(Requirement::equals(key, value));
        }
    }
    for at in map.items(log, "matchExpressions") {
        requirements.push(expression(&at, log)?);
    }
    Some(requirements.into_iter().collect())
}

fn expression(at: &At<'_>, log: &mut Log) -> Option<Requirement> {
    let map = at.map(log, &["key", "operator", "values"])?;
    let key_at = map.must(log, "key", KEY)?;
    let key = key_at.text(log, KEY)?;
    if !is_key(key) {
        key_at.not(log, KEY);
        return None;
    }
    let operator_at = map.must(log, "operator", OPERATOR)?;
    let mut values = BTreeSet::new();
    for value in map.items(log, "values") {
        values.insert(self::value(&value, log)?.to_owned());
    }
    let operator = operator_at.text(log, OPERATOR)?;
    let test = match operator {
        "In" | "NotIn" if values.is_empty() => {
            map.must(log, "values", "a list of values")
                .inspect(|at| at.not(log, "a list of values"));
            return None;
        }
        "In" => Test::In(values),
        "NotIn" => Test::NotIn(values),
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            map.of("values")
                .inspect(|at| at.not(log, "nothing, which Exists and DoesNotExist ask for"));
            return None;
        }
        "Exists" => Test::Exists,
        "DoesNotExist" => Test::DoesNotExist,
        _ => {
            operator_at.not(log, OPERATOR);
            return None;
        }
    };
    Some(Requirement {
        key: key.to_owned(),
        test,
    })
}

fn value<'n>(at: &At<'n>, log: &mut Log) -> Option<&'n str> {
    let value = at.node.text().filter(|text| is_value(text));
    if value.is_none() {
        at.not(log, VALUE);
    }
    value
}

/// A map of keys to values.
fn pairs<'n>(at: &At<'n>, log: &mut Log) -> Option<Vec<(&'n str, &'n str)>> {
    let Value::Map(entries) = &at.node.value else {
        at.not(log, "a map of labels");
        return None;
    };
    let mut pairs = Vec::with_capacity(entries.len());
    let mut seen = BTreeSet::new();
    for entry in entries {
        let path = format!("{}.{}", at.path, super::node::shortened(&entry.key));
        let at = At {
            node: &entry.node,
            path,
        };
        if !seen.insert(&entry.key) {
            at.say(log, super::complaint::Problem::Twice);
        } else if is_key(&entry.key) {
            pairs.extend(value(&at, log).map(|value| (entry.key.as_str(), value)));
        } else {
            let found = super::node::shortened(&entry.key);
            let expected = KEY;
            at.say(log, super::complaint::Problem::Value { expected, found });
        }
    }
    Some(pairs)
}

/// The labels of an object; what is none is told and left out.
pub(super) fn labels(node: &Node, path: &str, log: &mut Log) -> Labels {
    let at = At {
        node,
        path: path.to_owned(),
    };
    Labels::from_iter(pairs(&at, log).unwrap_or_default())
}

/// `apimachinery/pkg/util/validation`, `IsQualifiedName`.
fn is_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_name(name),
        None => is_name(key),
    }
}

/// `IsDNS1123Subdomain`.
fn is_subdomain(text: &str) -> bool {
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_label = |label: &str| {
        let ends = [label.bytes().next(), label.bytes().last()];
        ends.iter().all(|b| b.is_some_and(letter)) && label.bytes().all(|b| letter(b) || b == b'-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && is_value(text)
}

/// `IsValidLabelValue`.
fn is_value(text: &str) -> bool {
    let ends = [text.bytes().next(), text.bytes().last()];
    text.len() <= 63
        && ends
            .iter()
            .all(|b| b.is_none_or(|b| b.is_ascii_alphanumeric()))
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}
