//! A value at its place in an object, and what it should be: every reader asks here, so that what is not
//! understood is complained about with its place.

use std::collections::BTreeSet;
use std::str::FromStr;

use bulkhead_model::Prefix;

use super::complaint::{Complaint, Effect, Problem};
use super::node::{Node, Value, shortened};

/// The complaints about one object.
#[derive(Debug)]
pub(super) struct Log {
    file: String,
    object: Option<String>,
    /// What is done about what is not understood.
    effect: Effect,
    complaints: Vec<Complaint>,
    /// Those of the complaints that nobody has drawn a consequence from.
    open: Vec<usize>,
}

impl Log {
    pub(super) fn new(file: &str, object: Option<String>, effect: Effect) -> Self {
        Self {
            file: file.to_owned(),
            object,
            effect,
            complaints: Vec::new(),
            open: Vec::new(),
        }
    }

    /// Complains about what is not understood.
    pub(super) fn say(&mut self, line: u32, path: &str, problem: Problem) {
        self.open.push(self.complaints.len());
        self.add(line, path, problem, self.effect);
    }

    /// Complains about what is understood all the same.
    pub(super) fn tell(&mut self, line: u32, path: &str, problem: Problem) {
        self.add(line, path, problem, Effect::Told);
    }

    /// Complains about what is left out.
    pub(super) fn leave(&mut self, line: u32, path: &str, problem: Problem) {
        self.add(line, path, problem, Effect::Ignored);
    }

    /// Complains about what is left out, if nobody has complained about it yet.
    pub(super) fn leave_once(&mut self, line: u32, path: &str, problem: Problem) {
        let mut said = self.complaints.iter();
        if !said.any(|said| said.line == line && said.path == path && said.problem == problem) {
            self.leave(line, path, problem);
        }
    }

    fn add(&mut self, line: u32, path: &str, problem: Problem, effect: Effect) {
        self.complaints.push(Complaint {
            file: self.file.clone(),
            line,
            object: self.object.clone(),
            path: path.to_owned(),
            problem,
            effect,
        });
    }

    /// What `read` makes, and what it did not understand, of which the caller now draws the consequence:
    /// who watches the caller does not hear of it.
    pub(super) fn watched<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> (T, Vec<String>) {
        let before = self.open.len();
        let value = read(self);
        let new = self.open.split_off(before);
        let unread = new.iter().map(|nth| self.complaints[*nth].what());
        (value, unread.collect())
    }

    pub(super) fn into_complaints(self) -> Vec<Complaint> {
        self.complaints
    }
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct At<'n> {
    pub(super) node: &'n Node,
    pub(super) path: String,
}

impl<'n> At<'n> {
    pub(super) fn root(node: &'n Node) -> Self {
        Self {
            node,
            path: String::new(),
        }
    }

    pub(super) fn say(&self, log: &mut Log, problem: Problem) {
        log.say(self.node.line, &self.path, problem);
    }

    pub(super) fn tell(&self, log: &mut Log, problem: Problem) {
        log.tell(self.node.line, &self.path, problem);
    }

    /// Complains that this is not what was expected.
    pub(super) fn not(&self, log: &mut Log, expected: &'static str) {
        let found = self.node.shown();
        self.say(log, Problem::Value { expected, found });
    }

