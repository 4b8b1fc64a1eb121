//! What is wrong with what was written, told by file, line, object and place, and what is done about it.

use std::fmt;

/// Something that was not understood, or should not be as it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Complaint {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The object: its kind, namespace and name; `None` before those are known.
    pub object: Option<String>,
    /// The place in the object: `spec.ingress[0].from[1].ipBlock.cidr`; empty for all of it.
    pub path: String,
    /// What is wrong.
    pub problem: Problem,
    /// What is done about it.
    pub effect: Effect,
}

/// What is done about a [`Problem`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Effect {
    /// The rule, or the policy, fails closed.
    Closed,
    /// The object, or what of it was not understood, is as if it were not there.
    Ignored,
    /// Nothing: it is understood, and told because it may not be meant so.
    Told,
}

/// What can be wrong.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Problem {
    /// A key that is not known where it stands.
    #[error("unknown field")]
    Field,
    /// A key that stands there twice.
    #[error("this field is there twice")]
    Twice,
    /// A value of another kind.
    #[error("{found} is not {expected}")]
    Value {
        /// What was expected, with its article.
        expected: &'static str,
        /// What was found, shortened.
        found: String,
    },
    /// No value where there must be one.
    #[error("missing, set it to {0}")]
    Missing(&'static str),
    /// One of several keys must be there, and no more.
    #[error("exactly one of {0} must be set")]
    One(&'static str),
    /// An exception of something else.
    #[error("exception {except} is not inside {prefix}")]
    Outside {
        /// The exception.
        except: String,
        /// What it should be a part of.
        prefix: String,
    },
    /// A range that ends before it begins.
    #[error("the last port, {last}, is below the first, {first}")]
    Range {
        /// The first port.
        first: u16,
        /// The last port.
        last: u16,
    },
    /// A range of named ports.
    #[error("endPort goes with a number in port")]
    EndPort,
    /// A policy of a version, or of a kind, that is not known.
    #[error("{kind} of {version} is not known here: {known} are")]
    Version {
        /// Its kind.
        kind: String,
        /// Its `apiVersion`.
        version: String,
        /// What is known.
        known: &'static str,
    },
    /// An object of ours of a kind that is not known.
    #[error("{kind} of {version} is no object of ours: {known} are")]
    Kind {
        /// Its kind.
        kind: String,
        /// Its `apiVersion`.
        version: String,
        /// What is known.
        known: &'static str,
    },
    /// Host bits in a prefix, which Kubernetes takes.
    #[error("{found} has host bits, taken for {prefix}")]
    HostBits {
        /// What was found.
        found: String,
        /// What is meant.
        prefix: String,
    },
    /// Two objects of a kind and a name.
    #[error("it was read before, at {0}: the last one counts")]
    Again(String),
    /// Two endpoints with an address, or a prefix.
    #[error("{what} is also that of {other}: what is written for either holds for it")]
    Shared {
        /// The address or the prefix.
        what: String,
        /// Who has it too.
        other: String,
    },
    /// An endpoint that no packet can be from or to.
    #[error("it has no address, so nothing can be said of it")]
    NoAddress,
    /// A pod that has ended.
    #[error("it has ended ({0}): it is nobody's peer, and its address may be another's")]
    Ended(String),
    /// Rules of a direction that the policy is not about.
    #[error("policyTypes lacks {0}, so these rules mean nothing")]
    Unused(&'static str),
    /// Names of the outside.
    #[error("domain names are not looked up here: give networks")]
    Domains,
    /// A named port of what has no names.
    #[error("named ports go with pods and namespaces alone, not with nodes and networks")]
    Nameless,
    /// More than the API would take.
    #[error("{found} are more than the {most} that the API takes")]
    Many {
        /// How many there are.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// Something else in the middle tier than an allow.
    #[error("in tier middle, rules allow: put deny and pass into tier admin or baseline")]
    Middle,
    /// A priority where there is none.
    #[error("tier middle has no priorities: what any of its policies allows is allowed")]
    Priority,
}

impl Complaint {
    /// Where it is, `file:line`.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }

    /// The place in the object and the problem.
    #[must_use]
    pub fn what(&self) -> String {
        let problem = &self.problem;
        if self.path.is_empty() {
            problem.to_string()
        } else {
            format!("{}: {problem}", self.path)
        }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place())?;
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        let effect = match self.effect {
            Effect::Closed => "; it fails closed",
            Effect::Ignored => "; it is left out",
            Effect::Told => "",
        };
        write!(f, "{}{effect}", self.what())
    }
}
