//! Whether every address is given once, and to whom everybody says: the rules that the store, the nodes'
//! journals and a node's kernel keep at any moment, however nodes fail. `bulkhead ipam check`, the hammer
//! and the simulation ask here.
//!
//! Pure: it is given what the witnesses say. Whatever they say, it answers with violations and never
//! panics. What a node has not published yet, and says so, is no violation.

mod blocks;
mod holders;
mod leases;
mod pools;
mod rows;
mod rule;
mod say;
mod sticky;
#[cfg(test)]
mod tests;
mod witnesses;

use std::collections::BTreeSet;
use std::net::IpAddr;

use bulkhead_model::AttachmentKey;

use super::geometry::Block;
use super::kv::{KeyRange, Row};
use super::name::{NodeId, PoolName};
use super::schema::Schema;
use rows::World;
pub use rule::Rule;

/// What the witnesses say.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// How the store's rows are to be read.
    pub schema: &'a Schema,
    /// Its rows at one revision: those of [`range`], or more.
    pub rows: &'a [Row],
    /// The journals of the nodes whose journals are known.
    pub journals: &'a [Journal],
    /// What is in the kernels of the nodes that could be looked at.
    pub kernels: &'a [Kernel],
}

/// What a node's journals have of pools of the cluster.
#[derive(Clone, Debug)]
pub struct Journal {
    /// The node.
    pub node: NodeId,
    /// Where they are: a directory.
    pub place: String,
    /// The leases.
    pub held: Vec<Held>,
    /// The blocks that it takes for its own; none if it was not asked, or is about to change them.
    pub blocks: Option<Vec<(PoolName, Block)>>,
    /// Where the store has still to hear of what the journals have.
    pub queued: BTreeSet<(PoolName, u64)>,
}

/// A lease as a journal has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Held {
    /// The attachment.
    pub attachment: AttachmentKey,
    /// The pool.
    pub pool: PoolName,
    /// The ordinal.
    pub ordinal: u64,
    /// The addresses that were recorded.
    pub addresses: Vec<IpAddr>,
    /// The record's sequence.
    pub sequence: u64,
}

/// What a node's kernel has.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The node.
    pub node: NodeId,
    /// Containers, also those that are nobody's.
    pub containers: Vec<Container>,
}

/// A container's interface as the kernel has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Container {
    /// The attachment; none if it is not known whose it is.
    pub attachment: Option<AttachmentKey>,
    /// Where it is: a namespace and an interface.
    pub place: String,
    /// Its addresses; none if they could not be looked at.
    pub addresses: Option<Vec<IpAddr>>,
    /// The host end of its link.
    pub port: Port,
}

/// The host end of a container's link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Port {
    /// It is there.
    Present,
    /// It should be, and is not.
    Missing,
    /// There need not be one, or it was not looked for.
    Unasked,
}

/// Something that must not be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// Which rule.
    pub rule: Rule,
    /// The object: an address, a block, a row.
    pub subject: String,
    /// What is wrong, and what to do.
    pub text: String,
    /// Who says what.
    pub evidence: Vec<Evidence>,
    /// The pool in question.
    pub pool: Option<PoolName>,
    /// The nodes in question.
    pub nodes: Vec<NodeId>,
}

/// What one witness says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Evidence {
    /// Who.
    pub source: Witness,
    /// Where: a key of the store, a directory, a namespace.
    pub place: String,
    /// What it says.
    pub says: String,
}

/// Who says something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Witness {
    /// A node's journals.
    Journal,
    /// The store.
    Store,
    /// The kernel.
    Kernel,
}

/// What a check found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Checked {
    /// By rule.
    pub violations: Vec<Violation>,
    /// Pools looked at.
    pub pools: u64,
    /// Blocks looked at.
    pub blocks: u64,
    /// Leases looked at, as they are published.
    pub leases: u64,
    /// Leases of journals looked at.
    pub attachments: u64,
}

/// The rows that a check needs. All of them in one listing, so that they are of one revision; what
/// happened in the past is not among them.
#[must_use]
pub fn range(schema: &Schema) -> KeyRange {
    let everything = schema.everything();
    KeyRange {
        from: schema.kind("blocks").from,
        ..everything
    }
}

/// Every violation of every rule.
#[must_use]
pub fn check(facts: &Facts<'_>) -> Checked {
    let mut found = Vec::new();
    let world = World::read(facts, &mut found);
    pools::check(&world, &mut found);
    blocks::check(&world, &mut found);
    leases::check(&world, &mut found);
    sticky::check(&world, &mut found);
    let twice = holders::check(&world, facts, &mut found);
    witnesses::check(&world, facts, &twice, &mut found);
    found.sort_by(|a, b| (a.rule, &a.subject).cmp(&(b.rule, &b.subject)));
    let count = |n: usize| u64::try_from(n).expect("a length in memory fits 64 bits");
    Checked {
        violations: found,
        pools: count(world.pools.len()),
        blocks: count(world.blocks.len()),
        leases: count(world.leases.len()),
        attachments: count(
            facts
                .journals
                .iter()
                .map(|journal| journal.held.len())
                .sum(),
        ),
    }
}
