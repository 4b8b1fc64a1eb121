//! How a binding stands in the kernel, of whatever plugin's port.

use bulkhead_cni::CniError;
use bulkhead_kernel::Kernel;
use bulkhead_nft as nft;
use bulkhead_plan::{Binding, Filter, Guarded, Hook, Ns, Want, filter_table, scope};

use crate::failure::Failure;

/// What of a binding stands in the kernel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GuardedState {
    /// Whether the port is there.
    pub port: bool,
    /// Whether the table is.
    pub table: bool,
    /// Its elements, each with its set, and whether it is there.
    pub elements: Vec<(nft::Name, nft::Key, bool)>,
}

impl GuardedState {
    /// Whether all of it stands.
    #[must_use]
    pub fn stands(&self) -> bool {
        self.port && self.table && self.elements.iter().all(|(_, _, there)| *there)
    }
}

/// Looks for a binding in the kernel, where `node` plays the node's part. Nothing of it stands in a namespace
/// that is gone.
///
/// # Errors
/// What the kernel refused.
pub fn guard_state(
    kernel: &mut Kernel,
    node: &Ns,
    binding: &Binding,
) -> Result<GuardedState, CniError> {
    kernel.look_afresh();
    let want = Want::Guarded(Box::new(Guarded {
        filter: Filter {
            binding: binding.clone(),
            others: Vec::new(),
            hook: Hook::Auto,
        },
        groups: None,
        known: Vec::new(),
    }));
    let mut wanted = scope(&want);
    if let Some(host) = wanted.spaces.remove(&Ns::Host) {
        wanted.spaces.insert(node.clone(), host);
    }
    let world = kernel.observe(&wanted).map_err(Failure::from)?;
    let space = world.space(node);
    let table = space.tables.get(&filter_table());
    let mut elements = Vec::new();
    for (set, keys) in binding.entries() {
        let found = table.and_then(|table| table.elements.get(&set));
        for key in keys {
            let there = found.is_some_and(|found| found.contains(&key));
            elements.push((set.clone(), key, there));
        }
    }
    Ok(GuardedState {
        port: space.links.contains_key(&binding.port),
        table: table.is_some(),
        elements,
    })
}