    /// A map with no other keys than those `known`.
    pub(super) fn map(&self, log: &mut Log, known: &[&str]) -> Option<Map<'n>> {
        let Value::Map(entries) = &self.node.value else {
            self.not(log, "a map");
            return None;
        };
        let mut seen = BTreeSet::new();
        for entry in entries {
            let path = self.below(&shortened(&entry.key));
            if !known.contains(&entry.key.as_str()) {
                log.say(entry.line, &path, Problem::Field);
            } else if !seen.insert(entry.key.as_str()) {
                log.say(entry.line, &path, Problem::Twice);
            }
        }
        Some(Map { at: self.clone() })
    }

    pub(super) fn list(&self, log: &mut Log) -> Option<Vec<Self>> {
        let Some(items) = self.node.list() else {
            self.not(log, "a list");
            return None;
        };
        let at = |(nth, node)| Self {
            node,
            path: format!("{}[{nth}]", self.path),
        };
        Some(items.iter().enumerate().map(at).collect())
    }

    pub(super) fn text(&self, log: &mut Log, expected: &'static str) -> Option<&'n str> {
        let text = self.node.text();
        if text.is_none() {
            self.not(log, expected);
        }
        text
    }

    /// Text that is a `T`.
    pub(super) fn parsed<T: FromStr>(&self, log: &mut Log, expected: &'static str) -> Option<T> {
        let parsed = self.node.text().and_then(|text| text.parse().ok());
        if parsed.is_none() {
            self.not(log, expected);
        }
        parsed
    }

    /// A whole number from `first` to `last`. One with a zero before it is none: in YAML 1.1, which `kubectl`
    /// reads, 010 is eight, in YAML 1.2 ten, and in JSON it is no number.
    pub(super) fn number(
        &self,
        log: &mut Log,
        (first, last): (u16, u16),
        expected: &'static str,
    ) -> Option<u16> {
        let number = match &self.node.value {
            Value::Number(text) if text.len() > 1 && text.starts_with(['0', '+']) => None,
            Value::Number(text) => text.parse().ok(),
            _ => None,
        };
        let number = number.filter(|number| (first..=last).contains(number));
        if number.is_none() {
            self.not(log, expected);
        }
        number
    }

    /// `true` or `false`.
    pub(super) fn truth(&self, log: &mut Log) -> Option<bool> {
        let Value::Bool(value) = self.node.value else {
            self.not(log, "true or false");
            return None;
        };
        Some(value)
    }

    /// An address with a prefix's length; host bits are told of and taken away, as Kubernetes does.
    pub(super) fn prefix(&self, log: &mut Log) -> Option<Prefix> {
        const EXPECTED: &str = "a prefix such as 10.0.0.0/24 or fd00::/64";
        let written: bulkhead_model::InterfaceAddress = self.parsed(log, EXPECTED)?;
        let prefix = written.prefix();
        if prefix.address() != written.address() {
            let found = self.node.shown();
            let prefix = prefix.to_string();
            self.tell(log, Problem::HostBits { found, prefix });
        }
        Some(prefix)
    }

    fn below(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }
}

/// A map whose keys are known.
#[derive(Debug)]
pub(super) struct Map<'n> {
    at: At<'n>,
}

impl<'n> Map<'n> {
    /// The value of `key`; `None` if it is not there, or there without a value.
    pub(super) fn of(&self, key: &str) -> Option<At<'n>> {
        let node = self.at.node.get(key)?;
        let path = self.at.below(key);
        Some(At { node, path })
    }

    /// Whether `key` is there, with a value or without.
    pub(super) fn has(&self, key: &str) -> bool {
        match &self.at.node.value {
            Value::Map(entries) => entries.iter().any(|entry| entry.key == key),
            _ => false,
        }
    }

    /// The value of `key`, which must be there.
    pub(super) fn must(&self, log: &mut Log, key: &str, what: &'static str) -> Option<At<'n>> {
        let found = self.of(key);
        if found.is_none() {
            let path = self.at.below(key);
            log.say(self.at.node.line, &path, Problem::Missing(what));
        }
        found
    }

    /// The items of the list `key`; none if it is not there.
    pub(super) fn items(&self, log: &mut Log, key: &str) -> Vec<At<'n>> {
        let list = self.of(key).and_then(|at| at.list(log));
        list.unwrap_or_default()
    }

    /// The one of `keys` that is there, with its value; `listed` names them all.
    pub(super) fn one<'k>(
        &self,
        log: &mut Log,
        keys: &[&'k str],
        listed: &'static str,
    ) -> Option<(&'k str, At<'n>)> {
        let mut there = keys.iter().filter_map(|key| Some((*key, self.of(key)?)));
        if let (Some(one), None) = (there.next(), there.next()) {
            return Some(one);
        }
        self.at.say(log, Problem::One(listed));
        None
    }
}
