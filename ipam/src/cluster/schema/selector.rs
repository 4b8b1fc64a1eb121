//! What a pool or a reservation is for: labels of a node or a pod, names of namespaces.

use std::fmt;
use std::str::FromStr;

use super::text::as_text;

pub use crate::record::Labels;

/// A text that is no selector.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "selector {selector:?}: {term:?} is no term; write key, !key, key=value, key!=value, key in (a, b) or key notin (a, b), separated by commas"
)]
pub struct SelectorError {
    /// The selector.
    pub selector: String,
    /// What was not understood.
    pub term: String,
}

/// A label selector in Kubernetes' own words: terms that must all hold. The empty one selects everything.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LabelSelector(Vec<Term>);

#[derive(Clone, Debug, Eq, PartialEq)]
struct Term {
    key: String,
    claim: Claim,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Claim {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
}

impl LabelSelector {
    /// Whether every term holds.
    #[must_use]
    pub fn selects(&self, labels: &Labels) -> bool {
        self.0.iter().all(|term| {
            let value = labels.get(&term.key);
            match &term.claim {
                Claim::Exists => value.is_some(),
                Claim::Absent => value.is_none(),
                Claim::In(values) => value.is_some_and(|value| values.contains(value)),
                // As in Kubernetes: a label that is not there has none of the values.
                Claim::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            }
        })
    }

    /// That all of these labels are there with their values.
    ///
    /// # Errors
    /// If a key or a value is none.
    pub fn of(labels: &Labels) -> Result<Self, SelectorError> {
        let term = |(key, value): (&String, &String)| {
            let known = word(key).zip(word(value));
            let (key, value) = known.ok_or_else(|| {
                let term = format!("{key}={value}");
                SelectorError {
                    selector: term.clone(),
                    term,
                }
            })?;
            let claim = Claim::In(vec![value]);
            Ok(Term { key, claim })
        };
        labels.iter().map(term).collect::<Result<_, _>>().map(Self)
    }

    /// The labels whose one value it demands.
    #[must_use]
    pub fn demanded(&self) -> Labels {
        let demanded = self.0.iter().filter_map(|term| match &term.claim {
            Claim::In(values) => match values.as_slice() {
                [value] => Some((term.key.clone(), value.clone())),
                _ => None,
            },
            _ => None,
        });
        demanded.collect()
    }

    /// Whether it selects everything.
    #[must_use]
    pub const fn is_everything(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, Term { key, claim }) in self.0.iter().enumerate() {
            f.write_str(if nth == 0 { "" } else { "," })?;
            match claim {
                Claim::Exists => write!(f, "{key}")?,
                Claim::Absent => write!(f, "!{key}")?,
                Claim::In(values) if values.len() == 1 => write!(f, "{key}={}", values[0])?,
                Claim::NotIn(values) if values.len() == 1 => write!(f, "{key}!={}", values[0])?,
                Claim::In(values) => write!(f, "{key} in ({})", values.join(","))?,
                Claim::NotIn(values) => write!(f, "{key} notin ({})", values.join(","))?,
            }
        }
        Ok(())
    }
}

impl FromStr for LabelSelector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let error = |term: &str| SelectorError {
            selector: text.to_owned(),
            term: term.trim().to_owned(),
        };
        let terms = split_outside_brackets(text).into_iter();
        let terms = terms.filter(|term| !term.trim().is_empty());
        let terms: Result<Vec<Term>, _> = terms
            .map(|term| parse_term(term.trim()).ok_or_else(|| error(term)))
            .collect();
        terms.map(Self)
    }
}

as_text!(LabelSelector);

