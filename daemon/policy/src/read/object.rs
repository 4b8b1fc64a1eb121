//! An object before it is known what it is: kind, version, name, and where it was written.

use crate::Origin;

use super::complaint::Problem;
use super::fields::{At, Log, Map};
use super::node::{Node, Value};

/// An object of the API.
#[derive(Debug)]
pub(super) struct Object<'n> {
    pub(super) node: &'n Node,
    pub(super) file: &'n str,
    pub(super) version: String,
    pub(super) kind: String,
}

/// The keys of every object.
const KEYS: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

impl<'n> Object<'n> {
    /// Its name; one made of its line if it has none, since what it says holds all the same.
    pub(super) fn name(&self) -> String {
        let name = self.metadata("name").and_then(Node::text);
        name.map_or_else(|| format!("line-{}", self.node.line), str::to_owned)
    }

    /// Its namespace; where it names none, the one that `kubectl` would take.
    pub(super) fn namespace(&self) -> String {
        let namespace = self.metadata("namespace").and_then(Node::text);
        namespace.unwrap_or("default").to_owned()
    }

    /// As messages name it.
    pub(super) fn called(&self) -> String {
        let (kind, name) = (&self.kind, self.name());
        let network = self.node.get("spec").and_then(|spec| spec.get("network"));
        let namespace = match kind.as_str() {
            "Pod" | "NetworkPolicy" => Some(self.namespace()),
            // Where it names none, its network's name is its namespace.
            "Endpoint" if self.metadata("namespace").is_none() => {
                network.and_then(Node::text).map(str::to_owned)
            }
            _ => self.metadata("namespace").map(|_| self.namespace()),
        };
        match namespace {
            Some(namespace) => format!("{kind} {namespace}/{name}"),
            None => format!("{kind} {name}"),
        }
    }

    pub(super) fn line(&self) -> u32 {
        self.node.line
    }

    pub(super) fn origin(&self) -> Origin {
        Origin {
            file: Some(self.file.to_owned()),
            line: Some(self.node.line),
        }
    }

    pub(super) fn metadata(&self, key: &str) -> Option<&'n Node> {
        self.node.get("metadata")?.get(key)
    }

    /// Its `spec`, with no other keys than those `known`; and nothing beside it but what every object has.
    pub(super) fn spec(&self, log: &mut Log, known: &[&str]) -> Option<Map<'n>> {
        let map = At::root(self.node).map(log, &KEYS)?;
        map.must(log, "spec", "a map")?.map(log, known)
    }

    /// Complains about keys that are there twice, where no reader has: the first of them counts.
    pub(super) fn tell_of_twice(&self, log: &mut Log) {
        twice(self.node, "", log);
    }

    /// What is there twice in its metadata, which has been told: its name or its namespace may be another.
    pub(super) fn unread_metadata(&self, log: &mut Log) -> Vec<String> {
        let metadata = self.node.get("metadata");
        let repeated = metadata.map(Node::repeated).unwrap_or_default();
        let (_, unread) = log.watched(|log| {
            for entry in repeated {
                let path = format!("metadata.{}", super::node::shortened(&entry.key));
                log.say(entry.line, &path, Problem::Twice);
            }
        });
        unread
    }

    /// Complains about the whole.
    pub(super) fn say(&self, log: &mut Log, problem: Problem) {
        log.say(self.node.line, "", problem);
    }
}

fn twice(node: &Node, path: &str, log: &mut Log) {
    let below = |key: &str| match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    };
    for entry in node.repeated() {
        let path = below(&super::node::shortened(&entry.key));
        log.leave_once(entry.line, &path, Problem::Twice);
    }
    match &node.value {
        Value::Map(entries) => {
            for entry in entries.iter().filter(|entry| entry.node.is_nested()) {
                twice(&entry.node, &below(&entry.key), log);
            }
        }
        Value::List(items) => {
            for (nth, item) in items
                .iter()
                .enumerate()
                .filter(|(_, item)| item.is_nested())
            {
                twice(item, &format!("{path}[{nth}]"), log);
            }
        }
        _ => {}
    }
}
