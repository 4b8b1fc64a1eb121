//! YAML 1.2 with lines, bounded: what its parser tells, one event at a time, is put together here, because
//! only here is it known how much of it references stand for.

use std::collections::{BTreeMap, BTreeSet};

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::node::{Entry, MAX_DEPTH, Node, Value};
use super::syntax::{Fault, SyntaxError};

/// How many values all aliases of a text may stand for together. People share a selector or two.
pub(super) const MAX_ALIASED: usize = 100_000;

/// How many values may have anchors in a document, those in each other counted for each: all of them are kept
/// until it ends, since an alias may name any.
pub(super) const MAX_ANCHORED: usize = 1_000_000;

/// The documents of `text`, in order.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, SyntaxError> {
    let mut builder = Builder::default();
    for told in Parser::new_from_str(text) {
        let (event, span) = told.map_err(|error| SyntaxError {
            line: line_of(error.marker().line()),
            fault: Fault::Yaml(error.info().to_owned()),
        })?;
        let line = line_of(span.start.line());
        builder
            .take(event, line)
            .map_err(|fault| SyntaxError { line, fault })?;
    }
    Ok(builder.documents)
}

fn line_of(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    /// Lists and maps that have begun, the innermost last.
    open: Vec<Open>,
    /// Values with an anchor, by its number.
    anchored: BTreeMap<usize, Node>,
    /// Of how many values those are made.
    kept: usize,
    /// Values that aliases stood for so far.
    aliased: usize,
}

struct Open {
    line: u32,
    anchor: usize,
    so_far: SoFar,
}

enum SoFar {
    List(Vec<Node>),
    Map(Map),
}

#[derive(Default)]
struct Map {
    entries: Vec<Entry>,
    /// Entries of others that it has if it has none of its own with that key; the first of a key counts.
    merged: Vec<Entry>,
    /// The key whose value is yet to come.
    awaited: Option<Key>,
}

