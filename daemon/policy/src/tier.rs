//! Tiers: in which order policies have their say.

use std::fmt;

/// A policy's place among those of its tier, 0..=1000; the lowest is asked first (`priority` of
/// `ClusterNetworkPolicy`, policy.networking.k8s.io/v1alpha2).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Priority(u16);

impl Priority {
    /// The first.
    pub const MIN: Self = Self(0);
    /// The last.
    pub const MAX: Self = Self(1000);

    /// `None` above 1000.
    #[must_use]
    pub const fn new(raw: u16) -> Option<Self> {
        if raw <= Self::MAX.0 {
            Some(Self(raw))
        } else {
            None
        }
    }

    /// 0..=1000.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// When a policy is asked, and how it is meant. In the order they are asked in.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Tier {
    /// First, rule by rule: the first rule that matches decides, a pass goes on with the middle tier.
    Admin(Priority),
    /// Kubernetes `NetworkPolicy`, and security groups: who is selected is isolated in the policy's
    /// directions, and what any of the policies that select it allows is allowed. If any selects it,
    /// nothing of it reaches the next tier.
    Middle,
    /// Last, as the first: what nobody has decided.
    Baseline(Priority),
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admin(priority) => write!(f, "admin tier, priority {priority}"),
            Self::Middle => f.write_str("middle tier"),
            Self::Baseline(priority) => write!(f, "baseline tier, priority {priority}"),
        }
    }
}
