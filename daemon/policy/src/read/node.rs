//! Documents as they were written, JSON and YAML alike: a tree that knows its lines.

use std::collections::BTreeSet;

/// A value and the line it begins at, from 1.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) line: u32,
    pub(crate) value: Value,
}

/// A value of JSON, or what YAML's core schema makes of one (YAML 1.2 §10.3.2). A number keeps its text,
/// so that nothing is lost of it before somebody says what it should be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key and its value. A key that is there twice has two.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) line: u32,
    pub(crate) key: String,
    pub(crate) node: Node,
}

/// How deep lists and maps may be in each other: objects of Kubernetes need 12.
pub(crate) const MAX_DEPTH: usize = 64;

impl Node {
    /// The value of `key`; `None` if this is no map, has no such key, or has it without a value.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else {
            return None;
        };
        let mut entries = entries.iter().filter(|entry| entry.key == key);
        let found = &entries.next()?.node;
        (found.value != Value::Null).then_some(found)
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn list(&self) -> Option<&[Self]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// Whether there are values in it.
    pub(crate) const fn is_nested(&self) -> bool {
        matches!(self.value, Value::List(_) | Value::Map(_))
    }

    /// The entries of a map whose keys stand before them already.
    pub(crate) fn repeated(&self) -> Vec<&Entry> {
        let Value::Map(entries) = &self.value else {
            return Vec::new();
        };
        let mut seen = BTreeSet::new();
        let entries = entries.iter();
        entries
            .filter(|entry| !seen.insert(entry.key.as_str()))
            .collect()
    }

    /// How many values it is made of, itself among them.
    pub(crate) fn size(&self) -> usize {
        match &self.value {
            Value::List(items) => 1 + items.iter().map(Self::size).sum::<usize>(),
            Value::Map(entries) => 1 + entries.iter().map(|entry| entry.node.size()).sum::<usize>(),
            _ => 1,
        }
    }

    /// As a message shows it: short, on one line.
    pub(crate) fn shown(&self) -> String {
        match &self.value {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Number(text) => shortened(text),
            Value::Text(text) => format!("{:?}", shortened(text)),
            Value::List(items) if items.is_empty() => "an empty list".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(entries) if entries.is_empty() => "an empty map".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }
}

/// At most 60 characters of `text`.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