enum Key {
    Named(u32, String),
    /// `<<`, whose value is a map, or a list of maps, to have the entries of ("Merge Key Language-Independent
    /// Type for YAML 1.1", which `kubectl` reads).
    Merge,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, line: u32) -> Result<(), Fault> {
        match event {
            Event::Scalar(text, ScalarStyle::Plain, 0, None)
                if text == "<<" && self.is_at_key() =>
            {
                if let Some(SoFar::Map(map)) = self.open.last_mut().map(|open| &mut open.so_far) {
                    map.awaited = Some(Key::Merge);
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = style != ScalarStyle::Plain
                    || tag.is_some_and(|tag| tag.suffix == "str" || tag.suffix.is_empty());
                let value = if is_text {
                    Value::Text(text.into_owned())
                } else {
                    resolved(&text)
                };
                self.put(Node { line, value }, anchor)
            }
            Event::SequenceStart(anchor, _) => self.begin(line, anchor, SoFar::List(Vec::new())),
            Event::MappingStart(anchor, _) => self.begin(line, anchor, SoFar::Map(Map::default())),
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => {
                let node = self.anchored.get(&anchor).ok_or(Fault::Alias)?;
                self.aliased += node.size();
                if self.aliased > MAX_ALIASED {
                    return Err(Fault::Aliased);
                }
                let node = node.clone();
                if self.open.len() + depth(&node) > MAX_DEPTH {
                    return Err(Fault::Depth);
                }
                self.put(node, 0)
            }
            // Anchors are a document's own.
            Event::DocumentEnd => {
                self.anchored.clear();
                self.kept = 0;
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {
                Ok(())
            }
        }
    }

    fn begin(&mut self, line: u32, anchor: usize, so_far: SoFar) -> Result<(), Fault> {
        if self.open.len() == MAX_DEPTH {
            return Err(Fault::Depth);
        }
        self.open.push(Open {
            line,
            anchor,
            so_far,
        });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fault> {
        let Some(ended) = self.open.pop() else {
            return Ok(());
        };
        let value = match ended.so_far {
            SoFar::List(items) => Value::List(items),
            SoFar::Map(map) => Value::Map(map.with_merged()),
        };
        let line = ended.line;
        self.put(Node { line, value }, ended.anchor)
    }

    fn is_at_key(&self) -> bool {
        let open = self.open.last().map(|open| &open.so_far);
        matches!(open, Some(SoFar::Map(Map { awaited: None, .. })))
    }

    fn put(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        // The parser numbers anchors from 1.
        if anchor != 0 {
            self.kept += node.size();
            if self.kept > MAX_ANCHORED {
                return Err(Fault::Anchored);
            }
            self.anchored.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.so_far) {
            None => self.documents.push(node),
            Some(SoFar::List(items)) => items.push(node),
            Some(SoFar::Map(map)) => match map.awaited.take() {
                Some(Key::Named(line, key)) => map.entries.push(Entry { line, key, node }),
                Some(Key::Merge) => map.merge(node)?,
                None => map.awaited = Some(Key::Named(node.line, key_of(node)?)),
            },
        }
        Ok(())
    }
}

impl Map {
    fn merge(&mut self, node: Node) -> Result<(), Fault> {
        let of = |node: Node| match node.value {
            Value::Map(entries) => Ok(entries),
            _ => Err(Fault::Merge),
        };
        match node.value {
            Value::List(items) => {
                for item in items {
                    self.merged.extend(of(item)?);
                }
            }
            _ => self.merged.extend(of(node)?),
        }
        Ok(())
    }

    fn with_merged(self) -> Vec<Entry> {
        let mut entries = self.entries;
        if !self.merged.is_empty() {
            let own = entries.iter().map(|entry| entry.key.clone());
            let mut known: BTreeSet<String> = own.collect();
            let merged = self.merged.into_iter();
            entries.extend(merged.filter(|entry| known.insert(entry.key.clone())));
        }
        entries
    }
}

fn key_of(node: Node) -> Result<String, Fault> {
    match node.value {
        Value::Text(text) | Value::Number(text) => Ok(text),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Null | Value::List(_) | Value::Map(_) => Err(Fault::Key),
    }
}

/// How deep lists and maps are in `node`.
fn depth(node: &Node) -> usize {
    let deepest = match &node.value {
        Value::List(items) => items.iter().map(depth).max(),
        Value::Map(entries) => entries.iter().map(|entry| depth(&entry.node)).max(),
        _ => return 0,
    };
    1 + deepest.unwrap_or(0)
}

/// What a plain scalar means (YAML 1.2 §10.3.2, the core schema).
fn resolved(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        number if is_number(number) => Value::Number(text.to_owned()),
        _ => Value::Text(text.to_owned()),
    }
}

fn is_number(text: &str) -> bool {
    let digits = text.trim_start_matches(['+', '-']);
    let is_hexadecimal = digits
        .strip_prefix("0x")
        .is_some_and(|digits| u128::from_str_radix(digits, 16).is_ok());
    let is_octal = digits
        .strip_prefix("0o")
        .is_some_and(|digits| u128::from_str_radix(digits, 8).is_ok());
    // What Rust calls a number besides, such as `inf` and `nan`, begins with a letter.
    let is_decimal =
        digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') && text.parse::<f64>().is_ok();
    is_hexadecimal || is_octal || is_decimal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_know_their_lines_and_documents_follow_each_other() {
        let documents = parse("---\na:\n  - 1\n  - b: x\n---\nc: 'true'\n").unwrap();
        assert_eq!(documents.len(), 2);
        let list = documents[0].get("a").and_then(Node::list).unwrap();
        assert_eq!((list[0].line, list[1].line), (3, 4));
        assert_eq!(documents[1].get("c").unwrap().text(), Some("true"));
    }

    #[test]
    fn plain_scalars_are_resolved_and_quoted_ones_are_text() {
        let resolved_to = |text: &str| parse(text).unwrap().remove(0).value;
        assert_eq!(resolved_to("80"), Value::Number("80".to_owned()));
        assert_eq!(resolved_to("\"80\""), Value::Text("80".to_owned()));
        assert_eq!(resolved_to("!!str 80"), Value::Text("80".to_owned()));
        assert_eq!(resolved_to("10.0.0.1"), Value::Text("10.0.0.1".to_owned()));
        assert_eq!(resolved_to("fd00::1"), Value::Text("fd00::1".to_owned()));
        assert_eq!(resolved_to("inf"), Value::Text("inf".to_owned()));
        assert_eq!(resolved_to("true"), Value::Bool(true));
        assert_eq!(resolved_to("~"), Value::Null);
    }

    #[test]
    fn an_alias_stands_for_what_it_names_and_not_for_itself() {
        let documents = parse("a: &one {k: v}\nb: *one\n").unwrap();
        assert_eq!(
            documents[0].get("b").unwrap().get("k").unwrap().text(),
            Some("v")
        );
        assert!(parse("a: *nobody\n").is_err());
        assert!(parse("a: &self [*self]\n").is_err());
        assert!(
            parse("--- &one a\n--- *one\n").is_err(),
            "of another document"
        );
    }

    #[test]
    fn aliases_of_aliases_are_bounded() {
        use std::fmt::Write;
        let mut bomb = String::from("l0: &l0 [x, x, x, x, x, x, x, x, x, x]\n");
        for n in 1..30 {
            let one = format!("*l{}", n - 1);
            let ten = vec![one; 10].join(", ");
            writeln!(bomb, "l{n}: &l{n} [{ten}]").unwrap();
        }
        assert_eq!(parse(&bomb).unwrap_err().fault, Fault::Aliased);
    }

    #[test]
    fn anchors_in_each_other_are_bounded() {
        let nested = |items: usize| {
            let anchors: String = (0..40).map(|n| format!("&n{n} [")).collect();
            anchors + &"0,".repeat(items) + &"]".repeat(40)
        };
        assert!(parse(&nested(1000)).is_ok());
        assert_eq!(parse(&nested(30_000)).unwrap_err().fault, Fault::Anchored);
    }

    #[test]
    fn a_merge_key_has_what_is_not_written_otherwise() {
        let text = "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc:\n  <<: [*a, *b]\n  x: 5\nd: {<<: *b}\ne: {'<<': f}\n";
        let document = parse(text).unwrap().remove(0);
        let of = |map: &str, key: &str| {
            let found = document.get(map).and_then(|map| map.get(key));
            found.map(Node::shown).unwrap_or_default()
        };
        assert_eq!(["x", "y", "z"].map(|key| of("c", key)), ["5", "2", "4"]);
        assert_eq!(["x", "y", "z"].map(|key| of("d", key)), ["", "3", "4"]);
        assert_eq!(of("e", "<<"), "\"f\"", "text in quotes is a key");
        assert_eq!(parse("{<<: 1}").unwrap_err().fault, Fault::Merge);
        assert_eq!(parse("{<<: [{a: b}, c]}").unwrap_err().fault, Fault::Merge);
    }

    #[test]
    fn depth_is_bounded_also_through_aliases() {
        use std::fmt::Write;
        let flow = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse(&flow(MAX_DEPTH)).is_ok());
        assert!(parse(&flow(MAX_DEPTH + 1)).is_err());
        assert!(parse(&flow(100_000)).is_err());
        let mut block = String::new();
        for n in 0..200 {
            writeln!(block, "{}a:", " ".repeat(n)).unwrap();
        }
        assert_eq!(parse(&block).unwrap_err().fault, Fault::Depth);
        let mut nested = String::from("l0: &l0 [x]\n");
        for n in 1..100 {
            writeln!(nested, "l{n}: &l{n} [*l{}]", n - 1).unwrap();
        }
        assert_eq!(parse(&nested).unwrap_err().fault, Fault::Depth);
    }

    #[test]
    fn what_is_no_yaml_is_told_with_its_line() {
        assert_eq!(parse("a: b\nc: [1\nd: e\n").unwrap_err().line, 3);
        assert_eq!(parse("? [a]\n: b\n").unwrap_err().fault, Fault::Key);
    }
}
