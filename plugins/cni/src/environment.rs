//! The variables a runtime calls a plugin with, and which verb needs which.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use bulkhead_model::ParseError;

use crate::{CniError, CniVersion};

/// What a runtime asks for (`CNI_COMMAND`).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Verb {
    /// Attach a container, or amend what plugins before did.
    Add,
    /// Undo ADD.
    Del,
    /// Compare with what ADD made (0.4.0).
    Check,
    /// Remove every attachment that is not listed (1.1.0).
    Gc,
    /// Say whether ADD can be served (1.1.0).
    Status,
    /// Print the versions spoken.
    Version,
}

impl Verb {
    /// As it is written in `CNI_COMMAND`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }

    /// The first version that has the verb.
    #[must_use]
    pub const fn since(self) -> CniVersion {
        match self {
            Self::Add | Self::Del | Self::Version => CniVersion::V0_1_0,
            Self::Check => CniVersion::V0_4_0,
            Self::Gc | Self::Status => CniVersion::V1_1_0,
        }
    }

    /// Whether the verb is about one attachment: ADD, DEL and CHECK.
    #[must_use]
    pub const fn names_attachment(self) -> bool {
        matches!(self, Self::Add | Self::Del | Self::Check)
    }

    /// The variables that must be set and not empty. `CNI_PATH` is none of them: it is needed only
    /// where another plugin is run, and missed there.
    const fn required(self) -> &'static [&'static str] {
        match self {
            Self::Add | Self::Check => &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
            Self::Del => &["CNI_CONTAINERID", "CNI_IFNAME"],
            Self::Gc | Self::Status | Self::Version => &[],
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Verb {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        use Verb::{Add, Check, Del, Gc, Status, Version};
        [Add, Del, Check, Gc, Status, Version]
            .into_iter()
            .find(|verb| verb.as_str() == text)
            .ok_or_else(|| ParseError {
                expected: "a CNI verb (ADD, DEL, CHECK, GC, STATUS, VERSION)",
                found: text.to_owned(),
            })
    }
}

/// A process environment, captured once in `main`. A delegated plugin gets all of it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
}

impl Environment {
    /// Captures `variables`, in `main` those of `std::env::vars_os()`.
    pub fn new<K: Into<OsString>, V: Into<OsString>>(
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        Self {
            variables: variables
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        }
    }

    /// The same environment with `name` set to `value`.
    #[must_use]
    pub fn with(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// Every variable.
    pub fn variables(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.variables
            .iter()
            .map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// A variable that is set and not empty.
    #[must_use]
    pub fn var(&self, name: &str) -> Option<&OsStr> {
        let value = self.variables.get(OsStr::new(name))?;
        (!value.is_empty()).then_some(value)
    }

    /// A variable that is set, not empty and text.
    ///
    /// # Errors
    /// Code 4 if it is not UTF-8.
    pub fn text(&self, name: &str) -> Result<Option<&str>, CniError> {
        let not_text = |value: &OsStr| {
            CniError::invalid_environment(name, format_args!("{} is not UTF-8", value.display()))
        };
        self.var(name)
            .map(|value| value.to_str().ok_or_else(|| not_text(value)))
            .transpose()
    }

    /// The verb; `None` if `CNI_COMMAND` is unset or empty, as when a person runs the plugin.
    ///
    /// # Errors
    /// Code 4 for a verb that is none.
    pub fn verb(&self) -> Result<Option<Verb>, CniError> {
        // libcni looks for this very text to recognise a plugin that only speaks 0.1.0.
        let unknown = |text: &str| {
            CniError::new(
                crate::Code::INVALID_ENVIRONMENT,
                format!("unknown CNI_COMMAND: {text}"),
            )
        };
        let text = self.text("CNI_COMMAND")?;
        text.map(|text| text.parse().map_err(|_| unknown(text)))
            .transpose()
    }

    /// Demands the variables `verb` needs.
    ///
    /// # Errors
    /// Code 4 naming every one that is missing or empty.
    pub fn require(&self, verb: Verb) -> Result<(), CniError> {
        let missing: Vec<_> = verb
            .required()
            .iter()
            .copied()
            .filter(|name| self.var(name).is_none())
            .collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(CniError::missing_environment(&missing))
        }
    }

    /// The directories of `CNI_PATH`, in order, without empty entries.
    #[must_use]
    pub fn plugin_dirs(&self) -> Vec<PathBuf> {
        let split = self.var("CNI_PATH").map(std::env::split_paths);
        split
            .into_iter()
            .flatten()
            .filter(|dir| !dir.as_os_str().is_empty())
            .collect()
    }

    /// Whether `CNI_NETNS_OVERRIDE` is `1` or `true` in any case.
    #[must_use]
    pub fn overrides_netns_check(&self) -> bool {
        self.var("CNI_NETNS_OVERRIDE")
            .is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(verb: Verb, set: &[(&str, &str)]) -> Option<String> {
        let environment = Environment::new(set.iter().copied());
        environment.require(verb).err().map(|error| error.msg)
    }

    #[test]
    fn every_missing_variable_is_named() {
        assert_eq!(
            missing(Verb::Add, &[]).unwrap(),
            "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME] missing"
        );
        assert_eq!(
            missing(Verb::Check, &[("CNI_CONTAINERID", "c"), ("CNI_NETNS", "")]).unwrap(),
            "required env variables [CNI_NETNS,CNI_IFNAME] missing"
        );
        assert_eq!(
            missing(Verb::Del, &[("CNI_CONTAINERID", "c"), ("CNI_IFNAME", "e")]),
            None
        );
        for verb in [Verb::Gc, Verb::Status, Verb::Version] {
            assert_eq!(missing(verb, &[]), None);
        }
    }

    #[test]
    fn an_unknown_verb_is_code_4_and_none_is_a_person() {
        let error = Environment::new([("CNI_COMMAND", "add")])
            .verb()
            .unwrap_err();
        assert_eq!(
            (error.code.0, error.msg.as_str()),
            (4, "unknown CNI_COMMAND: add")
        );
        assert_eq!(Environment::new([("CNI_COMMAND", "")]).verb(), Ok(None));
        assert_eq!(Environment::default().verb(), Ok(None));
    }

    #[test]
    fn the_path_is_a_list_and_the_override_a_flag() {
        let environment =
            Environment::new([("CNI_PATH", "/a::/b"), ("CNI_NETNS_OVERRIDE", "TRUE")]);
        assert_eq!(environment.plugin_dirs(), ["/a", "/b"].map(PathBuf::from));
        assert!(environment.overrides_netns_check());
        assert!(!Environment::new([("CNI_NETNS_OVERRIDE", "yes")]).overrides_netns_check());
    }
}
