//! What a node's kernel has to hold so that it does what is written: the reading of [`evaluate`], as a
//! table. Deterministic: the same world gives the same bytes, whatever was there before.
//!
//! A packet is judged in as many look-ups however many endpoints and policies there are. Its local end, by
//! device and address, has a **class**: all that is said about it. Its other end, by address, has an
//! **identity**: all that the classes ask about it. Class and identity together have a **ruling**: what
//! becomes of each kind of traffic. So policies that come and go change rulings, and endpoints that come and
//! go change one element for each of their addresses. Numbers are passed from one rule to the next in the
//! packet's priority, which is set to 0 in the end; `docs/policy-layouts.md` says why.
//!
//! Everything but the base chains is named after a digest of what it is, so that it never changes: a table
//! becomes another one by additions and deletions, and [`bulkhead_nft::change`] finds them.
//!
//! [`evaluate`]: crate::evaluate

mod around;
mod chains;
mod class;
mod digest;
mod follow;
mod identity;
mod judge;
mod local;
mod members;
mod own;
mod ruling;
mod sayings;
mod slots;
mod spans;
mod table;
mod targets;

use std::collections::BTreeMap;

use bulkhead_nft as nft;

use crate::{Decision, Direction, EndpointId, World};

pub use chains::{LOG_GROUP, OWN_NODE, STRANGER};
pub use follow::{Change, Changes};
pub use judge::Judge;
pub use local::{Device, Local, Told};
pub use ruling::{Cause, Outcome};
pub use table::table_id;

/// What a node enforces.
#[derive(Clone, Debug)]
pub struct Ruleset {
    /// What the kernel should hold.
    pub table: nft::Table,
    /// What the verdict chains stand for, by the name that is in the table, in its log entries, and behind
    /// its counters.
    pub outcomes: BTreeMap<String, Said>,
    /// Local endpoints that nothing reaches, because another one on the same device has their address.
    pub closed: Vec<EndpointId>,
    /// The same, for whoever has packets to look at.
    pub judge: Judge,
}

impl Ruleset {
    /// What was said about a packet that the table was run on, in order.
    pub fn said<'r>(&'r self, evaluation: &'r nft::Evaluation) -> impl Iterator<Item = &'r Said> {
        let mut chains: Vec<&str> = Vec::new();
        for step in &evaluation.trail {
            let chain = step.chain.as_str();
            if chains.last() != Some(&chain) {
                chains.push(chain);
            }
        }
        let outcomes = chains
            .into_iter()
            .filter_map(|chain| chain.strip_prefix(chains::VERDICT));
        outcomes.filter_map(|id| self.outcomes.get(id))
    }
}

/// 16 hexadecimal digits that are an endpoint's alone.
pub(crate) fn digest_of(id: &EndpointId) -> String {
    digest::Digest::of(id).hex()
}

/// What a verdict chain says.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Said {
    /// Of which end.
    pub direction: Direction,
    /// What becomes of the packet, and why.
    pub outcome: Outcome,
}

impl Said {
    /// Whether packets go on.
    #[must_use]
    pub const fn decision(&self) -> Decision {
        self.outcome.decision
    }
}

/// What `local`'s kernel has to hold for its endpoints in `world`.
#[must_use]
pub fn compile(world: &World, local: &Local) -> Ruleset {
    Compiler::default().compile(world, local)
}

/// Compiles one world after the other: what is the same as in the last one is not worked out again.
#[derive(Clone, Debug, Default)]
pub struct Compiler {
    kept: Option<follow::Kept>,
}

impl Compiler {
    /// As [`compile`](crate::compile()), which remembers nothing.
    #[must_use]
    pub fn compile(&mut self, world: &World, local: &Local) -> Ruleset {
        self.kept.insert(follow::Kept::of(world, local)).ruleset()
    }

    /// What is to be done where nothing but these changes is otherwise in `world` than in the last one; `None` if that
    /// is to be compiled. It leads to the very table that would be compiled, and costs what the changes are, however
    /// much else there is.
    #[must_use]
    pub fn follow(&mut self, world: &World, local: &Local, changes: &Changes) -> Option<Change> {
        let mut kept = self.kept.take()?;
        let change = kept.follow(world, local, changes)?;
        self.kept = Some(kept);
        Some(change)
    }

    /// All of the last world; `None` where there was none.
    #[must_use]
    pub fn ruleset(&self) -> Option<Ruleset> {
        self.kept.as_ref().map(follow::Kept::ruleset)
    }

    /// What the table does, as of the last world; of an empty one before.
    #[must_use]
    pub fn judge(&self) -> Judge {
        self.kept
            .as_ref()
            .map_or_else(Judge::default, follow::Kept::judge)
    }
}
