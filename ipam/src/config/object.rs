//! JSON read as Go reads it: keys without regard to case, `null` as absent; and with the path to
//! each value, so that an error can name it.

use std::fmt::Display;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::KeyError;

/// A value and the path that led to it.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    pub(super) key: String,
    value: &'a Value,
}

impl<'a> Node<'a> {
    pub(super) fn root(key: &str, value: &'a Value) -> Self {
        Self {
            key: key.to_owned(),
            value,
        }
    }

    /// An error about this value.
    pub(super) fn error(&self, what: impl Display) -> KeyError {
        KeyError {
            key: self.key.clone(),
            what: what.to_string(),
        }
    }

    /// The value of a key: the one written so, else one that differs in case only.
    pub(super) fn field(&self, name: &str) -> Result<Option<Self>, KeyError> {
        let map = self.object()?;
        let folded = || map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        let found = map.get(name).or_else(|| folded().map(|(_, value)| value));
        Ok(found.filter(|value| !value.is_null()).map(|value| Self {
            key: format!("{}.{name}", self.key),
            value,
        }))
    }

    /// The elements of a list.
    pub(super) fn list(&self) -> Result<Vec<Self>, KeyError> {
        let list = self.value.as_array().ok_or_else(|| self.not("a list"))?;
        Ok((0..)
            .zip(list)
            .map(|(nth, value): (usize, _)| Self {
                key: format!("{}[{nth}]", self.key),
                value,
            })
            .collect())
    }

    pub(super) fn text(&self) -> Result<&'a str, KeyError> {
        self.value.as_str().ok_or_else(|| self.not("text"))
    }

    /// A whole number no larger than `max`.
    pub(super) fn number(&self, max: u64) -> Result<u64, KeyError> {
        let number = self.value.as_u64().filter(|number| *number <= max);
        number.ok_or_else(|| self.not(&format!("a whole number from 0 to {max}")))
    }

    /// `true`, `false`, or one of them as text; `None` if it is neither.
    pub(super) fn switch(&self) -> Option<bool> {
        match self.value {
            Value::Bool(on) => Some(*on),
            Value::String(text) if text == "true" => Some(true),
            Value::String(text) if text == "false" => Some(false),
            _ => None,
        }
    }

    /// The text, as what it says.
    pub(super) fn parse<T: FromStr<Err: Display>>(&self) -> Result<T, KeyError> {
        self.text()?.parse().map_err(|error| self.error(error))
    }

    /// An error that says what was expected and what is there.
    pub(super) fn not(&self, expected: &str) -> KeyError {
        self.error(format!("expected {expected}, found {}", self.value))
    }

    fn object(&self) -> Result<&'a Map<String, Value>, KeyError> {
        self.value.as_object().ok_or_else(|| self.not("an object"))
    }
}
