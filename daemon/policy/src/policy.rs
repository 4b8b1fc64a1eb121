//! Policies, whatever they were written as.

use std::fmt;

use crate::{EndpointSelector, Peer, Port, Tier};

/// What somebody wrote about some endpoints.
///
/// All policies are asked in the order of (tier, name): the order of two of the same priority is
/// the order of their names, which is ours to decide and is told by the linter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    /// When it is asked, and how it is meant.
    pub tier: Tier,
    /// Whom it is about: several selectors mean whom any of them selects.
    pub subject: Vec<EndpointSelector>,
    /// What it says about traffic to them, in order; `None` if it says nothing about that direction. In
    /// the middle tier `Some` isolates, also without rules; in the others it is the same as no rules.
    pub ingress: Option<Vec<Rule>>,
    /// As `ingress`, about traffic from them.
    pub egress: Option<Vec<Rule>>,
    /// Whether it is in force.
    pub mode: Mode,
    /// Where it was written.
    pub origin: Origin,
    /// What of it could not be read, and made it fail closed; each a sentence that names the place.
    pub unread: Vec<String>,
}

impl Policy {
    /// What it says about one direction.
    #[must_use]
    pub fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }
}

/// A policy's name. Their order is the order of asking, within a priority.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PolicyId {
    /// What it was written as.
    pub kind: PolicyKind,
    /// Its namespace, if its kind has one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)
    }
}

/// What a policy was written as.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum PolicyKind {
    /// Kubernetes, networking.k8s.io/v1.
    NetworkPolicy,
    /// Kubernetes, policy.networking.k8s.io/v1alpha2.
    ClusterNetworkPolicy,
    /// Our own.
    Policy,
    /// Our own: the rules of a security group, whose subject are its members.
    SecurityGroup,
}

impl fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NetworkPolicy => "NetworkPolicy",
            Self::ClusterNetworkPolicy => "ClusterNetworkPolicy",
            Self::Policy => "Policy",
            Self::SecurityGroup => "SecurityGroup",
        })
    }
}

/// Which way traffic goes, as the policy's subject sees it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Direction {
    /// To the subject.
    Ingress,
    /// From the subject.
    Egress,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}

/// Whether a policy is in force.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Mode {
    /// It is.
    #[default]
    Enforce,
    /// It decides nothing; what it would have denied is told.
    Audit,
}

/// What a rule says about the traffic it matches.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Rule {
    /// What becomes of it. In the middle tier always an allow.
    pub action: Action,
    /// The other end: any of these. None at all matches nothing; [`Peer::Any`] matches anyone.
    pub peers: Vec<Peer>,
    /// The kind: any of these. None at all matches nothing; [`Port::Any`] matches all.
    pub ports: Vec<Port>,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Its line in the policy's file, from 1.
    pub line: Option<u32>,
    /// What of it could not be read, and made it fail closed: an allow then has no peers, a deny or a pass
    /// is a deny of everything (`ClusterNetworkPolicyIngressPeer`, v1alpha2).
    pub unread: Vec<String>,
}

/// What becomes of traffic.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Action {
    /// It goes on; nobody else is asked.
    Allow,
    /// It ends here.
    Deny,
    /// The next tier is asked, and no more of this one.
    Pass,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Pass => "pass",
        })
    }
}

/// Where something was written.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Origin {
    /// The file, as it was named; `None`, or empty, for what came from a store.
    pub file: Option<String>,
    /// The line its object begins at, from 1.
    pub line: Option<u32>,
}

impl Origin {
    /// `file:line`, with the line of a part of it instead of its own if that is known.
    #[must_use]
    pub fn at(&self, line: Option<u32>) -> Option<String> {
        let file = self.file.as_ref().filter(|file| !file.is_empty())?;
        Some(match line.or(self.line) {
            Some(line) => format!("{file}:{line}"),
            None => file.clone(),
        })
    }
}
