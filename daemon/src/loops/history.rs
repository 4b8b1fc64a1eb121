//! The audit log goes back as far as the configuration says.

use crate::clock::{millis, unix_ms};
use crate::node::Node;

/// Forgets what is older, network by network.
pub(super) fn trim(node: &Node) {
    let before = unix_ms().saturating_sub(millis(node.config().audit));
    let networks = match node.state.networks() {
        Ok(networks) => networks,
        Err(error) => {
            return node.failed("old history is not forgotten", &crate::told::chain(&error));
        }
    };
    for network in networks {
        if let Err(error) = node.state.network(&network).forget_before(before) {
            let what = format!("old history of network {network} is not forgotten");
            node.failed(&what, &crate::told::chain(&error));
        }
    }
}
