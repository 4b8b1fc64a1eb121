//! A TOML document, read strictly: whatever is asked for is taken out, and what is left over is a
//! mistake. Every mistake is collected, with its line.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A mistake in a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Mistake {
    /// Its line, from 1 on.
    pub(crate) line: usize,
    /// What is wrong: the key, the value and what it should be.
    pub(crate) text: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

/// A table of the document.
pub(super) struct Section<'i> {
    input: &'i str,
    /// Its name with a dot, or nothing.
    path: String,
    line: usize,
    entries: DeTable<'i>,
    asked: Vec<&'static str>,
    lines: BTreeMap<&'static str, usize>,
    mistakes: &'i RefCell<Vec<Mistake>>,
}

impl<'i> Section<'i> {
    /// The document itself.
    pub(super) fn root(
        input: &'i str,
        mistakes: &'i RefCell<Vec<Mistake>>,
    ) -> Result<Self, Mistake> {
        let table = DeTable::parse(input).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let text = error.message().replace('\n', ", ");
            Mistake {
                line: line_of(input, at),
                text: format!("not TOML: {text}"),
            }
        })?;
        Ok(Self {
            input,
            path: String::new(),
            line: 1,
            entries: table.into_inner(),
            asked: Vec::new(),
            lines: BTreeMap::new(),
            mistakes,
        })
    }

    /// The table of that name; an empty one if it is not there.
    pub(super) fn section(&mut self, name: &'static str) -> Self {
        let table = self.value(name, "a table", |value| match value {
            DeValue::Table(table) => Some(table.clone()),
            _ => None,
        });
        let (line, entries) = table.map_or((self.line, DeTable::new()), |found| found);
        Self {
            input: self.input,
            path: format!("{}{name}.", self.path),
            line,
            entries,
            asked: Vec::new(),
            lines: BTreeMap::new(),
            mistakes: self.mistakes,
        }
    }

    /// The line that the section begins at.
    pub(super) const fn line(&self) -> usize {
        self.line
    }

    /// The line of a key that was read; the section's if it is not there.
    pub(super) fn line_of(&self, key: &str) -> usize {
        self.lines.get(key).copied().unwrap_or(self.line)
    }

    /// How many mistakes are noted.
    pub(super) fn mistakes(&self) -> usize {
        self.mistakes.borrow().len()
    }

    /// Whether the key is set and nobody has asked for it yet.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Takes a key's value; a value that `read` does not take is a mistake, `what` is what it should be.
    pub(super) fn value<T>(
        &mut self,
        key: &'static str,
        what: &str,
        read: impl FnOnce(&DeValue<'i>) -> Option<T>,
    ) -> Option<(usize, T)> {
        self.asked.push(key);
        let (_, value) = self.entries.remove_entry(key)?;
        let line = line_of(self.input, value.span().start);
        self.lines.insert(key, line);
        let read = read(value.get_ref());
        if read.is_none() {
            let shown = shown(value.get_ref());
            let text = format!("{}{key}: {shown} is not {what}", self.path);
            self.mistake(line, text);
        }
        read.map(|read| (line, read))
    }

    /// A text that `parse` takes.
    pub(super) fn text<T>(
        &mut self,
        key: &'static str,
        what: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let read = |value: &DeValue<'i>| value.as_str().and_then(parse);
        self.value(key, what, read).map(|(_, read)| read)
    }

    /// An absolute path.
    pub(super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.text(key, "an absolute path", |text| {
            text.starts_with('/').then(|| PathBuf::from(text))
        })
    }

    /// The absolute path of a file that can be read.
    pub(super) fn file(&mut self, key: &'static str) -> Option<PathBuf> {
        let read = |value: &DeValue<'i>| {
            let text = value.as_str()?;
            text.starts_with('/').then(|| PathBuf::from(text))
        };
        let (line, path) = self.value(key, "an absolute path", read)?;
        if let Err(error) = std::fs::File::open(&path) {
            let (section, shown) = (&self.path, path.display());
            self.mistake(
                line,
                format!("{section}{key}: {shown} cannot be read: {error}"),
            );
        }
        Some(path)
    }

    /// A number; `what` names its unit.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        what: &str,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let what = format!(
            "a number of {what} from {} to {}",
            range.start(),
            range.end()
        );
        let read = |value: &DeValue<'i>| {
            let number = value.as_integer()?;
            let number = u64::from_str_radix(number.as_str(), number.radix()).ok();
            number.filter(|number| range.contains(number))
        };
        self.value(key, &what, read).map(|(_, read)| read)
    }

    /// Keys and values of a table of texts.
    pub(super) fn texts(
        &mut self,
        key: &'static str,
        what: &str,
        accepts: impl Fn(&str, &str) -> bool,
    ) -> Option<Vec<(String, String)>> {
        let read = |value: &DeValue<'i>| {
            let entries = value.as_table()?.iter().map(|(name, value)| {
                let (name, text) = (name.get_ref(), value.get_ref().as_str()?);
                accepts(name, text).then(|| (name.to_string(), text.to_owned()))
            });
            entries.collect()
        };
        self.value(key, what, read).map(|(_, read)| read)
    }

    /// A list of texts, each of which `parse` takes.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        what: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let read = |value: &DeValue<'i>| {
            let each = value.as_array()?.iter();
            each.map(|one| parse(one.get_ref().as_str()?)).collect()
        };
        self.value(key, what, read).map(|(_, read)| read)
    }

    /// Notes a mistake in `line`.
    pub(super) fn mistake(&self, line: usize, text: String) {
        self.mistakes.borrow_mut().push(Mistake { line, text });
    }

    /// Whatever nobody asked for is a mistake.
    pub(super) fn end(self) {
        for (key, _) in &self.entries {
            let line = line_of(self.input, key.span().start);
            let advice = advice(key.get_ref(), &self.asked);
            let text = format!(
                "{}{}: there is no such key, {advice}",
                self.path,
                key.get_ref()
            );
            self.mistake(line, text);
        }
    }
}

