//! What is decided about a packet, by whom, and who else was asked.

use std::fmt;

use bulkhead_model::NetworkName;

use crate::{Action, Direction, EndpointId, PolicyId};

/// Whether traffic goes on.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Decision {
    /// It does.
    Allow,
    /// It does not.
    Deny,
}

impl Decision {
    /// What both together say.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Allow, Self::Allow) => Self::Allow,
            _ => Self::Deny,
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

/// What becomes of a packet: both ends must let it go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// What all ends together say. An end that is no endpoint says nothing.
    pub decision: Decision,
    /// What is said where it comes from, then where it goes to; see [`World::endpoints_at`] for when an
    /// end is more than one.
    ///
    /// [`World::endpoints_at`]: crate::World::endpoints_at
    pub because: Vec<Side>,
}

impl Verdict {
    /// What one end says; `None` if no endpoint is there.
    #[must_use]
    pub fn of(&self, direction: Direction) -> Option<Decision> {
        let sides = self.because.iter();
        let said = sides.filter(|side| side.direction == direction);
        said.map(|side| side.decision).reduce(Decision::and)
    }
}

/// What is said at one end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Side {
    /// Whose end it is.
    pub endpoint: EndpointId,
    /// Whether it sends or receives.
    pub direction: Direction,
    /// What is said.
    pub decision: Decision,
    /// Why.
    pub reason: Reason,
    /// Everything that was asked, in order, up to what decided.
    pub considered: Vec<Considered>,
    /// The policies in audit of which each alone, were it in force, would have denied what was allowed.
    pub would_deny: Vec<PolicyId>,
}

/// What decided.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reason {
    /// A rule that matched.
    Rule {
        /// Its policy.
        policy: PolicyId,
        /// Its place among the policy's rules of the direction, from 0.
        rule: usize,
    },
    /// Policies of the middle tier select the endpoint, and none of them allows it.
    Isolated(Vec<PolicyId>),
    /// The endpoint's own node may always reach it: it is who probes it, and has all power over it anyway.
    OwnNode,
    /// Neighbour discovery and what groups need: without it there is no network to allow anything on.
    Discovery,
    /// Nobody decided, the endpoint has no labels, and its network says what then.
    Network(NetworkName),
    /// Nobody decided, so it goes on.
    Nobody,
}

/// Something that was asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Considered {
    /// The policy.
    pub policy: PolicyId,
    /// Which of its rules of the direction, from 0; `None` for the policy as a whole.
    pub rule: Option<usize>,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of asking.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The rule matched.
    Matched(Action),
    /// The rule is about somebody else.
    OtherPeer,
    /// The rule is about this peer and about other traffic.
    OtherPort,
    /// A policy of the middle tier selects the endpoint in this direction.
    Isolates,
    /// A policy that selects the endpoint and says nothing about this direction.
    Silent,
    /// The policy is in audit, so it decides nothing.
    Audited,
}
