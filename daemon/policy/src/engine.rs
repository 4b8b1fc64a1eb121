//! Who is asked about a packet: the judge of what is written, or what would be loaded, interpreted.

use std::fmt;

use crate::{Decision, Direction, Interpreter, Matcher, Packet};

/// What is decided about a packet.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Judgement {
    /// What becomes of it.
    pub decision: Decision,
    /// What is said where it leaves; `None` if no endpoint is there, or if the engine cannot tell the ends
    /// apart.
    pub egress: Option<Decision>,
    /// What is said where it arrives; as `egress`.
    pub ingress: Option<Decision>,
}

/// Who decides about packets of one world.
pub trait Engine: fmt::Debug {
    /// What is decided about `packet`, the first of its connection.
    ///
    /// # Errors
    /// [`Undecided`] if the engine does not know.
    fn judge(&self, packet: &Packet) -> Result<Judgement, Undecided>;
}

/// An engine does not know what becomes of a packet.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("what becomes of {packet} is not known: {why}")]
pub struct Undecided {
    /// The packet.
    pub packet: Packet,
    /// Why.
    pub why: String,
}

impl Engine for Matcher<'_> {
    fn judge(&self, packet: &Packet) -> Result<Judgement, Undecided> {
        let verdict = self.evaluate(packet);
        Ok(Judgement {
            decision: verdict.decision,
            egress: verdict.of(Direction::Egress),
            ingress: verdict.of(Direction::Ingress),
        })
    }
}

impl Engine for Interpreter {
    fn judge(&self, packet: &Packet) -> Result<Judgement, Undecided> {
        let undecided = |why: String| Undecided {
            packet: packet.clone(),
            why,
        };
        let judged = self.judgement(packet);
        judged.map_err(|undefined| undecided(undefined.to_string()))
    }
}