/// A value as it stands in an error.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{:?}", without_password(text)),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(list) => {
            let list: Vec<_> = list.iter().map(|one| shown(one.get_ref())).collect();
            format!("[{}]", list.join(", "))
        }
        DeValue::Table(table) => {
            let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
                format!("{} = {}", key.get_ref() as &str, shown(value.get_ref()))
            };
            let entries: Vec<_> = table.iter().map(|(k, v)| entry((k, v))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}

/// A URL may have a password, which does not belong there, and not into a log either.
fn without_password(text: &str) -> String {
    match text.split_once("://").zip(text.rsplit_once('@')) {
        Some(((scheme, _), (_, host))) => format!("{scheme}://...@{host}"),
        None => text.to_owned(),
    }
}

fn advice(key: &str, known: &[&str]) -> String {
    if key == "password" {
        return "write the password into a file for root alone and name it in password_file"
            .to_owned();
    }
    let nearest = known.iter().min_by_key(|known| distance(key, known));
    match nearest {
        Some(near) if distance(key, near) <= 2.max(key.len() / 3) => {
            format!("is {near} meant?")
        }
        _ => format!("here may stand {}", known.join(", ")),
    }
}

/// How many letters have to be changed, added or removed (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (nth, letter) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], nth + 1);
        for (at, second) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *second);
            diagonal = row[at + 1];
            row[at + 1] = changed.min(diagonal + 1).min(row[at] + 1);
        }
    }
    row[other.len()]
}

fn line_of(input: &str, at: usize) -> usize {
    input
        .get(..at)
        .map_or(1, |before| before.matches('\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_counted() {
        for (one, other, away) in [
            ("", "abc", 3),
            ("interval", "interval", 0),
            ("intervall_secs", "interval_secs", 1),
            ("theads", "threads", 1),
            ("flaw", "lawn", 2),
        ] {
            assert_eq!(distance(one, other), away, "{one} {other}");
        }
    }
}
