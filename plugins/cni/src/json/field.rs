//! One value of a document, read as what it should be or named in an error: where it stands, what
//! stands there and what should.

use std::fmt;
use std::str::FromStr;

use bulkhead_model::ParseError;

use super::{Object, Value};

/// A value that is missing, wrong or not served, and where in the document.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{path}: {fault}")]
pub struct FieldError {
    /// Where, such as `ipam.ranges[0][1].subnet`.
    pub path: String,
    /// What is wrong.
    pub fault: FieldFault,
}

/// What is wrong with a value.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FieldFault {
    /// A required key is absent or `null` (code 7).
    #[error("missing, set it to {expected}")]
    Missing {
        /// What should stand there, with its article.
        expected: String,
    },
    /// The value has the wrong type or is none of those allowed (code 7).
    #[error("{found} is not {expected}")]
    Invalid {
        /// The value found, as JSON.
        found: String,
        /// What should stand there, with its article.
        expected: String,
    },
    /// A valid value of a feature we do not serve (code 2).
    #[error("{found} is not supported: {reason}")]
    Unsupported {
        /// The value found, as JSON.
        found: String,
        /// Why, and what to do.
        reason: String,
    },
}

/// A value that is present and not `null`, with its place in the document.
#[derive(Clone, Debug)]
pub struct Field<'a> {
    pub(super) path: String,
    pub(super) value: &'a Value,
}

impl<'a> Field<'a> {
    /// Its place, such as `ipam.ranges[0]`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The value itself.
    #[must_use]
    pub const fn value(&self) -> &'a Value {
        self.value
    }

    /// The error "this value is not `expected`".
    #[must_use]
    pub fn invalid(&self, expected: impl fmt::Display) -> FieldError {
        FieldError {
            path: self.path.clone(),
            fault: FieldFault::Invalid {
                found: shown(self.value),
                expected: expected.to_string(),
            },
        }
    }

    /// The error "this value is not supported", for `reason`.
    #[must_use]
    pub fn unsupported(&self, reason: impl fmt::Display) -> FieldError {
        FieldError {
            path: self.path.clone(),
            fault: FieldFault::Unsupported {
                found: shown(self.value),
                reason: reason.to_string(),
            },
        }
    }

    /// A boolean, or `"true"` or `"false"` in any case.
    ///
    /// # Errors
    /// Anything else.
    pub fn bool(&self) -> Result<bool, FieldError> {
        match self.value {
            Value::Bool(value) => Ok(*value),
            Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            _ => Err(self.invalid("true or false")),
        }
    }

    /// A number without sign, fraction or exponent, up to 2^64-1.
    ///
    /// # Errors
    /// Anything else.
    pub fn u64(&self) -> Result<u64, FieldError> {
        match self.value {
            Value::Number(number) => number.as_u64(),
            _ => None,
        }
        .ok_or_else(|| self.invalid("a whole number of 0 or more"))
    }

    /// A number without sign, fraction or exponent, up to 2^32-1.
    ///
    /// # Errors
    /// Anything else.
    pub fn u32(&self) -> Result<u32, FieldError> {
        u32::try_from(self.u64()?).map_err(|_| self.invalid("a whole number up to 4294967295"))
    }

    /// A string.
    ///
    /// # Errors
    /// Anything else.
    pub fn str(&self) -> Result<&'a str, FieldError> {
        self.value.as_str().ok_or_else(|| self.invalid("a string"))
    }

    /// A string that one of the model's types is made from.
    ///
    /// # Errors
    /// Not a string, or refused by `T`, whose own words say what was expected.
    pub fn parse<T: FromStr<Err = ParseError>>(&self) -> Result<T, FieldError> {
        let parsed = self.str()?.parse();
        parsed.map_err(|error: ParseError| self.invalid(error.expected))
    }

    /// A string that `T` is made from; `expected` says what that is, with its article.
    ///
    /// # Errors
    /// Not a string, or refused by `T`.
    pub fn parse_as<T: FromStr>(&self, expected: &str) -> Result<T, FieldError> {
        self.str()?.parse().map_err(|_| self.invalid(expected))
    }

    pub(super) fn is_empty_string(&self) -> bool {
        self.value.as_str() == Some("")
    }

    /// An object.
    ///
    /// # Errors
    /// Anything else.
    pub fn object(&self) -> Result<Object<'a>, FieldError> {
        match self.value {
            Value::Object(members) => Ok(Object {
                path: self.path.clone(),
                members,
            }),
            _ => Err(self.invalid("an object")),
        }
    }

    /// The items of an array. A `null` item is an item: reading it names it as wrong.
    ///
    /// # Errors
    /// Not an array.
    pub fn items(&self) -> Result<Vec<Field<'a>>, FieldError> {
        let Value::Array(items) = self.value else {
            return Err(self.invalid("an array"));
        };
        let item = |(at, value)| Field {
            path: format!("{}[{at}]", self.path),
            value,
        };
        Ok(items.iter().enumerate().map(item).collect())
    }
}

/// A value as an error quotes it: short enough for one line of a log.
fn shown(value: &Value) -> String {
    const LONGEST: usize = 200;
    let mut text = value.to_string();
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push_str("...");
    }
    text
}