fn split_outside_brackets(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

fn parse_term(text: &str) -> Option<Term> {
    let term = |key: &str, claim| word(key).map(|key| Term { key, claim });
    if let Some(key) = text.strip_prefix('!') {
        return term(key, Claim::Absent);
    }
    if let Some((head, values)) = text.strip_suffix(')').and_then(|t| t.split_once('(')) {
        let values: Vec<String> = values.split(',').map(word).collect::<Option<_>>()?;
        let (key, operator) = head.trim().rsplit_once(char::is_whitespace)?;
        return match operator {
            "in" => term(key, Claim::In(values)),
            "notin" => term(key, Claim::NotIn(values)),
            _ => None,
        };
    }
    if let Some((key, value)) = text.split_once("!=") {
        return term(key, Claim::NotIn(vec![word(value)?]));
    }
    match text.split_once('=') {
        Some((key, value)) => {
            let value = value.strip_prefix('=').unwrap_or(value);
            term(key, Claim::In(vec![word(value)?]))
        }
        None => term(text, Claim::Exists),
    }
}

/// A key or a value: never empty, without what separates terms.
fn word(text: &str) -> Option<String> {
    let text = text.trim();
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"!=(),".contains(c);
    (!text.is_empty() && text.chars().all(plain)).then(|| text.to_owned())
}

/// A name in which `*` stands for any characters: `team-*`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NamePattern(String);

impl NamePattern {
    /// Whether `name` is meant.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let head = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(head) else {
            return false;
        };
        let Some(tail) = parts.next_back() else {
            return rest.is_empty();
        };
        // What stands between two stars may as well be found as early as possible.
        for part in parts {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(tail)
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for NamePattern {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        word(text).map(Self).ok_or_else(|| SelectorError {
            selector: text.to_owned(),
            term: text.to_owned(),
        })
    }
}

as_text!(NamePattern);

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        selector.parse::<LabelSelector>().unwrap().selects(&labels)
    }

    #[test]
    fn every_term_must_hold() {
        let labels = [("zone", "a"), ("gpu", "yes")];
        for yes in [
            "",
            "zone=a",
            "zone==a",
            "zone in (a, b)",
            "zone!=b,gpu",
            "!spot",
            "rack!=r1",
            "zone notin (b,c), gpu = yes",
        ] {
            assert!(selects(yes, &labels), "{yes}");
        }
        for no in ["zone=b", "spot", "!gpu", "zone in (b)", "zone=a,gpu=no"] {
            assert!(!selects(no, &labels), "{no}");
        }
    }

    #[test]
    fn a_selector_is_written_as_it_is_read() {
        for text in ["", "zone=a", "!x,y", "zone in (a,b),rack notin (c,d),z!=1"] {
            assert_eq!(text.parse::<LabelSelector>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn labels_are_a_selector_and_a_selector_tells_its_labels() {
        let labels =
            Labels::from([("zone", "a"), ("gpu", "yes")].map(|(k, v)| (k.into(), v.into())));
        let selector = LabelSelector::of(&labels).unwrap();
        assert_eq!(selector.to_string(), "gpu=yes,zone=a");
        assert_eq!(selector.demanded(), labels);
        let more: LabelSelector = "zone=a,!spot,rack in (b,c)".parse().unwrap();
        assert_eq!(more.demanded().keys().collect::<Vec<_>>(), ["zone"]);
        let bad = Labels::from([("zone".to_owned(), "a,b".to_owned())]);
        let error = LabelSelector::of(&bad).unwrap_err();
        assert_eq!(error.term, "zone=a,b");
    }

    #[test]
    fn what_is_no_term_is_named() {
        for bad in [
            "a=",
            "=b",
            "a in b",
            "a in ()",
            "!",
            "a b",
            "a=(b)",
            "a in (b))",
        ] {
            let error = bad.parse::<LabelSelector>().unwrap_err();
            assert_eq!(error.selector, bad);
        }
        let error = "zone=a, x in".parse::<LabelSelector>().unwrap_err();
        assert!(error.to_string().contains("\"x in\" is no term"), "{error}");
    }

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name, expected) in [
            ("team-*", "team-a", true),
            ("team-*", "team-", true),
            ("team-*", "steam-a", false),
            ("*", "", true),
            ("a*b*c", "aXbXbYc", true),
            ("a*b*c", "ac", false),
            ("ab*ba", "aba", false),
            ("default", "default", true),
            ("default", "default2", false),
        ] {
            let pattern: NamePattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(name), expected, "{pattern} {name}");
        }
    }
}
