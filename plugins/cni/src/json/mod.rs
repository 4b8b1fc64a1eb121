//! JSON as Go reads it, because every configuration in the field was written against Go: keys match
//! without regard to case, of several that match the last in the document counts, `null` is absent,
//! unknown keys are tolerated. Beyond Go, `"true"` and `"false"` are booleans too.
//!
//! [`Value`] is the document with its order kept, [`Object`] and [`Field`] are how a plugin reads it.

mod decode;
mod field;
mod object;

pub use field::{Field, FieldError, FieldFault};
pub use object::Object;

use std::fmt;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

/// A JSON document in its own order, duplicate keys included.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// Any number.
    Number(serde_json::Number),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Value>),
    /// An object's members in document order.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// An object without members.
    pub const EMPTY: Self = Self::Object(Vec::new());

    /// Parses one document.
    ///
    /// # Errors
    /// Not JSON, not UTF-8, nested deeper than 127 levels, or followed by anything but white space.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The last member that `key` matches as Go matches it; `None` if this is no object. `null` is
    /// returned as found.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Object(members) = self else {
            return None;
        };
        members
            .iter()
            .rev()
            .find(|(found, _)| keys_match(found, key))
            .map(|(_, value)| value)
    }

    /// Removes every member that `key` matches and appends the new one. Turns anything but an
    /// object into an object.
    pub fn set(&mut self, key: &str, value: Self) {
        if !matches!(self, Self::Object(_)) {
            *self = Self::EMPTY;
        }
        if let Self::Object(members) = self {
            members.retain(|(found, _)| !keys_match(found, key));
            members.push((key.to_owned(), value));
        }
    }

    /// The text of a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }
}

/// Whether Go's `encoding/json` would decode `found` into a field named `key`: Unicode simple
/// folding, in which the only characters that meet ASCII letters are U+017F (s) and U+212A (k).
fn keys_match(found: &str, key: &str) -> bool {
    let fold = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    found.chars().map(fold).eq(key.chars().map(fold))
}

impl fmt::Display for Value {
    /// On one line; `{:#}` indents two spaces a level.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if f.alternate() {
            serde_json::to_string_pretty(self)
        } else {
            serde_json::to_string(self)
        };
        f.write_str(&text.map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(value) => value.serialize(serializer),
            Self::String(value) => serializer.serialize_str(value),
            Self::Array(items) => serializer.collect_seq(items),
            Self::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (key, value) in members {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Number(value.into())
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Number(value.into())
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::String(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::String(value)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(items: Vec<T>) -> Self {
        Self::Array(items.into_iter().map(Into::into).collect())
    }
}

impl From<serde_json::Value> for Value {
    fn from(value: serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(value),
            serde_json::Value::Number(value) => Self::Number(value),
            serde_json::Value::String(value) => Self::String(value),
            serde_json::Value::Array(items) => items.into(),
            serde_json::Value::Object(members) => {
                Self::Object(members.into_iter().map(|(k, v)| (k, v.into())).collect())
            }
        }
    }
}

impl From<&Value> for serde_json::Value {
    /// Of duplicate keys the last stays.
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(value) => Self::Number(value.clone()),
            Value::String(value) => Self::String(value.clone()),
            Value::Array(items) => items.iter().map(Self::from).collect(),
            Value::Object(members) => members
                .iter()
                .map(|(key, value)| (key.clone(), Self::from(value)))
                .collect(),
        }
    }
}
