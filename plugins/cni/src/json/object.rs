//! An object of a document, whose members a plugin asks for by name and type.

use std::str::FromStr;

use bulkhead_model::ParseError;

use super::field::{Field, FieldError, FieldFault};
use super::{Value, keys_match};

/// An object and its place in the document. Its keys match as Go's do.
#[derive(Clone, Debug)]
pub struct Object<'a> {
    pub(super) path: String,
    pub(super) members: &'a [(String, Value)],
}

impl<'a> Object<'a> {
    /// An object without members at `path`, for a key that is absent.
    #[must_use]
    pub fn empty(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            members: &[],
        }
    }

    /// The document's outermost object.
    ///
    /// # Errors
    /// The document is something else.
    pub fn root(value: &'a Value) -> Result<Self, FieldError> {
        Self::rooted("", value)
    }

    /// `value` as an object whose fields are named under `path`.
    ///
    /// # Errors
    /// `value` is something else.
    pub fn rooted(path: &str, value: &'a Value) -> Result<Self, FieldError> {
        let path = path.to_owned();
        match value {
            Value::Object(members) => Ok(Self { path, members }),
            _ if path.is_empty() => {
                let path = "document".to_owned();
                Err(Field { path, value }.invalid("an object"))
            }
            _ => Err(Field { path, value }.invalid("an object")),
        }
    }

    /// Its place; empty for the outermost object.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The last member that `key` matches, unless it is `null`.
    #[must_use]
    pub fn optional(&self, key: &str) -> Option<Field<'a>> {
        let (_, value) = self
            .members
            .iter()
            .rev()
            .find(|(k, _)| keys_match(k, key))?;
        (*value != Value::Null).then(|| self.field(key, value))
    }

    /// Every member that is not `null` under the key it was written with, for objects that are maps.
    pub fn members(&self) -> impl Iterator<Item = (&'a str, Field<'a>)> + '_ {
        self.members
            .iter()
            .filter(|(_, value)| *value != Value::Null)
            .map(|(key, value)| (key.as_str(), self.field(key, value)))
    }

    fn field(&self, key: &str, value: &'a Value) -> Field<'a> {
        Field {
            path: self.path_of(key),
            value,
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// A member that must be there.
    ///
    /// # Errors
    /// Absent or `null`.
    pub fn required(&self, key: &str, expected: &str) -> Result<Field<'a>, FieldError> {
        self.optional(key).ok_or_else(|| FieldError {
            path: self.path_of(key),
            fault: FieldFault::Missing {
                expected: expected.to_owned(),
            },
        })
    }

    /// See [`Field::bool`].
    ///
    /// # Errors
    /// Present and no boolean.
    pub fn optional_bool(&self, key: &str) -> Result<Option<bool>, FieldError> {
        self.optional(key).map(|field| field.bool()).transpose()
    }

    /// See [`Field::u64`].
    ///
    /// # Errors
    /// Present and no such number.
    pub fn optional_u64(&self, key: &str) -> Result<Option<u64>, FieldError> {
        self.optional(key).map(|field| field.u64()).transpose()
    }

    /// See [`Field::u32`].
    ///
    /// # Errors
    /// Present and no such number.
    pub fn optional_u32(&self, key: &str) -> Result<Option<u32>, FieldError> {
        self.optional(key).map(|field| field.u32()).transpose()
    }

    /// A string, possibly empty.
    ///
    /// # Errors
    /// Present and no string.
    pub fn optional_string(&self, key: &str) -> Result<Option<&'a str>, FieldError> {
        self.optional(key).map(|field| field.str()).transpose()
    }

    /// A string that is there and not empty.
    ///
    /// # Errors
    /// Absent, empty or no string.
    pub fn required_string(&self, key: &str, expected: &str) -> Result<&'a str, FieldError> {
        let field = self.required(key, expected)?;
        match field.str()? {
            "" => Err(field.invalid(expected)),
            text => Ok(text),
        }
    }

    /// See [`Field::parse`]; the empty string is absent, as Go's zero value is.
    ///
    /// # Errors
    /// Present and no string, or refused by `T`.
    pub fn optional_parsed<T: FromStr<Err = ParseError>>(
        &self,
        key: &str,
    ) -> Result<Option<T>, FieldError> {
        let field = self.optional(key).filter(|field| !field.is_empty_string());
        field.map(|field| field.parse()).transpose()
    }

    /// See [`Field::parse_as`]; the empty string is absent, as Go's zero value is.
    ///
    /// # Errors
    /// Present and no string, or refused by `T`.
    pub fn optional_as<T: FromStr>(
        &self,
        key: &str,
        expected: &str,
    ) -> Result<Option<T>, FieldError> {
        let field = self.optional(key).filter(|field| !field.is_empty_string());
        field.map(|field| field.parse_as(expected)).transpose()
    }

    /// An object.
    ///
    /// # Errors
    /// Present and no object.
    pub fn optional_object(&self, key: &str) -> Result<Option<Object<'a>>, FieldError> {
        self.optional(key).map(|field| field.object()).transpose()
    }

    /// An array's items; none if the key is absent.
    ///
    /// # Errors
    /// Present and no array.
    pub fn items(&self, key: &str) -> Result<Vec<Field<'a>>, FieldError> {
        self.optional(key)
            .map_or(Ok(Vec::new()), |field| field.items())
    }

    /// An array of strings; empty if the key is absent.
    ///
    /// # Errors
    /// Present and no array, or an item that is no string.
    pub fn strings(&self, key: &str) -> Result<Vec<String>, FieldError> {
        let items = self.items(key)?;
        items
            .iter()
            .map(|item| item.str().map(str::to_owned))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Value {
        Value::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn keys_match_without_case_and_the_last_in_the_document_wins() {
        let value = parse(r#"{"Bridge":"a","bridge":"b","BRIDGE":"c","x":1}"#);
        let object = Object::root(&value).unwrap();
        assert_eq!(object.optional_string("bridge"), Ok(Some("c")));
        let value = parse(r#"{"bridge":"b","Bridge":"a","mas\u212A":1}"#);
        let object = Object::root(&value).unwrap();
        assert_eq!(object.optional_string("bridge"), Ok(Some("a")));
        assert_eq!(object.optional_u64("mask"), Ok(Some(1)));
    }

    #[test]
    fn null_is_absent() {
        let value = parse(r#"{"mtu":null}"#);
        assert_eq!(Object::root(&value).unwrap().optional_u32("mtu"), Ok(None));
    }

    #[test]
    fn booleans_may_be_strings() {
        for (text, expected) in [("true", true), ("\"TRUE\"", true), ("\"false\"", false)] {
            let value = parse(&format!("{{\"b\":{text}}}"));
            let object = Object::root(&value).unwrap();
            assert_eq!(object.optional_bool("b"), Ok(Some(expected)));
        }
        let value = parse(r#"{"b":1}"#);
        let error = Object::root(&value)
            .unwrap()
            .optional_bool("b")
            .unwrap_err();
        assert_eq!(error.to_string(), "b: 1 is not true or false");
    }

    #[test]
    fn an_error_names_place_value_and_expectation() {
        let value = parse(r#"{"ipam":{"ranges":[[{},{"Subnet":7}]]}}"#);
        let ipam = Object::root(&value)
            .unwrap()
            .optional_object("ipam")
            .unwrap()
            .unwrap();
        let range = ipam.items("ranges").unwrap()[0].items().unwrap()[1]
            .object()
            .unwrap();
        assert_eq!(
            range.optional_string("subnet").unwrap_err().to_string(),
            "ipam.ranges[0][1].subnet: 7 is not a string"
        );
        assert_eq!(
            range
                .required("gateway", "an address")
                .unwrap_err()
                .to_string(),
            "ipam.ranges[0][1].gateway: missing, set it to an address"
        );
        let vlan = parse(r#"{"vlan":100}"#);
        let field = Object::root(&vlan).unwrap().optional("vlan").unwrap();
        assert_eq!(
            field
                .unsupported("the kernel has no VLAN filtering")
                .to_string(),
            "vlan: 100 is not supported: the kernel has no VLAN filtering"
        );
    }

    #[test]
    fn numbers_must_be_whole() {
        for text in ["1.0", "-1", "1e3", "\"1\"", "18446744073709551616"] {
            let value = parse(&format!("{{\"n\":{text}}}"));
            assert!(
                Object::root(&value).unwrap().optional_u64("n").is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_long_value_is_cut_in_the_error() {
        let value = parse(&format!("{{\"b\":\"{}\"}}", "ü".repeat(500)));
        let error = Object::root(&value)
            .unwrap()
            .optional_bool("b")
            .unwrap_err();
        assert!(error.to_string().len() < 250);
    }

    #[test]
    fn a_deep_document_is_refused_and_not_a_stack_overflow() {
        let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
        assert!(Value::parse(&deep).is_err());
    }
}
