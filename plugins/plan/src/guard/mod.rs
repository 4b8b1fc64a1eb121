//! First-hop security: what a port may send, judged at ingress by exact look-ups. What a port is comes
//! from its lease: nothing is learned, nothing snooped (RFC 7039 calls that a static binding).

mod identity;
mod reason;
mod rules;
mod sets;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_nft as nft;

pub use identity::{Binding, Budgets, Guard, Held, Holds, Identity, Multicast, Role, Surroundings};
pub use reason::Reason;
pub(crate) use rules::{BOUND, POD, first, sampled};
pub use rules::{LOG_GROUP, TO_ALL, TO_NODE};
pub(crate) use sets::{Entries, elements, of as entries, of_ports};
pub(crate) use sets::{
    LIVE, VTEPS, blocks_of, drop_block, gateway, is_shared, live_of, missing_blocks,
};
pub use words::Clause;

impl Binding {
    /// The elements that make it, by set of the port filter's table.
    #[must_use]
    pub fn entries(&self) -> BTreeMap<nft::Name, BTreeSet<nft::Key>> {
        entries(self)
    }

    /// What it has in the table of what leads to bridges, by set.
    #[must_use]
    pub fn segment_entries(&self) -> BTreeMap<nft::Name, BTreeSet<nft::Key>> {
        crate::segments::known(self)
    }
}

/// Chains and sets with these bindings in them; the rules of `bound` and the base chains are the
/// filter's.
pub(crate) fn fill(table: &mut nft::Table, bindings: &[&Binding]) {
    table.sets.extend(sets::all(bindings));
    let chains = rules::chains().into_iter();
    table.chains.extend(chains.map(|(name, rules)| nft::Chain {
        name,
        base: None,
        part: nft::Part::Fixed,
        rules,
    }));
}
