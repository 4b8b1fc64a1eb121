//! One attack as a value.

use std::fmt;

use crate::ground::Ground;
use crate::scene::Scene;
use crate::shot::Shot;

/// A packet or a sequence of packets, and what it must not bring about.
#[derive(Clone, Copy)]
pub(crate) struct Attack {
    /// As the catalogue calls it.
    pub(crate) id: &'static str,
    /// Where it is described.
    pub(crate) source: &'static str,
    pub(crate) shots: fn(&Scene) -> Vec<Shot>,
    pub(crate) sender: Sender,
    pub(crate) moment: Moment,
    pub(crate) harm: Harm,
    pub(crate) unproven: Option<&'static str>,
    pub(crate) moot: Option<&'static str>,
}

/// Whose interface it is sent from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Sender {
    /// The attacker's container.
    Container,
    /// The world beyond the node, towards the pool.
    Upstream,
}

/// When it is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Moment {
    Any,
    /// While the first victim probes whether an address is taken.
    VictimProbes,
    /// While the node does.
    NodeProbes,
    /// While the node asks whether its entry for the first victim is right.
    NodeVerifies,
}

/// What counts besides a change of anybody's state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Harm {
    /// That it reaches anybody.
    Delivery,
    /// That it reaches anybody beyond the node, whose stack may still drop it: a tunnel is stopped
    /// only where the pieces are joined.
    Passage,
    /// That what it carries comes out of a tunnel.
    Injection,
    /// Nothing: what is sent is legitimate by itself.
    Effect,
    /// That more than so many of its shots reach anybody.
    Above(usize),
    /// That more than so many groups are joined.
    Groups(usize),
}

impl Attack {
    /// One whose arrival anywhere is the harm.
    pub(crate) const fn new(
        id: &'static str,
        source: &'static str,
        shots: fn(&Scene) -> Vec<Shot>,
    ) -> Self {
        Self {
            id,
            source,
            shots,
            sender: Sender::Container,
            moment: Moment::Any,
            harm: Harm::Delivery,
            unproven: None,
            moot: None,
        }
    }

    pub(crate) const fn during(mut self, moment: Moment) -> Self {
        self.moment = moment;
        self
    }

    pub(crate) const fn from(mut self, sender: Sender) -> Self {
        self.sender = sender;
        self
    }

    pub(crate) const fn harms(mut self, harm: Harm) -> Self {
        self.harm = harm;
        self
    }

    /// Exempt from having to work on an unguarded port, for this reason.
    pub(crate) const fn unproven(mut self, reason: &'static str) -> Self {
        self.unproven = Some(reason);
        self
    }

    /// Exempt on ports of ours whose guard is off: what our plugin makes is proof against it anyway.
    pub(crate) const fn moot(mut self, reason: &'static str) -> Self {
        self.moot = Some(reason);
        self
    }

    /// Whether it can be told from others that are carried out with it.
    pub(crate) fn may_be_together(&self) -> bool {
        let is_known = matches!(self.harm, Harm::Delivery | Harm::Passage | Harm::Injection);
        self.moment == Moment::Any && self.sender == Sender::Container && is_known
    }

    /// Why it need not work on this ground, if so.
    pub(crate) fn excuse(&self, ground: Ground) -> Option<&'static str> {
        let moot = self.moot.filter(|_| ground == Ground::SwitchedOff);
        self.unproven.or(moot)
    }
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.id, self.source)
    }
}
