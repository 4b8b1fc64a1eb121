//! Selectors: what labels must be like (Kubernetes, `LabelSelector` of `meta/v1`).

use std::collections::BTreeSet;
use std::fmt;

use crate::Labels;

/// Requirements that labels must all meet. Without any, every set of labels is selected.
///
/// `matchLabels` and `matchExpressions` are the same here, and two selectors that ask for the same in
/// another order are equal.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Selector(BTreeSet<Requirement>);

/// What is asked of one key.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Requirement {
    /// The key.
    pub key: String,
    /// What its value must be like.
    pub test: Test,
}

/// What a key's value must be like.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Test {
    /// The key is there, with one of these values.
    In(BTreeSet<String>),
    /// The key is not there, or has none of these values.
    NotIn(BTreeSet<String>),
    /// The key is there.
    Exists,
    /// The key is not there.
    DoesNotExist,
}

impl Selector {
    /// Selects whatever there is.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// What labels must be like.
    pub fn requirements(&self) -> impl Iterator<Item = &Requirement> {
        self.0.iter()
    }

    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `labels` meet every requirement.
    #[must_use]
    pub fn selects(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| requirement.is_met(labels))
    }
}

impl FromIterator<Requirement> for Selector {
    fn from_iter<I: IntoIterator<Item = Requirement>>(requirements: I) -> Self {
        Self(requirements.into_iter().collect())
    }
}

impl Requirement {
    /// The key has this value.
    pub fn equals(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            test: Test::In(BTreeSet::from([value.into()])),
        }
    }

    /// Whether `labels` meet it.
    #[must_use]
    pub fn is_met(&self, labels: &Labels) -> bool {
        self.test.is_passed(labels.of(&self.key))
    }
}

impl Test {
    /// Whether a key passes that has this value, or is not there.
    pub(crate) fn is_passed(&self, value: Option<&str>) -> bool {
        match self {
            Self::In(values) => value.is_some_and(|value| values.contains(value)),
            Self::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Self::Exists => value.is_some(),
            Self::DoesNotExist => value.is_none(),
        }
    }
}

/// As `kubectl --selector` takes it.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("all");
        }
        for (nth, requirement) in self.0.iter().enumerate() {
            write!(f, "{}{requirement}", if nth == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let listed =
            |values: &BTreeSet<String>| values.iter().cloned().collect::<Vec<_>>().join(",");
        match &self.test {
            Test::In(values) if values.len() == 1 => write!(f, "{key}={}", listed(values)),
            Test::In(values) => write!(f, "{key} in ({})", listed(values)),
            Test::NotIn(values) => write!(f, "{key} notin ({})", listed(values)),
            Test::Exists => f.write_str(key),
            Test::DoesNotExist => write!(f, "!{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(key: &str, test: Test) -> Selector {
        Selector::from_iter([Requirement {
            key: key.to_owned(),
            test,
        }])
    }

    fn values(of: &[&str]) -> BTreeSet<String> {
        of.iter().map(|&value| value.to_owned()).collect()
    }

    #[test]
    fn an_absent_key_is_in_nothing_and_not_in_everything() {
        let labels = Labels::from_iter([("pod", "a")]);
        assert!(one("pod", Test::In(values(&["a", "b"]))).selects(&labels));
        assert!(!one("pod", Test::In(values(&["b"]))).selects(&labels));
        assert!(!one("zone", Test::In(values(&["a"]))).selects(&labels));
        assert!(one("zone", Test::NotIn(values(&["a"]))).selects(&labels));
        assert!(!one("pod", Test::NotIn(values(&["a"]))).selects(&labels));
        assert!(one("pod", Test::Exists).selects(&labels));
        assert!(!one("zone", Test::Exists).selects(&labels));
        assert!(one("zone", Test::DoesNotExist).selects(&labels));
        assert!(!one("pod", Test::DoesNotExist).selects(&labels));
    }

    #[test]
    fn requirements_are_met_together_and_none_select_everything() {
        let labels = Labels::from_iter([("pod", "a"), ("ns", "x")]);
        let both = [
            Requirement::equals("pod", "a"),
            Requirement::equals("ns", "y"),
        ];
        assert!(!Selector::from_iter(both).selects(&labels));
        assert!(Selector::everything().selects(&labels));
        assert!(Selector::everything().selects(&Labels::default()));
    }
}
