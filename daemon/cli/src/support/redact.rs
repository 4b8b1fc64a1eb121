//! Configurations without what is secret in them.

use serde_json::Value;
use toml::de::{DeTable, DeValue};

/// In place of a secret.
const REDACTED: &str = "[redacted]";

/// Parts of keys whose values are secrets. A key that names a file tells no secret.
const SECRET: [&str; 9] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "privatekey",
    "apikey",
    "psk",
];

/// A network configuration; `None` if it is no JSON, and nobody can say what is secret in it.
pub(super) fn json(bytes: &[u8]) -> Option<String> {
    let mut value: Value = serde_json::from_slice(bytes).ok()?;
    redact(&mut value);
    let text = serde_json::to_string_pretty(&value);
    text.ok().map(|text| text + "\n")
}

fn redact(value: &mut Value) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries.iter_mut() {
                if is_secret(key) {
                    *value = REDACTED.into();
                } else {
                    redact(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::String(text) => *text = without_user(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A TOML document as lines `key = value`, without comments, which may say anything; `None` if it is
/// none.
pub(super) fn toml(text: &str) -> Option<String> {
    let document = DeTable::parse(text).ok()?;
    let mut lines = String::new();
    flatten("", document.get_ref(), &mut lines);
    Some(lines)
}

fn flatten(path: &str, table: &DeTable<'_>, lines: &mut String) {
    for (key, value) in table {
        let key = key.get_ref();
        let path = if path.is_empty() {
            key.to_string()
        } else {
            format!("{path}.{key}")
        };
        match value.get_ref() {
            DeValue::Table(inner) if !is_secret(key) => flatten(&path, inner, lines),
            value => {
                let said = if is_secret(key) {
                    REDACTED.to_owned()
                } else {
                    printed(value)
                };
                lines.extend([path.as_str(), " = ", &said, "\n"]);
            }
        }
    }
}

fn printed(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{:?}", without_user(text)),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(is) => is.to_string(),
        DeValue::Datetime(at) => at.to_string(),
        DeValue::Array(items) => {
            let items = items.iter().map(|item| printed(item.get_ref()));
            format!("[{}]", items.collect::<Vec<_>>().join(", "))
        }
        DeValue::Table(inner) => {
            let mut lines = String::new();
            flatten("", inner, &mut lines);
            format!("{{{}}}", lines.trim_end().replace('\n', ", "))
        }
    }
}

fn is_secret(key: &str) -> bool {
    let key: String = key
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_ascii_lowercase();
    !key.ends_with("file") && !key.ends_with("path") && SECRET.iter().any(|part| key.contains(part))
}

/// An address `scheme://user:password@host` without the two (RFC 3986 §3.2.1).
fn without_user(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, after) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{REDACTED}@{host}{after}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_configuration_is_kept_but_for_its_secrets() {
        let conf = br#"{"name": "blue", "plugins": [{"type": "x", "apiToken": "s1", "auth": {"Password": "s2", "user": "u"},
            "endpoint": "https://u:s3@host:1/p?a=b", "private-key": ["s4"], "keyFile": "/k", "passwordFile": "/p"}]}"#;
        let text = json(conf).unwrap();
        for secret in ["s1", "s2", "s3", "s4"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        for kept in [
            "blue",
            "\"u\"",
            "https://[redacted]@host:1/p?a=b",
            "/k",
            "/p",
        ] {
            assert!(text.contains(kept), "{kept}: {text}");
        }
        assert_eq!(json(b"password = s1"), None);
    }

    #[test]
    fn the_daemons_configuration_is_kept_but_for_its_secrets() {
        let text = r#"
# the old password was s1
state_dir = "/d"
[etcd]
endpoints = ["https://u:s2@a:2379", "https://b:2379"]
password = "s3"
password_file = "/p"
token = """
s4
s5"""
[etcd.credentials]
deep = "s6"
[log]
level = "info"
rate = 3
"#;
        assert_eq!(
            toml(text).unwrap(),
            r#"etcd.credentials = [redacted]
etcd.endpoints = ["https://[redacted]@a:2379", "https://b:2379"]
etcd.password = [redacted]
etcd.password_file = "/p"
etcd.token = [redacted]
log.level = "info"
log.rate = 3
state_dir = "/d"
"#
        );
        assert_eq!(toml("password = s1 s2"), None);
    }
}
