//! Whether what must hold does: every address is one attachment's, every lease lies in a block of its
//! node, every block in its pool and in no other, and journals, store and kernel say the same. Pure: what
//! the witnesses say comes in, what contradicts itself goes out, with what each of them said.

mod node;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use bulkhead_model::AttachmentKey;

use super::geometry::Block;
use super::kv::Row;
use super::ledger::LeaseFact;
use super::name::{NodeId, PoolName};
use super::schema::Schema;

/// What one node says of itself.
#[derive(Clone, Debug, Default)]
pub struct NodeFacts {
    /// The leases of its journals.
    pub leases: Vec<LeaseFact>,
    /// The blocks that its ledger has; `None` if it was not asked.
    pub blocks: Option<Vec<(PoolName, Block)>>,
    /// Ordinals whose rows it is about to write: they are not compared.
    pub unpublished: Vec<(PoolName, u64)>,
    /// The addresses that its kernel has; `None` if it was not looked at.
    pub kernel: Option<Vec<KernelFact>>,
}

/// An address in a node's kernel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KernelFact {
    /// Where: a port, a namespace.
    pub place: String,
    /// The attachment that it is of, if that can be told.
    pub attachment: Option<AttachmentKey>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// A rule.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Rule {
    /// An address is one attachment's.
    AddressTwice,
    /// A lease lies in a block of its node.
    LeaseOutsideBlock,
    /// A lease's addresses are those of its ordinal, which may be given out.
    LeaseAddresses,
    /// A block lies in its pool.
    BlockOutsidePool,
    /// Two blocks have no ordinal in common.
    BlocksOverlap,
    /// A node has the blocks that the store says it has.
    BlockUnknown,
    /// A row has the epoch of its node's fence.
    StaleFence,
    /// What a journal has is published.
    Unpublished,
    /// What is published a journal has.
    PublishedUnheld,
    /// An identity's row and its ordinal's say the same.
    Sticky,
    /// What a journal has is in the kernel.
    NotInKernel,
    /// What is in the kernel a journal has.
    KernelUnrecorded,
    /// A row is understood.
    Row,
}

impl Rule {
    /// Its name, which is never given another meaning.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AddressTwice => "address-twice",
            Self::LeaseOutsideBlock => "lease-outside-block",
            Self::LeaseAddresses => "lease-addresses",
            Self::BlockOutsidePool => "block-outside-pool",
            Self::BlocksOverlap => "blocks-overlap",
            Self::BlockUnknown => "block-unknown",
            Self::StaleFence => "stale-fence",
            Self::Unpublished => "unpublished",
            Self::PublishedUnheld => "published-unheld",
            Self::Sticky => "sticky",
            Self::NotInKernel => "not-in-kernel",
            Self::KernelUnrecorded => "kernel-unrecorded",
            Self::Row => "row",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Something that must not be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// The rule that it breaks.
    pub rule: Rule,
    /// The object: an address, a block, a row.
    pub subject: String,
    /// What is wrong, and what to do.
    pub text: String,
    /// Who says what.
    pub evidence: Vec<Evidence>,
}

/// What one witness says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Evidence {
    /// Who.
    pub witness: Witness,
    /// Where: a key, a node, a kernel object.
    pub place: String,
    /// What.
    pub says: String,
}

/// A witness.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Witness {
    /// A node's journals.
    Journal,
    /// The cluster's store.
    Store,
    /// A node's kernel.
    Kernel,
    /// A node's ledger.
    Ledger,
}

/// What was compared, and what was found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// What must not be, in the order of the rules.
    pub violations: Vec<Violation>,
    /// Pools compared.
    pub pools: u64,
    /// Blocks compared.
    pub blocks: u64,
    /// Leases compared, those of journals and those of rows of other nodes.
    pub leases: u64,
}

/// Compares a cluster's rows, as they were at one revision, with what some of its nodes say.
#[must_use]
pub fn check(schema: &Schema, rows: &[Row], nodes: &BTreeMap<NodeId, NodeFacts>) -> Report {
    let mut found = Vec::new();
    let read = store::Read::of(schema, rows, &mut found);
    read.check_blocks(&mut found);
    read.check_fences(&mut found);
    read.check_sticky(&mut found);
    let leases = node::all_leases(&read, nodes);
    node::check_addresses(&leases, &mut found);
    node::check_places(&read, &leases, &mut found);
    for (node, facts) in nodes {
        node::check_published(&read, node, facts, &mut found);
        node::check_ledger(&read, node, facts, &mut found);
        node::check_kernel(&read, node, facts, &mut found);
    }
    found.sort_by(|a, b| (a.rule, &a.subject).cmp(&(b.rule, &b.subject)));
    Report {
        violations: found,
        pools: read.pools.len() as u64,
        blocks: read.blocks.len() as u64,
        leases: leases.len() as u64,
    }
}
