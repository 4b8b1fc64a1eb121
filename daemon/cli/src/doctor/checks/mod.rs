//! The checks: each a pure function of the node.

mod configuration;
mod daemon;
mod features;
mod firewall;
mod forwarding;
mod leftovers;
mod mtu;
mod neighbours;
mod state;
mod sysctls;
#[cfg(test)]
mod tests;

use super::finding::Finding;
use super::node::Node;

/// Every group, in the order in which findings of one severity are told.
pub(super) const ALL: [fn(&Node) -> Vec<Finding>; 10] = [
    configuration::check,
    state::check,
    daemon::check,
    features::check,
    forwarding::check,
    firewall::check,
    sysctls::check,
    mtu::check,
    neighbours::check,
    leftovers::check,
];
