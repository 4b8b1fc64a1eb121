//! `CNI_ARGS`: `K=V;K2=V2`. Deprecated by the specification and still how podman passes a MAC and
//! how Kubernetes runtimes name the pod. Parsed only by who uses it: runtimes are known to send
//! texts that do not parse to plugins that never look.

use crate::{CniError, Code};

/// The pairs of `CNI_ARGS` in their order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Args {
    pairs: Vec<(String, String)>,
}

/// Why `CNI_ARGS` is refused (the texts are those of the reference library).
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ArgsError {
    /// A pair without exactly one `=`.
    #[error("CNI_ARGS: invalid pair {0:?}, write KEY=VALUE;KEY=VALUE")]
    InvalidPair(String),
    /// Keys the plugin does not know, without `IgnoreUnknown`.
    #[error("CNI_ARGS: unknown args {0:?}, set IgnoreUnknown=1 to pass them by")]
    Unknown(Vec<String>),
    /// `IgnoreUnknown` that is no boolean.
    #[error("CNI_ARGS: IgnoreUnknown={0:?} is not 1, 0, true or false")]
    InvalidIgnoreUnknown(String),
}

impl From<ArgsError> for CniError {
    fn from(error: ArgsError) -> Self {
        Self::new(Code::INVALID_ENVIRONMENT, error.to_string())
    }
}

impl Args {
    /// Parses every pair as Go's `types.LoadArgs` does.
    ///
    /// # Errors
    /// [`ArgsError::InvalidPair`].
    pub fn parse(text: &str) -> Result<Self, ArgsError> {
        let mut pairs = Vec::new();
        for pair in text.split(';').filter(|_| !text.is_empty()) {
            match pair.split_once('=') {
                Some((key, value)) if !value.contains('=') => {
                    pairs.push((key.to_owned(), value.to_owned()));
                }
                _ => return Err(ArgsError::InvalidPair(pair.to_owned())),
            }
        }
        Ok(Self { pairs })
    }

    /// The pairs that can be read; the others are passed by.
    #[must_use]
    pub fn lenient(text: &str) -> Self {
        let pairs = text.split(';').filter_map(|pair| pair.split_once('='));
        Self {
            pairs: pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        }
    }

    /// The last value of `key`, matched exactly.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let mut from_last = self.pairs.iter().rev();
        from_last
            .find(|(found, _)| found == key)
            .map(|(_, value)| value.as_str())
    }

    /// Every pair, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Demands that every key is one of `known`, unless `IgnoreUnknown` is set.
    ///
    /// # Errors
    /// [`ArgsError::Unknown`], [`ArgsError::InvalidIgnoreUnknown`].
    pub fn expect_only(&self, known: &[&str]) -> Result<(), ArgsError> {
        let ignore = match self.get("IgnoreUnknown") {
            None => false,
            Some(text) => match text.to_ascii_lowercase().as_str() {
                "1" | "true" => true,
                "0" | "false" => false,
                _ => return Err(ArgsError::InvalidIgnoreUnknown(text.to_owned())),
            },
        };
        let unknown: Vec<_> = self
            .pairs()
            .filter(|(key, _)| *key != "IgnoreUnknown" && !known.contains(key))
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        if unknown.is_empty() || ignore {
            Ok(())
        } else {
            Err(ArgsError::Unknown(unknown))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubernetes_form_is_read() {
        let args = Args::parse("IgnoreUnknown=1;K8S_POD_NAME=p1;MAC=02:00:00:00:00:01").unwrap();
        assert_eq!(args.get("K8S_POD_NAME"), Some("p1"));
        assert_eq!(args.get("MAC"), Some("02:00:00:00:00:01"));
        assert_eq!(args.get("mac"), None);
        assert_eq!(args.expect_only(&["MAC"]), Ok(()));
        assert_eq!(Args::parse("").unwrap(), Args::default());
    }

    #[test]
    fn unknown_keys_are_refused_by_name_unless_ignored() {
        let args = Args::parse("X=y;IP=10.0.0.1").unwrap();
        assert_eq!(
            args.expect_only(&["IP"]).unwrap_err().to_string(),
            "CNI_ARGS: unknown args [\"X=y\"], set IgnoreUnknown=1 to pass them by"
        );
        let args = Args::parse("X=y;IgnoreUnknown=perhaps").unwrap();
        assert!(matches!(
            args.expect_only(&[]),
            Err(ArgsError::InvalidIgnoreUnknown(_))
        ));
    }

    #[test]
    fn a_pair_has_exactly_one_equals_sign() {
        for bad in ["none", "a=b=c", "a=b;", ";"] {
            assert!(
                matches!(Args::parse(bad), Err(ArgsError::InvalidPair(_))),
                "{bad}"
            );
        }
        assert_eq!(
            Args::lenient("none;IP=10.0.0.1;").get("IP"),
            Some("10.0.0.1")
        );
    }
}
